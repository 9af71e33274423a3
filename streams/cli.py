"""The command crossmargin: one verb each for the processes, files, results and checks.

Exit status 0 done, 1 failed, 2 wrong use or bad configuration, 130 interrupted; what went wrong is one line on stderr. Each
verb imports its own part only, so that help and small verbs start at once.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import msgspec

from streams import cli_desk
from streams import settings as sources
from streams.cli_parts import (
    KAFKA,
    ORIGINS,
    REDIS,
    Verbs,
    cell,
    json_flag,
    log_to_stderr,
    print_json,
    print_shown,
    print_table,
    with_settings,
)  # fmt: skip
from streams.cli_reports import day_end, explain, pilot_report
from streams.settings import ConfigError, Settings, UserError

INTERRUPTED: Final = 130
ROOT: Final = Path(__file__).parents[1]

files_argument: Final = click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
topic_option: Final = click.option("--topic", help="Topic of rows that name none, in files whose name tells none.")


def main() -> NoReturn:
    """Run a verb and end the process with its exit status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a verb and return its exit status; failures that a user can put right are one line on stderr."""
    try:
        status = cli.main(args=list(arguments), prog_name="crossmargin", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except UserError as error:
        return _fail(str(error), error.status)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ConfigError.status
    except click.ClickException as error:
        return _fail(error.format_message(), ConfigError.status)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _fail(line: str, status: int) -> int:
    click.echo(f"crossmargin: {' '.join(line.split())}", err=True)
    return status


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="crossmargin", message="%(prog)s %(version)s")
def cli() -> None:
    """Real-time margin monitor: events in Kafka, flags in Redis and Prometheus, replayable to the bit.

    Settings: defaults < crossmargin.toml < environment CROSSMARGIN_* < flags; check-config shows them all.
    """


@cli.command()
@click.option("--seconds", type=click.FloatRange(min=1), help="End after so many seconds of ticks; default: until Ctrl-C.")
@click.option("--accounts", type=click.IntRange(10, 20_000), default=2000, show_default=True, help="Accounts to generate.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the generated customers and trades.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout; progress goes to stderr.")
def demo(seconds: float | None, accounts: int, seed: int, as_json: bool) -> None:
    """Play ticks through the whole chain, with a live view.

    On embedded Kafka and Valkey: it needs nothing but this program, and everything that it starts ends with it.
    """
    from streams import demo as show

    summary = show.run(show.Options(seconds=seconds, accounts=accounts, seed=seed, json=as_json))
    if as_json:
        print_json(summary)


@cli.command()
@with_settings(
    *(*KAFKA, "shards", "input_partitions", "time_mode", "batch_events", "batch_ms"),
    *("metrics_host", "sequencer_metrics_port", "snapshots", "mock_kafka"),
)
def sequencer(settings: Settings) -> None:
    """Read the input topics and write margin.log.

    One is active, more stand by. SIGTERM drains and ends it.
    """
    from streams import sequencer as process

    log_to_stderr()
    process.run(settings)


@cli.command()
@with_settings(
    *(*KAFKA, *REDIS, "shards", "snapshots", "snapshot_seconds", "snapshots_kept", "metrics_host", "metrics_port"),
    *("watchdog_seconds", "figures_per_second", "mock_kafka"),
)
def worker(settings: Settings) -> None:
    """Keep the margin of some shards of the log.

    margin.log in, flags out to Redis, /metrics and margin.alerts. SIGTERM writes snapshots and ends it.
    """
    from streams import worker as process

    log_to_stderr()
    process.run(settings)


@cli.command()
@with_settings(
    *(*KAFKA, *REDIS, "web_host", "web_port", "web_tokens", "web_requests_per_second", "metrics_host", "web_metrics_port"),
)
def web(settings: Settings) -> None:
    """Serve the page and the JSON API.

    It reads Redis, and writes topic actions; /metrics is on a port of its own. SIGTERM ends it. Nobody gets in without a
    token: see web-token.
    """
    try:
        from streams import web as process
    except ModuleNotFoundError as error:
        raise UserError(f"the page needs {error.name}: pip install 'crossmargin[web]'") from error

    log_to_stderr()
    process.run(settings)


@cli.group("web-token")
def web_token() -> None:
    """Who may use the page and the JSON API."""


@web_token.command()
@click.argument("user")
@click.option(
    "--role", type=click.Choice(["viewer", "operator"]), default="viewer", show_default=True, help="What it allows."
)
@click.option("--once", is_flag=True, help="For one login only.")
@with_settings("web_tokens")
def add(settings: Settings, user: str, role: Any, once: bool) -> None:
    """Make a token for a user, and print it; the file keeps its digest only."""
    from streams.web_access import TokenFile

    click.echo(TokenFile(Path(settings.web_tokens)).add(user, role, once=once))


@web_token.command("list")
@json_flag
@with_settings("web_tokens")
def list_tokens(settings: Settings, as_json: bool) -> None:
    """Show whose tokens there are, and what they allow; the tokens themselves are not kept."""
    from streams.web_access import TokenFile

    tokens = TokenFile(Path(settings.web_tokens)).tokens()
    if as_json:
        print_json({"tokens": tokens})
    elif tokens:
        rows = ((one.user, one.role, "one login" if one.once else "until removed", one.sha256[:12]) for one in tokens)
        print_table(("user", "role", "good for", "digest"), rows)
    else:
        click.echo("no token")


@web_token.command()
@click.argument("user")
@json_flag
@with_settings("web_tokens")
def remove(settings: Settings, user: str, as_json: bool) -> None:
    """Take out all tokens of a user.

    What they opened ends at once, but for sessions of tokens for one login, which last up to twelve hours.
    """
    from streams.web_access import TokenFile

    count = TokenFile(Path(settings.web_tokens)).remove_user(user)
    if as_json:
        print_json({"user": user, "removed": count})
    else:
        click.echo(f"{count} token{'s' * (count != 1)} of {user} removed")


@cli.command()
@files_argument
@topic_option
@json_flag
@with_settings(*KAFKA, "shards", "input_partitions")
def load(settings: Settings, files: tuple[Path, ...], topic: str | None, as_json: bool) -> None:
    """Publish reference documents, positions, collateral and statements.

    FILE: JSON Lines, JSON, CSV (each also as .gz) or Parquet, or a folder of them. Documents go first, in the order in which
    they need each other.
    """
    from streams import load as loading

    _print_counts(loading.load(settings, files, topic), as_json)


@cli.command()
@files_argument
@click.option(
    "--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Times real time; 0: no waiting."
)
@click.option("--as-recorded", is_flag=True, help="Keep the times of the file, for a log in event time.")
@topic_option
@json_flag
@with_settings(*KAFKA, "shards", "input_partitions")
def feed(
    settings: Settings, files: tuple[Path, ...], speed: float, as_recorded: bool, topic: str | None, as_json: bool
) -> None:
    """Publish historical events at X times real time.

    FILE: recorded messages `<ns> <JSON>`, JSON Lines, CSV or Parquet, merged by time; times are shifted to now.
    """
    from streams import feed as feeding

    _print_counts(feeding.feed(settings, files, speed, as_recorded, topic), as_json)


@cli.command()
@files_argument
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for manifest.json and breaches.csv.")
@click.option("--reference", multiple=True, type=click.Path(path_type=Path), help="Reference documents; may be repeated.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the accounts made where no --reference is.")
@click.option("--accounts", type=click.IntRange(0, 1_000_000), default=200, show_default=True, help="How many of them.")
@click.option("--shards", "count", type=click.IntRange(1, 1024), default=4, show_default=True, help="Shards of the log.")
@click.option("--frame-records", type=click.IntRange(1, 1024), default=1024, show_default=True, help="Records a frame.")
@click.option("--keep-log", is_flag=True, help="Write the log of the replay beside the manifest.")
@topic_option
@json_flag
@with_settings()
def replay(settings: Settings, files: tuple[Path, ...], count: int, as_json: bool, **options: Any) -> None:
    """Run files through the engine as fast as possible.

    In process. The same inputs give the same digest, however they are framed or sharded.
    """
    from streams import replay as replaying

    manifest = replaying.replay(files, shards=count, limits=settings.limits, **options)
    if as_json:
        print_json(manifest)
    else:
        print_table(("figure", "value"), ((name, cell(value)) for name, value in manifest.items() if name != "inputs"))


@cli.command()
@click.argument("contracts", nargs=-1, metavar="[CONTRACT]...")
@click.option("--out", default="backtest.html", show_default=True, type=click.Path(path_type=Path), help="The report.")
@click.option(
    "--history", "files", multiple=True, type=click.Path(path_type=Path), help="A history of yours; may be repeated."
)
@click.option("--portfolio", type=click.Path(path_type=Path), help="Positions in JSON or JSON lines, margined as one.")
@click.option("--calibrate", is_flag=True, help="Choose the parameters again on the first span, and print the grid.")
@json_flag
def backtest(
    contracts: tuple[str, ...], out: Path, files: tuple[Path, ...], portfolio: Path | None, calibrate: bool, as_json: bool
) -> None:
    """Margin contracts or a portfolio over history.

    CONTRACT: ZT, ZF, ZN, ZB, BTC; default: all, each beside CME's margin. A portfolio's positions, such as {"instrument":
    "ZN", "qty": -5}, are contracts or, as UST:4.25:10, USD of face of a security by coupon and years; it stands beside the
    sum of them alone. Writes an HTML report with breaches, coverage tests, averages and peak to trough. Without --history it
    takes the histories that travel with the package.
    """
    from streams import backtest as test
    from streams.history import read_history

    if portfolio and (contracts or calibrate):
        raise ConfigError("--portfolio: found a CONTRACT or --calibrate beside it; allowed: neither")
    history = test.with_files([read_history(path) for path in files])
    if calibrate:
        _print_grid(test.calibrations(contracts, history), as_json)
        return
    figures = test.run_portfolio(portfolio, out, history) if portfolio else test.run(contracts, out, history)
    if as_json:
        print_json(figures)
    elif portfolio:
        print_table(test.PORTFOLIO_COLUMNS, test.portfolio_table(figures))
    else:
        print_table(test.COLUMNS, test.table(figures))
    if not as_json:
        click.echo(f"report: {out}")


@cli.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The scenario set, a JSON document.")
@click.option("--list", "kind", metavar="KIND", help="span, grid, grid:COIN or points:CLASS in place of histories.")
@click.option("--name", help="Name of the set; default: history, or the kind's own.")
@click.option("--set-version", default="1", show_default=True, help="Version of the set.")
@click.option("--move", multiple=True, metavar="FACTOR=KIND", help="bp, log or relative, where the column's name misleads.")
@click.option("--rename", multiple=True, metavar="FROM=TO", help="A factor's name in the stream, such as btc=BTC-USD.")
@click.option(
    "--proxy", multiple=True, metavar="FACTOR=OTHER:BETA", help="A missing move of FACTOR is BETA x that of OTHER."
)
@click.option("--as-of", help="Last day used; default: the history's last.")
@click.option("--decay", type=float, help="Decay of the volatility; default: the calibrated one.")
@click.option("--long-run-weight", type=float, help="Weight of the long-run variance; default: the calibrated one.")
@click.option("--look-back-years", type=int, help="10 or more; default: 10.")
@click.option("--horizon-days", type=int, help="1 to 5; default: 1.")
@click.option("--antithetic", is_flag=True, help="Add every move with the other sign.")
@click.option("--raw", is_flag=True, help="Add the unfiltered moves of the look-back to the stress set.")
@json_flag
def scenarios(files: tuple[Path, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Build a scenario set from histories, or write a listed one.

    FILE: CSV (also .gz) or Parquet with a column date and a column a factor; yields in per cent under names such as m120 or
    10Y, anything else is a price. Moves are filtered by volatility; named stress days stay as they were.
    """
    from streams import scenarios as building

    figures = building.build(files, out, **options)
    if as_json:
        print_json(figures)
    else:
        print_table(("figure", "value"), ((name, cell(value)) for name, value in figures.items()))


@cli.command()
@click.argument("account", required=False)
@json_flag
@with_settings(*REDIS)
def status(settings: Settings, account: str | None, as_json: bool) -> None:
    """Show all accounts, or one, from Redis."""
    from streams.status import show

    print_shown(show(settings, account), as_json)


@cli.command()
@json_flag
@with_settings(*REDIS)
def reconciliation(settings: Settings, as_json: bool) -> None:
    """Show statements that differ from what accounts hold.

    Of clearing houses and custodians (topic statements), from Redis: by kind and age, the oldest first.
    """
    from streams.status import show_reconciliation

    print_shown(show_reconciliation(settings), as_json)


for report in (day_end, explain, pilot_report):
    cli.add_command(report)


@cli.command()
@click.option("--reason", help="Only those rejected for this reason.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the last so many.")
@click.option("--resubmit", is_flag=True, help="Send their events again; what was applied meanwhile is a duplicate.")
@json_flag
@with_settings(*KAFKA)
def rejects(settings: Settings, reason: str | None, limit: int | None, resubmit: bool, as_json: bool) -> None:
    """List the events not applied, or send them again.

    With reason, origin and the event's own bytes.
    """
    from streams import rejects as rejected

    found = rejected.read_rejects(settings, reason, limit)
    sent = rejected.resubmit(settings, found) if resubmit else None
    if as_json:
        print_json({"rejects": found} if sent is None else {"rejects": found, "resubmitted": sent})
        return
    rows = (
        (r.reason, ":".join(map(str, msgspec.structs.astuple(r.origin))), r.detail, r.raw or r.raw_base64 or "")
        for r in found
    )
    print_table(("reason", "topic:partition:offset:index", "detail", "event"), rows)
    if sent is not None:
        click.echo(f"{sent} of {len(found)} sent again")


@cli.command()
@click.option("--shard", required=True, type=click.IntRange(min=0), help="The shard to rebuild.")
@json_flag
@with_settings(*KAFKA, "shards", "snapshots")
def rebuild(settings: Settings, shard: int, as_json: bool) -> None:
    """Reset a shard to the start of its log; workers stopped.

    Where the log was cut, to the newest snapshot still inside it, else it refuses.
    """
    from streams.rebuild import rebuild as reset

    line = reset(settings, shard)
    if as_json:
        print_json({"shard": shard, "done": line})
    else:
        click.echo(line)


@cli.command("check-config")
@json_flag
@with_settings(*sources.DESCRIPTIONS)
def check_config(settings: Settings, as_json: bool) -> None:
    """Show the merged settings and where each comes from.

    Secrets are masked. A wrong setting ends in one line and exit status 2.
    """
    origins = click.get_current_context().meta[ORIGINS]
    shown = sources.masked(settings)
    if as_json:
        print_json({name: {"value": value, "source": origins[name]} for name, value in shown.items()})
        return
    rows = ((name, cell(value), origins[name], sources.DESCRIPTIONS.get(name, "")) for name, value in shown.items())
    print_table(("setting", "value", "from", "meaning"), rows)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of every event."""
    from streams.schema import json_schema

    click.echo(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2))


@cli.command()
@json_flag
@with_settings(
    *(*KAFKA, *REDIS, "shards", "snapshots", "metrics_host"),
    *("metrics_port", "sequencer_metrics_port", "notifier_metrics_port", "web_metrics_port"),
)
def doctor(settings: Settings, as_json: bool) -> None:
    """Tell what is reachable and what is missing.

    Exit status 1 where a sequencer or worker could not run.
    """
    from streams.doctor import examine

    findings = list(examine(settings))
    if as_json:
        print_json(findings)
    else:
        print_table(("what", "state", "detail"), ((f.name, f.state, f.detail) for f in findings))
    if any(finding.state == "missing" for finding in findings):
        click.get_current_context().exit(1)


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[NAME] [OPTION]...")
def bench(arguments: tuple[str, ...]) -> None:
    """Run the benchmarks of a source checkout.

    All of tests/bench, or those named; --json prints the figures with machine, versions and commit.
    """
    if not (ROOT / "tests" / "bench" / "__main__.py").is_file():
        raise UserError(f"no benchmarks under {ROOT}: they come with a source checkout (tests/bench), not with the package")
    if find_spec("pytest") is None:
        raise UserError("benchmarks need what the tests need (pytest is not installed): make setup installs it")
    done = subprocess.run([sys.executable, "-m", "tests.bench", *arguments], cwd=ROOT, check=False)
    click.get_current_context().exit(done.returncode)


for desk_verb in (cli_desk.calls, cli_desk.top, cli_desk.notifier):
    cli.add_command(desk_verb)


def _print_counts(counts: Mapping[str, int], as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        print_table(("topic", "messages"), ((topic, f"{count:,}") for topic, count in counts.items()))


def _print_grid(grids: Mapping[str, Sequence[Mapping[str, Any]]], as_json: bool) -> None:
    if as_json:
        print_json(grids)
        return
    for family, points in grids.items():
        print_table(tuple(points[0]), ([cell(value) for value in point.values()] for point in points), family)

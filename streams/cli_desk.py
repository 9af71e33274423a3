"""The verbs of the margin desk: calls and what is done to them, the live screen, notices."""

from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from streams.cli_parts import (
    KAFKA,
    REDIS,
    Verbs,
    json_flag,
    log_to_stderr,
    print_json,
    print_shown,
    print_table,
    with_settings,
)
from streams.settings import ConfigError, Settings, UserError

if TYPE_CHECKING:
    from streams.calls import Kind

text_option = click.option("--text", default="", help="What is said with it, up to 1,024 characters.")


@click.group(cls=Verbs, invoke_without_command=True)
@click.option("--pool", help="Only those of this pool.")
@click.option(
    "--state",
    help="Only those in this state: ISSUED, PART_MET, OVERDUE, ESCALATED or RESTRICTED; MET, COVERED, CANCELLED or OVER.",
)
@click.option("--closed", is_flag=True, help="Those that are over, the last to end first; they are kept for seven days.")
@json_flag
@with_settings(*REDIS)
@click.pass_context
def calls(
    context: click.Context, settings: Settings, pool: str | None, state: str | None, closed: bool, as_json: bool
) -> None:
    """List the open margin calls, or act on one.

    From Redis, the first due first. OVER: how it ended is in topic margin.calls only (show). ack, note and cancel go
    through topic actions and the log, with the user's name.
    """
    from streams.calls import show_calls

    if _goes_on(context):
        return
    shown = show_calls(settings, pool, state, closed)
    if shown.data["calls"] or as_json:
        print_shown(shown, as_json)
    else:
        click.echo(shown.tables[0][0])  # how many, as of when


def _goes_on(context: click.Context) -> bool:
    """Whether a verb of the group follows, to which all flags belong; ConfigError where one stands before it."""
    following = context.invoked_subcommand
    if following is None:
        return False
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise ConfigError(f"{context.info_name}: found {', '.join(given)} before {following}; allowed: behind {following}")
    return True


@calls.command("show")
@click.argument("call")
@json_flag
@with_settings(*KAFKA)
def show_call(settings: Settings, call: str, as_json: bool) -> None:
    """Tell the life of a call: every change, when, and by whom.

    Out of topic margin.calls, which keeps them for ever.
    """
    from streams.calls import show_life

    print_shown(show_life(settings, call), as_json)


@calls.command()
@click.argument("call")
@text_option
@json_flag
@with_settings(*KAFKA, *REDIS, "user")
def ack(settings: Settings, call: str, text: str, as_json: bool) -> None:
    """Acknowledge a call.

    Exit status 0 once Redis shows it, 1 with the reason where it is rejected.
    """
    _act(settings, "ack", call, text, as_json)


@calls.command()
@click.argument("call")
@click.option("--text", required=True, help="What is noted, up to 1,024 characters.")
@json_flag
@with_settings(*KAFKA, *REDIS, "user")
def note(settings: Settings, call: str, text: str, as_json: bool) -> None:
    """Write a note to a call.

    Exit status 0 once Redis shows it, 1 with the reason where it is rejected.
    """
    _act(settings, "note", call, text, as_json)


@calls.command()
@click.argument("call")
@click.option("--text", required=True, help="Why it is cancelled, up to 1,024 characters.")
@json_flag
@with_settings(*KAFKA, *REDIS, "user")
def cancel(settings: Settings, call: str, text: str, as_json: bool) -> None:
    """Cancel a call: what it asks for is not asked for again before its due time.

    Exit status 0 once Redis shows it, 1 with the reason where it is rejected.
    """
    _act(settings, "cancel", call, text, as_json)


_DONE: Final = {"ack": "acknowledged", "note": "noted", "cancel": "cancelled"}


def _act(settings: Settings, kind: "Kind", call: str, text: str, as_json: bool) -> None:
    from streams.calls import act

    done = act(settings, kind, call, text)
    if as_json:
        print_json(done)
    else:
        click.echo(f"call {call}: {_DONE[kind]} by {done['user']}")


@click.command()
@click.option("--once", is_flag=True, help="Print one frame and end; it needs no terminal.")
@click.option(
    "--refresh", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Seconds between two frames."
)
@with_settings(*REDIS)
def top(settings: Settings, once: bool, refresh: float) -> None:
    """Show the worst accounts and the next calls, live.

    From Redis: lowest excess, highest utilization, open calls by due time, counts, and how old they are. q ends it.
    """
    from streams.top import run

    run(settings, refresh, once)


@click.group(cls=Verbs, invoke_without_command=True)
@with_settings(
    *KAFKA,
    *("shards", "input_partitions", "notices", "notifier_group", "metrics_host", "notifier_metrics_port", "mock_kafka"),
)
@click.pass_context
def notifier(context: click.Context, settings: Settings) -> None:
    """Post alerts and calls to webhooks, or send dead letters again.

    Signed, at least once, in each account's order; what is given up goes to topic notices.dead. SIGTERM ends posts under way
    and then the process. deploy/example/notices.toml shows the file of webhooks.
    """
    from streams import notifier as process

    if _goes_on(context):
        return
    log_to_stderr()
    process.run(settings)


@notifier.command()
@click.option("--route", help="Only those of this webhook.")
@click.option("--dry-run", is_flag=True, help="Only list them, with reason and age.")
@click.option("--drop", is_flag=True, help="Give up for good what fails again; the topic keeps it.")
@json_flag
@with_settings(*KAFKA, "notices")
def resend(settings: Settings, route: str | None, dry_run: bool, drop: bool, as_json: bool) -> None:
    """Send the dead letters that wait once more.

    Each under its own id, so that a webhook takes it once; three tries. What fails again waits on: exit status 1.
    """
    from monitors.wording import duration
    from streams import resend as again

    if dry_run and drop:
        raise ConfigError("resend: found --dry-run and --drop; allowed: one of them")
    log_to_stderr()
    letters = again.listed(settings, route) if dry_run else again.resend(settings, route, drop)
    counts = {result: [letter.result for letter in letters].count(result) for result in ("sent", "dropped", "waiting")}
    if as_json:
        print_json({"letters": letters, **counts})
    else:
        rows = ((one.route, one.id, duration(int(one.age_seconds)), one.result, one.reason) for one in letters)
        print_table(("route", "id", "age", "result", "reason"), rows)
        click.echo(", ".join(f"{count} {result}" for result, count in counts.items()))
    if counts["waiting"] and not dry_run:
        raise UserError(f"{counts['waiting']} dead letters failed again and wait: resend them later, or --drop them")

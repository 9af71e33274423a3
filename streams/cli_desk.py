"""The verbs of the margin desk: calls and what is done to them, the live screen, notices."""

from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from streams.cli_parts import KAFKA, REDIS, json_flag, log_to_stderr, print_json, print_shown, with_settings
from streams.settings import ConfigError, Settings

if TYPE_CHECKING:
    from streams.calls import Kind

text_option = click.option("--text", default="", help="What is said with it, up to 1,024 characters.")


@click.group(invoke_without_command=True)
@click.option("--pool", help="Only those of this pool.")
@click.option("--state", help="Only those in this state: ISSUED, PART_MET, OVERDUE, ESCALATED or RESTRICTED.")
@json_flag
@with_settings(*REDIS)
@click.pass_context
def calls(context: click.Context, settings: Settings, pool: str | None, state: str | None, as_json: bool) -> None:
    """List the open margin calls, or act on one.

    From Redis, the first due first. ack, note and cancel go through topic actions and the log, with the user's name.
    """
    from streams.calls import show_open

    if context.invoked_subcommand is not None:
        given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            where = f"behind {context.invoked_subcommand}"
            raise ConfigError(f"calls: found {', '.join(given)} before {context.invoked_subcommand}; allowed: {where}")
        return
    shown = show_open(settings, pool, state)
    if shown.data["calls"] or as_json:
        print_shown(shown, as_json)
    else:
        click.echo(shown.tables[0][0])  # how many, as of when


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


@click.command()
@with_settings(*KAFKA, "shards", "input_partitions", "notices", "notifier_group", "mock_kafka")
def notifier(settings: Settings) -> None:
    """Post alerts and calls to webhooks.

    Signed, at least once, in each account's order; what is given up goes to topic notices.dead. SIGTERM ends posts under way
    and then the process. deploy/example/notices.toml shows the file of webhooks.
    """
    from streams import notifier as process

    log_to_stderr()
    process.run(settings)

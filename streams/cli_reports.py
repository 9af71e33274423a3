"""The verbs that explain and report from kept snapshots and the log: explain."""

import click

from streams.cli_parts import KAFKA, json_flag, print_json, print_tables, with_settings
from streams.settings import Settings


@click.command()
@click.argument("account")
@click.option("--since", metavar="OFFSET|TIME", help="Explain the change since then; default: the older kept snapshot.")
@click.option("--snapshots-only", is_flag=True, help="Ask no Kafka: the newest kept snapshots stand for both moments.")
@json_flag
@with_settings(*KAFKA, "snapshots")
def explain(settings: Settings, account: str, since: str | None, snapshots_only: bool, as_json: bool) -> None:
    """Say why an account requires what it requires.

    At the end of the log: lines of the requirement, worst scenarios, contribution of each position, collateral,
    cross-margin, three views of the customer, and what changed since a moment. Lines, contributions and parts of a change
    sum exactly. It reads kept snapshots and the log's frames after them, and writes nothing.
    """
    from streams.explain import show

    shown = show(settings, account, since, with_log=not snapshots_only)
    if as_json:
        print_json(shown.data)
    else:
        print_tables(shown.tables)

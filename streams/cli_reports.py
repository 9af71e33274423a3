"""The verbs that explain and report from kept snapshots and the log: explain, day-end, pilot-report."""

from pathlib import Path

import click

from streams.cli_parts import KAFKA, json_flag, print_json, print_shown, print_table, with_settings
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
    print_shown(shown, as_json)


@click.command("day-end")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for a folder of each pool.")
@click.option("--pool", help="Only this pool.")
@click.option("--date", "day", metavar="DATE", help="As at the end of a UTC day, such as 2026-11-20.")
@click.option("--at", metavar="TIME", help="As at a time; default: the log's end.")
@json_flag
@with_settings(*KAFKA, "snapshots")
def day_end(settings: Settings, out: Path, pool: str | None, day: str | None, at: str | None, as_json: bool) -> None:
    """Write a pool's day-end pack, CSV and HTML.

    Requirements with their lines, collateral, the day's margin calls with all that happened to them, statements that differ,
    limits used, inputs that are old or missing, what customers lack without any offset, the firm's residual interest, rules
    with their hashes, and the place in the log. It writes nothing but these files.
    """
    from monitors.wording import money
    from streams.day_end import write_packs

    found = write_packs(settings, out, pool, day, at)
    if as_json:
        print_json(found)
        return
    rows = [(name, money(one["undermargined_usd"] or "not known"), one["folder"]) for name, one in found["pools"].items()]
    print_table(("pool", "undermargined, USD", "folder"), rows, f"day end {found['date']}, {found['clock']}")


@click.command("pilot-report")
@click.option("--week", metavar="ISO-WEEK", help="Such as 2026-W09, as at its Sunday's end; default: that of the log's end.")
@json_flag
@with_settings(*KAFKA, "snapshots")
def pilot_report(settings: Settings, week: str | None, as_json: bool) -> None:
    """Print the CFTC pilot's weekly report, CSV or JSON.

    Customers' digital assets by account class and asset; as JSON also the firm's own capital charge, its residual interest,
    whether the week needs a report, and what could not be counted. Pools count that name an account_class.
    """
    from streams.day_end import pilot_week

    found = pilot_week(settings, week)
    if as_json:
        print_json(found.data)
        return
    click.echo(found.csv, nl=False)
    for one in found.data["left_out"]:
        click.echo(f"left out: {one['asset']} of account {one['account']}: {one['reason']}", err=True)

"""`crossmargin status` and `reconciliation`: what Redis says about accounts and statements, as data and as tables."""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from engine.events import NS
from monitors.keys import ACCOUNT_FIELDS
from monitors.view import Row, read_account, read_account_calls, read_reconciliation, read_summary
from monitors.wording import duration
from streams.calls import COLUMNS, call_cells, call_data
from streams.desk import Desk, Shown, Table, figure_cell, open_desk
from streams.settings import Settings, UserError

WORST: Final = ("account", "status", "quality", "excess_usd", "equity", "initial", "maintenance", "currency")
DIFFERENCES: Final = ("account", "holder", "name", "kind", "held", "stated")
ALERTS: Final = ("id", "kind", "from", "to", "amount", "currency")


def show(settings: Settings, account: str | None) -> Shown:
    """All accounts at a glance, or one with its open calls; UserError where Redis does not answer or knows nothing of it."""
    with open_desk(settings) as desk:
        if account is None:
            return _summary(desk)
        row = read_account(desk.client, desk.keys, account)
        if row is None:
            raise UserError(f"{desk.where}: found no account '{account}' under {desk.keys.prefix}")
        calls, now_ns = read_account_calls(desk.client, desk.keys, account), time.time_ns()
    return Shown(
        {**row, "calls": [call_data(call, now_ns) for call in calls]},
        [
            (
                "",
                ("figure", "value"),
                [(name, figure_cell(name, row.get(name, ""))) for name in ("account", *ACCOUNT_FIELDS)],
            ),
            ("open calls", COLUMNS, [call_cells(call, now_ns) for call in calls]),
        ],
    )


def show_reconciliation(settings: Settings) -> Shown:
    """Statements beside what accounts hold; UserError where Redis does not answer or no worker has compared yet."""
    with open_desk(settings) as desk:
        found = read_reconciliation(desk.client, desk.keys)
    if found is None:
        raise UserError(f"{desk.where} has no reconciliation under {desk.keys.prefix}: a worker writes it every few seconds")
    rows = [
        (
            *(figure_cell(name, getattr(one, name)) for name in DIFFERENCES),
            duration((int(found.ts_ns) - int(one.since_ns)) // NS),
        )
        for one in found.breaks
    ]
    counts: list[tuple[str, ...]] = [(name, f"{count:,}") for name, count in found.counts.items()]
    tables: list[Table] = [("", ("statements", "count"), counts), ("breaks, the oldest first", (*DIFFERENCES, "age"), rows)]
    return Shown(msgspec.to_builtins(found), tables)


def _cells(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    """A hash as the row of a table."""
    return tuple(figure_cell(name, row.get(name, "")) for name in columns)


def _summary(desk: Desk) -> Shown:
    summary, meta = read_summary(desk.client, desk.keys), desk.meta
    age_seconds = meta.age_seconds(time.time_ns())
    data = {
        "log_id": meta.log_id,
        "shards": meta.shards,
        "missing_shards": meta.missing,
        "age_seconds": round(age_seconds, 3),
        "by_status": summary.by_status,
        "by_quality": summary.by_quality,
        "worst": summary.worst,
        "alerts": summary.alerts,
        "open_calls": summary.open_calls,
    }
    missing = f", not all written yet: {', '.join(map(str, meta.missing))}" if meta.missing else ""
    about = f"log {meta.log_id}, {meta.shards} shards{missing}, as of {age_seconds:.1f} s ago"
    counts: list[tuple[str, ...]] = [
        (name, f"{count:,}")
        for name, count in (summary.by_status | summary.by_quality | {"open calls": summary.open_calls}).items()
    ]
    worst = [_cells(row, WORST) for row in summary.worst]
    alerts = [_cells(row, ALERTS) for row in summary.alerts]
    return Shown(
        data,
        [
            (about, ("accounts", "count"), counts),
            ("lowest excess", WORST, worst),
            ("latest alerts", ALERTS, alerts),
        ],
    )

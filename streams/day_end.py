"""`day-end` and `pilot-report`: all shards of the log at one moment, as files of a pool and as the pilot's weekly report."""

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from engine.core import MarginEngine
from engine.events import DAY_NS
from engine.numbers import date_of, decimal_text, time_ns, time_text
from engine.report import ChangeKind, Report
from monitors.alerts import Alert, Alerts, decode_alert
from monitors.day_end import Pack, csv_text, html, pack, pool_ids
from monitors.day_rows import Lives, ShardDay, day_of_shard, lives_of
from monitors.holdings import ShardRows, rows_of
from monitors.pilot_report import Week, report
from streams import kafka
from streams.moments import NEWEST, Moment, Moments, moment
from streams.settings import ConfigError, Settings, UserError
from streams.topics import CALLS

_WEEK: Final = re.compile(r"(\d{4})-W(\d\d)")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]|^\.")


def write_packs(settings: Settings, out: Path, pool: str | None, day: str | None, at: str | None) -> dict[str, Any]:
    """The packs of all pools, or of one, in a folder each; what was written.

    The moment: the end of a UTC day, or --at, or the log's end. UserError: an unknown pool, a moment that can no longer be
    shown or is still to come, a folder that cannot be written.
    """
    when = _moment(day, at)
    shards, lives = _days(settings, when)
    clock_ns = max(shard.rows.clock_ns for shard in shards)
    if when.ts_ns is not None and clock_ns < (when.ts_ns if day is None else time_ns(f"{day}T00:00:00Z")):
        raise UserError(f"{when.named}the log ends at {time_text(clock_ns)}")
    known = pool_ids(shards)
    if pool is not None and pool not in known:
        raise UserError(f"--pool: found '{pool}'; allowed: {', '.join(known) or 'none, as no pool is defined'}")
    label = str(date_of(clock_ns))
    packs = [pack(shards, name, lives) for name in known if pool in (None, name)]
    return {
        "date": label,
        "clock": time_text(clock_ns),
        "offsets": {str(shard.rows.shard): shard.rows.offset for shard in shards},
        "rule_set": shards[0].rows.rule_set,
        "pools": {one.pool: _write(out, one, label) for one in packs},
    }


def _moment(day: str | None, at: str | None) -> Moment:
    if day is None:
        when = moment(at, "--at")
        if when.offset is not None:
            raise ConfigError(
                f"--at: found '{at}'; allowed: a time such as 2026-11-02T21:00:00Z, as shards differ in offsets"
            )
        return when
    if at is not None:
        raise ConfigError("--date: found --at beside it; allowed: one of the two")
    try:
        return Moment(ts_ns=_end_of(date.fromisoformat(day)), named=f"--date: found {day}; ")
    except ValueError as error:
        raise ConfigError(f"--date: found '{day}'; allowed: a day such as 2026-11-02") from error


def _end_of(day: date) -> int:
    """The last nanosecond of a UTC day."""
    return time_ns(f"{day}T00:00:00Z") + DAY_NS - 1


def _rows(settings: Settings, when: Moment) -> list[ShardRows]:
    """Each shard's rows at the moment, one engine after the other; for the log's end all as at the first one's time."""
    moments, rows = Moments(settings), list[ShardRows]()
    for shard in moments.shards:
        engine = moments.at(shard, when).engine
        rows.append(rows_of(engine))
        when = Moment(ts_ns=engine.clock_ns) if when == NEWEST else when
    return rows


def _days(settings: Settings, when: Moment) -> tuple[list[ShardDay], Lives]:
    """Each shard's day up to the moment, as _rows takes it, and what happened to margin calls until then.

    What happened is in the frames after the snapshot, and before it in topic margin.calls: a snapshot is written when all
    outputs below it are acknowledged.
    """
    moments, days, seen, begun = Moments(settings), list[ShardDay](), list[Alert](), dict[int, int]()

    def watch(engine: MarginEngine, report: Report) -> None:
        if (report.changes["kind"] == ChangeKind.CALL).any():
            seen.extend(alert for alert in Alerts(engine.shard, engine, report) if alert.call is not None)

    for shard in moments.shards:
        found = moments.at(shard, when, watch)
        begun[shard] = found.snapshot or 0
        days.append(day_of_shard(found.engine))
        when = Moment(ts_ns=found.engine.clock_ns) if when == NEWEST else when
    return days, lives_of([*_published(settings, begun, moments.genesis.start_ns), *seen])


def _published(settings: Settings, before: dict[int, int], since_ns: int) -> list[Alert]:
    """What topic margin.calls has of a log that began then, up to these offsets of its shards."""
    if not any(before.values()):
        return []
    found = list[Alert]()
    for partition, (first, end) in kafka.log_range(settings, CALLS).items():
        for message in kafka.read_partition(settings, CALLS, partition, first, end):
            alert = decode_alert(message.value() or b"")
            if alert.offset < before.get(alert.shard, 0) and alert.ts_ns >= since_ns:
                found.append(alert)
    return found


def _write(out: Path, one: Pack, day: str) -> dict[str, Any]:
    folder = out / _UNSAFE.sub("_", one.pool)
    files = {f"{section.name}.csv": csv_text(section) for section in one.sections} | {"index.html": html(one, day)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot write the pack: {error.strerror}") from error
    lacking = None if one.undermargined_usd is None else decimal_text(one.undermargined_usd, 2)
    return {"folder": str(folder), "undermargined_usd": lacking, "rows": {s.name: len(s.rows) for s in one.sections}}


def pilot_week(settings: Settings, week: str | None) -> Week:
    """The pilot's report of an ISO week that ends on a Sunday, at its end or so far; None: the week of the log's end."""
    ending = None if week is None else _sunday(week)
    when = NEWEST if ending is None else Moment(ts_ns=_end_of(ending), named=f"--week: found {week}; ")
    shards = _rows(settings, when)
    return report(shards, ending or _week_ending(date_of(max(shard.clock_ns for shard in shards))))


def _sunday(week: str) -> date:
    found = _WEEK.fullmatch(week)
    try:
        if found:
            return date.fromisocalendar(int(found[1]), int(found[2]), 7)
    except ValueError:
        pass  # a week that the year does not have
    raise ConfigError(f"--week: found '{week}'; allowed: an ISO week such as 2026-W09")


def _week_ending(day: date) -> date:
    return day + timedelta(days=7 - day.isoweekday())

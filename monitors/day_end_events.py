"""Sections of a day-end pack with what happened: margin calls and their life, statements that differ, inputs, rules."""

from collections.abc import Iterator
from typing import NamedTuple

from engine.events import HOUR_NS
from engine.numbers import decimal_text, time_text
from monitors.alerts import Alert
from monitors.day_rows import is_open
from monitors.outlook import difference
from monitors.pool_day import PoolDay, Row, Section
from monitors.wording import outstanding


class _Called(NamedTuple):
    """A call of the day. over_ns: 0 while it is open; life: empty where the topic of calls no longer has it."""

    id: str
    account: str
    state: str
    currency: str
    called: str
    received: str
    left: str
    issued_ns: int
    due_ns: int
    over_ns: int
    acknowledged_by: str
    life: tuple[Alert, ...]


def _calls_of(day: PoolDay) -> list[_Called]:
    """The calls that are open, the first due first, then those that were over today."""
    found = [
        _Called(
            one.id, one.account, one.state, one.currency, one.called, one.received, outstanding(one.called, one.received),
            one.issued_ns, one.due_ns, 0, one.acknowledged_by, day.lives.get(one.id, ()),
        )
        for shard in day.shards for one in shard.calls if one.account in day.by_id
    ]  # fmt: skip
    found.sort(key=lambda one: (one.due_ns, one.id))
    return found + sorted(_over_today(day), key=lambda one: (one.over_ns, one.id))


def _over_today(day: PoolDay) -> Iterator[_Called]:
    for call_id, life in day.lives.items():
        last = life[-1]
        if last.account not in day.by_id or last.call is None or is_open(last) or last.ts_ns < day.begin_ns:
            continue
        acks = [alert.call.user for alert in life if alert.call is not None and alert.call.event == "acknowledged"]
        nothing = outstanding(last.amount, last.amount)
        yield _Called(
            call_id, last.account, last.after, last.currency, last.amount, last.call.received, nothing, last.call.issued_ns,
            last.call.due_ns, last.ts_ns, acks[-1] if acks else "", life,
        )  # fmt: skip


def calls(day: PoolDay) -> Section:
    """A row a call that is open or was over today."""
    found = _calls_of(day)
    rows = [
        (
            one.id, one.account, day.by_id[one.account].customer, one.state, one.acknowledged_by, one.currency, one.called,
            one.received, one.left, *day.times(one.due_ns), *day.times(one.issued_ns), *day.times(one.over_ns),
        )
        for one in found
    ]  # fmt: skip
    times = (*day.time_columns("due"), *day.time_columns("issued"), *day.time_columns("over"))
    words = ("call", "account", "customer", "state", "acknowledged_by", "currency")
    note = "Those that are open, the first due first, then those that were over in the UTC day of the moment."
    if lost := sum(not one.life for one in found):
        note += f" Of {lost} the life is not known: topic margin.calls no longer has it."
    columns = (*words, "called", "received", "still_asked_for", *times)
    return Section("calls", "Who is called for how much?", columns, len(words), rows, note)


def lives(day: PoolDay) -> Section:
    """A row a change of such a call, the oldest first."""
    rows = [
        (
            one.id, alert.call.event, alert.after, *day.times(alert.ts_ns), alert.call.user, alert.call.text, alert.currency,
            alert.amount, alert.call.received,
        )
        for one in _calls_of(day) for alert in one.life if alert.call is not None
    ]  # fmt: skip
    columns = ("call", "event", "state", *day.time_columns("at"), "by", "text", "currency", "called", "received")
    note = "Everything that happened to these calls, on earlier days too."
    return Section("call_lives", "What became of each call?", columns, len(columns) - 2, rows, note)


def breaks(day: PoolDay) -> Section:
    """A row a statement that differs, the oldest first."""
    found = [one for stated in day.statements for one in stated.breaks]
    rows = []
    for one in sorted(found, key=lambda one: (one.since_ns, one.account, one.name)):
        said, age = difference(one), f"{(day.clock_ns - one.since_ns) / HOUR_NS:.1f}"
        apart = decimal_text(one.stated - one.held, 8).rstrip("0").rstrip(".")
        words = one.account, one.holder or "nobody", one.name, said.type, said.kind
        rows.append((*words, *day.times(one.since_ns), *day.times(one.stated_ns), age, said.held, said.stated, apart))
    matched = sum(stated.counts["MATCHED"] for stated in day.statements)
    times = (*day.time_columns("since"), *day.time_columns("stated"))
    columns = ("account", "holder", "name", "type", "kind", *times)
    note = f"{matched} statements of clearing houses and custodians match. Statements never change what accounts hold."
    if not matched and not rows:
        note = "No statement of a clearing house or custodian was received: nothing was compared."
    return Section(
        "breaks", "Where do statements differ from own books?", (*columns, "age_hours", "held", "stated", "difference"),
        len(columns), rows, note,
    )  # fmt: skip


def inputs(day: PoolDay) -> Section:
    """A row an input that is stale or missing."""
    accounts: dict[Row, int] = {}
    for found in (found for shard in day.shards for found in shard.inputs if found.pool == day.pool.id):
        one = found.input
        row = one.instrument, one.quality.name, one.why, *day.times(one.ts_ns)
        accounts[row] = accounts.get(row, 0) + found.accounts
    rows = [(*row, f"{count}") for row, count in sorted(accounts.items(), key=lambda item: (-item[1], item[0]))]
    columns = ("instrument", "quality", "why", *day.time_columns("last_price"))
    note = (
        "What makes accounts of the pool STALE or UNPRICED: what they hold, and what prices their collateral and currencies."
    )
    return Section("inputs", "Which inputs are old or missing?", (*columns, "accounts"), len(columns), rows, note)


def rules(day: PoolDay) -> Section:
    """The rules and scenario sets in force."""
    found = dict.fromkeys(rule for shard in day.shards for rule in shard.rows.rules)
    rows = [(one.id, one.model, "" if one.effective_ns is None else time_text(one.effective_ns), one.hash) for one in found]
    return Section("rules", "Which rules were in force?", ("rule", "model", "effective", "hash"), 4, rows)


def moments(day: PoolDay) -> Section:
    """Where in the log each shard stood."""
    rows = [(f"{s.shard}", f"{s.offset}", time_text(s.clock_ns), s.rule_set, s.log_id) for s in (d.rows for d in day.shards)]
    columns = ("shard", "log_offset", "clock", "rule_set", "log")
    return Section("moments", "At which place of the log?", columns, 5, rows)

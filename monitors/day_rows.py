"""What a day-end pack says of a shard beyond its holdings: lines, limits, statements, calls, inputs that are not fresh.

Plain rows, so that shards can be looked at one after the other. Amounts are minor units of the currency beside them or US
cents, None where a currency has no rate.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from engine.arithmetic import E9, LIMIT
from engine.core import MarginEngine
from engine.documents import Asset, Calendar, Pool
from engine.explain import Requirement, Version, converted, requirement
from engine.explain_quality import Input, inputs
from engine.numbers import decimal_text
from engine.reconciliation import Reconciliation, reconciliation
from engine.report import OPEN_CALLS, Quality
from engine.state import NONE
from monitors.alerts import Alert
from monitors.holdings import AccountRow, ShardRows, rows_of

LAST_KNOWN: Final = "as stored, the last known"
BEHIND: Final = "stored beyond these lines"


@dataclass(frozen=True, slots=True)
class LineRow:
    """A line of an account's maintenance requirement in a currency; None: it cannot be said, `why` tells the reason."""

    account: str
    rule: str
    model: str
    line: str
    quantity: str
    currency: str
    decimals: int
    maintenance: int | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class LimitRow:
    """An entry of a collateral rule with a cap or a share, and an account that holds what counts in it."""

    account: str
    entry: str
    limit_usd: int | None
    used_usd: int | None
    over_usd: int | None


@dataclass(frozen=True, slots=True)
class InputRow:
    """What makes so many accounts of a pool STALE or UNPRICED."""

    pool: str
    input: Input
    accounts: int


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A margin call that is open; amounts are decimal text, acknowledged_by "" for nobody."""

    id: str
    account: str
    state: str
    currency: str
    called: str
    received: str
    called_usd: int | None
    received_usd: int | None
    issued_ns: int
    due_ns: int
    acknowledged_by: str


@dataclass(frozen=True, slots=True)
class ShardDay:
    """A shard at a moment. lines, limits: of all accounts in order; statements and time_zones by pool ("": UTC)."""

    rows: ShardRows
    lines: tuple[LineRow, ...]
    limits: tuple[LimitRow, ...]
    inputs: tuple[InputRow, ...]
    calls: tuple[OpenRow, ...]
    statements: dict[str, Reconciliation]
    time_zones: dict[str, str]


Lives = Mapping[str, tuple[Alert, ...]]
"""Everything that happened to each margin call, by its id, the oldest first."""


def lives_of(alerts: Iterable[Alert]) -> Lives:
    """The lives of calls from their alerts, of which a worker may repeat some."""
    unique = {alert.id: alert for alert in alerts}
    found: dict[str, list[Alert]] = {}
    for alert in sorted(unique.values(), key=lambda one: one.change):
        if alert.call is not None:
            found.setdefault(alert.call.id, []).append(alert)
    return {call_id: tuple(life) for call_id, life in found.items()}


def is_open(alert: Alert) -> bool:
    """Whether a call was open after what the alert tells."""
    return alert.after in {state.name for state in OPEN_CALLS}


def day_of_shard(engine: MarginEngine) -> ShardDay:
    """The rows of an engine, which is brought to the rules in force at its clock."""
    rows, d = rows_of(engine), engine.definitions
    accounts = list(enumerate(rows.accounts))
    return ShardDay(
        rows=rows,
        lines=tuple(line for slot, account in accounts for line in _lines(engine, slot, account)),
        limits=tuple(limit for slot, account in accounts for limit in _limits(engine, slot, account)),
        inputs=tuple(_inputs(engine, accounts)),
        calls=tuple(_calls(engine)),
        statements={
            name: reconciliation(d.state, d, slot, most=int(d.state.now[0]["statements"]))
            for slot, name in enumerate(d.pool_ids)
        },
        time_zones={name: _time_zone(engine, name) for name in d.pool_ids},
    )


def _time_zone(engine: MarginEngine, pool_id: str) -> str:
    documents = engine.definitions.documents
    pool = documents["pool", pool_id]
    assert isinstance(pool, Pool)
    calendar = None if pool.calendar is None else documents["calendar", pool.calendar]
    return calendar.time_zone if isinstance(calendar, Calendar) else ""


# Lines of requirements


def _lines(engine: MarginEngine, slot: int, account: AccountRow) -> Iterator[LineRow]:
    """Lines that sum to the stored maintenance; where that cannot be worked out now, why not, and it as one line."""
    found = requirement(engine, slot, with_tails=False)
    own = account.currency, account.decimals
    if found.now is None or account.quality == Quality.UNPRICED.name:
        yield from _problems(engine, slot, found)
        yield LineRow(account.id, "", "", LAST_KNOWN, "", *own, found.stored.maintenance, "; ".join(found.behind))
        return
    for position in found.alone:
        where, quantity = _currency(engine, position.currency), format(position.quantity, "f")
        named = account.id, *_names(position.rule), position.instrument, quantity
        yield LineRow(*named, *where, position.required.maintenance)
    for portfolio in found.portfolios:
        where = _currency(engine, portfolio.currency)
        for name, amount in portfolio.lines.items():
            if amount:
                yield LineRow(account.id, *_names(portfolio.rule), name, "", *where, amount)
    if rest := found.stored.maintenance - found.now.maintenance:
        yield LineRow(account.id, "", "", BEHIND, "", *own, rest, "; ".join(found.behind))


def _problems(engine: MarginEngine, slot: int, found: Requirement) -> Iterator[LineRow]:
    """The lines that cannot be said."""
    name = engine.account_ids[slot]
    missing = {one.instrument: one.why for one in inputs(engine, slot) if one.quality is Quality.UNPRICED}
    for one in found.alone:
        if why := one.problem or missing.get(one.instrument):
            yield LineRow(name, *_names(one.rule), one.instrument, format(one.quantity, "f"), one.currency, 0, None, why)
    for portfolio in found.portfolios:
        if portfolio.problem:
            yield LineRow(name, *_names(portfolio.rule), "", "", portfolio.currency, 0, None, portfolio.problem)


def _names(rule: Version | None) -> tuple[str, str]:
    return ("", "") if rule is None else (rule.id, rule.model)


def _currency(engine: MarginEngine, name: str) -> tuple[str, int]:
    """A currency and its decimals."""
    asset = engine.definitions.documents["asset", name]
    assert isinstance(asset, Asset)
    return name, asset.decimals


# Limits of collateral


def _limits(engine: MarginEngine, slot: int, account: AccountRow) -> Iterator[LimitRow]:
    """A row an entry with a cap or a share that the account's holdings count in."""
    d, state = engine.definitions, engine.definitions.state
    terms, pool, own = state.terms, int(state.accounts.pool[slot]), d.asset_slot(account.currency)
    for entry in dict.fromkeys(held.entry for held in account.held if held.entry and held.amount > 0):
        held = [one for one in account.held if one.entry == entry and one.amount > 0]
        row = terms[pool, d.asset_slot(held[0].asset)]
        limit: int | None = int(row["cap"])
        if row["share"] != NONE:
            required = converted(engine, account.maintenance, own, d.asset_slot("USD"), up=False)
            share = LIMIT if required is None else required * int(row["share"]) // E9
            limit = min(int(row["cap"]), share)
        limit = None if limit is None or limit >= LIMIT else limit
        yield LimitRow(account.id, entry, limit, added(one.margin_usd for one in held), added(one.over_usd for one in held))


def added(amounts: Iterable[int | None]) -> int | None:
    """Their sum, None where one is not known."""
    total = 0
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


# Inputs


def _inputs(engine: MarginEngine, accounts: Iterable[tuple[int, AccountRow]]) -> Iterator[InputRow]:
    """What makes accounts STALE or UNPRICED, by pool."""
    found = Counter(
        (account.pool, one)
        for slot, account in accounts if account.quality != Quality.FRESH.name for one in inputs(engine, slot)
    )  # fmt: skip
    return (InputRow(pool, one, count) for (pool, one), count in found.items())


# Calls


def _calls(engine: MarginEngine) -> Iterator[OpenRow]:
    d, usd = engine.definitions, engine.definitions.asset_slot("USD")
    for one in engine.open_calls():
        who = engine.account_info(one.account)
        own = d.asset_slot(who.currency)
        yield OpenRow(
            id=who.call_id(one.sequence),
            account=who.id,
            state=one.state.name,
            currency=who.currency,
            called=decimal_text(one.called, who.decimals),
            received=decimal_text(one.received, who.decimals),
            called_usd=converted(engine, one.called, own, usd, up=True),
            received_usd=converted(engine, one.received, own, usd, up=False),
            issued_ns=one.issued_ns,
            due_ns=one.due_ns,
            acknowledged_by=next((said.user for said in reversed(one.said) if said.kind == "ack"), ""),
        )

"""What lies ahead of a shard and what is stated of it, as JSON in Redis: one string a shard and kind, which readers sum."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import msgspec

from engine.events import QUANTITY_ONE
from engine.numbers import decimal_text
from engine.reconciliation import MOST_SHOWN, Break, Reconciliation
from engine.staleness import Stale
from engine.warning import FIRST, FIRST_AT_CLOSE, UNCHANGED, Named, Warnings

_encode: Final = msgspec.json.Encoder().encode
_QUANTITY_DECIMALS: Final = len(str(QUANTITY_ONE)) - 1


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a worker looks at every few seconds: early warning and statements of one shard, as of a log offset."""

    offset: int
    warnings: Warnings
    reconciliation: Reconciliation


class Called(msgspec.Struct, frozen=True):
    """An account and what it would be called for."""

    account: str
    call_usd: str


class Step(msgspec.Struct, frozen=True):
    """A step of the ladder: accounts it brings below maintenance, the largest calls first."""

    shock: str
    accounts: int
    call_usd: str
    first: list[Called]


class StaleInstrument(msgspec.Struct, frozen=True):
    """An instrument that makes accounts STALE or UNPRICED (engine/staleness.py); mark_ns "0": no price has come."""

    instrument: str
    type: str
    quality: str
    mark_ns: str


class Ladder(msgspec.Struct, frozen=True):
    """Early warning (engine/warning.py); money in USD as decimal text, moments in ns as text.

    forecast, and the largest calls in it, forecast_first: by pool and move; close_hours: by pool; due_usd: by currency and
    window; due: by currency and the hour at whose end it is due, in the currency. stale: the oldest, at most
    FIRST. Of several shards ts_ns is the oldest, close_hours the longest.
    """

    ts_ns: str
    short: int
    unpriced: int
    steps: list[Step]
    forecast: dict[str, dict[str, str]]
    forecast_first: dict[str, dict[str, list[Called]]]
    close_hours: dict[str, int]
    due_usd: dict[str, dict[str, str]]
    due: dict[str, dict[str, str]]
    regimes: dict[str, str]
    unvalued: list[str]
    stale: list[StaleInstrument]


class Difference(msgspec.Struct, frozen=True):
    """A break (engine/reconciliation.py); quantities as decimal text, moments in ns as text, stated_ns 0 for never."""

    account: str
    holder: str
    name: str
    type: str  # instrument or asset
    kind: str
    held: str
    stated: str
    since_ns: str
    stated_ns: str


class Differences(msgspec.Struct, frozen=True):
    """Statements by kind, and the oldest breaks, at most MOST_SHOWN; of several shards ts_ns is the oldest."""

    ts_ns: str
    counts: dict[str, int]
    breaks: list[Difference]


def encode_ladder(warnings: Warnings) -> bytes:
    """A shard's early warning as JSON."""
    steps = [Step(name, rung.accounts, _usd(rung.call_usd), _called(rung.first)) for name, rung in warnings.ladder.items()]
    first = warnings.forecast_first
    due_usd: dict[str, dict[str, str]] = {}
    for (currency, window), cents in warnings.due.items():
        due_usd.setdefault(currency, {})[window] = _usd(cents)
    due: dict[str, dict[str, str]] = {}
    for (currency, hour_ns), amount in warnings.due_hours.items():
        due.setdefault(currency, {})[str(hour_ns)] = amount
    return _encode(
        Ladder(
            ts_ns=str(warnings.ts_ns),
            short=warnings.short,
            unpriced=warnings.unpriced,
            steps=steps,
            forecast={pool: {m: _usd(cents) for m, cents in moves.items()} for pool, moves in warnings.forecast.items()},
            forecast_first={pool: {m: _called(one) for m, one in moves.items()} for pool, moves in first.items()},
            close_hours=warnings.close_hours,
            due_usd=due_usd,
            due=due,
            regimes=warnings.regimes,
            unvalued=list(warnings.unvalued),
            stale=[_stale(one) for one in warnings.stale[:FIRST]],
        )
    )


def _stale(one: Stale) -> StaleInstrument:
    return StaleInstrument(one.instrument, one.type, one.quality.name, str(one.mark_ns))


def encode_reconciliation(found: Reconciliation) -> bytes:
    """A shard's breaks as JSON."""
    return _encode(Differences(str(found.ts_ns), found.counts, [difference(one) for one in found.breaks]))


def difference(one: Break) -> Difference:
    """A break in JSON's words."""
    kind, (held, stated) = "asset" if one.is_asset else "instrument", map(_quantity, (one.held, one.stated))
    moments = str(one.since_ns), str(one.stated_ns)
    return Difference(one.account, one.holder, one.name, kind, one.kind.name, held, stated, *moments)


def sum_ladders(shards: Iterable[bytes]) -> Ladder | None:
    """The early warning of all shards from their JSON; None without any."""
    found = [msgspec.json.decode(one, type=Ladder) for one in shards]
    if not found:
        return None
    steps = []
    for same in zip(*(one.steps for one in found), strict=True):
        called = _sum(step.call_usd for step in same)
        first = _largest((step.first for step in same), FIRST)
        steps.append(Step(same[0].shock, sum(step.accounts for step in same), called, first))
    forecast = _sums([one.forecast for one in found])
    stale = {each.instrument: each for one in found for each in one.stale}
    return Ladder(
        ts_ns=min((one.ts_ns for one in found), key=int),
        short=sum(one.short for one in found),
        unpriced=sum(one.unpriced for one in found),
        steps=steps,
        forecast=forecast,
        forecast_first={
            pool: {
                move: _largest((one.forecast_first.get(pool, {}).get(move, []) for one in found), FIRST_AT_CLOSE)
                for move in moves
            }
            for pool, moves in forecast.items()
        },
        close_hours={pool: max(one.close_hours.get(pool, 0) for one in found) for pool in forecast},
        due_usd=_sums([one.due_usd for one in found]),
        due=_sums([one.due for one in found]),
        regimes=found[0].regimes,
        unvalued=sorted({name for one in found for name in one.unvalued}),
        stale=sorted(stale.values(), key=lambda each: (int(each.mark_ns), each.instrument))[:FIRST],
    )


def sum_differences(shards: Iterable[bytes]) -> Differences | None:
    """The statements of all shards from their JSON; None without any."""
    found = [msgspec.json.decode(one, type=Differences) for one in shards]
    if not found:
        return None
    counts: Counter[str] = Counter()
    for one in found:
        counts.update(one.counts)
    breaks = sorted((each for one in found for each in one.breaks), key=lambda each: int(each.since_ns))
    return Differences(min((one.ts_ns for one in found), key=int), dict(counts), breaks[:MOST_SHOWN])


def worst_moves(shards: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, tuple[str, int]]:
    """By pool: the move after which most would be called (UNCHANGED where none is worse), and how much, all shards."""
    sums: dict[str, Counter[str]] = {}
    for forecast in shards:
        for pool, moves in forecast.items():
            sums.setdefault(pool, Counter({UNCHANGED: 0})).update(moves)
    return {pool: max(moves.items(), key=lambda item: item[1]) for pool, moves in sums.items()}


def _called(first: Named) -> list[Called]:
    return [Called(account, _usd(call)) for account, call in first]


def _largest(shards: Iterable[list[Called]], most: int) -> list[Called]:
    """The largest calls of all shards."""
    return sorted((one for shard in shards for one in shard), key=lambda one: Decimal(one.call_usd), reverse=True)[:most]


def _sum(amounts: Iterable[str]) -> str:
    return str(sum(map(Decimal, amounts), Decimal(0)))


def _sums(tables: list[dict[str, dict[str, str]]]) -> dict[str, dict[str, str]]:
    """Two-level tables of decimal text, added up."""
    total: dict[str, dict[str, str]] = {}
    for table in tables:
        for name, amounts in table.items():
            row = total.setdefault(name, {})
            for key, amount in amounts.items():
                row[key] = _sum((row.get(key, "0"), amount))
    return total


def _usd(cents: int) -> str:
    return decimal_text(cents, 2)


def _quantity(units: int) -> str:
    text = decimal_text(units, _QUANTITY_DECIMALS)
    return text.rstrip("0").rstrip(".")

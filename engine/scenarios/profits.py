"""Profit and loss of one unit of an instrument in every scenario of a set, by full revaluation at its mark.

Amounts are money of the QUOTE currency, of inverse contracts too: the coins won at the price to which the scenario moves,
which is contract x (S'/S - 1), and for an option paid in coin the move of coins x price. So linear and inverse positions
of equal exposure offset each other in every scenario. Time stands still; carry, funding and delivery options are not in it.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from engine.documents import Instrument
from engine.events import DAY_NS
from engine.models import grid
from engine.numbers import time_ns
from engine.pricing.bill import bill_price, bill_time, bill_yield
from engine.pricing.checks import above, at_least, finite
from engine.pricing.curve import BASIS_POINT, DAYS_OF_YEAR
from engine.pricing.dates import add_months
from engine.pricing.options import black_value, implied_volatility, inverse_delta, inverse_value, years_to_expiry
from engine.pricing.treasury import Bond, CashFlows, cash_flows, clean_price, yield_to_maturity
from engine.scenarios.contracts import TENORS
from engine.scenarios.moves import Floats, Move
from engine.scenarios.sets import ScenarioSet, shocks_of

YIELD_TYPES: Final = frozenset({"treasury", "treasury_future", "rate_future"})  # a yield or rate moves them
PRICE_TYPES: Final = frozenset({"crypto_future", "perpetual", "spot", "fund", "fx", "index"})  # their own price moves
OPTION_TYPES: Final = frozenset({"option", "future_option"})  # the underlying's price moves them
FUTURE_TYPES: Final = frozenset({"treasury_future", "rate_future", "crypto_future"})
SPAN_KINDS: Final = ("scan_range", "scan_range", "scale")
GRID_KINDS: Final = (str(Move.RELATIVE), "direction", "flag")
POINTS: Final = (("price",), (str(Move.RELATIVE),))  # factors and kinds
DAYS_OF_OPTION_YEAR: Final = 365
KEPT_FLOWS: Final = 4096  # securities x days whose cash flows are remembered
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_BUCKET: Final = re.compile(r"([1-9][0-9]{0,2})([MY])")

Points: TypeAlias = Callable[[Floats, Floats], Floats]


class Unpriceable(ValueError):
    """There is no profit to state; the message says of which instrument, and what is missing or wrong."""


class ScanRange(NamedTuple):
    """Ranges of a span set: of the price (points, or a share of the price if `fraction`), of the volatility (a year's)."""

    price: float
    volatility: float
    fraction: bool


class Subject(NamedTuple):
    """An instrument at one moment: its mark in points, the log time, the mark of its underlying (None: unknown).

    deliverables: of a Treasury future, each security of the basket with its conversion factor; empty: linear in its dv01.
    The day of valuation and of settlement is the UTC day.
    """

    document: Instrument
    price: float
    now_ns: int
    underlying_price: float | None
    deliverables: tuple[tuple["Subject", float], ...] = ()


class _Moving(NamedTuple):
    """How an instrument follows a price: the price that moves, and points won for (price changes, volatilities).

    volatility: the one implied by an option's mark, with its days to expiry; both 0 where it is no option.
    """

    level: float
    volatility: float
    days: float
    points: Points


def profits(scenarios: ScenarioSet, subject: Subject, ranges: Mapping[str, ScanRange] | None) -> Floats:
    """(scenarios,) profit or loss of one unit of quantity, money of the quote currency; finite, exactly 0 without a move.

    ranges: of a span set, by underlying (or own id). Unpriceable: a factor or move that is missing, expired, a mark without
    a volatility, a definition without what the valuation needs, or a set of unknown kinds.
    """
    document = subject.document
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            result = _points(scenarios, subject, ranges) * float(document.multiplier)
        return finite("profit", result)
    except ValueError as error:
        raise Unpriceable(f"{document.id}: {error}") from error


def delta(subject: Subject) -> float:
    """Units of the underlying per unit of quantity; 0 of what a yield moves (it has a DV01). Unpriceable as profits.

    Inverse contracts: contract / price, in coins. Options: Black's delta; of those paid in coin less the value in coins
    (Deribit's net transaction delta [P], engine.pricing.options.inverse_delta); half at the money without volatility.
    """
    document = subject.document
    try:
        _check(subject)
        if document.type in YIELD_TYPES or document.dv01 is not None:
            return 0.0
        if document.type in PRICE_TYPES:
            each = 1.0 / float(above("mark", subject.price, 0.0)) if document.inverse else 1.0
        else:
            option = _option(subject)
            net = inverse_delta(*option)
            each = float(net if document.inverse else net + inverse_value(*option))
        return each * float(document.multiplier)
    except ValueError as error:
        raise Unpriceable(f"{document.id}: {error}") from error


def _points(scenarios: ScenarioSet, subject: Subject, ranges: Mapping[str, ScanRange] | None) -> Floats:
    """Profits in points: before the multiplier."""
    _check(subject)
    if scenarios.kinds == SPAN_KINDS:
        return _span(scenarios, subject, ranges or {})
    if scenarios.kinds == GRID_KINDS:
        return _grid(scenarios, subject)
    if (scenarios.factors, scenarios.kinds) == POINTS:
        moving = _moving(subject)
        return moving.points(_relative_level(moving) * _moves(scenarios, "price"), _held(scenarios, moving))
    if not set(scenarios.kinds) <= {str(kind) for kind in Move}:
        raise ValueError(f"set {scenarios.name} has kinds {', '.join(scenarios.kinds)}, which no model has")
    if subject.document.type in YIELD_TYPES:
        return _on_yields(scenarios, subject)
    return _on_price(scenarios, subject)


def _check(subject: Subject) -> None:
    """ValueError for a type without a price risk, a mark that is no number, or an instrument that has expired."""
    document = subject.document
    if document.type not in YIELD_TYPES | PRICE_TYPES | OPTION_TYPES:
        raise ValueError(f"type {document.type} has no profit in scenarios")
    finite("mark", subject.price)
    finite("multiplier", float(document.multiplier))
    if document.expiry is not None and time_ns(document.expiry) <= subject.now_ns:
        raise ValueError(f"expired at {document.expiry}")


def _moves(scenarios: ScenarioSet, factor: str) -> Floats:
    """(scenarios,) moves of one factor; ValueError where the set has none, or none in a scenario."""
    if factor not in scenarios.factors:
        raise ValueError(f"set {scenarios.name} has no factor {factor}")
    moves = scenarios.matrix[:, scenarios.factors.index(factor)]
    missing = np.isnan(moves)
    if missing.any():
        where = scenarios.labels[int(np.argmax(missing))]
        raise ValueError(f"factor {factor} has no move in scenario '{where}' of set {scenarios.name}")
    return moves


def _kind(scenarios: ScenarioSet, factor: str) -> str:
    return scenarios.kinds[scenarios.factors.index(factor)]


def _held(scenarios: ScenarioSet, moving: _Moving) -> Floats:
    """The present volatility in every scenario."""
    return np.full(len(scenarios.labels), moving.volatility)


# What a price moves.


def _on_price(scenarios: ScenarioSet, subject: Subject) -> Floats:
    """A historical set: the factor is named by the underlying, or by the instrument where it has none."""
    factor = subject.document.underlying or subject.document.id
    moves = _moves(scenarios, factor)
    kind = _kind(scenarios, factor)
    if kind == Move.BP:
        raise ValueError(f"factor {factor} of set {scenarios.name} moves in basis points; needed is a move of its price")
    moving = _moving(subject)
    shares = np.expm1(moves) if kind == Move.LOG else moves
    return moving.points(_relative_level(moving) * shares, _held(scenarios, moving))


def _span(scenarios: ScenarioSet, subject: Subject, ranges: Mapping[str, ScanRange]) -> Floats:
    """The 16 scenarios: price and volatility by their ranges, the result by its weight (rates.md 5.1 [S], [R])."""
    key = subject.document.underlying or subject.document.id
    if key not in ranges:
        raise ValueError(f"there is no scan range for {key}")
    given, moving = ranges[key], _moving(subject)
    at_least("price scan range", given.price, 0.0)
    at_least("volatility scan range", given.volatility, 0.0)
    scan = given.price * (_relative_level(moving) if given.fraction else 1.0)
    price, volatility, weight = (_moves(scenarios, factor) for factor in scenarios.factors)
    shocked = np.maximum(moving.volatility + volatility * given.volatility, 0.0)
    return weight * moving.points(price * scan, shocked)


def _grid(scenarios: ScenarioSet, subject: Subject) -> Floats:
    """The cells of engine.models.grid, tails weighted, not dampened.

    Of inverse contracts the tail's weight in coin, x (1 + m) / (1 + sgn(m) R), with the coins valued at the edge of the
    range, where that weight puts them (a delta-one tail equals its edge cell), is the linear weight of the quote result.
    """
    shocks = shocks_of(scenarios)
    moving = _moving(subject)
    level = _relative_level(moving)
    return grid.grid_row(lambda m, vol: moving.points(level * m, vol), moving.volatility, moving.days, shocks)


def _relative_level(moving: _Moving) -> float:
    """The price of which a share moves; ValueError where it is not above 0: it has no shares."""
    return float(above("price of which a share moves", moving.level, 0.0))


def _moving(subject: Subject) -> _Moving:
    document = subject.document
    if document.type in OPTION_TYPES:
        option = _option(subject)

        def revalued(change: Floats, volatility: Floats) -> Floats:
            # The present value comes last through the same operations, so that no move wins exactly nothing.
            forwards = np.append(option.forward + change, option.forward)
            volatilities = np.append(volatility, option.volatility)
            values = black_value(forwards, option.strike, volatilities, option.years, option.call)
            return np.asarray(values[:-1] - values[-1])

        return _Moving(option.forward, option.volatility, option.years * DAYS_OF_OPTION_YEAR, revalued)
    if document.inverse:
        price = float(above("mark of an inverse contract", subject.price, 0.0))

        def inverse(change: Floats, _: Floats) -> Floats:
            above("moved price of an inverse contract", price + change, 0.0)
            return change / price

        return _Moving(price, 0.0, 0.0, inverse)
    return _Moving(subject.price, 0.0, 0.0, lambda change, _: change)


class _Option(NamedTuple):
    """The arguments of engine.pricing.options, in their order."""

    forward: float
    strike: float
    volatility: float
    years: float
    call: bool


def _option(subject: Subject) -> _Option:
    """An option with the volatility that its mark implies; a mark in coin is worth mark x price of the underlying."""
    document = subject.document
    if document.strike is None or document.right is None or document.expiry is None:
        raise ValueError("an option needs strike, right and expiry")
    if subject.underlying_price is None:
        raise ValueError(f"the price of its underlying {document.underlying} is not known")
    forward, strike, call = subject.underlying_price, float(document.strike), document.right == "call"
    years = years_to_expiry(subject.now_ns, time_ns(document.expiry))
    value = subject.price * forward if document.inverse else subject.price
    volatility = float(implied_volatility(value, forward, strike, years, call))
    return _Option(forward, strike, volatility, years, call)


# What a yield moves.


def _on_yields(scenarios: ScenarioSet, subject: Subject) -> Floats:
    """A historical set: securities at their moved yields, futures by the cheapest to deliver or linear in their DV01.

    Futures move = move of the cheapest to deliver / conversion factor (rates.md 2). Rate futures are 100 - rate.
    """
    document = subject.document
    if document.type == "treasury":
        return _security(scenarios, subject)
    if subject.deliverables and document.type == "treasury_future":
        return _cheapest(scenarios, subject)
    moves = _yield_moves(scenarios, document, None if document.bucket is None else _bucket_months(document.bucket))
    if document.type == "rate_future":
        return -moves / 100.0
    if document.dv01 is None:
        raise ValueError("a Treasury future needs its deliverable securities, or dv01 and bucket")
    return -moves * float(document.dv01)


def _yield_moves(scenarios: ScenarioSet, document: Instrument, months: float | None) -> Floats:
    """(scenarios,) moves in basis points: of the underlying where it is a factor, else of the set's tenors at the maturity.

    Straight between the two tenors round it, flat beyond both ends. ValueError: no such factor, or it moves otherwise.
    """
    own = document.underlying
    if own is not None and own in scenarios.factors:
        if _kind(scenarios, own) != Move.BP:
            raise ValueError(f"factor {own} of set {scenarios.name} moves as {_kind(scenarios, own)}; needed are bp")
        return _moves(scenarios, own)
    if months is None:
        raise ValueError(f"it has no bucket, and set {scenarios.name} no factor for its underlying {own}")
    curve = [name for name in scenarios.factors if name in TENORS and _kind(scenarios, name) == Move.BP]
    tenors = sorted((TENORS[name], name) for name in curve)
    if not tenors:
        raise ValueError(f"set {scenarios.name} has neither a factor for its underlying {own} nor a tenor of the curve")
    right = next((i for i, (end, _) in enumerate(tenors) if end >= months), len(tenors) - 1)
    (end, name), left = tenors[right], max(right - 1, 0)
    if months >= end or right == 0:
        return _moves(scenarios, name)
    share = (months - tenors[left][0]) / (end - tenors[left][0])
    return (1.0 - share) * _moves(scenarios, tenors[left][1]) + share * _moves(scenarios, name)


def _bucket_months(bucket: str) -> int:
    """The months of a tenor bucket such as 10Y or 3M."""
    found = _BUCKET.fullmatch(bucket)
    if not found:
        raise ValueError(f"bucket {bucket} is no tenor such as 3M or 10Y")
    return int(found[1]) * (12 if found[2] == "Y" else 1)


def _security(scenarios: ScenarioSet, subject: Subject) -> Floats:
    """Clean price at the moved yields less that at the yield of the mark (the mark, but for rounding), points.

    Without coupon and within a year of maturity it is a bill: its investment yield moves (31 CFR 356 appendix B [P]).
    """
    document = subject.document
    if document.maturity is None:
        raise ValueError("a Treasury needs its maturity")
    day, maturity = date.fromordinal(_EPOCH_DAY + subject.now_ns // DAY_NS), date.fromisoformat(document.maturity)
    months = (maturity - day).days / DAYS_OF_YEAR * 12
    shifts = np.append(_yield_moves(scenarios, document, months), 0.0) * BASIS_POINT
    if not document.coupon and maturity <= add_months(day, 12):
        time = bill_time(day, maturity)
        prices = bill_price(time, bill_yield(time, subject.price) + shifts)
    elif document.coupon is None:
        raise ValueError("a Treasury over a year from maturity needs its coupon")
    else:
        flows = _flows(document.coupon, maturity, day)
        prices = clean_price(flows, yield_to_maturity(flows, subject.price) + shifts)
    return np.asarray(prices[:-1] - prices[-1])


@lru_cache(maxsize=KEPT_FLOWS)
def _flows(coupon: Decimal, maturity: date, day: date) -> CashFlows:
    """Cash flows of a coupon in per cent; dated long ago, so that its first period is a regular one."""
    return cash_flows(Bond(float(coupon) / 100.0, maturity), day)


def _cheapest(scenarios: ScenarioSet, subject: Subject) -> Floats:
    """The least of moved clean price / conversion factor over the basket, less the least now."""
    least, now = np.full(len(scenarios.labels), np.inf), np.inf
    for security, factor in subject.deliverables:
        try:
            _check(security)
            if security.document.type != "treasury":
                raise ValueError(f"type {security.document.type} is no Treasury")
            above("conversion factor", factor, 0.0)
            moved = security.price + _security(scenarios, security)
        except ValueError as error:
            raise ValueError(f"deliverable {security.document.id}: {error}") from error
        least, now = np.minimum(least, moved / factor), min(now, security.price / factor)
    return least - now

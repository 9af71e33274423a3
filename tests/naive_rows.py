"""The slow twin's risk rows: which are built at a CLOCK, and what one lot wins or loses in each scenario, as integers."""

from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from math import ceil

from engine.documents import Instrument as InstrumentDocument
from engine.documents import Rule
from engine.parameters import AddOns, Parameters
from engine.scenarios.profits import ScanRange, Subject, Unpriceable, delta, profits
from tests.naive_rules import row_set
from tests.naive_state import E9, Beside, Instrument, RowSet, State

DAY_NS = 86_400 * E9
YEAR_NS = 365 * DAY_NS
MOST_ROWS = 64  # instruments whose rows are built at one clock although no rule has changed
INT32_MAX = 2**31 - 1


def price_of(instrument: Instrument) -> float:
    """The mark in points."""
    assert instrument.mark is not None
    return float(Fraction(instrument.mark * instrument.tick, 1000 * E9))


def subject_of(state: State, instrument: Instrument, with_basket: bool = True) -> Subject:
    """An instrument as valuation sees it."""
    document = instrument.document
    if instrument.mark is None:
        raise Unpriceable(document.id)
    underlying = state.instruments.get(instrument.underlying or "")
    follows = instrument.is_option and underlying is not None and underlying.mark is not None
    basket = document.deliverables or () if with_basket else ()
    return Subject(
        document, price_of(instrument), state.clock_ns, price_of(underlying) if follows else None,
        tuple((subject_of(state, state.instruments[one.instrument], False), float(one.factor)) for one in basket),
    )  # fmt: skip


def build_rows(state: State, instrument: Instrument) -> None:
    """Builds an instrument's rows, of each set apart, and what stands beside them; None without that of its own rule."""
    instrument.rows, rows = None, dict[RowSet, list[int]]()
    with suppress(ValueError, ArithmeticError):
        subject, quote = subject_of(state, instrument), quote_of(state, instrument)
        if instrument.document.inverse and instrument.document.underlying is None:
            raise Unpriceable(instrument.document.id)
        for one in instrument.sets:
            with suppress(ValueError, ArithmeticError):
                rows[one] = _row(state, instrument, subject, quote, one)
        if instrument.portfolio is not None:
            assert instrument.rule is not None
            if row_set(instrument.rule) not in rows:
                return
            worst = max(map(abs, rows[row_set(instrument.rule)]))
            instrument.beside = _beside(state, instrument, subject, instrument.rule, quote, worst)
        instrument.rows = rows


def _row(state: State, instrument: Instrument, subject: Subject, quote: str, one: RowSet) -> list[int]:
    rule = state.in_force(one.ranges_of)
    won = profits(state.sets[one.scenarios], subject, None if rule is None else _ranges(rule))
    factor = _minor(state, quote, one.currency) * float(instrument.document.lot)
    return _rounded([float(profit) * factor for profit in won])


def _ranges(rule: Rule) -> dict[str, ScanRange]:
    ranges = rule.parameters.ranges or {}
    return {name: ScanRange(float(one.price), float(one.volatility), one.fraction) for name, one in ranges.items()}


def quote_of(state: State, instrument: Instrument) -> str:
    """The currency of its profits: of what is settled in coin that of the underlying, if it has one."""
    underlying = instrument.document.underlying
    if not instrument.document.inverse or underlying is None:
        return instrument.currency
    return state.instruments[underlying].currency


def _minor(state: State, currency: str, into: str) -> float:
    """Minor units of one currency in one unit of another."""
    rate, other = state.assets[currency].rate, state.assets[into].rate
    if min(rate, other) <= 0:
        raise Unpriceable(currency)
    return rate * 10 ** state.assets[currency].document.decimals / other


def _rounded(pnl: list[float]) -> list[int]:
    """Minor units to 1e-4 of them, or to the first coarser power of ten (1e6 minor units at most) that fits 32 bits."""
    for k in range(4, -7, -1):
        values = [round(x * 10.0**k if k >= 0 else x / 10.0**-k) for x in pnl]
        if max(map(abs, values)) <= INT32_MAX:
            return [value * 10 ** (4 - k) for value in values]
    raise Unpriceable("too large")


def _beside(state: State, instrument: Instrument, subject: Subject, rule: Rule, quote: str, worst: int) -> Beside:
    document, p = instrument.document, rule.parameters
    minor, into = _minor(state, quote, p.currency or ""), state.assets[p.currency or ""]
    each = delta(subject) * float(document.lot)
    spot = subject.price if subject.underlying_price is None else subject.underlying_price
    gross = ceil(Fraction(abs(instrument.held) * state.assets[instrument.currency].rate, into.rate))
    charge = p.minimum if instrument.is_option else p.future_minimum if document.type.endswith("_future") else None
    minimum = Fraction(charge or Decimal(0)) * Fraction(document.lot) * 10 ** (into.document.decimals + 6)
    if rule.model == "points":
        minimum *= instrument.multiplier
    roll = 0
    if rule.model == "grid":
        years = 0.0 if instrument.expiry_ns is None else (instrument.expiry_ns - state.clock_ns) / YEAR_NS
        rate = max(float(p.roll_rate or 0) * years, float(p.roll_minimum or 0))
        roll = _bounded(each * spot * minor * (ceil(round(rate * E9, 3)) / E9) * 10**4)
    own = _bounded(each * 10**10), _bounded(abs(spot) * minor), min(gross, 2**62), min(ceil(minimum), 2**62), roll
    return Beside(*own, *_charged(state, document, p, worst))


def _charged(state: State, document: InstrumentDocument, p: Parameters, worst: int) -> tuple[int, int, int]:
    """Worst scenario of a lot in micros, lots traded a day, funding rate in 1e-9; each 0 where the rule does not ask."""
    addons, risk, volume, rate = p.addons or AddOns(), 0, 0, 0
    if addons.liquidity is not None:
        if document.daily_volume is None:
            raise Unpriceable(document.id)
        risk, volume = worst * 100, _bounded(float(document.daily_volume / document.lot))
    if addons.funding is not None and document.funding is not None:
        funding = state.instruments[document.funding]
        if funding.mark is None:
            raise Unpriceable(document.id)
        rate = _bounded(price_of(funding) / 100 * E9)
    return risk, volume, rate


def _bounded(value: float) -> int:
    if not abs(value) < 2**61:
        raise Unpriceable("out of range")
    return round(value)

"""The numbers of a definition, checked: an instrument's row from its document, and a calendar's sessions in the week."""

from datetime import date
from fractions import Fraction
from typing import Final

from engine.codes import Code
from engine.documents import Asset, Calendar, Instrument
from engine.events import NS, QUANTITY_ONE, WEEK_NS
from engine.numbers import INT64_MAX, divide_half_even, scaled, time_ns
from engine.state import MAX_SESSIONS

DELTA_ONE: Final = 10**10
EXACT: Final = 1 << 53
MAX_VALUE: Final = 1 << 61
MAX_LOTS: Final = 2**31 - 1
_DAYS: Final = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")  # 1970-01-01 was a Thursday


class Refused(Exception):
    """A document is not applied; the code says why."""

    def __init__(self, code: Code, why: str = "") -> None:
        super().__init__(why or code.reason)
        self.code = code


def refuse_unless(holds: bool, why: str) -> None:
    """Refused as a contradiction, unless what must hold holds."""
    if not holds:
        raise Refused(Code.REFUSED_DEFINITION, why)


def instrument_terms(document: Instrument, decimals: int, calendar: int) -> dict[str, int]:
    """The numbers of an instrument's row, checked; ValueError or Refused where they contradict each other.

    decimals: of its currency; calendar: the slot of its calendar.
    """
    micros = 10 ** (decimals + 6)
    tick, lot = scaled(document.tick, NS), scaled(document.lot, QUANTITY_ONE)
    low, high = (scaled(price, NS) for price in document.band)
    refuse_unless(tick > 0 and lot > 0 and document.multiplier > 0, "tick, lot and multiplier must be above 0")
    refuse_unless(tick < EXACT, f"tick {document.tick} is above {EXACT // NS}")
    refuse_unless(low <= high, f"band {document.band[0]} to {document.band[1]} is empty")
    refuse_unless((document.dv01 is None) == (document.bucket is None), "dv01 and bucket go together")
    terms = {"tick": tick, "lot": lot, "low": low, "high": high, "tick_value": 0, "contract": 0, "scale": 0}
    per_lot = Fraction(document.lot) * Fraction(document.multiplier)
    if document.inverse:
        is_option = document.type in ("option", "future_option")
        refuse_unless(not is_option, "an option paid in coin cannot be held: inverse contracts are valued by their price")
        refuse_unless(low > 0 and high < EXACT, f"the band of an inverse contract lies between 0 and {EXACT // NS}")
        refuse_unless(tick % 1000 == 0, "the tick of an inverse contract is a multiple of 0.000001")
        refuse_unless(divide_half_even(low * 1000, tick) > 0, "the band's low end is below a thousandth of a tick")
        terms["contract"] = _whole(per_lot * NS, "lot x multiplier")
        terms["scale"] = micros
    else:
        terms["tick_value"] = _whole(
            per_lot * Fraction(document.tick) * micros, "lot x tick x multiplier in 1e-6 minor units"
        )
    terms["stale_ns"] = round((document.stale_after or 0) * NS)
    refuse_unless(terms["stale_ns"] <= INT64_MAX, f"stale_after {document.stale_after} is over 9e9 seconds")
    terms["calendar"] = calendar
    if document.maturity is not None:
        date.fromisoformat(document.maturity)  # ValueError: not a day
    terms["expiry_ns"] = 0 if document.expiry is None else time_ns(document.expiry)
    refuse_unless(document.expiry is None or terms["expiry_ns"] > 0, "expiry is at 1970")
    dv01 = Fraction(document.dv01 or 0) * per_lot * micros
    terms["dv01"] = divide_half_even(dv01.numerator, dv01.denominator)
    delta = per_lot * DELTA_ONE
    terms["delta"] = 0 if document.inverse else divide_half_even(delta.numerator, delta.denominator)
    ratio = Fraction(DELTA_ONE, micros)
    terms["delta_multiplier"], terms["delta_divisor"] = ratio.numerator, ratio.denominator
    terms["max_lots"] = _max_lots(terms, document.inverse)
    refuse_unless(max(abs(terms["dv01"]), terms["delta"]) <= INT64_MAX, "a lot's sensitivity is too large")
    return terms


def unit_value(document: Asset, decimals: int, priced: Instrument | None) -> tuple[int, int]:
    """What one minor unit is worth in the currency's minor units x 1e12: a fraction of the mark, or of one.

    decimals: of its currency, of the base those of US cents, whatever its smallest unit held. priced: what values it.
    """
    value = Fraction(10 ** (12 + decimals), 10**document.decimals)
    if priced is not None:
        refuse_unless(not priced.inverse, f"{priced.id} is inverse and cannot value an asset")
        refuse_unless(priced.currency == document.currency, f"{priced.id} is in {priced.currency}, not {document.currency}")
        value *= Fraction(priced.tick) * Fraction(priced.multiplier) / 1000
    fits = value.numerator < EXACT and value.denominator < EXACT and (priced is not None or value.denominator == 1)
    refuse_unless(fits, "the value of its smallest unit cannot be held exactly")
    return value.numerator, value.denominator


def _max_lots(terms: dict[str, int], inverse: bool) -> int:
    """How many lots stay exact: their value at either end of the band is below 2^61 micros."""
    ends = (terms["low"], terms["high"])
    if inverse:
        values = [divide_half_even(terms["contract"] * terms["scale"], price) for price in ends]
    else:
        marks = [divide_half_even(price * 1000, terms["tick"]) for price in ends]
        values = [abs(divide_half_even(mark * terms["tick_value"], 1000)) for mark in marks]
        fits = all(abs(mark) <= INT64_MAX and abs(mark * terms["tick_value"]) < 2 * MAX_VALUE for mark in marks)
        refuse_unless(fits, "the band is too wide for its tick")
    values.append(terms["tick_value"])
    refuse_unless(max(values) < MAX_VALUE, "one lot is worth too much to be held exactly")
    return min(MAX_LOTS, MAX_VALUE // max(1, *values))


def _whole(value: Fraction, what: str) -> int:
    refuse_unless(
        value.denominator == 1 and 1 <= value.numerator <= INT64_MAX,
        f"{what} is {float(value):g}, not a whole number from 1",
    )
    return value.numerator


def week(document: Calendar) -> list[tuple[int, int]]:
    """Sessions as spans within the week from Thursday 00:00, split where they cross its end, merged where they touch."""
    spans: list[tuple[int, int]] = []
    for opens, closes in document.sessions:
        start, stop = _moment(opens), _moment(closes)
        spans += [(start, stop)] if start < stop else [(start, WEEK_NS), (0, stop)]
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        elif start < stop:
            merged.append((start, stop))
    refuse_unless(len(merged) <= MAX_SESSIONS, f"over {MAX_SESSIONS} sessions a week")
    return merged


def _moment(text: str) -> int:
    day, _, clock = text.partition(" ")
    hours, _, minutes = clock.partition(":")
    is_clock = hours.isdigit() and minutes.isdigit() and int(minutes) < 60 and int(hours) * 60 + int(minutes) <= 1440
    if day not in _DAYS or not is_clock:
        raise ValueError(f"{text!r} is not a moment of the week such as 'Sun 23:00'")
    return (_DAYS.index(day) * 1440 + int(hours) * 60 + int(minutes)) * 60 * NS

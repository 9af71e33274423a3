"""Short-term rate futures SR1, SR3 and ZQ, and the swap that a strip of them hedges.

Prices are 100 - rate in per cent; rates here are fractions, actual/360, and may be negative (prices above 100).
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from engine.pricing.checks import Array, above, finite
from engine.pricing.dates import add_months, third_wednesday

RATE_YEAR: Final = 360
POINTS: Final = 100  # a rate of 1 is 100 points
ONE_DAY: Final = timedelta(days=1)
LONGEST_CLOSURE: Final = 7  # days a fixing may stay in force
SATURDAY: Final = 5


@dataclass(frozen=True, slots=True)
class RateTerms:
    """Terms of one contract: dollars per point, the daily rate, compounded or averaged, decimals of the settlement."""

    product: str
    point_value: float
    fixing: str
    compounded: bool
    settlement_decimals: int
    source: str


CONTRACTS: Final = {
    terms.product: terms
    for terms in (
        RateTerms("SR1", 4167.0, "SOFR", False, 3, "[P] CME One-Month SOFR contract specifications, CME ch. 461"),
        RateTerms("SR3", 2500.0, "SOFR", True, 4, "[P] CME Three-Month SOFR contract specifications, CME ch. 460"),
        RateTerms("ZQ", 4167.0, "EFFR", False, 3, "[P] CBOT 30-Day Fed Funds contract specifications, CBOT ch. 22"),
    )
}


def price_from_rate(rate: ArrayLike) -> Array:
    """Futures price of a rate (a fraction)."""
    return 100 - POINTS * finite("rate", rate)


def rate_from_price(price: ArrayLike) -> Array:
    """The rate (a fraction) of a futures price."""
    return (100 - finite("futures price", price)) / POINTS


def lot_dv01(terms: RateTerms) -> float:
    """Dollars a long lot loses per basis point more rate, whatever the rate: 25 for SR3, 41.67 for SR1 and ZQ."""
    return terms.point_value / POINTS


def futures_pnl(point_value: ArrayLike, lots: ArrayLike, price_move: ArrayLike) -> Array:
    """Dollars of signed lots for a price move in points."""
    return finite("lots", lots) * finite("price move", price_move) * finite("point value", point_value)


def reference_period(terms: RateTerms, year: int, month: int) -> tuple[date, date]:
    """First day and day after the last of a contract's reference period; SR3 is named by the month in which it begins.

    SR1, ZQ: the calendar month. SR3: third Wednesday to the third Wednesday three months later (CME ch. 460 [P]).
    """
    first = date(year, month, 1)
    if not terms.compounded:
        return first, add_months(first, 1)
    end = add_months(first, 3)
    return third_wednesday(year, month), third_wednesday(end.year, end.month)


def fixing_days(
    fixings: Mapping[date, float], start: date, end: date, holidays: Collection[date] = ()
) -> tuple[Array, Array]:
    """The rates in force from start up to end and the calendar days each is: that of the last business day holds.

    ValueError names a weekday without a fixing that is not among the holidays.
    """
    counted = Counter(_fixing_day(fixings, start + days * ONE_DAY, holidays) for days in range((end - start).days))
    rates = [finite(f"fixing of {day}", fixings[day]) for day in counted]
    return np.array(rates, dtype=np.float64), np.array(list(counted.values()), dtype=np.float64)


def _fixing_day(fixings: Mapping[date, float], day: date, holidays: Collection[date]) -> date:
    for _ in range(LONGEST_CLOSURE):
        if day in fixings:
            return day
        if day.weekday() < SATURDAY and day not in holidays:
            raise ValueError(f"there is no fixing for {day}, which is not among the holidays")
        day -= ONE_DAY
    raise ValueError(f"there is no fixing in the {LONGEST_CLOSURE} days after {day}")


def expected_rate(
    terms: RateTerms,
    fixings: Mapping[date, float],
    period: tuple[date, date],
    as_of: date,
    forward: ArrayLike,
    holidays: Collection[date] = (),
) -> Array:
    """The rate of a reference period, shape of `forward`: fixings before as_of, the forward rate for the days that are open.

    Mean over calendar days (SR1, ZQ), or compounded, each fixing earning simple interest until the next (SR3): 360/D x
    (product of (1 + r d/360) - 1) (CME ch. 461 and 460, CBOT ch. 22 [P]). A forward is simple interest over its days.
    """
    start, end = period
    fixed_until = min(max(as_of, start), end)
    rates, days = fixing_days(fixings, start, fixed_until, holidays)
    open_days, all_days = (end - fixed_until).days, (end - start).days
    rest = finite("forward rate", forward) * open_days
    if not terms.compounded:
        result: Array = (rates @ days + rest) / all_days
        return result
    growth: Array = np.prod(1 + rates * days / RATE_YEAR) * (1 + rest / RATE_YEAR)
    return (growth - 1) * RATE_YEAR / all_days


def settlement_price(
    terms: RateTerms, fixings: Mapping[date, float], period: tuple[date, date], holidays: Collection[date] = ()
) -> float:
    """Final settlement price of a finished reference period, rounded as the exchange does."""
    rate = expected_rate(terms, fixings, period, period[1], 0.0, holidays)
    return round(float(price_from_rate(rate)), terms.settlement_decimals)


def open_share(period: tuple[date, date], as_of: date) -> float:
    """The part of a reference period that is not fixed before as_of: what of lot_dv01 still moves with forward rates."""
    start, end = period
    return (end - min(max(as_of, start), end)).days / (end - start).days


def strip_discount_factors(rates: ArrayLike, day_fraction: float) -> Array:
    """Discount factors (..., n) at the ends of consecutive periods with futures rates (..., n): 1 / product of (1 + r tau).

    No convexity adjustment between futures and forward rates (CME, Pricing and Hedging USD SOFR Swaps with SOFR Futures).
    """
    growth = above("growth of a period", 1 + finite("rate", rates) * day_fraction, 0.0)
    result: Array = 1 / np.cumprod(growth, axis=-1)
    return result


def swap_rate(discount: Array, day_fraction: float) -> Array:
    """The fixed rate at which a swap over discount factors (..., n) is worth nothing: (1 - DF_n) / (tau x sum of DF)."""
    result: Array = (1 - discount[..., -1]) / (day_fraction * discount.sum(axis=-1))
    return result


def receiver_swap_value(notional: float, fixed_rate: ArrayLike, rates: ArrayLike, day_fraction: float) -> Array:
    """Value (...) of receiving fixed against a strip's rates (..., n): notional (c tau sum of DF - (1 - DF_n))."""
    discount = strip_discount_factors(rates, day_fraction)
    fixed = finite("fixed rate", fixed_rate) * day_fraction * discount.sum(axis=-1)
    result: Array = notional * (fixed - (1 - discount[..., -1]))
    return result

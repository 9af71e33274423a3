"""Treasury bills: discount rate, price and investment yield, as 31 CFR 356 appendix B has them [P].

Prices are per 100 face, rates fractions; arrays of any shape for one bill.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from engine.pricing.checks import Array, above, finite
from engine.pricing.curve import BASIS_POINT
from engine.pricing.dates import add_months
from engine.pricing.treasury import FACE

DISCOUNT_YEAR: Final = 360


@dataclass(frozen=True, slots=True)
class BillTime:
    """Days from settlement to maturity, and days in the year that follows settlement (366 where it holds a 29 February)."""

    days: int
    year_days: int


def bill_time(settlement: date, maturity: date) -> BillTime:
    """The day counts of a bill; ValueError when it has matured or runs longer than a year."""
    if settlement >= maturity:
        raise ValueError(f"matured on {maturity}, settlement is {settlement}")
    year_days = (add_months(settlement, 12) - settlement).days
    days = (maturity - settlement).days
    if days > year_days:
        raise ValueError(f"{days} days to maturity: a bill runs {year_days} at most")
    return BillTime(days, year_days)


def price_from_discount(time: BillTime, discount: ArrayLike) -> Array:
    """Price of a discount rate, actual/360: 100 (1 - d days/360)."""
    return above("bill price", FACE * (1 - finite("discount rate", discount) * time.days / DISCOUNT_YEAR), 0.0)


def discount_from_price(time: BillTime, price: ArrayLike) -> Array:
    """Discount rate of a price, actual/360."""
    return (1 - above("bill price", price, 0.0) / FACE) * DISCOUNT_YEAR / time.days


def bill_yield(time: BillTime, price: ArrayLike) -> Array:
    """Investment (coupon equivalent) yield: simple interest to half a year, beyond it compounded once, after half a year."""
    growth = FACE / above("bill price", price, 0.0)
    years = time.days / time.year_days
    if not _beyond_half(time):
        return (growth - 1) / years
    a = years / 2 - 0.25
    root = years * years - 4 * a * (1 - growth)
    # The root of a y^2 + years y + (1 - growth) near (growth - 1) / years, without its cancellation near 0.
    return 2 * (growth - 1) / (years + np.sqrt(above("bill price's discriminant", root, 0.0)))


def bill_price(time: BillTime, yields: ArrayLike) -> Array:
    """Price of an investment yield; negative yields give prices above 100."""
    rate, years = finite("yield", yields), time.days / time.year_days
    growth = (1 + rate / 2) * (1 + rate * (years - 0.5)) if _beyond_half(time) else 1 + rate * years
    return FACE / above("growth to maturity", growth, 0.0)


def bill_dv01(time: BillTime, yields: ArrayLike) -> Array:
    """Fall of the price per 100 face for one basis point more investment yield (the derivative times 0.0001)."""
    price, years = bill_price(time, yields), time.days / time.year_days
    slope = years + (2 * np.asarray(yields, dtype=np.float64)) * (years / 2 - 0.25) if _beyond_half(time) else years
    result: Array = price * price / FACE * slope * BASIS_POINT
    return result


def _beyond_half(time: BillTime) -> bool:
    """Whether more than half of the year remains (31 CFR 356 appendix B, section III)."""
    return 2 * time.days > time.year_days

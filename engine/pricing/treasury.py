"""Treasury notes and bonds from their terms: coupons, accrued interest, price and yield both ways, duration, DV01.

Conventions [P, 31 CFR 356 appendix B for coupons and accrued interest; R, Street convention for yields (SIA, Standard
Securities Calculation Methods)]: semiannual coupons, actual/actual (ICMA) within the half year; yields compound also over
the broken first period, and are simple interest in the last one. Prices are per 100 face; coupons and yields fractions.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from engine.pricing.checks import Array, above, finite
from engine.pricing.curve import BASIS_POINT
from engine.pricing.dates import add_months, is_month_end

FACE: Final = 100.0
HALF_YEAR_MONTHS: Final = 6
MAX_COUPON: Final = 0.25  # no Treasury paid more than 0.1625; a coupon in per cent is noticed
SOLVED: Final = 1e-9  # relative error of the price before the last Newton step, which squares it
MAX_STEPS: Final = 100


@dataclass(frozen=True, slots=True)
class Bond:
    """Terms of a note or bond; `dated` (interest runs from then) and `first_coupon` matter for odd first periods only."""

    coupon: float
    maturity: date
    dated: date | None = None
    first_coupon: date | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.coupon <= MAX_COUPON:
            raise ValueError(f"coupon {self.coupon:g} is outside 0..{MAX_COUPON} (a fraction, not per cent)")
        if self.dated and self.dated >= self.maturity:
            raise ValueError(f"dated {self.dated} is not before maturity {self.maturity}")
        if self.first_coupon:
            if not self.dated or not self.dated < self.first_coupon <= self.maturity:
                raise ValueError(
                    f"first coupon {self.first_coupon} needs a dated date before it and a maturity not before it"
                )
            if not half_years(self, self.first_coupon).is_integer():
                raise ValueError(
                    f"first coupon {self.first_coupon} is no coupon date of a security that matures {self.maturity}"
                )


@dataclass(frozen=True, slots=True)
class CashFlows:
    """What a buyer for `settlement` receives per 100 face: dates, amounts (n,), half years from settlement (n,)."""

    settlement: date
    dates: tuple[date, ...]
    amounts: Array
    periods: Array
    accrued: float


def coupon_date(bond: Bond, before: int) -> date:
    """The regular coupon date `before` half years before maturity; month ends stay month ends (31 CFR 356)."""
    return add_months(bond.maturity, -HALF_YEAR_MONTHS * before, is_month_end(bond.maturity))


def half_years(bond: Bond, day: date) -> float:
    """Half years from maturity to a day not after it (0 or negative), the broken one by actual days over its length."""
    if day > bond.maturity:
        raise ValueError(f"{day} is after maturity {bond.maturity}")
    months = (bond.maturity.year - day.year) * 12 + bond.maturity.month - day.month
    before = months // HALF_YEAR_MONTHS
    while coupon_date(bond, before) > day:
        before += 1
    start = coupon_date(bond, before)
    if start == day:
        return float(-before)
    return -before + (day - start).days / (coupon_date(bond, before - 1) - start).days


def cash_flows(bond: Bond, settlement: date) -> CashFlows:
    """Coupons and face paid after settlement, with accrued interest; a first coupon pays for its odd period.

    A coupon on the settlement day is the seller's. ValueError when matured, or settlement is before interest runs.
    """
    if settlement >= bond.maturity:
        raise ValueError(f"matured on {bond.maturity}, settlement is {settlement}")
    if bond.dated and settlement < bond.dated:
        raise ValueError(f"settlement {settlement} is before the dated date {bond.dated}")
    now = half_years(bond, settlement)
    count = int(np.ceil(-now))  # coupon dates left when all are paid
    dates = [coupon_date(bond, before) for before in range(count - 1, -1, -1)]
    first = _first_coupon(bond)
    if first:
        dates = [day for day in dates if day >= first]
    periods = np.array([half_years(bond, day) for day in dates]) - now
    each = FACE * bond.coupon / 2
    amounts = np.full(len(dates), each)
    runs_from = float(np.floor(now))  # the last coupon date, settlement itself included
    if bond.dated and first and settlement < first:
        runs_from = half_years(bond, bond.dated)
        amounts[0] = each * (half_years(bond, first) - runs_from)
    amounts[-1] += FACE
    return CashFlows(settlement, tuple(dates), amounts, periods, each * (now - runs_from))


def _first_coupon(bond: Bond) -> date | None:
    """The first coupon date; None where the dated date, and so the first period, is not given."""
    if bond.first_coupon or not bond.dated:
        return bond.first_coupon
    return coupon_date(bond, int(np.ceil(-half_years(bond, bond.dated))) - 1)


def accrued_interest(bond: Bond, settlement: date) -> float:
    """Interest earned and not yet paid per 100 face, actual/actual (31 CFR 356 appendix B)."""
    return cash_flows(bond, settlement).accrued


def dirty_price(flows: CashFlows, yields: ArrayLike) -> Array:
    """Price with accrued interest per 100 face at yields of any shape, negative ones too, above -200 %."""
    return _price_and_slope(flows, yields)[0]


def clean_price(flows: CashFlows, yields: ArrayLike) -> Array:
    """Price without accrued interest per 100 face at yields of any shape."""
    return dirty_price(flows, yields) - flows.accrued


def modified_duration(flows: CashFlows, yields: ArrayLike) -> Array:
    """Relative fall of the dirty price per unit of yield, in years: -(dP/dy)/P."""
    price, slope = _price_and_slope(flows, yields)
    return -slope / price


def dv01(flows: CashFlows, yields: ArrayLike) -> Array:
    """Fall of the price per 100 face for one basis point more yield (the derivative times 0.0001)."""
    return -_price_and_slope(flows, yields)[1] * BASIS_POINT


def yield_to_maturity(flows: CashFlows, clean: ArrayLike) -> Array:
    """The Street yield of clean prices per 100 of any shape; ValueError where clean plus accrued is not above 0."""
    dirty = above("clean price with accrued interest", finite("clean price", clean) + flows.accrued, 0.0)
    if _simple_interest(flows):
        result: Array = 2 * (flows.amounts[0] / dirty - 1) / flows.periods[0]
        return result
    compounded: Array = 2 * np.expm1(log_rate(flows.amounts, flows.periods, dirty))
    return compounded


def log_rate(amounts: Array, times: Array, values: Array) -> Array:
    """The u at which sum(amounts * exp(-u * times)) is each value (any shape, above 0); amounts and times (n,), positive.

    Newton on the logarithm of the sum, which is convex and falls: from 0 every step after the first comes from the left and
    none overshoots, so that no bracket is needed.
    """
    target = np.log(values)
    rate: Array = np.zeros(np.shape(values))
    for _ in range(MAX_STEPS):
        weighted = amounts * np.exp(-rate[..., None] * times)
        total = weighted.sum(axis=-1)
        error = np.log(total) - target
        rate = rate + error * total / (weighted @ times)
        if np.all(np.abs(error) < SOLVED):
            return rate
    raise ValueError(f"no rate was found for values {np.min(values):g} to {np.max(values):g}")


def _simple_interest(flows: CashFlows) -> bool:
    return len(flows.dates) == 1 and bool(flows.periods[0] <= 1)


def _price_and_slope(flows: CashFlows, yields: ArrayLike) -> tuple[Array, Array]:
    """Dirty price and its derivative by yield: sum of amount * v^(w + k), v = 1 / (1 + y/2), by Horner's scheme."""
    half = 1 + above("yield", yields, -2.0) / 2
    broken = flows.periods[0]
    if _simple_interest(flows):
        growth = above("growth over the last period", 1 + (half - 1) * broken, 0.0)
        price = flows.amounts[0] / growth
        return price, -price * broken / 2 / growth
    v = 1 / half
    total, weighted = np.zeros(half.shape), np.zeros(half.shape)
    for amount in flows.amounts[::-1]:
        weighted = (weighted + total) * v
        total = total * v + amount
    scale = v**broken
    slope: Array = -(broken * total + weighted) * scale * v / 2
    return total * scale, slope

"""Securities on the par-yield curve: value, spread to the market price, key-rate DV01, and many securities over many curves.

The spread is a continuously compounded rate over the curve's zero rates that gives the market price; it is held while the
curve moves, so that the sensitivities are those of the security as it trades [I].
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import ArrayLike

from engine.pricing.checks import Array, above, finite
from engine.pricing.curve import DAYS_OF_YEAR, Curve, bootstrap, key_rate_shifts, log_discount_factors
from engine.pricing.treasury import CashFlows, log_rate


def years_from(settlement: date, dates: Sequence[date]) -> Array:
    """Years on the curve (days / 365.25) from settlement to each date."""
    return np.array([(day - settlement).days for day in dates]) / DAYS_OF_YEAR


def dirty_price_on_curve(flows: CashFlows, curve: Curve, spread: float = 0.0) -> Array:
    """Price with accrued interest per 100 face on curves (...), the spread added to every zero rate."""
    times = years_from(flows.settlement, flows.dates)
    result: Array = np.exp(log_discount_factors(curve, times) - spread * times) @ flows.amounts
    return result


def spread_to_curve(flows: CashFlows, curve: Curve, clean: float) -> float:
    """The spread at which a security is worth its clean price on one curve."""
    dirty = above("clean price with accrued interest", finite("clean price", clean) + flows.accrued, 0.0)
    times = years_from(flows.settlement, flows.dates)
    return float(log_rate(flows.amounts * np.exp(log_discount_factors(curve, times)), times, dirty))


def key_rate_dv01(
    flows: CashFlows, tenors: Sequence[float], par_yields: ArrayLike, key_tenors: Sequence[float], spread: float = 0.0
) -> Array:
    """Fall of the price per 100 face for one basis point more of each key par yield, shape (K,); central differences.

    The sum is the DV01 to a parallel shift of the par curve, but for terms of third order.
    """
    shifts = key_rate_shifts(tenors, key_tenors)
    base = finite("par yield", par_yields)
    down = dirty_price_on_curve(flows, bootstrap(tenors, base - shifts), spread)
    up = dirty_price_on_curve(flows, bootstrap(tenors, base + shifts), spread)
    result: Array = (down - up) / 2
    return result


def clean_prices(securities: Sequence[CashFlows], curve: Curve, spreads: ArrayLike) -> Array:
    """Clean prices (..., K) of K securities with one settlement date on curves (...), each with its own spread (K,).

    Payment days are shared: one discount factor a day and curve, then one matrix product.
    """
    settlements = {flows.settlement for flows in securities}
    if len(settlements) != 1:
        raise ValueError(f"securities must have one settlement date, found {sorted(map(str, settlements))}")
    spread = finite("spread", spreads)
    days = sorted({day for flows in securities for day in flows.dates})
    place = {day: row for row, day in enumerate(days)}
    times = years_from(settlements.pop(), days)
    payments = np.zeros((len(days), len(securities)))
    for column, flows in enumerate(securities):
        rows = [place[day] for day in flows.dates]
        payments[rows, column] = flows.amounts * np.exp(-spread[column] * times[rows])
    result: Array = np.exp(log_discount_factors(curve, times)) @ payments - np.array([flows.accrued for flows in securities])
    return result

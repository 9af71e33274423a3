"""The Treasury par-yield curve and the discount factors behind it.

Par yields are constant-maturity Treasury (CMT) yields: semiannual bond-equivalent fractions at tenors in years (Treasury,
"Treasury Yield Curve Methodology"). Interpolation: par yields straight between tenors (flat before the first), discount
factors log-linear between nodes (flat forward rates). So every discount factor follows from the one before without root
finding, a shift of one tenor is the usual triangle, and all key-rate shifts together are the parallel shift [I].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from engine.pricing.checks import Array, finite

TREASURY_TENORS: Final = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0, 30.0)
MAY_BE_FILLED: Final = (20.0, 30.0)  # Treasury did not publish them 1987-1993 (20y) and 2002-2006 (30y)
BASIS_POINT: Final = 1e-4
HALF_YEAR: Final = 0.5
DAYS_OF_YEAR: Final = 365.25  # a curve's years count days over this


@dataclass(frozen=True, slots=True)
class Curve:
    """Node times in years, ascending, shape (N,), and the logarithms of discount factors there, shape (..., N)."""

    times: Array
    log_discount: Array


def tenor_name(tenor: float) -> str:
    """A tenor as people write it: 3m, 10y."""
    return f"{tenor:g}y" if tenor >= 1 else f"{tenor * 12:g}m"


def filled(tenors: Sequence[float], par_yields: ArrayLike, fill: Sequence[float] = ()) -> Array:
    """Par yields (..., T) without holes: nan at a tenor of `fill` is interpolated, straight between its neighbours and flat
    past the end; nan at any other tenor is a ValueError that names it. Only 20y and 30y may be named.
    """
    times, yields = _checked_tenors(tenors), np.array(par_yields, dtype=np.float64)
    if yields.shape[-1:] != times.shape:
        raise ValueError(f"{yields.shape[-1:]} par yields for {times.size} tenors")
    if wrong := set(fill) - set(MAY_BE_FILLED):
        raise ValueError(f"only 20y and 30y may be filled, not {', '.join(map(tenor_name, sorted(wrong)))}")
    missing = np.isnan(yields)
    holes = times[np.any(missing.reshape(-1, times.size), axis=0)].tolist()
    if left := [tenor_name(tenor) for tenor in holes if tenor not in fill]:
        raise ValueError(f"the curve has no par yield at {', '.join(left)}")
    for row in np.argwhere(missing.any(axis=-1)):
        of_row, hole = yields[tuple(row)], missing[tuple(row)]
        of_row[hole] = np.interp(times[hole], times[~hole], of_row[~hole])
    return finite("par yield", yields)


def bootstrap(tenors: Sequence[float], par_yields: ArrayLike) -> Curve:
    """The curve on which a bond with each tenor's par yield as coupon is worth 100; par yields (..., T), negative ones too.

    Below half a year the yield is simple interest. A hole, a tenor between half years, or yields so steep that a discount
    factor would not be positive are a ValueError that names the tenor.
    """
    times, yields = _checked_tenors(tenors), filled(tenors, par_yields)
    bills = times[times < HALF_YEAR]
    halves = np.arange(1, max(1, round(times[-1] / HALF_YEAR)) + 1) * HALF_YEAR
    nodes = np.concatenate((bills, halves))
    par = yields @ _weights(times, nodes)
    discount = np.empty(par.shape)
    simple = 1 + par[..., : bills.size] * bills
    discount[..., : bills.size] = 1 / np.where(simple > 0, simple, np.nan)
    annuity = np.zeros(par.shape[:-1])
    for node in range(bills.size, nodes.size):
        half = par[..., node] / 2
        discount[..., node] = (1 - half * annuity) / np.where(half > -1, 1 + half, np.nan)
        annuity += discount[..., node]
    wrong = ~(discount > 0)
    if wrong.any():
        node = int(np.flatnonzero(wrong.reshape(-1, nodes.size).any(axis=0))[0])
        raise ValueError(f"par yields have no positive discount factor at {tenor_name(float(nodes[node]))}")
    return Curve(nodes, np.log(discount))


def log_discount_factors(curve: Curve, times: ArrayLike) -> Array:
    """Logarithms of the discount factors at times in years (M,), shape (..., M); times outside the curve are a ValueError.

    The last forward rate holds for half a year past the last node, because days over 365.25 are not whole years.
    """
    at = finite("time", times)
    if at.size and not (at.min() >= 0 and at.max() <= curve.times[-1] + HALF_YEAR):
        raise ValueError(
            f"time {at.min() if at.min() < 0 else at.max():g} is outside the curve: 0 to {curve.times[-1]:g} years"
        )
    nodes = np.concatenate(([0.0], curve.times))
    left = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, nodes.size - 2)
    share = (at - nodes[left]) / (nodes[left + 1] - nodes[left])
    logs = np.concatenate((np.zeros((*curve.log_discount.shape[:-1], 1)), curve.log_discount), axis=-1)
    result: Array = logs[..., left] * (1 - share) + logs[..., left + 1] * share
    return result


def discount_factors(curve: Curve, times: ArrayLike) -> Array:
    """Discount factors at times in years (M,), shape (..., M); log-linear between nodes."""
    result: Array = np.exp(log_discount_factors(curve, times))
    return result


def zero_rates(curve: Curve, times: ArrayLike) -> Array:
    """Continuously compounded zero rates to times in years above 0, shape (..., M)."""
    at = finite("time", times)
    if (at <= 0).any():
        raise ValueError(f"time {at.min():g} must be above 0")
    result: Array = -log_discount_factors(curve, at) / at
    return result


def par_yield(curve: Curve, tenor: float) -> Array:
    """The coupon at which a bond of a whole number of half years is worth 100 on the curve, shape (...)."""
    periods = round(tenor / HALF_YEAR)
    if periods < 1 or abs(periods * HALF_YEAR - tenor) > 1e-9:
        raise ValueError(f"tenor {tenor:g} is not a whole number of half years")
    factors = discount_factors(curve, np.arange(1, periods + 1) * HALF_YEAR)
    result: Array = 2 * (1 - factors[..., -1]) / factors.sum(axis=-1)
    return result


def key_rate_shifts(tenors: Sequence[float], key_tenors: Sequence[float], size: float = BASIS_POINT) -> Array:
    """Par-yield shifts (K, T), one row a key rate: `size` at the key, straight to 0 at its neighbours, flat outside.

    The rows add up to the parallel shift; a single key is the parallel shift.
    """
    return size * _weights(_checked_tenors(key_tenors), _checked_tenors(tenors))


def _weights(tenors: Array, times: Array) -> Array:
    """Weights (T, N): values at tenors @ weights are the values interpolated straight at times, flat outside."""
    return np.array([np.interp(times, tenors, unit) for unit in np.eye(tenors.size)])


def _checked_tenors(tenors: Sequence[float]) -> Array:
    times = finite("tenor", tenors)
    if times.ndim != 1 or times.size == 0 or times[0] <= 0 or (np.diff(times) <= 0).any():
        raise ValueError(f"tenors {list(tenors)} must be years above 0 in ascending order")
    for tenor in times[times > HALF_YEAR].tolist():
        if abs(tenor / HALF_YEAR - round(tenor / HALF_YEAR)) > 1e-9:
            raise ValueError(f"tenor {tenor:g} is not a whole number of half years")
    return times

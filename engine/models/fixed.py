"""Requirements without scenarios: tiers of notional, an amount per contract, a share of value by remaining maturity.

Tiers with a deduction, continuous in size: Hyperliquid, crypto.md 4.6 [P]. Shares by maturity: FINRA 4210(e)(2)(A), rates.md
6 [R].
"""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E9, LIMIT, add_up, kernel, mul_div_up, part


class Tiers(NamedTuple):
    """Ascending lower bounds of notional in minor units, the first 0, and the rate in 1e-9 of what lies above each."""

    lower_minor: NDArray[np.int64]
    rate_ppb: NDArray[np.int64]


def make_tiers(lower_minor: Sequence[int], rate_ppb: Sequence[int]) -> Tiers:
    """Tiers; ValueError where the bounds do not start at 0 and ascend, or a rate is outside 0 to 1."""
    if not lower_minor or lower_minor[0] != 0 or any(a >= b for a, b in pairwise(lower_minor)) or lower_minor[-1] >= LIMIT:
        raise ValueError(f"tiers from {list(lower_minor)}; allowed are ascending bounds from 0 to {LIMIT}")
    if len(rate_ppb) != len(lower_minor) or not all(0 <= rate <= E9 for rate in rate_ppb):
        raise ValueError(f"rates {list(rate_ppb)}; allowed are {len(lower_minor)} of 0 to {E9}")
    return Tiers(np.array(lower_minor, np.int64), np.array(rate_ppb, np.int64))


@kernel
def tiered(tiers: Tiers, notional_minor: int) -> int:
    """Minor units: each part of the notional (from 0) at its tier's rate, each rounded up; LIMIT at most.

    The same as notional x rate - deduction, deduction(n) = deduction(n - 1) + lower(n) x (rate(n) - rate(n - 1)).
    """
    total, last = 0, len(tiers.lower_minor) - 1
    for t in range(last + 1):
        upper = min(notional_minor, tiers.lower_minor[t + 1]) if t < last else notional_minor
        if upper > tiers.lower_minor[t]:
            total = add_up(total, mul_div_up(upper - tiers.lower_minor[t], tiers.rate_ppb[t], E9))
    return int(total)


@part
def flat(lots: int, per_lot_minor: int) -> int:
    """Minor units: |lots| x the amount of one; LIMIT at most."""
    return int(mul_div_up(abs(lots), per_lot_minor, 1))


def anniversary(day: date, years: int) -> date:
    """The same day so many years on; 29 February becomes the 28th."""
    leap = day.month == 2 and day.day == 29
    return day.replace(year=day.year + years, day=28 if leap else day.day)


def maturity_rate_ppm(as_of: date, maturity: date, years: Sequence[int], rates_ppm: Sequence[int]) -> int:
    """The share of market value in 1e-6: of less than years[0] left rates_ppm[0], ..., of years[-1] and more rates_ppm[-1].

    ValueError: matured, years that do not ascend from 1, or not one rate more than years, each from 0 to 1.
    """
    if maturity <= as_of:
        raise ValueError(f"matured on {maturity}; allowed is after {as_of}")
    if any(a >= b for a, b in pairwise([0, *years])):
        raise ValueError(f"years {list(years)}; allowed are ascending whole years from 1")
    if len(rates_ppm) != len(years) + 1 or not all(0 <= rate <= 1_000_000 for rate in rates_ppm):
        raise ValueError(f"rates {list(rates_ppm)}; allowed are {len(years) + 1} of 0 to 1000000")
    return rates_ppm[sum(maturity >= anniversary(as_of, one) for one in years)]


@part
def share_of_value(value_minor: int, rate_ppm: int) -> int:
    """Minor units: |market value| x a rate in 1e-6, rounded up; LIMIT at most."""
    return int(mul_div_up(abs(value_minor), rate_ppm, 1_000_000))

"""Requirements by remaining maturity, without scenarios: a share of market value, FINRA 4210(e)(2)(A), rates.md 6 [R].

Tiers of notional and amounts per contract are margined in the stream: engine/requirement.py.
"""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

from engine.arithmetic import mul_div_up, part
from engine.pricing.dates import add_months


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
    return rates_ppm[sum(maturity >= add_months(as_of, 12 * one) for one in years)]


@part
def share_of_value(value_minor: int, rate_ppm: int) -> int:
    """Minor units: |market value| x a rate in 1e-6, rounded up; LIMIT at most."""
    return int(mul_div_up(abs(value_minor), rate_ppm, 1_000_000))

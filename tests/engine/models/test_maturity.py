"""Shares of market value by remaining maturity: worked cases, refusals."""

from datetime import date
from math import ceil

import pytest

from engine.arithmetic import LIMIT
from engine.models.maturity import maturity_rate_ppm, share_of_value

YEARS, RATES = (1, 3, 5, 10, 20), (10_000, 20_000, 30_000, 40_000, 50_000, 60_000)  # FINRA 4210(e)(2)(A), rates.md 6 [R]


@pytest.mark.parametrize(
    ("maturity", "rate"),
    [
        (date(2026, 11, 22), 10_000), (date(2027, 11, 20), 10_000), (date(2027, 11, 21), 20_000),
        (date(2029, 11, 20), 20_000), (date(2029, 11, 21), 30_000), (date(2031, 11, 21), 40_000),
        (date(2036, 11, 20), 40_000), (date(2036, 11, 21), 50_000), (date(2046, 11, 20), 50_000),
        (date(2046, 11, 21), 60_000), (date(2056, 11, 15), 60_000),
    ],
)  # fmt: skip
def test_shares_by_remaining_maturity(maturity: date, rate: int) -> None:
    assert maturity_rate_ppm(date(2026, 11, 21), maturity, YEARS, RATES) == rate


def test_share_of_value_rounds_up_and_counts_shorts() -> None:
    assert share_of_value(-100_01, 40_000) == share_of_value(100_01, 40_000) == ceil(400.04)
    assert share_of_value(2**62, 10**6) == LIMIT


def test_a_year_from_a_leap_day_ends_on_the_28th() -> None:
    assert maturity_rate_ppm(date(2024, 2, 29), date(2025, 2, 27), YEARS, RATES) == RATES[0]
    assert maturity_rate_ppm(date(2024, 2, 29), date(2025, 2, 28), YEARS, RATES) == RATES[1]


def test_maturity_rate_refuses() -> None:
    today = date(2026, 11, 21)
    with pytest.raises(ValueError, match="matured on 2026-11-21"):
        maturity_rate_ppm(today, today, YEARS, RATES)
    with pytest.raises(ValueError, match="ascending whole years"):
        maturity_rate_ppm(today, date(2030, 1, 1), (3, 1), RATES[:3])
    with pytest.raises(ValueError, match="allowed are 3 of"):
        maturity_rate_ppm(today, date(2030, 1, 1), (1, 3), RATES)

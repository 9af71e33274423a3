"""Tiers, flat amounts and shares by maturity: worked cases, the twin with deductions, refusals."""

from datetime import date
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arithmetic import E9, LIMIT
from engine.models.fixed import anniversary, flat, make_tiers, maturity_rate_ppm, share_of_value, tiered
from tests.engine.models import twins
from tests.engine.models.laws import LAW

YEARS, RATES = (1, 3, 5, 10, 20), (10_000, 20_000, 30_000, 40_000, 50_000, 60_000)  # FINRA 4210(e)(2)(A), rates.md 6 [R]


@LAW
@given(
    st.lists(st.tuples(st.integers(1, 10**12), st.integers(0, E9)), max_size=5), st.integers(0, E9), st.integers(0, 10**13)
)
def test_tiers_are_notional_less_a_deduction(above: list[tuple[int, int]], first: int, notional: int) -> None:
    lower = sorted({bound for bound, _ in above})
    rates = [first, *(rate for _, rate in above)][: len(lower) + 1]
    found = tiered(make_tiers([0, *lower], rates), notional)
    exact = twins.tiered([0, *lower], [Fraction(rate, E9) for rate in rates], notional)
    assert exact <= found < exact + len(rates)


def test_tiers_of_a_perpetual_venue() -> None:
    # crypto.md 4.6: BTC 40x to 150m, above it 20x; maintenance is half of 1 / leverage.
    tiers = make_tiers([0, 150_000_000_00], [12_500_000, 25_000_000])
    assert tiered(tiers, 150_000_000_00) == 1_875_000_00
    assert tiered(tiers, 200_000_000_00) == 1_875_000_00 + 1_250_000_00
    assert tiered(tiers, 0) == 0
    assert tiered(make_tiers([0], [E9]), 2**62) == LIMIT


def test_make_tiers_refuses() -> None:
    for lower in ([], [1], [0, 5, 5], [0, LIMIT]):
        with pytest.raises(ValueError, match="ascending bounds from 0"):
            make_tiers(lower, [1] * len(lower))
    for rates in ([1], [1, -1], [1, E9 + 1]):
        with pytest.raises(ValueError, match="allowed are 2 of"):
            make_tiers([0, 5], rates)


def test_flat_is_by_contract() -> None:
    assert flat(-7, 1540_00) == flat(7, 1540_00) == 10_780_00
    assert flat(0, 10) == 0
    assert flat(2**40, 2**40) == LIMIT


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


def test_anniversary_of_a_leap_day() -> None:
    assert anniversary(date(2024, 2, 29), 1) == date(2025, 2, 28)
    assert anniversary(date(2024, 2, 29), 4) == date(2028, 2, 28)


def test_maturity_rate_refuses() -> None:
    today = date(2026, 11, 21)
    with pytest.raises(ValueError, match="matured on 2026-11-21"):
        maturity_rate_ppm(today, today, YEARS, RATES)
    with pytest.raises(ValueError, match="ascending whole years"):
        maturity_rate_ppm(today, date(2030, 1, 1), (3, 1), RATES[:3])
    with pytest.raises(ValueError, match="allowed are 3 of"):
        maturity_rate_ppm(today, date(2030, 1, 1), (1, 3), RATES)

"""Add-ons: worked figures, twins in Fractions, what is out of range is LIMIT, and all of them inside one kernel."""

from fractions import Fraction
from math import ceil, isqrt

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.arithmetic import E6, E9, LIMIT, kernel
from engine.models import addons
from engine.models.addons import WEEK_NS, Regime
from tests.engine.models.laws import LAW

RISK = st.integers(0, 10**15)
SHARE = st.integers(0, 2 * E9)
HOUR = 3600 * E9
DAY = 24 * HOUR


def up(value: Fraction) -> int:
    return ceil(value)


# Liquidity


def test_liquidity_worked() -> None:
    # 8,000 lots at 20 % of 10,000 a day take 4 days; over a horizon of 1 the charge is sqrt(4) - 1 of the risk.
    assert addons.liquidity(1_000_00, 8_000, 10_000, 200_000, 1) == 1_000_00
    assert addons.liquidity(1_000_00, -8_000, 10_000, 200_000, 1) == 1_000_00
    assert addons.liquidity(1_000_00, 2_000, 10_000, 200_000, 1) == 0
    assert addons.liquidity(1_000_00, 8_000, 10_000, 200_000, 4) == 0
    assert addons.liquidity(1_000_00, 0, 10_000, 200_000, 1) == 0
    # sqrt(2) - 1 to 1e-6, up: 0.414214.
    assert addons.liquidity(1_000_000_00, 4_000, 10_000, 200_000, 1) == 414_214_00


@LAW
@given(RISK, st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, E6), st.integers(1, 10))
@example(10**15, 10**9, 10**6, E6, 1)
def test_liquidity_is_never_too_little_and_within_its_resolution(
    risk: int, lots: int, volume: int, participation: int, horizon: int
) -> None:
    ratio = Fraction(lots * E6, participation * volume * horizon)
    charge = addons.liquidity(risk, lots, volume, participation, horizon)
    if ratio <= 1:
        assert charge == 0
    elif ratio < 10**6:
        least = (
            Fraction(isqrt(ratio.numerator * 10**30 // ratio.denominator), 10**15) - 1
        )  # the root, at most 1e-15 too small
        assert 0 <= charge - risk * least < risk * (Fraction(1, 10**6) + Fraction(2, 10**12)) + 1


@LAW
@given(RISK, st.integers(0, 10**9), st.integers(1, 10**6))
def test_liquidity_never_falls_with_size(risk: int, lots: int, volume: int) -> None:
    assert addons.liquidity(risk, lots, volume, 100_000, 2) <= addons.liquidity(risk, lots + 1, volume, 100_000, 2)


@pytest.mark.parametrize(
    "given",
    [
        (LIMIT, 1, 10, 10, 1), (-1, 1, 10, 10, 1), (1, LIMIT, 10, 10, 1), (1, 1, 0, 10, 1), (1, 1, -5, 10, 1),
        (1, 1, 10, 0, 1), (1, 1, 10, E6 + 1, 1), (1, 1, 10, 10, 0), (1, 1, 2**50, E6, 1), (1, 10**15, 1, 1, 1),
    ],
)  # fmt: skip
def test_liquidity_out_of_range(given: tuple[int, int, int, int, int]) -> None:
    assert addons.liquidity(*given) == LIMIT


@LAW
@given(st.integers(0, LIMIT))
@example(LIMIT)
@example(LIMIT - 1)
@example(2**53 + 1)
@example((2**30 + 1) ** 2 - 1)
@example((2**31 - 1) ** 2)
@example((2**31 - 1) ** 2 + 1)
def test_root_is_rounded_up_exactly(value: int) -> None:
    root = isqrt(value)
    assert addons.root_up(value) == root + (root * root < value)


# Volatility regime


@pytest.mark.parametrize(
    ("short", "charge", "regime"),
    [(49, 0, Regime.BELOW), (50, 0, Regime.INSIDE), (150, 0, Regime.INSIDE), (151, 200_00, Regime.ABOVE)],
)
def test_buffer_above_the_band_and_a_notice_on_either_side(short: int, charge: int, regime: Regime) -> None:
    found = addons.volatility_buffer(1_000_00, short, 100, E9 // 2, E9 * 3 // 2, E9 // 5)
    assert found == (charge, regime)


@LAW
@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(0, E9), st.integers(0, 9 * E9))
def test_regime_is_exact(short: int, long: int, low: int, wider: int) -> None:
    ratio = Fraction(short * E9, long)
    expected = Regime.ABOVE if ratio > low + wider else Regime.BELOW if ratio < low else Regime.INSIDE
    assert addons.volatility_buffer(100, short, long, low, low + wider, E9)[1] == expected


@pytest.mark.parametrize(
    "given",
    [
        (1, 5, 0, 1, 2, 3),
        (1, 5, -1, 1, 2, 3),
        (1, -1, 5, 1, 2, 3),
        (1, 5, 5, 3, 2, 3),
        (LIMIT, 5, 5, 1, 2, 3),
        (1, 5, 5, 1, 2, -1),
    ],
)
def test_a_volatility_that_is_missing_is_no_number(given: tuple[int, int, int, int, int, int]) -> None:
    assert addons.volatility_buffer(*given)[0] == LIMIT


# Anti-procyclicality


def test_procyclicality_worked() -> None:
    quarter = E9 // 4
    assert addons.procyclicality_buffer(1_000_00, quarter, 0) == 250_00
    assert addons.procyclicality_buffer(1_000_00, quarter, E9) == 0
    assert addons.procyclicality_buffer(1_000_00, quarter, E9 // 2) == 125_00


@LAW
@given(st.integers(1, 10**12), st.integers(0, 10**12), SHARE.filter(bool))
def test_a_used_buffer_holds_the_requirement_until_volatility_rose_by_it(long: int, more: int, buffer: int) -> None:
    used, share = addons.buffer_used(long + more, long, buffer), Fraction(buffer, E9)
    exact = (1 + share) * (1 - Fraction(long, long + more)) / share
    slack = Fraction(1, E9) * (2 + 1 / share)
    assert 0 <= min(Fraction(1), exact) - Fraction(used, E9) <= slack
    if exact < 1:  # risk grew with volatility, the requirement did not fall and hardly rose
        before, after = 1 + share, Fraction(long + more, long) * (1 + share * (1 - Fraction(used, E9)))
        assert 0 <= after - before <= (1 + share) ** 2 * slack


def test_buffer_is_whole_where_volatility_did_not_rise_or_is_missing() -> None:
    assert addons.buffer_used(100, 100, E9 // 4) == addons.buffer_used(50, 100, E9 // 4) == 0
    assert addons.buffer_used(100, 0, E9 // 4) == addons.buffer_used(2**53, 100, E9 // 4) == 0
    assert addons.buffer_used(125, 100, E9 // 4) == addons.buffer_used(300, 100, E9 // 4) == E9


@LAW
@given(RISK, SHARE, st.integers(0, E9))
def test_procyclicality_rounds_up(risk: int, buffer: int, part: int) -> None:
    exact = risk * Fraction(buffer, E9) * (1 - Fraction(part, E9))
    assert 0 <= addons.procyclicality_buffer(risk, buffer, part) - exact < 1 + Fraction(risk, E9)


def test_procyclicality_out_of_range() -> None:
    for charge in (
        addons.procyclicality_buffer(LIMIT, 1, 0), addons.procyclicality_buffer(1, 1, -1),
        addons.procyclicality_buffer(1, 1, E9 + 1), addons.procyclicality_buffer(1, -1, 0),
    ):  # fmt: skip
        assert charge == LIMIT


# Funding


def test_fundings_by_venue_hours() -> None:
    eight, one = 8 * HOUR, HOUR
    at = 20_000 * DAY
    assert addons.fundings(at + 7 * HOUR, at + 8 * HOUR, eight, 0) == 1
    assert addons.fundings(at + 7 * HOUR, at + 8 * HOUR - 1, eight, 0) == 0
    assert addons.fundings(at + 8 * HOUR, at + 16 * HOUR, eight, 0) == 1  # what was just paid is not paid again
    assert addons.fundings(at + 30 * 60 * E9, at + DAY, one, 0) == 24
    assert addons.fundings(at, at + DAY, eight, 4 * HOUR) == 3
    assert addons.fundings(at + DAY, at, eight, 0) == 0
    assert addons.fundings(at, at + DAY, 0, 0) == -1


@LAW
@given(st.integers(0, 10**6), st.integers(0, 10**4), st.integers(1, 500), st.integers(0, 10**6))
def test_fundings_are_those_that_lie_between(now: int, ahead: int, interval: int, first: int) -> None:
    times = (t for t in range(now + 1, now + ahead + 1) if (t - first) % interval == 0)
    assert addons.fundings(now, now + ahead, interval, first) == sum(1 for _ in times)


def test_funding_is_charged_where_it_is_paid() -> None:
    assert addons.funding(1_000_000_00, 100_000, 1) == 100_00  # 0.01 % of 1,000,000
    assert addons.funding(-1_000_000_00, -100_000, 3) == 300_00
    assert addons.funding(1_000_000_00, -100_000, 1) == addons.funding(-1_000_000_00, 100_000, 1) == 0
    assert addons.funding(1, 1, 1) == 1
    assert addons.funding(0, 100_000, 1) == addons.funding(1, 0, 1) == addons.funding(1, 1, 0) == 0
    for values in ((LIMIT, 1, 1), (1, -LIMIT, 1), (1, 1, -1), (1, 2**40, 2**30)):
        assert addons.funding(*values) == LIMIT


# Closures. Weeks begin on Thursday 00:00 UTC.

RATES = (
    np.array([(0, 22), (23, 46), (95, 118), (119, 142), (143, 166), (167, 168), (0, 0)], np.int64) * HOUR
)  # Thursday, Friday to 22:00, Sunday 23:00, ...
MONDAY = 4 * DAY


def test_closures_of_a_weekly_calendar() -> None:
    weekend = 49 * HOUR
    week = 2_900 * WEEK_NS
    assert addons.closure_ns(RATES, week + 45 * HOUR, HOUR) == weekend
    assert addons.closure_ns(RATES, week + 45 * HOUR - 1, HOUR) == 0
    assert addons.closure_ns(RATES, week + 47 * HOUR, HOUR) == weekend - HOUR  # inside it: what is left
    assert addons.closure_ns(RATES, week + MONDAY + 21 * HOUR, 2 * HOUR) == HOUR
    assert addons.closure_ns(RATES, week + 167 * HOUR, 2 * HOUR) == 0  # open across the week's end, until 22:00
    assert addons.closure_ns(RATES, week + 167 * HOUR, 23 * HOUR) == HOUR


def test_closures_of_calendars_that_never_close_or_never_open() -> None:
    assert addons.closure_ns(np.array([(0, WEEK_NS)]), 5 * DAY, 6 * DAY) == 0
    assert addons.closure_ns(np.zeros((4, 2), np.int64), 5 * DAY, 0) == WEEK_NS
    assert addons.closure_ns(np.array([(DAY, WEEK_NS)]), 6 * DAY, DAY) == DAY
    assert addons.closure_ns(np.array([(0, DAY)]), 12 * HOUR, 12 * HOUR) == 6 * DAY


@LAW
@given(st.integers(0, 167), st.integers(0, 167))
def test_closures_agree_with_walking_the_hours(now: int, ahead: int) -> None:
    is_open = [any(start <= hour * HOUR < stop for start, stop in RATES) for hour in range(168)]
    closes = next(at for at in range(now, now + 168) if not is_open[at % 168])
    opens = next(at for at in range(closes, closes + 168) if is_open[at % 168])
    assert addons.closure_ns(RATES, now * HOUR, ahead * HOUR) == (opens - closes) * HOUR * (closes - now <= ahead)


def test_gap_over_a_long_closure() -> None:
    assert addons.closure_gap(1_000_00, 49 * HOUR, DAY, 1_500_000_000) == 500_00
    assert addons.closure_gap(1_000_00, HOUR, DAY, 1_500_000_000) == 0
    assert addons.closure_gap(1_000_00, HOUR, DAY, E9 - 1) == LIMIT


# Depeg, multiplier, day end


def test_depeg_counts_collateral_and_what_its_haircut_charged() -> None:
    assert addons.depeg(1_000_000_00, E9 // 10, 0) == 100_000_00
    assert addons.depeg(1_000_000_00, E9 // 10, 20_000_00) == 80_000_00
    assert addons.depeg(1_000_000_00, E9 // 10, 200_000_00) == addons.depeg(-5, E9 // 10, 0) == 0
    assert addons.depeg(1, 1, 0) == 1
    for values in ((LIMIT, 1, 0), (-LIMIT, 1, 0), (1, E9 + 1, 0), (1, -1, 0), (1, 1, -1), (1, 1, LIMIT)):
        assert addons.depeg(*values) == LIMIT


def test_multiplier_and_day_end() -> None:
    assert addons.multiplied(1_000_01, 1_100_000_000) == 100_01  # 100.001, up
    assert addons.multiplied(1_000_01, E9) == 0
    assert addons.multiplied(1, E9 - 1) == addons.multiplied(LIMIT, E9) == addons.multiplied(LIMIT - 1, 3 * E9) == LIMIT
    assert addons.day_end(1_200_00, 1_000_00, E9 // 10) == (200_00, 20_00)
    assert addons.day_end(1_000_00, 1_000_00, E9 // 10) == (0, 0)
    for values in ((LIMIT, 1, 1), (1, LIMIT, 1), (-1, 1, 1), (2, 1, -1), (LIMIT - 1, 0, 2 * E9)):
        assert addons.day_end(*values) == (LIMIT, LIMIT)


@LAW
@given(RISK, SHARE)
def test_shares_round_up(risk: int, share: int) -> None:
    exact = up(risk * Fraction(share, E9))
    assert addons.share_up(risk, share) == addons.multiplied(risk, E9 + share) == exact
    assert addons.day_end(risk, 0, share) == (risk, exact)


@kernel
def _all_lines(risk: int, lots: int, net: int, sessions: NDArray[np.int64]) -> int:
    total = addons.liquidity(risk, lots, 10_000, 200_000, 1) + addons.volatility_buffer(risk, 300, 100, 1, E9, E9)[0]
    total += addons.procyclicality_buffer(risk, E9 // 4, addons.buffer_used(110, 100, E9 // 4))
    total += addons.funding(net, 100_000, addons.fundings(0, 8, 8, 0)) + addons.depeg(net, E9 // 10, 1)
    total += addons.closure_gap(risk, addons.closure_ns(sessions, 0, 0), 1, 2 * E9)
    return total + addons.multiplied(risk, 2 * E9) + addons.day_end(risk, 0, E9)[1]


def test_the_lines_are_parts_of_a_kernel() -> None:
    # 1 + 1 + 0.25 x (1 - 0.454545454) + 1 + 1 + 1 of the risk, and 0.0001 + 0.1 of the net less 1.
    assert _all_lines(1_000_00, 8_000, 1_000_00, np.zeros((1, 2), np.int64)) == 513_637 + 10_009

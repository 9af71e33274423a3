"""The historical model against its twin, its floor, its stress weight, and many accounts at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arithmetic import LIMIT
from engine.models.historical import (
    Historical,
    Portfolios,
    blend,
    check,
    leg_requirements,
    margin_floor,
    requirement,
    risk,
)
from engine.models.rows import make_rows, quantize
from tests.engine.models import twins
from tests.engine.models.laws import LAW

AMOUNT = st.integers(-(2**50), 2**50)


@LAW
@given(st.lists(AMOUNT, min_size=3, max_size=150), st.data())
def test_risk_is_the_twins(pnl: list[int], data: st.DataObject) -> None:
    stress = data.draw(st.integers(0, len(pnl) - 1))
    tail = data.draw(st.sampled_from([50, 100, 250, 9999]))
    weight = data.draw(st.integers(1, 10_000)) if stress else 0
    rules = check(Historical(len(pnl) - stress, stress, tail, weight), len(pnl))
    found = risk(np.array(pnl), rules, np.empty(2 * len(pnl), np.int64))
    assert found == twins.historical(pnl, rules.lookback, tail, stress, weight)
    assert found >= 0


@LAW
@given(st.lists(AMOUNT, min_size=1, max_size=120))
def test_doubling_doubles_the_risk_part(pnl: list[int]) -> None:
    rules, scratch = Historical(len(pnl)), np.empty(2 * len(pnl), np.int64)
    assert risk(2 * np.array(pnl), rules, scratch) == 2 * risk(np.array(pnl), rules, scratch)


@LAW
@given(st.integers(-LIMIT + 1, LIMIT - 1), st.integers(-LIMIT + 1, LIMIT - 1), st.integers(0, 10_000))
def test_blend_is_exact_in_the_whole_range(loss: int, stress: int, weight: int) -> None:
    assert blend(loss, stress, weight) == -(-(loss * (10_000 - weight) + stress * weight) // 10_000)


def test_stress_weight_of_a_quarter() -> None:
    pnl = np.array([-100] * 50 + [0] * 50 + [-900, -500])
    scratch = np.empty(2 * len(pnl), np.int64)
    assert risk(pnl, Historical(100, 2), scratch) == 100
    assert risk(pnl, Historical(100, 2, 100, 2500), scratch) == 75 + 225


def test_requirement_rounds_up_and_has_a_floor() -> None:
    assert requirement(1_000_001, 10_000, 0) == 101
    assert requirement(1_000_000, 10_000, 0) == 100
    assert requirement(1_000_000, 10_000, 250) == 250
    assert requirement(0, 10_000, 0) == 0


def test_floor_is_a_share_of_gross_values() -> None:
    gross, rates = np.array([1_000_000_01, -500_000_00]), np.array([500_000, 1_000_000])
    assert margin_floor(gross, rates) == 50_001 + 50_000
    assert margin_floor(np.full(3, 2**61), np.full(3, 10**9)) == LIMIT


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (Historical(9), "look-back 9"),
        (Historical(0, 10), "look-back 0"),
        (Historical(10, 0, 10_000), "tail_bps is 10000"),
        (Historical(10, 0, 100, 2500), "0 without a stress set"),
        (Historical(8, 2, 100, 10_001), "stress_weight_bps is 10001"),
    ],
)
def test_check_refuses(rules: Historical, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(rules, 10)


def test_legs_of_random_accounts_are_the_twins() -> None:
    random, scenarios, accounts = np.random.default_rng(4), 300, 40
    scale = 10.0 ** random.integers(0, 7, 30)[:, None]
    values, decimals = quantize(random.normal(0, scale, (30, scenarios)))
    rows, rules = make_rows(values, decimals), Historical(250, 50, 100, 2500)
    sizes = random.integers(0, 9, (accounts, 2))
    start = np.concatenate([[0], np.cumsum(sizes.sum(axis=1))])
    split = start[:-1] + sizes[:, 0]
    row_of = random.integers(0, 30, start[-1]).astype(np.int32)
    lots = random.integers(-500, 500, start[-1])
    lots[split[3] : split[3] + 1] = 2**60  # one futures leg of which the sums cannot be held
    floors, out = random.integers(0, 10**7, (accounts, 3)), np.zeros((accounts, 3), np.int64)
    vectors, scratch = np.empty((3, scenarios), np.int64), np.empty(2 * scenarios, np.int64)
    leg_requirements(rows, rules, Portfolios(row_of, lots, start, split), floors, vectors, scratch, out)
    plain, places = values.tolist(), decimals.tolist()
    for a in range(accounts):
        for leg, (low, high) in enumerate([(start[a], split[a]), (split[a], start[a + 1]), (start[a], start[a + 1])]):
            if a == 3 and leg > 0:
                assert out[a, leg] == LIMIT
                continue
            positions = list(zip(row_of[low:high].tolist(), lots[low:high].tolist(), strict=True))
            units = twins.historical(twins.vector(plain, places, positions), 250, 100, 50, 2500)
            assert out[a, leg] == max(-(-units // rows.divisor), floors[a, leg])

"""Moves, volatility and filter: against a slow twin, and that what is missing never becomes a number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scenarios.moves import (
    Floats,
    Move,
    apply_move,
    daily_moves,
    ewma_volatility,
    filtered_moves,
    over_horizon,
    with_mirror,
)
from tests.engine.scenarios import twins

NAN = np.nan
MOVES = st.lists(
    st.one_of(st.none(), st.floats(-50, 50, allow_subnormal=False).filter(lambda m: abs(m) > 1e-3)), max_size=60
)


def column(values: list[float | None]) -> Floats:
    return np.array([NAN if value is None else value for value in values], np.float64).reshape(-1, 1)


def agree(found: Floats, expected: list[float | None]) -> None:
    np.testing.assert_allclose(found[:, 0], column(expected)[:, 0], rtol=1e-12)


def test_moves_by_kind() -> None:
    levels = np.array([[4.0, 100.0, 100.0], [4.25, 110.0, 110.0], [-0.5, 55.0, 55.0]])
    moves = daily_moves(levels, (Move.BP, Move.LOG, Move.RELATIVE))
    np.testing.assert_allclose(moves, [[25.0, np.log(1.1), 0.1], [-475.0, np.log(0.5), -0.5]])
    for j, kind in enumerate((Move.BP, Move.LOG, Move.RELATIVE)):
        np.testing.assert_allclose(apply_move(levels[1, j], moves[1, j : j + 1], kind), levels[2, j])


def test_a_missing_level_makes_both_its_moves_missing() -> None:
    levels = np.array([[1.0, 5.0], [NAN, 5.0], [1.0, 5.1], [1.2, 5.1]])
    moves = daily_moves(levels, (Move.BP, Move.BP))
    assert np.isnan(moves[:2, 0]).all()
    np.testing.assert_allclose(moves[2], [20.0, 0.0])
    np.testing.assert_allclose(moves[:, 1], [0.0, 10.0, 0.0])


def test_no_move_over_a_long_gap() -> None:
    days = np.array(["2018-08-10", "2018-08-13", "2020-06-29", "2020-06-30"], "M8[D]")
    moves = daily_moves(np.array([[1.0], [2.0], [3.0], [4.0]]), (Move.BP,), days)
    assert np.isnan(moves[1, 0])
    assert np.isfinite(moves[[0, 2], 0]).all()


@pytest.mark.parametrize(
    ("levels", "kind", "days", "said"),
    [
        ([[1.0], [0.0]], Move.LOG, None, "found 0 as a price; allowed for log moves: above 0"),
        ([[1.0], [-2.0]], Move.RELATIVE, None, "found -2 as a price"),
        ([[1.0], [np.inf]], Move.BP, None, "found an infinite value"),
        ([[1.0], [2.0]], Move.BP, ["2020-01-02", "2020-01-02"], "ascending day"),
        ([[1.0, 2.0]], Move.BP, None, r"found shape \(1, 2\)"),
    ],
)
def test_levels_that_make_no_moves(levels: list[list[float]], kind: Move, days: list[str] | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        daily_moves(np.array(levels), (kind,), None if days is None else np.array(days, "M8[D]"))


@given(MOVES, st.sampled_from([0.5, 0.94, 0.99]), st.sampled_from([0.0, 0.3, 1.0]), st.integers(1, 8))
def test_volatility_and_filter_agree_with_the_twin(
    moves: list[float | None], decay: float, weight: float, warm_up: int
) -> None:
    before = twins.volatility(moves, decay, weight, warm_up)
    found = ewma_volatility(column(moves), decay, weight, warm_up)
    agree(found, before)
    if before[-1] is not None:
        agree(filtered_moves(column(moves), found), twins.filtered(moves, before))


def test_volatility_knows_only_the_past() -> None:
    moves = np.random.Generator(np.random.PCG64(1)).normal(size=(200, 2))
    changed = moves.copy()
    changed[150:] *= 9
    first, second = ewma_volatility(moves, 0.97, 0.3), ewma_volatility(changed, 0.97, 0.3)
    np.testing.assert_array_equal(first[:151], second[:151])
    assert (first[151:] != second[151:]).all()


def test_constant_size_of_moves_is_their_volatility_and_filters_to_itself() -> None:
    moves = np.where(np.arange(100) % 2, 3.0, -3.0).reshape(-1, 1)
    volatility = ewma_volatility(moves, 0.9, 0.25, warm_up=10)
    np.testing.assert_allclose(volatility[10:], 3.0)
    np.testing.assert_allclose(filtered_moves(moves, volatility)[10:], moves[10:])


def test_zero_volatility_gives_no_scenario() -> None:
    moves = np.zeros((80, 1))
    assert np.isnan(filtered_moves(moves, ewma_volatility(moves, 0.97))).all()


@pytest.mark.parametrize(
    ("decay", "weight", "warm_up", "said"),
    [(1.0, 0.0, 5, "decay: found 1.0"), (0.9, 1.5, 5, "long_run_weight: found 1.5"), (0.9, 0.0, 0, "warm_up: found 0")],
)
def test_parameters_out_of_range(decay: float, weight: float, warm_up: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ewma_volatility(np.ones((9, 1)), decay, weight, warm_up)


def test_horizon_sums_or_compounds_and_keeps_what_is_missing() -> None:
    moves = np.array([[0.1, 0.1], [0.2, 0.2], [NAN, -0.5], [0.3, 0.0]])
    found = over_horizon(moves, 2, (Move.LOG, Move.RELATIVE))
    np.testing.assert_allclose(found, [[0.3, 0.32], [NAN, -0.4], [NAN, -0.5]])
    assert over_horizon(moves, 5, (Move.LOG, Move.RELATIVE)).shape == (0, 2)
    for days in (0, 6):
        with pytest.raises(ValueError, match=f"horizon: found {days}; allowed: 1 to 5"):
            over_horizon(moves, days, (Move.LOG, Move.RELATIVE))


def test_mirror() -> None:
    found = with_mirror(np.array([[1.0, NAN]]))
    np.testing.assert_array_equal(found, [[1.0, NAN], [-1.0, NAN]])

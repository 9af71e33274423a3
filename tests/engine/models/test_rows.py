"""Rows, portfolio vectors and the loss quantile: against plain integers, at the edges of their ranges, and their laws."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arithmetic import LIMIT
from engine.models.rows import (
    INT32_MAX,
    Rows,
    loss_at,
    make_rows,
    portfolio_vector,
    quantize,
    rank_of,
    select,
    worst,
    worst_loss,
)
from tests.engine.models import twins
from tests.engine.models.laws import LAW

ROWS = st.lists(st.lists(st.integers(-INT32_MAX, INT32_MAX), min_size=7, max_size=7), min_size=1, max_size=5)
LOTS = st.integers(-(10**6), 10**6)


def vector_of(rows: Rows, positions: list[tuple[int, int]]) -> list[int] | None:
    row_of = np.array([r for r, _ in positions], np.int32)
    lots = np.array([q for _, q in positions], np.int64)
    found = np.full(rows.values.shape[1], 77, np.int64)
    return found.tolist() if portfolio_vector(rows, row_of, lots, 0, len(lots), found) else None


@st.composite
def portfolios(draw: st.DrawFn) -> tuple[list[list[int]], list[int], list[tuple[int, int]]]:
    rows = draw(ROWS)
    decimals = draw(st.lists(st.integers(-6, 4), min_size=len(rows), max_size=len(rows)))
    place = st.integers(0, len(rows) - 1)
    return rows, decimals, draw(st.lists(st.tuples(place, st.integers(-9, 9)), max_size=11))


def built(rows: list[list[int]], decimals: list[int]) -> Rows:
    return make_rows(np.array(rows, np.int32), np.array(decimals, np.int64))


@LAW
@given(portfolios())
def test_vector_is_the_exact_sum(case: tuple[list[list[int]], list[int], list[tuple[int, int]]]) -> None:
    rows, decimals, positions = case
    exact = twins.vector(rows, decimals, positions)
    bound = sum(abs(q) * max(map(abs, rows[r])) * 10 ** (max(0, *decimals) - decimals[r]) for r, q in positions)
    found = vector_of(built(rows, decimals), positions)
    assert found == (exact if bound < LIMIT else found)
    assert (found is None) == (bound >= LIMIT)


@LAW
@given(ROWS, st.lists(LOTS, min_size=6, max_size=6), st.randoms(use_true_random=False))
def test_vector_laws(rows: list[list[int]], lots: list[int], random: Random) -> None:
    made = built(rows, [2] * len(rows))
    positions = [(p % len(rows), q) for p, q in enumerate(lots)]
    once = vector_of(made, positions)
    assert once is not None
    assert vector_of(made, [(r, 2 * q) for r, q in positions]) == [2 * value for value in once]
    assert vector_of(made, positions + [(r, -q) for r, q in positions]) == [0] * 7
    shuffled = positions.copy()
    random.shuffle(shuffled)
    assert vector_of(made, shuffled) == once


def test_vector_out_of_range_is_a_state() -> None:
    rows = built([[INT32_MAX, -1]], [0])
    fits = (LIMIT - 1) // INT32_MAX
    assert vector_of(rows, [(0, fits)]) == [fits * INT32_MAX, -fits]
    assert vector_of(rows, [(0, fits + 1)]) is None
    assert vector_of(rows, [(0, 2**62)]) is None
    assert vector_of(rows, [(0, fits // 2), (0, -fits // 2 - 5)]) is None


@LAW
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.integers(0, 9))
def test_quantized_within_half_a_unit_in_the_finest_that_fits(row: list[float], finest: int) -> None:
    values, decimals = quantize([row], finest)
    k = int(decimals[0])
    for value, quantized in zip(row, values[0].tolist(), strict=True):
        assert abs(quantized - value * 10**k) <= 0.5 + abs(value * 10**k) * 2**-52
    assert k == finest or max(abs(round(value * 10 ** (k + 1))) for value in row) > INT32_MAX


def test_quantize_rounds_half_to_even_and_coarsens_what_is_large() -> None:
    values, decimals = quantize([[0.5, 1.5, -2.5], [1e15, -1.0, 0.0], [0.0, 0.0, 0.0]], 0)
    assert values.tolist() == [[0, 2, -2], [1_000_000_000, 0, 0], [0, 0, 0]]
    assert decimals.tolist() == [0, -6, 0]


@pytest.mark.parametrize(
    ("pnl", "message"),
    [
        ([[1.0, math.nan]], "row 0 has nan in scenario 1"),
        ([[1.0, 2.0], [-math.inf, 0.0]], "row 1 has -inf in scenario 0"),
        ([[1.0], [1e16]], "row 1 reaches 1e\\+16"),
        ([1.0], "shape"),
        ([[]], "at least one scenario"),
    ],
)
def test_quantize_refuses(pnl: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize(pnl)


def test_make_rows_refuses() -> None:
    with pytest.raises(ValueError, match="decimals from 0 to 10"):
        make_rows(np.zeros((2, 1), np.int32), np.array([0, 10]))
    with pytest.raises(ValueError, match="float64"):
        make_rows(np.zeros((1, 1)), np.array([0]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finest is 10"):
        quantize([[1.0]], 10)


VALUES = st.lists(st.integers(-50, 50) | st.integers(-(2**61), 2**61), min_size=1, max_size=400)


@LAW
@given(VALUES, st.data())
def test_select_and_loss_are_those_of_sorting(values: list[int], data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, len(values) - 1))
    assert select(np.array(values), rank) == sorted(values)[rank]
    vector = np.array(values)
    assert loss_at(vector, rank, np.empty(2 * len(values), np.int64)) == twins.loss_at(values, rank)
    assert vector.tolist() == values
    assert worst_loss(vector) == max(0, -min(values))
    assert worst(vector) == values.index(min(values))


@pytest.mark.parametrize("scenarios", [31, 32, 99, 100, 1000, 2499, 2500, 8811])
def test_loss_of_long_vectors(scenarios: int) -> None:
    random, scratch = np.random.default_rng(scenarios), np.empty(2 * scenarios, np.int64)
    rank = rank_of(scenarios, 100)
    assert rank == scenarios // 100
    smooth = random.normal(0, 1e9, scenarios).astype(np.int64)
    for pnl in (smooth, np.sort(smooth), -np.sort(smooth), smooth // 10**9, np.zeros(scenarios, np.int64)):
        assert loss_at(pnl, rank, scratch) == twins.loss_at(pnl.tolist(), rank)

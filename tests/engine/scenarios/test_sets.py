"""Scenario sets: what is in them, stress days that never drop out, and a hash that any cell changes."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scenarios.moves import Days, Floats, Move, daily_moves, ewma_volatility, filtered_moves
from engine.scenarios.sets import (
    DERIBIT,
    MAX_DOCUMENT_BYTES,
    MIRROR,
    RAW,
    STRESS,
    Filter,
    Proxy,
    ScenarioSet,
    decode,
    encode,
    grid_set,
    historical_set,
    points_set,
    rounded,
    span_set,
    with_proxies,
    years_before,
)
from tests.engine.models.golden import golden

KINDS = (Move.BP, Move.LOG)
STRESS_DAY = "1990-06-04"


def history(days: int = 9000, start: str = "1990-01-01") -> tuple[Days, Floats]:
    """Days in a row and two factors; the second is missing before day 300."""
    moves = np.random.Generator(np.random.PCG64(7)).normal(size=(days, 2)) * 0.01
    levels = 5.0 + moves.cumsum(axis=0)
    levels[:, 1] = np.exp(levels[:, 1])
    levels[:300, 1] = np.nan
    return np.datetime64(start) + np.arange(days), levels


def in_nine_digits(moves: Floats) -> Floats:
    """Each move as the decimal of nine significant digits that is nearest."""
    return np.array([float(f"{move:.8e}") for move in moves.flat]).reshape(moves.shape)


def made(how: Filter | None = None, days: int = 9000, stress: dict[str, str] | None = None) -> ScenarioSet:
    stress = {STRESS_DAY: "x", "2035-01-01": "later"} if stress is None else stress
    return historical_set("h", "1", ("y", "p"), KINDS, *history(days), how, stress)


def test_a_stress_day_stays_when_the_look_back_has_left_it() -> None:
    scenarios = made()
    assert scenarios.labels[0] > "2004"
    assert scenarios.stress_days == (STRESS_DAY,)
    days, levels = history()
    own = daily_moves(levels, KINDS)[np.searchsorted(days, np.datetime64(STRESS_DAY)) - 1]
    np.testing.assert_array_equal(scenarios.matrix[scenarios.labels.index(STRESS + STRESS_DAY)], in_nine_digits(own))
    assert np.isnan(own[1]), "the factor that was not there has no move, not zero"


@given(st.integers(10, 40), st.integers(160, 9000), st.sampled_from([1, 3]), st.booleans(), st.booleans())
def test_stress_days_never_drop_out(years: int, days: int, horizon: int, mirrored: bool, raw: bool) -> None:
    how = Filter(look_back_years=years, horizon_days=horizon, antithetic=mirrored, raw=raw)
    assert made(how, days).stress_days == (STRESS_DAY,)


def test_a_stress_day_without_a_move_is_refused() -> None:
    days, levels = history()
    gone = days != np.datetime64(STRESS_DAY)
    with pytest.raises(ValueError, match=f"stress day {STRESS_DAY} has no move"):
        historical_set("h", "1", ("y", "p"), KINDS, days[gone], levels[gone], None, {STRESS_DAY: "x"})


def test_a_stress_day_in_a_hole_of_the_history_lies_outside_it() -> None:
    days, levels = history()
    kept = np.abs(days - np.datetime64(STRESS_DAY)) > np.timedelta64(10, "D")
    scenarios = historical_set("h", "1", ("y", "p"), KINDS, days[kept], levels[kept], None, {STRESS_DAY: "x"})
    assert scenarios.stress_days == ()


def test_look_back_is_ten_years_and_its_moves_are_filtered() -> None:
    scenarios = made(stress={})
    days, levels = history()
    assert scenarios.labels[0] == str(years_before(days[-1], 10) + 1)
    assert scenarios.labels[-1] == str(days[-1])
    moves = daily_moves(levels, KINDS)
    how = Filter()
    expected = filtered_moves(moves, ewma_volatility(moves, how.decay, how.long_run_weight))
    np.testing.assert_array_equal(scenarios.matrix, in_nine_digits(expected[-len(scenarios.labels) :]))
    with pytest.raises(ValueError, match="look_back_years: found 9; allowed: 10 or more"):
        made(Filter(look_back_years=9))


def test_years_before_a_leap_day() -> None:
    assert years_before(np.datetime64("2024-02-29"), 1) == np.datetime64("2023-03-01")
    assert years_before(np.datetime64("2024-03-01"), 10) == np.datetime64("2014-03-01")


def test_mirror_and_raw_parts() -> None:
    scenarios = made(Filter(antithetic=True, raw=True))
    half = len(scenarios.labels) // 2
    np.testing.assert_array_equal(scenarios.matrix[half:], -scenarios.matrix[:half])
    assert scenarios.labels[half:] == tuple(MIRROR + label for label in scenarios.labels[:half])
    look_back = int(scenarios.parameters["look_back"])
    assert half == 2 * look_back + 1
    assert scenarios.labels[look_back + 1] == RAW + scenarios.labels[0]


def test_too_short_a_history_makes_no_set() -> None:
    with pytest.raises(ValueError, match="found no move with a volatility"):
        historical_set("h", "1", ("y", "p"), KINDS, *history(40))


@given(st.integers(0, 8), st.sampled_from([0.0, 1e-300, -1.5, np.nan]))
def test_hash_changes_with_any_cell(place: int, value: float) -> None:
    matrix = np.arange(1.0, 10.0).reshape(3, 3)
    scenarios = ScenarioSet("s", "1", ("a", "b", "c"), ("bp",) * 3, ("x", "y", "z"), matrix)
    other = matrix.copy()
    other.flat[place] = value
    assert replace(scenarios, matrix=other).hash != scenarios.hash
    assert replace(scenarios, matrix=matrix.copy()).hash == scenarios.hash


@pytest.mark.parametrize(
    "change",
    [
        {"name": "t"}, {"version": "2"}, {"factors": ("b", "a")}, {"kinds": ("bp", "log")}, {"labels": ("y", "x")},
        {"parameters": {"decay": 0.5}},
    ],
)  # fmt: skip
def test_hash_changes_with_all_that_stands_beside_the_cells(change: dict[str, Any]) -> None:
    scenarios = ScenarioSet("s", "1", ("a", "b"), ("bp", "bp"), ("x", "y"), np.ones((2, 2)))
    assert replace(scenarios, **change).hash != scenarios.hash


def test_hash_knows_one_nan_and_one_zero() -> None:
    one = ScenarioSet("s", "1", ("a",), ("bp",), ("x", "y"), np.array([[0.0], [np.nan]]))
    odd_nan = np.array([0x7FF8_0000_0000_0001], np.uint64).view(np.float64)[0]
    assert replace(one, matrix=np.array([[-0.0], [odd_nan]])).hash == one.hash


def test_document_round_trip_and_refusals() -> None:
    scenarios = made(Filter(raw=True), 700)
    read = decode(encode(scenarios))
    assert (read.hash, read.labels, read.parameters) == (scenarios.hash, scenarios.labels, scenarios.parameters)
    np.testing.assert_array_equal(read.matrix, scenarios.matrix)
    small = encode(ScenarioSet("s", "1", ("a",), ("bp",), ("x",), np.array([[1.5]])))
    for found, said in (
        (small.replace(b"1.5", b"1.6"), "hash: found"),
        (small.replace(b"[[1.5]]", b"[[1.5,2]]"), "a row of another length"),
        (small.replace(b"scenarios-1", b"scenarios-9"), "format: found"),
        (b"{}", "not a scenario set"),
    ):
        with pytest.raises(ValueError, match=said):
            decode(found)


def test_a_ten_year_set_of_twelve_factors_is_one_message_and_four_times_that_is_not() -> None:
    days = np.arange(np.datetime64("2012-01-01"), np.datetime64("2024-05-01"))
    days = days[np.is_busday(days)]
    random = np.random.Generator(np.random.PCG64(11))
    levels = np.exp((random.normal(size=(len(days), 12)) * 0.03).cumsum(axis=0))
    factors = [f"BTC-FACTOR-{n}" for n in range(12)]
    kinds = [Move.BP] * 10 + [Move.LOG] * 2
    whole = historical_set("h", "1", factors, kinds, days, levels, None, {})
    document = encode(whole)
    assert len(whole.labels) > 2_600
    assert len(document) < 500_000
    assert decode(document).hash == whole.hash
    big = historical_set("h", "1", factors, kinds, days, levels, Filter(antithetic=True, raw=True), {})
    said = r"set h: found 1,\d{3},\d{3} bytes for 10\d{3} scenarios of 12 factors; allowed: 999,999, as a set is one Kafka"
    with pytest.raises(ValueError, match=said):
        encode(big)
    assert MAX_DOCUMENT_BYTES < 1_000_000


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_moves_have_nine_digits_in_documents(moves: list[float]) -> None:
    cells = np.array([moves])
    np.testing.assert_array_equal(rounded(cells), in_nine_digits(cells))
    np.testing.assert_array_equal(rounded(-cells), -rounded(cells))
    written = [Decimal(repr(cell)).normalize() for cell in rounded(cells)[0].tolist()]
    assert all(len(number.as_tuple().digits) <= 9 for number in written)


def gaps() -> ScenarioSet:
    """Three factors of one kind and one of another; b lacks two moves, c lacks another and all that b lacks."""
    nan = np.nan
    matrix = np.array([[1.0, 2.0, 3.0, 9.0], [-2.0, nan, nan, 9.0], [5.0, nan, nan, 9.0], [4.0, 4.0, nan, 9.0]])
    return ScenarioSet("s", "1", ("a", "b", "c", "d"), ("log", "log", "log", "bp"), ("w", "x", "y", "z"), matrix)


def test_proxies_fill_what_is_missing_in_their_order_and_are_stated_and_hashed() -> None:
    filled = with_proxies(gaps(), [Proxy("b", "a", 1.2), Proxy("c", "b", -0.5)])
    np.testing.assert_array_equal(filled.matrix[:, 1], [2.0, -2.4, 6.0, 4.0])
    np.testing.assert_array_equal(filled.matrix[:, 2], [3.0, 1.2, -3.0, -2.0])
    np.testing.assert_array_equal(filled.matrix[:, [0, 3]], gaps().matrix[:, [0, 3]])
    assert filled.parameters == {"proxy b": "a x 1.2", "proxy c": "b x -0.5"}
    assert decode(encode(filled)).hash == filled.hash
    assert replace(filled, parameters={}).hash != filled.hash
    assert with_proxies(gaps(), []).hash == gaps().hash
    assert with_proxies(gaps(), [Proxy("b", "a", 2.0)]).parameters["proxy b"] == "a x 2"


@pytest.mark.parametrize(
    ("proxies", "said"),
    [
        ([("b", "e", 1.0)], "proxy of b: found no factor e; allowed: a, b, c, d"),
        ([("e", "a", 1.0)], "proxy of e: found no factor e"),
        ([("b", "d", 1.0)], "proxy of b: found log moves, and bp moves of d; allowed: one kind"),
        ([("c", "b", 1.0)], "proxy of c: found no move of b either in scenario 'x'"),
        ([("b", "a", 1.0), ("b", "a", 2.0)], "proxy of b: found two"),
        ([("b", "a", 0.0)], "found a beta of 0.0; allowed: a finite number other than 0"),
        ([("b", "a", np.nan)], "found a beta of nan"),
        ([("b", "b", 1.0)], "proxy of b: found itself"),
    ],
)
def test_proxies_that_are_none(proxies: list[tuple[str, str, float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        with_proxies(gaps(), [Proxy(*proxy) for proxy in proxies])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"matrix": np.ones((2, 1))}, "matrix: found shape"),
        ({"matrix": np.array([[np.inf]])}, "infinite"),
        ({"labels": ("",)}, "labels: found an empty"),
        ({"kinds": ("bp", "bp")}, "kinds: found 2"),
    ],
)
def test_sets_that_are_none(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(ScenarioSet("s", "1", ("a",), ("bp",), ("x",), np.ones((1, 1))), **change)


def test_span_is_the_published_table() -> None:
    third, two = 1 / 3, 2 / 3
    prices = [0, 0, third, third, -third, -third, two, two, -two, -two, 1, 1, -1, -1, 2, -2]
    scenarios = span_set()
    np.testing.assert_allclose(scenarios.matrix[:, 0], prices)
    np.testing.assert_array_equal(scenarios.matrix[:, 1], [1, -1] * 7 + [0, 0])
    np.testing.assert_array_equal(scenarios.matrix[:, 2], [1] * 14 + [0.35] * 2)
    np.testing.assert_array_equal(span_set((3, 0.33)).matrix[14:], [[3, 0, 0.33], [-3, 0, 0.33]])


SHOCKS = DERIBIT["BTC"]


def test_grid_has_27_cells_and_8_extended() -> None:
    scenarios = grid_set(SHOCKS)
    assert scenarios.matrix.shape == (35, 3)
    np.testing.assert_allclose(scenarios.matrix[:27:3, 0], [-0.16, -0.12, -0.08, -0.04, 0, 0.04, 0.08, 0.12, 0.16])
    np.testing.assert_array_equal(scenarios.matrix[:3, 1], [-1, 0, 1])
    np.testing.assert_array_equal(scenarios.matrix[27:], [[m, 1, 1] for m in (-0.66, -0.33, 0.5, 1, 2, 3, 4, 5)])
    with pytest.raises(ValueError, match=r"price_range 1\.0"):
        grid_set(SHOCKS._replace(price_range=1.0))


def test_deribits_parameters_are_those_of_its_own_answer() -> None:
    printed = golden("deribit_pm_btc")["params"]
    assert {name: float(printed[name]) for name in SHOCKS._fields if name in printed} == {
        name: value for name, value in SHOCKS._asdict().items() if name not in ("buckets", "extended")
    }
    other = {name for name, value in DERIBIT["ETH"]._asdict().items() if value != getattr(SHOCKS, name)}
    assert other == {"price_range", "volatility_range_up"}
    assert (DERIBIT["ETH"].price_range, DERIBIT["ETH"].volatility_range_up) == (0.18, 0.4)  # crypto.md 4.2


def test_ten_points_by_class() -> None:
    index = points_set("high_cap_broad_index").matrix[:, 0]
    np.testing.assert_allclose(index, [-0.08, -0.064, -0.048, -0.032, -0.016, 0.012, 0.024, 0.036, 0.048, 0.06])
    np.testing.assert_allclose(points_set("equity").matrix[[0, 4, 5, 9], 0], [-0.15, -0.03, 0.03, 0.15])
    with pytest.raises(ValueError, match="class: found 'bond'; allowed: high_cap_broad_index, broad_index, equity"):
        points_set("bond")


@pytest.mark.parametrize("listed", [span_set(), grid_set(SHOCKS), points_set("equity")], ids=lambda one: one.name)
def test_listed_sets_come_back_from_their_documents(listed: ScenarioSet) -> None:
    back = decode(encode(listed))
    assert (back.hash, back.labels) == (listed.hash, listed.labels)
    np.testing.assert_array_equal(back.matrix, listed.matrix)

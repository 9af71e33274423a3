"""The grid model: golden/deribit_pm_btc.json and golden/option_grid.json to their digits, twins of its kernels, its laws."""

from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arithmetic import E9, LIMIT, mul_div_up
from engine.models.grid import (
    DeltaShock,
    GridMargin,
    Shocks,
    add_pair,
    cells,
    check,
    dampeners,
    delta_shock,
    grid_row,
    inverse_future,
    requirement,
    roll_rates,
    roll_shock,
    shocked_volatility,
    standard_moves,
    tail_weight,
)
from engine.models.rows import make_rows, portfolio_vector, quantize
from engine.pricing.options import black_value
from tests.engine.models import twins
from tests.engine.models.golden import as_printed, golden
from tests.engine.models.laws import LAW

DERIBIT, OPTION = golden("deribit_pm_btc"), golden("option_grid")
PICO = 10**12
BTC = Shocks(0.16, 0.5, 0.25, 0.5, 0.3, 0.13, 1.0)


def quantities() -> list[float]:
    return [float(position["delta_btc"]) for position in DERIBIT["positions"]]


def cell_pnl() -> Any:
    """(positions, cells) in coin."""
    return np.array([grid_row(lambda m, _, q=q: inverse_future(m, q), 0.6, 30, BTC, inverse=True) for q in quantities()])


def test_parameters_are_the_golden_ones() -> None:
    for name, value in BTC._asdict().items():
        if name in DERIBIT["params"]:
            assert value == float(DERIBIT["params"][name])
    assert standard_moves(BTC) == pytest.approx([float(m) for m in DERIBIT["moves"]], abs=1e-16)
    assert BTC.extended == tuple(float(m) for m in DERIBIT["formula"]["extended_moves"])


def test_golden_cells() -> None:
    pnl, tolerance = cell_pnl(), float(DERIBIT["tolerance"]["cells"])
    for row, position in zip(pnl, DERIBIT["positions"], strict=True):
        printed = [float(value) for value in DERIBIT["pnl"][position["instrument"]]]
        for kind in range(3):
            assert np.abs(row[kind:27:3] - printed).max() <= tolerance
    before = DERIBIT["extended_before_dampener_perpetual"]
    for move, value in zip(BTC.extended, pnl[0, 27:], strict=True):
        printed = before["down" if move < 0 else "up"]
        assert as_printed(value, printed) == printed


def test_golden_answer() -> None:
    answer, params = DERIBIT["answer"], DERIBIT["params"]
    vector = np.rint(cell_pnl().sum(axis=0) * PICO).astype(np.int64)
    damp = dampeners(BTC, float(params["extended_dampener_usd_of_coin_settled"]) / float(DERIBIT["index"]) * PICO)
    total = np.zeros(len(vector), np.int64)
    add_pair(vector, damp, int(params["max_offsetable_pnl"]), int(params["pnl_offset"] * E9), total)
    assert total[27:].tolist() == [DERIBIT["extended_after_dampener"]] * 8
    assert int(np.argmin(total)) in (0, 1, 2)  # the first move, whatever the volatility: delta-one
    years = [0.0, 11 / 365]
    rates = roll_rates(years, float(params["annualised_move_risk"]), float(params["min_annualised_move"]))
    deltas = np.array([int(position["delta_btc"] * PICO) for position in DERIBIT["positions"]])
    rule = DeltaShock(int(params["delta_total_liquidity_shock_threshold"]) * 100, round(params["m_inc"] * E9), 10**8)
    shock = delta_shock(0, int(deltas.sum()), round(DERIBIT["index"] * 100), PICO, rule)
    others = int((DERIBIT["mmp_margin"] + DERIBIT["open_orders_margin"]) * PICO)
    roll = roll_shock(np.array([mul_div_up(abs(delta), rate, E9) for delta, rate in zip(deltas, rates, strict=True)]))
    found = GridMargin(*requirement(total, roll, shock, others, int(params["mm_factor"] * E9), 1000))
    printed = {
        "worst_case": found.worst_case, "roll_shock": found.roll_shock, "delta_shock": found.delta_shock,
        "risk_matrix_margin": found.risk_matrix, "initial_margin": found.initial, "maintenance_margin": found.maintenance,
    }  # fmt: skip
    for name, units in printed.items():
        assert Decimal(units).scaleb(-12).quantize(Decimal(answer[name])) == answer[name], name


def short_calls() -> Any:
    """(5 moves, 3 volatilities) of the golden option, and its cells of one call."""
    inputs = {name: float(value) for name, value in OPTION["input"].items()}
    years = inputs["days"] / inputs["year"]

    def value(moves: Any, volatilities: Any) -> Any:
        now = black_value(inputs["forward"], inputs["strike"], inputs["iv"], years, True)
        return black_value(inputs["forward"] * (1 + moves), inputs["strike"], volatilities, years, True) - now

    row = grid_row(value, inputs["iv"], inputs["days"], BTC)
    return inputs["quantity"] * row[:27].reshape(9, 3), row


def test_golden_option_grid() -> None:
    inputs = {name: float(value) for name, value in OPTION["input"].items()}
    mark = black_value(inputs["forward"], inputs["strike"], inputs["iv"], inputs["days"] / inputs["year"], True)
    assert as_printed(float(mark), OPTION["mark"]) == OPTION["mark"]
    down, same, up = shocked_volatility(inputs["iv"], inputs["days"], [-1, 0, 1], BTC)
    assert (as_printed(down, OPTION["iv_down"]), same) == (OPTION["iv_down"], inputs["iv"])
    assert as_printed(up, OPTION["iv_up"]) == OPTION["iv_up"]
    grid, _ = short_calls()
    for move, printed in OPTION["pnl_down_same_up"].items():
        at = int(np.argmin(np.abs(standard_moves(BTC) - float(move))))
        for found, value in zip(grid[at], printed, strict=True):
            assert as_printed(found, Decimal("0.01")) == value
    assert as_printed(grid.min(), OPTION["worst"]) == OPTION["worst"]


def test_integer_rows_are_within_half_a_unit_a_lot() -> None:
    _, row = short_calls()
    values, decimals = quantize([row * 100])
    rows, vector = make_rows(values, decimals), np.empty(len(row), np.int64)
    assert portfolio_vector(rows, np.zeros(1, np.int32), np.array([-10]), 0, 1, vector)
    assert np.abs(vector - -10 * row * 100 * rows.divisor).max() <= 10 * 0.5 * (1 + 1e-6)


def test_golden_option_tails() -> None:
    # crypto.md 4.4: USD-linear, before the dampener and with 25,000; they agree with the figures to the dollar.
    _, row = short_calls()
    tails = dict(zip(BTC.extended, np.rint(-10 * row[27:] * 100).astype(np.int64), strict=True))
    assert [round(tails[m] / 100) for m in (0.5, 1.0, 5.0)] == [-124_923, -141_493, -156_295]
    total = np.zeros(8, np.int64)
    add_pair(np.array(list(tails.values())), dampeners(BTC, 25_000_00)[27:], 0, 0, total)
    assert [round(value / 100) for value in total] == [0, 0, -71_798, -10_243, 0, 0, 0, 0]


def test_cells_and_weights() -> None:
    moves, kinds = cells(BTC)
    assert len(moves) == len(kinds) == 35
    assert kinds.tolist() == [-1, 0, 1] * 9 + [1] * 8
    assert moves[12:15].tolist() == [0.0, 0.0, 0.0]
    assert tail_weight([0.16, -0.16, 0.0, 0.32, -0.64], BTC, False).tolist() == pytest.approx([1, 1, 1, 0.5, 0.25])
    paradex = tail_weight(BTC.extended, BTC, False)  # crypto.md 4.3: published for a clone, in %
    assert (100 * paradex).round(2).tolist() == [24.24, 48.48, 32, 16, 8, 5.33, 4, 3.2]


def test_volatility_shocks_by_days() -> None:
    up = shocked_volatility(1.0, [7, 15, 30, 90, 365], 1, BTC) - 1
    assert np.round(up, 3).tolist() == [0.774, 0.616, 0.5, 0.433, 0.361]  # crypto.md 4.1
    assert shocked_volatility(0.0, 0, [-1, 0, 1], BTC).tolist() == [0.0, 0.0, 0.5]


@pytest.mark.parametrize(("coins", "usd"), [(200, 0), (500, 320_827), (-500, 320_827), (5000, 32_830_000)])
def test_delta_shock_of_crypto_md(coins: int, usd: int) -> None:
    rule = DeltaShock(20_000_000_00, 50_000, 10**8)
    found = delta_shock(0, coins * 10**8, 65_666_19, 10**8, rule)
    assert abs(found / 100 - usd) <= (5000 if usd > 10**7 else 1)


@LAW
@given(st.integers(-(10**13), 10**13), st.integers(-(10**13), 10**13), st.integers(1, 10**8))
def test_delta_shock_is_the_twins_rounded_up(options: int, other: int, price: int) -> None:
    rule = DeltaShock(20_000_000_00, 50_000, 10**8)
    exact = twins.delta_shock(options, other, price, 10**8, rule)
    found = delta_shock(options, other, price, 10**8, rule)
    # Three roundings up: the notional by less than 1, the excess in coins by 1e-8 and what 1 buys, the rate by 1e-9.
    notional = Fraction(abs(other) * price, 10**8) + 1
    slack = (
        2 + notional * Fraction(2, 10**9) + notional * Fraction(50_000, 10**9) * (Fraction(1, price) + Fraction(1, 10**8))
    )
    assert exact <= found <= exact + slack


CELL = st.integers(-(10**15), 10**15)


@LAW
@given(
    st.lists(st.lists(st.tuples(CELL, st.integers(0, 10**14)), min_size=5, max_size=5), min_size=1, max_size=4), st.data()
)
def test_pairs_are_the_twins(drawn: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    pairs = [
        ([v for v, _ in one], [d for _, d in one], data.draw(st.integers(0, 10**15)), data.draw(st.integers(0, E9)))
        for one in drawn
    ]
    total = np.zeros(5, np.int64)
    for vector, damp, cap, share in pairs:
        add_pair(np.array(vector), np.array(damp), cap, share, total)
    expected = twins.grid_total(pairs)
    assert total.tolist() == expected
    roll = data.draw(st.integers(0, 10**12))
    found = GridMargin(*requirement(total, roll, 5, 7, 8 * 10**8, 1))
    assert found.worst_case == max(0, -min(expected))
    assert found.risk_matrix == found.worst_case + roll + 5
    assert (found.initial, found.maintenance) == (found.risk_matrix + 7, ceil(Fraction(8, 10) * found.risk_matrix))


@LAW
@given(st.lists(CELL, min_size=1, max_size=40))
def test_doubling_and_offset_without_dampener(vector: list[int]) -> None:
    none = np.zeros(len(vector), np.int64)
    once, twice, offset = none.copy(), none.copy(), none.copy()
    add_pair(np.array(vector), none, 0, 0, once)
    add_pair(2 * np.array(vector), none, 0, 0, twice)
    add_pair(np.array(vector) - np.array(vector), none, 0, 0, offset)
    assert twice.tolist() == (2 * once).tolist()
    assert requirement(offset, 0, 0, 0, E9, 1) == (0, 0, 0, 0, 0, 0)


def test_roll_shock_rates() -> None:
    assert roll_rates([0.0, 0.1, 1.0], 0.075, 0.01).tolist() == [10_000_000, 10_000_000, 75_000_000]
    assert roll_shock(np.array([1, -8])) == 1 + 8
    assert roll_shock(np.full(9, 2**61)) == LIMIT


def test_refusals() -> None:
    for shocks in (BTC._replace(price_range=1.0), BTC._replace(buckets=0), BTC._replace(extended=(-1.0,))):
        with pytest.raises(ValueError, match="price_range"):
            check(shocks)
    with pytest.raises(ValueError, match="extended_table_factor is nan"):
        check(BTC._replace(extended_table_factor=np.nan))
    assert check(BTC) is BTC
    for volatility, days in ((np.nan, 1), (-0.1, 1), (0.5, -1), (0.5, np.inf)):
        with pytest.raises(ValueError, match="volatility or number of days"):
            shocked_volatility(volatility, days, 0, BTC)
    with pytest.raises(ValueError, match=r"nan at a move of -0\.16"):
        grid_row(lambda m, _: m * np.nan, 0.5, 10, BTC)
    for amount in (-1.0, np.nan, 1e30):
        with pytest.raises(ValueError, match="dampener amount"):
            dampeners(BTC, amount)
    with pytest.raises(ValueError, match="roll shock"):
        roll_rates([-1.0], 0.1, 0.1)

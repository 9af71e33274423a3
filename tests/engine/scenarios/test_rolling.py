"""Margins over history: each day's from the set built on that day, from the past; contracts against second formulas."""

import math

import numpy as np
import pytest

from engine.scenarios.contracts import CONTRACTS, Contract, tenor_weights
from engine.scenarios.moves import Days, Floats, Move
from engine.scenarios.rolling import Rule, losses_over, margin_of, path_of, tail_losses
from engine.scenarios.sets import STRESS, Filter, historical_set
from tests.engine.scenarios import twins

STRESS_DAYS = {"1990-06-04": "old", "2001-03-05": "inside the look-back"}


def history(days: int = 4200) -> tuple[Days, Floats]:
    random = np.random.Generator(np.random.PCG64(3))
    levels = 4.0 + (random.standard_t(4, size=(days, 2)) * 0.03).cumsum(axis=0) * 0.2
    levels[100, 0] = np.nan
    return np.datetime64("1990-01-01") + np.arange(days), levels


def test_a_days_losses_are_those_of_the_set_built_the_day_before() -> None:
    contract = CONTRACTS["ZN"]
    factors = tuple(contract.weights)
    days, levels = history()
    how = Filter(decay=0.97, long_run_weight=0.3)
    path = path_of(contract, factors, days, levels, how)
    losses = losses_over(contract, path, how, (str(days[-3]), str(days[-1])), (100, 50), STRESS_DAYS)
    weights = np.array(list(contract.weights.values()))
    for k, end in enumerate((-3, -2, -1)):
        past = slice(0, len(days) + end)
        whole = ~np.isnan(levels[past]).any(axis=1)
        scenarios = historical_set(
            "h", "1", factors, (Move.BP, Move.BP), days[past][whole], levels[past][whole],
            Filter(decay=0.97, long_run_weight=0.3, raw=True), STRESS_DAYS,
        )  # fmt: skip
        assert [label for label in scenarios.labels if label.startswith(STRESS)] == [STRESS + day for day in STRESS_DAYS]
        level = float(levels[past][-1] @ weights)
        loss = np.abs(contract.profit(level, scenarios.matrix @ weights)).tolist()
        count = int(scenarios.parameters["look_back"])
        for column, tail_bps in enumerate((100, 50)):
            assert losses.filtered[k, column] == pytest.approx(twins.tail(loss[:count], tail_bps), rel=1e-12)
            assert losses.stressed[k, column] == pytest.approx(twins.tail(loss[count:], tail_bps), rel=1e-12)
        moved = (levels[len(days) + end] - levels[past][-1]) * 100
        assert losses.profit[k] == pytest.approx(float(contract.profit(level, np.array([moved @ weights]))[0]), rel=1e-9)
        assert losses.scenarios[k] == count


def test_a_margin_knows_nothing_of_its_own_day() -> None:
    contract, how = CONTRACTS["ZT"], Filter()
    days, levels = history()
    shaken = levels.copy()
    shaken[-1] += 3.0
    found = [
        losses_over(contract, path_of(contract, ("m12", "m24"), days, part, how), how, ("2000-01-01", "2030-01-01"), (100,))
        for part in (levels, shaken)
    ]
    np.testing.assert_array_equal(found[0].filtered, found[1].filtered)
    np.testing.assert_array_equal(found[0].stressed, found[1].stressed)
    assert found[1].profit[-1] < found[0].profit[-1] - 5_000


def test_margin_is_mixed_floored_and_rounded_up() -> None:
    rule = Rule(stress_weight=0.25, floor=0.5)
    margin = margin_of(np.array([100.0, 10.0, 100.2]), np.array([200.0, 400.0, 200.0]), rule)
    np.testing.assert_array_equal(margin, [125.0, 200.0, 126.0])


def test_tail_losses_agree_with_the_twin() -> None:
    random = np.random.Generator(np.random.PCG64(5))
    for count in (1, 7, 99, 100, 101, 250, 2500):
        losses = random.normal(size=count)
        for tail_bps in (1, 25, 50, 100, 500):
            assert tail_losses(losses, (tail_bps,)) == [twins.tail(losses.tolist(), tail_bps)]
    assert tail_losses(np.arange(2500.0), (100, 50)) == [2474.0, 2487.0]
    with pytest.raises(ValueError, match="found none"):
        tail_losses(np.array([]), (100,))


def test_par_bond_futures_against_discounted_flows() -> None:
    # Ten-year future at 4 %: 6.5 years, 13 coupons of 2; the factor is the price at 6 %, as 78 months are 13 half years.
    def price(rate: float) -> float:
        return sum(2.0 / (1 + rate / 2) ** k for k in range(1, 14)) + 100 / (1 + rate / 2) ** 13

    factor = price(0.06) / 100
    found = CONTRACTS["ZN"].profit(4.0, np.array([-25.0, 0.0, 25.0]))
    expected = [1000 * (price(r) - 100) / factor for r in (0.0375, 0.04, 0.0425)]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9)
    # Near the 38, 47, 65 and 130 USD/bp of reference/rates.md 3, [S]; those are of an unstated day.
    for symbol, expected_dv01 in (("ZT", 38), ("ZF", 47), ("ZN", 65), ("ZB", 130)):
        dv01 = float(CONTRACTS[symbol].profit(4.0, np.array([-1.0]))[0])
        assert 0.85 < dv01 / expected_dv01 < 1.15, symbol


def test_negative_yields_are_priced() -> None:
    up, down = CONTRACTS["ZF"].profit(-0.5, np.array([-10.0, 10.0]))
    assert up > 0 > down
    assert up > -down, "convexity"


def test_bitcoin_future() -> None:
    np.testing.assert_allclose(CONTRACTS["BTC"].profit(10_000.0, np.array([math.log(1.1), math.log(0.8)])), [5_000, -10_000])


def test_tenor_weights() -> None:
    assert tenor_weights(60) == {"m60": 1.0}
    assert tenor_weights(78) == {"m60": 0.25, "m84": 0.75}
    with pytest.raises(ValueError, match="found 361 months; allowed: 3 to 360"):
        tenor_weights(361)


def test_what_a_backtest_refuses() -> None:
    contract = Contract("X", {"a": 1.0}, Move.BP, units=1.0)
    days, levels = history(200)
    with pytest.raises(ValueError, match="found no factor a; the history has b, c"):
        path_of(contract, ("b", "c"), days, levels, Filter())
    path = path_of(contract, ("a", "c"), days, levels, Filter())
    with pytest.raises(ValueError, match="found no day with a volatility from 1980-01-01 to 1981-01-01"):
        losses_over(contract, path, Filter(), ("1980-01-01", "1981-01-01"), (100,))
    with pytest.raises(ValueError, match="allowed in a backtest: neither"):
        losses_over(contract, path, Filter(horizon_days=2), ("1990-01-01", "1991-01-01"), (100,))
    for wrong in ({"tail_bps": 0}, {"stress_weight": 1.5}, {"floor": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Rule(**wrong)  # type: ignore[arg-type]

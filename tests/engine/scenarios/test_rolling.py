"""Margins over history: each day's from the set built on that day, in exact integers; contracts by second formulas."""

import math
from datetime import date
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pricing.treasury import Bond, cash_flows, clean_price
from engine.scenarios.contracts import CONTRACTS, Contract, contract_of, price_profit, tenor_weights
from engine.scenarios.moves import Days, Floats, Move, daily_moves
from engine.scenarios.rolling import Losses, Path, Position, Rule, losses_over, margin_of, path_of
from engine.scenarios.sets import STRESS, Filter, historical_set
from tests.engine.scenarios import twins

ALL = ("1970-01-01", "2070-01-01")
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
    path = path_of([contract], factors, days, levels, how)
    span = (str(days[-3]), str(days[-1]))
    [losses] = losses_over([Position(contract, 1)], path, how, span, (100, 50), STRESS_DAYS, either_side=True)
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
        within = 0.5 / losses.divisor[k] / 100 + 5e-9 * max(loss)  # half a unit of the row, and the set's nine digits
        for column, tail_bps in enumerate((100, 50)):
            usd = [part[k, column] / losses.divisor[k] / 100 for part in (losses.filtered, losses.stressed)]
            assert usd[0] == pytest.approx(twins.tail(loss[:count], tail_bps), rel=0, abs=within)
            assert usd[1] == pytest.approx(twins.tail(loss[count:], tail_bps), rel=0, abs=within)
        moved = (levels[len(days) + end] - levels[past][-1]) * 100
        assert losses.profit[k] == pytest.approx(float(contract.profit(level, np.array([moved @ weights]))[0]), rel=1e-9)
        assert losses.scenarios[k] == count


def test_a_margin_knows_nothing_of_its_own_day() -> None:
    contract, how, span = CONTRACTS["ZT"], Filter(), ("2001-01-01", "2030-01-01")
    days, levels = history()
    shaken = levels.copy()
    shaken[-1] += 3.0
    found = [
        losses_over([Position(contract, 1)], path_of([contract], ("m12", "m24"), days, part, how), how, span, (100,))[0]
        for part in (levels, shaken)
    ]
    np.testing.assert_array_equal(found[0].filtered, found[1].filtered)
    np.testing.assert_array_equal(found[0].stressed, found[1].stressed)
    assert found[1].profit[-1] < found[0].profit[-1] - 5_000


def losses_of(filtered: list[int], stressed: list[int], divisor: list[int]) -> Losses:
    """Losses of days in a row, one tail."""
    days = np.datetime64("2020-01-01") + np.arange(len(filtered))
    columns = (np.array(part, np.int64).reshape(-1, 1) for part in (filtered, stressed))
    return Losses(days, np.zeros(len(days)), *columns, np.array(divisor, np.int64), np.ones(len(days), np.int64))


def test_margin_is_mixed_floored_and_rounded_up() -> None:
    rule = Rule(stress_weight_bps=2_500, floor_bps=5_000)
    losses = losses_of([10_000, 1_000, 100_200, 10_001, -500], [20_000, 40_000, 200_000, 20_000, -700], [1, 1, 10, 1, 1])
    np.testing.assert_array_equal(margin_of(losses, 0, rule), [125, 200, 126, 126, 0])


@given(
    st.lists(st.tuples(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15), st.sampled_from([1, 10, 10_000]))),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
def test_margins_agree_with_the_twin(days: list[tuple[int, int, int]], weight: int, floor: int) -> None:
    rule = Rule(stress_weight_bps=weight, floor_bps=floor)
    found = margin_of(losses_of(*([day[i] for day in days] for i in range(3))), 0, rule)
    expected = []
    for filtered, stressed, divisor in days:
        mixed = Fraction((10_000 - weight) * filtered + weight * stressed, 10_000)
        units = [math.ceil(mixed), math.ceil(Fraction(floor * stressed, 10_000))]
        expected.append(max(0, *(math.ceil(Fraction(one, divisor * 100)) for one in units)))
    np.testing.assert_array_equal(found, expected)


BOOK = {"ZT": 7, "UST:3.5:1.5": -4_000, "BTC": 1, "ZF": -3}


def book() -> list[Position]:
    """Rates and bitcoin, long and short, two lines of one contract."""
    return [Position(contract_of(name), lots) for name, lots in (*BOOK.items(), ("ZT", -2))]


def mixed_path() -> Path:
    """Six hundred days of the book's factors; some lack one or the other."""
    random = np.random.Generator(np.random.PCG64(9))
    levels = np.exp(1.4 + (random.normal(size=(600, 5)) * 0.02).cumsum(axis=0))
    levels[200, 0] = levels[330:333, 4] = np.nan
    days = np.datetime64("2001-01-01") + np.arange(600)
    factors = ("m12", "m24", "m36", "m60", "btc")
    return path_of([position.contract for position in book()], factors, days, levels, Filter())


def test_a_portfolio_is_summed_scenario_by_scenario_and_its_positions_stand_alone() -> None:
    path, positions = mixed_path(), book()
    assert len(path.days) == 596
    assert np.isnan(path.moves).any(axis=1).sum() == 0, "days without a factor are left out, and no hole is long"
    day = str(path.days[-1])
    together, *alone = losses_over(positions, path, Filter(), (day, day), (100,), {"2001-02-01": "x"})
    raw = [*range(594), int(np.flatnonzero(path.days == np.datetime64("2001-02-01"))[0]) - 1]
    scenarios = [(path.scaled[s] * path.volatility[594]).tolist() for s in range(60, 594)]
    scenarios += [path.moves[s].tolist() for s in raw]
    assert together.scenarios[0] == 534
    cents, within = [], []
    for position in positions:
        names, weights = zip(*position.contract.weights.items(), strict=True)
        at = [path.factors.index(name) for name in names]
        level = sum(w * path.levels[594, c] for w, c in zip(weights, at, strict=True))
        moves = [sum(w * moved[c] for w, c in zip(weights, at, strict=True)) for moved in scenarios]
        row = 100 * position.contract.profit(level, np.array(moves))
        finest = max(k for k in range(-6, 5) if np.abs(row).max() * 10.0**k <= 2**31 - 1)
        cents.append((position.lots * row).tolist())
        within.append(0.5 * abs(position.lots) * 10.0**-finest * (1 + 1e-6))
    expected = [[sum(one) for one in zip(*cents, strict=True)], *cents]
    for found, profits, error in zip([together, *alone], expected, [sum(within), *within], strict=True):
        lost = [-profit for profit in profits]
        for part, units in ((lost[:534], found.filtered), (lost[534:], found.stressed)):
            assert units[0, 0] / found.divisor[0] == pytest.approx(twins.tail(part, 100), rel=0, abs=error)
    assert sum(int(one.filtered[0, 0]) for one in alone) > int(together.filtered[0, 0]) > 0


def test_laws_of_a_portfolios_losses() -> None:
    path, positions = mixed_path(), book()
    span = ("2002-07-01", "2002-07-31")

    def losses(held: list[Position]) -> Losses:
        return losses_over(held, path, Filter(), span, (100, 50), STRESS_DAYS)[0]

    first, turned = losses(positions), losses(positions[::-1])
    doubled = losses([Position(contract, 2 * lots) for contract, lots in positions])
    netted = losses([Position(contract_of(name), lots - 2 * (name == "ZT")) for name, lots in BOOK.items()])
    for part in ("filtered", "stressed"):
        np.testing.assert_array_equal(getattr(turned, part), getattr(first, part))
        np.testing.assert_array_equal(getattr(netted, part), getattr(first, part))
        np.testing.assert_array_equal(getattr(doubled, part), 2 * getattr(first, part))
        assert (np.diff(getattr(first, part), axis=1) >= 0).all(), "a smaller tail has a larger loss"
    offset = losses([Position(contract_of("ZT"), 5), Position(contract_of("ZT"), -5)])
    assert not offset.filtered.any()
    assert not offset.profit.any()


def test_one_rate_for_either_side_is_the_larger_of_both_scenario_by_scenario() -> None:
    path, [long] = mixed_path(), [Position(CONTRACTS["BTC"], 1)]
    short = Position(long.contract, -1)
    span = ("2002-07-01", "2002-07-31")
    [one], [other] = (losses_over([p], path, Filter(), span, (100,), {}, either_side=True) for p in (long, short))
    np.testing.assert_array_equal(one.filtered, other.filtered)
    for position in (long, short):
        [own] = losses_over([position], path, Filter(), span, (100,), {})
        assert (own.filtered <= one.filtered).all()
    assert (one.filtered > 0).all()


def test_securities_by_coupon_and_years() -> None:
    contract = contract_of("UST:4.25:10")
    assert contract.weights == {"m120": 1.0}
    flows = cash_flows(Bond(0.0425, date(2034, 5, 15)), date(2024, 5, 15))
    expected = clean_price(flows, np.array([0.04, 0.06])) - clean_price(flows, 0.05)
    np.testing.assert_allclose(contract.profit(5.0, np.array([-100.0, 100.0])), expected, rtol=1e-12)
    assert contract_of("UST:0:0.25").weights == {"m3": 1.0}
    assert contract_of("ZN") is CONTRACTS["ZN"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("TY", r"instrument: found 'TY'; allowed: ZT, ZF, ZN, ZB, BTC, UST:COUPON:YEARS such as UST:4.25:10"),
        ("UST:4.25:2034-05-15", "instrument: found 'UST:4.25:2034-05-15'"),
        ("UST:4.25:0.1", "found 0.1 years; allowed: whole months"),
        ("UST:4.25:31", "instrument UST:4.25:31: maturity: found 372 months; allowed: 3 to 360"),
        ("UST:425:10", "instrument UST:425:10: coupon 4.25 is outside"),
        ("UST:-1:10", "found 'UST:-1:10'"),
        ("UST:nan:10", "found 'UST:nan:10'"),
    ],
)
def test_instruments_that_are_none(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        contract_of(name)


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
    contract = Contract("X", {"a": 1.0}, Move.BP, partial(price_profit, 1.0))
    held = [Position(contract, 1)]
    days, levels = history(200)
    with pytest.raises(ValueError, match="found no factor a; the history has b, c"):
        path_of([contract], ("b", "c"), days, levels, Filter())
    path = path_of([contract], ("a", "c"), days, levels, Filter())
    with pytest.raises(ValueError, match="X: found no day with a volatility from 1980-01-01 to 1981-01-01"):
        losses_over(held, path, Filter(), ("1980-01-01", "1981-01-01"), (100,))
    with pytest.raises(ValueError, match="allowed in a backtest: neither"):
        losses_over(held, path, Filter(horizon_days=2), ("1990-01-01", "1991-01-01"), (100,))
    with pytest.raises(ValueError, match="found positions whose losses leave int64; allowed: fewer lots"):
        losses_over([Position(contract, 10**16)], path, Filter(), ALL, (100,))
    for wrong in ({"tail_bps": 0}, {"stress_weight_bps": 15_000}, {"floor_bps": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Rule(**wrong)  # type: ignore[arg-type]


def test_the_first_day_has_one_filtered_scenario() -> None:
    contract = Contract("X", {"a": 1.0}, Move.BP, partial(price_profit, 1.0))
    days, levels = history(101)  # the last is missing
    path = path_of([contract], ("a", "c"), days, levels, Filter(warm_up=20))
    [losses] = losses_over([Position(contract, 1)], path, Filter(warm_up=20), ALL, (100,), {})
    assert losses.days[0] == days[22], "20 moves make a volatility, the 21st is filtered by it, the 22nd is margined"
    assert losses.scenarios.tolist() == list(range(1, 79))
    assert losses.profit[-1] == pytest.approx(daily_moves(levels[98:100, :1], (Move.BP,))[0, 0] / 100)

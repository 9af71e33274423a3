"""The scan model: golden/span.json, spreads against their twin, and the laws of the requirement."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arithmetic import LIMIT
from engine.models.rows import make_rows, portfolio_vector, quantize, worst, worst_loss
from engine.models.scan import (
    CLASSIC,
    LATER_CME,
    Leg,
    Spread,
    Spreads,
    inter_commodity,
    requirement,
    risk_array,
    scenarios,
    short_option_minimum,
    spread_amount,
    spread_table,
    tier_deltas,
)
from engine.pricing.options import black_value
from tests.engine.models import twins
from tests.engine.models.golden import golden
from tests.engine.models.laws import LAW

SPAN = golden("span")
MICRO = 10**6


def formed(spreads: Spreads, long: Any, short: Any, credit: bool) -> int:
    """What all spreads of a table charge or credit, formed in their order."""
    return int(spread_amount(spreads, 0, len(spreads.amount_micros), long, short, credit))


def micros(*deltas: int) -> Any:
    return np.array(deltas, np.int64) * MICRO


@pytest.mark.parametrize(("name", "extreme"), [("classic", CLASSIC), ("later_cme", LATER_CME)])
def test_scenarios_are_the_published_ones(name: str, extreme: tuple[float, float]) -> None:
    found, form = scenarios(extreme), SPAN["extreme"][name]
    assert len(found) == 16
    for scenario, (move, volatility) in zip(found[:14], SPAN["scenarios"][:14], strict=True):
        assert (scenario.move, scenario.volatility, scenario.weight) == (float(move), volatility, 1.0)
    for scenario, sign in zip(found[14:], (1, -1), strict=True):
        assert scenario == (sign * form["move_in_scan_ranges"], 0, float(form["weight"]))


@pytest.mark.parametrize("case", SPAN["cases"], ids=lambda case: case["id"])
def test_golden_scan_risk(case: dict[str, Any]) -> None:
    arrays = SPAN["arrays"]
    rows = make_rows(*quantize([[float(usd) * 100 for usd in arrays[name]] for name in arrays]))
    places = np.array([list(arrays).index(name) for name in case["positions"]], np.int32)
    lots, vector = np.array(list(case["positions"].values())), np.empty(16, np.int64)
    assert portfolio_vector(rows, places, lots, 0, len(lots), vector)
    assert Fraction(worst_loss(vector), rows.divisor * 100) == case["scan_risk"]
    assert worst(vector) + 1 == case.get("scenario", 13)


def test_risk_array_of_a_future_is_the_golden_one() -> None:
    array = risk_array(lambda price, _: 500 * price, 400.0, 20.0, 0.2, 0.05)
    assert np.rint(array / 10).astype(int).tolist() == [usd // 10 for usd in SPAN["arrays"]["long_future"]]
    assert risk_array(lambda price, _: 500 * price, 400.0, 20.0, 0.2, 0.05, LATER_CME)[14:] == pytest.approx([9900, -9900])


def test_risk_array_of_an_option_revalues_in_every_scenario() -> None:
    array = risk_array(lambda price, vol: black_value(price, 110.0, vol, 0.25, True), 108.0, 3.0, 0.06, 0.08)
    now = float(black_value(108.0, 110.0, 0.06, 0.25, True))
    for k, (move, sign, weight) in enumerate(scenarios()):
        shocked = float(black_value(108.0 + 3 * move, 110.0, max(0.0, 0.06 + sign * 0.08), 0.25, True))
        assert array[k] == pytest.approx(weight * (shocked - now), abs=1e-13)


def test_risk_array_refuses() -> None:
    for inputs in ((np.nan, 1.0, 0.2, 0.1), (1.0, -1.0, 0.2, 0.1), (1.0, 1.0, np.inf, 0.1)):
        with pytest.raises(ValueError, match="scan ranges"):
            risk_array(lambda price, _: price, *inputs)
    with pytest.raises(ValueError, match="not finite in scenario 7"):
        risk_array(lambda price, _: np.where(price > 1.5, np.nan, price), 1.0, 1.0, 0.2, 0.1)
    with pytest.raises(ValueError, match="extreme"):
        scenarios((2.0, 0.0))


@pytest.mark.parametrize("pair", SPAN["calendar"]["margin"])
def test_golden_calendar_spreads(pair: str) -> None:
    calendar, months = SPAN["calendar"], pair.split("-")
    outright = [calendar["outright"][month] * 100 for month in months]
    fractions = [move * weight for move, _, weight in scenarios()]
    values, decimals = quantize([[part * usd for part in fractions] for usd in outright])
    rows, vector = make_rows(values, decimals), np.empty(16, np.int64)
    assert portfolio_vector(rows, np.array([0, 1], np.int32), np.array([1, -1]), 0, 2, vector)
    scan = -(-worst_loss(vector) // rows.divisor)
    table = spread_table([Spread((Leg(0, 1, 1), Leg(1, 1, -1)), calendar["charge"][pair] * 100)], 2)
    long, short = np.zeros(2, np.int64), np.zeros(2, np.int64)
    tier_deltas(micros(1, -1), np.array([0, 1], np.int32), long, short)
    charge = formed(table, long, short, False)
    assert requirement(scan, charge, 0, 0, 0) == calendar["margin"][pair] * 100


@pytest.mark.parametrize("case", SPAN["intercommodity"], ids=lambda case: case["id"])
def test_golden_inter_commodity_credit(case: dict[str, Any]) -> None:
    first, second = case["legs"].values()
    legs = (Leg(0, first["ratio"], 1), Leg(1, second["ratio"], -1))
    outrights = (first["outright"] * 100, second["outright"] * 100)
    table = spread_table([inter_commodity(legs, outrights, Fraction(case["credit_rate"]))], 2)
    credit = formed(table, micros(2, 0), micros(0, 1), True)
    assert credit == case["credit"] * 100
    total = sum(leg.ratio * usd for leg, usd in zip(legs, outrights, strict=True))
    assert total == case["outright_total"] * 100
    assert requirement(int(total), 0, 0, credit, 0) == case["margin"] * 100


def test_spreads_form_in_their_order_and_use_deltas_up() -> None:
    near, far = Spread((Leg(0, 1, 1), Leg(1, 1, -1)), 100), Spread((Leg(0, 1, 1), Leg(2, 2, -1)), 7)
    long, short = micros(5, 0, 0), micros(0, 3, 10)
    assert formed(spread_table([near, far], 3), long, short, False) == 3 * 100 + 2 * 7
    assert (long.tolist(), short.tolist()) == (micros(0, 0, 0).tolist(), micros(0, 0, 6).tolist())
    long, short = micros(0, 3, 10), micros(5, 0, 0)  # the other way round
    assert formed(spread_table([far, near], 3), long, short, False) == 5 * 7
    inside = spread_table([Spread((Leg(0, 1, 1), Leg(0, 1, -1)), 40)], 1)
    assert formed(inside, micros(4), micros(1), False) == 40
    assert formed(inside, micros(4), micros(0), False) == 0


@st.composite
def spread_sets(draw: st.DrawFn) -> tuple[list[tuple[list[tuple[int, int, int]], int]], list[int], list[int]]:
    ratio, pool = st.integers(1, 5 * MICRO), st.integers(0, 3)
    table = []
    for _ in range(draw(st.integers(0, 4))):
        sides = (
            draw(st.lists(pool, min_size=1, max_size=2, unique=True)),
            draw(st.lists(pool, min_size=1, max_size=2, unique=True)),
        )
        legs = [(one, draw(ratio), side) for side, pools in zip((1, -1), sides, strict=True) for one in pools]
        table.append((legs, draw(st.integers(0, 10**10))))
    deltas = st.lists(st.integers(0, 10**12), min_size=4, max_size=4)
    return table, draw(deltas), draw(deltas)


@LAW
@given(spread_sets(), st.booleans())
def test_spreads_are_the_twins(case: Any, credit: bool) -> None:
    table, long, short = case
    made = [
        Spread(tuple(Leg(pool, Fraction(ratio, MICRO), side) for pool, ratio, side in legs), Fraction(amount, MICRO))
        for legs, amount in table
    ]
    held = np.array(long), np.array(short)
    assert formed(spread_table(made, 4), *held, credit) == twins.spreads(table, long, short, credit)
    assert (held[0].tolist(), held[1].tolist()) == (long, short)
    assert min(long + short) >= 0


def test_spread_table_refuses() -> None:
    good = (Leg(0, 1, 1), Leg(1, 1, -1))
    for spreads, message in (
        ([Spread((Leg(0, 1, 1), Leg(1, 1, 1)), 1)], "sides"),
        ([Spread((Leg(0, 1, 1), Leg(2, 1, -1)), 1)], "pools"),
        ([Spread((Leg(0, 1, 1), Leg(0, 2, 1), Leg(1, 1, -1)), 1)], "two legs"),
        ([Spread((Leg(0, 0, 1), Leg(1, 1, -1)), 1)], "ratio 0"),
        ([Spread(good, -1)], "amount -1"),
        ([Spread(good, Fraction(1, 3))], "amount 1/3"),
    ):
        with pytest.raises(ValueError, match=message):
            spread_table(spreads, 2)
    with pytest.raises(ValueError, match="credit rate is 2"):
        inter_commodity(good, (1, 1), Fraction(2))


def test_amounts_out_of_range_are_a_state() -> None:
    table = spread_table([Spread((Leg(0, 1, 1), Leg(1, 1, -1)), 10**9)], 2)
    huge = np.full(2, 2**60)
    assert formed(table, huge.copy(), huge.copy(), False) == LIMIT
    assert formed(table, huge.copy(), huge.copy(), True) == 0
    assert short_option_minimum(np.array([-(2**40)]), np.array([2**60])) == LIMIT


def test_short_options_require_their_minimum() -> None:
    minimum = short_option_minimum(np.array([-3, 5, -2, -1]), np.array([100, 100, 250, 0]) * 10**6)
    assert minimum == 3 * 100 + 2 * 250
    assert requirement(700, 50, 0, 100, minimum) == 800
    assert requirement(700, 200, 10, 100, minimum) == 810
    assert requirement(100, 0, 0, 300, 0) == 0


@LAW
@given(st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=20), st.integers(-(10**15), 10**15))
def test_another_scenario_never_lowers_the_worst_loss(pnl: list[int], more: int) -> None:
    assert worst_loss(np.array([*pnl, more])) >= worst_loss(np.array(pnl)) >= 0
    assert worst_loss(2 * np.array(pnl)) == 2 * worst_loss(np.array(pnl))

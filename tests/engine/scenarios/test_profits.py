"""Profit and loss in every scenario: QuantLib, golden figures, hard input with its reason, and laws."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import QuantLib as ql
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.documents import Instrument
from engine.models.scan import LATER_CME, risk_array
from engine.pricing.options import black_value
from engine.pricing.treasury import Bond
from engine.scenarios.contracts import TENORS
from engine.scenarios.moves import Floats
from engine.scenarios.profits import DAY_NS, ScanRange, Subject, Unpriceable, delta, profits
from engine.scenarios.sets import DERIBIT, ScenarioSet, grid_set, points_set, span_set
from tests.engine.models.golden import as_printed, golden
from tests.engine.pricing.securities import day as ql_day
from tests.engine.pricing.securities import quantlib_bond

DAY = date(2024, 6, 26)
NOW = (DAY - date(1970, 1, 1)).days * DAY_NS + 15 * 3600 * 10**9
PRICE = 1e-10  # per 100 face, as in tests/engine/pricing/test_quantlib.py
RELATIVE = 1e-10
BTC = "BTC-USD"


def document(kind: str, **terms: Any) -> Instrument:
    """An instrument of one type; numbers may be plain."""
    name = terms.pop("id", kind.upper())
    plain = {key for key, value in terms.items() if type(value) in (int, float) and key != "expiry"}
    exact = {key: Decimal(repr(value)) if key in plain else value for key, value in terms.items()}
    return Instrument(id=name, type=kind, currency="USD", tick=Decimal("0.01"), band=(Decimal(0), Decimal(10**6)), **exact)


def treasury(price: float = 99.0, **terms: Any) -> Subject:
    given = {"maturity": "2033-04-15", "coupon": 4.5, "multiplier": 0.01} | terms
    return Subject(document("treasury", **given), price, NOW, None)


def option(value: float, right: str = "call", strike: float = 70_000, days: float = 30, inverse: bool = False) -> Subject:
    """An option on a coin at 65,000; value in the quote currency, also where it is paid in coin."""
    terms = {"underlying": BTC, "strike": strike, "right": right, "expiry": NOW + int(days * DAY_NS), "inverse": inverse}
    return Subject(document("option", **terms), value / 65_000 if inverse else value, NOW, 65_000.0)


def rates(*moves: float, **other: list[float]) -> ScenarioSet:
    """Parallel moves of all tenors in bp; other: moves of single factors, in their kind by name."""
    factors = [*TENORS, *(name for name in other if name not in TENORS)]
    columns = [other.get(name, moves) for name in factors]
    kinds = tuple("bp" if name in TENORS or name.endswith("YIELD") else "log" for name in factors)
    matrix = np.array(columns, np.float64).T
    return ScenarioSet("R", "1", tuple(factors), kinds, tuple(f"s{i}" for i in range(len(matrix))), matrix)


def prices(moves: Any, kind: str = "log", factor: str = BTC) -> ScenarioSet:
    return ScenarioSet("P", "1", (factor,), (kind,), tuple(f"s{i}" for i in range(len(moves))), np.array(moves)[:, None])


def of(scenarios: ScenarioSet, subject: Subject, ranges: dict[str, ScanRange] | None = None) -> Floats:
    return profits(scenarios, subject, ranges)


# The second opinion.


@pytest.mark.parametrize("terms", [{}, {"coupon": 0.0, "price": 61.0}, {"coupon": 8.0, "price": 131.0}], ids=str)
def test_treasury_is_quantlib(terms: dict[str, float]) -> None:
    subject = treasury(**terms)
    months = (date(2033, 4, 15) - DAY).days / 365.25 * 12
    short, long = [-150.0, 40.0, 0.0, -600.0, 2500.0], [90.0, 41.0, 0.0, -600.0, 2600.0]
    share = (months - 84) / (120 - 84)
    twin, count = quantlib_bond(Bond(float(subject.document.coupon or 0) / 100, date(2033, 4, 15), date(2023, 4, 15)))
    terms_of_yield = (count, ql.Compounded, ql.Semiannual)
    settled = ql_day(DAY)
    now = twin.bondYield(ql.BondPrice(subject.price, ql.BondPrice.Clean), *terms_of_yield, settled, 1e-15, 1000)
    found = of(rates(*[0.0] * 5, m84=short, m120=long), subject)
    for profit, left, right in zip(found, short, long, strict=True):
        moved = now + ((1 - share) * left + share * right) / 1e4
        clean = ql.BondFunctions.cleanPrice(twin, ql.InterestRate(moved, *terms_of_yield), settled)
        assert profit == pytest.approx((clean - subject.price) * 0.01, abs=PRICE * 0.01)


@pytest.mark.parametrize("right", ["call", "put"])
@pytest.mark.parametrize("strike", [30_000.0, 65_000.0, 140_000.0])
def test_option_is_quantlib(right: str, strike: float) -> None:
    side = ql.Option.Call if right == "call" else ql.Option.Put
    deviation = 0.7 * (30 / 365) ** 0.5 * 2
    mark = ql.blackFormula(side, strike, 65_000.0, deviation)
    moves = [-0.5, -0.02, 0.0, 0.1, 1.2]
    expected = [ql.blackFormula(side, strike, 65_000.0 * np.exp(move), deviation) - mark for move in moves]
    for inverse in (False, True):
        found = of(prices(moves), option(mark, right, strike, inverse=inverse))
        assert found == pytest.approx(expected, rel=RELATIVE, abs=1e-6)


def test_bill_is_simple_interest_to_half_a_year() -> None:
    subject = treasury(98.0, coupon=None, maturity="2024-11-29")
    years = (date(2024, 11, 29) - DAY).days / 365
    now = (100 / 98.0 - 1) / years
    expected = [100 / (1 + (now + bp / 1e4) * years) - 98.0 for bp in (-700, 25)]
    assert of(rates(-700.0, 25.0), subject) == pytest.approx(np.array(expected) * 0.01, abs=PRICE)
    one_year = of(rates(25.0), treasury(95.0, coupon=None, maturity="2025-06-26"))
    assert one_year == pytest.approx([-0.01 * 0.25 * 0.95], rel=0.05)


# Golden figures.


def test_golden_option_grid() -> None:
    figures, scenarios = golden("option_grid"), grid_set(DERIBIT["BTC"])
    inputs = {name: float(value) for name, value in figures["input"].items()}
    terms = {"underlying": BTC, "strike": inputs["strike"], "right": "call", "expiry": NOW + 15 * DAY_NS}
    mark = float(black_value(inputs["forward"], inputs["strike"], inputs["iv"], 15 / 365, True))
    for inverse in (False, True):
        priced = mark / inputs["forward"] if inverse else mark
        subject = Subject(document("option", **terms, inverse=inverse), priced, NOW, inputs["forward"])
        row = -10 * of(scenarios, subject)
        for move, printed in figures["pnl_down_same_up"].items():
            cells = [row[i] for i in range(27) if abs(scenarios.matrix[i, 0] - float(move)) < 1e-12]
            assert [as_printed(value, Decimal("0.01")) for value in cells] == [round(value, 2) for value in printed]
        assert [round(row[27 + i]) for i in (2, 3, 7)] == [-124_923, -141_493, -156_295]  # crypto.md 4.4


def test_golden_inverse_futures_in_coin() -> None:
    figures, scenarios = golden("deribit_pm_btc"), grid_set(DERIBIT["BTC"])
    moves, index = scenarios.matrix[:, 0], float(figures["index"])
    # Coins won are valued at the moved price, in the tails at the edge of the range.
    at = index * (1 + np.clip(moves, -0.16, 0.16))
    for position in figures["positions"]:
        contract = float(position["delta_btc"]) * index  # of a size that makes the position one unit
        row = of(scenarios, Subject(document("perpetual", underlying=BTC, inverse=True), index, NOW, None)) * contract
        coins, printed = row / at, [float(value) for value in figures["pnl"][position["instrument"]]]
        for kind in range(3):
            assert np.abs(coins[kind:27:3] - printed).max() <= float(figures["tolerance"]["cells"])
        if position["instrument"] == "BTC-PERPETUAL":
            before = figures["extended_before_dampener_perpetual"]
            for move, value in zip(moves[27:], coins[27:], strict=True):
                side = before["down" if move < 0 else "up"]
                assert as_printed(value, side) == side


def test_golden_points() -> None:
    figures = golden("securities_portfolio_margin")
    inputs = {name: float(value) for name, value in figures["input"].items()}
    value = float(black_value(50.0, 50.0, inputs["iv"], 90 / 365, False))
    terms = {"underlying": "S", "strike": 50, "right": "put", "expiry": NOW + 90 * DAY_NS, "multiplier": 100}
    scenarios = points_set("equity")
    shares = of(scenarios, Subject(document("fund", underlying="S"), 50.0, NOW, 50.0)) * inputs["shares"]
    puts = of(scenarios, Subject(document("option", **terms), value, NOW, 50.0)) * inputs["put_contracts"]
    for net, printed in zip(shares + puts, figures["net_pnl"].values(), strict=True):
        assert as_printed(net, printed) == printed


def test_golden_span() -> None:
    future = of(
        span_set(), Subject(document("crypto_future"), 40.0, NOW, None), {"CRYPTO_FUTURE": ScanRange(10_000, 0, False)}
    )
    assert np.round(future, -1).tolist() == [float(value) for value in golden("span")["arrays"]["long_future"]]


def test_golden_rate_futures() -> None:
    figures = golden("sofr_strip")
    moves = {float(bp): float(money) for bp, money in figures["futures_pnl_by_rate_move_bp"].items()}
    for terms in ({"bucket": "3M"}, {"underlying": "SR3-YIELD"}):
        subject = Subject(document("rate_future", multiplier=2500, **terms), 103.5, NOW, None)  # a negative rate
        found = of(rates(*moves, **{"SR3-YIELD": list(moves)}), subject)
        assert -float(figures["sum_lots"]) * found == pytest.approx(list(moves.values()), rel=RELATIVE)


# Forms that have no second library.


def test_treasury_future_follows_the_cheapest_to_deliver() -> None:
    short, long = treasury(101.0, id="SHORT", maturity="2031-05-15"), treasury(97.0, id="LONG", maturity="2053-05-15")
    basket = ((short, 0.92), (long, 0.87))
    subject = Subject(document("treasury_future", multiplier=1000), 110.0, NOW, None, basket)
    scenarios = rates(-200.0, -5.0, 0.0, 5.0, 200.0)
    each = [(one.price + of(scenarios, one) * 100) / factor for one, factor in basket]
    now = min(one.price / factor for one, factor in basket)
    expected = [1000 * (min(pair) - now) for pair in zip(*each, strict=True)]
    assert of(scenarios, subject) == pytest.approx(expected, abs=1e-9)
    assert (each[0] < each[1]).tolist() == [True, True, True, True, False], "the cheapest changes with the yield"


@pytest.mark.parametrize(("bucket", "expected"), [("3M", 10.0), ("1M", 10.0), ("30M", 25.0), ("4Y", 40.0), ("40Y", 90.0)])
def test_dv01_form_interpolates_the_tenors(bucket: str, expected: float) -> None:
    scenarios = rates(0.0, m3=[10.0], m24=[20.0], m36=[30.0], m60=[50.0], m360=[90.0])
    subject = Subject(document("treasury_future", dv01=0.065, bucket=bucket, multiplier=1000), -3.0, NOW, None)
    assert of(scenarios, subject) == pytest.approx([-0.065 * expected * 1000], rel=RELATIVE)


def test_a_yield_factor_named_by_the_underlying_comes_before_the_tenors() -> None:
    scenarios = rates(50.0, **{"UST-10Y-YIELD": [7.0]})
    assert of(scenarios, treasury(underlying="UST-10Y-YIELD")) == of(rates(7.0), treasury())
    assert of(scenarios, treasury(underlying="UST-5Y-YIELD")) == of(rates(50.0), treasury())


def test_linear_and_inverse_contracts_on_a_price() -> None:
    linear = Subject(document("crypto_future", underlying=BTC, multiplier=5), 64_000.0, NOW, None)
    inverse = Subject(document("perpetual", underlying=BTC, multiplier=100, inverse=True), 64_000.0, NOW, None)
    spot = Subject(document("spot", id=BTC), 64_000.0, NOW, None)
    moves = np.array([-0.4, 0.25])
    assert of(prices(moves), linear) == pytest.approx(5 * 64_000 * (np.exp(moves) - 1), rel=RELATIVE)
    assert of(prices(moves, "relative"), linear) == pytest.approx(5 * 64_000 * moves, rel=RELATIVE)
    assert of(prices(moves), spot) == pytest.approx(64_000 * (np.exp(moves) - 1), rel=RELATIVE)
    coins = 100 * (1 / 64_000 - 1 / (64_000 * np.exp(moves)))
    assert of(prices(moves), inverse) == pytest.approx(coins * 64_000 * np.exp(moves), rel=RELATIVE)


@pytest.mark.parametrize("inverse", [False, True])
def test_span_of_an_option_is_the_risk_array(inverse: bool) -> None:
    def value(forward: Floats, volatility: Floats) -> Floats:
        return black_value(forward, 70_000.0, volatility, 30 / 365, True)

    subject = option(float(value(np.array(65_000.0), np.array(0.6))), inverse=inverse)
    expected = risk_array(value, 65_000.0, 0.1 * 65_000, 0.6, 0.7, LATER_CME)  # the volatility stops at 0
    for ranges in (ScanRange(0.1, 0.7, True), ScanRange(6500.0, 0.7, False)):
        assert of(span_set(LATER_CME), subject, {BTC: ranges}) == pytest.approx(expected, rel=1e-9)


def test_deltas() -> None:
    call = option(float(black_value(65_000, 70_000, 0.6, 30 / 365, True)))
    paid_in_coin = call._replace(document=option(1.0, inverse=True).document, price=call.price / 65_000)
    bump = of(prices([1e-6, -1e-6], "relative"), call)
    assert delta(call) == pytest.approx((bump[0] - bump[1]) / (2e-6 * 65_000), rel=1e-6)
    assert delta(paid_in_coin) == pytest.approx(delta(call) - call.price / 65_000, rel=RELATIVE)
    future = Subject(document("crypto_future", underlying=BTC, multiplier=5), 64_000.0, NOW, None)
    inverse = Subject(document("perpetual", underlying=BTC, multiplier=100, inverse=True), 64_000.0, NOW, None)
    assert (delta(future), delta(inverse), delta(treasury())) == (5.0, 100 / 64_000, 0.0)
    assert delta(option(0.0, strike=65_000)) == 0.5
    with pytest.raises(Unpriceable, match=r"^OPTION: option value 80000 has no volatility"):
        delta(option(80_000.0))


# Hard input: priced.


def test_negative_yields_and_prices_above_the_sum_of_payments() -> None:
    rich = treasury(150.0, coupon=0.5, maturity="2029-05-15")
    found = of(rates(-300.0, 100.0), rich)
    assert found[0] > 0 > found[1]
    assert of(rates(-1.0), treasury(101.0, coupon=None, maturity="2024-11-29"))[0] > 0


@pytest.mark.parametrize(("right", "value"), [("call", 5000.0), ("put", 0.0)])
def test_zero_volatility_is_intrinsic(right: str, value: float) -> None:
    found = of(prices([-0.2, 0.0, 0.2], "relative"), option(value, right, strike=60_000))
    intrinsic = [max(0.0, (52_000 - 60_000) * (1 if right == "call" else -1)), value, 18_000.0 if right == "call" else 0.0]
    assert found == pytest.approx(np.array(intrinsic) - value, abs=1e-9)


# Hard input: refused with the reason.

GRID = grid_set(DERIBIT["BTC"])
FUTURE = Subject(document("crypto_future", underlying=BTC, expiry=NOW + DAY_NS), 64_000.0, NOW, None)
DV01 = Subject(document("treasury_future", dv01=0.06, bucket="10Y"), 110.0, NOW, None)
NAN = float("nan")
HARD: dict[str, tuple[ScenarioSet, Subject, str]] = {
    "expired": (prices([0.1]), FUTURE._replace(now_ns=NOW + DAY_NS), "CRYPTO_FUTURE: expired at"),
    "no factor": (prices([0.1], factor="ETH-USD"), FUTURE, f"CRYPTO_FUTURE: set P has no factor {BTC}"),
    "nan move": (prices([0.1, NAN]), FUTURE, f"factor {BTC} has no move in scenario 's1' of set P"),
    "bp of a price": (prices([1.0], "bp"), FUTURE, f"factor {BTC} of set P moves in basis points"),
    "nan mark": (prices([0.1]), FUTURE._replace(price=NAN), "mark nan must be a finite number"),
    "share of a negative price": (
        prices([0.1]),
        FUTURE._replace(price=-1.0),
        "price of which a share moves -1 must be above 0",
    ),
    "overflow": (prices([1000.0]), FUTURE, "profit inf must be a finite number"),
    "no type of a position": (prices([0.1]), Subject(document("repo"), 1.0, NOW, None), "REPO: type repo has no profit"),
    "mark above the underlying": (prices([0.1]), option(70_000.0), "option value 70000 has no volatility"),
    "mark below intrinsic": (prices([0.1]), option(4_999.0, strike=60_000), "must be 5000 or more"),
    "unknown underlying": (prices([0.1]), option(1.0)._replace(underlying_price=None), f"its underlying {BTC} is not known"),
    "negative forward": (prices([0.1]), option(1.0)._replace(underlying_price=-5.0), "forward -5 must be above 0"),
    "forward moved below 0": (prices([-1.0], "relative"), option(900.0), "forward 0 must be above 0"),
    "inverse below 0": (
        prices([-1.5], "relative"),
        FUTURE._replace(document=document("crypto_future", underlying=BTC, inverse=True)),
        "moved price of an inverse contract -32000 must be above 0",
    ),
    "no strike": (
        prices([0.1]),
        FUTURE._replace(document=document("option", underlying=BTC)),
        "needs strike, right and expiry",
    ),
    "curve with a hole": (rates(1.0, 2.0, m120=[1.0, NAN]), treasury(), "factor m120 has no move in scenario 's1'"),
    "no curve": (prices([0.1]), treasury(), "neither a factor for its underlying None nor a tenor"),
    "yield as log": (prices([0.1], factor="Y"), treasury(underlying="Y"), "factor Y of set P moves as log; needed are bp"),
    "no maturity": (rates(1.0), treasury(maturity=None), "needs its maturity"),
    "maturity in words": (rates(1.0), treasury(maturity="soon"), "TREASURY: Invalid isoformat string"),
    "matured": (rates(1.0), treasury(maturity=str(DAY)), "matured on 2024-06-26"),
    "no coupon": (rates(1.0), treasury(coupon=None), "over a year from maturity needs its coupon"),
    "price below 0": (rates(1.0), treasury(-5.0), "clean price with accrued interest"),
    "yield below -200 %": (rates(-30_000.0), treasury(), "yield"),
    "no dv01": (
        rates(1.0),
        Subject(document("treasury_future", bucket="10Y"), 110.0, NOW, None),
        "deliverable securities, or",
    ),
    "no bucket": (rates(1.0), Subject(document("rate_future"), 95.0, NOW, None), "no bucket, and set R no factor"),
    "odd bucket": (rates(1.0), DV01._replace(document=document("rate_future", bucket="LONG")), "bucket LONG is no tenor"),
    "matured in a basket": (
        rates(1.0),
        DV01._replace(deliverables=((treasury(id="UST", maturity="2020-01-01"), 0.9),)),
        "TREASURY_FUTURE: deliverable UST: matured on 2020-01-01",
    ),
    "factor of 0": (rates(1.0), DV01._replace(deliverables=((treasury(), 0.0),)), "conversion factor 0 must be above 0"),
    "future in a basket": (rates(1.0), DV01._replace(deliverables=((DV01, 1.0),)), "type treasury_future is no Treasury"),
    "unknown set": (replace(prices([0.1]), kinds=("weather",)), FUTURE, "set P has kinds weather, which no model has"),
    "no scan range": (span_set(), FUTURE, f"there is no scan range for {BTC}"),
    "grid without parameters": (replace(GRID, parameters={}), FUTURE, "set grid lacks a parameter of a grid"),
    "grid of other cells": (replace(GRID, matrix=GRID.matrix * 1.01), FUTURE, "the cells of set grid are not those of its"),
}


@pytest.mark.parametrize("case", HARD)
def test_unpriceable(case: str) -> None:
    scenarios, subject, reason = HARD[case]
    with pytest.raises(Unpriceable) as raised:
        profits(scenarios, subject, None)
    assert reason in str(raised.value)
    assert str(raised.value).startswith(f"{subject.document.id}: ")


@pytest.mark.parametrize("ranges", [ScanRange(-1.0, 0.0, False), ScanRange(1.0, NAN, False)])
def test_scan_ranges_are_checked(ranges: ScanRange) -> None:
    with pytest.raises(Unpriceable, match="scan range"):
        profits(span_set(), FUTURE, {BTC: ranges})


# Laws.

LAW = settings(max_examples=40, deadline=None)
PRICED = st.one_of(
    st.builds(
        treasury,
        st.floats(97, 103),
        coupon=st.sampled_from([0.0, 0.125, 4.25, 9.0]),
        maturity=st.sampled_from(["2024-07-31", "2025-01-30", "2026-02-28", "2033-04-15", "2054-05-15"]),
    ),
    st.builds(
        lambda v, days, **terms: option(
            float(black_value(65_000, terms["strike"], v, days / 365, terms["right"] == "call")), days=days, **terms
        ),
        st.floats(0.2, 2.0),
        st.integers(1, 400),
        right=st.sampled_from(["call", "put"]),
        strike=st.floats(40_000, 90_000),
        inverse=st.booleans(),
    ),
    st.builds(
        lambda price, inverse: Subject(document("perpetual", underlying=BTC, inverse=inverse), price, NOW, None),
        st.floats(1, 1e6),
        st.booleans(),
    ),
)


@LAW
@given(PRICED, st.lists(st.tuples(st.floats(-200, 400), st.floats(-0.9, 0.9)), min_size=1, max_size=40), st.randoms())
def test_no_move_is_exactly_0_and_scenarios_do_not_touch_each_other(
    subject: Subject, moves: list[tuple[float, float]], shuffled: Any
) -> None:
    moves.append((0.0, 0.0))
    row = of(rates(*[bp for bp, _ in moves], **{BTC: [log for _, log in moves]}), subject)
    assert row[-1] == 0.0
    order = list(range(len(moves)))
    shuffled.shuffle(order)
    other = of(rates(*[moves[i][0] for i in order], **{BTC: [moves[i][1] for i in order]}), subject)
    np.testing.assert_array_equal(other, row[order])


@LAW
@given(st.floats(0.3, 2.0), st.floats(55_000, 78_000), st.integers(7, 400), st.sampled_from(["historical", "span", "grid"]))
def test_long_call_short_put_short_future_cancel(volatility: float, strike: float, days: int, which: str) -> None:
    scenarios = {"historical": prices([-0.4, 0.01, 0.7]), "span": span_set(), "grid": GRID}[which]
    ranges = {BTC: ScanRange(0.15, 0.4, True)}
    sides = [
        option(float(black_value(65_000, strike, volatility, days / 365, call)), right, strike, days, inverse)
        for call, right, inverse in ((True, "call", False), (False, "put", True))
    ]
    call, put = (of(scenarios, side, ranges) for side in sides)
    future = of(scenarios, Subject(document("perpetual", underlying=BTC), 65_000.0, NOW, None), ranges)
    contract = document("perpetual", underlying=BTC, inverse=True, multiplier=65_000)
    assert np.abs(call - put - future).max() <= 1e-5  # what rounding leaves of an option's time value in its mark
    assert of(scenarios, Subject(contract, 70_000.0, NOW, None), ranges) == pytest.approx(future, rel=1e-12, abs=1e-9)

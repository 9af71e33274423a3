"""Options: the published mark, laws of Black 76 and Bachelier, zero volatility and time, implied volatility, expiry."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.pricing.normal import cumulative
from engine.pricing.options import (
    YEAR_NS,
    bachelier_value,
    black_greeks,
    black_value,
    implied_volatility,
    inverse_delta,
    inverse_value,
    years_to_expiry,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "option_grid.json").read_text())
FORWARDS = st.floats(10, 1e5)
RATIOS = st.floats(0.3, 3)
VOLATILITIES = st.floats(0, 3)
YEARS = st.floats(0, 5)
without_deadline = settings(deadline=None)  # the first example compiles


def test_published_mark_and_grid() -> None:
    case = GOLDEN["input"]
    years, forward, volatility = case["days"] / case["year"], case["forward"], case["iv"]
    mark = float(black_value(forward, case["strike"], volatility, years, True))
    assert round(mark, 5) == GOLDEN["mark"]
    k = (30 / case["days"]) ** case["power"]
    down, up = volatility * (1 - k * case["vol_down"]), volatility * (1 + k * case["vol_up"])
    assert (round(down, 8), round(up, 8)) == (GOLDEN["iv_down"], GOLDEN["iv_up"])
    for move, expected in GOLDEN["pnl_down_same_up"].items():
        values = black_value(forward * (1 + float(move)), case["strike"], [down, volatility, up], years, True)
        assert (case["quantity"] * (values - mark)).round(2).tolist() == expected


def test_published_portfolio_margin_option() -> None:
    """Ten puts of crypto.md G14: K = 50 on 50, volatility 30 %, 90 days: mark 2.968757."""
    assert round(float(black_value(50, 50, 0.3, 90 / 365, False)), 6) == 2.968757


@without_deadline
@given(FORWARDS, RATIOS, VOLATILITIES, YEARS, st.floats(0.5, 1.1))
def test_put_call_parity_and_limits(forward: float, ratio: float, volatility: float, years: float, discount: float) -> None:
    strike = forward * ratio
    call, put = black_value(forward, strike, volatility, years, [True, False], discount)
    scale = forward + strike
    assert call - put == pytest.approx(discount * (forward - strike), abs=1e-13 * scale)
    assert discount * max(forward - strike, 0) <= call <= discount * forward * (1 + 1e-14)
    assert discount * max(strike - forward, 0) <= put <= discount * strike * (1 + 1e-14)
    coins = inverse_value(forward, strike, volatility, years, [True, False])
    assert coins * forward * discount == pytest.approx(np.array([call, put]), rel=1e-14)


@without_deadline
@given(FORWARDS, RATIOS, st.floats(0.01, 3), st.floats(0.001, 5), st.booleans())
def test_value_rises_with_volatility_and_time(
    forward: float, ratio: float, volatility: float, years: float, call: bool
) -> None:
    vols = volatility * np.array([1, 1.1, 1.5])
    tiny = 1e-12 * forward * (1 + ratio)
    assert (np.diff(black_value(forward, forward * ratio, vols, years, call)) >= -tiny).all()
    assert (np.diff(black_value(forward, forward * ratio, volatility, years * vols, call)) >= -tiny).all()


@without_deadline
@given(FORWARDS, st.floats(0.7, 1.4), st.floats(0.1, 1.5), st.floats(0.05, 2), st.booleans())
def test_greeks_are_slopes(forward: float, ratio: float, volatility: float, years: float, call: bool) -> None:
    strike, step = forward * ratio, forward * 1e-4
    greeks = black_greeks(forward, strike, volatility, years, call, 0.98)
    down, at, up = black_value([forward - step, forward, forward + step], strike, volatility, years, call, 0.98).tolist()
    assert float(greeks.delta) == pytest.approx((up - down) / (2 * step), abs=1e-5)
    assert float(greeks.gamma) * forward == pytest.approx((up - 2 * at + down) / step**2 * forward, rel=1e-3, abs=1e-3)
    low, high = black_value(forward, strike, [volatility - 1e-4, volatility + 1e-4], years, call, 0.98).tolist()
    assert float(greeks.vega) == pytest.approx((high - low) / 2e-4, rel=1e-4, abs=1e-6 * forward)
    coin_up, coin_down = inverse_value([forward + step, forward - step], strike, volatility, years, call).tolist()
    slope = (coin_up - coin_down) / (2 * step) * forward  # coins won per relative move: delta less value, in coins
    assert float(inverse_delta(forward, strike, volatility, years, call)) == pytest.approx(slope, abs=1e-5)


@without_deadline
@given(FORWARDS, RATIOS, st.floats(0.02, 3), st.floats(0.01, 3), st.booleans())
def test_implied_volatility_is_a_round_trip(
    forward: float, ratio: float, volatility: float, years: float, call: bool
) -> None:
    strike = forward * ratio
    value = black_value(forward, strike, volatility, years, call, 0.97)
    intrinsic = 0.97 * max(forward - strike if call else strike - forward, 0)
    assume(float(value) - intrinsic > 1e-6 * forward)  # else the price does not hold the volatility
    assume(float(value) < 0.97 * (forward if call else strike) * (1 - 1e-6))
    found = implied_volatility(value, forward, strike, years, call, 0.97)
    assert float(found) == pytest.approx(volatility, rel=1e-7)
    assert float(black_value(forward, strike, found, years, call, 0.97)) == pytest.approx(float(value), rel=1e-12)


def test_implied_volatility_of_far_options_and_of_many() -> None:
    vols = np.array([0.05, 0.2, 0.6, 2.0])
    strikes = np.array([60.0, 100.0, 140.0])[:, None]
    values = black_value(100.0, strikes, vols, 0.5, strikes >= 100)
    assert implied_volatility(values, 100.0, strikes, 0.5, strikes >= 100) == pytest.approx(np.tile(vols, (3, 1)), rel=1e-9)
    assert implied_volatility([0.0, 10.0], [100.0, 110.0], 100.0 + np.array([20.0, 0.0]), 0.5, True).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [9.99, 110.0, 200.0])
def test_a_price_without_a_volatility_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="it must be 10 or more and below 110"):
        implied_volatility(value, 110.0, 100.0, 0.5, True)


def test_without_volatility_or_time_an_option_is_worth_its_intrinsic_value() -> None:
    strikes = np.array([90.0, 100.0, 110.0])
    for volatility, years in ((0.0, 1.0), (0.5, 0.0), (0.0, 0.0)):
        assert black_value(100, strikes, volatility, years, True).tolist() == [10, 0, 0]
        assert black_value(100, strikes, volatility, years, False).tolist() == [0, 0, 10]
        assert bachelier_value(-1, [-2, -1, 0], volatility, years, True).tolist() == [1, 0, 0]
        greeks = black_greeks(100, [90.0, 110.0], volatility, years, True)
        assert [values.tolist() for values in greeks] == [[1, 0], [0, 0], [0, 0]]
        with pytest.raises(ValueError, match="at the money without time or volatility has no gamma"):
            black_greeks(100, strikes, volatility, years, True)


@without_deadline
@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 3), st.floats(0, 5))
def test_bachelier_parity_and_symmetry(forward: float, strike: float, volatility: float, years: float) -> None:
    call, put = bachelier_value(forward, strike, volatility, years, [True, False])
    assert call - put == pytest.approx(forward - strike, abs=1e-13)
    assert float(bachelier_value(-forward, -strike, volatility, years, False)) == pytest.approx(call, abs=1e-14)


def test_bachelier_at_the_money() -> None:
    assert float(bachelier_value(-0.01, -0.01, 0.008, 4.0, True)) == pytest.approx(0.016 / math.sqrt(2 * math.pi), abs=1e-18)


def test_an_expired_option_is_refused() -> None:
    assert years_to_expiry(5, 5) == 0
    assert years_to_expiry(0, YEAR_NS // 2) == 0.5
    with pytest.raises(ValueError, match=r"the option expired 1\.5 s ago"):
        years_to_expiry(1_500_000_000, 0)
    for value in (black_value, bachelier_value, black_greeks, inverse_value, inverse_delta):
        with pytest.raises(ValueError, match=r"years to expiry -0.1 must be 0 or more"):
            value(100.0, 100.0, 0.5, [0.5, -0.1], True)
    with pytest.raises(ValueError, match="years to expiry 0 must be above 0"):
        implied_volatility(5.0, 100.0, 100.0, 0.0, True)


@pytest.mark.parametrize(
    ("forward", "strike", "volatility", "reason"),
    [
        (-1.0, 1.0, 0.5, "forward -1 must be above 0"),
        (1.0, 0.0, 0.5, "strike 0 must be above 0"),
        (1.0, 1.0, -0.1, "volatility -0.1 must be 0 or more"),
        (float("nan"), 1.0, 0.5, "forward nan must be a finite number"),
        (1.0, 1.0, float("inf"), "volatility inf must be a finite number"),
    ],
)
def test_impossible_numbers_are_refused(forward: float, strike: float, volatility: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        black_value([1.0, forward], strike, volatility, 1.0, True)


def test_cumulative_normal_is_erfc_of_the_standard_library() -> None:
    x = np.concatenate((np.linspace(-37, 9, 2001), [-np.inf, np.inf, 0.0])).reshape(4, 501)
    twin = [[0.5 * math.erfc(-value / math.sqrt(2)) for value in row] for row in x.tolist()]
    assert cumulative(x) == pytest.approx(np.array(twin), rel=1e-12, abs=5e-324)
    assert cumulative(np.array([-np.inf, 0.0, np.inf])).tolist() == [0.0, 0.5, 1.0]

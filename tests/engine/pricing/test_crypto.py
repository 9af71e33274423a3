"""Crypto futures and perpetuals: published figures, laws of inverse contracts, hard input."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pricing.crypto import (
    CME_FUTURES,
    average_premium,
    clamped_funding_rate,
    dydx_funding_cap,
    dydx_funding_rate,
    funding_rule,
    inverse_funding,
    inverse_move_pnl,
    inverse_pnl,
    linear_funding,
    linear_pnl,
    liquidation_price,
    premium_index,
    premium_weights,
    twap_funding_rate,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "crypto_perpetuals.json").read_text())
PRICES = st.floats(1e-3, 1e6)


@pytest.mark.parametrize("venue", ["binance", "bitnomial"])
@pytest.mark.parametrize(("premium_pct", "funding_pct"), GOLDEN["funding_clamp"]["cases_pct"])
def test_published_funding(venue: str, premium_pct: float, funding_pct: float) -> None:
    found = float(clamped_funding_rate(funding_rule(venue), premium_pct / 100))
    assert round(100 * found, 6) == funding_pct
    assert float(clamped_funding_rate(replace(funding_rule(venue), hours=4), premium_pct / 100)) == found / 2


def test_published_premium_weights() -> None:
    golden = GOLDEN["premium_weights"]
    assert premium_weights(golden["n"]).sum() == golden["sum_of_weights"]
    samples = np.zeros(golden["n"])
    samples[-1] = 1
    assert float(average_premium(samples)) == golden["n"] / golden["sum_of_weights"]
    assert float(average_premium([3.0, 0.0, 1.0])) == pytest.approx(1.0, abs=1e-15)
    assert average_premium(np.full((2, 5), 0.01)) == pytest.approx([0.01, 0.01], abs=1e-17)


def test_published_inverse_pnl() -> None:
    golden = GOLDEN["inverse_pnl"]
    notional = golden["contracts"] * golden["contract_value_quote"]
    assert round(float(inverse_pnl(notional, golden["entry"], golden["exit"])), 8) == golden["pnl_base"]


@pytest.mark.parametrize("case", GOLDEN["liquidation"], ids=lambda case: str(case["size"]))
def test_published_liquidation_prices(case: dict[str, Any]) -> None:
    other = case.get("other_maintenance", 0)
    found = float(liquidation_price(case["equity"], case["size"], case["price"], case["mmf"], other))
    assert round(found, 2) == case["liquidation_price"]
    equity = case["equity"] + case["size"] * (found - case["price"])
    assert equity == pytest.approx(abs(case["size"]) * found * case["mmf"] + other, abs=1e-9)


def test_published_funding_cap() -> None:
    assert dydx_funding_cap(0.05, 0.03) == pytest.approx(0.12, abs=1e-15)  # crypto.md G7
    assert float(dydx_funding_rate(1.0, 0.0, 0.05, 0.03)) == pytest.approx(0.12 / 8, abs=1e-16)
    assert float(dydx_funding_rate(-0.004, 0.0000125, 0.05, 0.03)) == pytest.approx(-0.0005 + 0.0000125, abs=1e-18)


def test_premium_is_what_lies_outside_the_index() -> None:
    found = premium_index([101.0, 98.0, 99.0], [102.0, 99.0, 101.0], 100.0)
    assert found == pytest.approx([0.01, -0.01, 0.0], abs=1e-16)
    assert twap_funding_rate([101.0, 120.0, 10.0], 100.0) == pytest.approx([0.01 / 24, 0.05 / 24, -0.05 / 24], abs=1e-16)


@given(PRICES, st.floats(0.05, 20), st.integers(-(10**6), 10**6))
def test_inverse_pnl_at_the_exit_price_is_linear_pnl(entry: float, ratio: float, notional: int) -> None:
    """Coins won, sold at the exit price, are what the coins held at the entry won in the quote currency."""
    price, coins = entry * ratio, notional / entry
    won = float(inverse_pnl(notional, entry, price))
    assert won * price == pytest.approx(float(linear_pnl(coins, entry, price)), abs=1e-13 * abs(notional) * (1 + ratio))
    assert float(inverse_move_pnl(coins, ratio - 1)) == pytest.approx(won, abs=1e-13 * abs(coins) * (1 + 1 / ratio))


def test_a_long_pays_positive_funding() -> None:
    assert float(linear_funding(2.0, 50_000.0, 0.0001)) == -10.0
    assert float(linear_funding(-2.0, 50_000.0, 0.0001)) == 10.0
    assert float(inverse_funding(100_000.0, 50_000.0, 0.0001)) == pytest.approx(-0.0002, abs=1e-18)
    assert inverse_move_pnl(1.0, [-0.16, 0.16]) == pytest.approx([-0.16 / 0.84, 0.16 / 1.16], abs=1e-16)


def test_units_of_cme_futures() -> None:
    assert {name: terms.coins for name, terms in CME_FUTURES.items()} == {"BTC": 5, "MBT": 0.1, "ETH": 50, "MET": 0.1}
    assert CME_FUTURES["BTC"].coins * CME_FUTURES["BTC"].tick == 25
    assert CME_FUTURES["MBT"].coins * CME_FUTURES["MBT"].tick == 0.5


def test_a_long_with_more_equity_than_value_is_never_liquidated() -> None:
    assert np.isnan(liquidation_price(1000.0, 1.0, 900.0, 0.05))
    assert float(liquidation_price(100.0, 1.0, 900.0, 0.05)) == pytest.approx(800 / 0.95, abs=1e-10)


def test_unknown_formulas_and_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="no funding formula is known for 'kalshi', only for bitnomial, binance"):
        funding_rule("kalshi")
    with pytest.raises(ValueError, match="one sample or more"):
        average_premium([])
    with pytest.raises(ValueError, match="premium nan"):
        average_premium([0.0, float("nan")])
    with pytest.raises(ValueError, match="index 0 must be above 0"):
        premium_index(1.0, 2.0, 0.0)
    with pytest.raises(ValueError, match="price -1 must be above 0"):
        inverse_pnl(1.0, 1.0, [1.0, -1.0])
    with pytest.raises(ValueError, match="price move -1 must be above -1"):
        inverse_move_pnl(1.0, -1.0)
    with pytest.raises(ValueError, match="mark 0"):
        inverse_funding(1.0, 0.0, 0.1)
    with pytest.raises(ValueError, match="size 0 has no"):
        liquidation_price(1.0, 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="ratio 1 must be below 1"):
        liquidation_price(1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="initial less maintenance"):
        dydx_funding_cap(0.03, 0.05)

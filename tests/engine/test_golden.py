"""Published and worked figures (tests/golden), driven through the engine's public surface with flat and tiered rules."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.engine.small_log import SmallLog

GOLDEN = Path(__file__).parents[1] / "golden"
CALLS = json.loads((GOLDEN / "margin_calls.json").read_text())
PERPETUALS = json.loads((GOLDEN / "crypto_perpetuals.json").read_text())


def with_requirement(case: dict[str, Any], log: SmallLog, account: str) -> None:
    """One lot of an instrument worth nothing yet, whose flat rule requires the case's margin."""
    if not log.pair.engine.stored()["marks"]:
        log.rule("flat", "flat", initial=str(case["initial"]), maintenance=str(case["maintenance"]))
        log.instrument("F", rule="flat")
        log.price("F", "50")
    log.trade(account, "F", 1, 50)


@pytest.mark.parametrize("case", CALLS["cases"], ids=lambda case: str(case["equity"]))
def test_status_call_and_withdrawable(case: dict[str, Any]) -> None:
    log = SmallLog()
    log.money()
    log.account("a")
    with_requirement(case, log, "a")
    if "collateral" in case:
        (collateral,) = case["collateral"]
        log.document("asset", "NOTE", type="treasury", currency="USD", haircut=str(collateral["haircut"]))
        log.collateral("a", "NOTE", collateral["value"])
        log.collateral("a", "USD", case["net_liquidating_value"])
    else:
        log.collateral("a", "USD", case["equity"])
    log.clock()
    figures = log.figures("a")
    assert figures["status"] == case["status"]
    assert figures["quality"] == "FRESH"
    assert figures["equity"] == 100 * case["equity"]
    assert figures["call"] == 100 * case["call"]
    assert max(0, figures["excess_usd"]) == 100 * case["withdrawable"]
    assert max(0, figures["maintenance"] - figures["equity"]) == 100 * case["undermargined"]


def test_one_customers_excess_never_covers_anothers_deficit() -> None:
    firm = CALLS["firm"]
    log = SmallLog()
    log.money()
    requirement = {"initial": 100, "maintenance": 100}
    for i, (short, excess) in enumerate(zip(firm["undermargined_by_customer"], firm["excess_by_customer"], strict=True)):
        log.document("customer", f"c{i}")
        log.account(f"a{i}", customer=f"c{i}")
        with_requirement(requirement, log, f"a{i}")
        log.collateral(f"a{i}", "USD", 100 - short + excess)
    log.clock()
    assert log.pair.engine.population().deficit_usd == {"p": 100 * firm["firm_undermargined"]}


def test_collateral_after_haircuts() -> None:
    log = SmallLog()
    log.money()
    log.account("a")
    for i, row in enumerate(CALLS["collateral"]["assets"]):
        log.instrument(f"P{i}", type="fund", band=["0", "1000000"])
        log.document("asset", f"A{i}", type="security", currency="USD", instrument=f"P{i}", haircut=str(row["haircut"]))
        log.price(f"P{i}", row["price"])
        log.collateral("a", f"A{i}", row["quantity"])
    log.clock()
    assert log.figures("a")["equity"] == 100 * CALLS["collateral"]["value"]


def test_profit_of_an_inverse_contract() -> None:
    case = PERPETUALS["inverse_pnl"]
    log = SmallLog()
    log.money()
    log.instrument("BTC-USD", type="spot")
    log.document("asset", "BTC", type="crypto", currency="USD", instrument="BTC-USD", decimals=8)
    log.instrument(
        "ETH-PERP", type="perpetual", currency="BTC", inverse=True, tick="0.001", band=["0.1", "1000"],
        multiplier=str(case["contract_value_quote"]),
    )  # fmt: skip
    log.account("a", "BTC")
    log.price("BTC-USD", 60_000)
    log.price("ETH-PERP", case["exit"])
    log.trade("a", "ETH-PERP", case["contracts"], case["entry"])
    log.clock()
    satoshi = 10**8
    assert round(log.figures("a")["equity"], -1) == round(case["pnl_base"] * satoshi, -1)
    log.trade("a", "ETH-PERP", -case["contracts"], case["exit"])
    log.clock()
    lots, cost, realized = log.pair.engine.stored()["positions"]["a", "ETH-PERP"]
    assert (lots, cost) == (0, 0)
    quote = Fraction(str(case["contract_value_quote"])) * case["contracts"]
    exact = quote / Fraction(str(case["entry"])) - quote / Fraction(str(case["exit"]))
    assert abs(Fraction(realized, satoshi * 10**6) - exact) <= Fraction(case["contracts"], satoshi * 10**6)
    assert round(Fraction(realized, 10**6)) == round(case["pnl_base"] * satoshi)


@pytest.mark.parametrize(("notional", "maintenance"), PERPETUALS["tiers"]["cases"])
def test_tiers_of_a_perpetual_venue(notional: int, maintenance: int) -> None:
    tiers = [
        {"from": lower, "initial": str(1 / leverage), "maintenance": str(1 / (2 * leverage))}
        for lower, _, leverage in PERPETUALS["tiers"]["tiers"]
    ]
    log = SmallLog()
    log.money()
    log.rule("tiers", "tiered", tiers=tiers)
    log.instrument("PERP", type="perpetual", rule="tiers")
    log.account("a")
    log.price("PERP", 1000)
    log.trade("a", "PERP", notional // 1000, 1000)
    log.clock()
    assert log.figures("a")["maintenance"] == 100 * maintenance
    assert log.figures("a")["initial"] == 200 * maintenance

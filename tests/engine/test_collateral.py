"""Collateral in the stream: caps and shares of a schedule's entries, as margin_lines has them, and where it moves."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import explain
from engine.codes import Code
from engine.models.collateral import Holding, Schedule, margin_lines
from engine.scenarios.sets import ScenarioSet
from tests.engine.small_log import SmallLog, codes

DAY = date(2027, 1, 15)
ASSETS = {"LETTER": "security", "BOND": "security", "NOTE": "security", "FUND": "fund"}
SECURITY = {"haircut": "0.1", "cap": "700.25", "share": "0.25"}
ENTRIES: dict[str, Any] = {
    "USD": {"haircut": "0"}, "security": SECURITY, "NOTE": {"haircut": "0.03", "share": "0.4"},
    "fund": {"haircut": "0.2", "cap": "40"},
}  # fmt: skip


def desk(entries: dict[str, Any]) -> SmallLog:
    """Account a, of a pool that takes collateral by these entries, with one lot of S that requires 1,000 USD."""
    log = SmallLog()
    log.money()
    log.rule("TAKEN", "collateral", currency="USD", assets=entries)
    log.document("pool", "q", regime="r", currency="USD", collateral="TAKEN")
    for name, kind in ASSETS.items():
        log.document("asset", name, type=kind, currency="USD")
    log.rule("flat", "flat", initial="1500", maintenance="1000")
    log.instrument("S", rule="flat")
    log.price("S", 50)
    log.account("a", pool="q")
    log.collateral("a", "USD", 5000)
    return log


def equity(log: SmallLog) -> int:
    log.clock()
    figures = log.figures("a")
    assert figures["quality"] == "FRESH"
    return int(figures["equity"])


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(ASSETS)), st.integers(0, 150_000)), st.integers(0, 3))
def test_equity_counts_what_the_lines_of_the_schedule_count(held: dict[str, int], lots: int) -> None:
    log = desk(ENTRIES)
    if lots:
        log.trade("a", "S", lots, 50)
    for name, cents in held.items():
        log.collateral("a", name, Decimal(cents) / 100)
    schedule = msgspec.convert({"assets": ENTRIES, "currency": "USD"}, Schedule)
    holdings = [Holding((name, kind), held.get(name, 0), "USD") for name, kind in ASSETS.items()]
    lines = margin_lines(schedule, holdings, 100_000 * lots, DAY)
    assert equity(log) == 500_000 + sum(line.margin_minor for line in lines)


def test_assets_of_one_entry_share_its_limits_and_a_share_follows_the_requirement() -> None:
    log = desk(ENTRIES)
    log.collateral("a", "BOND", 2000)
    assert equity(log) == 500_000  # nothing is required, so nothing may be covered
    log.trade("a", "S", 2, 50)
    assert equity(log) == 550_000  # a quarter of 2,000
    log.trade("a", "S", 2, 50)
    assert equity(log) == 570_025  # a quarter is 1,000, the cap less
    log.collateral("a", "LETTER", 600)
    assert equity(log) == 570_025
    log.collateral("a", "BOND", "177.83", replace=True)
    assert equity(log) == 500_000 + 54_000 + 16_004  # 160.047 USD of the bond fit beside 540 of the letter


def test_collateral_moves_whole_in_the_first_named_rule_with_positions() -> None:
    log = SmallLog({"scenarios": 8, "portfolios": 4, "sets": 4})
    log.money()
    labels, moves = tuple("abcd"), np.array((-0.5, -0.1, 0.1, 0.4))[:, None]
    log.scenarios(ScenarioSet("H", "1", ("X",), ("log",), labels, moves, {}))
    log.instrument("X", type="index", band=["1", "100000"])
    log.document("asset", "COIN", type="crypto", currency="USD", instrument="X")
    for name in ("ONE", "TWO", "THREE"):
        log.rule(name, "historical", scenarios="H", currency="USD", tail="0", initial_ratio="1")
        log.instrument(f"P-{name}", type="perpetual", underlying="X", band=["1", "100000"], rule=name)
    log.rule("TAKEN", "collateral", currency="USD", assets={"COIN": {"haircut": "0", "shocked": True}})
    log.document("pool", "q", regime="r", currency="USD", collateral="TAKEN", shocks=["ONE", "TWO"])
    log.account("a", pool="q")
    log.collateral("a", "COIN", 1)
    for name in ("X", "P-ONE", "P-TWO", "P-THREE"):
        log.price(name, 1000)

    def required() -> list[tuple[str, int]]:
        """Maintenance by rule, which sums to the account's."""
        log.clock()
        engine = log.pair.engine
        found = explain.requirement(engine, engine.find_account("a") or 0)
        assert found.now == found.stored
        return [(one.rule.id, one.required.maintenance) for one in found.portfolios if one.rule is not None]

    falls, rises = 39_347, 49_183  # cents of one coin: 1,000 x (1 - exp(-0.5)) and 1,000 x (exp(0.4) - 1), up
    assert required() == [("ONE", falls)]
    log.trade("a", "P-THREE", -1, 1000)
    assert required() == [("ONE", falls), ("THREE", rises)]
    log.trade("a", "P-TWO", -1, 1000)
    assert required() == [("TWO", 0), ("THREE", rises)]  # the coin offsets the short position
    log.trade("a", "P-ONE", 1, 1000)
    assert required() == [("ONE", 2 * falls), ("TWO", rises), ("THREE", rises)]
    log.document("pool", "q", regime="r", currency="USD", collateral="TAKEN", shocks=["TWO", "ONE"])
    assert required() == [("ONE", falls), ("TWO", 0), ("THREE", rises)]
    log.document("pool", "q", regime="r", currency="USD", collateral="TAKEN", shocks="TWO")
    assert required() == [("ONE", falls), ("TWO", 0), ("THREE", rises)]
    log.document("pool", "q", regime="r", currency="USD", collateral="TAKEN")
    assert required() == [("ONE", falls), ("TWO", rises), ("THREE", rises)]
    assert log.figures("a")["equity"] == 0  # no rule stands for its moves, so it does not count


def test_a_cap_is_in_usd() -> None:
    log = desk(ENTRIES)
    log.document("instrument", "EURUSD", type="fx", currency="USD", tick="0.0001", band=["0.5", "2"])
    log.document("asset", "EUR", type="currency", currency="USD", instrument="EURUSD")
    assert codes(log.rule("OTHER", "collateral", currency="EUR", assets={"fund": {"haircut": "0", "cap": "5"}})) == [
        Code.REFUSED_DEFINITION
    ]
    assert not log.rule("OTHER", "collateral", currency="EUR", assets={"fund": {"haircut": "0", "share": "0.5"}}).rejects

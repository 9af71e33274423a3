"""Limits of collateral in the stream: caps and shares of a schedule's entries, as margin_lines has them."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codes import Code
from engine.models.collateral import Holding, Schedule, margin_lines
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


def test_a_cap_is_in_usd() -> None:
    log = desk(ENTRIES)
    log.document("instrument", "EURUSD", type="fx", currency="USD", tick="0.0001", band=["0.5", "2"])
    log.document("asset", "EUR", type="currency", currency="USD", instrument="EURUSD")
    assert codes(log.rule("OTHER", "collateral", currency="EUR", assets={"fund": {"haircut": "0", "cap": "5"}})) == [
        Code.REFUSED_DEFINITION
    ]
    assert not log.rule("OTHER", "collateral", currency="EUR", assets={"fund": {"haircut": "0", "share": "0.5"}}).rejects

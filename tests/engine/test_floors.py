"""Floors by remaining maturity, the minimum of a portfolio, and the minimum per contract of 4210(g)."""

from typing import Any

import pytest

from engine import explain
from tests.engine.small_log import SmallLog
from tests.engine.test_portfolio import LIMITS, agreed, crossed, desk, history, maintenance, trade

DAY = 86_400
BANDS = [[1, "0.01"], [5, "0.02"], [None, "0.04"]]
TERMS = {"underlying": "Y", "bucket": "10Y", "dv01": "0", "band": ["50", "150"], "rule": "R"}


def notes(**parameters: Any) -> SmallLog:
    """Notes of 2028-01-15 and 2037 and a future at 100 that no scenario moves, on 2027-01-15."""
    log = SmallLog(LIMITS)
    log.money()
    log.scenarios(history((0.0,) * 8, "Y", "bp"))
    log.instrument("Y", type="yield", band=["-5", "25"], tick="0.001")
    assert not log.rule(
        "R", "historical", scenarios="H", currency="USD", tail="0", initial_ratio="1", through=False, **parameters
    ).rejects
    log.instrument("F", type="treasury_future", multiplier="1000", **TERMS)
    for name, maturity in (("SHORT", "2028-01-15"), ("LONG", "2037-01-15")):
        log.instrument(name, type="treasury", multiplier="0.01", lot="100", maturity=maturity, coupon="4", **TERMS)
    log.account("a")
    log.collateral("a", "USD", 10**7)
    for name in ("F", "SHORT", "LONG"):
        log.price(name, 100)
    log.clock()
    return log


def lines(log: SmallLog) -> dict[str, int]:
    """The lines of account a that are not 0, which sum to what it requires."""
    (one,) = explain.requirement(log.pair.engine, 0).portfolios
    assert sum(one.lines.values()) == log.figures("a")["maintenance"]
    return {name: amount for name, amount in one.lines.items() if amount}


def test_the_floor_is_a_share_of_gross_value_by_remaining_maturity() -> None:
    log = notes(bands=BANDS)
    for name, quantity in (("SHORT", 10_000), ("LONG", -20_000)):
        log.trade("a", name, quantity, 100)
    assert maintenance(log, "a") == 100 * (10_000 * 2 + 20_000 * 4) // 100
    assert lines(log) == {"FLOOR": 100_000}
    log.trade("a", "F", -3, 100)  # a future has no maturity
    assert maintenance(log, "a") == 100_000


def test_a_security_that_rolls_under_a_band_has_that_ones_floor_the_next_day() -> None:
    log = notes(bands=BANDS)
    log.trade("a", "SHORT", 10_000, 100)
    assert maintenance(log, "a") == 20_000
    log.clock(DAY - log.now_ns // 10**9 % DAY - 1)
    assert log.figures("a")["maintenance"] == 20_000
    log.clock(1)
    log.clock(2)  # past the account's phase
    assert log.figures("a")["maintenance"] == 10_000


def test_the_minimum_is_of_a_portfolio_that_holds_something() -> None:
    log = notes(bands=BANDS, minimum="350.25")
    assert maintenance(log, "a") == 0
    log.trade("a", "SHORT", 10_000, 100)
    assert maintenance(log, "a") == 35_025
    assert lines(log) == {"FLOOR": 20_000, "MINIMUM": 15_025}
    log.trade("a", "SHORT", 10_000, 100)
    assert maintenance(log, "a") == 40_000
    assert lines(log) == {"FLOOR": 40_000}


def test_a_saving_leaves_the_minimum() -> None:
    log = crossed()
    log.trade("f", "F", -20, 100)
    log.trade("t", "N", 20 * 100_000, 100)
    log.clock()
    least = log.figures("t")["maintenance"] + 12_300
    terms = {"scenarios": "H", "currency": "USD", "tail": "0", "initial_ratio": "1"}
    log.rule("FICC", "historical", effective=1, minimum=str(least // 100) + f".{least % 100:02}", **terms)
    assert maintenance(log, "t") == least
    agreed(log, signed=False)
    assert maintenance(log, "t") > least  # the positions alone require more


@pytest.mark.parametrize(
    ("name", "lots", "cents"),
    [
        ("P", 100, 900_000),  # 15 % of 60,000: neither option nor future
        ("C", -200, 200 * 50_000),
        ("C", 200, 200 * 4_200),  # a long contract: what it is worth
        ("E", -3, 3 * 100_000),
    ],
)
def test_the_minimum_of_4210g_is_of_options_and_where_stated_of_futures(name: str, lots: int, cents: int) -> None:
    log = desk("points", minimum="50000", future_minimum="100000")
    log.instrument("E", type="crypto_future", underlying="X", tick="0.1", band=["1", "1000000"], lot="0.01", rule="R")
    log.price("E", 60_000)
    trade(log, "a", name, lots)
    assert maintenance(log, "a") == cents

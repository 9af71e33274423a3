"""When several checks fail, which code is given: the order of the rules, one case after the other."""

from typing import Any

import pytest

from engine.codes import Code
from engine.events import NS, Flag, Kind
from tests.engine.small_log import START_NS, SmallLog, codes


def prepared(**limits: int) -> SmallLog:
    """One account, an expiring and an untradable instrument, an asset with 2 decimals; the clock runs."""
    log = SmallLog(limits)
    log.money()
    log.account("a")
    log.instrument("F", lot="10", band=["1", "100"], expiry=START_NS + 100 * NS)
    log.instrument("G", lot="10", band=["1", "100"])
    log.instrument("I", type="index")
    log.clock(0)
    return log


LATE = START_NS + 200 * NS
TRADE_ORDER: list[tuple[dict[str, Any], Code]] = [
    ({"account": "nobody", "name": "none"}, Code.UNKNOWN_ACCOUNT),
    ({"name": "none", "ts_ns": LATE}, Code.UNKNOWN_INSTRUMENT),
    ({"name": "I", "ts_ns": LATE}, Code.NOT_TRADABLE),
    ({"ts_ns": LATE, "quantity": 5}, Code.AHEAD_OF_TIME),
    ({"ts_ns": START_NS + 100 * NS, "quantity": 5, "clock": 99}, Code.EXPIRED),
    ({"quantity": 5, "price": "0.005"}, Code.OFF_LOT),
    ({"quantity": 10, "price": "0.005"}, Code.OFF_TICK),
    ({"quantity": 10, "price": "0.01", "event_id": "used"}, Code.OUT_OF_BAND),
    ({"quantity": 10, "price": "101", "event_id": "used"}, Code.OUT_OF_BAND),
    ({"quantity": 10**9, "event_id": "used", "ts_ns": START_NS - NS}, Code.DUPLICATE),
    ({"quantity": 10**9, "ts_ns": START_NS - NS}, Code.ALREADY_INCLUDED),
    ({"quantity": 10**9, "name": "G"}, Code.FULL_POSITIONS),
    ({"quantity": 10**9}, Code.POSITION_RANGE),
]


def names(cases: list[tuple[dict[str, Any], Code]]) -> list[str]:
    """Test ids."""
    return [f"{i}-{code.reason}" for i, (_, code) in enumerate(cases)]


@pytest.mark.parametrize(("change", "code"), TRADE_ORDER, ids=names(TRADE_ORDER))
def test_trades(change: dict[str, Any], code: Code) -> None:
    log = prepared(positions=1)
    log.trade("a", "F", 10, 50, event_id="used")
    log.start_of_day("a", "F", 10, 50, ts_ns=log.now_ns)
    if "clock" in change:
        log.clock(change["clock"])
    good = {"account": "a", "name": "F", "quantity": 10, "price": 50, "ts_ns": log.now_ns + 1}
    event = good | {name: value for name, value in change.items() if name != "clock"}
    assert codes(log.trade(**event)) == [code]
    if code not in (Code.FULL_POSITIONS, Code.POSITION_RANGE, Code.EXPIRED):
        assert codes(log.trade(**good)) == []


POSITION_ORDER: list[tuple[dict[str, Any], Code]] = [
    ({"account": "nobody"}, Code.UNKNOWN_ACCOUNT),
    ({"name": "none"}, Code.UNKNOWN_INSTRUMENT),
    ({"name": "I", "ts_ns": LATE}, Code.NOT_TRADABLE),
    ({"ts_ns": LATE}, Code.AHEAD_OF_TIME),
    ({"quantity": 5, "price": "0.005"}, Code.OFF_LOT),
    ({"price": "0.005", "event_id": "used"}, Code.OUT_OF_BAND),
    ({"quantity": 10**9, "event_id": "used", "ts_ns": START_NS - NS}, Code.DUPLICATE),
    ({"quantity": 10**9, "ts_ns": START_NS - NS}, Code.AS_OF_CONFLICT),
    ({"quantity": 10**9, "name": "G"}, Code.FULL_POSITIONS),
    ({"quantity": 10**9}, Code.POSITION_RANGE),
]


@pytest.mark.parametrize(
    ("change", "code"), POSITION_ORDER, ids=[f"{i}-{c.reason}" for i, (_, c) in enumerate(POSITION_ORDER)]
)
def test_start_of_day_positions(change: dict[str, Any], code: Code) -> None:
    log = prepared(positions=1)
    assert codes(log.start_of_day("a", "F", 10, "50.005", event_id="used")) == []
    log.trade("a", "F", 10, 50, ts_ns=START_NS + 1)
    event = {"account": "a", "name": "F", "quantity": 10, "price": 50, "ts_ns": START_NS + 2} | change
    assert codes(log.start_of_day(**event)) == [code]


def test_collateral() -> None:
    log = prepared()
    log.document("asset", "S", type="security", currency="USD")
    log.collateral("a", "S", 5, event_id="used")
    assert codes(log.collateral("nobody", "none", 1)) == [Code.UNKNOWN_ACCOUNT]
    assert codes(log.collateral("a", "none", 1, ts_ns=LATE)) == [Code.UNKNOWN_ASSET]
    assert codes(log.collateral("a", "S", "0.001", ts_ns=LATE)) == [Code.AHEAD_OF_TIME]
    assert codes(log.collateral("a", "S", "0.001", event_id="used")) == [Code.OFF_UNIT]
    assert codes(log.collateral("a", "S", -6, event_id="used")) == [Code.DUPLICATE]
    assert codes(log.collateral("a", "S", -6)) == [Code.NEGATIVE_HOLDING]
    assert codes(log.collateral("a", "S", -1, replace=True)) == [Code.NEGATIVE_HOLDING]
    assert codes(log.collateral("a", "USD", -6)) == []
    assert codes(log.collateral("a", "S", -5)) == []


def test_prices_and_settlement() -> None:
    log = prepared()
    log.trade("a", "F", 20, 50)
    assert codes(log.price("none", 5, ts_ns=LATE)) == [Code.UNKNOWN_INSTRUMENT]
    assert codes(log.price("F", 5, ts_ns=LATE)) == [Code.AHEAD_OF_TIME]
    assert codes(log.price("F", 101)) == [Code.OUT_OF_BAND]
    assert log.price("F", 60).applied[Kind.PRICE] == 1
    assert log.price("F", 61, ts_ns=log.now_ns - 1).superseded[Kind.PRICE] == 1
    assert log.price("F", 62).applied[Kind.PRICE] == 1
    log.clock(100)
    assert log.figures("a")["quality"] == "UNPRICED"
    assert codes(log.price("F", 101)) == [Code.EXPIRED]
    assert codes(log.price("F", 60)) == [Code.EXPIRED]
    assert codes(log.trade("a", "F", 10, 50)) == [Code.EXPIRED]
    assert codes(log.record(Kind.PRICE, "", "F", 0, 55, flags=Flag.SETTLEMENT)) == []
    log.clock()
    assert log.figures("a") | {"change": 0} == {
        "status": "OK", "quality": "FRESH", "equity": 20 * 500, "initial": 0, "maintenance": 0, "call": 0,
        "excess_usd": 20 * 500, "change": 0,
    }  # fmt: skip
    assert log.pair.engine.stored()["positions"] == {("a", "F"): (0, 0, 2 * 10 * 500 * 10**6)}
    assert codes(log.record(Kind.PRICE, "", "F", 0, 55, flags=Flag.SETTLEMENT)) == [Code.EXPIRED]


def test_full_comes_before_what_contradicts() -> None:
    log = SmallLog({"instruments": 1, "assets": 1, "rules": 1, "accounts": 1, "calendars": 1})
    log.money()
    log.instrument("F")
    log.rule("r", "flat", initial="2", maintenance="1")
    log.document("calendar", "c", sessions=[["Sun 23:00", "Fri 22:00"]])
    log.account("a")
    assert codes(log.instrument("G", tick="0")) == [Code.FULL_INSTRUMENTS]
    assert codes(log.document("asset", "X", type="currency", currency="USD", haircut="2")) == [Code.FULL_ASSETS]
    assert codes(log.rule("s", "flat", initial="1", maintenance="2")) == [Code.FULL_RULES]
    assert codes(log.document("calendar", "d", sessions=[["x", "y"]])) == [Code.FULL_CALENDARS]
    assert codes(log.account("b")) == [Code.FULL_ACCOUNTS]


def test_ids_are_forgotten_after_two_generations() -> None:
    log = prepared(ids=2)
    for i in range(4):
        assert codes(log.trade("a", "F", 10, 50, event_id=str(i))) == []
    for i in (3, 2, 1, 0):
        assert codes(log.trade("a", "F", 10, 50, event_id=str(i))) == [Code.DUPLICATE]
    assert codes(log.trade("a", "F", 10, 50, event_id="4")) == []
    assert codes(log.trade("a", "F", 10, 50, event_id="0")) == []
    assert log.pair.engine.id_span_ns() >= 0

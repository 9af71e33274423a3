"""Messages of margin.alerts and rejects: exact bytes, a pure function of engine and report."""

import json

import pytest

from engine.codes import EXPLANATION, Code
from engine.events import Kind
from engine.report import Quality, Reject, Report, Status
from monitors.alerts import Alerts, decode_alert, encode_alert, encode_rejects
from tests.monitors.fake_engine import FakeEngine


def messages(shard: int, engine: FakeEngine, report: Report) -> list[bytes]:
    return [encode_alert(alert) for alert in Alerts(shard, engine, report)]


def test_alerts_of_a_step_as_they_are_sent() -> None:
    engine = FakeEngine(3, 5)
    engine.step({1: Status.WATCH})
    report = engine.step({0: Status.CALL, 1: Status.DEBIT, 2: Status.WATCH}, {0: Quality.STALE})
    assert messages(3, engine, report) == [
        b'{"id":"A3-0:1","kind":"status","account":"A3-0","from":"OK","to":"CALL","amount":"1234.56","currency":"USD",'
        b'"pool":"cash","ts_ns":1700000000200000000,"shard":3,"offset":2}',
        b'{"id":"A3-1:2","kind":"status","account":"A3-1","from":"WATCH","to":"DEBIT","amount":"0.00123456",'
        b'"currency":"BTC","pool":"futures","ts_ns":1700000000200000000,"shard":3,"offset":2}',
        b'{"id":"A3-2:1","kind":"status","account":"A3-2","from":"OK","to":"WATCH","amount":"0","currency":"JPY",'
        b'"pool":"cash","ts_ns":1700000000200000000,"shard":3,"offset":2}',
        b'{"id":"A3-0:2","kind":"quality","account":"A3-0","from":"FRESH","to":"STALE","amount":"1234.56","currency":"USD",'
        b'"pool":"cash","ts_ns":1700000000200000000,"shard":3,"offset":2}',
    ]


def test_the_same_log_gives_the_same_bytes() -> None:
    engine = FakeEngine(0, 50)
    again = engine.snapshot()
    for status in (Status.CALL, Status.OK, Status.DEBIT):
        assert messages(0, engine, engine.flip(range(50), status)) == messages(0, again, again.flip(range(50), status))


def test_an_alert_reads_back() -> None:
    engine = FakeEngine(0, 1)
    (data,) = messages(0, engine, engine.step({0: Status.CALL}))
    alert = decode_alert(data)
    assert (alert.before, alert.after, alert.change) == ("OK", "CALL", 1)


@pytest.mark.parametrize("code", [code for code in Code if code and not code.is_form])
def test_engine_rejects_name_the_origin(code: Code) -> None:
    ((key, data),) = encode_rejects([Reject(code, Kind.TRADE, 2, 12_345, 7, 99)])
    assert key == b"trades:2:12345:7"
    assert json.loads(data) == {
        "reason": code.reason,
        "origin": {"topic": "trades", "partition": 2, "offset": 12_345, "index": 7},
        "ts": 99,
        "detail": EXPLANATION[code],
        "raw": None,
        "raw_base64": None,
    }

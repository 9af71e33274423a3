"""The reading side: what the sink wrote, as plain values."""

import asyncio

import pytest

from engine.report import Quality, Status
from monitors.keys import Keys
from monitors.view import open_client, read_account, read_meta, read_summary
from tests.monitors.desk import LOG_ID, flush, running
from tests.monitors.fake_engine import SECOND, FakeEngine

pytestmark = pytest.mark.services


@pytest.fixture
def url(redis_url: str) -> str:
    flush(redis_url)
    return redis_url


def test_nothing_written_yet(url: str) -> None:
    with open_client(url) as client:
        assert read_meta(client, Keys()) is None
        assert read_account(client, Keys(), "A0-0") is None
        summary = read_summary(client, Keys())
    assert set(summary.by_status.values()) == {0}
    assert (summary.worst, summary.alerts) == ([], [])


def test_a_written_shard(url: str) -> None:
    async def work() -> FakeEngine:
        async with running(url) as desk:
            engine = FakeEngine(1, 25)
            desk.attach(engine)
            desk.publish(engine, engine.step({3: Status.CALL}, {4: Quality.STALE}, {3: 10}))
            desk.publish(engine, engine.step({6: Status.DEBIT}, equity={6: -1_000_000}))
            await desk.settle()
            return engine

    engine = asyncio.run(work())
    with open_client(url) as client:
        meta = read_meta(client, Keys())
        assert meta is not None
        assert (meta.version, meta.log_id, meta.shards, meta.started_ns) == (1, LOG_ID, 2, 5_000 * SECOND)
        assert (meta.missing, meta.offsets) == ([0], {1: engine.offset})
        assert meta.age_seconds(engine.clock_ns + 7 * SECOND) == 7.0

        summary = read_summary(client, Keys(), worst=2, alerts=2)
        assert summary.by_status == {"OK": 23, "WATCH": 0, "CALL": 1, "OVERDUE": 0, "RESTRICTED": 0, "DEBIT": 1}
        assert summary.by_quality == {"FRESH": 24, "STALE": 1, "UNPRICED": 0}
        assert [(row["account"], row["excess_usd"], row["status"]) for row in summary.worst] == [
            ("A1-6", "-15000.00", "DEBIT"),
            ("A1-3", "-4999.90", "CALL"),
        ]
        assert [alert["id"] for alert in summary.alerts] == ["A1-6:1", "A1-4:1"]

        account = read_account(client, Keys(), "A1-6")
        assert account is not None
        assert (account["equity"], account["utilization"], account["call"]) == ("-10000.00", "", "1234.56")
        assert read_account(client, Keys(), "A1-99") is None


def test_other_prefix_is_another_world(url: str) -> None:
    async def work() -> None:
        async with running(url, log_id="01") as one, running(url, prefix="other:", log_id="02") as two:
            for desk in (one, two):
                desk.attach(FakeEngine(0, 3))
                await desk.settle()

    asyncio.run(work())
    with open_client(url) as client:
        for keys, log_id in ((Keys(), "01"), (Keys("other:"), "02")):
            meta = read_meta(client, keys)
            assert meta is not None
            assert meta.log_id == log_id

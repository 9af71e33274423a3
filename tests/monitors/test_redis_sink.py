"""The Redis sink on a real server: figures, alerts, redelivery, pacing, latency, whose data it is."""

import asyncio
import logging

import numpy as np
import pytest
from redis import Redis

from engine.report import CallEvent, CallState, Quality, Status
from monitors.alerts import Alerts
from monitors.keys import AGREEMENT_FIELDS, CALL_WRITES_FIELD, META_FIELDS, WRITES_FIELD, Keys
from monitors.lanes import BURST
from monitors.redis_link import ForeignLog
from monitors.view import open_client, read_agreements
from tests.monitors.desk import LOG_ID, Topic, flush, running, until
from tests.monitors.fake_engine import FakeEngine
from tests.monitors.test_outlook import outlook

pytestmark = pytest.mark.services
SEVERAL = 257  # accounts: more than two batches


@pytest.fixture
def url(redis_url: str) -> str:
    flush(redis_url)
    return redis_url


def dump(client: Redis) -> dict[str, object]:
    """Everything in the database by key, stream entry ids included, but when figures and calls were written."""
    counters, numbered = (WRITES_FIELD, CALL_WRITES_FIELD), (Keys().changed, Keys().changed_calls)
    readers = {
        "string": client.get,
        "hash": lambda key: {field: text for field, text in client.hgetall(key).items() if field not in counters},
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": client.xrange,
    }
    return {key: readers[client.type(key)](key) for key in client.keys("*") if key not in numbered}


def test_everything_is_written_at_first_and_kept_current(url: str) -> None:
    async def work() -> None:
        async with running(url) as desk:
            engines = [FakeEngine(shard, SEVERAL) for shard in (0, 1)]
            for engine in engines:
                desk.attach(engine)
            await desk.settle()
            desk.check()
            for engine in engines:
                desk.publish(engine, engine.step(equity={3: -5, 4: 0, 5: 10**18, 6: -(10**17)}))
                desk.publish(engine, engine.step({3: Status.DEBIT, 4: Status.CALL}, {5: Quality.STALE}))
                desk.publish(engine, engine.step({3: Status.OK}, {3: Quality.UNPRICED}))
                engine.define(120)
                desk.publish(engine, engine.step({SEVERAL + 1: Status.WATCH}))
            await desk.settle()
            desk.check()

    asyncio.run(work())
    with open_client(url) as client:
        meta = client.hgetall(Keys().meta)
        assert client.zscore(Keys().by_utilization, "A0-4") == float("inf")
        assert client.hget(Keys().account("A0-5"), "equity") == "1000000000000000000"
    assert {name: meta[name] for name in META_FIELDS if name != "epoch"} == {
        "version": "1",
        "log_id": LOG_ID,
        "shards": "2",
        "started": str(5_000 * 10**9),
    }


def test_agreements_are_written_when_they_change_and_again_after_a_wipe(url: str) -> None:
    names = [f"ag-{i}" for i in range(SEVERAL)]
    expected = {
        "state": "in force", "reasons": "[]", "rule": "XM", "customer": "C0", "saving": "0.250000000", "basis": "AGREED",
        "futures_account": "F", "futures_currency": "USD", "futures_alone": "1.50", "futures_after": "0.30",
        "treasury_account": "T", "treasury_currency": "JPY", "treasury_alone": "", "treasury_after": "", "shard": "0",
    }  # fmt: skip

    def held(client: Redis, name: str) -> tuple[int, dict[str, str]]:
        """Its log offset, and what does not say when."""
        row = client.hgetall(Keys().agreement(name))
        assert set(row) == set(AGREEMENT_FIELDS)
        assert int(row.pop("ts_ns")) > 0
        return int(row.pop("offset")), row

    async def work() -> None:
        async with running(url) as desk:
            engine = FakeEngine(0, 3)
            for name in names:
                engine.agree(name, 25 * 10**7)
            desk.attach(engine)
            await desk.settle()
            with open_client(url) as client:
                assert {held(client, name)[0] for name in names} == {1}
                assert [row["agreement"] for row in read_agreements(client, Keys())] == sorted(names)
                assert held(client, names[-1])[1] == expected
            desk.publish(engine, engine.step())
            engine.agree(names[0], 25 * 10**7)
            engine.agree(names[1], 0, ("not signed", 'not "designated"'))
            desk.publish(engine, engine.step())
            await desk.settle()
            with open_client(url) as client:
                assert held(client, names[0]) == (1, expected)  # it stands as it stood
                offset, row = held(client, names[1])
                assert (offset, row["state"], row["reasons"]) == (3, "not in force", '["not signed","not \\"designated\\""]')
            flush(url)
            desk.publish(engine, engine.step())
            await until(lambda: desk.sink.resynchronizations == 2)
            await desk.settle()
            with open_client(url) as client:
                assert held(client, names[0]) == (1, expected)
                assert held(client, names[1]) == (offset, row)
                client.hset(Keys().agreement(names[2]), mapping={"offset": 10**6, "saving": "0"})
            engine.agree(names[2], 10**7)
            desk.publish(engine, engine.step())
            await desk.settle()
            with open_client(url) as client:  # of a later worker
                assert client.hmget(Keys().agreement(names[2]), "offset", "saving") == ["1000000", "0"]

    asyncio.run(work())


def test_books_and_agreements_are_written_when_they_change(url: str) -> None:
    async def work() -> None:
        async with running(url) as desk:
            engine = FakeEngine(0, SEVERAL)
            engine.signed.append(("C0", "ag", b'{"signed":false}'))
            desk.attach(engine)
            await desk.settle()
            desk.check()
            with open_client(url) as client:
                client.set(desk.keys.book("A0-5"), "as it was")
                desk.publish(engine, engine.step(equity={5: 12, 6: 13}))
                await desk.settle()
                assert client.get(desk.keys.book("A0-5")) == "as it was"  # figures changed, the book did not
                engine.rows["maintenance"][5] += 1
                engine.signed.append(("C0", "ag", b'{"signed":true}'))
                desk.publish(engine, engine.step(equity={5: 14}))
                await desk.settle()
                desk.check()

    asyncio.run(work())


def test_two_changes_of_an_account_in_one_frame_are_two_alerts(url: str) -> None:
    async def work() -> None:
        async with running(url) as desk:
            engine = FakeEngine(0, 3)
            desk.attach(engine)
            for status in (Status.CALL, Status.OK, Status.DEBIT, Status.OK):
                desk.publish(engine, engine.step({1: status}, {1: Quality(engine.offset % 3)}))
            await desk.settle()
            desk.check()

    asyncio.run(work())


def test_doing_it_twice_changes_nothing(url: str) -> None:
    async def first(topic: Topic) -> FakeEngine:
        async with running(url, topic) as desk:
            engine = FakeEngine(0, SEVERAL)
            desk.attach(engine)
            snapshot = engine.snapshot()
            advance(engine, desk.publish)
            await desk.settle()
            desk.check()
        return snapshot

    def advance(engine: FakeEngine, publish) -> None:  # type: ignore[no-untyped-def]
        publish(engine, engine.flip(range(0, 200), Status.CALL))
        publish(engine, engine.step(equity={250: 7}))
        publish(engine, engine.flip(range(100, 150), Status.OK))

    async def again(topic: Topic, engine: FakeEngine) -> None:
        async with running(url, topic) as desk:
            desk.attach(engine)
            await asyncio.sleep(0)
            advance(engine, desk.publish)
            await desk.settle()
            desk.check()
            assert desk.latencies == []

    topic = Topic()
    snapshot = asyncio.run(first(topic))
    with open_client(url) as client:
        before = dump(client)
        asyncio.run(again(topic, snapshot))
        assert dump(client) == before


def test_a_worker_that_is_behind_overwrites_nothing(url: str) -> None:
    async def work() -> None:
        topic = Topic()
        async with running(url, topic) as desk, running(url, topic) as behind:
            engine = FakeEngine(0, SEVERAL)
            desk.attach(engine)
            old = engine.snapshot()
            desk.publish(engine, engine.flip(range(0, 50), Status.CALL))
            desk.publish(engine, engine.step(equity=dict.fromkeys(range(SEVERAL), 777)))
            await desk.settle()
            behind.attach(old)
            await behind.settle()
            desk.check()
            behind.publish(old, old.flip(range(0, 50), Status.CALL))
            await behind.settle()
            desk.check()

    asyncio.run(work())


def test_status_changes_come_before_figures(url: str) -> None:
    async def work() -> None:
        async with running(url, figures_per_second=2.0, figures_per_flush=100) as desk:
            engine = FakeEngine(0, 2_000)
            desk.attach(engine)
            await desk.settle()
            desk.publish(engine, engine.step(touched=np.arange(2_000)))
            await until(lambda: desk.sink.backlog().accounts > 1_500)
            desk.publish(engine, engine.step({1_999: Status.CALL}))
            with open_client(url) as client:
                await until(lambda: client.xlen(desk.keys.alerts) == 1, 0.4)
                assert client.hget(desk.keys.account("A0-1999"), "status") == "CALL"
                assert client.smembers(desk.keys.status(Status.CALL)) == {"A0-1999"}
            assert desk.sink.backlog().accounts > 1_000
            assert desk.sink.backlog().alerts == 0
            await desk.settle()
            assert desk.sink.backlog().accounts == 0
            desk.check()

    asyncio.run(work())


def test_figures_flow_without_changes_or_drain(url: str) -> None:
    async def work() -> None:
        async with running(url) as desk:
            engine = FakeEngine(1, 500)
            desk.attach(engine)
            with open_client(url) as client:
                await until(lambda: client.zcard(desk.keys.by_excess) == 500)
                desk.publish(engine, engine.step(equity={6: 42}))
                await until(lambda: client.hget(desk.keys.account("A1-6"), "equity") == "0.42")
                desk.publish(engine, engine.step())
                await until(lambda: client.hget(desk.keys.meta, "shard:1:offset") == str(engine.offset))

    asyncio.run(work())


def test_latency_is_from_the_oldest_event_to_the_acknowledged_flags(url: str) -> None:
    async def work() -> None:
        async with running(url) as desk:
            engine = FakeEngine(0, SEVERAL)
            desk.attach(engine)
            await desk.settle()
            desk.publish(engine, engine.flip(range(0, 250), Status.CALL, oldest_ns=4_990 * 10**9))
            desk.publish(engine, engine.step(equity={0: 1}, oldest_ns=4_991 * 10**9))
            desk.publish(engine, engine.flip(range(0, 1), Status.OK))
            desk.publish(engine, engine.flip(range(0, 1), Status.WATCH, oldest_ns=4_999 * 10**9))
            await desk.settle()
            assert desk.latencies == [10.0, 1.0]

    asyncio.run(work())


def test_a_shard_let_go_is_left_alone(url: str) -> None:
    async def work() -> None:
        topic = Topic()
        async with running(url, topic) as one, running(url, topic) as two:
            left, right = FakeEngine(0, 30), FakeEngine(1, 30)
            one.attach(left)
            one.attach(right)
            await one.settle()
            one.sink.detach(1)
            with pytest.raises(KeyError):
                one.publish(right, right.step())
            two.attach(right.snapshot())
            moved = two.engines[1]
            two.publish(moved, moved.flip(range(10), Status.CALL))
            one.publish(left, left.flip(range(10), Status.DEBIT))
            await one.settle()
            await two.settle()
            one.engines[1] = moved
            one.check()

    asyncio.run(work())


def test_another_logs_data_is_refused(url: str) -> None:
    async def work() -> None:
        async with running(url):
            pass
        with pytest.raises(
            ForeignLog, match=rf"cm:1:meta belongs to log {LOG_ID} .* this is log 77 .*delete the keys cm:1:\*"
        ):
            async with running(url, log_id="77"):
                pass
        with pytest.raises(ForeignLog, match="2 shards"):
            async with running(url, shards=4):
                pass

    asyncio.run(work())


def test_another_logs_data_stops_a_running_sink(url: str) -> None:
    async def work() -> None:
        async with running(url) as desk:
            engine = FakeEngine(0, 5)
            desk.attach(engine)
            await desk.settle()
            flush(url)
            async with running(url, log_id="77"):
                desk.publish(engine, engine.flip(range(5), Status.CALL))
                with pytest.raises(ForeignLog, match="belongs to log 77"):
                    await desk.sink.drain(20)
            with pytest.raises(ForeignLog):
                desk.publish(engine, engine.step())
            with open_client(url) as client:
                assert client.keys("*") == [desk.keys.meta]

    asyncio.run(work())


def test_a_server_that_drops_keys_is_named(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with running(url):
            pass

    with open_client(url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with caplog.at_level(logging.WARNING, "crossmargin.redis"):
                asyncio.run(work())
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert "maxmemory-policy allkeys-lru drops accounts" in caplog.text
    caplog.clear()
    asyncio.run(work())
    assert caplog.text == ""


def test_an_engine_that_is_not_attached_is_refused(url: str) -> None:
    async def work() -> None:
        async with running(url) as desk:
            engine = FakeEngine(0, 5)
            desk.attach(engine)
            with pytest.raises(ValueError, match="another engine"):
                desk.sink.publish(0, engine.snapshot(), engine.step(), [])

    asyncio.run(work())


def test_figures_wait_for_alerts_not_yet_published(url: str) -> None:
    """An engine stepped and not yet published must not have its change numbers written: its alerts would look written."""

    async def work() -> None:
        async with running(url) as desk:
            engine = FakeEngine(0, 5)
            desk.attach(engine)
            report = engine.flip(range(5), Status.CALL)
            assert not await desk.sink.drain(0.2)
            alerts = Alerts(0, engine, report)
            desk.topic.append(0, alerts)
            desk.sink.publish(0, engine, report, alerts)
            await desk.settle()
            desk.check()

    asyncio.run(work())


def test_a_burst_shows_status_first_and_lets_others_pass(url: str) -> None:
    count = 8 * BURST

    async def work() -> None:
        async with running(url) as desk:
            engines = [FakeEngine(shard, count) for shard in (0, 1)]
            for engine in engines:
                desk.attach(engine)
            await desk.settle()
            for engine in engines:
                desk.publish(engine, engine.step(dict.fromkeys(range(count - 1), Status.DEBIT), equity={0: -1}))
            with open_client(url) as client:
                await until(lambda: client.scard(desk.keys.status(Status.DEBIT)) == 2 * (count - 1))
                assert client.xlen(desk.keys.alerts) < count, "who fell is shown before all of what happened"
                await until(lambda: client.xlen(desk.keys.alerts) > 2 * BURST)
                desk.publish(engines[0], engines[0].step({count - 1: Status.CALL, count - 2: Status.CALL}))
                last = desk.keys.account(f"A0-{count - 2}")
                await until(lambda: client.hget(last, "status") == "CALL")
                waiting = 2 * count - client.xlen(desk.keys.alerts)
                assert waiting > BURST, "it passed what is left of the burst"
                await until(lambda: client.scard(desk.keys.status(Status.DEBIT)) == 2 * (count - 1) - 1)
            await desk.settle()
            desk.check()

    asyncio.run(work())


def test_no_alert_of_a_new_account_is_lost_beside_a_look_ahead(url: str) -> None:
    """Its definition says up to which change all alerts are written: not those that came while the ladder was written."""

    async def work() -> None:
        async with running(url, figures_per_second=1e6) as desk:
            engine = FakeEngine(0, 1)
            desk.attach(engine)
            await desk.settle()
            for turns in range(40):  # of the loop, until the sink is in the midst of it
                desk.look_ahead(engine, outlook(0, 1 + 40))
                for _ in range(turns // 4):
                    await asyncio.sleep(0)
                slot = engine.account_count
                engine.define(1)
                desk.publish(engine, engine.call(slot, CallEvent.ISSUED, CallState.ISSUED))
                await desk.settle()
            desk.check()

    asyncio.run(work())


def test_an_account_that_is_new_in_a_burst_has_no_status_without_figures(url: str) -> None:
    seen = set[tuple[bool, bool]]()

    async def work() -> None:
        async with running(url) as desk:
            engine = FakeEngine(0, 1)
            desk.attach(engine)
            await desk.settle()
            engine.define(4 * BURST)
            desk.publish(engine, engine.flip(range(1, 4 * BURST + 1), Status.CALL))
            with open_client(url) as client:
                while desk.sink.backlog().alerts:
                    for slot in (1, 4 * BURST):
                        status, equity = client.hmget(desk.keys.account(f"A0-{slot}"), "status", "equity")
                        seen.add((status is None, equity is None))
                    await asyncio.sleep(0)
            await desk.settle()
            desk.check()

    asyncio.run(work())
    assert seen <= {(True, True), (False, False)}
    assert seen

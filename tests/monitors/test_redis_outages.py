"""The Redis sink when its server goes away, forgets, or cannot keep up: everything is there again, each alert once."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from engine.report import CallEvent, CallState, Report, Said, Status
from monitors import redis_link, redis_sink
from monitors.alerts import Alerts
from monitors.keys import CALL_KEEP_SECONDS
from monitors.view import open_client
from streams.embedded import LOOPBACK, RedisServer, embedded_redis, free_port
from tests import services
from tests.monitors.desk import Desk, Topic, flush, running, until
from tests.monitors.fake_engine import SECOND, FakeEngine
from tests.monitors.test_outlook import outlook

pytestmark = pytest.mark.services


def fill(desk: Desk) -> list[FakeEngine]:
    """Two shards with some history."""
    engines = [FakeEngine(shard, 230) for shard in (0, 1)]
    for engine in engines:
        desk.attach(engine)
        for status in (Status.WATCH, Status.CALL, Status.OK):
            desk.publish(engine, engine.flip(range(0, 120), status))
    return engines


@pytest.mark.parametrize("keep_data", [True, False], ids=["restarted", "restarted empty"])
def test_server_killed_and_started_again(keep_data: bool) -> None:
    async def work(server: RedisServer) -> None:
        async with running(server.url) as desk:
            engines = fill(desk)
            await desk.settle()
            for _ in range(2):
                server.kill()
                for engine in engines:
                    desk.publish(engine, engine.flip(range(60, 180), Status.DEBIT))
                    desk.publish(engine, engine.step(equity={engine.offset: 5}))
                await until(lambda: not desk.sink.connected)
                for engine in engines:
                    desk.publish(engine, engine.flip(range(100, 200), Status.OK))
                assert desk.sink.backlog().accounts == 460
                server.start()
                await desk.settle()
                desk.check()
            assert desk.sink.resynchronizations == 6

    services.require_redis()
    with embedded_redis(keep_data=keep_data) as server:
        asyncio.run(work(server))


@pytest.mark.parametrize("seconds", [0.25, 1.2], ids=["once", "while it connects, too"])
def test_server_that_hangs(seconds: float, monkeypatch: pytest.MonkeyPatch, valkey: RedisServer) -> None:
    monkeypatch.setattr(redis_link, "TIMEOUT_SECONDS", 0.2)

    async def work() -> None:
        async with running(valkey.url) as desk:
            engines = fill(desk)
            await desk.settle()
            desk.look_ahead(engines[0], outlook(0, 230))
            assert valkey.pid is not None
            os.kill(valkey.pid, signal.SIGSTOP)
            try:
                for engine in engines:
                    desk.publish(engine, engine.flip(range(60, 180), Status.DEBIT))
                await asyncio.sleep(seconds)
                assert not desk.sink.connected
            finally:
                os.kill(valkey.pid, signal.SIGCONT)
            for engine in engines:
                desk.publish(engine, engine.flip(range(100, 200), Status.OK))
            await desk.settle()
            desk.check()

    asyncio.run(work())


def test_wiped_while_connected(redis_url: str) -> None:
    async def work() -> None:
        async with running(redis_url) as desk:
            engines = fill(desk)
            await desk.settle()
            for engine in engines:
                flush(redis_url)
                desk.publish(engine, engine.flip(range(0, 10), Status.CALL))
                await desk.settle()
                desk.check()
            flush(redis_url)
            desk.publish(engines[0], engines[0].step())
            await desk.settle()
            desk.check()

    flush(redis_url)
    asyncio.run(work())


def test_margin_calls_and_what_is_said_of_them_survive_an_outage(redis_url: str) -> None:
    async def work() -> None:
        async with running(redis_url) as desk:
            engines = fill(desk)
            for engine in engines:
                for slot in range(4):
                    desk.publish(engine, engine.call(slot, CallEvent.ISSUED, CallState.ISSUED))
                ann, bob = Said("ann", "ack", "seen", 5), Said("bob", "note", '"soon"\u00fc', 10**18 + 1)
                desk.publish(engine, engine.call(0, CallEvent.ACKNOWLEDGED, CallState.ISSUED, said=ann))
                desk.publish(engine, engine.call(0, CallEvent.NOTED, CallState.ISSUED, said=bob))
                desk.publish(engine, engine.call(1, CallEvent.RECEIVED, CallState.PART_MET, 100))
                desk.publish(engine, engine.call(2, CallEvent.MET, CallState.MET, 50_000))
            await desk.settle()
            desk.check()
            with open_client(redis_url) as client:
                over = desk.keys.call_prefix + engines[0].account_info(2).call_id(1)
                assert client.hget(over, "state") == "MET"
                assert 0 < client.ttl(over) <= CALL_KEEP_SECONDS
            flush(redis_url)
            desk.publish(engines[0], engines[0].call(1, CallEvent.COVERED, CallState.COVERED))
            await desk.settle()
            desk.check()
            del engines[1].calls[3]  # it ended while nobody wrote, and its alert is lost
            with open_client(redis_url) as client:
                client.client_kill_filter(_type="normal", skipme=True)
            desk.publish(engines[1], engines[1].step())
            await until(lambda: desk.sink.resynchronizations > 4)
            await desk.settle()
            desk.check()
            with open_client(redis_url) as client:
                missed = client.hgetall(desk.keys.call_prefix + engines[1].account_info(3).call_id(1))
                assert (missed["state"], missed["ts_ns"]) == ("OVER", str(engines[1].clock_ns))

    flush(redis_url)
    asyncio.run(work())


def test_a_worker_that_catches_up_leaves_calls_as_they_are(redis_url: str) -> None:
    """It has an older snapshot: what happened since to calls is in Redis, and its alerts of that are not written again."""

    async def work() -> None:
        topic = Topic()
        async with running(redis_url, topic) as desk, running(redis_url, topic) as behind:
            engine = FakeEngine(0, 4)
            desk.attach(engine)
            for slot in (0, 1):
                desk.publish(engine, engine.call(slot, CallEvent.ISSUED, CallState.ISSUED))
            old = engine.snapshot()

            def go_on(engine: FakeEngine, publish: Callable[[FakeEngine, Report], None]) -> None:
                publish(engine, engine.call(0, CallEvent.MET, CallState.MET, 50_000))
                publish(engine, engine.call(1, CallEvent.RECEIVED, CallState.PART_MET, 100))
                publish(engine, engine.call(2, CallEvent.ISSUED, CallState.ISSUED))

            go_on(engine, desk.publish)
            await desk.settle()
            desk.check()
            behind.attach(old)
            await behind.settle()
            desk.check()
            go_on(old, lambda engine, report: behind.publish(engine, report))
            await behind.settle()
            behind.check()

    flush(redis_url)
    asyncio.run(work())


def test_lives_and_lists_of_calls_are_bounded(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with running(redis_url) as desk:
            engine = FakeEngine(0, 3)
            desk.attach(engine)
            for slot in (0, 1):
                desk.publish(engine, engine.call(slot, CallEvent.ISSUED, CallState.ISSUED))
            raised = [engine.call(0, CallEvent.RAISED, CallState.ISSUED) for _ in range(20)]
            for report in raised:
                desk.publish(engine, report)
            desk.publish(engine, engine.call(1, CallEvent.COVERED, CallState.COVERED))
            await desk.settle()
            with open_client(redis_url) as client:
                first, second = (desk.keys.call(engine.account_info(slot).call_id(1)) for slot in (0, 1))
                life = client.hget(first, "life").split("\n")
                times_ns = [str(one.changes["ts_ns"][0]) for one in raised]
                assert [line.split()[:2] for line in life] == [["raised", ts_ns] for ts_ns in times_ns[-len(life) :]]
                assert 150 < len("\n".join(life)) <= 200
                assert client.zrange(desk.keys.closed_calls, 0, -1) == [engine.account_info(1).call_id(1)]
                engine.clock_ns += 61 * SECOND
                desk.publish(engine, engine.call(0, CallEvent.MET, CallState.MET, 50_000))
                await desk.settle()
                assert client.zrange(desk.keys.closed_calls, 0, -1) == [engine.account_info(0).call_id(1)]
                assert client.zrange(desk.keys.changed_calls, 0, -1) == [engine.account_info(0).call_id(1)]
                assert 0 < client.ttl(second) <= 60

    monkeypatch.setattr(redis_link, "LIFE_BYTES", 200)
    monkeypatch.setattr(redis_link, "CALL_KEEP_SECONDS", 60)
    flush(redis_url)
    asyncio.run(work())


def test_wiped_in_the_middle_of_a_burst(redis_url: str) -> None:
    async def work() -> None:
        async with running(redis_url) as desk:
            engine = FakeEngine(0, 3_000)
            desk.attach(engine)
            await desk.settle()
            desk.publish(engine, engine.flip(range(3_000), Status.CALL))
            with open_client(redis_url) as client:
                await until(lambda: client.xlen(desk.keys.alerts) > 300)
                client.flushdb()
            desk.publish(engine, engine.flip(range(1_000), Status.OK))
            await desk.settle()
            desk.check()

    flush(redis_url)
    asyncio.run(work())


def test_readers_are_told_how_new_a_shard_is_only_once_all_of_it_is_there(redis_url: str) -> None:
    seen = list[tuple[str | None, int]]()

    async def work() -> None:
        async with running(redis_url) as desk:
            engine = FakeEngine(0, 3_000)
            desk.attach(engine)
            await desk.settle()
            flush(redis_url)
            desk.publish(engine, engine.flip(range(300), Status.CALL))
            with open_client(redis_url) as client:

                def is_told() -> bool:
                    pipe = client.pipeline(transaction=True)
                    pipe.hget(desk.keys.meta, "shard:0:ts_ns")
                    pipe.zcard(desk.keys.by_excess)
                    seen.append(tuple(pipe.execute()))
                    return seen[-1][0] is not None

                await until(is_told)
            await desk.settle()
            desk.check()

    flush(redis_url)
    asyncio.run(work())
    assert any(0 < count < 3_000 for _, count in seen)
    assert all(count == 3_000 for told, count in seen if told is not None)


def test_the_window_is_the_newest_of_all_shards_by_time(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with running(redis_url) as desk:
            engines = [FakeEngine(shard, 40) for shard in (0, 1)]
            for engine in engines:
                desk.attach(engine)
            for status in (Status.CALL, Status.OK, Status.WATCH):
                for engine in engines:
                    desk.publish(engine, engine.flip(range(40), status))
            await desk.settle()
            flush(redis_url)
            desk.publish(engines[0], engines[0].step())
            await desk.settle()
        with open_client(redis_url) as client:
            entries = [fields for _, fields in client.xrange(desk.keys.alerts)]
        times = [int(fields["ts_ns"]) for fields in entries]
        assert times == sorted(times)
        assert sorted(fields["account"] for fields in entries) == sorted(
            account for engine in engines for account in engine.account_ids for _ in range(2)
        )
        assert {fields["to"] for fields in entries} == {"OK", "WATCH"}

    monkeypatch.setattr(redis_sink, "ALERTS_WINDOW", 2 * 80)
    flush(redis_url)
    asyncio.run(work())


def test_repeats_in_the_topic_are_written_once(redis_url: str) -> None:
    async def work() -> None:
        topic = Topic()
        async with running(redis_url, topic) as desk:
            fill(desk)
            await desk.settle()
            topic.messages[0] = topic.messages[0] + topic.messages[0][100:]
            flush(redis_url)
            desk.attach(desk.engines[0].snapshot())
            await desk.settle()
            desk.check()

    flush(redis_url)
    asyncio.run(work())


def test_too_many_alerts_come_from_the_topic(redis_url: str) -> None:
    async def work() -> None:
        async with running(redis_url, max_alerts=50) as desk:
            engine = FakeEngine(0, 200)
            desk.attach(engine)
            desk.publish(engine, engine.flip(range(200), Status.CALL))
            assert desk.sink.backlog().alerts == 0
            desk.publish(engine, engine.flip(range(30), Status.OK))
            assert desk.sink.backlog().alerts == 30
            await desk.settle()
            desk.check()

    flush(redis_url)
    asyncio.run(work())


def test_dropped_alerts_are_waited_for(redis_url: str) -> None:
    """What was dropped may not have reached the topic yet."""

    async def work() -> None:
        async with running(redis_url, max_alerts=50) as desk:
            engine = FakeEngine(0, 200)
            desk.attach(engine)
            await desk.settle()
            late = Topic()
            report = engine.flip(range(200), Status.CALL)
            alerts = Alerts(0, engine, report)
            late.append(0, alerts)
            desk.sink.publish(0, engine, report, alerts)
            for arrived in (0, 150):  # of one step, in slices
                desk.topic.messages = {0: late.messages[0][:arrived]}
                reads = desk.topic.reads
                await until(lambda reads=reads: desk.topic.reads > reads + 1)
                with open_client(redis_url) as client:
                    assert client.xlen(desk.keys.alerts) == 0
            desk.topic.messages = late.messages
            await desk.settle()
            desk.check()

    flush(redis_url)
    asyncio.run(work())


def test_flags_go_on_without_the_topic(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        topic = Topic()
        topic.failing = True
        async with running(redis_url, topic) as desk:
            engine = FakeEngine(0, 20)
            desk.attach(engine)
            desk.publish(engine, engine.flip(range(20), Status.CALL))
            await desk.settle()
            desk.check()
        assert topic.reads == 3

    monkeypatch.setattr(redis_sink, "READ_TRIES", 3)
    flush(redis_url)
    asyncio.run(work())
    assert "alerts of shard 0 were not read back: no broker" in caplog.text


def test_no_server_at_the_start() -> None:
    async def work(server: RedisServer) -> None:
        server.kill()
        async with running(server.url) as desk:
            assert not desk.sink.connected
            engine = FakeEngine(0, 150)
            desk.attach(engine)
            desk.publish(engine, engine.flip(range(110), Status.CALL))
            assert not await desk.sink.drain(0.1)
            server.start()
            await desk.settle()
            assert desk.sink.connected
            desk.check()

    services.require_redis()
    with embedded_redis() as server:
        asyncio.run(work(server))


def test_an_unreachable_server_is_named_without_its_password(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()

    async def work() -> None:
        async with running(f"redis://:secret@{LOOPBACK}:{port}/3"):
            pass

    asyncio.run(work())
    assert f"Redis at {LOOPBACK}:{port}/3" in caplog.text
    assert "secret" not in caplog.text


def test_a_full_server_is_tried_again(redis_url: str) -> None:
    async def work() -> None:
        async with running(redis_url) as desk:
            engine = FakeEngine(0, 50)
            desk.attach(engine)
            await desk.settle()
            with open_client(redis_url) as client:
                client.config_set("maxmemory", 1)
                try:
                    desk.publish(engine, engine.flip(range(50), Status.CALL))
                    await until(lambda: not desk.sink.connected)
                finally:
                    client.config_set("maxmemory", 0)
            await desk.settle()
            desk.check()

    flush(redis_url)
    asyncio.run(work())


def test_closing_in_the_middle_of_writing(redis_url: str) -> None:
    async def work() -> None:
        engine = FakeEngine(0, 2_000)
        for turn in range(20):
            async with asyncio.timeout(10), running(redis_url, figures_per_flush=10**9) as desk:
                desk.attach(engine.snapshot())
                await asyncio.sleep(0.002 * turn)

    flush(redis_url)
    asyncio.run(work())


def test_a_user_who_may_not_read_the_configuration(valkey: RedisServer) -> None:
    async def work() -> None:
        async with running(valkey.url.replace("//", "//monitor:pass@")) as desk:
            desk.attach(FakeEngine(0, 5))
            await desk.settle()

    with open_client(valkey.url) as client:
        client.execute_command("ACL", "SETUSER", "monitor", "on", ">pass", "~*", "+@all", "-config")
    asyncio.run(work())

"""The worker as a process: it starts on what fits, shows how it is, ends in good order, and stops loudly on a bad log."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition

from engine.core import MarginEngine
from engine.frames import decode_frame
from streams import kafka
from streams.embedded import LOOPBACK, RedisServer, free_port
from streams.processes import Child, ready
from streams.rebuild import rebuild
from streams.settings import Settings, UserError, environment
from streams.snapshots import Snapshot, SnapshotStore
from streams.topics import ALERTS, LOG
from tests.integration import chain
from tests.services import wait_until

pytestmark = pytest.mark.services
START_SECONDS = 90.0  # kernels may have to be compiled


@pytest.fixture
def settings(fresh_kafka: str, valkey: RedisServer, tmp_path: Path) -> Settings:
    return Settings(
        kafka=fresh_kafka,
        redis_url=valkey.url,
        shards=2,
        input_partitions=2,
        snapshots=str(tmp_path / "snapshots"),
        snapshot_seconds=0.5,
        watchdog_seconds=5,
        metrics_port=free_port(),
        sequencer_metrics_port=free_port(),
    )


def run_worker(settings: Settings, seconds: float = START_SECONDS) -> tuple[int, str]:
    """Run a worker that is expected to end by itself: its exit status and its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "streams", "worker"],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.strip().splitlines()[-1]


def get(settings: Settings, path: str) -> tuple[int, str]:
    """Status and body of a GET on the worker's port."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{settings.metrics_port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def log_ends(settings: Settings) -> list[int]:
    return [stop for _, stop in kafka.log_range(settings, LOG).values()]


def snapshots(settings: Settings) -> list[MarginEngine]:
    """The engines of the newest snapshots."""
    genesis = kafka.read_genesis(settings)
    assert genesis is not None
    store = SnapshotStore(settings.snapshots)
    kept = [store.load(shard, genesis.log_id) for shard in range(settings.shards)]
    return [MarginEngine.from_bytes(snapshot.body) for snapshot in kept if snapshot is not None]


@dataclass
class Running:
    """A sequencer that was ended after some events, and a worker that is at the log's end."""

    settings: Settings
    desk: chain.Desk
    worker: Child
    start: Callable[[], Child]

    def await_end(self) -> None:
        ends = log_ends(self.settings)
        wait_until(lambda: chain.redis_offsets(self.settings) == ends, START_SECONDS, "the log's end in Redis")

    def restart(self) -> None:
        """End the worker in good order and start another."""
        assert self.worker.stop() == 0
        self.worker = self.start()


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[Running]:
    with ExitStack() as stack:
        sequencer = stack.enter_context(Child("sequencer", settings, tmp_path))

        def start() -> Child:
            return stack.enter_context(Child("worker", settings, tmp_path))

        worker = start()
        wait_until(lambda: not ready(LOOPBACK, settings.sequencer_metrics_port), 60, "the sequencer")
        desk = chain.Desk(settings, seed=7)
        desk.define()
        wait_until(lambda: not ready(LOOPBACK, settings.metrics_port), START_SECONDS, "the worker")
        for _ in range(40):
            desk.events(50)
            desk.flush()
        wait_until(lambda: chain.inputs_are_read(settings), 30, "the end of the inputs")
        assert sequencer.stop() == 0
        running = Running(settings, desk, worker, start)
        running.await_end()
        yield running


def test_it_shows_how_it_is_and_ends_in_good_order(running: Running) -> None:
    settings = running.settings
    assert get(settings, "/healthz") == (200, "ok\n")
    assert get(settings, "/readyz") == (200, "ready\n")
    assert get(settings, "/")[0] == 404
    status, text = get(settings, "/metrics")
    assert status == 200
    shown = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    replayed = chain.replay(settings)
    for kind in ("trade", "price", "collateral", "reference", "position"):
        counted = replayed.applied[next(k for k in replayed.applied if k.name.lower() == kind)]
        assert float(shown[f'crossmargin_events_total{{kind="{kind}"}}']) == counted
    assert float(shown['crossmargin_rejects_total{reason="duplicate"}']) == running.desk.expected.rejects["duplicate"]
    assert shown['crossmargin_sink_connected{sink="redis"}'] == "1.0"
    assert float(shown['crossmargin_snapshot_age_seconds{shard="1"}']) < 60
    wait_until(lambda: 'log_lag_records{shard="0"} 0.0' in get(settings, "/metrics")[1], 10, "no lag")

    assert running.worker.stop() == 0
    assert [e.shard_digest() for e in snapshots(settings)] == [e.shard_digest() for e in replayed.engines]
    chain.check_inputs_applied_once(replayed, running.desk.expected)
    chain.check_verdicts(settings, replayed, running.desk.expected)
    assert chain.check_alerts(settings, replayed) == 0
    chain.check_redis(settings, replayed)


def test_it_goes_on_from_its_snapshot(running: Running) -> None:
    running.restart()
    wait_until(lambda: not ready(LOOPBACK, running.settings.metrics_port), START_SECONDS, "the worker")
    wait_until(lambda: "recovered in" in running.worker.log.read_text().rpartition("joining")[2], 20, "recovery")
    shown = get(running.settings, "/metrics")[1]
    assert 'crossmargin_events_total{kind="trade"} 0.0' in shown, "frames below the snapshot are skipped"
    assert chain.check_alerts(running.settings, chain.replay(running.settings)) == 0


def test_it_goes_on_without_redis(running: Running, valkey: RedisServer) -> None:
    valkey.kill()
    wait_until(lambda: 'sink_connected{sink="redis"} 0.0' in get(running.settings, "/metrics")[1], 20, "the loss of Redis")
    assert get(running.settings, "/readyz") == (200, "ready\n")
    valkey.start()
    wait_until(lambda: 'sink_connected{sink="redis"} 1.0' in get(running.settings, "/metrics")[1], 20, "Redis")
    running.await_end()
    chain.check_redis(running.settings, chain.replay(running.settings))


def test_rebuild_replays_the_log(running: Running) -> None:
    settings = running.settings
    with pytest.raises(UserError, match="the group of workers has 1 members: stop all workers first"):
        rebuild(settings, 1)
    assert running.worker.stop() == 0
    with pytest.raises(UserError, match="--shard: found 2; the log has shards 0 to 1"):
        rebuild(settings, 2)
    end = log_ends(settings)[1]
    assert rebuild(settings, 1) == f"shard 1 starts again at the beginning of its log, {end} frames to replay"
    store = SnapshotStore(settings.snapshots)
    assert store.offsets(1) == []
    running.worker = running.start()
    running.await_end()
    wait_until(lambda: store.offsets(1)[-1:] == [end], 20, "a snapshot")
    replayed = chain.replay(settings)
    chain.check_alerts(settings, replayed)
    chain.check_redis(settings, replayed)
    assert snapshots(settings)[1].shard_digest() == replayed.engines[1].shard_digest()


def test_rebuild_of_a_cut_log_starts_from_a_snapshot_inside_it(running: Running) -> None:
    settings = running.settings
    assert running.worker.stop() == 0
    store, end = SnapshotStore(settings.snapshots), log_ends(settings)[1]
    before = chain.replay(settings)
    cut(settings, 1, end - 1)
    said = f"the log of shard 1 was cut at offset {end - 1}: it starts again from its snapshot at offset {end}, 0 frames"
    assert rebuild(settings, 1).startswith(said)
    assert store.offsets(1) == [end]
    assert kafka.read_genesis(settings) is not None
    running.worker = running.start()
    running.await_end()
    assert running.worker.stop() == 0
    assert snapshots(settings)[1].shard_digest() == before.engines[1].shard_digest()
    store.delete(1)
    with pytest.raises(UserError, match=r"cut at offset .* and no snapshot under .* is good: it cannot be rebuilt"):
        rebuild(settings, 1)
    status, line = run_worker(settings)
    assert status == 1
    assert f"the log goes on at offset {end - 1}, the state is at 0: frames are missing; crossmargin rebuild" in line


def cut(settings: Settings, shard: int, offset: int) -> None:
    """What an operator does to a log that is too long."""
    answers = kafka.admin(settings)
    for future in answers.delete_records([TopicPartition(LOG, shard, offset)]).values():
        future.result()


@pytest.mark.parametrize("bad", ["a hole", "no frame"])
def test_a_bad_log_stops_the_worker(running: Running, bad: str) -> None:
    settings = running.settings
    end = log_ends(settings)[0]
    last = next(iter(kafka.read_partition(settings, LOG, 0, end - 1)))
    frame = last.value() or b""
    number = decode_frame(frame).number
    at = frame.index(number.to_bytes(8, "little"), 32)
    hole = frame[:at] + (number + 2).to_bytes(8, "little") + frame[at + 8 :]
    out = kafka.Delivery(Producer(kafka.producer_config(settings)))
    out.send(LOG, 0, hole if bad == "a hole" else b"a stranger")
    out.wait()
    line = f"frame {number + 2} of writer" if bad == "a hole" else "not a margin.log frame"
    wait_until(lambda: running.worker.stop(0.1) == 1, 20, "the worker's end")
    assert line in running.worker.last_lines()[-1]
    status, again = run_worker(settings)
    assert (status, line in again) == (1, True)


def test_snapshots_that_do_not_fit_stop_the_worker(running: Running) -> None:
    settings = running.settings
    assert running.worker.stop() == 0
    store = SnapshotStore(settings.snapshots)
    genesis = kafka.read_genesis(settings)
    assert genesis is not None
    store.save(Snapshot(0, 10**6, genesis, b"an engine of another version"))
    status, line = run_worker(settings)
    assert (status, "the snapshot of shard 0 at offset 1000000 is of another version" in line) == (1, True)
    assert "crossmargin rebuild --shard 0" in line
    store.delete(0)
    store.save(Snapshot(0, 10**6, msgspec.structs.replace(genesis, log_id="ab" * 16), b""))
    status, line = run_worker(settings)
    assert (status, f"belong to log {'ab' * 16}, the log is {genesis.log_id}" in line) == (1, True)


def test_without_kafka_it_says_so(tmp_path: Path) -> None:
    where = f"{LOOPBACK}:{free_port()}"
    status, line = run_worker(Settings(kafka=where, metrics_port=free_port(), snapshots=str(tmp_path)))
    assert status == 1
    assert line.startswith(f"crossmargin: no Kafka at {where} (setting kafka, CROSSMARGIN_KAFKA): ")


def test_without_redis_it_says_so(running: Running, valkey: RedisServer) -> None:
    assert running.worker.stop() == 0
    valkey.kill()
    status, line = run_worker(running.settings)
    assert status == 1
    assert line.startswith(f"crossmargin: no Redis at {valkey.url} (setting redis_url, CROSSMARGIN_REDIS_URL)")


def test_another_number_of_shards_is_refused(running: Running) -> None:
    assert running.worker.stop() == 0
    status, line = run_worker(msgspec.structs.replace(running.settings, shards=3))
    assert status == 1
    assert line == (
        f"crossmargin: topic {LOG} has 2 partitions, the setting shards (CROSSMARGIN_SHARDS) says 3; the number of shards is"
        " fixed when the log is created"
    )


def test_an_occupied_port_is_named(settings: Settings, tmp_path: Path) -> None:
    with Child("worker", settings, tmp_path) as first:
        wait_until(lambda: get_or_none(settings) is not None, 30, "the first worker's port")
        assert get(settings, "/readyz") == (503, "not ready: there is no log yet\n")
        status, line = run_worker(settings)
        assert status == 1
        where = f"{LOOPBACK}:{settings.metrics_port}"
        assert line.startswith(f"crossmargin: setting metrics_port (CROSSMARGIN_METRICS_PORT): cannot listen on {where}: ")
        assert first.stop() == 0, "a worker that waits for a log ends in good order too"


def get_or_none(settings: Settings) -> tuple[int, str] | None:
    try:
        return get(settings, "/healthz")
    except OSError:
        return None


STUCK = """
import sys, time
from streams.settings import load
from streams.worker_watchdog import Watchdog
import os
watchdog = Watchdog(load(None, os.environ, {}), "nobody", 2, lambda: eval(sys.argv[1]))
watchdog.start()
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("offsets", "line"),
    [
        ("{0: 1}", "shard 0 stands at offset 1 of 3 for 1 s (setting watchdog_seconds): ending, to be started again"),
        ("{}", "no shard was assigned to this worker for 1 s while some have no owner: ending"),
    ],
)
def test_the_watchdog_ends_a_worker_that_stands_still(settings: Settings, offsets: str, line: str) -> None:
    kafka.ensure_topics(settings)
    out = kafka.Delivery(Producer(kafka.producer_config(settings)))
    for _ in range(3):
        out.send(LOG, 0, b"")
    out.wait()
    quick = environment(msgspec.structs.replace(settings, watchdog_seconds=1))
    done = subprocess.run([sys.executable, "-c", STUCK, offsets], env=quick, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr.strip()) == (1, line)


def test_a_working_or_idle_shard_is_left_alone(settings: Settings) -> None:
    kafka.ensure_topics(settings)
    quick = environment(msgspec.structs.replace(settings, watchdog_seconds=1))
    with subprocess.Popen([sys.executable, "-c", STUCK, "{0: 0, 1: 0}"], env=quick) as process:
        time.sleep(4)
        assert process.poll() is None, "at the log's end there is nothing to do"
        process.kill()


def test_alerts_are_read_from_the_end_of_their_topic(settings: Settings) -> None:
    kafka.ensure_topics(settings)
    out = kafka.Delivery(Producer(kafka.producer_config(settings)))
    for number in range(2500):
        out.send(ALERTS, 1, str(number).encode())
    out.wait()
    found = [message.value() for message in kafka.read_partition(settings, ALERTS, 1, 1500)]
    assert found == [str(number).encode() for number in range(1500, 2500)]
    assert list(kafka.read_partition(settings, ALERTS, 0)) == []

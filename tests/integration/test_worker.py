"""The worker as a process: it starts on what fits, shows how it is, ends in good order, and stops loudly on a bad log."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from confluent_kafka import Producer, TopicPartition

from engine import books
from engine.core import MarginEngine
from engine.events import RECORD, Kind
from engine.frames import Frame, FrameKind, Genesis, encode_frame
from engine.limits import Limits
from engine.shadow import Shadow
from monitors.keys import Keys
from monitors.published import read_market
from monitors.view import open_client
from streams import kafka
from streams.embedded import LOOPBACK, RedisServer, embedded_redis, free_port
from streams.processes import Child, ready
from streams.rebuild import rebuild
from streams.settings import Settings, UserError, environment
from streams.snapshots import Snapshot, SnapshotStore
from streams.topics import ALERTS, LOG
from tests.integration import chain
from tests.services import delete_topics, require_redis, wait_until

pytestmark = pytest.mark.services
START_SECONDS = 90.0  # kernels may have to be compiled


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """One that may be killed and started again."""
    require_redis()
    with embedded_redis(keep_data=True) as server:
        yield server


def run_worker(settings: Settings, seconds: float = START_SECONDS) -> tuple[int, str]:
    """Run a worker that is expected to end by itself: its exit status and its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "streams", "worker"],
        env=os.environ | environment(settings),
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


def in_good_order(worker: Child) -> bool:
    return worker.stop() == 0


@dataclass
class Log:
    """A log that a sequencer wrote and ended, what went into it, and what a replay makes of it."""

    settings: Settings
    desk: chain.Desk
    replayed: chain.Replayed


@pytest.fixture(scope="module")
def log(kafka: str, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Log:
    delete_topics(kafka)
    settings = make_settings(kafka, redis_server, tmp_path_factory.mktemp("log"))
    with Child("sequencer", settings, tmp_path_factory.mktemp("sequencer")) as sequencer:
        wait_until(lambda: not ready(LOOPBACK, settings.sequencer_metrics_port), 60, "the sequencer")
        desk = chain.Desk(settings, seed=7)
        desk.define()
        for _ in range(40):
            desk.events(50)
            desk.flush()
        wait_until(lambda: chain.inputs_are_read(settings), 30, "the end of the inputs")
        assert in_good_order(sequencer)
    return Log(settings, desk, chain.replay(settings))


def make_settings(kafka_address: str, redis_server: RedisServer, folder: Path) -> Settings:
    return Settings(
        kafka=kafka_address,
        redis_url=redis_server.url,
        redis_prefix=f"{uuid.uuid4().hex}:",
        shards=2,
        input_partitions=2,
        snapshots=str(folder / "snapshots"),
        snapshot_seconds=0.5,
        watchdog_seconds=5,
        metrics_port=free_port(),
        sequencer_metrics_port=free_port(),
    )


@pytest.fixture
def settings(log: Log, redis_server: RedisServer, tmp_path: Path) -> Settings:
    """Of a worker that sees the log for the first time."""
    start_again(log.settings)
    return make_settings(log.settings.kafka, redis_server, tmp_path)


def start_again(settings: Settings) -> None:
    """Set the workers' offsets to the log's start, as soon as no worker is left."""
    genesis = kafka.read_genesis(settings)
    assert genesis is not None
    group = kafka.worker_group(genesis.log_id)
    wait_until(lambda: not kafka.group_members(settings, group), 20, "the end of all workers")
    kafka.commit(settings, group, LOG, dict.fromkeys(range(settings.shards), 0))


def await_end(settings: Settings) -> None:
    """Wait for a worker that is ready and has shown everything."""
    wait_until(lambda: not ready(LOOPBACK, settings.metrics_port), START_SECONDS, "the worker")
    wait_until(lambda: chain.redis_offsets(settings) == log_ends(settings), 30, "the log's end in Redis")


def check_published(settings: Settings, engines: list[MarginEngine]) -> None:
    """Redis holds every account's book, and the market of the last snapshots."""
    keys = Keys(settings.redis_prefix)
    with open_client(settings.redis_url, text=False) as client:
        for engine in engines:
            slots = np.arange(engine.account_count, dtype=np.int32)
            for name, body in zip(engine.account_ids, engine.books(slots), strict=True):
                published, book = client.get(keys.book(name)), books.unpack(body)
                assert published is not None, name
                found = books.unpack(published)
                assert (found.positions.tolist(), found.holdings.tolist()) == (
                    book.positions.tolist(),
                    book.holdings.tolist(),
                )
        market = read_market(client, keys)
    assert market is not None
    shadow = Shadow(market)
    assert shadow.engine.definitions.tables == engines[0].definitions.tables
    assert set(shadow.engine.stored()["marks"]) <= set(engines[0].stored()["marks"])


def test_it_shows_how_it_is_and_ends_in_good_order(log: Log, settings: Settings, tmp_path: Path) -> None:
    with Child("worker", settings, tmp_path) as worker:
        await_end(settings)
        wait_until(lambda: 'log_lag_records{shard="0"} 0.0' in get(settings, "/metrics")[1], 10, "the log's end")
        assert get(settings, "/healthz") == (200, "ok\n")
        assert get(settings, "/readyz") == (200, "ready\n")
        assert get(settings, "/")[0] == 404
        text = get(settings, "/metrics")[1]
        assert in_good_order(worker)
    shown = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    for kind, count in log.replayed.applied.items():
        assert float(shown[f'crossmargin_events_total{{kind="{kind.name.lower()}"}}']) == count
    assert float(shown['crossmargin_rejects_total{reason="duplicate"}']) == len(log.replayed.rejects) > 0
    assert shown['crossmargin_sink_connected{sink="redis"}'] == "1.0"
    assert [e.shard_digest() for e in snapshots(settings)] == [e.shard_digest() for e in log.replayed.engines]
    chain.check_inputs_applied_once(log.replayed, log.desk.expected)
    chain.check_verdicts(settings, log.replayed, log.desk.expected)
    chain.check_redis(settings, log.replayed)
    check_published(settings, snapshots(settings))
    repeats = chain.check_alerts(settings, log.replayed)

    before = worker.log.read_text().count("recovered in")
    with Child("worker", settings, tmp_path) as worker:
        wait_until(lambda: worker.log.read_text().count("recovered in") == before + 1, START_SECONDS, "the second worker")
        text = get(settings, "/metrics")[1]
        assert 'crossmargin_events_total{kind="trade"} 0.0' in text, "frames below the snapshot are skipped"
        assert in_good_order(worker)
    assert chain.check_alerts(settings, log.replayed) == repeats


def test_rebuild_replays_the_log(log: Log, settings: Settings, tmp_path: Path) -> None:
    store, end = SnapshotStore(settings.snapshots), log_ends(settings)[1]
    with Child("worker", settings, tmp_path) as worker:
        await_end(settings)
        with pytest.raises(UserError, match="the group of workers has 1 members: stop all workers first"):
            rebuild(settings, 1)
        assert in_good_order(worker)
    assert store.offsets(1)[-1] == end
    with pytest.raises(UserError, match="--shard: found 2; the log has shards 0 to 1"):
        rebuild(settings, 2)
    assert rebuild(settings, 1) == f"shard 1 starts again at the beginning of its log, {end} frames to replay"
    assert store.offsets(1) == []
    with Child("worker", settings, tmp_path) as worker:
        wait_until(lambda: store.offsets(1)[-1:] == [end], START_SECONDS, "a snapshot at the log's end")
        await_end(settings)
        assert in_good_order(worker)
    chain.check_alerts(settings, log.replayed)
    chain.check_redis(settings, log.replayed)
    assert snapshots(settings)[1].shard_digest() == log.replayed.engines[1].shard_digest()


def test_a_snapshot_of_another_version_stops_it(settings: Settings) -> None:
    store, genesis = SnapshotStore(settings.snapshots), kafka.read_genesis(settings)
    assert genesis is not None
    store.save(Snapshot(0, 10**6, genesis, b"an engine of another version"))
    status, line = run_worker(settings)
    assert (status, "the snapshot of shard 0 at offset 1000000 is of another version" in line) == (1, True)
    assert "crossmargin rebuild --shard 0" in line


def test_without_kafka_it_says_so(tmp_path: Path) -> None:
    where = f"{LOOPBACK}:{free_port()}"
    status, line = run_worker(Settings(kafka=where, metrics_port=free_port(), snapshots=str(tmp_path)))
    assert status == 1
    assert line.startswith(f"crossmargin: no Kafka at {where} (setting kafka, CROSSMARGIN_KAFKA): ")


def test_without_redis_it_says_so(settings: Settings) -> None:
    where = f"redis://{LOOPBACK}:{free_port()}/0"
    status, line = run_worker(msgspec.structs.replace(settings, redis_url=where))
    assert status == 1
    assert line.startswith(f"crossmargin: no Redis at {where} (setting redis_url, CROSSMARGIN_REDIS_URL)")


def test_another_number_of_shards_is_refused(settings: Settings) -> None:
    status, line = run_worker(msgspec.structs.replace(settings, shards=3))
    assert status == 1
    assert line == (
        f"crossmargin: topic {LOG} has 2 partitions, the setting shards (CROSSMARGIN_SHARDS) says 3; the number of shards is"
        " fixed when the log is created"
    )


def test_it_goes_on_without_redis(settings: Settings, redis_server: RedisServer, tmp_path: Path) -> None:
    with Child("sequencer", settings, tmp_path) as sequencer, Child("worker", settings, tmp_path) as worker:
        wait_until(lambda: not ready(LOOPBACK, settings.metrics_port), START_SECONDS, "the worker")
        store = SnapshotStore(settings.snapshots)
        redis_server.kill()
        try:
            wait_until(lambda: 'sink_connected{sink="redis"} 0.0' in get(settings, "/metrics")[1], 20, "the loss of Redis")
            before = store.offsets(0)
            wait_until(lambda: store.offsets(0) > before, 20, "progress without Redis")
        finally:
            redis_server.start()
        wait_until(lambda: 'sink_connected{sink="redis"} 1.0' in get(settings, "/metrics")[1], 20, "Redis")
        assert in_good_order(sequencer)
        await_end(settings)
        assert in_good_order(worker)
    chain.check_redis(settings, chain.replay(settings))


# --- logs that are cut or broken, written by hand


@pytest.fixture
def short_log(fresh_kafka: str, redis_server: RedisServer, tmp_path: Path) -> Settings:
    """A genesis and five clocks on both shards."""
    settings = make_settings(fresh_kafka, redis_server, tmp_path)
    kafka.ensure_topics(settings)
    genesis = Genesis(log_id=uuid.uuid4().hex, shards=2, time_mode="wall", start_ns=time.time_ns(), limits=Limits())
    for shard in range(2):
        write(settings, shard, Frame(FrameKind.GENESIS, shard, 2, bytes.fromhex(genesis.log_id), 5, 0, genesis=genesis))
        for number in range(1, 6):
            write(settings, shard, clock_frame(genesis, shard, number))
    return settings


def clock_frame(genesis: Genesis, shard: int, number: int) -> Frame:
    records = np.zeros(1, RECORD)
    records["kind"], records["ts_ns"] = Kind.CLOCK, genesis.start_ns + number
    return Frame(FrameKind.RECORDS, shard, 2, bytes.fromhex(genesis.log_id), 5, number, last=True, records=records)


def write(settings: Settings, shard: int, frame: Frame) -> None:
    out = kafka.Delivery(Producer(kafka.producer_config(settings)))
    out.send(LOG, shard, encode_frame(frame))
    out.wait()


def test_a_hole_stops_it(short_log: Settings) -> None:
    genesis = kafka.read_genesis(short_log)
    assert genesis is not None
    write(short_log, 0, clock_frame(genesis, 0, number=7))
    status, line = run_worker(short_log)
    assert status == 1
    assert f"topic {LOG}, shard 0, offset 6: shard 0: frame 7 of writer 5, expected 6; stopped, nothing was changed" in line


def test_rebuild_of_a_cut_log_starts_from_a_snapshot_inside_it(short_log: Settings, tmp_path: Path) -> None:
    settings, store = short_log, SnapshotStore(short_log.snapshots)
    with Child("worker", settings, tmp_path) as worker:
        await_end(settings)
        assert in_good_order(worker)
    for shard in range(2):
        cut(settings, shard, 5)
    genesis = kafka.read_genesis(settings)
    assert genesis is not None, "the snapshots tell it"
    said = "the log of shard 1 was cut at offset 5: it starts again from its snapshot at offset 6, 0 frames to replay"
    assert rebuild(settings, 1) == said
    assert store.offsets(1) == [6]
    write(settings, 1, clock_frame(genesis, 1, 6))
    with Child("worker", settings, tmp_path) as worker:
        await_end(settings)
        assert in_good_order(worker)
    assert snapshots(settings)[1].clock_ns == genesis.start_ns + 6
    store.delete(1)
    with pytest.raises(UserError, match=r"cut at offset 5 and no snapshot under .* is good: it cannot be rebuilt"):
        rebuild(settings, 1)
    status, line = run_worker(settings)
    assert status == 1
    assert "shard 1: the log goes on at offset 6, the state is at 0: frames are missing; crossmargin rebuild" in line


def cut(settings: Settings, shard: int, offset: int) -> None:
    """What an operator does to a log that is too long."""
    client = kafka.admin(settings)
    for future in client.delete_records([TopicPartition(LOG, shard, offset)]).values():
        future.result()


# --- no log


@pytest.fixture
def no_log(fresh_kafka: str, redis_server: RedisServer, tmp_path: Path) -> Settings:
    return make_settings(fresh_kafka, redis_server, tmp_path)


def test_an_occupied_port_is_named(no_log: Settings, tmp_path: Path) -> None:
    with Child("worker", no_log, tmp_path) as first:
        wait_until(lambda: "waiting for the log" in first.log.read_text(), 30, "the first worker")
        assert get(no_log, "/readyz") == (503, "not ready: there is no log yet\n")
        status, line = run_worker(no_log)
        assert status == 1
        where = f"{LOOPBACK}:{no_log.metrics_port}"
        assert line.startswith(f"crossmargin: setting metrics_port (CROSSMARGIN_METRICS_PORT): cannot listen on {where}: ")
        assert in_good_order(first), "a worker that waits for a log ends in good order too"


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
def test_the_watchdog_ends_a_worker_that_stands_still(no_log: Settings, offsets: str, line: str) -> None:
    kafka.ensure_topics(no_log)
    out = kafka.Delivery(Producer(kafka.producer_config(no_log)))
    for _ in range(3):
        out.send(LOG, 0, b"")
    out.wait()
    quick = environment(msgspec.structs.replace(no_log, watchdog_seconds=1))
    done = subprocess.run([sys.executable, "-c", STUCK, offsets], env=quick, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr.strip()) == (1, line)


def test_a_working_or_idle_shard_is_left_alone(no_log: Settings) -> None:
    kafka.ensure_topics(no_log)
    quick = environment(msgspec.structs.replace(no_log, watchdog_seconds=1))
    with subprocess.Popen([sys.executable, "-c", STUCK, "{0: 0, 1: 0}"], env=quick) as process:
        time.sleep(4)
        assert process.poll() is None, "at the log's end there is nothing to do"
        process.kill()


def test_alerts_are_read_from_the_end_of_their_topic(no_log: Settings) -> None:
    kafka.ensure_topics(no_log)
    out = kafka.Delivery(Producer(kafka.producer_config(no_log)))
    for number in range(2500):
        out.send(ALERTS, 1, str(number).encode())
    out.wait()
    found = [message.value() for message in kafka.read_partition(no_log, ALERTS, 1, 1500)]
    assert found == [str(number).encode() for number in range(1500, 2500)]
    assert list(kafka.read_partition(no_log, ALERTS, 0)) == []

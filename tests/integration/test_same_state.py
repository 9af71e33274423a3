"""The recorded ticks through real Kafka and Faust: the state is the file replay's, and the log replayed gives its digest."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.core import MarginEngine
from engine.limits import Limits
from engine.report import combine
from streams import kafka
from streams.embedded import LOOPBACK, free_port
from streams.feed import play
from streams.files import EXAMPLE, open_sources
from streams.generate import Generator
from streams.load import Publisher, in_order, publish
from streams.processes import Child, ready
from streams.replay import Replay, Shards, replay_log
from streams.settings import Settings
from streams.snapshots import SnapshotStore
from streams.sources import Item, merged
from streams.topics import LOG
from tests.integration import chain
from tests.services import shared, wait_until

RECORDED = 524_627  # messages of the recordings, and how many of them are ignored by kind (depth)
IGNORED = 110_058
SHARDS = 4
LIMITS = Limits(accounts=1 << 12, positions=1 << 14, ids=1 << 16)


@pytest.mark.services
def test_the_chain_and_the_file_replay_store_the_same(fresh_kafka: str, redis_url: str, tmp_path: Path) -> None:
    recordings = open_sources([shared("data/binance")])
    settings = Settings(
        kafka=fresh_kafka,
        redis_url=redis_url,
        redis_prefix="same:",
        shards=SHARDS,
        snapshots=str(tmp_path / "snapshots"),
        metrics_port=free_port(),
        sequencer_metrics_port=free_port(),
        time_mode="event",
        limits=LIMITS,
    )
    with Child("sequencer", settings, tmp_path) as sequencer, Child("worker", settings, tmp_path) as worker:
        generator = Generator(1, 200, merged(recordings))
        opening = in_order([item for source in open_sources(EXAMPLE) for item in source]) + list(generator.opening())
        live = list(generator.live())
        assert sum(source.messages for source in recordings) == RECORDED
        assert sum((source.ignored for source in recordings), Counter()).total() == IGNORED
        wait_until(
            lambda: chain.alive(sequencer) and not ready(LOOPBACK, settings.sequencer_metrics_port), 60, "the sequencer"
        )
        wait_until(lambda: chain.alive(worker) and not ready(LOOPBACK, settings.metrics_port), 180, "the worker")
        begun = time.monotonic()
        publisher = Publisher(settings)
        publish(publisher, opening)
        wait_until(lambda: chain.alive(sequencer) and chain.inputs_are_read(settings), 60, "the opening in the log")
        play(publisher, live, speed=0, as_recorded=True)
        assert publisher.counts.total() == len(opening) + len(live)
        wait_until(lambda: chain.alive(sequencer, worker) and chain.inputs_are_read(settings), 60, "the end of the inputs")
        assert sequencer.stop() == 0
        ends = [stop for _, stop in kafka.log_range(settings, LOG).values()]
        wait_until(lambda: chain.alive(worker) and chain.redis_offsets(settings) == ends, 60, "the log's end in Redis")
        seconds = time.monotonic() - begun
        assert worker.stop(30) == 0

    by_worker = snapshots(settings)
    by_log = replay_log({shard: log_of(settings, shard) for shard in range(SHARDS)})
    by_file = Replay(SHARDS, 1024, LIMITS)
    by_file.run([*opening, *live])
    assert [engine.offset for engine in by_worker] == ends
    assert f"{combine([engine.digest() for engine in by_worker]):016x}" == by_log.digest()
    for worked, replayed, filed in zip(by_worker, by_log.engines, by_file.shards.engines, strict=True):
        assert worked.shard_digest() == replayed.shard_digest()
        assert worked.clock_ns == filed.clock_ns == max(item[0] for item in live)
        assert worked.stored() == replayed.stored() == filed.stored()
    check_nothing_is_missing(by_log, by_file, [*opening, *live])
    stored = [engine.stored() for engine in by_worker]
    held = {name: sum(len(shard[name]) for shard in stored) for name in ("positions", "holdings", "exposures")}
    print(
        f"{len(opening) + len(live)} events in {seconds:.1f} s, digest {by_log.digest()}, equal: {held}, {len(ends)} shards"
    )


def snapshots(settings: Settings) -> list[MarginEngine]:
    """The engines in the worker's last snapshots."""
    genesis = kafka.read_genesis(settings)
    assert genesis is not None
    found = [SnapshotStore(settings.snapshots).load(shard, genesis.log_id) for shard in range(genesis.shards)]
    return [MarginEngine.from_bytes(snapshot.body) for snapshot in found if snapshot is not None]


def log_of(settings: Settings, shard: int) -> list[bytes]:
    return [message.value() or b"" for message in kafka.read_partition(settings, LOG, shard)]


def check_nothing_is_missing(by_log: Shards, by_file: Replay, items: Sequence[Item]) -> None:
    """Both ways applied every event, and rejected or superseded none."""
    sent = Counter(topic for _, topic, _, _ in items)
    assert by_log.applied == by_file.shards.applied == sent
    assert not by_file.rejects
    for shards in (by_log, by_file.shards):
        assert not shards.rejects
        assert (shards.superseded, shards.redelivered) == (0, 0)

"""The worker on preloaded frames: from a real Kafka through Faust and the engine to flags in Redis and margin.alerts."""

import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Producer

from engine.core import MarginEngine
from engine.events import QUANTITY_ONE, RECORD, Kind, key64
from engine.frames import RANGE, Entry, Genesis, decode_frame
from monitors.alerts import Alerts, encode_alert
from streams import kafka
from streams.directory import ALL_SHARDS
from streams.framing import FrameWriter, Ordered
from streams.settings import Settings
from streams.topics import LOG
from tests.bench.result import Figures, Sizes
from tests.bench.services import Chain, Services, Usage, say
from tests.bench.universe import INSTRUMENTS, MID, PARTITIONS, TICK_E9, Universe

BATCH: Final = 8192  # events of a full batch of the sequencer
BATCH_NS: Final = 10_000_000
OPENING: Final = 200_000  # records a batch at the start of the day
ENGINE_BATCHES: Final = 60
NOTES: Final = [
    "80 % trades, 20 % prices in full batches of 8,192 events, prices to all shards; every shard's copy is counted",
    "from the first look at Redis that shows records of the flow to the one that shows all of them; snapshots, alerts and"
    " figures are on",
    "accounts are few enough to be evaluated at every clock: all prices move in every batch",
    "engine: decode, step and alerts of the same frames in this process, processor time, one shard",
]


class FrameLog:
    """Frames of every shard as the sequencer writes them, without JSON: the start of the day, then a flow."""

    def __init__(self, universe: Universe, settings: Settings, batches: int) -> None:
        self.universe = universe
        self.genesis = Genesis(
            log_id=np.random.default_rng(universe.seed).bytes(16).hex(),
            shards=settings.shards,
            time_mode="wall",
            start_ns=time.time_ns() - (batches + 1000) * BATCH_NS,
            limits=settings.limits,
        )
        self._writer = FrameWriter(self.genesis, 1, 1024)
        self._clock_ns = self.genesis.start_ns
        self._keys = universe.account_keys()
        self._shards = universe.shards_of(settings.shards)
        self._offsets: dict[tuple[int, int], int] = {}

    def opening(self) -> Iterator[tuple[int, bytes]]:
        """(shard, frame): genesis, documents, collateral, positions, marks."""
        for shard in range(self.genesis.shards):
            yield shard, self._writer.genesis_frame(shard, np.empty(0, RANGE))
        bodies = [(ALL_SHARDS, body) for body in self.universe.tables()]
        bodies += [(int(self._shards[number]), body) for number, body in self.universe.customers()]
        entries = [
            (shard, Entry(Kind.REFERENCE, 0, offset, 0, msgspec.Raw(body))) for offset, (shard, body) in enumerate(bodies)
        ]
        yield from self._frames(entries, Ordered.empty())
        accounts = self.universe.accounts
        rows = np.zeros(INSTRUMENTS, RECORD)
        rows["kind"], rows["price"], rows["instrument"] = Kind.PRICE, MID * TICK_E9, self.universe.instrument_keys
        yield from self._batch(rows, np.full(INSTRUMENTS, ALL_SHARDS, np.int32), np.zeros(INSTRUMENTS, np.int64))
        rows = np.zeros(accounts, RECORD)
        rows["kind"], rows["instrument"], rows["id"] = Kind.COLLATERAL, key64("USD"), self._ids(accounts)
        rows["account"], rows["quantity"] = self._keys, self.universe.collateral * QUANTITY_ONE
        yield from self._batch(rows, self._shards, np.arange(accounts) % PARTITIONS)
        account, place = np.divmod(np.arange(accounts * self.universe.positions), self.universe.positions)
        rows = np.zeros(len(account), RECORD)
        rows["kind"], rows["price"], rows["id"] = Kind.POSITION, MID * TICK_E9, self._ids(len(account))
        rows["instrument"] = self.universe.instrument_keys[self.universe.held(account, place)]
        rows["account"], rows["quantity"] = self._keys[account], self.universe.lots.reshape(-1) * QUANTITY_ONE
        for first in range(0, len(rows), OPENING):
            part = slice(first, first + OPENING)
            yield from self._batch(rows[part], self._shards[account[part]], account[part] % PARTITIONS)

    def _ids(self, count: int) -> Any:
        return np.random.default_rng([self.universe.seed, count]).integers(1, 2**63, count)

    def flow(self) -> Iterator[tuple[int, bytes]]:
        """(shard, frame) of the next full batch."""
        events = self.universe.events(BATCH)
        rows = self.universe.records(events, self._clock_ns, np.zeros(2 * PARTITIONS, np.int64), self._keys)
        shards = np.where(events.is_trade, self._shards[events.account], ALL_SHARDS).astype(np.int32)
        yield from self._batch(rows, shards, events.partition)

    def _batch(self, rows: Any, shards: Any, partitions: Any) -> Iterator[tuple[int, bytes]]:
        """The frames of records whose origins are filled in here, and their clock."""
        rows["ts_ns"], rows["partition"] = self._clock_ns, partitions
        for kind in np.unique(rows["kind"]).tolist():
            for partition in range(PARTITIONS):
                own = (rows["kind"] == kind) & (partitions == partition)
                first = self._offsets.get((kind, partition), 0)
                rows["offset"][own] = first + np.arange(int(own.sum()))
        yield from self._frames([], Ordered(rows, shards, np.arange(len(rows)), {}))

    def _frames(self, entries: list[tuple[int, Entry]], ordered: Ordered) -> Iterator[tuple[int, bytes]]:
        self._clock_ns += BATCH_NS
        counts = {(Kind.REFERENCE, 0): len(entries)} if entries else {}
        for row in np.unique(ordered.records[["kind", "partition"]]):
            own = (ordered.records["kind"] == row["kind"]) & (ordered.records["partition"] == row["partition"])
            counts[int(row["kind"]), int(row["partition"])] = int(own.sum())
        starts = {origin: self._offsets.get(origin, 0) for origin in counts}
        stops = {origin: start + counts[origin] for origin, start in starts.items()}
        self._offsets |= stops
        ranges = np.array(
            [(kind, partition, starts[kind, partition], stop) for (kind, partition), stop in stops.items()], RANGE
        )
        ordered = ordered.with_clocks(np.array([len(ordered.records)]), np.array([self._clock_ns]))
        for shard in range(self.genesis.shards):
            for frame in self._writer.shard_frames(shard, entries, ordered, ranges, self._clock_ns):
                yield shard, frame


def run(sizes: Sizes, services: Services) -> tuple[Figures, list[str]]:
    """The rate of the real worker, and of its engine alone."""
    universe = Universe(sizes.accounts, sizes.positions, sizes.seed)
    say("worker: engine alone")
    figures: Figures = {"accounts": sizes.accounts, "shards": sizes.shards}
    figures |= _engine(universe, Settings(shards=sizes.shards))
    with services.chain("worker", shards=sizes.shards, input_partitions=PARTITIONS) as chain:
        universe = Universe(sizes.accounts, sizes.positions, sizes.seed)
        log = FrameLog(universe, chain.settings, sizes.frame_events // BATCH)
        records = _preload(chain, log, sizes.frame_events // BATCH)
        say("worker: running")
        figures |= _watch(chain, records)
    return figures, NOTES


def _engine(universe: Universe, settings: Settings) -> Figures:
    """What one shard's engine does in a processor second, without Kafka and sinks."""
    log = FrameLog(universe, settings, ENGINE_BATCHES)
    engine = MarginEngine(0)
    for shard, frame in log.opening():
        if shard == 0:
            engine.step(decode_frame(frame), engine.offset)
    frames = [frame for _ in range(ENGINE_BATCHES) for shard, frame in log.flow() if shard == 0]
    records = alerts = 0
    begun = time.thread_time()
    for data in frames:
        frame = decode_frame(data)
        report = engine.step(frame, engine.offset)
        alerts += len([encode_alert(alert) for alert in Alerts(0, engine, report)])
        records += len(frame.records)
    seconds = time.thread_time() - begun
    records -= ENGINE_BATCHES
    return {"engine_records_per_s": records / seconds, "engine_clock_ms": seconds / ENGINE_BATCHES * 1000}


def _preload(chain: Chain, log: FrameLog, batches: int) -> list["np.ndarray[Any, Any]"]:
    """Write the log; by shard, how many records of the flow lie below each offset."""
    say(f"worker: preloading {batches * BATCH:,} events as frames")
    delivery = kafka.Delivery(Producer(kafka.producer_config(chain.settings, **{"linger.ms": 20})))
    below: list[list[int]] = [[0] for _ in range(chain.settings.shards)]
    for part in (log.opening(), *(log.flow() for _ in range(batches))):
        opens = len(below[0]) == 1
        for shard, frame in part:
            delivery.send(LOG, shard, frame)
            count = 0 if opens else int((decode_frame(frame).records["kind"] != Kind.CLOCK).sum())
            below[shard].append(below[shard][-1] + count)
        delivery.producer.poll(0)
    delivery.wait()
    return [np.array(counts) for counts in below]


def _watch(chain: Chain, below: list["np.ndarray[Any, Any]"]) -> Figures:
    """Start the worker and look at Redis until it shows the end of the log."""
    total = int(sum(counts[-1] for counts in below))

    def shown() -> int:
        return int(sum(below[shard][offset] for shard, offset in chain.flagged().items()))

    child = chain.start("worker")
    chain.until(shown, "the first records in Redis", child)
    usage = Usage(worker=child.pid, broker=chain.broker_pid)
    first, begun = shown(), time.monotonic()
    chain.until(lambda: shown() >= total, "the last records in Redis", child)
    seconds = time.monotonic() - begun
    used = usage.per_event_us(total - first, "record")
    status = child.stop()
    assert status == 0, child.last_lines()
    alerts = sum(stop for _, stop in kafka.log_range(chain.settings, "margin.alerts").values())
    return {
        "log_records": total,
        "log_records_timed": total - first,
        "seconds": seconds,
        "log_records_per_s": (total - first) / seconds,
        "alerts": alerts,
        "frames": sum(len(counts) - 1 for counts in below),
        **used,
    }

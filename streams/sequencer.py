"""The sequencer process: input topics in, rejects and frames of margin.log out; one is active, others stand by.

A batch's rejects are acknowledged before its first frame is sent, its input offsets committed after its last frame is. A
failure ends the process: the next one repeats what was not committed, and the engines skip what they saw.
"""

import gc
import logging
import secrets
import signal
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from platform import python_version
from types import FrameType
from typing import Final

import numpy as np
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from engine.codes import Code
from engine.events import CLOCK_NS, KINDS, NS, Kind
from engine.frames import BadFrame, FrameKind, Genesis
from monitors.collector import Histogram, family, histogram_family, rejects_family
from monitors.metrics import TABLE
from streams import kafka
from streams.framing import Origin
from streams.health import HealthServer
from streams.inputs import Inputs
from streams.rejects import encode_reject
from streams.sequence import Batch, Message, SequencerCore, rebuilt
from streams.settings import Settings, UserError
from streams.topics import LOG, REFERENCE, REJECTS

FRAME_SECONDS: Final = 0.0008  # a batch writes a frame a shard, and worker and broker take so long for a small one
GROUP: Final = "crossmargin-sequencer"  # elects the active one
SESSION_MS: Final = 6000
MAX_PENDING: Final = 8  # batches sent but not acknowledged
COMMIT_SECONDS: Final = 0.1
REFRESH_SECONDS: Final = 3600.0  # offsets of a group without members expire
END_SECONDS: Final = 1.0  # without events, after which a log in event time gets its end's CLOCK
DRAIN_SECONDS: Final = 30.0
SLOW_SECONDS: Final = 10.0
logger: Final = logging.getLogger("crossmargin.sequencer")


def run(settings: Settings) -> None:
    """Run a sequencer until SIGTERM or Ctrl-C: what was read is written and committed then.

    Raises UserError (one line) when it cannot start or go on.
    """
    process = Process(settings)
    before = {number: signal.signal(number, process.end) for number in (signal.SIGTERM, signal.SIGINT)}
    registry = CollectorRegistry()
    registry.register(process.figures)
    address = settings.metrics_host, settings.sequencer_metrics_port
    try:
        with HealthServer(*address, registry, process.not_ready, "sequencer_metrics_port"):
            process.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Figures(Collector):
    """What the sequencer shows on /metrics."""

    def __init__(self) -> None:
        self.active = False
        self.accepted = np.zeros(KINDS, np.int64)
        self.rejects: Counter[Code] = Counter()
        self.batches = 0
        self.batch_seconds = Histogram(TABLE["crossmargin_sequencer_batch_seconds"].bounds)
        self.lag: Mapping[str, int] = {}
        self._build = (metadata.version("crossmargin"), python_version())

    def add(self, batch: Batch, seconds: float) -> None:
        """Count a batch and the time from its decoding to its frames sent."""
        self.accepted += batch.accepted
        self.rejects.update(reject.code for reject in batch.rejects)
        self.batches += 1
        self.batch_seconds.observe(seconds)

    def describe(self) -> Iterator[Metric]:
        """Nothing: the names are in the table of metrics."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Families of everything as of now."""
        yield family("crossmargin_sequencer_active", {(): self.active})
        events = {(kind.name.lower(),): int(self.accepted[kind]) for kind in Kind}
        yield family("crossmargin_sequencer_events_total", events)
        yield family("crossmargin_sequencer_batches_total", {(): self.batches})
        yield histogram_family("crossmargin_sequencer_batch_seconds", self.batch_seconds.counts, self.batch_seconds.sum)
        yield family("crossmargin_sequencer_lag_messages", {(topic,): lag for topic, lag in self.lag.items()})
        yield rejects_family(self.rejects)
        yield family("crossmargin_build_info", {self._build: 1})


class Election:
    """Membership in the group that subscribes to `reference`: who holds its partition 0 is active."""

    def __init__(self, settings: Settings) -> None:
        self.elected: bool | None = None  # None before the first assignment
        extra = {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": SESSION_MS // 3}
        self._member = Consumer(kafka.consumer_config(settings, GROUP, **extra))
        self._member.subscribe([REFERENCE], on_assign=self._assigned, on_revoke=self._lost, on_lost=self._lost)

    def poll(self, seconds: float = 0.0) -> bool:
        """Look after the membership; whether this process is the active one."""
        message = self._member.poll(seconds)
        error = message.error() if message is not None else None
        if error is not None and not error.retriable():
            logger.warning("Kafka: %s", error.str())
        return bool(self.elected)

    def _assigned(self, member: Consumer, places: list[TopicPartition]) -> None:
        member.assign(places)
        member.pause(places)  # it reads nothing: the inputs have consumers of their own
        self.elected = any(place.partition == 0 for place in places)

    def _lost(self, _: Consumer, __: list[TopicPartition]) -> None:
        self.elected = False

    def close(self) -> None:
        """Leave the group, so that another one takes over at once."""
        self._member.close()


class Process:
    """Waits to be elected, opens or creates the log, and sequences until it is told to end."""

    def __init__(self, settings: Settings) -> None:
        self.figures = Figures()
        self._settings = settings
        self._ended = False
        self._state = "starting"
        self._writer: LogWriter | None = None

    def end(self, _: int, __: FrameType | None) -> None:
        """Signal handler: finish what was read and end."""
        self._ended = True

    def not_ready(self) -> str:
        """Why the process is not ready: it is when it sequences, or stands by; "" then."""
        if self._state:
            return self._state
        waited_seconds = self._writer.waited_seconds() if self._writer is not None else 0.0
        return f"Kafka has acknowledged nothing for {waited_seconds:.0f} s" if waited_seconds > SLOW_SECONDS else ""

    def run(self) -> None:
        """The whole life of the process; raises UserError."""
        try:
            kafka.ensure_topics(self._settings)
            if self._settings.mock_kafka:  # an embedded cluster serves one chain, and takes 3 s to let a member in
                self._sequence(None)
            else:
                self._take_turns()
        except KafkaException as failure:
            raise UserError(f"Kafka at {self._settings.kafka}: {failure.args[0]}; start the sequencer again") from failure

    def _take_turns(self) -> None:
        """Sequence whenever this process is the elected one."""
        election = Election(self._settings)
        try:
            while not self._ended:
                if election.poll(0.1):
                    self._sequence(election)
                elif election.elected is False and self._state:
                    logger.info("standing by: another sequencer is active")
                    self._state = ""
        finally:
            election.close()

    def _sequence(self, election: Election | None) -> None:
        """Sequence until told to end, or until the election is lost."""
        genesis, missing = open_log(self._settings)
        inputs = Inputs(self._settings, genesis)
        try:
            directory = rebuilt(genesis.shards, inputs.read_documents())
            writer = secrets.randbits(63) + 1
            core = SequencerCore(genesis, writer, directory, inputs.positions, latest_ns=inputs.latest_ns)
            self._writer = LogWriter(self._settings, core, inputs, self.figures, lambda: self._ended)
            self._writer.begin(missing)
            logger.info("active: log %s, %d shards, %s time", genesis.log_id, genesis.shards, genesis.time_mode)
            self.figures.active, self._state = True, ""
            gc.collect()
            gc.freeze()
            while not self._ended and (election is None or election.poll()):
                self._writer.turn()
            self._state = "stopping" if self._ended else "standing by"
            self._writer.finish()
        finally:
            self.figures.active, self._writer = False, None
            gc.unfreeze()
            inputs.close()


def open_log(settings: Settings) -> tuple[Genesis, list[int]]:
    """The log's genesis, new where there is no log, and the shards on which it must still be written.

    Raises UserError when the settings do not fit the log.
    """
    genesis = kafka.read_genesis(settings)
    if genesis is None:
        start_ns = time.time_ns() if settings.time_mode == "wall" else 0
        genesis = Genesis(
            log_id=uuid.uuid4().hex,
            shards=settings.shards,
            time_mode=settings.time_mode,
            start_ns=start_ns,
            limits=settings.limits,
        )
        return genesis, list(range(genesis.shards))
    if genesis.time_mode != settings.time_mode:
        raise UserError(
            f"setting time_mode (CROSSMARGIN_TIME_MODE): found {settings.time_mode}, but the log {genesis.log_id} is in"
            f" {genesis.time_mode} time, which never changes"
        )
    if genesis.shards != settings.shards:
        raise UserError(
            f"setting shards (CROSSMARGIN_SHARDS): found {settings.shards}, but the log {genesis.log_id} has"
            f" {genesis.shards}, which never changes"
        )
    if genesis.limits != settings.limits:
        logger.warning("the log %s keeps the limits it was created with, not those of the settings", genesis.log_id)
    ends = kafka.log_range(settings, LOG, list(range(genesis.shards)))
    missing = [shard for shard, (_, end) in ends.items() if end == 0]
    for shard in ends.keys() - set(missing):
        check_shard(settings, genesis, shard)
    return genesis, missing


def check_shard(settings: Settings, genesis: Genesis, shard: int) -> None:
    """UserError unless the first frame still held of a shard belongs to this log."""
    try:
        frame = kafka.first_frame(settings, shard)
    except BadFrame as error:
        raise UserError(f"topic {LOG}, partition {shard}: {error}; this topic is not a log of crossmargin") from error
    if frame is not None and (frame.log_id.hex() != genesis.log_id or frame.shards != genesis.shards):
        raise UserError(
            f"topic {LOG}, partition {shard} belongs to log {frame.log_id.hex()} of {frame.shards} shards, not to"
            f" {genesis.log_id} of {genesis.shards}; start again, and if it stays so, delete topic {LOG} for a new log"
        )
    if frame is not None and frame.kind is not FrameKind.GENESIS:
        logger.info("the start of shard %d was cut away", shard)


class LogWriter:
    """Batches of the core on their way to Kafka: what is acknowledged, and what may be committed."""

    def __init__(
        self, settings: Settings, core: SequencerCore, inputs: Inputs, figures: Figures, ended: Callable[[], bool]
    ) -> None:
        self._settings, self._core, self._inputs, self._figures, self._ended = settings, core, inputs, figures, ended
        self._delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
        self._pending: deque[tuple[dict[Origin, int], dict[Origin, int], int]] = deque()  # mark, positions, latest_ns
        self._acknowledged, self._acknowledged_ns = dict(core.positions), core.latest_ns
        self._is_committed = True
        self._committed_at = self._read_at = self._batch_at = self._waiting_since = time.monotonic()
        self._is_wall = core.genesis.time_mode == "wall"
        self._batch_seconds = max(settings.batch_ms / 1000, FRAME_SECONDS * core.genesis.shards)

    def begin(self, missing: Sequence[int]) -> None:
        """Write the genesis where it is missing, and commit where the inputs begin."""
        for shard, frame in self._core.genesis_frames(missing):
            self._delivery.send(LOG, shard, frame)
            if shard == 0:  # decides which log this is, should two processes create it at once
                self._drain()
                check_shard(self._settings, self._core.genesis, 0)
        self._drain()
        self._inputs.commit(self._acknowledged, self._acknowledged_ns, wait=True)

    def turn(self) -> None:
        """Read what is there, a batch's time after the last, write it, commit what was acknowledged."""
        time.sleep(max(0.0, self._read_at + self._batch_seconds - time.monotonic()))
        self._read_at = time.monotonic()
        for part in self._inputs.read(self._settings.batch_events, self._batch_seconds):
            self._write(part)
        idle_seconds = time.monotonic() - self._batch_at
        if self._is_wall:
            if idle_seconds >= CLOCK_NS / NS:
                self._write([])
        elif idle_seconds >= END_SECONDS:
            self._write_end()
        if len(self._pending) > MAX_PENDING:
            self._drain(self._pending[0][0])
        self._settle()
        now = time.monotonic()
        if now - self._committed_at >= (REFRESH_SECONDS if self._is_committed else COMMIT_SECONDS):
            self._inputs.commit(self._acknowledged, self._acknowledged_ns)
            self._is_committed, self._committed_at = True, now
            self._figures.lag = self._inputs.lag(self._core.positions)

    def finish(self) -> None:
        """Wait until all is acknowledged, and commit it. Raises UserError when Kafka does not answer."""
        if not self._is_wall:
            self._write_end()
        self._drain()
        self._settle()
        self._inputs.commit(self._acknowledged, self._acknowledged_ns, wait=True)

    def waited_seconds(self) -> float:
        """How long nothing was acknowledged although something waits for it."""
        return time.monotonic() - self._waiting_since if self._pending else 0.0

    def _write(self, messages: Sequence[Message]) -> None:
        begun = time.monotonic()
        batch = self._core.batch(messages, time.time_ns(), self._inputs.more_reference)
        self._send(batch)
        self._batch_at = time.monotonic()
        self._figures.add(batch, self._batch_at - begun)

    def _write_end(self) -> None:
        self._batch_at = time.monotonic()
        batch = self._core.finish()
        if batch.frames:
            self._send(batch)
            self._figures.add(batch, 0.0)

    def _send(self, batch: Batch) -> None:
        """Rejects first, until they are acknowledged; then the frames, without waiting."""
        if batch.rejects:
            for reject in batch.rejects:
                key, value = encode_reject(reject)
                self._delivery.send(REJECTS, 0, value, key)
            self._drain()
        for shard, frame in batch.frames:
            self._delivery.send(LOG, shard, frame)
        if not self._pending:
            self._waiting_since = time.monotonic()
        self._pending.append((self._delivery.mark(), batch.positions, self._core.latest_ns))

    def _settle(self) -> None:
        """Note which batches are acknowledged."""
        while self._pending and self._delivery.arrived(self._pending[0][0]):
            _, positions, self._acknowledged_ns = self._pending.popleft()
            self._acknowledged.update(positions)
            self._is_committed = self._is_committed and not positions
            self._waiting_since = time.monotonic()

    def _drain(self, mark: dict[tuple[str, int], int] | None = None) -> None:
        """Wait until all (before the mark) is acknowledged: for ever, but only so long once the process is to end."""
        waited_seconds = 0.0
        while not self._delivery.wait(1.0, mark):
            waited_seconds += self._ended()
            if waited_seconds >= DRAIN_SECONDS:
                raise UserError(
                    f"Kafka at {self._settings.kafka} acknowledged nothing for {DRAIN_SECONDS:.0f} s; what it did not take"
                    " is read again at the next start"
                )

"""The worker: a Faust agent that steps one margin engine per assigned shard, and publishes what the steps report.

State survives a kill at any moment: a snapshot is written after all outputs below its offset were acknowledged, and the
offset committed is that of the older of the two kept. Frames below the engine's offset are skipped; one above it ends the
process.
"""

import asyncio
import logging
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from platform import python_version
from threading import Thread, Timer
from typing import Any, Final, cast

import faust
from confluent_kafka import Producer
from faust.types import TP, StreamT
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from engine.core import LogError, MarginEngine
from engine.frames import BadFrame, Genesis, decode_frame
from engine.report import Report
from monitors.alerts import Alerts, encode_rejects
from monitors.collector import Counters, WorkerCollector
from monitors.redis_link import ForeignLog
from monitors.redis_sink import RedisSink
from streams import kafka
from streams.health import HealthServer
from streams.outbox import Outbox
from streams.settings import Settings, UserError, masked_url
from streams.topics import ALERTS, LOG
from streams.warm_up import warm_up
from streams.worker_app import deliver_at_once, fetch_without_waiting, make_app
from streams.worker_shards import Shard, Shards
from streams.worker_watchdog import SLOW_SECONDS, Watchdog, exit_now

POLL_SECONDS: Final = 0.02
TURN_SECONDS: Final = 0.005  # of frames that are there, before others on the event loop have their turn
CLOSE_SECONDS: Final = 10.0
STOP_SECONDS: Final = 25.0
SCRAPE_SECONDS: Final = 5.0
LINGER_MS: Final = 20  # of alerts and rejects: nobody waits for them but the next snapshot
logger: Final = logging.getLogger("crossmargin.worker")


def run(settings: Settings) -> None:
    """Run a worker until SIGTERM or Ctrl-C: then snapshots are written, offsets committed and sinks closed.

    Raises UserError (one line) when it cannot start or go on.
    """
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    """Wait for the log, then work until a signal."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    registry = CollectorRegistry()
    worker: Worker | None = None

    def not_ready() -> str:
        return worker.not_ready() if worker is not None else "there is no log yet"

    with HealthServer(settings.metrics_host, settings.metrics_port, registry, not_ready):
        genesis = await _await_genesis(settings, ended)
        if genesis is not None:
            worker = Worker(settings, genesis, ended)
            registry.register(OnLoop(worker.collector, loop))
            await worker.run()


async def _await_genesis(settings: Settings, ended: asyncio.Event) -> Genesis | None:
    """The log's genesis, as soon as a sequencer wrote it; None when the process is to end before."""
    await asyncio.to_thread(kafka.ensure_topics, settings)
    said = False
    while not ended.is_set():
        genesis = await asyncio.to_thread(kafka.read_genesis, settings)
        if genesis is not None:
            return genesis
        if not said:
            logger.info("waiting for the log: topic %s is empty until a sequencer runs (crossmargin sequencer)", LOG)
            said = True
        await _within(ended, 0.5)
    return None


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most so long; whether it came."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


class Worker:
    """One member of the workers' group. ended: set by a signal, or by the first failure."""

    def __init__(self, settings: Settings, genesis: Genesis, ended: asyncio.Event) -> None:
        self.settings, self.genesis, self.ended = settings, genesis, ended
        self.outbox = Outbox(kafka.Delivery(Producer(kafka.producer_config(settings, **{"linger.ms": LINGER_MS}))))
        self.counters = Counters()
        self.sink = RedisSink(
            settings.redis_url,
            settings.redis_prefix,
            log_id=genesis.log_id,
            shards=genesis.shards,
            read_alerts=self._read_alerts,
            observe=self.counters.event_to_flag_seconds.observe,
            figures_per_second=settings.figures_per_second,
        )
        self.shards = Shards(settings, genesis, self.outbox, self.sink, ended, self.fail)
        group = kafka.worker_group(genesis.log_id)
        self.watchdog = Watchdog(settings, group, genesis.shards, self.shards.offsets)
        self.collector = WorkerCollector(
            self.shards.engines,
            self.counters,
            self.sink,
            outlooks=self.shards.outlooks,
            lag_frames=self.watchdog.lag,
            snapshot_ages_seconds=self.shards.snapshot_ages,
            build={"version": metadata.version("crossmargin"), "python": python_version()},
        )
        self._folder = tempfile.TemporaryDirectory(prefix="crossmargin-worker-")
        self.app = make_app(settings, group, Path(self._folder.name))
        self.app.on_partitions_assigned.connect(self._assigned)
        self.app.on_partitions_revoked.connect(self._revoked)
        log = self.app.topic(LOG, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", acks=False)
        self.app.agent(log, name="margin")(self._margin)
        self._failure: BaseException | None = None
        self._stopping, self._compiled = False, False
        self._recovering_since: float | None = None

    async def run(self) -> None:
        """Work until `ended`; raises what made it fail."""
        logger.info("log %s, %d shards", self.genesis.log_id, self.genesis.shards)
        with self._folder:
            await self._start_sink()
            try:
                await self._compile()
                await self._work()
            finally:
                self._stopping = True
                self.watchdog.stop()
                await self.sink.close()
        if self._failure is not None:
            raise self._failure

    async def _start_sink(self) -> None:
        """UserError when Redis is not there or belongs to another log; later it may come and go."""
        try:
            await self.sink.start()
        except ForeignLog as error:
            raise UserError(str(error)) from error
        if not self.sink.connected:
            await self.sink.close()
            where = f"no Redis at {masked_url(self.settings.redis_url)} (setting redis_url, CROSSMARGIN_REDIS_URL)"
            raise UserError(f"{where}: start it or correct the setting")

    async def _compile(self) -> None:
        """Compile all kernels before the group waits for this member; a signal ends the process, it holds nothing yet."""
        begun, compiled = time.monotonic(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def work() -> None:
            try:
                warm_up(self.genesis)
            except Exception as error:
                loop.call_soon_threadsafe(self.fail, error)
            loop.call_soon_threadsafe(compiled.set)

        logger.info("preparing kernels (compiled at the first start, which takes about a minute)")
        Thread(target=work, name="compile", daemon=True).start()
        while not await _within(compiled, POLL_SECONDS):
            if self.ended.is_set():
                exit_now("ended while compiling kernels, nothing was held", 0)
        self._compiled = True
        logger.info("kernels are ready after %.1f s", time.monotonic() - begun)

    async def _work(self) -> None:
        """Join the group, work until `ended`, leave everything in order unless something failed."""
        if self.ended.is_set():
            return
        logger.info("joining the group of workers")
        sending = asyncio.create_task(self._send())
        try:
            await self.app.start()
            deliver_at_once(self.app)
            self.app.sensors.remove(self.app.monitor)  # Faust's own statistics, at a cost per frame; ours are on /metrics
            self.watchdog.start()
            tasks = [self._tend(), self.shards.keep_snapshots(self._commit), self.shards.keep_looking_ahead()]
            await asyncio.wait([asyncio.create_task(task) for task in tasks])
            self._stopping = True
            if self._failure is None:
                logger.info("stopping: writing snapshots")
                await self._leave_in_order()
        finally:
            self._stopping = True
            self.shards.drop()
            sending.cancel()
            stopping = asyncio.create_task(self.app.stop())
            _, late = await asyncio.wait({stopping}, timeout=CLOSE_SECONDS)
            if late:  # it waits for a broker that is gone, and swallows a cancel
                exit_now(f"{self._failure or 'stopped'}; Kafka's consumer did not stop in {CLOSE_SECONDS:.0f} s")

    async def _send(self) -> None:
        """Let the outbox send until cancelled."""
        try:
            await self.outbox.run()
        except UserError as error:
            self.fail(error)

    async def _leave_in_order(self) -> None:
        """Write last snapshots, commit them, and show what is left to show; UserError when that takes too long."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.shards.save_all(self._commit)
                await self.sink.drain(CLOSE_SECONDS)
        except TimeoutError as error:
            raise UserError(
                f"no good end in {STOP_SECONDS:.0f} s: the next start replays from the last snapshots"
            ) from error

    async def _tend(self) -> None:
        """Take delivery reports and look after Faust until `ended`."""
        while not await _within(self.ended, POLL_SECONDS):
            try:
                self.outbox.arrived({})
                if self.app.crashed:
                    raise UserError(f"the Kafka consumer failed: {self.app.crash_reason!r}; start the worker again")
            except UserError as error:
                self.fail(error)
            since = self._recovering_since
            if since is not None and self.watchdog.has_caught_up(since):
                self.counters.recovery_seconds, self._recovering_since = time.monotonic() - since, None
                logger.info("recovered in %.1f s", self.counters.recovery_seconds)
        # Faust and aiokafka wait for a broker that is gone, and swallow a cancel: a thread sees to it that there is an end.
        late = Timer(STOP_SECONDS + 2 * CLOSE_SECONDS, exit_now, ["no end in good order: Kafka does not answer"])
        late.daemon = True
        late.start()

    def _read_alerts(self, shard: int, limit: int) -> Sequence[bytes]:
        """The newest messages of margin.alerts of a shard, at most limit, oldest first."""
        start, stop = kafka.watermarks(self.settings, ALERTS, shard)
        messages = kafka.read_partition(self.settings, ALERTS, shard, max(start, stop - limit), stop)
        return [message.value() or b"" for message in messages]

    def fail(self, error: BaseException) -> None:
        """Remember the first failure and end."""
        if self._failure is None:
            self._failure = UserError(str(error)) if isinstance(error, ForeignLog) else error
        self.ended.set()

    def not_ready(self) -> str:
        """Why the worker is not ready: it is once it has shards, all loaded, and none stands still; "" then."""
        if self._stopping:
            return "stopping"
        if not self._compiled:
            return "kernels are compiled, at the first start for about a minute"
        waiting = self.shards.waiting()
        if waiting:
            return waiting
        stalled_seconds = self.watchdog.stalled_seconds()
        return f"a shard stands still for {stalled_seconds:.0f} s" if stalled_seconds > SLOW_SECONDS else ""

    # --- assignment

    async def _assigned(self, _app: Any, /, *assigned: Any, **_: Any) -> None:
        if self.settings.mock_kafka:
            fetch_without_waiting(self.app)
        self.shards.take(place.partition for places in assigned for place in places if place.topic == LOG)
        self._recovering_since = time.monotonic()

    async def _revoked(self, _app: Any, /, *_revoked: Any, **_: Any) -> None:
        self.shards.drop()

    async def _commit(self, offsets: dict[int, int]) -> None:
        """Commit these offsets of the shards that are still held."""
        held = self.shards.offsets()
        places = {TP(LOG, shard): offset for shard, offset in offsets.items() if shard in held}
        if places:
            consumer: Any = self.app.consumer
            await consumer._commit(places)

    # --- frames

    async def _margin(self, stream: StreamT[Any]) -> None:
        """The agent: every frame of every shard assigned to this worker."""
        frames: Any = cast(faust.Stream[Any], stream).noack()
        queue = frames.channel.queue  # Faust gives one frame a turn of the event loop: take what else is there
        async for event in frames.events():
            turn_ends = time.monotonic() + TURN_SECONDS
            await self._frame(event.message)
            while not queue.empty() and time.monotonic() < turn_ends:
                await self._frame(queue.get_nowait().message)

    async def _frame(self, message: Any) -> None:
        """Step the shard with a frame, once it may be stepped, unless it is no longer this worker's."""
        shard = self.shards.get(message.partition)
        if shard is None:
            shard = await self.shards.wait(message.partition)
            if shard is None or message.generation_id != self.app.consumer_generation_id:
                return
        if not self._stopping:
            self._step(shard, message.offset, message.value)

    def _step(self, shard: Shard, offset: int, value: bytes) -> None:
        """Apply one frame and publish what it did."""
        engine = shard.engine
        if offset < engine.offset:
            return
        if offset > engine.offset:
            exit_now(
                f"shard {shard.number}: the log goes on at offset {offset}, the state is at {engine.offset}: frames are"
                f" missing; crossmargin rebuild --shard {shard.number} (workers stopped) replays what the log still holds"
            )
        begun = time.perf_counter()
        try:
            report = engine.step(decode_frame(value), offset)
        except (LogError, BadFrame) as error:
            exit_now(f"topic {LOG}, shard {shard.number}, offset {offset}: {error}; stopped, nothing was changed")
        except Exception:
            logger.exception("shard %d, offset %d", shard.number, offset)
            exit_now(f"shard {shard.number}: the engine failed at offset {offset}; the state before it is in the snapshots")
        self.counters.add(report, time.perf_counter() - begun)
        try:
            if not shard.attached:
                self.shards.attach(shard)
            self._publish(shard.number, engine, report)
        except Exception as error:
            self._stopping = True
            self.fail(error)

    def _publish(self, shard: int, engine: MarginEngine, report: Report) -> None:
        alerts = Alerts(shard, engine, report)
        self.sink.publish(shard, engine, report, alerts)
        self.outbox.put(shard, alerts)
        for key, value in encode_rejects(report.rejects):
            self.outbox.reject(key, value)


class OnLoop(Collector):
    """Collects on the event loop, between two frames, for the thread that answers a scrape; TimeoutError when it is busy."""

    def __init__(self, inner: Collector, loop: asyncio.AbstractEventLoop) -> None:
        self._inner, self._loop = inner, loop

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not collect."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Families of everything as of now."""
        yield from asyncio.run_coroutine_threadsafe(self._gather(), self._loop).result(SCRAPE_SECONDS)

    async def _gather(self) -> list[Metric]:
        return list(self._inner.collect())

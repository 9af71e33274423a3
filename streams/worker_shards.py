"""The shards a worker holds: loaded when they are assigned, snapshotted in turn, dropped when they are revoked."""

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from redis.exceptions import RedisError

from engine.core import MarginEngine
from engine.frames import Genesis
from engine.shadow import market_of
from engine.snapshot import BadSnapshot
from monitors.keys import Keys
from monitors.outlook import Outlook
from monitors.published import MARKET_ACCOUNTS, MARKET_POSITIONS, publish_market
from monitors.redis_sink import RedisSink
from monitors.view import open_client
from streams.outbox import Outbox
from streams.settings import Settings, UserError
from streams.snapshots import Snapshot, SnapshotStore

LOOK_SECONDS: Final = 0.1
ACKNOWLEDGE_SECONDS: Final = 0.005
LAST_SECONDS: Final = 10.0
MARKET_SECONDS: Final = 5.0  # between two publications of the market at least
AHEAD_SECONDS: Final = 5.0  # between two looks ahead
SPARE: Final = 10  # large snapshots are written less often: at most this part of the time goes into one shard's
logger: Final = logging.getLogger("crossmargin.worker")
Commit = Callable[[dict[int, int]], Awaitable[None]]  # offsets by shard


def _copy(engine: MarginEngine, with_market: bool) -> tuple[bytes, bytes | None]:
    """The engine's bytes, and those of its market."""
    return engine.to_bytes(), market_of(engine, MARKET_ACCOUNTS, MARKET_POSITIONS) if with_market else None


class Shard:
    """One assigned shard. free: its engine is loaded and may be stepped, which it may not while it is copied."""

    def __init__(self, number: int, snapshot_due: float) -> None:
        self.number = number
        self.engine = MarginEngine(number)
        self.free = asyncio.Event()
        self.loaded = False
        self.attached = False  # to the sink: once the engine has a log
        self.snapshot_due = snapshot_due
        self.snapshot_at = 0.0  # when the newest snapshot was taken, monotonic seconds; 0: never
        self.snapshot_offset = -1
        self.outlook: Outlook | None = None  # the latest look ahead


class Shards:
    """All shards of this worker. ended: the process is to end. fail: called with what went wrong in the background."""

    def __init__(
        self,
        settings: Settings,
        genesis: Genesis,
        outputs: Outbox,
        sink: RedisSink,
        ended: asyncio.Event,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._store = SnapshotStore(settings.snapshots, settings.snapshots_kept)
        self._period = settings.snapshot_seconds
        self._log_id, self._outputs, self._sink = genesis.log_id, outputs, sink
        self._ended, self._fail = ended, fail
        self._redis_url, self._keys, self._market_at = settings.redis_url, Keys(settings.redis_prefix), -MARKET_SECONDS
        self._held: dict[int, Shard] = {}
        self._assigned = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None

    def get(self, number: int) -> Shard | None:
        """The shard if it is held and may be stepped now."""
        shard = self._held.get(number)
        return shard if shard is not None and shard.free.is_set() else None

    async def wait(self, number: int) -> Shard | None:
        """The shard as soon as it may be stepped; None when it is not (or no longer) this worker's."""
        while True:
            await self._assigned.wait()
            shard = self._held.get(number)
            if shard is None or shard.free.is_set():
                return shard
            await shard.free.wait()

    def offsets(self) -> dict[int, int]:
        """By loaded shard, the next offset it needs."""
        return {shard.number: shard.engine.offset for shard in list(self._held.values()) if shard.loaded}

    def engines(self) -> dict[int, MarginEngine]:
        """By shard that has a log, its engine."""
        return {shard.number: shard.engine for shard in list(self._held.values()) if shard.attached}

    def waiting(self) -> str:
        """What these shards wait for; "" when all are loaded."""
        held = list(self._held.values())
        if not held:
            return "no shard is assigned"
        loading = [str(shard.number) for shard in held if not shard.loaded]
        return f"loading shard {', '.join(loading)}" if loading else ""

    def snapshot_ages(self) -> dict[int, float]:
        """Seconds since the newest snapshot this worker took or loaded, by shard."""
        now = time.monotonic()
        return {shard.number: now - shard.snapshot_at for shard in list(self._held.values()) if shard.snapshot_at}

    def outlooks(self) -> list[Outlook]:
        """The latest look ahead of each shard that had one."""
        return [shard.outlook for shard in list(self._held.values()) if shard.outlook is not None]

    def take(self, numbers: Iterable[int]) -> None:
        """Hold these shards; they are loaded in the background, the rest of the group must not wait for it."""
        self.drop()
        numbers = sorted(numbers)
        now = time.monotonic()
        for place, number in enumerate(numbers):
            self._held[number] = Shard(number, now + self._period * (place + 1) / len(numbers))
        self._loading = asyncio.create_task(self._load_all(list(self._held.values())))
        self._assigned.set()
        logger.info("assigned: shard %s", ", ".join(map(str, numbers)) or "none, standing by")

    def drop(self) -> None:
        """Let go of all shards: another worker may have them now."""
        self._assigned.clear()
        if self._loading is not None:
            self._loading.cancel()
        held, self._held = self._held, {}
        gc.unfreeze()
        if held:
            logger.info("revoked: shard %s", ", ".join(map(str, held)))
        for shard in held.values():
            if shard.attached:
                self._sink.detach(shard.number)
            shard.free.set()  # whoever waits finds it gone

    async def _load_all(self, shards: list[Shard]) -> None:
        try:
            for shard in shards:
                snapshot = await asyncio.to_thread(self._load, shard)
                if self._held.get(shard.number) is not shard:
                    return
                if snapshot:
                    self.attach(shard)
                shard.loaded = True
                shard.free.set()
            gc.collect()  # what a shard holds stays: do not look through it again and again
            gc.freeze()
        except Exception as error:
            self._fail(error)

    def _load(self, shard: Shard) -> bool:
        """Replace the shard's empty engine by that of its newest good snapshot; False when there is none."""
        snapshot = self._store.load(shard.number, self._log_id)
        if snapshot is None:
            return False
        try:
            shard.engine = MarginEngine.from_bytes(snapshot.body)
        except BadSnapshot as error:
            raise UserError(
                f"the snapshot of shard {shard.number} at offset {snapshot.offset} is of another version: {error};"
                f" crossmargin rebuild --shard {shard.number} (workers stopped) replays the log instead"
            ) from error
        shard.snapshot_at, shard.snapshot_offset = time.monotonic(), snapshot.offset
        return True

    def attach(self, shard: Shard) -> None:
        """Show the shard's engine to the sink, which writes all of it."""
        shard.attached = True
        self._sink.attach(shard.number, shard.engine)

    async def keep_snapshots(self, commit: Commit) -> None:
        """Write a snapshot of each shard once a period, the shards in turn, until the process is to end."""
        try:
            while not self._ended.is_set():
                await asyncio.sleep(LOOK_SECONDS)
                for shard in list(self._held.values()):
                    begun = time.monotonic()
                    if shard.free.is_set() and shard.snapshot_due <= begun:
                        await commit(await self._save(shard))
                        took_seconds = time.monotonic() - begun
                        shard.snapshot_due = begun + max(self._period, SPARE * took_seconds)
        except Exception as error:
            self._fail(error)

    async def keep_looking_ahead(self) -> None:
        """Work out early warning and reconciliation of each shard every few seconds, until the process is to end.

        In a thread, between two frames: the shard is not stepped meanwhile, all else goes on.
        """
        due = 0.0
        try:
            while not self._ended.is_set():
                await asyncio.sleep(LOOK_SECONDS)
                begun = time.monotonic()
                if begun < due:
                    continue
                for shard in list(self._held.values()):
                    if shard.attached and shard.free.is_set():
                        await self._look_ahead(shard)
                due = begun + max(AHEAD_SECONDS, SPARE * (time.monotonic() - begun))
        except Exception as error:
            self._fail(error)

    async def _look_ahead(self, shard: Shard) -> None:
        engine = shard.engine
        shard.free.clear()
        try:
            outlook = await asyncio.to_thread(lambda: Outlook(engine.offset, engine.warnings(), engine.reconciliation()))
        finally:
            shard.free.set()
        if self._held.get(shard.number) is shard:
            shard.outlook = outlook
            self._sink.look_ahead(shard.number, outlook)

    async def save_all(self, commit: Commit) -> None:
        """Write a last snapshot of every loaded shard, and commit once for all."""
        offsets: dict[int, int] = {}
        for shard in list(self._held.values()):
            if shard.free.is_set():
                offsets |= await self._save(shard)
        await commit(offsets)

    async def _save(self, shard: Shard) -> dict[int, int]:
        """Copy the engine between two frames, wait for the outputs below it, write; what may be committed then."""
        engine = shard.engine
        if not engine.is_open or engine.offset == shard.snapshot_offset:
            return {}
        shard.free.clear()
        try:
            outputs, offset, clock_ns = self._outputs.mark(), engine.offset, engine.clock_ns
            body, market = await asyncio.to_thread(_copy, engine, self._is_market_due(shard.number))
        finally:
            shard.free.set()
        await self._acknowledged(outputs)
        if self._held.get(shard.number) is not shard:
            return {}
        snapshot = Snapshot(shard.number, offset, engine.genesis, body)
        older = await asyncio.to_thread(self._store.save, snapshot)
        if market is not None:
            await asyncio.to_thread(self._publish_market, market, clock_ns)
        shard.snapshot_at, shard.snapshot_offset = time.monotonic(), offset
        return {} if older is None else {shard.number: older}

    def _is_market_due(self, shard: int) -> bool:
        """All shards have the same market: the first one's worker publishes it."""
        return shard == 0 and time.monotonic() - self._market_at >= MARKET_SECONDS

    def _publish_market(self, market: bytes, clock_ns: int) -> None:
        """Let what-ifs use it; while Redis is away they keep the last one, and the next snapshot tries again."""
        try:
            with open_client(self._redis_url, text=False) as client:
                publish_market(client, self._keys, market, clock_ns)
            self._market_at = time.monotonic()
        except (RedisError, OSError) as error:
            logger.warning("the market was not published: %s", error)

    async def _acknowledged(self, outputs: dict[tuple[str, int], int]) -> None:
        """Wait for the outputs: for ever, but only so long once the process is to end (UserError)."""
        waited_seconds = 0.0
        while not self._outputs.arrived(outputs):
            await asyncio.sleep(ACKNOWLEDGE_SECONDS)
            waited_seconds += ACKNOWLEDGE_SECONDS if self._ended.is_set() else 0.0
            if waited_seconds > LAST_SECONDS:
                raise UserError(f"Kafka acknowledged nothing for {LAST_SECONDS:.0f} s: ended without a last snapshot")

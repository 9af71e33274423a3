"""Redis as a monitor: one asyncio task writes alerts first, then changed figures, and everything again after an outage.

A shard is attached with its engine; publish() after each step only queues. The task owns the connection; whatever goes
wrong with it (server gone, restarted, wiped, full, read-only) has one answer: connect again with backoff and write all
again. Every write compares change numbers and log offsets in Redis, so writing twice changes nothing.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from engine.report import Report
from monitors.alerts import Alert, Alerts
from monitors.backlog import Part, ShardBacklog, alerts_entry, open_call_entry, unique_alerts
from monitors.keys import ALERTS_WINDOW, PREFIX, Keys
from monitors.outlook import Outlook, encode_ladder, encode_reconciliation
from monitors.redis_link import RedisLink, Wiped
from monitors.surface import EngineView

BATCH: Final = 100  # accounts a script call: a millisecond or two of the server's time
BOOKS: Final = 200  # that are looked at beside the figures of a flush, all at once: figures come first
STATES_BATCH: Final = 500  # accounts of a burst of which no more than status and quality is written
BURST_BATCH: Final = 300  # alerts of a burst: fewer turns of a busy loop, and others wait some milliseconds longer
IN_FLIGHT: Final = 4  # calls sent and not answered: the next batch is made while the server works on the last
FIGURES_SPARE: Final = 10  # a flush that took long delays the next: figures take at most this part of the time,
ANEW_SPARE: Final = 2  # and this one while a shard is written anew: nobody may rely on what is shown until it is done
FIRST_DELAY, MAX_DELAY = 0.05, 2.0  # seconds before connecting again
READ_TRIES, READ_DELAY = 12, 1.0  # reading the alerts window: how often, seconds between at most
CANCEL_SECONDS: Final = 0.1
_URGENCY: Final[tuple[tuple[Callable[[ShardBacklog], int], Callable[[ShardBacklog, int], Part], int], ...]] = (
    (lambda backlog: backlog.alerts.quick, ShardBacklog.quick_part, BATCH),
    (lambda backlog: backlog.flipped, ShardBacklog.states_part, STATES_BATCH),
    (lambda backlog: backlog.alerts.burst, ShardBacklog.burst_part, BURST_BATCH),
    (lambda backlog: backlog.flagged, ShardBacklog.figures_part, BATCH),
)  # how many of a kind wait, what takes some, and how many a call
_log = logging.getLogger("crossmargin.redis")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not in Redis yet."""

    alerts: int
    accounts: int


class RedisSink:
    """The Redis monitor of one worker.

    read_alerts(shard, limit) returns the newest messages of margin.alerts of a shard, at most limit, oldest first; it is
    called in a thread. observe(seconds) is told how long after the oldest event of a batch its flags were acknowledged by
    Redis. figures_per_second: flushes of figures, each of at most figures_per_flush accounts of all shards together.
    """

    def __init__(
        self,
        url: str,
        prefix: str = PREFIX,
        *,
        log_id: str,
        shards: int,
        read_alerts: Callable[[int, int], Sequence[bytes]],
        observe: Callable[[float], None] = lambda seconds: None,
        now: Callable[[], int] = time.time_ns,
        figures_per_second: float = 20.0,
        figures_per_flush: int = 1000,
        max_alerts: int = 1 << 16,
    ) -> None:
        self._keys = Keys(prefix)
        self._link = RedisLink(url, self._keys, log_id, shards, now)
        self._shards, self._read_alerts = shards, read_alerts
        self._observe, self._now = observe, now
        self._period, self._per_flush, self._max_alerts = 1 / figures_per_second, figures_per_flush, max_alerts
        self._backlogs: dict[int, ShardBacklog] = {}
        self._due: deque[ShardBacklog] = deque()  # shards whose figures this flush still writes, in turn
        self._turns = 0
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._next_flush, self._budget, self._books_left, self._draining = 0.0, 0, 0, 0
        self._flush_at = self._flush_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self.resynchronizations = 0  # shards written anew since the start

    async def start(self) -> None:
        """Connect once, then write in the background; an unreachable server is waited for, ForeignLog is raised."""
        try:
            await self._link.connect()
        except (RedisError, OSError) as error:
            _log.warning("Redis at %s: %s; the engine goes on", self._link.address, error)
        self._task = asyncio.create_task(self._run(), name="redis-sink")

    def attach(self, shard: int, engine: EngineView) -> None:
        """Take a shard over, also after a snapshot was loaded: all of it is written again. The engine has its genesis."""
        self._backlogs[shard] = ShardBacklog(shard, engine, self._max_alerts)
        self._idle.clear()
        self._wake.set()

    def detach(self, shard: int) -> None:
        """Forget a shard: whoever has it now writes all of it."""
        self._backlogs.pop(shard, None)
        self._wake.set()

    def publish(self, shard: int, engine: EngineView, report: Report, alerts: Alerts) -> None:
        """Queue what a step changed, without waiting; call it right after each step, before anything else may run.

        Raises what ended the sink, if anything did.
        """
        if self._failure is not None:
            raise self._failure
        backlog = self._backlogs[shard]
        if backlog.engine is not engine:
            raise ValueError(f"shard {shard} is attached with another engine")
        self._idle.clear()
        backlog.published_offset = engine.offset
        if alerts:
            backlog.add_alerts(alerts, report.oldest_ns)
            self._wake.set()
        else:
            self._wake_at(self._next_flush)

    def look_ahead(self, shard: int, outlook: Outlook) -> None:
        """Queue what lies ahead of a shard; accounts whose distance changed are written again."""
        self._idle.clear()
        self._backlogs[shard].take_outlook(outlook)
        self._wake_at(self._next_flush)

    def backlog(self) -> Backlog:
        """What waits, as of the last look at the engines; all accounts while Redis is away. Safe to call from any thread."""
        backlogs = list(self._backlogs.values())
        return Backlog(sum(len(b.alerts) for b in backlogs), sum(b.pending_accounts() for b in backlogs))

    @property
    def connected(self) -> bool:
        """Whether Redis answers and holds this log."""
        return self._link.connected

    async def drain(self, timeout: float) -> bool:
        """Write all that waits, without pacing; False when that was not done within timeout seconds."""
        if self._task is None:
            return False
        self._draining += 1
        self._idle.clear()
        self._wake.set()
        idle = asyncio.create_task(self._idle.wait())
        try:
            await asyncio.wait((idle, self._task), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._draining -= 1
            idle.cancel()
        if self._failure is not None:
            raise self._failure
        return self._idle.is_set()

    async def close(self) -> None:
        """Stop writing and disconnect; drain() first to lose nothing that is due."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for task in (self._task, self._reader) if task is not None]
        while waiting := [task for task in tasks if not task.done()]:
            for task in waiting:  # again: asyncio.wait_for, in redis-py, may swallow one that comes with a result
                task.cancel()
            await asyncio.wait(waiting, timeout=CANCEL_SECONDS)
        await self._link.disconnect()

    async def _run(self) -> None:
        """Connect, write until the connection fails, begin again."""
        loop, delay = asyncio.get_running_loop(), FIRST_DELAY
        while True:
            began = loop.time()
            try:
                if not self._link.connected:
                    await self._link.connect()
                    _log.warning("Redis at %s: connected, writing everything again", self._link.address)
                await self._write()
            except (RedisError, OSError, Wiped) as error:
                delay = FIRST_DELAY if loop.time() - began > MAX_DELAY else min(2 * delay, MAX_DELAY)
                reason = str(error) or type(error).__name__
                _log.warning("Redis at %s: %s; trying again in %.2g s", self._link.address, reason, delay)
            except Exception as error:
                self._failure = error
                raise
            finally:
                await self._link.disconnect()
            for backlog in self._backlogs.values():
                backlog.resynchronize()
            await asyncio.sleep(delay)

    async def _write(self) -> None:
        """Write what is most urgent, one small batch after another; wait when there is nothing.

        After each write it looks again from the top: figures are made while no alert waits, as their definitions say.
        """
        while True:
            self._wake.clear()
            self._read_windows()
            if await self._write_windows() or await self._write_changes() or await self._write_calls():
                continue
            if await self._write_outlooks() or await self._write_agreements() or await self._write_figures():
                continue
            if all(backlog.is_written() for backlog in self._backlogs.values()):
                self._idle.set()
            await self._wake.wait()

    def _read_windows(self) -> None:
        """Start reading the alerts windows of shards that are not live, in the background."""
        if self._reader is not None and not self._reader.done():
            return
        unread = [b for b in self._backlogs.values() if not b.live and b.window is None]
        due = [b for b in unread if b.retry_at <= asyncio.get_running_loop().time()]
        if due:
            self._reader = asyncio.create_task(self._read(due), name="redis-sink-alerts")
        elif unread:
            self._wake_at(min(b.retry_at for b in unread))

    async def _read(self, backlogs: list[ShardBacklog]) -> None:
        limit = ALERTS_WINDOW // self._shards
        for backlog in backlogs:
            try:
                window = await asyncio.to_thread(self._window, backlog.shard, limit)
                last = backlog.reread
                reached = last is None or any(alert.id == last.id or alert.offset > last.offset for alert in window)
                problem = "" if last is None or reached else f"alert {last.id} is not there yet"
            except Exception as error:  # the reader is Kafka's business: flags must go on without it
                window, problem = [], str(error) or type(error).__name__
            backlog.tries += 1
            if problem and backlog.tries < READ_TRIES:
                delay = min(FIRST_DELAY * 2**backlog.tries, READ_DELAY)
                backlog.retry_at = asyncio.get_running_loop().time() + delay
                continue
            if problem:
                _log.warning("alerts of shard %d were not read back: %s; the window may lack some", backlog.shard, problem)
            backlog.window = window
        self._wake.set()

    def _window(self, shard: int, limit: int) -> list[Alert]:
        return unique_alerts(self._read_alerts(shard, limit))

    async def _write_windows(self) -> bool:
        """Write the alerts windows that were read, merged by time, once none is being read; then their shards are live."""
        ready = [b for b in self._backlogs.values() if not b.live and b.window is not None]
        if not ready or (self._reader is not None and not self._reader.done()):
            return False
        alerts: list[Alert] = sorted((a for b in ready for a in b.window or ()), key=lambda alert: alert.ts_ns)
        in_flight = 0
        for start in range(0, len(alerts), BATCH):
            await self._link.send([(-1, (0, 0, ""), [], [alerts_entry([alert]) for alert in alerts[start : start + BATCH]])])
            in_flight += 1
            if in_flight == IN_FLIGHT:
                await self._link.receive()
                in_flight -= 1
        for _ in range(in_flight):
            await self._link.receive()
        for backlog in ready:
            if backlog.window is not None:  # else alerts were dropped meanwhile, and are to be read
                backlog.live, backlog.window = True, None
                self.resynchronizations += 1
        return True

    async def _write_changes(self) -> bool:
        """Write all alerts of live shards, with figures or followed by them, some of each shard in one call."""
        in_flight: deque[list[tuple[ShardBacklog, Part]]] = deque()
        written = False
        try:
            while True:
                if sent := self._take_changes():
                    written = True
                    in_flight.append(sent)
                    await self._link.send([backlog.section(part) for backlog, part in sent])
                elif not in_flight:
                    return written
                if len(in_flight) == IN_FLIGHT or not sent:
                    await self._acknowledge(in_flight)
        finally:
            for sent in reversed(in_flight):
                for backlog, part in sent:
                    backlog.alerts.restore(part.alerts)

    def _take_changes(self) -> list[tuple[ShardBacklog, Part]]:
        """Some of what is most urgent, of all shards."""
        live = [backlog for backlog in self._backlogs.values() if backlog.live]
        for count_of, take, batch in _URGENCY:
            if waiting := [backlog for backlog in live if count_of(backlog)]:
                return [(backlog, take(backlog, -(-batch // len(waiting)))) for backlog in waiting]
        return []

    async def _write_calls(self) -> bool:
        """Write all open calls of one shard that became live and whose alerts are all written."""
        for backlog in self._backlogs.values():
            if backlog.live and not backlog.calls_written and not len(backlog.alerts):
                backlog.calls_written = True
                shard, engine, moment = backlog.shard, backlog.engine, backlog.moment
                calls = [open_call_entry(shard, engine, call) for call in engine.open_calls()]
                await self._link.write_calls(shard, moment, calls)
                return True
        return False

    async def _write_outlooks(self) -> bool:
        """Write what lies ahead of one shard for which that is new."""
        for backlog in self._backlogs.values():
            outlook = backlog.outlook
            if outlook is not None and not backlog.outlook_written:
                backlog.outlook_written = True
                await self._link.put(self._keys.ladder(backlog.shard), encode_ladder(outlook.warnings))
                found = encode_reconciliation(outlook.reconciliation)
                await self._link.put(self._keys.reconciliation(backlog.shard), found)
                return True
        return False

    async def _acknowledge(self, in_flight: deque[list[tuple[ShardBacklog, Part]]]) -> None:
        added = await self._link.receive()
        for (backlog, part), new in zip(in_flight.popleft(), added, strict=True):
            backlog.wrote(part.moment[1])
            backlog.alerts.wrote(part.alerts, new, lambda oldest_ns: self._observe((self._now() - oldest_ns) / 1e9))

    async def _write_agreements(self) -> bool:
        """Write agreements that were defined since the last flush, a batch of a shard at a time."""
        backlog = next((b for b in self._backlogs.values() if b.live and b.agreements), None)
        if backlog is None:
            return False
        some, backlog.agreements = backlog.agreements[:BATCH], backlog.agreements[BATCH:]
        await self._link.put_agreements(some)
        return True

    async def _write_figures(self) -> bool:
        """Write one batch of changed figures of the shard whose turn it is, while a flush is due and has budget left."""
        time_now = asyncio.get_running_loop().time()
        if time_now >= self._next_flush or self._draining:
            self._flush_at, self._flush_seconds = time_now, 0.0
            self._next_flush, self._budget, self._books_left = time_now + self._period, self._per_flush, BOOKS
            for backlog in self._backlogs.values():
                backlog.collect()
            self._due = deque(b for b in self._backlogs.values() if b.live and not b.is_written())
            self._due.rotate(-self._turns)
            self._turns += 1
        while self._due and self._budget > 0:
            backlog = self._due.popleft()
            if backlog.live and backlog.published_offset == backlog.engine.offset:
                slots, moment, agreements = backlog.take_slots(BATCH), backlog.moment, backlog.take_agreements(BATCH)
                entries = backlog.figure_entries(slots, settled=True)
                looked = self._books_left if len(slots) else BOOKS
                self._books_left = max(0, looked - backlog.unchecked_books())
                entries += backlog.book_entries(looked)
                self._budget -= max(1, len(entries) + len(agreements))
                await self._link.send([backlog.section(Part([], moment, entries))], agreements)
                await self._link.receive()
                backlog.wrote(moment[1])
                self._flush_seconds += asyncio.get_running_loop().time() - time_now
                spare = FIGURES_SPARE if all(one.is_whole for one in self._backlogs.values()) else ANEW_SPARE
                self._next_flush = max(self._next_flush, self._flush_at + spare * self._flush_seconds)
                if backlog.has_figures() or backlog.unchecked_books():
                    self._due.append(backlog)
                return True
        if not all(backlog.is_written() for backlog in self._backlogs.values()):
            self._wake_at(self._next_flush)
        return False

    def _wake_at(self, when: float) -> None:
        """Wake the task at a moment of the loop's clock, if nothing wakes it before."""
        if self._wake.is_set() or (self._timer is not None and self._timer.when() <= when):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake.set()

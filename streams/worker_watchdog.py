"""The watchdog: compares the log's end with what this worker has done, in a thread that no blocked event loop stops."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread
from typing import Final, NoReturn

from confluent_kafka import Consumer, KafkaException

from streams import kafka
from streams.settings import Settings
from streams.topics import LOG

LOOK_SECONDS: Final = 0.5
SLOW_SECONDS: Final = 5.0
EXIT: Final = 1
logger: Final = logging.getLogger("crossmargin.worker")


def exit_now(reason: str, status: int = EXIT) -> NoReturn:
    """End the process at once, with one line that says why: its state is not to be trusted, a restart will read it again."""
    logger.log(logging.CRITICAL if status else logging.INFO, "%s", reason)
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stderr.flush()
    os._exit(status)


class Watchdog:
    """Ends the process when it holds a shard that stands still while its log goes on, or none while one has no owner.

    offsets: by shard that this worker holds, the next offset it needs. group: of the workers. A broker that does not answer
    proves nothing.
    """

    def __init__(self, settings: Settings, group: str, shards: int, offsets: Callable[[], Mapping[int, int]]) -> None:
        self._group, self._shards, self._offsets = group, shards, offsets
        self._limit_seconds = settings.watchdog_seconds
        self._admin = kafka.admin(settings)
        self._reader = Consumer(kafka.consumer_config(settings))
        self._stopped = Event()
        self._lock = Lock()
        self._ends: dict[int, int] = {}
        self._looked_at = 0.0
        self._moved: dict[int, tuple[int, float]] = {}  # shard -> (offset, since when it is there with work to do)
        self._idle_since: float | None = None
        self._thread = Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """From now on it ends nothing."""
        self._stopped.set()

    def lag(self) -> dict[int, int]:
        """Messages of the log not yet done, by shard held whose end was looked up, as of the last look."""
        with self._lock:
            ends = dict(self._ends)
        return {shard: max(0, ends[shard] - offset) for shard, offset in self._offsets().items() if shard in ends}

    def has_caught_up(self, since: float) -> bool:
        """Whether every shard held has reached an end of its log that was looked up after `since`, monotonic seconds."""
        with self._lock:
            ends, looked_at = dict(self._ends), self._looked_at
        done = [offset >= ends.get(shard, offset + 1) for shard, offset in self._offsets().items()]
        return looked_at > since and len(done) > 0 and all(done)

    def stalled_seconds(self) -> float:
        """How long the slowest shard held has had work and not done any of it."""
        now = time.monotonic()
        with self._lock:
            return max((now - since for _, since in self._moved.values()), default=0.0)

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                reason = self._look(time.monotonic())
            except KafkaException as error:
                logger.debug("the watchdog got no answer from Kafka: %s", error)
                continue
            if reason and not self._stopped.is_set():
                exit_now(reason)

    def _look(self, now: float) -> str:
        """Why the process has to end, "" when it may go on."""
        held = dict(self._offsets())
        if not held:
            return self._look_idle(now)
        self._idle_since = None
        ends = {shard: self._end(shard) for shard in held}
        with self._lock:
            self._ends, self._looked_at = ends, now
            moved = self._moved
            self._moved = {}
            for shard, offset in held.items():
                before, since = moved.get(shard, (-1, now))
                self._moved[shard] = (offset, since if offset == before and offset < ends[shard] else now)
        for shard, (offset, since) in self._moved.items():
            if now - since >= self._limit_seconds:
                return (
                    f"shard {shard} stands at offset {offset} of {ends[shard]} for {now - since:.0f} s"
                    " (setting watchdog_seconds): ending, to be started again"
                )
        return ""

    def _end(self, shard: int) -> int:
        """The offset of the next message of a shard's log."""
        return kafka.held_range(self._reader, LOG, shard)[1]

    def _look_idle(self, now: float) -> str:
        """Without shards: a spare worker may idle; one that was forgotten while a shard has no owner may not."""
        with self._lock:
            self._moved, self._ends = {}, {}
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since < self._limit_seconds:
            return ""
        members = self._admin.describe_consumer_groups([self._group])[self._group].result().members
        owned = {place.partition for one in members for place in one.assignment.topic_partitions if place.topic == LOG}
        if len(owned) >= self._shards:
            self._idle_since = now
            return ""
        return f"no shard was assigned to this worker for {now - self._idle_since:.0f} s while some have no owner: ending"

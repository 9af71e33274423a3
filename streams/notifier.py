"""`crossmargin notifier`: alerts of margin.alerts and margin.calls to webhooks, at least once, in each account's order.

Each route has a consumer group of its own, so that the topic is its queue: a slow webhook holds nobody else back and loses
nothing. A post is delivered, or a message of `notices.dead`, before its offset is committed. A route begins with what comes
after its first start. One that asks for calls only reads margin.calls, any other margin.alerts, which has them too.
"""

import asyncio
import email.utils
import logging
import os
import random
import signal
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
import msgspec
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from prometheus_client import CollectorRegistry

from monitors.alerts import decode_alert
from monitors.notices import BadNotices, Route, body_of, headers, parse_notices
from streams import kafka
from streams.dead_notices import DeadNotice, keep
from streams.health import HealthServer
from streams.notifier_figures import Figures, Tally, group_of, topic_of
from streams.settings import ConfigError, Settings, UserError

BATCH: Final = 50  # messages between two commits
BATCH_SECONDS: Final = 600.0  # after which a batch begins no post any more: what is left is read again
FETCH_SECONDS: Final = 0.5
LONGEST_WAIT: Final = 120.0  # seconds between two tries; a Retry-After is cut to it
FIRST_WAIT: Final = 0.5
POLL_MS: Final = 3_600_000  # a batch, and in it 12 tries of 30 s with 120 s between them, take less
SESSION_MS: Final = 10_000  # after which another notifier takes over what a crashed one had
LOOK_SECONDS: Final = 5.0  # between two looks at what Kafka says of the groups
KEPT_ANSWER: Final = 200  # characters of a webhook's answer that a dead letter keeps
_AGAIN: Final = frozenset({408, 425, 429})  # and every 5xx
_log: Final = logging.getLogger("crossmargin.notifier")


class Notice(NamedTuple):
    """What is posted of an alert. place: partition and offset of its message; alert_ns: the alert's log time."""

    place: tuple[int, int]
    id: str
    alert_ns: int
    body: bytes


def run(settings: Settings) -> None:
    """Deliver until SIGTERM or Ctrl-C, when posts under way are ended. Raises UserError when it cannot start or go on."""
    routes = read_routes(Path(settings.notices), os.environ)
    figures, registry = Figures(routes), CollectorRegistry()
    registry.register(figures)
    address = settings.metrics_host, settings.notifier_metrics_port
    with HealthServer(*address, registry, figures.not_ready, "notifier_metrics_port"):
        kafka.ensure_topics(settings)
        asyncio.run(_serve(settings, routes, figures))


def read_routes(file: Path, env: Mapping[str, str]) -> dict[str, Route]:
    """The routes of a configuration file; ConfigError says what is wrong and where."""
    where = f"{file} (setting notices, CROSSMARGIN_NOTICES)"
    try:
        return parse_notices(tomllib.loads(file.read_text("utf-8")), env)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}; allowed: the path of a TOML file") from error
    except BadNotices as error:
        raise ConfigError(f"{where}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{where}: not a readable TOML file: {error}") from error


async def _serve(settings: Settings, routes: Mapping[str, Route], figures: Figures) -> None:
    stop = stop_by_signal()
    async with aiohttp.ClientSession(auto_decompress=True) as session:
        await serve(settings, routes, session, stop, figures)
    _log.info("ended")


def stop_by_signal() -> asyncio.Event:
    """An event that SIGTERM or Ctrl-C sets."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def serve(
    settings: Settings, routes: Mapping[str, Route], session: aiohttp.ClientSession, stop: asyncio.Event, figures: Figures
) -> None:
    """Run all routes until stop is set; the first that fails ends them all."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_look_on(settings, figures, stop))
            for name, route in routes.items():
                hook = Hook(name, route, session, stop, figures.tallies[name])
                group.create_task(_run_route(settings, hook, stop))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _look_on(settings: Settings, figures: Figures, stop: asyncio.Event) -> None:
    """Let the figures ask Kafka every some seconds; while it does not answer they say so themselves."""
    while not stop.is_set():
        with suppress(UserError):
            await asyncio.to_thread(figures.look, settings)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_SECONDS)


async def _run_route(settings: Settings, hook: "Hook", stop: asyncio.Event) -> None:
    """Read, post and commit. All calls of the Kafka client are made in one thread of the route's own."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, f"route-{hook.name}") as thread:
        try:
            queue = await loop.run_in_executor(thread, Queue, settings, hook, stop.is_set)
            try:
                _log.info("route %s: %s of %s", hook.name, hook.route.template, queue.topic)
                while not stop.is_set():
                    messages = await loop.run_in_executor(thread, queue.fetch)
                    done, dead = await work_off(hook, messages)
                    await loop.run_in_executor(thread, queue.settle, messages, done, dead)
            finally:
                await loop.run_in_executor(thread, queue.close)
        except KafkaException as failure:
            raise UserError(f"Kafka at {settings.kafka}: {failure.args[0]}; start the notifier again") from failure


class Queue:
    """A route's place in its topic, and its dead letters. stopping: whether to give up waiting."""

    def __init__(self, settings: Settings, hook: "Hook", stopping: Callable[[], bool]) -> None:
        self.topic = topic_of(hook.route)
        self._stopping, self._tally = stopping, hook.tally
        self._dead = kafka.Delivery(Producer(kafka.producer_config(settings)))
        group = group_of(settings, hook.name)
        alive = {"max.poll.interval.ms": POLL_MS, "session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": SESSION_MS // 4}
        self._consumer = Consumer(kafka.consumer_config(settings, group, **alive))
        self._consumer.subscribe([self.topic], on_assign=self._assigned)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _begin_at_the_end(consumer, partitions)
        self._tally.is_placed = True

    def fetch(self) -> list[Message]:
        """The next messages, waiting some time for a first one; UserError for an error that stays."""
        first = self._consumer.consume(1, FETCH_SECONDS)
        messages = first + (self._consumer.consume(BATCH - 1, 0) if first else [])
        for message in messages:
            error = message.error()
            if error is not None and error.fatal():
                raise UserError(f"topic {self.topic}: {error.str()}; start the notifier again")
        return [message for message in messages if message.error() is None]

    def settle(self, messages: list[Message], done: set[tuple[int, int]], dead: list[DeadNotice]) -> None:
        """Keep the dead letters, then commit what is done, up to the first message of each partition that is not."""
        for notice in dead:
            keep(self._dead, notice)
        while not self._dead.wait(FETCH_SECONDS):
            if self._stopping():
                return
        following: dict[int, int] = {}
        left: dict[int, int] = {}
        for partition, offset in map(_place, messages):
            if partition in left or (partition, offset) not in done:
                left.setdefault(partition, offset)
            else:
                following[partition] = offset + 1
        if following:
            try:
                self._consumer.commit(offsets=self._offsets(following), asynchronous=False)
            except KafkaException as failure:  # another member has the partitions: it posts again, with the same ids
                _log.warning("topic %s: not committed: %s", self.topic, failure.args[0])
        if not self._stopping():
            for place in self._offsets(left):
                self._consumer.seek(place)

    def _offsets(self, by_partition: Mapping[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self.topic, partition, offset) for partition, offset in by_partition.items()]

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def _begin_at_the_end(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    """Start where the group committed; where it never did at the end as it is now, and commit that."""
    places = consumer.committed(partitions, timeout=kafka.REQUEST_SECONDS)
    new = [place for place in places if place.offset < 0]
    for place in new:
        place.offset = kafka.held_range(consumer, place.topic, place.partition)[1]
    if new:
        consumer.commit(offsets=new, asynchronous=False)
    consumer.assign(places)


def _place(message: Message) -> tuple[int, int]:
    """Partition and offset."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


async def work_off(hook: "Hook", messages: list[Message]) -> tuple[set[tuple[int, int]], list[DeadNotice]]:
    """Post what the route wants, an account's alerts one after the other; (what is done, what was given up)."""
    done: set[tuple[int, int]] = set()
    dead: list[DeadNotice] = []
    chains: dict[str, list[Notice]] = {}
    for message in messages:
        raw, place = message.value() or b"", _place(message)
        try:
            alert = decode_alert(raw)
        except msgspec.DecodeError as error:
            key = f"{message.topic()}:{place[0]}:{place[1]}"
            dead.append(hook.dead(key, f"not an alert of crossmargin: {error}", raw, is_post=False))
            done.add(place)
            continue
        if hook.route.wants(alert):
            notice = Notice(place, alert.id, alert.ts_ns, body_of(hook.route, alert, raw))
            chains.setdefault(alert.account, []).append(notice)
        else:
            hook.tally.outcomes["unwanted"] += 1
            done.add(place)
    for notice, reason in await hook.deliver_all(chains.values(), BATCH_SECONDS):
        if reason:
            dead.append(hook.dead(notice.id, reason, notice.body))
        done.add(notice.place)
    hook.tally.outcomes["dead"] += len(dead)
    return done, dead


class Hook:
    """Posts to one webhook, and counts them in a tally."""

    def __init__(self, name: str, route: Route, session: aiohttp.ClientSession, stop: asyncio.Event, tally: Tally) -> None:
        self.name, self.route, self.tally = name, route, tally
        self._session, self._stop = session, stop
        self._random = random.Random()  # spreads tries of several notifiers

    async def deliver_all(self, chains: Iterable[list[Notice]], seconds: float) -> list[tuple[Notice, str]]:
        """Post each chain in its order, as many chains at a time as the route has connections.

        With each notice that was come to in these seconds: "" when it was taken, else why it was given up.
        """
        free, end = asyncio.Semaphore(self.route.connections), time.monotonic() + seconds
        found: list[tuple[Notice, str]] = []

        async def follow(chain: list[Notice]) -> None:
            async with free:
                for notice in chain:
                    reason = None if time.monotonic() > end else await self.deliver(notice.id, notice.body)
                    if reason is None:
                        return
                    if not reason:
                        self.tally.delivered(notice.alert_ns)
                    found.append((notice, reason))

        async with asyncio.TaskGroup() as group:
            for chain in chains:
                group.create_task(follow(chain))
        return found

    async def deliver(self, notice_id: str, body: bytes) -> str | None:
        """Post until it is taken: "" then, else why it is given up; None where the end of the process came first."""
        reason = ""
        for number in range(1, self.route.tries + 1):
            if self._stop.is_set():
                return None
            reason, wait = await self._post(notice_id, body)
            if not reason:
                return ""
            if wait is None:
                return self._give_up(notice_id, reason)
            _log.info("route %s: %s, try %d: %s", self.name, notice_id, number, reason)
            if number < self.route.tries:
                self.tally.retries += 1
                backoff = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (number - 1)) * self._random.uniform(0.5, 1)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), max(wait, backoff))
        return self._give_up(notice_id, f"{reason}, {self.route.tries} tries")

    def _give_up(self, notice_id: str, reason: str) -> str:
        _log.warning("route %s: %s is given up: %s", self.name, notice_id, reason)
        return reason

    async def _post(self, notice_id: str, body: bytes) -> tuple[str, float | None]:
        """Post once: ("", 0) when taken, else (why not, seconds to wait at least, None where another try is no use)."""
        now = int(time.time())
        try:
            async with self._session.post(
                self.route.url,
                data=body,
                headers=headers(self.route.secret, notice_id, now, body),
                timeout=aiohttp.ClientTimeout(self.route.timeout_seconds),
                allow_redirects=False,
            ) as answer:
                if answer.status < 300:
                    return "", 0
                said = (await answer.content.read(4 * KEPT_ANSWER)).decode("utf-8", "replace")[:KEPT_ANSWER]
                reason = f"HTTP {answer.status}" + (f": {' '.join(said.split())}" if said.strip() else "")
                if answer.status >= 500 or answer.status in _AGAIN:
                    return reason, _retry_after(answer.headers.get("Retry-After", ""), now)
                return reason, None
        except TimeoutError:
            return f"no answer in {self.route.timeout_seconds:g} s", 0
        except aiohttp.ClientError as error:
            return type(error).__name__, 0  # its text may hold the address, which is often a secret itself

    def dead(self, notice_id: str, reason: str, body: bytes, *, is_post: bool = True) -> DeadNotice:
        """The dead letter of a post, or of an alert that cannot be read."""
        text, now_ns = body.decode("utf-8", "replace"), time.time_ns()
        return DeadNotice(route=self.name, id=notice_id, reason=reason, ts_ns=now_ns, body=text, is_post=is_post)


def _retry_after(text: str, now_seconds: int) -> float:
    """Seconds that a Retry-After asks for, a number or a date (RFC 9110, 10.2.3); at most LONGEST_WAIT."""
    if text.strip().isdigit():
        return min(LONGEST_WAIT, float(text))
    try:
        at_seconds = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return 0.0
    return min(LONGEST_WAIT, max(0.0, at_seconds - now_seconds))

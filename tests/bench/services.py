"""Real Kafka and Valkey for the benchmarks, the product's processes on them, and what these used of the machine."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest
import redis
from confluent_kafka import Producer

from monitors.keys import Keys, shard_field
from streams import kafka
from streams.embedded import LOOPBACK, free_port
from streams.inputs import input_group
from streams.processes import Child, ready
from streams.settings import Settings, UserError
from streams.topics import LOG
from tests import services

Offsets = dict[tuple[str, int], int]  # by topic and partition
WAIT_SECONDS: Final = 600.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def say(line: str) -> None:
    """Tell what goes on, on stderr."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


class Services:
    """Starts Kafka and Valkey when they are first asked for, and ends them with its context."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="crossmargin-bench-")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @cached_property
    def kafka(self) -> str:
        """Bootstrap servers of a real Kafka. UserError where there is none."""
        (self.folder / "kafka").mkdir()
        say("starting Kafka")
        try:
            return self._stack.enter_context(services.kafka_broker(self.folder / "kafka"))
        except (pytest.skip.Exception, pytest.fail.Exception, AssertionError) as error:
            raise UserError(f"no Kafka for the benchmark: {error}") from error

    @cached_property
    def redis_url(self) -> str:
        """URL of a real Valkey or Redis."""
        try:
            return self._stack.enter_context(services.redis_server())
        except (pytest.skip.Exception, pytest.fail.Exception) as error:
            raise UserError(f"no Redis for the benchmark: {error}") from error

    @cached_property
    def broker_pid(self) -> int | None:
        """The process id of the broker, where this started it."""
        found = self.folder / "kafka" / "kafka.pid"
        return int(found.read_text()) if self.kafka and found.is_file() else None

    @contextmanager
    def chain(self, name: str, redis_url: str = "", **settings: object) -> Iterator["Chain"]:
        """An empty Kafka and Redis, this one or its own, with these settings."""
        services.delete_topics(self.kafka)
        url = redis_url or self.redis_url
        with redis.Redis.from_url(url, decode_responses=True) as client:
            client.flushdb()
            folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
            with Chain(self, client, folder, {"redis_url": url, **settings}) as chain:
                yield chain


class Chain:
    """One log with its topics, and the processes on it; both end with the context."""

    def __init__(self, owner: Services, client: "redis.Redis", folder: Path, settings: dict[str, object]) -> None:
        self.settings = Settings(
            kafka=owner.kafka,
            snapshots=str(folder / "snapshots"),
            metrics_port=free_port(),
            sequencer_metrics_port=free_port(),
            **settings,  # type: ignore[arg-type]
        )
        self.redis, self.folder, self.broker_pid = client, folder, owner.broker_pid
        self.keys = Keys(self.settings.redis_prefix)
        self._stack = ExitStack()
        kafka.ensure_topics(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def start(self, verb: str) -> Child:
        """A sequencer or worker, ready."""
        child = self._stack.enter_context(Child(verb, self.settings, self.folder))
        port = self.settings.metrics_port if verb == "worker" else self.settings.sequencer_metrics_port
        self.until(lambda: not ready(LOOPBACK, port), f"the {verb}", child)
        return child

    def until(self, condition: Callable[[], object], what: str, *children: Child, every_seconds: float = 0.02) -> None:
        """Poll until the condition holds; UserError when a child ended or the time ran out."""
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            for child in children:
                child.check()
            if time.monotonic() > end:
                raise UserError(f"{what} did not come in {WAIT_SECONDS:.0f} s")
            time.sleep(every_seconds)

    def produce(self, messages: Iterable[tuple[str, int, bytes]]) -> Offsets:
        """Send (topic, partition, value) and wait until all arrived; how many by topic and partition."""
        config = kafka.producer_config(self.settings, **{"linger.ms": 20, "batch.num.messages": 10_000})
        delivery = kafka.Delivery(Producer(config))
        for number, (topic, partition, value) in enumerate(messages):
            delivery.send(topic, partition, value)
            if number % 1000 == 0:
                delivery.producer.poll(0)
        delivery.wait()
        return delivery.mark()

    # --- how far it is

    def await_sequenced(self, sent: Offsets, *children: Child) -> None:
        """Wait until the sequencer has committed these offsets by topic and partition."""
        genesis = kafka.read_genesis(self.settings)
        assert genesis is not None
        group = input_group(genesis.log_id)
        partitions: dict[str, list[int]] = {}
        for topic, partition in sent:
            partitions.setdefault(topic, []).append(partition)

        def is_done() -> bool:
            for topic, numbers in partitions.items():
                done = kafka.committed(self.settings, group, topic, numbers)
                if any(done.get(partition, 0) < sent[topic, partition] for partition in numbers):
                    return False
            return True

        self.until(is_done, "the end of the input", *children, every_seconds=0.3)

    def flagged(self) -> dict[int, int]:
        """By shard, the log offset up to which Redis shows the state."""
        shards = range(self.settings.shards)
        found = self.redis.hmget(self.keys.meta, [shard_field(shard, "offset") for shard in shards])
        return {shard: int(offset or 0) for shard, offset in zip(shards, found, strict=True)}

    def await_flagged(self, *children: Child) -> None:
        """Wait until Redis shows the state of the whole log, as long as it is now."""
        ends = {shard: stop for shard, (_, stop) in kafka.log_range(self.settings, LOG).items()}
        self.until(lambda: reached(self.flagged(), ends), "the log's end in Redis", *children)


def reached(offsets: dict[int, int], ends: dict[int, int]) -> bool:
    """Whether every shard is at its end."""
    return all(offsets[shard] >= end for shard, end in ends.items())


class Usage:
    """Processor time of processes from now on, by name."""

    def __init__(self, **pids: int | None) -> None:
        self._pids = {name: pid for name, pid in pids.items() if pid is not None}
        self._before = {name: processor_seconds(pid) for name, pid in self._pids.items()}

    def per_event_us(self, events: int, unit: str = "event") -> dict[str, float]:
        """Processor microseconds per event since the start, by process."""
        used = {name: processor_seconds(pid) - self._before[name] for name, pid in self._pids.items()}
        return {f"{name}_cpu_us_per_{unit}": value / events * 1e6 for name, value in used.items()}


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 where it cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int | str = "self") -> tuple[int, int]:
    """Resident memory of a process now, and its peak so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1]) for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
    return now * 1024, peak * 1024

"""`crossmargin load`: reference documents, start-of-day positions and collateral from files into the input topics."""

import sys
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final
from zoneinfo import available_timezones

import msgspec
from confluent_kafka import Producer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.definitions import Definitions
from engine.documents import Calendar, names_used, parse_document
from engine.limits import Limits
from engine.state import allocate
from engine.terms import Refused
from streams.files import REFERENCE, open_sources
from streams.kafka import Delivery, cluster, ensure_topics, producer_config, read_partition
from streams.settings import Settings, UserError
from streams.sources import Item, Source
from streams.topics import INPUTS

PRODUCER: Final[Mapping[str, Any]] = {"linger.ms": 2, "batch.num.messages": 10_000}
REPORT_EVERY: Final = 4096


class Publisher:
    """Sends items to the input topics, those of one account or instrument always to the same partition.

    counts: messages sent, by topic. finish() proves that all arrived; every method raises UserError when one did not.
    """

    def __init__(self, settings: Settings) -> None:
        ensure_topics(settings)
        topics = cluster(settings).topics
        self._partitions = {name: len(topics[name].partitions) if name in topics else 0 for name in INPUTS}
        missing = [name for name, count in self._partitions.items() if not count]
        if missing:
            raise UserError(f"Kafka at {settings.kafka} has no topic {', '.join(missing)}")
        self._delivery = Delivery(Producer(producer_config(settings, **PRODUCER)))
        self.counts: Counter[str] = Counter()
        self.bytes_sent = 0

    def send(self, item: Item) -> None:
        """Hand over one item; waits while the client's queue is full."""
        _, topic, name, body = item
        key = name.encode()
        partition = 0 if topic == REFERENCE else zlib.crc32(key) % self._partitions[topic]
        self._delivery.send(topic, partition, body, key)
        self.counts[topic] += 1
        self.bytes_sent += len(body)

    def poll(self, seconds: float = 0.0) -> None:
        """Let the client work for up to so long."""
        self._delivery.producer.poll(seconds)
        self._delivery.check()

    def finish(self) -> None:
        """Wait until every message is acknowledged."""
        self._delivery.wait()


def load(settings: Settings, files: Sequence[Path | str], topic: str | None = None) -> Counter[str]:
    """Publish what the files hold, reference documents first; returns the messages by topic once all are acknowledged.

    A reference document that the engine would refuse is a UserError with file, place and reason, before anything is sent.
    """
    sources = open_sources(files, topic)
    publisher = Publisher(settings)
    documents: list[Item] = []
    events: list[Item] = []
    places: list[str] = []
    with progress_bar("load", sources) as bar:
        for source in sources:
            for item in bar(source):
                if item[1] == REFERENCE:
                    documents.append(item)
                    places.append(f"{source.path}, {source.place()}")
                else:
                    events.append(item)
    if documents:
        known = [message.value() or b"" for message in read_partition(settings, REFERENCE, 0)]
        check_documents(documents, places, known, settings.limits)
    publish(publisher, chain(documents, events))
    return publisher.counts


def check_documents(documents: Sequence[Item], places: Sequence[str], known: Iterable[bytes], limits: Limits) -> None:
    """UserError with the place of the first document that the engine would refuse after the known ones.

    Not where a limit is reached: how much there is room for the log itself says.
    """
    for place, (*_, body) in zip(places, documents, strict=True):
        try:
            document = parse_document(body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise UserError(f"{place}: {error}") from error
        if isinstance(document, Calendar) and document.time_zone not in ("", *available_timezones()):
            found, allowed = document.time_zone, "a name such as America/Chicago"
            raise UserError(f"{place}: calendar {document.id}: time_zone: found '{found}'; allowed: {allowed}")
    definitions = Definitions(allocate(limits, 0), limits)
    for body in known:
        with suppress(Refused):
            definitions.define(body)
    place_of = {id(item): place for item, place in zip(documents, places, strict=True)}
    for item in in_order(documents):
        try:
            definitions.define(item[3])
        except Refused as refused:
            if not refused.code.name.startswith("FULL_"):
                raise UserError(f"{place_of[id(item)]}: {refused}") from refused


def publish(publisher: Publisher, items: Iterable[Item]) -> None:
    """Send reference documents in the order of their dependence, and when they have arrived everything else."""
    events: deque[Item] = deque()
    documents: list[Item] = []
    for item in items:
        (documents if item[1] == REFERENCE else events).append(item)
    for item in in_order(documents):
        publisher.send(item)
    publisher.finish()
    while events:
        publisher.send(events.popleft())
    publisher.finish()


def in_order(documents: Sequence[Item]) -> list[Item]:
    """The documents so that each comes after those it names; else in their own order. Those that cannot be read stay too."""
    by_name: dict[tuple[str, str], list[int]] = {}
    needs: list[list[tuple[str, str]]] = []
    for index, (_, _, _, body) in enumerate(documents):
        try:
            document = parse_document(body)
        except (msgspec.MsgspecError, ValueError):  # the sequencer rejects it, with its bytes
            needs.append([])
            continue
        needs.append(names_used(document))
        by_name.setdefault((document.kind, document.id), []).append(index)
    ordered: list[Item] = []
    taken = bytearray(len(documents))

    def take(index: int) -> None:
        taken[index] = 1
        for name in needs[index]:
            for other in by_name.get(name, ()):
                if not taken[other]:
                    take(other)
        ordered.append(documents[index])

    for index in range(len(documents)):
        if not taken[index]:
            take(index)
    return ordered


class Bar:
    """Passes the items of sources through and moves a progress bar by the bytes read; silent unless stderr is a terminal."""

    def __init__(self, progress: Progress, title: str, sources: Sequence[Source]) -> None:
        self._progress = progress
        self._sources = sources
        self._task = progress.add_task(title, total=sum(source.size for source in sources), events=0)

    def __call__(self, items: Iterable[Item]) -> Iterator[Item]:
        for number, item in enumerate(items):
            if number % REPORT_EVERY == 0:
                self.show()
            yield item
        self.show()

    def show(self) -> None:
        """Bring the bar up to date."""
        done = sum(source.bytes_read for source in self._sources)
        self._progress.update(self._task, completed=done, events=sum(source.messages for source in self._sources))


@contextmanager
def progress_bar(title: str, sources: Sequence[Source]) -> Iterator[Bar]:
    """A bar over what is read from files, on stderr and only on a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty()) as progress:
        yield Bar(progress, title, sources)

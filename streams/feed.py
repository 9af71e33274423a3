"""`crossmargin feed`: historical events to the input topics, at X times real time, shifted to now or at their own times."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw

from engine.events import NS
from streams.files import open_sources
from streams.load import Publisher, progress_bar
from streams.settings import ConfigError, Settings
from streams.sources import Item, merged

AHEAD_BYTES: Final = 2 << 20  # how far a feed may be ahead of its readers on the mock cluster, which forgets the oldest
LOOK_EVERY: Final = 256
NAP_SECONDS: Final = 0.002
_START: Final = b'{"ts":'
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


def feed(
    settings: Settings,
    files: Sequence[Path | str],
    speed: float = 1.0,
    as_recorded: bool = False,
    topic: str | None = None,
    backlog: Callable[[], int] | None = None,
) -> Counter[str]:
    """Publish the files' events by time; returns the messages by topic once all are acknowledged. See `play`."""
    sources = open_sources(files, topic)
    publisher = Publisher(settings)
    with progress_bar("feed", sources) as bar:
        play(publisher, bar(merged(sources)), speed, as_recorded, backlog)
    return publisher.counts


def play(
    publisher: Publisher,
    items: Iterable[Item],
    speed: float = 1.0,
    as_recorded: bool = False,
    backlog: Callable[[], int] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Send items at `speed` times real time (0: as fast as possible) until they end or stop() says so; all then arrived.

    Times are moved so that the first event is now, and the others follow at that speed; as_recorded leaves them. backlog
    tells how many sent messages nobody has read yet: the feed waits while they are about 2 MiB.
    """
    if not (speed >= 0 and math.isfinite(speed)):
        raise ConfigError(f"--speed: found {speed}; allowed: 0 (as fast as possible) or more")
    for number, (due_ns, item) in enumerate(_scheduled(items, speed, as_recorded)):
        if number % LOOK_EVERY == 0 and backlog is not None:
            _wait_for_readers(publisher, number, backlog, stop)
        while (early_ns := due_ns - time.time_ns()) > 0 and not stop():
            publisher.poll(min(early_ns / NS, 0.05))
        if stop():
            break
        publisher.send(item)
    publisher.finish()


def _scheduled(items: Iterable[Item], speed: float, as_recorded: bool) -> Iterator[tuple[int, Item]]:
    """(wall time at which to send, item with its time moved); documents and what has no time go at once and unchanged."""
    start_ns = first_ns = 0
    for item in items:
        ts_ns, topic, key, body = item
        if not first_ns and ts_ns:
            start_ns, first_ns = time.time_ns(), ts_ns
        after_ns = ts_ns - first_ns if ts_ns else 0
        due_ns = start_ns + (round(after_ns / speed) if speed else 0)
        if ts_ns and not as_recorded:
            item = due_ns, topic, key, with_time(body, due_ns)
        yield due_ns, item


def with_time(body: bytes, ts_ns: int) -> bytes:
    """The event with another `ts`; unchanged where it has none."""
    if body.startswith(_START):  # as our own readers write it: neither form of a time holds a comma
        end = body.find(b",", len(_START))
        if end > 0:
            return b"%b%d%b" % (_START, ts_ns, body[end:])
    try:
        fields = _fields(body)
    except ValueError:
        return body
    if "ts" not in fields:
        return body
    return msgspec.json.encode({**fields, "ts": ts_ns})


def _wait_for_readers(publisher: Publisher, sent: int, backlog: Callable[[], int], stop: Callable[[], bool]) -> None:
    """Wait while what nobody has read is about AHEAD_BYTES, by the mean size of a message."""
    mean = publisher.bytes_sent / max(1, sent)
    while backlog() * mean > AHEAD_BYTES and not stop():
        publisher.poll(NAP_SECONDS)

"""What all readers of input share: the item they yield, opening a file (gzip too), counts, and failures in one line."""

import gzip
import hashlib
import heapq
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Final, cast

from streams.settings import UserError

Item = tuple[int, str, str, bytes]
"""One event on its way to a topic: (time in ns since 1970 by which it is ordered, topic, message key, JSON)."""

DATA: Final = Path(__file__).with_name("data")
UNREADABLE: Final = (OSError, EOFError, zlib.error)


class Source(ABC):
    """A file of events. Iterating yields its items in the file's order; it can be read once.

    messages counts the events met so far, ignored ones included; ignored counts by kind what has no topic.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages = 0
        self.ignored: Counter[str] = Counter()
        self._raw: BinaryIO | None = None
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise UserError(f"{path}: {_reason(error)}") from error

    @abstractmethod
    def __iter__(self) -> Iterator[Item]:
        """The items; raises UserError with file and line at the first that cannot be read."""

    @property
    def bytes_read(self) -> int:
        """How much of the file (as stored) was read so far."""
        if self._raw is None:
            return 0
        return self.size if self._raw.closed else self._raw.tell()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file's bytes, unpacked where its name ends in .gz; what cannot be read is a UserError."""
        try:
            with self.path.open("rb") as self._raw, unpacked(self.path, self._raw) as stream:
                yield stream
        except UNREADABLE as error:
            raise self.failure(_reason(error)) from error

    def failure(self, what: str) -> UserError:
        """What is wrong at the place being read now, as one line."""
        return UserError(f"{self.path}, {self.place()}: {what}")

    def place(self) -> str:
        """Where in the file the event being read now stands."""
        return f"line {self.messages + 1}"

    def sha256(self) -> str:
        """The hash of the file as stored."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def unpacked(path: Path, raw: BinaryIO) -> BinaryIO:
    """The stream itself, or what is in it where the file's name ends in .gz."""
    return cast(BinaryIO, gzip.open(raw)) if path.name.lower().endswith(".gz") else raw


def start_of(path: Path, size: int) -> bytes:
    """The first bytes of a file, unpacked; UserError where it cannot be read."""
    try:
        with path.open("rb") as raw, unpacked(path, raw) as stream:
            return stream.read(size)
    except UNREADABLE as error:
        raise UserError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else f"not readable: {error}"


def merged(sources: Iterable[Iterable[Item]]) -> Iterator[Item]:
    """All items by time; at equal times in the order of the sources. Each source should be in order of time itself."""
    return heapq.merge(*sources, key=itemgetter(0))

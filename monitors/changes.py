"""What was written to Redis since the last look, of one kind of hash: how tables in memory follow it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from redis import Redis

SCRIPT: Final = Path(__file__).with_name("changes.lua").read_text()
BATCH: Final = 1000  # hashes a call: a few milliseconds of the server's time
MAX_BATCHES: Final = 1000  # a look
Changed = list[list[str | bool]]
"""Rows of id, excess in USD (false: not asked for, or none), and the fields' values or false."""
_unpack: Final = msgspec.msgpack.Decoder(tuple[str | bool, str, Changed]).decode


class Changes:
    """The place of a reader among the writes. client: one that gives bytes.

    keys: meta, the sorted set of ids by the number of their write, and by_excess where excess is wanted; prefix: of the
    hashes. epoch: of the data that was read last.
    """

    def __init__(self, client: Redis, keys: Sequence[str], prefix: str, fields: Sequence[str]) -> None:
        self._client, self._keys, self._prefix, self._fields = client, keys, prefix, fields
        self.epoch, self._mark = "", "0"

    def read(self) -> Iterator[tuple[bool, Changed]]:
        """Batches of (whether the data is new, so that all rows held are gone; rows). redis-py's errors pass."""
        for _ in range(MAX_BATCHES):
            reply = self._client.eval_ro(
                SCRIPT, len(self._keys), *self._keys, self._prefix, self.epoch, self._mark, BATCH, *self._fields
            )
            epoch, mark, rows = _unpack(reply)
            if isinstance(epoch, str) and (epoch != self.epoch or rows):
                is_new = epoch != self.epoch
                self.epoch, self._mark = epoch, mark
                yield is_new, rows
            if len(rows) < BATCH:
                break

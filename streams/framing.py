"""Frames of a batch: documents first, then events in their order, cut into messages of margin.log shard by shard."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.events import KIND_OF, RECORD, Kind
from engine.frames import RANGE, Entry, Frame, FrameKind, Genesis, encode_frame
from streams.directory import ALL_SHARDS

MAX_DOCUMENT_BYTES: Final = 2 << 20  # per frame; one document may be up to 1 MiB
Origin = tuple[str, int]  # topic, partition


@dataclass(slots=True)
class Ordered:
    """Records of a batch in their total order, the shard of each, its message's place, and the bodies of actions by row."""

    records: NDArray[np.void]
    shards: NDArray[np.int32]
    places: NDArray[np.int64]
    bodies: dict[int, msgspec.Raw]

    @classmethod
    def empty(cls) -> "Ordered":
        """No records at all."""
        return cls(np.empty(0, RECORD), np.empty(0, np.int32), np.empty(0, np.int64), {})

    def kept(self, keep: NDArray[np.bool_]) -> "Ordered":
        """Only the rows marked in keep."""
        rows = np.cumsum(keep) - 1
        bodies = {int(rows[row]): body for row, body in self.bodies.items() if keep[row]}
        return Ordered(self.records[keep], self.shards[keep], self.places[keep], bodies)

    def with_clocks(self, at: NDArray[np.int64], times_ns: NDArray[np.int64]) -> "Ordered":
        """The same with CLOCKs of these times before the rows `at` (ascending; one past the end stands at the end)."""
        count = len(self.records) + len(at)
        records, shards = np.zeros(count, RECORD), np.full(count, ALL_SHARDS, np.int32)
        is_event = np.ones(count, np.bool_)
        is_event[at + np.arange(len(at))] = False
        records[is_event], shards[is_event] = self.records, self.shards
        records["ts_ns"][~is_event] = times_ns
        bodies = self.bodies
        if bodies:
            moved = np.flatnonzero(is_event)
            bodies = {int(moved[row]): body for row, body in bodies.items()}
        return Ordered(records, shards, self.places, bodies)


class FrameWriter:
    """One writer's frames on every shard of a log, numbered from 0."""

    def __init__(self, genesis: Genesis, writer: int, frame_records: int) -> None:
        self._genesis = genesis
        self._writer = writer
        self._log_id = bytes.fromhex(genesis.log_id)
        self._frame_records = frame_records
        self._numbers = [0] * genesis.shards

    def genesis_frame(self, shard: int, ranges: NDArray[np.void]) -> bytes:
        """The first frame of a shard; its ranges say where the log's inputs begin."""
        return self._next(shard, FrameKind.GENESIS, genesis=self._genesis, last=True, ranges=ranges)

    def shard_frames(
        self, shard: int, documents: list[tuple[int, Entry]], ordered: Ordered, ranges: NDArray[np.void], oldest_ns: int
    ) -> list[bytes]:
        """A batch's frames on one shard, at least one; the last one states the ranges and the oldest Kafka timestamp."""
        own = [entry for route, entry in documents if route in (ALL_SHARDS, shard)]
        frames = [self._next(shard, FrameKind.DOCUMENTS, documents=part) for part in self._cut_documents(own)]
        rows = np.flatnonzero((ordered.shards == shard) | (ordered.shards == ALL_SHARDS))
        end = {"last": True, "oldest_ns": oldest_ns, "ranges": ranges}
        done = 0
        for stop in self._cuts(rows, ordered):
            part = rows[done:stop]
            if int(part[0]) in ordered.bodies:
                entries = [_action_entry(ordered, int(row)) for row in part]
                frames += [self._next(shard, FrameKind.DOCUMENTS, documents=cut) for cut in self._cut_documents(entries)]
            else:
                last = end if stop == len(rows) else {}
                frames.append(self._next(shard, FrameKind.RECORDS, records=ordered.records[part], **last))
            done = stop
        if not len(rows) or int(rows[-1]) in ordered.bodies:
            frames.append(self._next(shard, FrameKind.RECORDS, **end))
        return frames

    def _cuts(self, rows: NDArray[np.int64], ordered: Ordered) -> list[int]:
        """Where each frame of these rows ends: after frame_records rows, and where records and actions meet."""
        edges = [0, len(rows)]
        if ordered.bodies:
            actions = ordered.records["kind"][rows] == Kind.ACTION
            edges = [0, *(np.flatnonzero(np.diff(actions)) + 1).tolist(), len(rows)]
        cuts: list[int] = []
        for start, stop in pairwise(edges):
            cuts += range(start + self._frame_records, stop, self._frame_records)
            if stop > start:
                cuts.append(stop)
        return cuts

    def _cut_documents(self, entries: list[Entry]) -> list[list[Entry]]:
        parts: list[list[Entry]] = []
        size = 0
        for entry in entries:
            length = memoryview(entry.body).nbytes
            if not parts or len(parts[-1]) >= self._frame_records or size + length > MAX_DOCUMENT_BYTES:
                parts.append([])
                size = 0
            parts[-1].append(entry)
            size += length
        return parts

    def _next(self, shard: int, kind: FrameKind, **content: Any) -> bytes:
        number = self._numbers[shard]
        self._numbers[shard] += 1
        return encode_frame(Frame(kind, shard, self._genesis.shards, self._log_id, self._writer, number, **content))


def range_rows(starts: dict[Origin, int], stops: dict[Origin, int]) -> NDArray[np.void]:
    """RANGE rows from the first to the next position of each origin."""
    rows = [(KIND_OF[topic], partition, starts[topic, partition], stop) for (topic, partition), stop in stops.items()]
    return np.array(rows, RANGE)


def _action_entry(ordered: Ordered, row: int) -> Entry:
    record = ordered.records[row]
    origin = int(record["partition"]), int(record["offset"]), int(record["index"])
    return Entry(Kind.ACTION, *origin, ordered.bodies[row])

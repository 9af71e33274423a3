"""The sequencer's core, pure: messages in, rejects and frames of margin.log out. It reads no clock and does no I/O.

It is stateless: all it knows (directory, positions, latest event time) comes from what was committed, so that a repetition
after a crash says the same, and the engine skips what it has seen.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.codes import Code
from engine.events import CLOCK_NS, KIND_OF, KINDS, MAX_FRAME_RECORDS, NS, RECORD, TOPIC_OF, Kind
from engine.frames import Entry, Genesis
from streams.codec import decode_events, read_document, split, why
from streams.columns import UNKNOWN_NAMES, Columns
from streams.directory import Directory, Refused
from streams.framing import FrameWriter, Ordered, Origin, range_rows

MAX_JUMP_NS: Final = 4 * 86_400 * NS
_REFERENCE: Final = TOPIC_OF[Kind.REFERENCE]


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message of an input topic; timestamp_ns is Kafka's, 0 when there is none."""

    topic: str
    partition: int
    offset: int
    timestamp_ns: int
    value: bytes | None
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """An event that was not taken: where it came from, why, and its bytes."""

    topic: str
    partition: int
    offset: int
    index: int
    code: Code
    detail: str
    raw: bytes
    ts_ns: int


@dataclass(slots=True)
class Batch:
    """What becomes of some messages. Rejects must be acknowledged before the first frame is sent, and positions (the next
    offsets) committed after the last frame is acknowledged.

    frames: (shard, bytes) in sending order. accepted: events by Kind.
    """

    rejects: list[RejectedEvent] = field(default_factory=list)
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    positions: dict[Origin, int] = field(default_factory=dict)
    accepted: NDArray[np.int64] = field(default_factory=lambda: np.zeros(KINDS, np.int64))


@dataclass(slots=True)
class _Rows:
    """Events of one kind on their way: records, shards, and where in the batch each comes from."""

    kind: Kind
    events: list[Any]
    places: NDArray[np.int64]
    indices: NDArray[np.int64]
    columns: Columns


class SequencerCore:
    """Turns messages into frames, in batches, for one writer of one log.

    positions: the next offset of each (topic, partition). latest_ns: in event time, the latest event of what was committed.
    """

    def __init__(
        self,
        genesis: Genesis,
        writer: int,
        directory: Directory,
        positions: dict[Origin, int],
        *,
        frame_records: int = MAX_FRAME_RECORDS,
        latest_ns: int = 0,
    ) -> None:
        self.genesis = genesis
        self.directory = directory
        self.positions = dict(positions)
        self.latest_ns = latest_ns
        self._clock_ns = latest_ns // CLOCK_NS * CLOCK_NS if genesis.time_mode == "event" else genesis.start_ns
        self._unclocked = False  # in event time: whether records follow the last CLOCK
        self._frames = FrameWriter(genesis, writer, frame_records)
        self._is_first = True

    def genesis_frames(self, shards: Sequence[int] | None = None) -> list[tuple[int, bytes]]:
        """The first frame of these shards (all of them by default); its ranges say where the log's inputs begin."""
        ranges = range_rows(self.positions, self.positions)
        every = range(self.genesis.shards)
        return [(shard, self._frames.genesis_frame(shard, ranges)) for shard in (every if shards is None else shards)]

    def batch(
        self, messages: Sequence[Message], now_ns: int, more_reference: Callable[[], Sequence[Message]] = tuple
    ) -> Batch:
        """One batch of messages, in this order; definitions go first. now_ns is the CLOCK's time in wall mode.

        more_reference reads the rest of topic reference; it is called at most once, when a name is unknown.
        """
        batch, places = Batch(), _by_topic(messages)
        origins = _Origins.of(messages)
        batch.positions = self._next_positions(places, origins)
        definitions = self._define([messages[place] for place in places.pop(_REFERENCE, ())], batch)
        rows = [self._judge(KIND_OF[topic], places[topic], messages, batch) for topic in places]
        if any(refused.code in UNKNOWN_NAMES for part in rows for refused in part.columns.refused.values()):
            more = more_reference()
            definitions += self._define(more, batch)
            if more:
                batch.positions[_REFERENCE, 0] = more[-1].offset + 1
            for part in rows:
                self._judge_names_again(part)
        for part in rows:
            self._reject(part, messages, batch)
        ordered = _in_order(rows, origins)
        if self.genesis.time_mode == "event":
            ordered = self._event_clocks(ordered, messages, batch)
        else:
            ordered = self._wall_clocks(ordered, now_ns)
        batch.accepted += np.bincount(ordered.records["kind"], minlength=KINDS)
        batch.accepted[Kind.REFERENCE] = len(definitions)
        oldest_ns = min([message.timestamp_ns for message in messages if message.timestamp_ns > 0], default=0)
        self._write(batch, definitions, ordered, self._ranges(batch.positions), oldest_ns)
        self.positions.update(batch.positions)
        return batch

    def finish(self) -> Batch:
        """In event time, the CLOCK at the end of what was sequenced (an empty batch when nothing came after the last)."""
        batch = Batch()
        if self.genesis.time_mode == "event" and (self._unclocked or self.latest_ns > self._clock_ns):
            self._clock_ns, self._unclocked = max(self._clock_ns, self.latest_ns), False
            ordered = Ordered.empty().with_clocks(np.array([0]), np.array([self._clock_ns]))
            batch.accepted[Kind.CLOCK] = 1
            self._write(batch, [], ordered, range_rows({}, {}), 0)
        return batch

    def _write(
        self,
        batch: Batch,
        definitions: list[tuple[int, Entry]],
        ordered: Ordered,
        ranges: NDArray[np.void],
        oldest_ns: int,
    ) -> None:
        for shard in range(self.genesis.shards):
            frames = self._frames.shard_frames(shard, definitions, ordered, ranges, oldest_ns)
            batch.frames += [(shard, frame) for frame in frames]

    # Judging

    def _next_positions(self, places: dict[str, NDArray[np.int64]], origins: "_Origins") -> dict[Origin, int]:
        """The next position of every origin that has messages here; offsets ascend within one."""
        stops: dict[Origin, int] = {}
        for topic, at in places.items():
            partitions, offsets = origins.partitions[at], origins.offsets[at]
            for partition in np.flatnonzero(np.bincount(partitions)).tolist():
                stop = int(offsets[partitions == partition][-1]) + 1
                stops[topic, partition] = max(stop, self.positions.get((topic, partition), 0))
        return stops

    def _define(self, messages: Sequence[Message], batch: Batch) -> list[tuple[int, Entry]]:
        """The documents taken, each with its shard, in the order of topic reference."""
        taken: list[tuple[int, Entry]] = []
        for message in messages:
            value = message.value or b""
            try:
                elements = split(value)
            except Refused as refused:
                batch.rejects.append(_rejected(message, 0, refused, value))
                continue
            for index, element in enumerate(elements):
                try:
                    shard = self.directory.admit(read_document(element))
                except (ValueError, RecursionError) as error:
                    cause = why(error, Kind.REFERENCE, element)
                    batch.rejects.append(_rejected(message, index, cause, bytes(element)))
                else:
                    body = msgspec.Raw(bytes(element))
                    taken.append((shard, Entry(Kind.REFERENCE, message.partition, message.offset, index, body)))
        return taken

    def _ranges(self, stops: dict[Origin, int]) -> NDArray[np.void]:
        """What the batch covers; a writer's first batch states all its positions: a hole before them shows at once."""
        if self._is_first:
            stops = self.positions | stops
            self._is_first = False
        return range_rows({origin: self.positions.get(origin, 0) for origin in stops}, stops)

    def _judge(self, kind: Kind, at: NDArray[np.int64], messages: Sequence[Message], batch: Batch) -> _Rows:
        places = at.tolist()
        decoded = decode_events(kind, [messages[place].value or b"" for place in places], places)
        for place, index, refused, raw in decoded.refused:
            batch.rejects.append(_rejected(messages[place], index, refused, raw))
        columns = Columns(kind, decoded.events, self.directory)
        return _Rows(kind, decoded.events, np.array(decoded.places, np.int64), np.array(decoded.indices, np.int64), columns)

    def _judge_names_again(self, part: _Rows) -> None:
        """Judge the events with unknown names once more, after more definitions were read."""
        rows = [row for row, refused in part.columns.refused.items() if refused.code in UNKNOWN_NAMES]
        if not rows:
            return
        again = Columns(part.kind, [part.events[row] for row in rows], self.directory)
        part.columns.records[rows], part.columns.shards[rows] = again.records, again.shards
        for i, row in enumerate(rows):
            if i in again.refused:
                part.columns.refused[row] = again.refused[i]
            else:
                del part.columns.refused[row]

    def _reject(self, part: _Rows, messages: Sequence[Message], batch: Batch) -> None:
        """Move the refused rows from the events to the rejects."""
        refused = part.columns.refused
        if not refused:
            return
        finder = _Raw(messages)
        for row in sorted(refused):
            place, index = int(part.places[row]), int(part.indices[row])
            batch.rejects.append(_rejected(messages[place], index, refused[row], finder.find(place, index)))
        keep = np.ones(len(part.events), np.bool_)
        keep[list(refused)] = False
        part.events = [event for event, kept in zip(part.events, keep.tolist(), strict=True) if kept]
        part.places, part.indices = part.places[keep], part.indices[keep]
        part.columns.records, part.columns.shards = part.columns.records[keep], part.columns.shards[keep]

    # Time

    def _wall_clocks(self, ordered: Ordered, now_ns: int) -> Ordered:
        """Put a CLOCK at the end, and after a pause one before the events: they must not seem ahead of the log's time."""
        paused = now_ns - self._clock_ns > CLOCK_NS and len(ordered.records) > 0
        self._clock_ns = max(self._clock_ns, now_ns)
        at = np.array([0, len(ordered.records)] if paused else [len(ordered.records)])
        return ordered.with_clocks(at, np.full(len(at), self._clock_ns))

    def _event_clocks(self, ordered: Ordered, messages: Sequence[Message], batch: Batch) -> Ordered:
        """Reject events over 4 days past the latest; put a CLOCK before the first event at or past each 100 ms boundary."""
        keep = self._without_jumps(ordered.records["ts_ns"])
        if not keep.all():
            self._reject_jumps(ordered, keep, messages, batch)
            ordered = ordered.kept(keep)
        if not len(ordered.records):
            return ordered
        latest = np.maximum(np.maximum.accumulate(ordered.records["ts_ns"]), self.latest_ns)
        ticks = latest // CLOCK_NS * CLOCK_NS
        before = np.concatenate([[self._clock_ns], np.maximum(ticks[:-1], self._clock_ns)])
        at = np.flatnonzero(ticks > before)
        self.latest_ns, self._unclocked = int(latest[-1]), True
        self._clock_ns = max(self._clock_ns, int(ticks[-1]))
        return ordered.with_clocks(at, ticks[at])

    def _without_jumps(self, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which events are not over 4 days past the latest one before them; one that is moves nothing."""
        keep = np.ones(len(times_ns), np.bool_)
        if not len(times_ns):
            return keep
        latest = np.maximum.accumulate(times_ns)
        latest[1:] = np.maximum(latest[:-1], self.latest_ns)
        latest[0] = self.latest_ns
        if not ((latest > 0) & (times_ns > latest + MAX_JUMP_NS)).any():
            return keep
        now = self.latest_ns
        for row, ts_ns in enumerate(times_ns.tolist()):
            if 0 < now < ts_ns - MAX_JUMP_NS:
                keep[row] = False
            else:
                now = max(now, ts_ns)
        return keep

    def _reject_jumps(self, ordered: Ordered, keep: NDArray[np.bool_], messages: Sequence[Message], batch: Batch) -> None:
        finder, now = _Raw(messages), self.latest_ns
        for row, (record, kept) in enumerate(zip(ordered.records, keep.tolist(), strict=True)):
            ts_ns, index, place = int(record["ts_ns"]), int(record["index"]), int(ordered.places[row])
            if kept:
                now = max(now, ts_ns)
                continue
            detail = f"ts: found {ts_ns}; allowed: up to 4 days past the latest event, {now + MAX_JUMP_NS}"
            refused = Refused(Code.TIME_JUMP, detail)
            batch.rejects.append(_rejected(messages[place], index, refused, finder.find(place, index)))


class _Raw:
    """Finds the bytes of an element of a message; splits each array once."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._place = -1
        self._elements: Sequence[bytes | msgspec.Raw] = ()

    def find(self, place: int, index: int) -> bytes:
        if place != self._place:
            self._place, self._elements = place, split(self._messages[place].value or b"")
        return bytes(self._elements[index])


@dataclass(frozen=True, slots=True)
class _Origins:
    """Partitions and offsets of a batch's messages."""

    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> "_Origins":
        partitions = np.array([message.partition for message in messages], np.int64)
        return cls(partitions, np.array([message.offset for message in messages], np.int64))


def _by_topic(messages: Sequence[Message]) -> dict[str, NDArray[np.int64]]:
    """The places of each topic's messages."""
    topics = [message.topic for message in messages]
    numbers = {topic: number for number, topic in enumerate(dict.fromkeys(topics))}
    if len(numbers) == 1:
        return {topics[0]: np.arange(len(topics))}
    by_place = np.fromiter(map(numbers.__getitem__, topics), np.int64, len(topics))
    return {topic: np.flatnonzero(by_place == number) for topic, number in numbers.items()}


def _rejected(message: Message, index: int, refused: Refused, raw: bytes) -> RejectedEvent:
    return RejectedEvent(
        message.topic, message.partition, message.offset, index, refused.code, refused.detail, raw, message.timestamp_ns
    )


def _in_order(rows: list[_Rows], origins: _Origins) -> Ordered:
    """All accepted events in the order of their messages, with their origins filled in."""
    if not rows:
        return Ordered.empty()
    records = _joined([part.columns.records for part in rows])
    shards = np.concatenate([part.columns.shards for part in rows])
    places = np.concatenate([part.places for part in rows])
    indices = np.concatenate([part.indices for part in rows])
    records["index"] = indices
    records["partition"] = origins.partitions[places]
    records["offset"] = origins.offsets[places]
    bodies: dict[int, msgspec.Raw] = {}
    if len(rows) > 1:
        order = np.argsort(places << 16 | indices, kind="stable")
        records, shards, places = records[order], shards[order], places[order]
    actions = next((part for part in rows if part.kind == Kind.ACTION), None)
    if actions is not None:
        at = np.flatnonzero(records["kind"] == Kind.ACTION).tolist()
        bodies = {row: event.body for row, event in zip(at, actions.events, strict=True)}
    return Ordered(records, shards, places, bodies)


def _joined(parts: list[NDArray[np.void]]) -> NDArray[np.void]:
    """np.concatenate, without its slow comparison of record types."""
    if len(parts) == 1:
        return parts[0]
    records, start = np.empty(sum(map(len, parts)), RECORD), 0
    for part in parts:
        records[start : start + len(part)] = part
        start += len(part)
    return records


def rebuilt(shards: int, values: Iterable[bytes]) -> Directory:
    """The directory after these messages of topic reference; what was refused when they were sequenced is refused again."""
    directory = Directory(shards)
    for value in values:
        try:
            elements = split(value)
        except Refused:
            continue
        for element in elements:
            with suppress(ValueError, RecursionError):
                directory.admit(read_document(element))
    return directory

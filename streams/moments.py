"""Engines of a log's shards as they were at a moment, from kept snapshots and the frames of margin.log; nothing is written.

The newest kept snapshot that is not after the moment is loaded, and the log's frames up to the moment follow; without such a
snapshot all frames from the log's start, where it is still held.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core import LogError, MarginEngine
from engine.events import Kind, shard_of
from engine.frames import RANGE, BadFrame, Frame, FrameKind, Genesis, decode_frame
from engine.numbers import INT64_MAX, time_ns, time_text
from engine.report import Report
from engine.snapshot import BadSnapshot, unpack
from streams import kafka
from streams.settings import ConfigError, Settings, UserError
from streams.snapshots import SnapshotStore, Torn
from streams.topics import LOG, REFERENCE

PLACE: Final = "(setting snapshots, CROSSMARGIN_SNAPSHOTS)"


class Moment(NamedTuple):
    """A place in a log: before the frame at an offset, or a time: before the first later clock, with a clock at that time.

    With neither the end of the log. named: the option and the text that a user gave, for messages.
    """

    offset: int | None = None
    ts_ns: int | None = None
    named: str = ""


NEWEST: Final = Moment()
Watch = Callable[[MarginEngine, Report], None]
"""Is shown each step that leads to a moment."""


def moment(text: str | None, option: str) -> Moment:
    """The moment that an option names: a log offset or an RFC 3339 time; None: the end. ConfigError for anything else."""
    if text is None:
        return NEWEST
    named = f"{option}: found {text}; "
    if text.isdecimal():
        return Moment(offset=int(text), named=named)
    try:
        return Moment(ts_ns=time_ns(text), named=named)
    except ValueError as error:
        raise ConfigError(
            f"{option}: found '{text}'; allowed: a log offset, or a time such as 2026-11-02T14:30:00Z"
        ) from error


@dataclass(frozen=True, slots=True)
class Found:
    """An engine at a moment, and how it came about: offset of its snapshot (None: the log's start), frames after it."""

    engine: MarginEngine
    snapshot: int | None
    frames: int

    @property
    def origin(self) -> str:
        """That in words."""
        start = "the log's start" if self.snapshot is None else f"the snapshot at offset {self.snapshot}"
        return f"{start} and {self.frames} frames of the log"


class _Tag(msgspec.Struct):
    kind: str
    id: str
    customer: str = ""


class Moments:
    """The shards of one log. with_log False: only the kept snapshots, and Kafka is not asked. Failures are UserError."""

    def __init__(self, settings: Settings, with_log: bool = True) -> None:
        self._settings, self._with_log = settings, with_log
        self.store = SnapshotStore(settings.snapshots)
        genesis = self._genesis()
        self.genesis: Genesis = genesis
        self.shards = range(genesis.shards)

    def _genesis(self) -> Genesis:
        found = kafka.read_genesis(self._settings) if self._with_log else self.store.genesis()
        if found is None:
            where = f"topic {LOG} is empty" if self._with_log else f"no good snapshot under {self.store.url} {PLACE}"
            raise UserError(f"{where}: no sequencer and worker have written there yet")
        return found

    def shard_of(self, account: str) -> int:
        """The shard that holds an account; by topic reference, or by the newest snapshots where Kafka is not asked."""
        if not self._with_log:
            return self._shard_in_snapshots(account)
        owned = list[str]()
        for message in kafka.read_partition(self._settings, REFERENCE, 0):
            try:
                tag = msgspec.json.decode(message.value() or b"", type=_Tag)
            except (msgspec.MsgspecError, UnicodeDecodeError):  # rejected by the sequencer too
                continue
            if (tag.kind, tag.id) == ("account", account):
                return shard_of(tag.customer, self.genesis.shards)
            if (tag.kind, tag.customer) == ("account", account):
                owned.append(tag.id)
        hint = f"it is a customer with {', '.join(owned)}" if owned else "crossmargin status lists some"
        raise UserError(f"found no account '{account}': topic {REFERENCE} does not define it; {hint}")

    def _shard_in_snapshots(self, account: str) -> int:
        damaged = list[str]()
        for shard in self.shards:
            offsets = self.store.offsets(shard)
            if not offsets:
                continue
            try:
                bodies = unpack(self.store.read(shard, offsets[-1]).body)[1]
            except (Torn, BadSnapshot) as error:
                damaged.append(f"; the snapshot of shard {shard} at offset {offsets[-1]} cannot be read: {error}")
                continue
            tags = (msgspec.json.decode(body, type=_Tag) for body in bodies)
            if any((tag.kind, tag.id) == ("account", account) for tag in tags):
                return shard
        where = f"in the newest snapshots under {self.store.url} {PLACE}"
        raise UserError(f"found no account '{account}' {where}{''.join(damaged)}")

    def older(self, shard: int) -> Moment | None:
        """The moment of the older kept snapshot of a shard, None where fewer than two are kept."""
        offset = self.store.offset_of_older(shard)
        return None if offset is None else Moment(offset=offset)

    def at(self, shard: int, when: Moment, watch: Watch | None = None) -> Found:
        """A shard's engine at a moment; watch sees the steps after the snapshot it begins with."""
        if not self._with_log:
            return self._kept(shard, when)
        first, stop = kafka.watermarks(self._settings, LOG, shard)
        if when.offset is not None and when.offset > stop:
            raise UserError(f"{when.named}the log of shard {shard} ends at offset {stop}")
        start, why = self._snapshot(shard, when, first, stop)
        return self._follow(start or self._start(shard, when, first, why), shard, when, stop, watch)

    def _start(self, shard: int, when: Moment, first: int, why: list[str]) -> Found:
        """An engine before the log's first frame; UserError where that is no longer held."""
        frame = kafka.first_frame(self._settings, shard)
        if first == 0 and (frame is None or frame.kind is FrameKind.GENESIS):
            return Found(MarginEngine(shard), None, 0)
        kept = next((offset for offset in self.store.offsets(shard) if offset >= first), None)
        reach = "no moment can be shown" if kept is None else self._reach(shard, kept)
        raise UserError(
            f"{when.named}the log of shard {shard} was cut before offset {first}, and no snapshot under"
            f" {self.store.url} {PLACE} leads to that moment: {reach}{''.join(f'; {one}' for one in why)}"
        )

    def _reach(self, shard: int, offset: int) -> str:
        try:
            clock_ns = MarginEngine.from_bytes(self.store.read(shard, offset).body).clock_ns
        except (Torn, BadSnapshot) as error:
            return f"nor from its snapshot at offset {offset} on: {error}"
        return f"moments from offset {offset}, {time_text(clock_ns)}, on can be shown"

    def _snapshot(self, shard: int, when: Moment, first: int, stop: int) -> tuple[Found | None, list[str]]:
        """The newest good snapshot that is not after the moment and whose next frame the log holds; why others are not."""
        why = list[str]()
        for offset in reversed(self.store.offsets(shard)):
            if (when.offset is not None and offset > when.offset) or (offset < first and offset != when.offset):
                continue
            try:
                snapshot = self.store.read(shard, offset)
                engine = MarginEngine.from_bytes(snapshot.body)
            except (Torn, BadSnapshot, UserError) as error:
                why.append(f"the snapshot at offset {offset} cannot be read: {error}")
                continue
            if engine.genesis.log_id != self.genesis.log_id:
                raise UserError(
                    f"the snapshots under {self.store.url} {PLACE} belong to log {engine.genesis.log_id},"
                    f" the log is {self.genesis.log_id}: name the place where its workers write"
                )
            if offset > stop:
                raise UserError(f"the log of shard {shard} ends at offset {stop}, before its snapshot at offset {offset}")
            if when.ts_ns is None or engine.clock_ns <= when.ts_ns:
                return Found(engine, offset, 0), why
        return None, why

    def _follow(self, found: Found, shard: int, when: Moment, stop: int, watch: Watch | None) -> Found:
        """The engine after the frames up to the moment."""
        engine, begun, until = found.engine, found.engine.offset, stop if when.offset is None else when.offset
        ts_ns = INT64_MAX if when.ts_ns is None else when.ts_ns
        try:
            for message in kafka.read_partition(self._settings, LOG, shard, begun, until):
                frame, offset = decode_frame(message.value() or b""), message.offset() or 0
                later = _later_clocks(frame, ts_ns)
                if len(later):
                    if engine.clock_ns <= self.genesis.start_ns and later[0] == 0:
                        raise UserError(f"{when.named}the log of shard {shard} begins after that moment")
                    frame = _cut(frame, int(later[0]), ts_ns)
                report = engine.step(frame, offset)
                if watch is not None:
                    watch(engine, report)
                if len(later):
                    engine.offset = offset  # which it has not read to the end
                    break
        except (LogError, BadFrame) as error:
            raise UserError(f"topic {LOG} cannot be followed: {error}") from error
        if not engine.is_open:
            raise UserError(f"{when.named}the log of shard {shard} begins after that moment")
        return Found(engine, found.snapshot, engine.offset - begun)

    def _kept(self, shard: int, when: Moment) -> Found:
        """The newest kept snapshot that is not after the moment."""
        kept = self.store.offsets(shard)
        for offset in reversed(kept):
            if when.offset is not None and offset > when.offset:
                continue
            try:
                engine = MarginEngine.from_bytes(self.store.read(shard, offset).body)
            except (Torn, BadSnapshot) as error:
                raise UserError(
                    f"the snapshot of shard {shard} at offset {offset} under {self.store.url} cannot be read: {error}"
                ) from error
            if when.ts_ns is None or engine.clock_ns <= when.ts_ns:
                return Found(engine, offset, 0)
        held = f"of shard {shard} snapshots are kept at: {', '.join(map(str, kept)) or 'none'}"
        raise UserError(f"{when.named}{held}")


def _later_clocks(frame: Frame, ts_ns: int) -> NDArray[np.intp]:
    """Where in a frame clocks stand that are later than a time."""
    return np.flatnonzero((frame.records["kind"] == Kind.CLOCK) & (frame.records["ts_ns"] > ts_ns))


def _cut(frame: Frame, stop: int, ts_ns: int) -> Frame:
    """The frame's records before `stop`, and a clock at a time in place of the later one: what came before is evaluated."""
    records = frame.records[: stop + 1].copy()
    records[stop]["ts_ns"] = ts_ns
    return replace(frame, records=records, last=False, ranges=np.empty(0, RANGE))

"""A sequencer core and the engines of a log in one process, as fast as possible: for replays, and to size the example."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from engine.core import MarginEngine
from engine.events import TOPIC_OF
from engine.frames import Genesis, decode_frame
from engine.limits import Limits
from engine.numbers import decimal_text
from engine.report import CallState, ChangeKind, Quality, Report, Status, combine
from streams.directory import Directory
from streams.sequence import Batch, Message, SequencerCore
from streams.sources import Item

BATCH_MESSAGES: Final = 8192
LOG_ID: Final = "0" * 32
COLUMNS: Final = (
    "ts_ns",
    "account",
    "change",
    "customer",
    "pool",
    "kind",
    "from",
    "to",
    "call",
    "equity",
    "initial",
    "maintenance",
    "currency",
)

_STATES: Final[dict[int, type[IntEnum]]] = {
    ChangeKind.STATUS: Status,
    ChangeKind.QUALITY: Quality,
    ChangeKind.CALL: CallState,
}


@dataclass
class Shards:
    """The engines of a log in one process, and what their steps reported in sum."""

    engines: list[MarginEngine]
    applied: Counter[str] = field(default_factory=Counter)
    superseded: int = 0
    redelivered: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    changes: list[tuple[Any, ...]] = field(default_factory=list)  # rows of COLUMNS

    @classmethod
    def empty(cls, shards: int) -> "Shards":
        """Engines before the first frame."""
        return cls([MarginEngine(shard) for shard in range(shards)])

    def step(self, shard: int, frame: bytes) -> None:
        """The next frame of a shard."""
        engine = self.engines[shard]
        self._count(engine, engine.step(decode_frame(frame), engine.offset))

    def _count(self, engine: MarginEngine, report: Report) -> None:
        for kind, topic in TOPIC_OF.items():
            if count := int(report.applied[kind]):
                self.applied[topic] += count
        self.superseded += int(report.superseded.sum())
        self.redelivered += int(report.redelivered.sum())
        self.rejects.update(reject.code.reason for reject in report.rejects)
        for change in report.changes:
            who = engine.account_info(int(change["account"]))
            states = _STATES[change["kind"]]
            before, after = states(change["before"]).name, states(change["after"]).name
            money = (
                decimal_text(int(change[name]), who.decimals) for name in ("amount", "equity", "initial", "maintenance")
            )
            what = ChangeKind(change["kind"]).name.lower()
            row = int(change["ts_ns"]), who.id, int(change["change"]), who.customer, who.pool, what, before, after
            self.changes.append((*row, *money, who.currency))

    def digest(self) -> str:
        """The log's digest as 16 hex digits."""
        return f"{combine([engine.digest() for engine in self.engines]):016x}"

    def by_status(self) -> dict[str, int]:
        """Accounts by status."""
        counts: Counter[str] = Counter()
        for engine in self.engines:
            counts.update(engine.population().by_status)
        return dict(counts)


class Replay:
    """Feeds items through a sequencer core into the engines of a log in event time; `frames` collects the log if asked."""

    def __init__(self, shards: int, frame_records: int, limits: Limits, keep_frames: bool = False) -> None:
        genesis = Genesis(log_id=LOG_ID, shards=shards, time_mode="event", start_ns=0, limits=limits)
        self.shards = Shards.empty(shards)
        self.rejects: Counter[str] = Counter()
        self.frames: list[tuple[int, bytes]] | None = [] if keep_frames else None
        self._core = SequencerCore(genesis, 1, Directory(shards), {}, frame_records=frame_records)
        self._offsets: Counter[str] = Counter()
        self._take(self._core.genesis_frames())

    def run(self, items: Iterable[Item]) -> None:
        """All items, and the CLOCK at their end."""
        messages: list[Message] = []
        offsets = self._offsets
        for _, topic, _, body in items:
            messages.append(Message(topic, 0, offsets[topic], 0, body))
            offsets[topic] += 1
            if len(messages) == BATCH_MESSAGES:
                self._batch(self._core.batch(messages, 0))
                messages = []
        if messages:
            self._batch(self._core.batch(messages, 0))
        self._batch(self._core.finish())

    def _batch(self, batch: Batch) -> None:
        self.rejects.update(reject.code.reason for reject in batch.rejects)
        self._take(batch.frames)

    def _take(self, frames: list[tuple[int, bytes]]) -> None:
        for shard, frame in frames:
            self.shards.step(shard, frame)
        if self.frames is not None:
            self.frames += frames

"""Random event streams of all kinds from a seed, and random cuts of them into frames, batches, writers and shards.

A script is a list of items in the order of the log. It is biased so that every reject of meaning, every status and every
quality occurs; `frames` turns it into what each shard reads.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from hypothesis import strategies as st

from engine.events import RECORD, Kind, shard_of
from engine.frames import RANGE, Entry, Frame, FrameKind, Genesis
from engine.limits import Limits
from tests.strategies_world import START_NS, World

LOG_ID = bytes(range(16))
ROOMY = Limits(
    accounts=32, positions=256, instruments=64, assets=16, currencies=8, factors=32, volatilities=32, rules=64, calendars=8,
    partitions=3, ids=1 << 12, sets=8, scenarios=40, portfolios=8, pools=8, statements=256,
)  # fmt: skip
TINY = {
    "accounts": (1, 4), "positions": (1, 8), "instruments": (4, 16), "assets": (2, 6), "currencies": (1, 3),
    "factors": (1, 4),
    "volatilities": (1, 3), "rules": (1, 6), "calendars": (1, 2), "ids": (1, 20), "partitions": (1, 2),
    "sets": (1, 4), "scenarios": (8, 30), "portfolios": (1, 4), "pools": (1, 3),
    "statements": (1, 8),
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One event of a log: whom it is for (a customer's shard, or None: every shard), and its record or document."""

    kind: Kind
    customer: str | None
    partition: int
    offset: int
    index: int
    record: tuple[int, ...] | None = None
    body: bytes | None = None

    @property
    def origin(self) -> tuple[int, int]:
        """Kind and partition."""
        return int(self.kind), self.partition


@dataclass(frozen=True)
class Stream:
    """A script with the log's parameters."""

    limits: Limits
    start_ns: int
    items: list[Item]

    def genesis(self, shards: int) -> Genesis:
        """The first frame's content for so many shards."""
        return Genesis(
            log_id=LOG_ID.hex(), shards=shards, time_mode="event" if self.start_ns == 0 else "wall", start_ns=self.start_ns,
            limits=self.limits,
        )  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """How a script is cut: records a frame at most, items a batch at most, and takeovers by a new writer at most."""

    frame: int = 1024
    batch: int = 64
    takeovers: int = 0
    seed: int = 0


@dataclass
class _Origins:
    """Hands out ascending origins: partitions, offsets with gaps, and indices of arrays."""

    rng: random.Random
    partitions: int
    last: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def next(self, kind: Kind, same_array: bool) -> tuple[int, int, int]:
        """Partition, offset, index of the next event of a kind."""
        if kind is Kind.CLOCK:
            return 0, 0, 0
        partition = 0 if kind is Kind.REFERENCE else self.rng.randrange(self.partitions)
        if kind is not Kind.REFERENCE and self.rng.random() < 0.01:
            partition = self.partitions
        offset, index = self.last.get((kind, partition), (-1, 0))
        if same_array and offset >= 0:
            index += 1
        else:
            offset, index = offset + self.rng.choice((1, 1, 1, 1, 2, 5)), 0
        self.last[kind, partition] = offset, index
        return partition, offset, index


def stream(seed: int, length: int = 400, profile: str = "mixed") -> Stream:
    """A random stream of about so many items; profile: plain (nothing full, nothing extreme), tiny, extreme, or mixed.

    pacts: plain, and mostly about what agreements margin together.
    """
    rng = random.Random(seed)
    if profile == "mixed":
        profile = rng.choice(("plain", "tiny", "extreme"))
    changes: dict[str, int] = {
        "spread_ms": rng.choice((1, 40, 1000)), "rebuild_bps": rng.choice((0, 10, 500)),
        "rebuild_ms": rng.choice((1, 10_000)),
        "ahead_ms": rng.choice((0, 5000, 5000, 5000, 60_000)),
    }  # fmt: skip
    if profile == "tiny":
        changes |= {name: rng.randint(*span) for name, span in TINY.items() if rng.random() < 0.35}
    if changes.get("accounts") == changes.get("currencies") == 1:
        changes["currencies"] = 2  # one of both makes arrays of another layout: every kernel would be compiled twice
    limits = replace_limits(ROOMY, changes)
    origins = _Origins(rng, limits.partitions)
    world = World(rng, extreme=profile == "extreme", pacts=profile == "pacts")
    items: list[Item] = []
    for event in world.events(length):
        same_array = bool(items) and items[-1].kind is event.kind and rng.random() < 0.3
        partition, offset, index = origins.next(event.kind, same_array)
        record = None
        if event.body is None:
            record = (*event.numbers, offset, partition, index, int(event.kind), int(event.flags))
        items.append(Item(event.kind, event.customer, partition, offset, index, record, event.body))
    return Stream(limits, rng.choice((0, START_NS)), items)


def replace_limits(limits: Limits, changes: dict[str, int]) -> Limits:
    """Limits with some of them changed."""
    return Limits(**({name: getattr(limits, name) for name in limits.__struct_fields__} | changes))


def frames(stream: Stream, shards: int = 1, cut: Cut | None = None) -> list[list[Frame]]:
    """What each shard reads: its frames, in order, with genesis, ranges, repetitions and several writers."""
    cut = cut or Cut()
    rng = random.Random(cut.seed)
    logs: list[list[Frame]] = [[] for _ in range(shards)]
    ends = sorted(_unbroken(stream.items))
    begin, is_late, writers = 0, False, rng.randint(0, cut.takeovers)
    for writer in range(writers + 1):
        ahead = [end for end in ends if end > begin]
        end = ends[-1] if writer == writers else rng.choice(ahead[: 1 + len(ahead) // 2])
        run = _Run(stream, shards, writer + 1, cut, rng).frames(begin, end, ends)
        # after a clean stop the next one begins at or before the end; else it repeats what is half written, or still is
        was_late, is_late = is_late, writer < writers and rng.random() < 0.5
        for log, more in zip(logs, run, strict=True):
            kept = more[: rng.randint(1, len(more))] if is_late else more
            log[:] = _merged(log, kept, rng) if was_late else log + kept
        begin = rng.choice([0, *(e for e in ends if e <= (begin if is_late else end))][-6:])
    return logs


def _merged(log: Sequence[Frame], more: Sequence[Frame], rng: random.Random) -> list[Frame]:
    """Two writers overlap: the last frames of the one and the first of the other, each in its own order."""
    own = [at for at, frame in enumerate(log) if frame.writer == log[-1].writer and at > 0]
    late = list(log[len(log) - rng.randint(0, min(4, len(own))) :])
    merged, rest = list(log[: len(log) - len(late)]), list(more)
    while late:
        merged.append((late if rng.random() < 0.5 or not rest else rest).pop(0))
    return merged + rest


def _unbroken(items: Sequence[Item]) -> Iterator[int]:
    """The places where a batch may end: not inside an array."""
    open_until = 0
    last = {(*item.origin, item.offset): at for at, item in enumerate(items) if item.kind is not Kind.CLOCK}
    for at, item in enumerate(items):
        open_until = max(open_until, last.get((*item.origin, item.offset), at))
        if open_until <= at:
            yield at + 1


@dataclass
class _Run:
    """One writer's frames of a part of the script."""

    stream: Stream
    shards: int
    writer: int
    cut: Cut
    rng: random.Random

    def frames(self, begin: int, end: int, ends: Sequence[int]) -> list[list[Frame]]:
        """By shard: genesis, then the batches between two places of the script."""
        genesis = self.stream.genesis(self.shards)
        logs = [[self._frame(s, 0, kind=FrameKind.GENESIS, genesis=genesis)] for s in range(self.shards)]
        while begin < end:
            limit = begin + self.rng.randint(1, self.cut.batch)
            stop = max((e for e in ends if begin < e <= min(limit, end)), default=min(e for e in ends if e > begin))
            ranges = self._ranges(begin, stop)
            for shard, log in enumerate(logs):
                parts = list(self._parts(shard, self.stream.items[begin:stop]))
                for i, part in enumerate(parts):
                    last = i == len(parts) - 1
                    log.append(replace(part, number=len(log), last=last, ranges=ranges if last else part.ranges))
            begin = stop
        return logs

    def _frame(self, shard: int, number: int, **content: object) -> Frame:
        return Frame(shard=shard, shards=self.shards, log_id=LOG_ID, writer=self.writer, number=number, **content)  # type: ignore[arg-type]

    def _ranges(self, begin: int, stop: int) -> np.ndarray:
        """Per origin of these items, the [start, stop) of consumer positions; partitions over the limit have none."""
        items, rows = self.stream.items, []
        allowed = {i.origin for i in items[begin:stop] if i.kind is not Kind.CLOCK}
        for kind, partition in sorted(allowed):
            if partition < self.stream.limits.partitions:
                start, to = (_position(items[:at], kind, partition) for at in (begin, stop))
                rows.append((kind, partition, start, to))
        return np.array(rows, RANGE)

    def _parts(self, shard: int, items: Sequence[Item]) -> Iterator[Frame]:
        """The frames of a batch on one shard; at least one, that may be empty."""
        mine = [i for i in items if i.customer is None or shard_of(i.customer, self.shards) == shard]
        group: list[Item] = []
        for item in mine:
            if group and (len(group) == self.cut.frame or (item.body is None) != (group[0].body is None)):
                yield self._part(shard, group)
                group = []
            group.append(item)
        yield self._part(shard, group)

    def _part(self, shard: int, group: Sequence[Item]) -> Frame:
        if group and group[0].body is not None:
            entries = [Entry(int(i.kind), i.partition, i.offset, i.index, msgspec.Raw(i.body or b"")) for i in group]
            return self._frame(shard, 0, kind=FrameKind.DOCUMENTS, documents=entries)
        return self._frame(shard, 0, kind=FrameKind.RECORDS, records=np.array([i.record for i in group], RECORD))


def _position(items: Sequence[Item], kind: int, partition: int) -> int:
    return max((i.offset + 1 for i in items if i.origin == (kind, partition)), default=0)


def cuts(takeovers: int = 0) -> st.SearchStrategy[Cut]:
    """Hypothesis: cuts of any size, with so many takeovers at most (0: one writer)."""
    return st.builds(
        Cut, st.sampled_from((1, 2, 7, 50, 1024)), st.sampled_from((1, 5, 30, 200)), st.sampled_from((0, takeovers)),
        st.integers(0, 2**32 - 1),
    )  # fmt: skip

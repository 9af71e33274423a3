"""The engine's slow twin: plain ints, dicts and lists, written from the rules and not from the kernels.

It keeps facts only (positions, holdings, marks) and takes every sum anew; it evaluates every account at every CLOCK. So it
also checks that the engine's running sums and dirty marks miss nothing.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from engine.codes import Code
from engine.events import BROADCAST, KINDS, LAST_INDEX, Flag, Kind
from engine.frames import Entry, Frame, FrameKind
from tests.naive_clock import Change, clock
from tests.naive_definitions import define, is_for_all
from tests.naive_events import Event, Verdict, act, apply
from tests.naive_state import State

MAX_WRITERS = 64


class Hole(Exception):
    """Something of the log is missing."""


class LogMismatch(Exception):
    """The frame belongs to another log, shard or number of shards, or the log does not begin with its genesis."""


class Origin(NamedTuple):
    """Where an event came from."""

    kind: Kind
    partition: int
    offset: int
    index: int


@dataclass
class NaiveReport:
    """What one frame did; rejects as (code, kind, partition, offset, index, ts_ns)."""

    applied: list[int] = field(default_factory=lambda: [0] * KINDS)
    superseded: list[int] = field(default_factory=lambda: [0] * KINDS)
    redelivered: list[int] = field(default_factory=lambda: [0] * KINDS)
    rejects: list[tuple[Code, Kind, int, int, int, int]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


class NaiveEngine:
    """One shard, frame by frame."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.offset = 0
        self.state: State | None = None
        self.log_id = b""
        self.shards = 0
        self.writers: dict[int, int] = {}
        self.watermarks: dict[tuple[int, int], tuple[int, int]] = {}  # (kind, partition) -> (offset, index)
        self.covered: dict[tuple[int, int], int] = {}

    def step(self, frame: Frame, offset: int) -> NaiveReport:
        """Applies one frame; Hole or LogMismatch when it does not follow, and then nothing has changed."""
        self._check(frame, offset)
        report = NaiveReport()
        self.offset += 1
        self.writers.pop(frame.writer, None)
        self.writers[frame.writer] = frame.number
        if len(self.writers) > MAX_WRITERS:
            del self.writers[next(iter(self.writers))]
        if self.state is None:
            assert frame.genesis is not None
            self.state = State(frame.genesis, frame.genesis.start_ns)
            self.log_id, self.shards = frame.log_id, frame.shards
        for record in frame.records.tolist():
            self._record(self.state, record, report)
        for entry in frame.documents:
            self._document(self.state, entry, report)
        if frame.last:
            self._cover(frame)
        return report

    def _check(self, frame: Frame, offset: int) -> None:
        if offset != self.offset or frame.number != self.writers.get(frame.writer, -1) + 1:
            raise Hole
        if frame.shard != self.shard or (self.state is None and frame.kind is not FrameKind.GENESIS):
            raise LogMismatch
        if self.state is not None and (frame.log_id, frame.shards) != (self.log_id, self.shards):
            raise LogMismatch
        for kind, partition, start, _ in frame.ranges.tolist() if frame.last else ():
            if start > self.covered.get((kind, partition), start):
                raise Hole

    def _cover(self, frame: Frame) -> None:
        for kind, partition, _, stop in frame.ranges.tolist():
            origin = kind, partition
            self.covered[origin] = max(self.covered.get(origin, stop), stop)
            self.watermarks[origin] = max(self.watermarks.get(origin, (-1, 0)), (stop - 1, LAST_INDEX))

    def _record(self, state: State, record: tuple[int, ...], report: NaiveReport) -> None:
        ts_ns, account, instrument, event_id, quantity, price, *place, kind, flags = record
        offset, partition, index = place
        for_all = kind in BROADCAST
        if kind == Kind.CLOCK:
            report.changes += clock(state, ts_ns)
            report.applied[kind] += self.shard == 0
            return
        origin = Origin(Kind(kind), partition, offset, index)
        if self._is_new(state, origin, for_all, ts_ns, report):
            event = Event(origin.kind, ts_ns, account, instrument, event_id, quantity, price, Flag(flags))
            self._judge(apply(state, event), origin, for_all, ts_ns, report)

    def _document(self, state: State, entry: Entry, report: NaiveReport) -> None:
        origin = Origin(Kind(entry.kind), entry.partition, entry.offset, entry.index)
        body = bytes(entry.body)
        if origin.kind is Kind.ACTION:
            if self._is_new(state, origin, False, 0, report):
                verdict, ts_ns, changes = act(state, body)
                report.changes += changes
                self._judge(verdict, origin, False, ts_ns, report)
        elif self._is_new(state, origin, is_for_all(body), 0, report):
            self._judge(define(state, body), origin, is_for_all(body), 0, report)

    def _is_new(self, state: State, origin: Origin, for_all: bool, ts_ns: int, report: NaiveReport) -> bool:
        """Whether an event is still to be judged; moves the watermark of its origin."""
        if origin.partition >= state.genesis.limits.partitions:
            self._judge(Code.FULL_ORIGINS, origin, for_all, ts_ns, report)
            return False
        key, at = (int(origin.kind), origin.partition), (origin.offset, origin.index)
        if at <= self.watermarks.get(key, (-1, 0)):
            report.redelivered[origin.kind] += not for_all or self.shard == 0
            return False
        self.watermarks[key] = at
        return True

    def _judge(self, verdict: Verdict, origin: Origin, for_all: bool, ts_ns: int, report: NaiveReport) -> None:
        """Counts a verdict; what every shard sees is counted by shard 0 only."""
        if for_all and self.shard != 0:
            return
        if verdict is Code.OK:
            report.applied[origin.kind] += 1
        elif verdict is None:
            report.superseded[origin.kind] += 1
        else:
            report.rejects.append((verdict, *origin, ts_ns))

    def stored(self) -> dict[str, dict[object, object]]:
        """The stored facts by ids, without holdings and exposures of zero."""
        state = self.state
        assert state is not None
        positions, holdings, exposures = {}, {}, {}
        for account_id, account in state.accounts.items():
            for instrument_id, p in account.positions.items():
                positions[account_id, instrument_id] = p.lots, p.cost, p.realized
            for asset, held in account.holdings.items():
                holdings[account_id, asset] = held
            for factor in state.factors:
                exposures[account_id, factor] = state.exposure(account, factor)
            for currency in state.currencies:
                exposures[account_id, f"notional:{currency}"] = state.value(account, currency)
        return {
            "positions": positions,
            "holdings": {key: held for key, held in holdings.items() if held},
            "exposures": {key: exposure for key, exposure in exposures.items() if exposure},
            "marks": {i: (x.mark, x.mark_ns) for i, x in state.instruments.items() if x.mark is not None},
            "volatilities": dict(state.volatilities),
        }

    def figures(self) -> dict[str, tuple[int, ...]]:
        """By account id: status, quality, equity, initial, maintenance, call, excess_usd, change."""
        assert self.state is not None
        return {
            i: (int(a.status), int(a.quality), a.equity, a.initial, a.maintenance, a.call, a.excess_usd, a.change)
            for i, a in self.state.accounts.items()
        }  # fmt: skip

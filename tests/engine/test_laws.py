"""What must hold for any stream: cuts, shards, repetition and recovery change nothing, and what is missing is noticed."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import Hole, LogError, LogMismatch, MarginEngine
from engine.events import RECORD
from engine.frames import RANGE, Frame, FrameKind
from engine.report import Report, combine
from engine.snapshot import BadSnapshot
from engine.state import MARGIN_DUE
from tests.engine.compare import figures_of, report_of
from tests.strategies import LOG_ID, Cut, Stream, frames, stream

SLOW = settings(max_examples=12, deadline=None, print_blob=True)
SEEDS = st.integers(0, 2**32 - 1)


def play(log: Sequence[Frame], engine: MarginEngine) -> list[Report]:
    """Steps an engine over frames."""
    return [engine.step(frame, engine.offset) for frame in log]


def play_shards(source: Stream, shards: int, cut: Cut) -> tuple[list[MarginEngine], list[list[Report]]]:
    """An engine for each shard, after the whole stream."""
    engines = [MarginEngine(shard) for shard in range(shards)]
    reports = [play(log, engine) for log, engine in zip(frames(source, shards, cut), engines, strict=True)]
    return engines, reports


def whole(engines: Sequence[MarginEngine]) -> tuple[dict, dict]:
    """Stored state and figures of all shards together."""
    stored: dict = {}
    figures: dict = {}
    for engine in engines:
        for table, rows in engine.stored().items():
            stored.setdefault(table, {}).update(rows)
        figures |= figures_of(engine)
    return stored, figures


def sums(reports: Sequence[Sequence[Report]]) -> tuple[list[int], Counter]:
    """Applied by kind, and rejects, of all shards together."""
    flat = [report for shard in reports for report in shard]
    applied = sum((report.applied for report in flat), np.zeros(9, np.int64))
    rejects = Counter((r.code, r.kind, r.partition, r.offset, r.index) for report in flat for r in report.rejects)
    return applied.tolist(), rejects


@SLOW
@given(SEEDS)
def test_results_do_not_depend_on_the_cut(seed: int) -> None:
    source = stream(seed, 250)
    seen = []
    for size, batch in ((1, 3), (7, 40), (1024, 500)):
        engines, reports = play_shards(source, 1, Cut(frame=size, batch=batch, seed=seed))
        changes = [row for report in reports[0] for row in report_of(engines[0], report)["changes"]]
        seen.append((engines[0].digest(), whole(engines), sums(reports), changes))
    assert seen[0] == seen[1] == seen[2]


@SLOW
@given(SEEDS)
def test_results_do_not_depend_on_the_number_of_shards(seed: int) -> None:
    source = stream(seed, 250, "plain")
    one, one_reports = play_shards(source, 1, Cut(seed=seed))
    four, four_reports = play_shards(source, 4, Cut(frame=7, seed=seed + 1))
    assert whole(one) == whole(four)
    assert sums(one_reports) == sums(four_reports)
    assert combine([engine.digest() for engine in one]) == combine([engine.digest() for engine in four])


def batches(log: Sequence[Frame]) -> list[list[Frame]]:
    """The frames after the genesis, by batch."""
    found: list[list[Frame]] = [[]]
    for frame in log[1:]:
        found[-1].append(frame)
        if frame.last:
            found.append([])
    return found[:-1]


def renumbered(log: Sequence[Frame], writer: int, number: int = 0) -> list[Frame]:
    """These frames as another writer's."""
    return [replace(frame, writer=writer, number=number + i) for i, frame in enumerate(log)]


@SLOW
@given(SEEDS)
def test_repeated_batches_change_nothing(seed: int) -> None:
    source = stream(seed, 250)
    source = replace(source, items=[i for i in source.items if i.partition < source.limits.partitions])
    rng = random.Random(seed)
    log = frames(source, 1, Cut(frame=5, batch=20, seed=seed))[0]
    once, twice = MarginEngine(0), MarginEngine(0)
    play(log[:1], once)
    play(log[:1], twice)
    done: list[Frame] = []
    for writer, batch in enumerate(batches(log), start=1000):
        play(batch, once)
        play(batch, twice)
        done += batch
        if rng.random() < 0.3:
            # a repeated clock evaluates what came since the last one, so one comes first
            old_clock = next_frame(log, writer=writer, number=0, last=False, records=np.zeros(1, RECORD))
            play([old_clock], once)
            play([old_clock], twice)
            before = twice.digest(), twice.stored(), figures_of(twice)
            starts = [0] + [i + 1 for i, frame in enumerate(done[:-1]) if frame.last]
            again = play(renumbered([log[0], *done[rng.choice(starts) :]], writer, 1), twice)
            assert (twice.digest(), twice.stored(), figures_of(twice)) == before
            assert not any(len(report.changes) or report.rejects for report in again)
            assert not any(report.applied[1:].any() or report.superseded.any() for report in again)
    assert once.digest() == twice.digest()
    assert whole([once]) == whole([twice])


@SLOW
@given(SEEDS, st.floats(0, 1))
def test_a_snapshot_continues_as_if_nothing_had_happened(seed: int, part: float) -> None:
    log = frames(stream(seed, 250), 1, Cut(frame=20, batch=50, takeovers=2, seed=seed))[0]
    half = max(1, int(part * len(log)))
    engine = MarginEngine(0)
    play(log[:half], engine)
    data = engine.to_bytes()
    restored = MarginEngine.from_bytes(data)
    assert restored.shard_digest() == engine.shard_digest()
    assert MarginEngine.from_bytes(restored.to_bytes()).shard_digest() == engine.shard_digest()
    assert sorted(restored.take_touched().tolist()) == list(range(engine.account_count))
    first, second = play(log[half:], engine), play(log[half:], restored)
    for one, other in zip(first, second, strict=True):
        assert report_of(engine, one) == report_of(restored, other)
    assert restored.shard_digest() == engine.shard_digest()
    assert whole([restored]) == whole([engine])


def required(engine: MarginEngine) -> tuple[np.ndarray, np.ndarray]:
    """What each account's positions require, and which of these sums must be those of a walk over the positions."""
    accounts, count = engine._open_log.state.accounts, engine.account_count
    exact = (accounts.flags[:count] & MARGIN_DUE == 0) & (accounts.figures["unpriced"][:count] == 0)
    return accounts.required[:, :count], exact


@SLOW
@given(SEEDS)
def test_requirements_that_follow_positions_are_those_of_a_walk(seed: int) -> None:
    engine = MarginEngine(0)
    for frame in frames(stream(seed, 250), 1, Cut(frame=10, batch=30, seed=seed))[0]:
        play([frame], engine)
        followed, exact = required(engine)
        walked, _ = required(MarginEngine.from_bytes(engine.to_bytes()))
        assert np.array_equal(followed[:, exact], walked[:, exact])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_snapshot_is_refused(data: st.DataObject) -> None:
    good = SNAPSHOT()
    at = data.draw(st.integers(0, len(good) - 1))
    flipped = good[:at] + bytes([good[at] ^ (1 << data.draw(st.integers(0, 7)))]) + good[at + 1 :]
    for bad in (flipped, good[:at]):
        with pytest.raises(BadSnapshot):
            MarginEngine.from_bytes(bad)


class _Snapshot:
    """A snapshot made once."""

    data = b""

    def __call__(self) -> bytes:
        if not self.data:
            engine = MarginEngine(0)
            play(frames(stream(5, 100), 1)[0], engine)
            self.data = engine.to_bytes()
        return self.data


SNAPSHOT = _Snapshot()


@SLOW
@given(SEEDS)
def test_a_dropped_frame_is_noticed_and_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    log = frames(stream(seed, 120), 1, Cut(frame=5, batch=20, takeovers=2, seed=seed))[0]
    writers = Counter(frame.writer for frame in log)
    lost = rng.choice([i for i, f in enumerate(log) if i > 0 and f.number < writers[f.writer] - 1])
    engine = MarginEngine(0)
    play(log[:lost], engine)
    for frame in log[lost + 1 :]:
        before = engine.shard_digest()
        if frame.writer == log[lost].writer:
            with pytest.raises(Hole):
                engine.step(frame, engine.offset)
            assert engine.shard_digest() == before
            return
        try:
            engine.step(frame, engine.offset)
        except Hole:
            assert engine.shard_digest() == before
            return
    raise AssertionError("the writer of the lost frame sent no other")


def ranges(*rows: tuple[int, int, int, int]) -> np.ndarray:
    """Ranges of a batch: kind, partition, start, stop."""
    return np.array(list(rows), RANGE)


def next_frame(log: Sequence[Frame], **changes: object) -> Frame:
    """An empty last frame that may follow, but for what is changed."""
    number = max(f.number for f in log if f.writer == log[-1].writer) + 1
    return replace(Frame(FrameKind.RECORDS, 0, 1, LOG_ID, log[-1].writer, number, last=True), **changes)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda log: next_frame(log, number=log[-1].number), Hole),
        (lambda log: next_frame(log, number=log[-1].number + 2), Hole),
        (lambda log: next_frame(log, writer=77, number=1), Hole),
        (lambda log: next_frame(log, ranges=ranges((1, 0, 10**6, 10**6 + 1))), Hole),
        (lambda log: next_frame(log, ranges=ranges((1, 0, 0, 1), (2, 0, 10**6, 10**6))), Hole),
        (lambda log: next_frame(log, log_id=bytes(16)), LogMismatch),
        (lambda log: next_frame(log, shards=2), LogMismatch),
        (lambda log: next_frame(log, shard=1), LogMismatch),
        (lambda log: next_frame(log, ranges=ranges((99, 0, 0, 1))), LogMismatch),
    ],
)
def test_a_frame_that_does_not_follow_is_refused_and_changes_nothing(
    change: Callable[[Sequence[Frame]], Frame], error: type[LogError]
) -> None:
    log = frames(stream(3, 100, "plain"), 1)[0]
    engine = MarginEngine(0)
    play(log, engine)
    before = engine.shard_digest(), engine.offset, figures_of(engine)
    with pytest.raises(error):
        engine.step(change(log), engine.offset)
    assert (engine.shard_digest(), engine.offset, figures_of(engine)) == before
    engine.step(next_frame(log), engine.offset)


def test_an_offset_that_does_not_follow_is_a_hole() -> None:
    log = frames(stream(3, 100, "plain"), 1)[0]
    engine = MarginEngine(0)
    play(log, engine)
    for offset in (engine.offset - 1, engine.offset + 1):
        with pytest.raises(Hole):
            engine.step(next_frame(log), offset)


def test_a_log_begins_with_its_genesis() -> None:
    log = frames(stream(3, 100, "plain"), 1)[0]
    engine = MarginEngine(0)
    with pytest.raises(LogMismatch):
        engine.step(replace(log[1], number=0), 0)
    assert not engine.is_open
    with pytest.raises(LogError):
        _ = engine.genesis
    engine.step(log[0], 0)
    assert engine.is_open


def test_the_oldest_of_65_writers_is_forgotten() -> None:
    log = frames(stream(3, 100, "plain"), 1)[0][:1]
    engine = MarginEngine(0)
    play(log, engine)
    for writer in range(1000, 1064):
        engine.step(next_frame(log, writer=writer, number=0), engine.offset)
    with pytest.raises(Hole):
        engine.step(next_frame(log), engine.offset)
    engine.step(next_frame(log, writer=1001, number=1), engine.offset)

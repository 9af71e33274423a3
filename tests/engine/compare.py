"""Runs the engine beside its slow twin and says where they differ."""

from dataclasses import astuple, dataclass, field

import numpy as np

from engine.core import MarginEngine
from engine.frames import Frame, decode_frame, encode_frame
from engine.report import Report
from tests.naive import NaiveEngine, NaiveReport
from tests.naive_reconciliation import reconciliation

FIGURE_NAMES = ("status", "quality", "equity", "initial", "maintenance", "call", "excess_usd", "change")


@dataclass
class Pair:
    """One shard twice, as MarginEngine and as NaiveEngine, held equal after every frame."""

    shard: int = 0
    engine: MarginEngine = field(init=False)
    naive: NaiveEngine = field(init=False)
    figures: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine, self.naive = MarginEngine(self.shard), NaiveEngine(self.shard)

    def step(self, frame: Frame) -> tuple[Report, NaiveReport]:
        """Applies a frame, by way of its bytes, to both; AssertionError with the first difference."""
        report = self.engine.step(decode_frame(encode_frame(frame)), self.engine.offset)
        expected = self.naive.step(frame, self.naive.offset)
        where = f"shard {self.shard}, frame {report.offset}"
        assert report_of(self.engine, report) == report_of_twin(expected), where
        assert self.engine.clock_ns == self.naive.state.clock_ns, where
        assert self.engine.stored() == self.naive.stored(), where
        assert savings_of(self.engine) == savings_of_twin(self.naive), where
        assert reconciliation_of(self.engine) == reconciliation(self.naive.state), where
        figures = figures_of(self.engine)
        assert figures == self.naive.figures(), where
        touched = {self.engine.account_ids[slot] for slot in self.engine.take_touched()}
        changed = {i for i, f in figures.items() if i in self.figures and self.figures[i] != f}
        assert changed <= touched, where
        self.figures = figures
        return report, expected


@dataclass
class Solo:
    """One shard without its twin, where the law compares the engine with itself."""

    engine: MarginEngine = field(default_factory=lambda: MarginEngine(0))

    def step(self, frame: Frame) -> tuple[Report, None]:
        """Applies a frame."""
        return self.engine.step(frame, self.engine.offset), None


def report_of(engine: MarginEngine, report: Report) -> dict[str, object]:
    """A report as plain values, by ids."""
    return {
        "applied": report.applied.tolist(),
        "superseded": report.superseded.tolist(),
        "redelivered": report.redelivered.tolist(),
        "rejects": [(r.code, r.kind, r.partition, r.offset, r.index, r.ts_ns) for r in report.rejects],
        "changes": [(engine.account_ids[slot], *rest) for slot, *rest in report.changes.tolist()],
    }


def report_of_twin(report: NaiveReport) -> dict[str, object]:
    """The twin's report as plain values."""
    return {
        "applied": report.applied, "superseded": report.superseded, "redelivered": report.redelivered,
        "rejects": report.rejects, "changes": report.changes,
    }  # fmt: skip


def figures_of(engine: MarginEngine) -> dict[str, tuple[int, ...]]:
    """Every account's figures by id."""
    rows = engine.figures(np.arange(engine.account_count, dtype=np.int32))
    columns = [rows[name].tolist() for name in FIGURE_NAMES]
    return dict(zip(engine.account_ids, zip(*columns, strict=True), strict=True))


def reconciliation_of(engine: MarginEngine) -> tuple[dict[str, int], int, list[tuple[object, ...]]]:
    """Statements by kind, since when the oldest break, and all breaks as sorted tuples."""
    found = engine.reconciliation()
    return found.counts, found.oldest_ns, sorted(astuple(one) for one in found.breaks)


def savings_of(engine: MarginEngine) -> list[tuple[int, ...]]:
    """Every agreement: whether it is in force, the saving now, the last agreed one and when."""
    log = engine._open_log
    rows = log.state.agreements[: len(log.definitions.portfolios.agreement_ids)]
    return rows[["active", "applied", "saving", "agreed_ns"]].tolist()


def savings_of_twin(naive: NaiveEngine) -> list[tuple[int, ...]]:
    """The same of the twin."""
    assert naive.state is not None
    return [(int(p.is_active), p.applied, p.saving, p.agreed_ns) for p in naive.state.pacts.values()]

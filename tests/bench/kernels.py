"""Kernels alone, without Kafka: trades into the book, a price tick over holders, margin, evaluation; and whole frames.

The curve shows what one trade and one holder's update cost a worker's engine from 1 k to 1 M accounts.
"""

from typing import Any, Final

import numpy as np

from engine.apply import apply
from engine.arithmetic import kernel
from engine.evaluate import evaluate_accounts, open_clock
from engine.events import KINDS
from engine.portfolio import margin_portfolios
from engine.report import CHANGE
from engine.revalue import add_value
from engine.state import MARGIN_DUE, POSITIONS_DIRTY, VALUE_DIRTY, State
from tests.bench.filled import Filled
from tests.bench.result import Figures, Sizes, median_seconds, numbers, timed
from tests.bench.services import Services, say
from tests.bench.universe import INSTRUMENTS, Universe

TRADES: Final = 1 << 19
BLOCKS: Final = (1024, 8192, 65_536)
BATCH: Final = 2048  # records of a batch on one of four shards, when the sequencer's batches are full
NOTES: Final = [
    "one core (seconds are processor time), one shard; random trades of positions that exist; records are generated before",
    "trades: engine.apply.apply on 64-byte records with watermark, duplicate check, lot, tick and range checks",
    "holders: engine.revalue.add_value, one price tick over all holders of an instrument, called in compiled code",
    "portfolios: engine.portfolio.margin_portfolios over the example's daily rate scenarios, 99 % loss and stress set",
    "early_warning: distances, ladder and forecast of all accounts",
    "frames: decode, apply, clock, margin and evaluation of the accounts traded or revalued, one clock a batch of"
    f" {BATCH:,} trades or {INSTRUMENTS} prices; no Kafka, no sinks",
]


def run(sizes: Sizes, _: Services) -> tuple[Figures, list[str]]:
    """Rates at kernel_accounts, and the curve."""
    figures: Figures = {"accounts": sizes.kernel_accounts, "positions": sizes.kernel_accounts * sizes.positions}
    say(f"kernels: {sizes.kernel_accounts:,} accounts")
    filled = Filled(Universe(sizes.kernel_accounts, sizes.positions, sizes.seed))
    figures |= _rates(filled, sizes.repetitions)
    del filled
    say("kernels: the same accounts, each margined as a portfolio")
    figures |= _together(
        Filled(Universe(sizes.kernel_accounts, sizes.positions, sizes.seed, together=True)), sizes.repetitions
    )
    curve: Figures = {}
    for accounts in numbers(sizes.curve):
        say(f"kernels: curve, {accounts:,} accounts")
        curve[f"accounts_{accounts}"] = _costs(Filled(Universe(accounts, sizes.positions, sizes.seed)), sizes.repetitions)
    rows = list(curve.values())
    for name in ("frame_ns_per_trade", "frame_ns_per_holder_update", "kernel_ns_per_trade", "kernel_ns_per_holder"):
        if len(rows) > 1:
            curve[f"{name}_largest_over_smallest"] = rows[-1][name] / rows[0][name]
    return {**figures, "curve": curve}, NOTES


def _rates(filled: Filled, repetitions: int) -> Figures:
    """Millions a second of each kernel."""
    figures: Figures = {}
    for block in BLOCKS:
        figures[f"trades_m_per_s_blocks_of_{block}"] = TRADES / _trades_seconds(filled, block, repetitions) / 1e6
    holders = 10 * filled.universe.accounts * filled.universe.positions
    figures["price_holders_m_per_s"] = holders / _holders_seconds(filled.state, 10, repetitions) / 1e6
    state, accounts = filled.state, filled.universe.accounts
    changes = np.zeros(2 * accounts, CHANGE)

    def evaluate(flags: int) -> None:
        state.accounts.flags[:accounts] |= flags
        state.accounts.changed[:] = 1
        evaluate_accounts(state, changes)

    figures["accounts_evaluated_m_per_s"] = accounts / median_seconds(lambda: evaluate(VALUE_DIRTY), repetitions) / 1e6
    margined = median_seconds(lambda: evaluate(POSITIONS_DIRTY | MARGIN_DUE), repetitions)
    figures["accounts_margined_m_per_s"] = accounts / margined / 1e6
    figures["positions_margined_m_per_s"] = accounts * filled.universe.positions / margined / 1e6
    definitions = filled.engine.definitions
    definitions.account_ids, definitions.account_pools = [""] * accounts, [0] * accounts
    figures["early_warning_ms"] = median_seconds(filled.engine.warnings, repetitions) * 1e3
    figures["idle_clock_us"] = median_seconds(lambda: _idle(state, changes), repetitions) * 1e6
    return figures


def _together(filled: Filled, repetitions: int) -> Figures:
    """Thousands of accounts a second margined over their rule's scenarios, all at once."""
    state, accounts = filled.state, filled.universe.accounts

    def work() -> None:
        state.accounts.flags[:accounts] |= POSITIONS_DIRTY | MARGIN_DUE
        state.accounts.changed[:] = 1
        margin_portfolios(filled.margin)

    seconds = median_seconds(work, repetitions)
    assert (state.accounts.together[0, :accounts, 1] > 0).all()
    return {"portfolios_margined_k_per_s": accounts / seconds / 1e3, "scenarios": int(filled.margin.risk.width[0])}


def _idle(state: State, changes: Any) -> None:
    open_clock(state, int(state.now[0]["clock_ns"]) + 1)
    evaluate_accounts(state, changes)


def _trades_seconds(filled: Filled, block: int, repetitions: int) -> float:
    """Median seconds for TRADES trades in blocks."""

    def once() -> float:
        rows = filled.records(TRADES, 0.0)
        results = np.zeros(len(rows), np.uint8)
        counts = np.zeros((4, KINDS), np.int64)
        blocks = [(rows[at : at + block], results[at : at + block]) for at in range(0, len(rows), block)]

        def work() -> None:
            for part, result in blocks:
                apply(filled.state, part, 0, result, counts)

        seconds = timed(work)
        assert not results.any()
        return seconds

    once()
    return float(np.median([once() for _ in range(repetitions)]))


def _holders_seconds(state: State, ticks: int, repetitions: int) -> float:
    """Median seconds for so many ticks of every instrument."""
    return median_seconds(lambda: _tick(state, ticks), repetitions)


@kernel
def _tick(state: State, ticks: int) -> None:
    """Every instrument's lots change value, up and down in turn."""
    for tick in range(ticks):
        for instrument in range(INSTRUMENTS):
            add_value(state, instrument, 1 - 2 * (tick & 1))


def _costs(filled: Filled, repetitions: int) -> Figures:
    """Nanoseconds a trade and a holder's update, of the kernel alone and of whole frames."""
    holders = filled.universe.accounts * filled.universe.positions
    ticks = max(2, 2 * (2_000_000 // holders))
    figures: Figures = {
        "kernel_ns_per_trade": _trades_seconds(filled, 8192, repetitions) / TRADES * 1e9,
        "kernel_ns_per_holder": _holders_seconds(filled.state, ticks, repetitions) / (ticks * holders) * 1e9,
    }
    batches = 64
    figures["frame_ns_per_trade"] = _batch_seconds(filled, batches, 0.0, BATCH, repetitions) / (batches * BATCH) * 1e9
    batches = max(2, min(64, 8_000_000 // holders))
    seconds = _batch_seconds(filled, batches, 1.0, INSTRUMENTS, repetitions)
    figures["frame_ns_per_holder_update"] = seconds / (batches * holders) * 1e9
    return figures


def _batch_seconds(filled: Filled, batches: int, share: float, records: int, repetitions: int) -> float:
    """Median seconds to step so many batches; of prices, each batch ticks every instrument once."""

    def once() -> float:
        frames = []
        for _ in range(batches):
            rows = filled.records(records, share)
            if share == 1.0:
                rows["instrument"] = filled.universe.instrument_keys
                rows["price"] = _MARKS[filled.engine.offset + len(frames) & 1]
            frames += filled.batch(rows)

        def work() -> None:
            for frame in frames:
                report = filled.step(frame)
                assert not report.rejects

        return timed(work)

    once()
    return float(np.median([once() for _ in range(repetitions)]))


_MARKS: Final = (110 * 10**9, 110 * 10**9 + 15_625_000)

"""Margin models alone, on one core: two houses' requirements of cross-margin portfolios, and a grid over option accounts.

Rows are random of the size that the scenario sets have; they are built, and positions are gathered, before the clock starts.
Last, such rows are rebuilt: every instrument revalued in every scenario.
"""

from datetime import date
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E9, LIMIT, kernel
from engine.documents import Instrument
from engine.models.cross_margin import Agreement, cross_margins
from engine.models.grid import Shocks, add_pair, cells, dampeners, requirement
from engine.models.historical import Historical, Portfolios, leg_requirements
from engine.models.rows import Rows, make_rows, portfolio_vector, quantize
from engine.pricing.dates import add_months
from engine.pricing.options import black_value
from engine.scenarios import profits
from engine.scenarios.contracts import TENORS
from engine.scenarios.profits import DAY_NS, Subject
from engine.scenarios.sets import ScenarioSet
from tests.bench.result import Figures, Sizes, median_seconds, timed
from tests.bench.services import Services, say

SECURITIES: Final = 400
FUTURES: Final = 20
BASKET: Final = 12  # deliverable securities of each
OPTIONS: Final = 200
INSTRUMENTS: Final = SECURITIES + FUTURES + OPTIONS
SCENARIOS: Final = 2500
GRID_ACCOUNTS: Final = 10_000
GRID_OPTIONS: Final = 200
SHOCKS: Final = Shocks(0.16, 0.5, 0.25, 0.5, 0.3, 0.13, 1.0, buckets=5)  # 11 moves x 3 volatilities + 8 tails = 41 cells
NOTES: Final = [
    f"one core (seconds are processor time); {INSTRUMENTS} int32 rows x {SCENARIOS:,} scenarios a house; half of each"
    " account's positions are its Treasury leg",
    "cross: engine.models.historical.leg_requirements for each of two houses (legs apart and together, 99 % loss, exact),"
    " then the saving of each account",
    "grid: portfolio cells, dampener, worst cell and requirement; rows are shared and not rebuilt",
    f"rebuild: engine.scenarios.profits and rows.quantize of {SECURITIES} Treasuries of up to 30 years, {FUTURES} futures"
    f" with {BASKET} deliverable securities each, {OPTIONS} options (volatility implied from the mark), x {SCENARIOS:,};"
    " rebuild_first: the first of a day, which makes each security's cash flows anew",
]


def run(sizes: Sizes, _: Services) -> tuple[Figures, list[str]]:
    """Seconds of kernel_accounts under two houses, and of GRID_ACCOUNTS on the grid."""
    say(f"models: {sizes.kernel_accounts:,} accounts under two houses")
    random = np.random.default_rng(sizes.seed)
    accounts, positions = sizes.kernel_accounts, sizes.positions
    cross = median_seconds(_cross(random, accounts, positions), sizes.repetitions)
    say(f"models: {GRID_ACCOUNTS:,} accounts on the grid")
    grid = median_seconds(_grid(random, GRID_ACCOUNTS, positions), sizes.repetitions)
    say(f"models: {INSTRUMENTS} rows rebuilt")
    rebuild = _rebuild(random)
    profits._flows.cache_clear()
    first = timed(rebuild)
    again = median_seconds(rebuild, sizes.repetitions)
    figures: Figures = {
        "accounts": accounts,
        "positions": positions,
        "scenarios": SCENARIOS,
        "cross_seconds": cross,
        "cross_accounts_k_per_s": accounts / cross / 1e3,
        "cross_us_per_portfolio": cross / accounts / 6 * 1e6,
        "grid_accounts": GRID_ACCOUNTS,
        "grid_cells": len(cells(SHOCKS)[0]),
        "grid_seconds": grid,
        "grid_accounts_k_per_s": GRID_ACCOUNTS / grid / 1e3,
        "rebuild_rows": INSTRUMENTS,
        "rebuild_seconds": again,
        "rebuild_first_seconds": first,
    }
    return figures, NOTES


def _rows(random: np.random.Generator, instruments: int, scenarios: int) -> Rows:
    """Rows with moves of about 300 USD a lot."""
    return make_rows(*quantize(random.normal(0, 30_000, (instruments, scenarios))))


def _portfolios(random: np.random.Generator, accounts: int, positions: int, instruments: int) -> Portfolios:
    start = np.arange(accounts + 1) * positions
    row_of = random.integers(0, instruments, accounts * positions, dtype=np.int32)
    lots = random.integers(-500, 500, accounts * positions)
    return Portfolios(row_of, lots, start, start[:-1] + positions // 2)


def _cross(random: np.random.Generator, accounts: int, positions: int) -> Any:
    houses = [_rows(random, INSTRUMENTS, SCENARIOS) for _ in range(2)]
    portfolios = _portfolios(random, accounts, positions, INSTRUMENTS)
    floors = np.zeros((accounts, 3), np.int64)
    vectors, scratch = np.empty((3, SCENARIOS), np.int64), np.empty(2 * SCENARIOS, np.int64)
    results = [np.empty((accounts, 3), np.int64) for _ in houses]
    saving, after = np.empty(accounts, np.int64), np.empty((accounts, 2), np.int64)

    def work() -> None:
        for rows, out in zip(houses, results, strict=True):
            leg_requirements(rows, Historical(SCENARIOS), portfolios, floors, vectors, scratch, out)
        cross_margins(results[0], results[1], Agreement(), saving, after)
        assert saving.max() > 0

    return work


@kernel
def _grid_margins(
    rows: Rows, portfolios: Portfolios, damp: NDArray[np.int64], vectors: NDArray[np.int64], out: NDArray[np.int64]
) -> None:
    """Initial margin of each account in common units, LIMIT out of range; vectors: (2, cells)."""
    vector, total = vectors[0], vectors[1]
    for a in range(len(out)):
        total[:] = 0
        out[a] = LIMIT
        if portfolio_vector(rows, portfolios.row_of, portfolios.lots, portfolios.start[a], portfolios.start[a + 1], vector):
            add_pair(vector, damp, 0, 0, total)
            out[a] = requirement(total, 0, 0, 0, E9, 1)[4]


def _grid(random: np.random.Generator, accounts: int, positions: int) -> Any:
    moves, _ = cells(SHOCKS)
    rows, portfolios = _rows(random, GRID_OPTIONS, len(moves)), _portfolios(random, accounts, positions, GRID_OPTIONS)
    damp = dampeners(SHOCKS, 100_000_00.0 * rows.divisor)
    vectors, out = np.empty((2, len(moves)), np.int64), np.empty(accounts, np.int64)

    def work() -> None:
        _grid_margins(rows, portfolios, damp, vectors, out)
        assert 0 < out.max() < LIMIT

    return work


def _rebuild(random: np.random.Generator) -> Any:
    scenarios = ScenarioSet(
        "bench",
        "1",
        (*TENORS, "BTC-USD"),
        (*["bp"] * len(TENORS), "log"),
        tuple(map(str, range(SCENARIOS))),
        np.column_stack([random.normal(0, 6.0, (SCENARIOS, len(TENORS))), random.normal(0, 0.04, SCENARIOS)]),
    )
    subjects = _subjects(random)

    def work() -> None:
        values, _ = quantize([100 * profits.profits(scenarios, subject, None) for subject in subjects])
        assert values.any(axis=1).all()

    return work


def _subjects(random: np.random.Generator) -> list[Subject]:
    """Treasuries from one month to 30 years, futures on them, and calls and puts on bitcoin, half of them paid in coin."""
    now_ns, day = 20_000 * DAY_NS, date.fromordinal(date(1970, 1, 1).toordinal() + 20_000)
    security: dict[str, Any] = {"type": "treasury", "multiplier": Decimal("0.01"), "coupon": Decimal("4.25")}
    option: dict[str, Any] = {"type": "option", "underlying": "BTC-USD", "expiry": (20_000 + 30) * DAY_NS}
    subjects = [
        Subject(
            _document(f"UST-{i}", **security, maturity=str(add_months(day, 1 + i * 359 // SECURITIES))), price, now_ns, None
        )
        for i, price in enumerate(random.uniform(80, 110, SECURITIES))
    ]
    for i in range(FUTURES):
        start = 100 + 10 * i
        basket = tuple((one, 0.9) for one in subjects[start : start + BASKET])
        subjects.append(Subject(_document(f"ZN-{i}", type="treasury_future"), 110.0, now_ns, None, basket))
    for i, strike in enumerate(random.uniform(50_000, 80_000, OPTIONS).round()):
        value = float(black_value(65_000.0, strike, 0.6, 30 / 365, i % 2 == 0))
        right, inverse = ("call", "put")[i % 2], i >= OPTIONS // 2
        terms = _document(f"O-{i}", **option, strike=Decimal(strike), right=right, inverse=inverse)
        subjects.append(Subject(terms, value / 65_000.0 if inverse else value, now_ns, 65_000.0))
    return subjects


def _document(name: str, **terms: Any) -> Instrument:
    return Instrument(id=name, currency="USD", tick=Decimal("0.01"), band=(Decimal(0), Decimal(10**6)), **terms)

"""The historical margin of positions on every day of their history, each from what was known the day before.

Losses are those of the engine's own model: int32 rows, exact sums and quantiles (engine.models.rows, historical).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import kernel
from engine.models.historical import BPS, blend, requirement
from engine.models.rows import loss_at, make_rows, portfolio_vector, quantize, rank_of
from engine.scenarios.contracts import Contract
from engine.scenarios.moves import Days, Floats, Move, daily_moves, ewma_volatility, standardised
from engine.scenarios.sets import STRESS_DAYS, Filter, years_before

CENTS = 100  # rows are in cents, margins in whole USD


@dataclass(frozen=True, slots=True)
class Rule:
    """margin = max((1 - stress_weight) x filtered + stress_weight x stressed, floor x stressed), rounded up to a dollar.

    filtered: the loss at tail_bps over the filtered moves of the look-back; stressed: the same over the stress set, which is
    the look-back's moves as they were and the stress days, however long ago (once more where the look-back holds them).
    tail_bps 100 is the 99 % loss. The weight on stressed observations and the floor are options (b) and (c) of Article 28,
    Regulation (EU) 153/2013 [M: check].
    """

    filter: Filter = field(default_factory=Filter)
    tail_bps: int = 100
    stress_weight_bps: int = 2_500
    floor_bps: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.tail_bps < 5_000:
            raise ValueError(f"tail_bps: found {self.tail_bps}; allowed: 1 to 4999")
        for name in ("stress_weight_bps", "floor_bps"):
            if not 0 <= getattr(self, name) <= BPS:
                raise ValueError(f"{name}: found {getattr(self, name)}; allowed: 0 to {BPS}")


class Position(NamedTuple):
    """So many lots of a contract, below 0 where short."""

    contract: Contract
    lots: int


@dataclass(frozen=True, slots=True)
class Losses:
    """Positions over history, one row a day: what a margin is made of, and their profit in USD.

    filtered and stressed (days, tails) are int64 in units of which divisor (days,) make a cent; a gain is below 0.
    scenarios counts the filtered ones of the day.
    """

    days: Days
    profit: Floats
    filtered: NDArray[np.int64]
    stressed: NDArray[np.int64]
    divisor: NDArray[np.int64]
    scenarios: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Path:
    """Factors' levels (days, factors) and moves: moves[i] leads from days[i] to days[i + 1]; volatility[i] was known before.

    Columns of levels, moves, scaled (a move over its volatility) and volatility are in the order of factors.
    """

    factors: tuple[str, ...]
    days: Days
    levels: Floats
    moves: Floats
    scaled: Floats
    volatility: Floats


class _Course(NamedTuple):
    """A contract's own columns of a path, and its level and move by day."""

    contract: Contract
    columns: list[int]
    weights: Floats
    level: Floats
    move: Floats


def path_of(contracts: Sequence[Contract], factors: Sequence[str], days: Days, levels: Floats, how: Filter) -> Path:
    """The contracts' factors out of a history, moved and filtered; days without all of them are left out.

    ValueError where the history lacks a factor. A gap in the days keeps the volatility as it was before.
    """
    kinds: dict[str, Move] = {}
    for contract in contracts:
        missing = [name for name in contract.weights if name not in factors]
        if missing:
            raise ValueError(
                f"{contract.symbol}: found no factor {', '.join(missing)}; the history has {', '.join(factors)}"
            )
        kinds |= dict.fromkeys(contract.weights, contract.kind)
    own = levels[:, [list(factors).index(name) for name in kinds]]
    whole = ~np.isnan(own).any(axis=1)
    days, own = days[whole].astype("M8[D]"), own[whole]
    moves = daily_moves(own, list(kinds.values()), days)
    volatility = ewma_volatility(moves, how.decay, how.long_run_weight, how.warm_up)
    return Path(tuple(kinds), days, own, moves, standardised(moves, volatility), volatility)


def losses_over(
    positions: Sequence[Position],
    path: Path,
    how: Filter,
    span: tuple[str, str],
    tails_bps: Sequence[int],
    stress: Mapping[str, str] = STRESS_DAYS,
    either_side: bool = False,
) -> list[Losses]:
    """Losses of the positions together, then, where they are several, of each alone, for every move that ends within span.

    What a day uses ended before that day. either_side: one rate serves long and short, so a scenario's loss is the larger of
    both. A day without a move, or without a filtered move before it, is left out. ValueError where no day is left, or a loss
    is out of the rows' range.
    """
    if how.horizon_days != 1 or how.antithetic:
        raise ValueError("filter: found a horizon over a day or mirrored moves; allowed in a backtest: neither")
    courses = {position.contract.symbol: _course(position.contract, path) for position in positions}
    row_of = np.array([list(courses).index(position.contract.symbol) for position in positions], np.int32)
    lots = np.array([position.lots for position in positions], np.int64)
    count = len(positions)
    groups = [(0, count), *((p, p + 1) for p in range(count) if count > 1)]
    ends = path.days[1:]
    starts = np.searchsorted(ends, years_before(path.days[:-1], how.look_back_years), side="right")
    moved, filtered = _known(path.moves), _known(path.scaled)
    named = np.isin(ends, np.array(sorted(stress), "M8[D]")) & moved
    at = _usable(ends, span, moved, filtered, starts)
    if not len(at):
        raise ValueError(f"{', '.join(courses)}: found no day with a volatility from {span[0]} to {span[1]}")
    found = [_empty(ends[at], len(tails_bps)) for _ in groups]
    for k, i in enumerate(at):
        start = int(starts[i])
        scaled = start + np.flatnonzero(filtered[start:i])
        raw = np.concatenate([start + np.flatnonzero(moved[start:i]), np.flatnonzero(named[:i])])
        pnl = CENTS * np.array([_profits(course, path, int(i), scaled, raw) for course in courses.values()])
        for losses, (first, last) in zip(found, groups, strict=True):
            losses.profit[k] = (pnl[row_of[first:last], 0] * lots[first:last]).sum() / CENTS
            losses.scenarios[k] = len(scaled)
        _day(found, groups, pnl[:, 1:], row_of, lots, tails_bps, k, either_side)
    return found


def _known(moves: Floats) -> NDArray[np.bool_]:
    """The rows without a missing move."""
    return np.asarray(~np.isnan(moves).any(axis=1))


def _usable(
    ends: Days, span: tuple[str, str], moved: NDArray[np.bool_], filtered: NDArray[np.bool_], starts: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The moves that end within span and have a filtered move in the look-back before them."""
    inside = (ends >= np.datetime64(span[0])) & (ends <= np.datetime64(span[1])) & moved
    seen = np.concatenate([[0], np.cumsum(filtered)])
    return np.flatnonzero(inside & (seen[: len(ends)] > seen[starts]))


def _course(contract: Contract, path: Path) -> _Course:
    columns = [path.factors.index(name) for name in contract.weights]
    weights = np.array(list(contract.weights.values()))
    return _Course(contract, columns, weights, path.levels[:, columns] @ weights, path.moves[:, columns] @ weights)


def _empty(days: Days, tails: int) -> Losses:
    n = len(days)
    return Losses(
        days, np.empty(n), np.empty((n, tails), np.int64), np.empty((n, tails), np.int64), np.empty(n, np.int64),
        np.empty(n, np.int64),
    )  # fmt: skip


def _profits(course: _Course, path: Path, i: int, scaled: NDArray[np.intp], raw: NDArray[np.intp]) -> Floats:
    """Profit in USD of one contract by the move after day i, then by the scaled moves at i's volatility, then by the raw."""
    filtered = (path.scaled[scaled][:, course.columns] * path.volatility[i, course.columns]) @ course.weights
    moves = np.concatenate([course.move[i : i + 1], filtered, course.move[raw]])
    return course.contract.profit(float(course.level[i]), moves)


def _day(
    found: Sequence[Losses],
    groups: Sequence[tuple[int, int]],
    pnl_minor: Floats,
    row_of: NDArray[np.int32],
    lots: NDArray[np.int64],
    tails_bps: Sequence[int],
    k: int,
    either_side: bool,
) -> None:
    """One day's tail losses of each group of positions, into row k of its losses; pnl_minor: (contracts, scenarios)."""
    rows = make_rows(*quantize(pnl_minor))
    vector = np.empty(pnl_minor.shape[1], np.int64)
    scratch = np.empty(2 * len(vector), np.int64)
    for losses, (first, last) in zip(found, groups, strict=True):
        if not portfolio_vector(rows, row_of, lots, first, last, vector):
            raise ValueError(f"{losses.days[k]}: found positions whose losses leave int64; allowed: fewer lots")
        if either_side:
            np.negative(np.abs(vector), out=vector)
        count = int(losses.scenarios[k])
        losses.divisor[k] = rows.divisor
        for part, out in ((vector[:count], losses.filtered), (vector[count:], losses.stressed)):
            out[k] = [loss_at(part, rank_of(len(part), tail), scratch) for tail in tails_bps]


@kernel
def _margins(
    filtered: NDArray[np.int64],
    stressed: NDArray[np.int64],
    divisor: NDArray[np.int64],
    stress_weight_bps: int,
    floor_bps: int,
    out: NDArray[np.int64],
) -> None:
    """Whole units of each day's margin, rounded up; all (days,), divisor of the losses' units in one."""
    for k in range(len(out)):
        floor = requirement(blend(0, stressed[k], floor_bps), divisor[k], 0)
        out[k] = requirement(max(0, blend(filtered[k], stressed[k], stress_weight_bps)), divisor[k], floor)


def margin_of(losses: Losses, tail: int, rule: Rule) -> Floats:
    """The margin by day in whole USD, out of the losses in column `tail`, as Rule says."""
    out = np.empty(len(losses.days), np.int64)
    filtered, stressed = (np.ascontiguousarray(part[:, tail]) for part in (losses.filtered, losses.stressed))
    _margins(filtered, stressed, losses.divisor * CENTS, rule.stress_weight_bps, rule.floor_bps, out)
    return out.astype(np.float64)

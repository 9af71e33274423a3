"""Daily moves of risk factors, their volatility, and moves filtered by it. Arrays are (days, factors); nan: missing.

A missing level makes the moves into and out of it missing: no move is ever taken to be zero because nobody knows it.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]

MAX_GAP_DAYS: Final = 5
"""Two levels further apart (calendar days) have no daily move between them: the longest closure since 1990 had five."""
WARM_UP: Final = 60
"""Moves of a factor that make its first volatility; before them it has none."""
MAX_HORIZON: Final = 5


class Move(StrEnum):
    """How two levels make a move: basis points of a yield in per cent, or the logarithm or fraction of a price."""

    BP = "bp"
    LOG = "log"
    RELATIVE = "relative"


def daily_moves(levels: Floats, kinds: Sequence[Move], days: Days | None = None, max_gap_days: int = MAX_GAP_DAYS) -> Floats:
    """Moves (days - 1, factors) between successive rows of levels; nan where one is missing or the days are too far apart.

    ValueError for an infinite level, a price that is not positive, or days that do not ascend.
    """
    if levels.ndim != 2 or levels.shape[1] != len(kinds):
        raise ValueError(f"levels: found shape {levels.shape}; allowed: days x {len(kinds)} factors")
    if np.isinf(levels).any():
        raise ValueError("levels: found an infinite value; allowed: finite numbers, nan where missing")
    moves = np.empty((max(len(levels) - 1, 0), len(kinds)))
    for j, kind in enumerate(kinds):
        moves[:, j] = _moves_of(levels[:, j], kind)
    if days is not None:
        gaps = np.diff(days.astype("M8[D]")).astype(np.int64)
        if len(days) != len(levels) or (gaps <= 0).any():
            raise ValueError("days: found not one ascending day a row; allowed: one for each row of levels")
        moves[gaps > max_gap_days] = np.nan
    return moves


def _moves_of(level: Floats, kind: Move) -> Floats:
    if kind is Move.BP:
        return np.diff(level) * 100.0
    if (level <= 0).any():
        raise ValueError(f"levels: found {np.nanmin(level):g} as a price; allowed for {kind} moves: above 0")
    return np.diff(np.log(level)) if kind is Move.LOG else np.diff(level) / level[:-1]


def apply_move(level: Floats | float, move: Floats, kind: Move) -> Floats:
    """The level after a move; the inverse of daily_moves."""
    if kind is Move.BP:
        return np.asarray(level + move / 100.0)
    return np.asarray(level * (np.exp(move) if kind is Move.LOG else 1.0 + move))


def ewma_volatility(moves: Floats, decay: float, long_run_weight: float = 0.0, warm_up: int = WARM_UP) -> Floats:
    """Volatility (days + 1, factors) known BEFORE each move; the last row is today's. nan until warm_up moves are there.

    variance = (1 - w) EWMA + w mean square of all moves so far, w = long_run_weight; EWMA <- decay EWMA + (1 - decay) move^2
    (RiskMetrics Technical Document, 4th ed. 1996, 5.2), begun with the mean square of the first warm_up moves. A missing
    move changes nothing. ValueError for parameters out of range.
    """
    if not 0.0 < decay < 1.0:
        raise ValueError(f"decay: found {decay}; allowed: above 0 and below 1")
    if not 0.0 <= long_run_weight <= 1.0:
        raise ValueError(f"long_run_weight: found {long_run_weight}; allowed: 0 to 1")
    if warm_up < 1:
        raise ValueError(f"warm_up: found {warm_up}; allowed: 1 or more moves")
    known = ~np.isnan(moves)
    squares = np.where(known, moves, 0.0) ** 2
    count = np.vstack([np.zeros(moves.shape[1]), np.cumsum(known, axis=0)])
    total = np.vstack([np.zeros(moves.shape[1]), np.cumsum(squares, axis=0)])
    mean = total / np.maximum(count, 1.0)
    recent = np.empty_like(mean)
    recent[0] = 0.0
    for i in range(len(moves)):
        step = np.where(known[i], decay * recent[i] + (1.0 - decay) * squares[i], recent[i])
        recent[i + 1] = np.where(count[i + 1] <= warm_up, mean[i + 1], step)
    variance = (1.0 - long_run_weight) * recent + long_run_weight * mean
    return np.where(count < warm_up, np.nan, np.sqrt(variance))


def standardised(moves: Floats, volatility: Floats) -> Floats:
    """Each move over the volatility known before it; missing where the move or the volatility is missing or zero.

    Filtered historical simulation: Barone-Adesi, Giannopoulos, Vosper (1999), J. Futures Markets 19(5), 583-602; scaling
    by volatility: Hull and White (1998), J. of Risk 1(1), 5-19.
    """
    before = volatility[: len(moves)]
    return np.divide(moves, before, out=np.full_like(moves, np.nan), where=before > 0)


def over_horizon(moves: Floats, days: int, kinds: Sequence[Move]) -> Floats:
    """Overlapping moves over some days (rows - days + 1, factors): sums, of fractions compounded; missing where one is."""
    if not 1 <= days <= MAX_HORIZON:
        raise ValueError(f"horizon: found {days}; allowed: 1 to {MAX_HORIZON} days")
    if days == 1:
        return moves
    if len(moves) < days:
        return np.empty((0, moves.shape[1]))
    relative = np.array([kind is Move.RELATIVE for kind in kinds])
    windows = np.lib.stride_tricks.sliding_window_view(moves, days, axis=0)
    return np.asarray(np.where(relative, np.prod(1.0 + windows, axis=2) - 1.0, windows.sum(axis=2)))


def filtered_moves(moves: Floats, volatility: Floats) -> Floats:
    """Each day's move over its volatility then, times today's (the last row of volatility); nan where unknown."""
    scaled: Floats = standardised(moves, volatility) * volatility[-1]
    return scaled


def with_mirror(moves: Floats) -> Floats:
    """Antithetic: the moves, then the same with the other sign."""
    return np.concatenate([moves, -moves])

"""The grid model of Deribit's type: price x volatility cells, extended tails with a dampener, roll shock, delta shock.

Structure and constants: crypto.md 4.1 ([P] Deribit's portfolio margin page and API; parts marked [D] there are derived and
say so here). Amounts are integers in units the caller names, the same for all arguments of one call; rates are in 1e-9.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.arithmetic import E9, LIMIT, add_up, callable_part, kernel, mul_div_floor, mul_div_up, part
from engine.models.rows import worst_loss

EXTENDED_MOVES: Final = (-0.66, -0.33, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
UP, SAME, DOWN = 1, 0, -1
Floats = NDArray[np.float64]


class Shocks(NamedTuple):
    """Parameters of the cells, named as in Deribit's get_params; buckets: of each side, so 2 x buckets + 1 moves.

    extended: the moves of the tails, all with the volatility up. The short-term power is for less than 30 days.
    """

    price_range: float
    volatility_range_up: float
    volatility_range_down: float
    min_volatility_for_shock_up: float
    short_term_vega_power: float
    long_term_vega_power: float
    extended_table_factor: float
    buckets: int = 4
    extended: tuple[float, ...] = EXTENDED_MOVES


def check(shocks: Shocks) -> Shocks:
    """The parameters themselves; ValueError where one is out of its range."""
    if not (0 < shocks.price_range < 1 and shocks.buckets >= 1 and all(-1 < m < np.inf and m != 0 for m in shocks.extended)):
        raise ValueError(
            f"price_range {shocks.price_range}, {shocks.buckets} buckets, extended moves {shocks.extended}; allowed is a"
            " range above 0 and below 1, at least one bucket, moves above -1 and not 0"
        )
    others = {name: value for name, value in shocks._asdict().items() if name not in ("price_range", "buckets", "extended")}
    for name, value in others.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} is {value}; allowed is a finite number from 0")
    return shocks


def standard_moves(shocks: Shocks) -> Floats:
    """The moves of the price from -R to +R, the zero among them exactly 0."""
    return np.arange(-shocks.buckets, shocks.buckets + 1) / shocks.buckets * shocks.price_range


def cells(shocks: Shocks) -> tuple[Floats, NDArray[np.int64]]:
    """(moves, volatility: -1 down, 0 same, +1 up) of every cell: move by move three volatilities, then the tails."""
    moves = np.concatenate([np.repeat(standard_moves(shocks), 3), shocks.extended])
    kinds = np.array([DOWN, SAME, UP] * (2 * shocks.buckets + 1) + [UP] * len(shocks.extended))
    return moves, kinds


def shocked_volatility(volatility: ArrayLike, days: ArrayLike, kind: ArrayLike, shocks: Shocks) -> Floats:
    """The volatility of a cell: up x (1 + k up), at least the minimum; down x (1 - k down), at least 0.

    k = (30 / max(days, 1))^p; p is the short-term power below 30 days, else the long-term one (crypto.md 4.1 [D]).
    ValueError: not finite, or below 0.
    """
    held, left, which = np.broadcast_arrays(
        np.asarray(volatility, np.float64), np.asarray(days, np.float64), np.asarray(kind, np.int64)
    )
    if not (np.isfinite(held).all() and np.isfinite(left).all() and (held >= 0).all() and (left >= 0).all()):
        raise ValueError("a volatility or number of days that is not finite or below 0; allowed are finite numbers from 0")
    power = np.where(left < 30, shocks.short_term_vega_power, shocks.long_term_vega_power)
    k = (30 / np.maximum(left, 1)) ** power
    up = np.maximum(held * (1 + k * shocks.volatility_range_up), shocks.min_volatility_for_shock_up)
    down = np.maximum(held * (1 - k * shocks.volatility_range_down), 0)
    return np.where(which == UP, up, np.where(which == DOWN, down, held))


def tail_weight(moves: ArrayLike, shocks: Shocks, inverse: bool) -> Floats:
    """What counts of a cell: 1 within the price range, beyond it f x R / |m|, of inverse x (1 + m) / (1 + sgn(m) R)."""
    m = np.asarray(moves, np.float64)
    size = np.where(m == 0, 1.0, np.abs(m))
    weight = shocks.extended_table_factor * shocks.price_range / size
    if inverse:
        weight = weight * (1 + m) / (1 + np.sign(m) * shocks.price_range)
    return np.where(np.abs(m) > shocks.price_range * (1 + 1e-12), weight, 1.0)


def inverse_future(moves: ArrayLike, quantity: ArrayLike = 1.0) -> Floats:
    """Profit or loss in coin of an inverse future of `quantity` coins: quantity x m / (1 + m) (crypto.md 4.1)."""
    m = np.asarray(moves, np.float64)
    return np.asarray(quantity, np.float64) * m / (1 + m)


def grid_row(
    value: Callable[[Floats, Floats], Floats], volatility: float, days: float, shocks: Shocks, inverse: bool = False
) -> Floats:
    """(cells,) profit or loss of one unit, the tails weighted but not dampened.

    value: profit or loss of arrays of moves and volatilities, in the settlement currency (of inverse products: coin at the
    moved price); for an option the forward moves and the time stays. ValueError: a value that is not finite.
    """
    moves, kinds = cells(shocks)
    result = value(moves, shocked_volatility(volatility, days, kinds, shocks)) * tail_weight(moves, shocks, inverse)
    if not np.isfinite(result).all():
        at = int(np.argmin(np.isfinite(result)))
        raise ValueError(f"the value is {result[at]} at a move of {moves[at]:g}; allowed are finite numbers")
    return result


def dampeners(shocks: Shocks, amount: float) -> NDArray[np.int64]:
    """(cells,) by how much each cell of a portfolio shrinks toward 0: (max(|m| / R, 1) - 1) x amount, rounded down.

    amount: the dampener in units of the vector: an amount in USD over the index for a coin. Applied to the sum of a currency
    pair (crypto.md 4.1; that it is the sum's and not each position's is our reading [I]).
    """
    moves, _ = cells(shocks)
    beyond = np.maximum(np.abs(moves) / (shocks.price_range * (1 + 1e-12)), 1.0) - 1
    damp = np.floor(beyond * amount)
    if not (np.isfinite(damp).all() and amount >= 0 and damp.max() < LIMIT):
        raise ValueError(f"dampener amount {amount}; allowed is a number from 0, with all cells below {LIMIT}")
    return damp.astype(np.int64)


@kernel
def add_pair(
    vector: NDArray[np.int64], dampener: NDArray[np.int64], max_offset: int, offset_ppb: int, total: NDArray[np.int64]
) -> None:
    """Add one currency pair's cells to the total: shrunk toward 0 by the dampener; of a gain min(gain, max) x share, down.

    total: (cells,) int64, in the units of the vector; the cap inside the share is crypto.md's reading of the name [D].
    """
    for c in range(len(vector)):
        value = vector[c]
        damped = value - min(dampener[c], value) if value > 0 else value + min(dampener[c], -value)
        total[c] += mul_div_floor(min(damped, max_offset), offset_ppb, E9) if damped > 0 else damped


@callable_part
def roll_shock(rolls: NDArray[np.int64]) -> int:
    """Sum over expiries of |net of delta x rate x value|, in its units; LIMIT at most."""
    total = 0
    for e in range(len(rolls)):
        total = add_up(total, abs(rolls[e]))
    return int(total)


def roll_rates(years: ArrayLike, annualised_move_risk: float, min_annualised_move: float) -> NDArray[np.int64]:
    """(expiries,) rates of the roll shock in 1e-9: max(risk x T, minimum), rounded up; T = 0 for a perpetual.

    a x T where a third party has exp(a x T) - 1: undecided by the published answers (crypto.md 4.1 [D]).
    """
    t = np.asarray(years, np.float64)
    rates = np.maximum(annualised_move_risk * t, min_annualised_move)
    if not (np.isfinite(rates).all() and (t >= 0).all() and min_annualised_move >= 0 and annualised_move_risk >= 0):
        raise ValueError("roll shock: times and parameters must be finite and not below 0")
    return np.ceil(np.round(rates * E9, 3)).astype(np.int64)


class DeltaShock(NamedTuple):
    """Parameters of the delta shock: threshold in units of money, m_inc and the cap in 1e-9 (m_inc for each whole coin)."""

    threshold: int
    m_inc_ppb: int
    max_ppb: int


@callable_part
def delta_shock(long_option_delta: int, other_delta: int, price: int, coin: int, rule: DeltaShock) -> int:
    """Money: |D| x price x min(m_inc x max(|D| - threshold / price, 0), cap), rounded up; LIMIT at most (crypto.md 4.1 [D]).

    D is the delta of futures and short options, which long options only reduce. Deltas are in units of which `coin` make one
    coin, price in units of money a coin.
    """
    if other_delta < 0:
        net = min(max(long_option_delta + other_delta, other_delta), 0)
    else:
        net = max(min(long_option_delta + other_delta, other_delta), 0)
    notional = mul_div_up(abs(net), price, coin)
    if notional <= rule.threshold:
        return 0
    if notional >= LIMIT:
        return LIMIT
    rate = mul_div_up(mul_div_up(notional - rule.threshold, coin, price), rule.m_inc_ppb, coin)
    return int(mul_div_up(notional, min(rate, rule.max_ppb), E9))


class GridMargin(NamedTuple):
    """Lines of the requirement, in the units of the vector."""

    worst_case: int
    roll_shock: int
    delta_shock: int
    risk_matrix: int
    initial: int
    maintenance: int


@part
def _nearest(amount: int, step: int) -> int:
    """An amount from 0 rounded to a multiple of step, half up."""
    return (amount + step // 2) // step * step


@callable_part
def requirement(
    total: NDArray[np.int64], roll: int, delta: int, others: int, mm_ppb: int, step: int
) -> tuple[int, int, int, int, int, int]:
    """Fields of GridMargin: risk matrix = worst case + roll + delta shock; initial adds others; maintenance is a share, up.

    others: market maker protection, open orders, spot, correlation contingency. step: worst case and initial margin are
    rounded to it, as Deribit's answers are to 1e-9 coins (crypto.md 4.2, inferred); 1 rounds nothing.
    """
    worst_case = worst_loss(total)
    matrix = _nearest(worst_case, step) + roll + delta
    return worst_case, roll, delta, matrix, _nearest(matrix + others, step), mul_div_up(matrix, mm_ppb, E9)

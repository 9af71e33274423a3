"""Risk rows and portfolio vectors: profit and loss of one lot, and of a portfolio, under every scenario, in exact integers.

A row is int32 in the finest unit (minor unit x 10^-k, k per row) in which it fits; a portfolio's vector is an int64 sum in
one common unit, the finest of its rows, so that it is the same in any order (DESIGN 4; measured: tests/bench/models.py).
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.arithmetic import LIMIT, SURELY_FITS, callable_part, part

INT32_MAX: Final = 2**31 - 1
FINEST: Final = 4  # 10^-4 minor units: what the common unit leaves of int64 then is 4.6e14 minor units
COARSEST: Final = -6
MOST_DECIMALS: Final = 9
MINOR_MAX: Final = 1 << 53  # amounts in minor units above it are refused: divisors must be exact as float64


class Rows(NamedTuple):
    """Rows of one scenario set and currency.

    values: (instruments, scenarios) int32, C order; scale: (instruments,) int64, common units in one unit of the row; bound:
    (instruments,) int64, the largest |value| x scale, at most LIMIT; divisor: common units in one minor unit.
    """

    values: NDArray[np.int32]
    scale: NDArray[np.int64]
    bound: NDArray[np.int64]
    divisor: int


def quantize(pnl: ArrayLike, finest: int = FINEST) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """int32 rows and the decimals k of each, from (instruments, scenarios) float64 in minor units per lot.

    k is the largest from -6 to `finest` (at most 9) with which the row fits int32; value x 10^k is rounded half to even.
    ValueError: not two-dimensional, without a scenario, not finite, or too large even for k = -6.
    """
    given = np.asarray(pnl, np.float64)
    if given.ndim != 2 or given.shape[1] == 0:
        raise ValueError(f"rows have the shape {given.shape}; allowed is (instruments, at least one scenario)")
    if not COARSEST <= finest <= MOST_DECIMALS:
        raise ValueError(f"finest is {finest}; allowed is {COARSEST} to {MOST_DECIMALS}")
    if not np.isfinite(given).all():
        row, scenario = np.argwhere(~np.isfinite(given))[0]
        raise ValueError(f"row {row} has {given[row, scenario]} in scenario {scenario}; allowed are finite numbers")
    values = np.zeros(given.shape, np.int32)
    decimals = np.full(len(given), finest, np.int64)
    left = np.arange(len(given))
    for k in range(finest, COARSEST - 1, -1):
        with np.errstate(over="ignore"):
            scaled = np.rint(given[left] * 10.0**k if k >= 0 else given[left] / 10.0**-k)
        fit = np.abs(scaled).max(axis=1) <= INT32_MAX
        values[left[fit]], decimals[left[fit]] = scaled[fit], k
        left = left[~fit]
        if not len(left):
            return values, decimals
    largest = np.abs(given[left[0]]).max()
    raise ValueError(f"row {left[0]} reaches {largest:g} minor units a lot; allowed is up to {INT32_MAX * 10**-COARSEST:g}")


def make_rows(values: NDArray[np.int32], decimals: NDArray[np.int64]) -> Rows:
    """Rows with the common unit of them all: minor unit x 10^-K, K the largest of their decimals and 0.

    ValueError: decimals outside -6 to 9, or not one for each row.
    """
    if values.dtype != np.int32 or values.ndim != 2 or decimals.shape != values.shape[:1]:
        raise ValueError(
            f"rows {values.dtype} {values.shape} with decimals {decimals.shape}; allowed is int32 (n, scenarios), (n,)"
        )
    if len(decimals) and not (decimals.min() >= COARSEST and decimals.max() <= MOST_DECIMALS):
        raise ValueError(f"decimals from {decimals.min()} to {decimals.max()}; allowed is {COARSEST} to {MOST_DECIMALS}")
    common = max(0, int(decimals.max(initial=0)))
    largest = np.abs(values.astype(np.int64)).max(axis=1, initial=0)
    scale = [10 ** (common - int(k)) for k in decimals]
    bound = [min(int(value) * one, LIMIT) for value, one in zip(largest, scale, strict=True)]
    return Rows(np.ascontiguousarray(values), np.array(scale, np.int64), np.array(bound, np.int64), 10**common)


@part
def in_range(rows: Rows, row_of: NDArray[np.int32], lots: NDArray[np.int64], start: int, end: int) -> bool:
    """Whether the sum of |lots| x bound of positions start to end is below LIMIT, so that no sum of them can wrap."""
    total = 0
    for p in range(start, end):
        bound = rows.bound[row_of[p]]
        if abs(float(lots[p])) * float(bound) >= SURELY_FITS or abs(lots[p]) * bound >= LIMIT - total:
            return False
        total += abs(lots[p]) * bound
    return True


@callable_part
def portfolio_vector(
    rows: Rows, row_of: NDArray[np.int32], lots: NDArray[np.int64], start: int, end: int, vector: NDArray[np.int64]
) -> bool:
    """Profit and loss of positions start to end, common units, into vector (the first so many scenarios of the rows).

    False, and no vector, where it is out of range. Four positions at a time, which is what memory and registers of one core
    do best.
    """
    if not in_range(rows, row_of, lots, start, end):
        return False
    scenarios = len(vector)
    for s in range(scenarios):
        vector[s] = 0
    p = start
    while p + 3 < end:
        i0, i1, i2, i3 = row_of[p], row_of[p + 1], row_of[p + 2], row_of[p + 3]
        q0, q1 = lots[p] * rows.scale[i0], lots[p + 1] * rows.scale[i1]
        q2, q3 = lots[p + 2] * rows.scale[i2], lots[p + 3] * rows.scale[i3]
        r0, r1, r2, r3 = rows.values[i0], rows.values[i1], rows.values[i2], rows.values[i3]
        for s in range(scenarios):
            vector[s] += q0 * r0[s] + q1 * r1[s] + q2 * r2[s] + q3 * r3[s]
        p += 4
    if p + 1 < end:
        i0, i1 = row_of[p], row_of[p + 1]
        q0, q1 = lots[p] * rows.scale[i0], lots[p + 1] * rows.scale[i1]
        r0, r1 = rows.values[i0], rows.values[i1]
        for s in range(scenarios):
            vector[s] += q0 * r0[s] + q1 * r1[s]
        p += 2
    if p < end:
        i0 = row_of[p]
        q0, r0 = lots[p] * rows.scale[i0], rows.values[i0]
        for s in range(scenarios):
            vector[s] += q0 * r0[s]
    return True


@callable_part
def worst(vector: NDArray[np.int64]) -> int:
    """Index of the largest loss of a vector; of equal ones the first."""
    at = 0
    for s in range(1, len(vector)):
        if vector[s] < vector[at]:
            at = s
    return at


@callable_part
def worst_loss(vector: NDArray[np.int64]) -> int:
    """The largest loss of a vector, in its units; 0 where no scenario loses."""
    return max(0, -int(vector[worst(vector)]))


@callable_part
def select(values: NDArray[np.int64], rank: int) -> int:
    """The value with `rank` values before it in ascending order (rank from 0); the values are reordered in place.

    Each round puts what is below the pivot first, and, where that does not decide, what equals it; branches would cost more.
    """
    low, high, found = 0, len(values), 0
    while low < high:
        a, b, c = values[low], values[(low + high) >> 1], values[high - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        middle = low
        for i in range(low, high):
            x = values[i]
            values[i] = values[middle]
            values[middle] = x
            middle += x < pivot
        if rank < middle:
            high = middle
            continue
        low = middle
        for i in range(low, high):
            x = values[i]
            values[i] = values[middle]
            values[middle] = x
            middle += x <= pivot
        if rank < middle:
            found = pivot
            break
        low = middle
    return int(found)


@part
def _copy(vector: NDArray[np.int64], scratch: NDArray[np.int64]) -> int:
    for s in range(len(vector)):
        scratch[s] = vector[s]
    return len(vector)


@part
def _column_minima(vector: NDArray[np.int64], width: int, minima: NDArray[np.int64]) -> None:
    """minima[i] = the least of the eight values width apart from i on."""
    for i in range(width):
        left = min(min(vector[i], vector[i + width]), min(vector[i + 2 * width], vector[i + 3 * width]))
        right = min(min(vector[i + 4 * width], vector[i + 5 * width]), min(vector[i + 6 * width], vector[i + 7 * width]))
        minima[i] = min(left, right)


@callable_part
def loss_at(vector: NDArray[np.int64], rank: int, scratch: NDArray[np.int64]) -> int:
    """The (rank + 1)-th largest loss of a vector, exactly (a gain is a negative loss); 0 <= rank < scenarios.

    scratch: at least 2 x scenarios, overwritten; the vector stays. The values are laid in columns of 8, those in columns of
    4: at least rank + 1 values do not exceed the (rank + 1)-th smallest minimum of the long columns, so only values up to it
    are selected from; they are few.
    """
    scenarios = len(vector)
    width = scenarios >> 3
    quarter = width >> 2
    if quarter <= rank:
        return -select(scratch[: _copy(vector, scratch)], rank)
    _column_minima(vector, width, scratch)
    columns = width + quarter
    for i in range(quarter):
        left, right = min(scratch[i], scratch[i + quarter]), min(scratch[i + 2 * quarter], scratch[i + 3 * quarter])
        scratch[width + i] = min(left, right)
    limit = select(scratch[width:columns], rank)
    middle = width
    for i in range(width):
        scratch[middle] = i
        middle += scratch[i] <= limit
    end = middle
    for j in range(width, middle):
        i = scratch[j]
        for r in range(8):
            x = vector[i + r * width]
            scratch[end] = x
            end += x <= limit
    for i in range(8 * width, scenarios):
        scratch[end] = vector[i]
        end += vector[i] <= limit
    return -select(scratch[middle:end], rank)


@callable_part
def rank_of(scenarios: int, tail_bps: int) -> int:
    """How many losses are larger than the quantile: scenarios x tail, rounded down; never interpolated.

    With a tail of 100 bps (99 %) the loss is the (n // 100 + 1)-th largest of n.
    """
    return scenarios * tail_bps // 10_000

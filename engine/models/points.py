"""The points model: ten valuation points of FINRA 4210(g) / TIMS, offsets inside a product group, a minimum per contract.

crypto.md 5.1: points and form [M, agreed], ranges [P] SEC 34-46576 and [S], offset percentages [M]: all are parameters.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import LIMIT, kernel, mul_div_floor, mul_div_up, part
from engine.models.rows import worst_loss

MILLION = 1_000_000


def points(down: float, up: float, per_side: int = 5) -> NDArray[np.float64]:
    """(2 x per_side,) equal steps from `down` (below 0, above -1) to `up`, ascending, none at zero."""
    if not (-1 < down < 0 < up < np.inf) or per_side < 1:
        raise ValueError(
            f"a range from {down} to {up} in {per_side} steps a side; allowed is above -1 to 0, above 0, from 1 step"
        )
    steps = np.arange(1, per_side + 1)
    return np.concatenate([down * steps[::-1] / per_side, up * steps / per_side])


def point_row(
    value: Callable[[NDArray[np.float64]], NDArray[np.float64]], price: float, moves: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(points,) profit or loss of one unit: value(price x (1 + move)) - value(price), volatility and time held.

    ValueError: a price or value that is not finite.
    """
    result = value(price * (1 + moves)) - value(np.full(1, price))
    if not np.isfinite(result).all():
        at = int(np.argmin(np.isfinite(result)))
        raise ValueError(f"the value is {result[at]} at a move of {moves[at]:g} from {price}; allowed are finite numbers")
    return np.asarray(result, np.float64)


@part
def contract_minimum(lots: NDArray[np.int64], per_lot_minor: NDArray[np.int64], long_cap_minor: NDArray[np.int64]) -> int:
    """Minor units: sum of |lots| x minimum per lot (0.375 USD x multiplier [M]); LIMIT at most.

    A long position's is at most lots x long_cap_minor, the market value of a lot (crypto.md 5.1 [M]); LIMIT: no cap.
    """
    total = 0
    for p in range(len(lots)):
        each = per_lot_minor[p] if lots[p] < 0 else min(per_lot_minor[p], max(0, long_cap_minor[p]))
        total += mul_div_up(abs(lots[p]), each, 1)
        if total >= LIMIT:
            return LIMIT
    return total


@kernel
def group_loss(classes: NDArray[np.int64], offset_ppm: NDArray[np.int64], group: NDArray[np.int64]) -> int:
    """The largest loss of a product group over the points, its units; 0 where it loses nowhere.

    classes: (classes, points) int64, of each class the sum of its positions; offset_ppm: (classes,) the share of a class's
    gain that counts against the losses of others, in 1e-6, rounded down; group: (points,) the netted vector, overwritten.
    """
    for k in range(len(group)):
        group[k] = 0
        for c in range(len(classes)):
            value = classes[c, k]
            group[k] += value if value < 0 else mul_div_floor(value, offset_ppm[c], MILLION)
    return worst_loss(group)


@part
def requirement(loss_units: int, divisor: int, minimum_minor: int) -> int:
    """Minor units of one product group: the loss (divisor units a minor unit) rounded up, at least the minimum."""
    return max(-(-loss_units // divisor), minimum_minor)

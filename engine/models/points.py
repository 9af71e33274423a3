"""The points model: ten valuation points of FINRA 4210(g) / TIMS, offsets inside a product group, a minimum per contract.

crypto.md 5.1: points and form [M, agreed], ranges [P] SEC 34-46576 and [S], offset percentages [M]: all are parameters.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E6, E9, add_up, callable_part, kernel, mul_div_floor, mul_div_up


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


@callable_part
def contract_minimum(lots: NDArray[np.int64], each_micros: NDArray[np.int64], long_cap_micros: NDArray[np.int64]) -> int:
    """Minor units: sum of |lots| x minimum per lot in 1e-6 of them (0.375 USD x multiplier [M]); LIMIT at most.

    A long position's is at most lots x long_cap_micros, the market value of a lot (crypto.md 5.1 [M]); LIMIT: no cap.
    """
    total = 0
    for p in range(len(lots)):
        each = each_micros[p] if lots[p] < 0 else min(each_micros[p], max(0, long_cap_micros[p]))
        total = add_up(total, mul_div_up(abs(lots[p]), each, E6))
    return total


@kernel
def add_class(vector: NDArray[np.int64], offset_ppb: int, group: NDArray[np.int64]) -> None:
    """Add a class, the sum of its positions at each point, to its product group; the group's worst loss is what it requires.

    offset_ppb: the share of the class's gain that counts against the losses of others, in 1e-9, rounded down.
    """
    for k in range(len(group)):
        group[k] += vector[k] if vector[k] < 0 else mul_div_floor(vector[k], offset_ppb, E9)


@callable_part
def requirement(loss_units: int, divisor: int, minimum_minor: int) -> int:
    """Minor units of one product group: the loss (divisor units a minor unit) rounded up, at least the minimum."""
    return max(-(-loss_units // divisor), minimum_minor)

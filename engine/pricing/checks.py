"""Numbers that valuation accepts: finite float64 arrays inside stated bounds, else ValueError with what was found."""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]


def finite(name: str, values: ArrayLike) -> Array:
    """The values as float64, of any shape; ValueError with the first that is nan or infinite."""
    array = np.asarray(values, dtype=np.float64)
    _refuse(name, array, ~np.isfinite(array), "a finite number")
    return array


def above(name: str, values: ArrayLike, bound: float) -> Array:
    """The values as float64; ValueError with the first that is not finite and above the bound."""
    array = finite(name, values)
    _refuse(name, array, array <= bound, f"above {bound:g}")
    return array


def at_least(name: str, values: ArrayLike, bound: float) -> Array:
    """The values as float64; ValueError with the first that is not finite and at or above the bound."""
    array = finite(name, values)
    _refuse(name, array, array < bound, f"{bound:g} or more")
    return array


def _refuse(name: str, array: Array, wrong: NDArray[np.bool_], allowed: str) -> None:
    if wrong.any():
        raise ValueError(f"{name} {array[wrong].flat[0]:g} must be {allowed}")

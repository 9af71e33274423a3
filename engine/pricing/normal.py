"""The normal distribution, to the precision of the C library's erfc."""

import math
from typing import Final

import numpy as np

from engine.arithmetic import kernel
from engine.pricing.checks import Array

SQRT_HALF: Final = math.sqrt(0.5)
DENSITY_AT_ZERO: Final = 1 / math.sqrt(2 * math.pi)


def cumulative(x: Array) -> Array:
    """P(Z <= x) of a standard normal Z, elementwise; exact also far in the left tail. Infinities give 0 and 1."""
    flat = np.ravel(x)
    out = np.empty_like(flat)
    _cumulative(flat, out)
    return out.reshape(np.shape(x))


def density(x: Array) -> Array:
    """The standard normal density at x, elementwise."""
    with np.errstate(over="ignore"):  # the square of a huge x is infinite, its density 0
        result: Array = DENSITY_AT_ZERO * np.exp(-0.5 * x * x)
    return result


@kernel
def _cumulative(x: Array, out: Array) -> None:
    for i in range(x.size):
        out[i] = 0.5 * math.erfc(-x[i] * SQRT_HALF)

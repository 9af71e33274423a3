"""Exact integer arithmetic for kernels: products of two int64 divided by a third, hashes, and the value of a lot.

The products have 128 bits: the quotient is estimated in floating point and corrected by the remainder, which int64
arithmetic gives exactly (modulo 2^64) because the estimate is off by less than 2^10. The caller guards that the quotient
fits int64 and that 0 < divisor < 2^53.
"""

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

_njit: Final[Any] = numba.njit
_config: Final[Any] = numba.config
# Without reference counts (_nrt): kernels allocate nothing, and counting each array of the state cost more than a trade.
_OPTIONS: Final = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a plain function of arrays and scalars: cached on disk, without the interpreter lock, without exceptions."""
    return cast(Function, _njit(**_OPTIONS)(function))


def part(function: Function) -> Function:
    """A piece of kernels, compiled into its callers: a call would copy every array of the state it is given.

    Python must not call it: what takes Python's arguments apart is left out, which took more time to compile than the rest.
    """
    return cast(Function, _njit(forceinline=True, no_cpython_wrapper=True, **_OPTIONS)(function))


def inlined(function: Function) -> Function:
    """A large part of few callers, whose source goes into theirs: else it is optimized and translated once more in each."""
    return cast(Function, _njit(inline="always", **_OPTIONS)(function))


def callable_part(function: Function) -> Function:
    """A part that Python calls too."""
    return cast(Function, _njit(forceinline=True, **_OPTIONS)(function))


INT64_MAX: Final = 2**63 - 1
E6: Final = 10**6
E9: Final = 10**9
E12: Final = 10**12
LIMIT: Final = 1 << 62  # figures are exact below it
SURELY_FITS: Final = 9.2e18  # what is estimated below this is below 2^63
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_30: Final = np.uint64(30)
_27: Final = np.uint64(27)
_31: Final = np.uint64(31)

# Uncompiled, numpy's scalars warn where compiled int64 wraps; Python's ints are the same arithmetic, unbounded.
if _config.DISABLE_JIT:

    def rows(array: NDArray[Any]) -> NDArray[Any]:
        """A structured array whose rows have their fields as attributes, as they have in compiled code."""
        return array.view(np.recarray)

    def mul_div_floor(a: int, b: int, divisor: int) -> int:
        """floor(a * b / divisor), exactly."""
        return int(a) * int(b) // int(divisor)

    def mix(state: Any, value: Any) -> Any:
        """The hash of a hash and one more 64-bit value (splitmix64's finalizer)."""
        x = ((int(state) ^ (int(value) % 2**64)) + int(_GOLDEN)) % 2**64
        x = (x ^ (x >> 30)) * int(_MIX_1) % 2**64
        x = (x ^ (x >> 27)) * int(_MIX_2) % 2**64
        return np.uint64(x ^ (x >> 31))

    def wrapping_add(a: Any, b: Any) -> Any:
        """a + b modulo 2^64."""
        return np.uint64((int(a) + int(b)) % 2**64)

    def half_even_product(a: int, b: int, divisor: int) -> int:
        """a * b / divisor, rounded half to even, exactly."""
        whole, remainder = divmod(int(a) * int(b), int(divisor))
        twice = 2 * remainder
        return whole + int(twice > divisor or (twice == divisor and whole & 1 == 1))

else:

    def rows(array: NDArray[Any]) -> NDArray[Any]:
        """A structured array whose rows have their fields as attributes: any, in compiled code."""
        return array

    @callable_part
    def mul_div_floor(a: int, b: int, divisor: int) -> int:
        """floor(a * b / divisor), exactly."""
        quotient = math.floor(float(a) * float(b) / float(divisor))
        remainder = a * b - quotient * divisor
        return quotient if 0 <= remainder < divisor else quotient + remainder // divisor

    @part
    def mix(state: Any, value: Any) -> Any:
        """The hash of a hash and one more 64-bit value (splitmix64's finalizer)."""
        x = (np.uint64(state) ^ np.uint64(value)) + _GOLDEN
        x = (x ^ (x >> _30)) * _MIX_1
        x = (x ^ (x >> _27)) * _MIX_2
        return x ^ (x >> _31)

    @part
    def wrapping_add(a: Any, b: Any) -> Any:
        """a + b modulo 2^64."""
        return np.uint64(a) + np.uint64(b)

    @part
    def half_even_product(a: int, b: int, divisor: int) -> int:
        """a * b / divisor, rounded half to even, exactly."""
        quotient = mul_div_floor(a, b, divisor)
        twice = 2 * (a * b - quotient * divisor)
        if twice > divisor or (twice == divisor and quotient & 1 == 1):
            quotient += 1
        return quotient


@part
def quotient(a: int, b: int) -> int:
    """floor(a / b) of int64, b above 0; at the cost of a division in floating point where it is whole."""
    estimate = int(float(a) / float(b))
    return estimate if estimate * int(b) == a else a // b


@part
def fits(a: int, b: int, divisor: int) -> bool:
    """Whether a * b / divisor (> 0) surely is an int64."""
    return abs(float(a) * float(b) / float(divisor)) < SURELY_FITS


@callable_part
def mul_div_up(a: int, b: int, divisor: int) -> int:
    """a * b / divisor, none of them negative, rounded up, exactly; LIMIT where it is not below that."""
    if not fits(-a, b, divisor):  # estimated once for both
        return LIMIT
    return min(-mul_div_floor(-a, b, divisor), LIMIT)


@part
def add_up(a: int, b: int) -> int:
    """The sum of two amounts from 0 to LIMIT; LIMIT where it is not below that."""
    return LIMIT if a >= LIMIT - b else a + b

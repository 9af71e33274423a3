"""Exact numbers from outside: decimals to scaled integers, times to nanoseconds, and division that rounds as told."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

INT64_MAX: Final = 2**63 - 1
MAX_TIME_NS: Final = 4_102_444_800 * 10**9  # 2100-01-01, so that sums of times stay far from the end of int64
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def scaled(value: int | float | str | Decimal, one: int) -> int:
    """The exact integer value x one; ValueError when it is not finite, has more decimals than `one`, or leaves int64.

    An int, a decimal string and a Decimal count as written; a float as the shortest decimal that gives its double.
    """
    if type(value) is int:
        result = value * one
    else:
        result = _scaled_decimal(value, one)
    if not -INT64_MAX <= result <= INT64_MAX:
        raise ValueError(f"{value!r} is outside the range of +-{INT64_MAX / one:.10g}")
    return result


def _scaled_decimal(value: int | float | str | Decimal, one: int) -> int:
    if isinstance(value, str):
        if len(value) > 40 or not _DECIMAL.fullmatch(value):
            raise ValueError(f"{value[:48]!r} is not a decimal number such as '-12.5'")
        exact = Decimal(value)
    else:
        exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not exact.is_finite():
        raise ValueError(f"{value!r} is not finite")
    if exact.adjusted() > 25:
        raise ValueError(f"{value!r} is outside the range of +-{INT64_MAX / one:.10g}")
    result = Fraction(exact) * one if exact.adjusted() > -25 or not exact else Fraction(1, 2)
    if result.denominator != 1:
        raise ValueError(f"{value!r} has more than {len(str(one)) - 1} decimals")
    return result.numerator


def time_ns(value: int | str) -> int:
    """Nanoseconds since 1970 of an integer (as it is) or an RFC 3339 string of up to 9 decimals; ValueError otherwise."""
    if isinstance(value, str):
        match = _RFC3339.fullmatch(value)
        if not match:
            raise ValueError(f"{value[:48]!r} is not an RFC 3339 time such as '2026-11-02T14:30:00.5Z'")
        day, clock, fraction, zone = match.groups()
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
        seconds = moment - _EPOCH
        value = (seconds.days * 86_400 + seconds.seconds) * 10**9 + int((fraction or ".0")[1:].ljust(9, "0"))
    if not 0 <= value <= MAX_TIME_NS:
        raise ValueError(f"{value} is outside 1970 to 2100 in nanoseconds")
    return value


def divide_half_even(numerator: int, denominator: int) -> int:
    """numerator / denominator (> 0), rounded half to even."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient & 1 == 1))


def divide_up(numerator: int, denominator: int) -> int:
    """numerator / denominator (> 0), rounded up."""
    return -(-numerator // denominator)


def decimal_text(value: int, decimals: int) -> str:
    """An integer of 10^-decimals units as an exact decimal string: (-123450, 2) is '-1234.50'."""
    if decimals == 0:
        return str(value)
    sign, digits = "-" if value < 0 else "", str(abs(value)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def time_text(ts_ns: int) -> str:
    """A time in UTC to the nanosecond, RFC 3339."""
    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ts_ns % 10**9:09d}Z"


def date_of(ts_ns: int) -> date:
    """The UTC day of a time."""
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).date()

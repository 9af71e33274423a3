"""Exact numbers against decimal and fractions."""

from datetime import UTC, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.numbers import INT64_MAX, MAX_TIME_NS, decimal_text, divide_half_even, divide_up, scaled, time_ns

ONES = st.sampled_from((1, 100, 10**8, 10**9))
INTEGERS = st.integers(-(10**22), 10**22)


def fits(exact: Fraction) -> bool:
    """Whether a scaled value is whole and within int64."""
    return exact.denominator == 1 and abs(exact) <= INT64_MAX


def scaled_or_none(value: Any, one: int) -> int | None:
    """scaled, or None where it refuses."""
    try:
        return scaled(value, one)
    except ValueError:
        return None


@given(INTEGERS, st.integers(0, 12), ONES)
def test_decimals_are_scaled_exactly_or_refused(digits: int, places: int, one: int) -> None:
    exact = Fraction(digits, 10**places)
    expected = exact.numerator * one // exact.denominator if fits(exact * one) else None
    with localcontext(prec=60):
        value = Decimal(digits).scaleb(-places)
        assert scaled_or_none(value, one) == expected
        assert scaled_or_none(f"{value:f}", one) == expected


@given(INTEGERS, ONES)
def test_integers_are_scaled_exactly_or_refused(value: int, one: int) -> None:
    assert scaled_or_none(value, one) == (value * one if abs(value * one) <= INT64_MAX else None)


@given(st.floats(), ONES)
def test_a_float_is_the_shortest_decimal_that_gives_it(value: float, one: int) -> None:
    result = scaled_or_none(value, one)
    shortest = Decimal(repr(value))
    if not shortest.is_finite():
        assert result is None
    else:
        exact = Fraction(shortest) * one
        assert result == (exact.numerator if fits(exact) else None)


@given(st.text(alphabet="0123456789.-+eEnaif _", max_size=12))
def test_only_plain_decimal_strings_are_numbers(text: str) -> None:
    whole, dot, fraction = text.removeprefix("-").partition(".")
    plain = whole.isdigit() and (whole == "0" or whole[0] != "0") and (fraction.isdigit() if dot else True)
    assert (scaled_or_none(text, 10**12) is not None) == plain


@pytest.mark.parametrize(
    "value",
    ["", "1e5", "NaN", "Infinity", "0x1", "1_0", " 1", "1 ", "\u0661", "1" * 41, 0.1234567891, float("inf"), float("nan"),
     Decimal("NaN"), Decimal("-Infinity"), Decimal("1e999999"), Decimal("1e-999999"), 2**63, "9223372036.854775808"],
)  # fmt: skip
def test_what_is_no_number_here_is_refused_with_one_line(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{10,120}$"):
        scaled(value, 10**9)


@given(st.integers(), st.integers(1, 10**12))
def test_division_rounds_as_told(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert divide_half_even(numerator, denominator) == round(exact)
    assert divide_up(numerator, denominator) == -((-exact).__floor__())


@given(st.integers(-(10**20), 10**20), st.integers(0, 8))
def test_decimal_text_is_exact(value: int, decimals: int) -> None:
    text = decimal_text(value, decimals)
    assert Fraction(text) == Fraction(value, 10**decimals)
    assert len(text.partition(".")[2]) == decimals


def test_decimal_text_keeps_zeros() -> None:
    assert [decimal_text(v, 2) for v in (-123450, -5, 0, 100)] == ["-1234.50", "-0.05", "0.00", "1.00"]


@given(st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31)), st.integers(0, 999), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_times_are_exact_to_the_nanosecond(moment: datetime, nanos: int, offset: int) -> None:
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    expected = ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1000 + nanos
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}{nanos:03}"
    assert time_ns(text + "Z") == expected
    shifted = expected - offset * 60 * 10**9
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    if 0 <= shifted <= MAX_TIME_NS:
        assert time_ns(text + zone) == shifted
    assert time_ns(expected) == expected


@pytest.mark.parametrize(
    "value",
    ["2026-11-02", "2026-11-02T14:30:00", "2026-13-02T14:30:00Z", "2026-11-02T25:30:00Z", "2026-11-02T14:30:00.1234567890Z",
     "now", "", -1, MAX_TIME_NS + 1, "1969-12-31T23:59:59Z", "2100-01-01T00:00:01Z"],
)  # fmt: skip
def test_other_times_are_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        time_ns(value)

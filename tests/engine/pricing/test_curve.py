"""The par-yield curve: what it is bootstrapped from comes out again; holes are named; negative yields work."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pricing.curve import (
    TREASURY_TENORS,
    bootstrap,
    discount_factors,
    filled,
    key_rate_shifts,
    par_yield,
    zero_rates,
)
from tests.services import shared

PAR = np.array([5.36, 5.33, 5.09, 4.74, 4.52, 4.33, 4.31, 4.32, 4.58, 4.45]) / 100  # near 2024-06-26
CURVES = st.builds(
    lambda level, bends: [level + bend for bend in bends],
    st.floats(-0.02, 0.12),
    st.lists(st.floats(-0.005, 0.005), min_size=10, max_size=10),
)


@given(CURVES)
def test_a_par_bond_is_worth_par(par: list[float]) -> None:
    curve = bootstrap(TREASURY_TENORS, par)
    for tenor, given_yield in zip(TREASURY_TENORS[1:], par[1:], strict=True):
        assert float(par_yield(curve, tenor)) == pytest.approx(given_yield, abs=1e-12)
    assert float(discount_factors(curve, [0.25])[0]) == pytest.approx(1 / (1 + par[0] / 4), abs=1e-14)


def test_discount_factors_by_hand() -> None:
    curve = bootstrap((0.5, 1.0, 2.0), (0.04, 0.05, 0.06))
    half = 1 / 1.02
    year = (1 - 0.025 * half) / 1.025
    later = (1 - 0.0275 * (half + year)) / 1.0275  # 5.5 % is the yield interpolated at a year and a half
    two = (1 - 0.03 * (half + year + later)) / 1.03
    assert discount_factors(curve, [0.5, 1, 1.5, 2]) == pytest.approx([half, year, later, two], abs=1e-15)
    assert float(discount_factors(curve, [0.75])[0]) == pytest.approx(np.sqrt(half * year), abs=1e-15)
    assert float(zero_rates(curve, [2.0])[0]) == pytest.approx(-np.log(two) / 2, abs=1e-15)
    assert float(discount_factors(curve, [0.0])[0]) == 1
    assert float(zero_rates(curve, [0.2])[0]) == pytest.approx(2 * np.log(1.02), abs=1e-15)


def test_negative_yields_discount_above_one() -> None:
    curve = bootstrap(TREASURY_TENORS, np.full(10, -0.01))
    assert (discount_factors(curve, [1, 10, 30]) > 1).all()
    assert zero_rates(curve, [1, 10, 30]) == pytest.approx(2 * np.log(0.995), abs=1e-14)


def test_many_curves_are_each_alone() -> None:
    many = PAR + np.linspace(-0.06, 0.03, 7)[:, None] * np.linspace(1, 0.5, 10)
    times = [0.1, 0.25, 3.3, 29.9, 30.2]
    together = discount_factors(bootstrap(TREASURY_TENORS, many), times)
    for row, par in zip(together, many, strict=True):
        assert row == pytest.approx(discount_factors(bootstrap(TREASURY_TENORS, par), times), abs=1e-15)


@pytest.mark.parametrize(("place", "name"), [(0, "3m"), (2, "1y"), (7, "10y"), (8, "20y"), (9, "30y")])
def test_a_hole_is_named(place: int, name: str) -> None:
    par = np.stack((PAR, PAR))
    par[1, place] = np.nan
    with pytest.raises(ValueError, match=f"no par yield at {name}$"):
        bootstrap(TREASURY_TENORS, par)


def test_20y_and_30y_may_be_filled_by_name() -> None:
    par = np.stack((PAR, PAR, PAR))
    par[0, 8] = par[1, 9] = par[2, 8] = par[2, 9] = np.nan
    done = filled(TREASURY_TENORS, par, fill=(20.0, 30.0))
    assert done[:, :8].tolist() == par[:, :8].tolist()
    assert done[0, 8] == pytest.approx((PAR[7] + PAR[9]) / 2, abs=1e-15)
    assert done[1, 9] == PAR[8]
    assert done[2, 8:].tolist() == [PAR[7], PAR[7]]
    assert filled(TREASURY_TENORS, par[0], fill=(20.0,)).tolist() == done[0].tolist()
    with pytest.raises(ValueError, match="no par yield at 30y"):
        filled(TREASURY_TENORS, par[1], fill=(20.0,))
    with pytest.raises(ValueError, match="only 20y and 30y may be filled, not 10y"):
        filled(TREASURY_TENORS, PAR, fill=(10.0,))


def test_every_day_of_the_history_bootstraps() -> None:
    with shared("data/ust/par_yields_1990_2024.csv").open() as lines:
        rows = [[float(cell or "nan") for cell in row[1:]] for row in list(csv.reader(lines))[1:]]
    history = np.array(rows) / 100
    holes = np.isnan(history[:, 0])
    assert holes.sum() == 3  # 3m on three days of December 2008: not to be filled, so the curve is refused
    with pytest.raises(ValueError, match="no par yield at 3m"):
        filled(TREASURY_TENORS, history[holes], fill=(20.0, 30.0))
    par = filled(TREASURY_TENORS, history[~holes], fill=(20.0, 30.0))
    factors = discount_factors(bootstrap(TREASURY_TENORS, par), [1.0, 10.0, 30.0])
    assert factors.shape == (8595, 3)
    assert (np.diff(factors, axis=-1) < 0).all()


def test_what_is_no_curve_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no positive discount factor at \d"):
        bootstrap(TREASURY_TENORS, np.linspace(0.01, 0.4, 10))
    with pytest.raises(ValueError, match="no positive discount factor at 1y"):
        bootstrap((0.5, 1.0), (0.01, -2.5))
    with pytest.raises(ValueError, match="no positive discount factor at 3m"):
        bootstrap((0.25, 0.5), (-5.0, 0.01))
    with pytest.raises(ValueError, match=r"par yield inf"):
        bootstrap((0.5, 1.0), (0.01, np.inf))
    with pytest.raises(ValueError, match=r"tenor 0.75 is not a whole number"):
        bootstrap((0.5, 0.75), (0.01, 0.01))
    with pytest.raises(ValueError, match="ascending"):
        bootstrap((1.0, 0.5), (0.01, 0.01))
    with pytest.raises(ValueError, match=r"3 par yields|par yields for 2"):
        bootstrap((0.5, 1.0), (0.01, 0.01, 0.01))
    curve = bootstrap((0.5, 1.0), (0.01, 0.01))
    with pytest.raises(ValueError, match=r"time 1.6 is outside the curve"):
        discount_factors(curve, [1.6])
    with pytest.raises(ValueError, match=r"time -0.1 is outside"):
        discount_factors(curve, [0.1, -0.1])
    with pytest.raises(ValueError, match="time 0 must be above 0"):
        zero_rates(curve, [0.0])
    with pytest.raises(ValueError, match=r"tenor 0.7 is not"):
        par_yield(curve, 0.7)


@given(st.lists(st.sampled_from(TREASURY_TENORS), min_size=1, unique=True).map(sorted))
def test_key_rate_shifts_add_up_to_the_parallel_shift(keys: list[float]) -> None:
    shifts = key_rate_shifts(TREASURY_TENORS, keys)
    assert shifts.sum(axis=0) == pytest.approx(np.full(10, 1e-4), abs=1e-18)
    for row, key in zip(shifts, keys, strict=True):
        assert row[TREASURY_TENORS.index(key)] == 1e-4

"""Views of a customer: requirement, saving, what blocks it, legal status; and the walls between pools."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.models.views import Leg, Legal, Pool, View, cross, silo, unified
from tests.engine.models.laws import LAW

LEGS = [Leg("Treasuries", "FICC", 14_00), Leg("futures", "CME", 10_00), Leg("crypto", "4d", 5_00)]
EQUITY = {"FICC": 20_00, "CME": 3_00, "4d": 5_00}
AFTER: dict[str, int | None] = {"Treasuries": 5_60, "futures": 4_00}


def pool(view: View, name: str) -> Pool:
    return next(one for one in view.pools if one.name == name)


def test_silo_is_the_sum_and_each_pool_stands_alone() -> None:
    view = silo(LEGS, EQUITY)
    assert (view.status, view.requirement_minor, view.saving_minor, view.blocked) == (Legal.IN_FORCE, 29_00, 0, ())
    assert pool(view, "FICC") == ("FICC", 20_00, 14_00, 6_00, 0)
    assert pool(view, "CME") == ("CME", 3_00, 10_00, 0, 7_00)
    assert (view.deficit_minor, view.trapped_minor) == (7_00, 6_00)


def test_cross_reduces_each_leg_and_shows_what_it_saves() -> None:
    view = cross(LEGS, AFTER, EQUITY, Legal.IN_FORCE)
    assert (view.requirement_minor, view.saving_minor, view.blocked) == (14_60, 14_40, ())
    assert (view.deficit_minor, view.trapped_minor) == (1_00, 14_40)


def test_blocked_cross_in_force_saves_nothing_and_pending_is_shown_with_its_reason() -> None:
    blocked = cross(LEGS, AFTER, EQUITY, Legal.IN_FORCE, ["no agreement"])
    assert (blocked.requirement_minor, blocked.saving_minor, blocked.blocked) == (29_00, 0, ("no agreement",))
    pending = cross(LEGS, AFTER, EQUITY, Legal.PENDING, ["rule not in force"])
    assert (pending.status, pending.saving_minor, pending.blocked) == (Legal.PENDING, 14_40, ("rule not in force",))


def test_unified_is_a_figure_without_pools() -> None:
    view = unified(LEGS, EQUITY, 2_00, Legal.HYPOTHETICAL, ["no such rule"])
    assert view == View("unified", Legal.HYPOTHETICAL, 2_00, 27_00, ("no such rule",), (), None, None)
    assert unified(LEGS, EQUITY, 31_00, Legal.HYPOTHETICAL, ["no such rule"]).saving_minor == -2_00
    assert unified(LEGS, EQUITY, None, Legal.HYPOTHETICAL, ["no such rule"]).saving_minor is None


def test_an_unpriced_leg_is_a_state_of_its_pool_alone() -> None:
    legs = [LEGS[0], LEGS[1]._replace(requirement_minor=None), LEGS[2]]
    view = silo(legs, EQUITY)
    assert (view.requirement_minor, view.saving_minor, view.deficit_minor, view.trapped_minor) == (None,) * 4
    assert pool(view, "CME") == ("CME", 3_00, None, None, None)
    assert pool(view, "FICC") == pool(silo(LEGS, EQUITY), "FICC")
    crossed = cross(LEGS, {"futures": None}, EQUITY, Legal.IN_FORCE)
    assert crossed.requirement_minor is None


@LAW
@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12), st.sampled_from([silo, cross]))
def test_a_futures_loss_never_takes_the_cash_legs_collateral(futures_equity: int, required: int, form: object) -> None:
    def seen(equity: dict[str, int], legs: list[Leg]) -> View:
        return silo(legs, equity) if form is silo else cross(legs, {"Treasuries": 5_60}, equity, Legal.IN_FORCE)

    before = seen(EQUITY, LEGS)
    after = seen({**EQUITY, "CME": futures_equity}, [LEGS[0], LEGS[1]._replace(requirement_minor=required), LEGS[2]])
    assert pool(after, "FICC") == pool(before, "FICC")
    assert pool(after, "4d") == pool(before, "4d")
    assert after.deficit_minor == max(0, required - futures_equity)


def test_one_pools_excess_never_covers_anothers_deficit() -> None:
    view = silo(LEGS, {**EQUITY, "FICC": 10**15})
    assert view.deficit_minor == 7_00
    assert silo(LEGS, {"FICC": 14_00, "CME": 10_00, "4d": 9_00}).trapped_minor == 0  # excess, but nobody is short


def test_refusals() -> None:
    with pytest.raises(ValueError, match="each name once"):
        silo([LEGS[0], LEGS[0]], EQUITY)
    with pytest.raises(ValueError, match="in pool 4d"):
        silo(LEGS, {"FICC": 1, "CME": 1})
    with pytest.raises(ValueError, match="requires -1"):
        silo([Leg("x", "CME", -1)], EQUITY)
    with pytest.raises(ValueError, match="cross-margin of \\['swaps'\\]"):
        cross(LEGS, {"swaps": 1}, EQUITY, Legal.IN_FORCE)
    with pytest.raises(ValueError, match="requires 1001 after"):
        cross(LEGS, {"futures": 10_01}, EQUITY, Legal.IN_FORCE)
    with pytest.raises(ValueError, match="pending and blocked by nothing"):
        cross(LEGS, AFTER, EQUITY, Legal.PENDING)
    with pytest.raises(ValueError, match="hypothetical and blocked by nothing"):
        unified(LEGS, EQUITY, 1, Legal.HYPOTHETICAL, [])
    with pytest.raises(ValueError, match="requirement of -1"):
        unified(LEGS, EQUITY, -1, Legal.HYPOTHETICAL, ["x"])

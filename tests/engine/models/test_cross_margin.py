"""Cross-margin: every case of golden/cross_margin.json, the twin, many accounts at once, eligibility with its reasons."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arithmetic import LIMIT
from engine.models.cross_margin import (
    ABSENT,
    ONE,
    Account,
    Agreement,
    Basis,
    Conditions,
    Firm,
    House,
    Position,
    Reason,
    account_reasons,
    after_saving,
    check,
    cross_margin,
    cross_margins,
    house_saving,
    position_reasons,
    spread_reduction,
)
from tests.engine.models import twins
from tests.engine.models.golden import golden
from tests.engine.models.laws import LAW

CASES = golden("cross_margin")["cases"]
CENTS = 10**8  # in a million USD
SECOND = 10**9


def house(legs: dict[str, Any] | None) -> House:
    if legs is None:
        return ABSENT
    treasury, futures, combined = (int(legs[leg] * CENTS) for leg in ("ficc_leg", "cme_leg", "combined"))
    return House(True, treasury, futures, combined)


def ppb(share: Any) -> int:
    return int(share * ONE)


@pytest.mark.parametrize("case", [case for case in CASES if "cme" in case], ids=lambda case: case["id"])
def test_golden_cases(case: dict[str, Any]) -> None:
    agreement = Agreement(ppb(case.get("cap", 1)), ppb(case.get("precision", 0)), case.get("ttl_s", 0) * SECOND)
    last = ppb(case["last_agreed"]) if "last_agreed" in case else -1
    found = cross_margin(house(case["cme"]), house(case["ficc"]), agreement, last, case.get("last_agreed_age_s", 0) * SECOND)
    assert found.saving_ppb == case["s"] * ONE
    assert found.cme_minor == case["req_cme"] * CENTS
    assert found.ficc_minor == (case["req_ficc"] * CENTS if "req_ficc" in case else None)
    for name in ("cme", "ficc"):
        if f"s_{name}" in case:
            assert house_saving(house(case[name])) == case[f"s_{name}"] * ONE


def test_golden_percentage_of_the_cftc_sample() -> None:
    case = next(case for case in CASES if "standalone_total" in case)
    after = after_saving(int(case["standalone_total"] * CENTS), ppb(case["s"]))
    assert after == case["total"] * CENTS
    assert round(Decimal(after) / CENTS, 2) == case["printed_total"]


@pytest.mark.parametrize("legs", [(12, 0, 6), (0, 10, 6), (0, 0, 0)])
def test_one_leg_alone_saves_nothing(legs: tuple[int, int, int]) -> None:
    assert house_saving(House(True, *legs)) == 0


LEG = st.integers(0, 10**12)
HOUSE = st.tuples(LEG, LEG, LEG)


@LAW
@given(HOUSE, HOUSE, st.integers(0, ONE), st.sampled_from([0, 1, 10**7, 333_333_333]))
def test_saving_is_the_twins_within_its_resolution(cme: Any, ficc: Any, cap: int, precision: int) -> None:
    agreement = Agreement(cap, precision)
    found = cross_margin(House(True, *cme), House(True, *ficc), agreement)
    exact = twins.saving([cme, ficc], Fraction(cap, ONE), Fraction(precision, ONE))
    assert 0 <= exact - Fraction(found.saving_ppb, ONE) < Fraction(1, ONE)
    assert 0 <= found.saving_ppb <= cap
    for after, leg in ((found.cme_minor, cme[1]), (found.ficc_minor, ficc[0])):
        assert after is not None
        assert 0 <= after <= leg
        assert 0 <= after - leg * (1 - Fraction(found.saving_ppb, ONE)) < 1
    assert cross_margin(House(True, *ficc), House(True, *cme), agreement).saving_ppb == found.saving_ppb


@LAW
@given(HOUSE, st.integers(-1, ONE), st.integers(0, 100))
def test_one_house_never_gives_more_than_it_allows(legs: Any, last: int, age: int) -> None:
    answering, agreement = House(True, *legs), Agreement(ttl_ns=50)
    for pair in ((answering, ABSENT), (ABSENT, answering)):
        found = cross_margin(*pair, agreement, last, age)
        fresh = last >= 0 and age <= 50
        assert found.basis == (Basis.LAST_AGREED if fresh else Basis.NONE)
        assert found.saving_ppb == (min(last, house_saving(answering)) if fresh else 0)
        assert (found.cme_minor is None, found.ficc_minor is None) == (not pair[0].answered, not pair[1].answered)


def test_what_is_no_answer() -> None:
    good, agreement = House(True, 12, 10, 6), Agreement(ttl_ns=50)
    assert cross_margin(good, good, agreement).basis == Basis.AGREED
    for bad in (
        House(True, 12, -1, 6),
        House(True, LIMIT, 10, 6),
        House(True, 12, 10, LIMIT),
        good._replace(answered=False),
    ):
        assert cross_margin(good, bad, agreement) == (0, Basis.NONE, 10, None)
        assert cross_margin(bad, good, agreement, ONE // 2, 50) == (ONE // 2, Basis.LAST_AGREED, None, 6)
    assert cross_margin(ABSENT, ABSENT, agreement, ONE // 2, 0) == (0, Basis.NONE, None, None)
    assert cross_margin(good, ABSENT, agreement, ONE // 2, -1).saving_ppb == 0  # agreed in the future


def test_many_accounts_are_each_alone() -> None:
    random = np.random.default_rng(2)
    cme, ficc = random.integers(0, 10**10, (2, 200, 3))
    cme[7, 2], ficc[8, 0], cme[9, 1] = LIMIT, LIMIT, LIMIT
    agreement, saving, after = Agreement(800_000_000, 10**7), np.empty(200, np.int64), np.empty((200, 2), np.int64)
    cross_margins(cme, ficc, agreement, saving, after)
    for a in range(200):
        one = cross_margin(House(True, *cme[a].tolist()), House(True, *ficc[a].tolist()), agreement)
        assert saving[a] == one.saving_ppb
        legs = one.cme_minor, one.ficc_minor
        assert after[a].tolist() == [
            alone if leg is None else leg for leg, alone in zip(legs, (cme[a, 1], ficc[a, 0]), strict=True)
        ]
    assert saving[7:10].tolist() == [0, 0, 0]
    assert saving.max() == 800_000_000


def test_spread_form() -> None:
    assert spread_reduction(750_000_000, 1000, 800) == 600
    assert spread_reduction(500_000_000, 300, 301) == 150
    assert spread_reduction(333_333_333, 10, 10) == 3


@pytest.mark.parametrize("bad", [Agreement(ONE + 1), Agreement(-1), Agreement(ONE, -1), Agreement(ONE, 0, -1)])
def test_agreement_out_of_range_is_refused(bad: Agreement) -> None:
    with pytest.raises(ValueError, match="allowed are shares"):
        check(bad)


FIRM = Firm(True, True, True, True)
ACCOUNT = Account("BD-FCM", "BD-FCM", True, True, "XM-CUST")
CONDITIONS = Conditions("XM-CUST", frozenset({"UST", "repo", "ZN"}))
TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("firm", "account", "reasons"),
    [
        (FIRM, ACCOUNT, []),
        (FIRM._replace(broker_dealer=False), ACCOUNT, [Reason.NOT_DUAL]),
        (FIRM._replace(futures_commission_merchant=False), ACCOUNT, [Reason.NOT_DUAL]),
        (FIRM._replace(cme_member=False), ACCOUNT, [Reason.NOT_JOINT_MEMBER]),
        (FIRM._replace(ficc_member=False), ACCOUNT, [Reason.NOT_JOINT_MEMBER]),
        (FIRM, ACCOUNT._replace(ficc_entity="affiliate"), [Reason.OTHER_FIRM]),
        (FIRM, ACCOUNT._replace(cme_entity="", ficc_entity=""), [Reason.OTHER_FIRM]),
        (FIRM, ACCOUNT._replace(agreement_signed=False), [Reason.NO_AGREEMENT]),
        (FIRM, ACCOUNT._replace(designated=False), [Reason.NOT_DESIGNATED]),
        (FIRM, ACCOUNT._replace(pool="SEG-4d"), [Reason.OTHER_POOL]),
        (
            Firm(False, True, True, False),
            Account("A", "B", False, False, "30.7"),
            [
                Reason.NOT_DUAL,
                Reason.NOT_JOINT_MEMBER,
                Reason.OTHER_FIRM,
                Reason.NO_AGREEMENT,
                Reason.NOT_DESIGNATED,
                Reason.OTHER_POOL,
            ],
        ),
    ],
)
def test_every_reason_of_an_account(firm: Firm, account: Account, reasons: list[Reason]) -> None:
    assert account_reasons(firm, account, CONDITIONS) == reasons


@pytest.mark.parametrize(
    ("position", "reasons"),
    [
        (Position("ZN", False), []),
        (Position("UST", True, date(2027, 11, 22)), []),
        (Position("UST", True, date(2027, 11, 21)), [Reason.MATURITY]),  # one year is not more than one year
        (Position("repo", True, date(2031, 5, 15)), []),  # overnight, but of a note with years left
        (Position("repo", True, date(2027, 2, 15)), [Reason.MATURITY]),
        (Position("repo", True), [Reason.NO_MATURITY]),
        (Position("TIPS", True, date(2040, 2, 15)), [Reason.PRODUCT]),
        (Position("bill", True, date(2027, 2, 15)), [Reason.PRODUCT, Reason.MATURITY]),
        (Position("option on ZN", False), [Reason.PRODUCT]),
        (Position("BTC", False), [Reason.PRODUCT]),
    ],
)
def test_every_reason_of_a_position(position: Position, reasons: list[Reason]) -> None:
    assert position_reasons(position, TODAY, CONDITIONS) == reasons

"""The digital-asset pilot: phases by day, eligibility, the weekly report to the cent, and the firm's own holdings."""

import csv
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arithmetic import LIMIT
from engine.models.pilot import (
    AccountClass,
    CustomerHolding,
    Digital,
    OwnHolding,
    Phase,
    Pilot,
    ReportRow,
    class_totals,
    own_capital_charge,
    phase_of,
    pilot_reason,
    report_csv,
    report_due,
    residual_interest_reason,
    weekly_report,
)
from tests.engine.models.laws import LAW

START = date(2026, 3, 2)
FIRST = [Digital.BITCOIN, Digital.ETHER, Digital.PAYMENT_STABLECOIN]
PILOT = Pilot(
    commencement=START,
    months=3,
    floor=Decimal("0.2"),
    first=FIRST,
    own_capital={
        Digital.BITCOIN: Decimal("0.2"), Digital.ETHER: Decimal("0.2"), Digital.PAYMENT_STABLECOIN: Decimal("0.02"),
    },
    residual_interest=[Digital.PAYMENT_STABLECOIN],
)  # fmt: skip
FRIDAY = date(2026, 3, 6)


@pytest.mark.parametrize(
    ("day", "phase"),
    [
        (date(2026, 3, 1), Phase.BEFORE), (START, Phase.FIRST), (date(2026, 6, 1), Phase.FIRST),
        (date(2026, 6, 2), Phase.LATER), (date(2030, 1, 1), Phase.LATER),
    ],
)  # fmt: skip
def test_phases(day: date, phase: Phase) -> None:
    assert phase_of(PILOT, day) == phase


def test_three_months_from_a_month_end_stop_at_the_month_end() -> None:
    pilot = _from(date(2026, 11, 30))
    assert phase_of(pilot, date(2027, 2, 27)) == Phase.FIRST
    assert phase_of(pilot, date(2027, 2, 28)) == Phase.LATER


def _from(commencement: date | None) -> Pilot:
    return Pilot(
        commencement=commencement, months=3, floor=Decimal("0.2"), first=FIRST, own_capital={}, residual_interest=[]
    )


def test_eligibility_by_phase_with_the_reason() -> None:
    for digital in Digital:
        assert "begins on 2026-03-02" in pilot_reason(PILOT, digital, START - timedelta(1))
        assert "has not named a day" in pilot_reason(_from(None), digital, START)
        assert pilot_reason(PILOT, digital, date(2026, 6, 2)) == ""
        assert bool(pilot_reason(PILOT, digital, START)) == (digital == Digital.OTHER)
    assert pilot_reason(PILOT, Digital.OTHER, START) == (
        "in the firm's first 3 months only bitcoin, ether, payment_stablecoin are eligible"
    )


@pytest.mark.parametrize(
    ("week_ending", "due"),
    [
        (date(2026, 3, 1), False), (FRIDAY, True), (date(2026, 5, 29), True), (date(2026, 6, 5), True),
        (date(2026, 6, 7), True), (date(2026, 6, 8), False),
    ],
)  # fmt: skip
def test_the_weekly_report_is_a_duty_of_the_first_months(week_ending: date, due: bool) -> None:
    assert report_due(PILOT, week_ending) == due


HELD = [
    CustomerHolding(AccountClass.FOREIGN, "BTC", 5, 1),
    CustomerHolding(AccountClass.FUTURES, "USDC", 10**8, 1_00),
    CustomerHolding(AccountClass.FUTURES, "BTC", 150_000_000, 150_000_00),
    CustomerHolding(AccountClass.FUTURES, "BTC", 50_000_000, 50_000_01),
    CustomerHolding(AccountClass.CLEARED_SWAPS, "ETH", 0, 0),
]


def test_weekly_report_by_class_and_asset() -> None:
    rows = weekly_report(HELD, FRIDAY)
    assert rows == [
        ReportRow(FRIDAY, AccountClass.FUTURES, "BTC", 200_000_000, 200_000_01),
        ReportRow(FRIDAY, AccountClass.FUTURES, "USDC", 10**8, 1_00),
        ReportRow(FRIDAY, AccountClass.CLEARED_SWAPS, "ETH", 0, 0),
        ReportRow(FRIDAY, AccountClass.FOREIGN, "BTC", 5, 1),
    ]
    assert class_totals(rows) == {
        AccountClass.FUTURES: 200_001_01, AccountClass.CLEARED_SWAPS: 0, AccountClass.FOREIGN: 1,
    }  # fmt: skip
    assert report_csv(rows, FRIDAY) == (
        "week_ending,account_class,asset,quantity,value_usd\n"
        "2026-03-06,futures 4d,BTC,2.00000000,200000.01\n"
        "2026-03-06,futures 4d,USDC,1.00000000,1.00\n"
        "2026-03-06,cleared swaps Part 22,ETH,0.00000000,0.00\n"
        "2026-03-06,30.7,BTC,0.00000005,0.01\n"
        "2026-03-06,futures 4d,,,200001.01\n"
        "2026-03-06,cleared swaps Part 22,,,0.00\n"
        "2026-03-06,30.7,,,0.01\n"
        "2026-03-06,all,,,200001.02\n"
    )


def test_an_empty_week_is_reported_as_zeros() -> None:
    assert report_csv(weekly_report([], FRIDAY), FRIDAY).splitlines()[-1] == "2026-03-06,all,,,0.00"


def test_an_unpriced_or_negative_holding_is_not_reported_as_a_number() -> None:
    for quantity, value in ((1, None), (1, -1), (-1, 1)):
        with pytest.raises(ValueError, match="allowed are both known and from 0"):
            weekly_report([CustomerHolding(AccountClass.FUTURES, "BTC", quantity, value)], FRIDAY)
    with pytest.raises(ValueError, match="allowed is 2026-03-13"):
        report_csv(weekly_report(HELD, FRIDAY), date(2026, 3, 13))


HOLDING = st.builds(
    CustomerHolding, st.sampled_from(AccountClass), st.sampled_from(["BTC", 'a,"b', "ETH"]), st.integers(0, 10**15),
    st.integers(0, 10**12),
)  # fmt: skip


@LAW
@given(st.lists(HOLDING, max_size=12))
def test_sums_are_exact_in_any_order_and_the_csv_reads_back(holdings: list[CustomerHolding]) -> None:
    rows = weekly_report(holdings, FRIDAY)
    assert rows == weekly_report(reversed(holdings), FRIDAY)
    assert sum(row.value_usd_minor for row in rows) == sum(one.value_usd_minor or 0 for one in holdings)
    assert sum(class_totals(rows).values()) == sum(row.value_usd_minor for row in rows)
    read = list(csv.DictReader(report_csv(rows, FRIDAY).splitlines()))
    assert [(line["account_class"], line["asset"]) for line in read[: len(rows)]] == [row[1:3] for row in rows]
    assert [Decimal(line["quantity"]) * 10**8 for line in read[: len(rows)]] == [row.quantity_e8 for row in rows]
    assert Decimal(read[-1]["value_usd"]) * 100 == sum(row.value_usd_minor for row in rows)


def test_own_capital_charge_counts_both_sides_and_rounds_up() -> None:
    own = [
        OwnHolding("BTC", Digital.BITCOIN, 1_000_000_00),
        OwnHolding("ETH", Digital.ETHER, -500_000_00),
        OwnHolding("USDC", Digital.PAYMENT_STABLECOIN, 250_000_01),
    ]
    assert own_capital_charge(PILOT, own) == 200_000_00 + 100_000_00 + 5_000_01  # 2 % of 250,000.01 is 5,000.0002
    assert own_capital_charge(PILOT, []) == 0


def test_own_capital_charge_refuses() -> None:
    with pytest.raises(ValueError, match="SOL is other; charges are known of bitcoin, ether, payment_stablecoin"):
        own_capital_charge(PILOT, [OwnHolding("SOL", Digital.OTHER, 1)])
    with pytest.raises(ValueError, match=r"value\| of BTC is"):
        own_capital_charge(PILOT, [OwnHolding("BTC", Digital.BITCOIN, -LIMIT)])


def test_residual_interest_takes_payment_stablecoins_only() -> None:
    reasons = {digital: residual_interest_reason(PILOT, digital) for digital in Digital}
    assert [digital for digital, reason in reasons.items() if not reason] == [Digital.PAYMENT_STABLECOIN]
    assert reasons[Digital.BITCOIN] == (
        "of its own digital assets the firm may deposit only payment_stablecoin, not bitcoin"
    )

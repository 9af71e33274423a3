"""Rate futures and the strip: published figures, settlements by second formulas, missing fixings."""

import csv
import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pricing.rate_futures import (
    CONTRACTS,
    expected_rate,
    fixing_days,
    futures_pnl,
    lot_dv01,
    open_share,
    price_from_rate,
    rate_from_price,
    receiver_swap_value,
    reference_period,
    settlement_price,
    strip_discount_factors,
    swap_rate,
)
from tests.services import shared

STRIP = json.loads((Path(__file__).parents[2] / "golden" / "sofr_strip.json").read_text())
TAU = STRIP["days_per_quarter"] / STRIP["day_count"]
RATES = rate_from_price(STRIP["prices"])
SR1, SR3, ZQ = (CONTRACTS[name] for name in ("SR1", "SR3", "ZQ"))
ONE_DAY = timedelta(days=1)


def test_strip_discount_factors_and_coupon() -> None:
    factors = strip_discount_factors(RATES, TAU)
    assert [round(factor, 6) for factor in factors.tolist()] == STRIP["discount_factors"]
    assert round(100 * float(swap_rate(factors, TAU)), 4) == STRIP["swap_coupon_pct"]


@pytest.mark.parametrize("move", [int(move) for move in STRIP["swap_pnl_by_rate_move_bp"]])
def test_strip_profit_and_loss(move: int) -> None:
    notional = STRIP["swap"]["notional"]
    coupon = swap_rate(strip_discount_factors(RATES, TAU), TAU)
    swap = receiver_swap_value(notional, coupon, RATES + move * 1e-4, TAU) - receiver_swap_value(
        notional, coupon, RATES, TAU
    )
    assert round(float(swap)) == STRIP["swap_pnl_by_rate_move_bp"][str(move)]
    lots = -np.array(STRIP["lots"])
    assert -lots.sum() == STRIP["sum_lots"]
    moved = price_from_rate(RATES + move * 1e-4) - price_from_rate(RATES)
    assert (
        round(float(futures_pnl(SR3.point_value, lots, moved).sum()), 6) == STRIP["futures_pnl_by_rate_move_bp"][str(move)]
    )


def test_strip_hedges_each_quarter() -> None:
    """One basis point less in one quarter's rate, over 25 dollars a lot, is the number of lots."""
    coupon = swap_rate(strip_discount_factors(RATES, TAU), TAU)
    bumped = receiver_swap_value(STRIP["swap"]["notional"], coupon, RATES - 1e-4 * np.eye(8), TAU)
    assert bumped[:2].round(2).tolist() == [2501.88, 2483.49]  # rates.md 5.3, the published notes' figures
    assert (bumped / lot_dv01(SR3)).round().astype(int).tolist() == STRIP["lots"]


def test_margin_of_the_strip() -> None:
    outright = np.dot(STRIP["lots"], STRIP["initial_margin_per_lot"])
    assert outright == STRIP["sum_outright_margin"]
    separate = outright + STRIP["swap_initial_margin"]
    assert separate == STRIP["separate_total"]
    assert round(100 * (1 - STRIP["portfolio_margin"] / separate), 2) == STRIP["saving_pct"]


def test_dollars_of_a_basis_point() -> None:
    assert (lot_dv01(SR3), lot_dv01(SR1), lot_dv01(ZQ)) == (25.0, 41.67, 41.67)
    assert float(futures_pnl(SR3.point_value, -3, -0.01)) == pytest.approx(75.0, abs=1e-12)


@given(st.floats(-0.05, 0.2))
def test_price_and_rate_are_a_round_trip(rate: float) -> None:
    assert float(rate_from_price(price_from_rate(rate))) == pytest.approx(rate, abs=1e-15)
    assert (float(price_from_rate(rate)) > 100) == (rate < 0) or abs(rate) < 1e-15


def test_reference_periods() -> None:
    assert reference_period(SR3, 2024, 12) == (date(2024, 12, 18), date(2025, 3, 19))
    assert reference_period(SR1, 2024, 2) == (date(2024, 2, 1), date(2024, 3, 1))
    assert reference_period(ZQ, 2024, 12) == (date(2024, 12, 1), date(2025, 1, 1))


def test_fed_funds_month_with_a_cut() -> None:
    """A weekend keeps Friday's rate: 7 days at 4.83 % and 23 at 4.58 % give 95.362, to 0.001."""
    period = reference_period(ZQ, 2024, 11)
    days = [period[0] - ONE_DAY + n * ONE_DAY for n in range(31)]
    fixings = {day: 0.0483 if day < date(2024, 11, 8) else 0.0458 for day in days if day.weekday() < 5}
    assert settlement_price(ZQ, fixings, period) == 95.362
    assert settlement_price(SR1, fixings, period) == 95.362


def sofr() -> dict[date, float]:
    (found,) = [path for path in shared("data/rates").iterdir() if "SOFR" in path.name.upper()]
    with found.open() as lines:
        return {
            date.fromisoformat(row[0]): float(row[1]) / 100 for row in list(csv.reader(lines))[1:] if row[1] not in ("", ".")
        }


def test_settlement_of_real_sofr_by_an_account() -> None:
    """The second formula: an account that earns each day's interest and compounds it when the next fixing begins."""
    fixings = sofr()
    for year, month in ((2023, 3), (2024, 6), (2024, 12)):
        start, end = period = reference_period(SR3, year, month)
        weekdays = [start + n * ONE_DAY for n in range((end - start).days) if (start + n * ONE_DAY).weekday() < 5]
        holidays = [day for day in weekdays if day not in fixings]
        assert len(holidays) <= 4
        account, interest, simple, rate = 1.0, 0.0, 0.0, fixings[max(day for day in fixings if day <= start)]
        for n in range((end - start).days):
            if start + n * ONE_DAY in fixings:
                account, interest, rate = account + interest, 0.0, fixings[start + n * ONE_DAY]
            interest += account * rate / 360
            simple += rate
        expected = (account + interest - 1) * 360 / (end - start).days
        assert settlement_price(SR3, fixings, period, holidays) == round(100 - 100 * expected, 4)
        found = expected_rate(SR3, fixings, period, end, 0.0, holidays)
        assert float(found) == pytest.approx(expected, abs=1e-14)
        mean = expected_rate(SR1, fixings, period, end, 0.0, holidays)
        assert float(mean) == pytest.approx(simple / (end - start).days, abs=1e-15)
        assert found > mean


def test_open_days_move_with_the_forward() -> None:
    period = reference_period(SR1, 2024, 7)
    fixings = {period[0] + n * ONE_DAY: 0.05 for n in range(12) if (period[0] + n * ONE_DAY).weekday() < 5}
    as_of = date(2024, 7, 11)
    rate = expected_rate(SR1, fixings, period, as_of, [0.05, 0.06, -0.01], holidays=[])
    assert rate == pytest.approx([0.05, 0.05 + 0.01 * 21 / 31, 0.05 - 0.06 * 21 / 31], abs=1e-15)
    assert open_share(period, as_of) == 21 / 31
    assert (open_share(period, date(2024, 6, 1)), open_share(period, date(2024, 9, 1))) == (1, 0)
    quarter = reference_period(SR3, 2024, 9)
    before = expected_rate(SR3, {}, quarter, date(2024, 7, 1), [0.05, -0.01])
    assert before == pytest.approx([0.05, -0.01], abs=1e-15)


def test_a_missing_fixing_is_named() -> None:
    period = reference_period(SR1, 2024, 7)
    days = [period[0] + n * ONE_DAY for n in range(31)]
    fixings = {day: 0.05 for day in days if day.weekday() < 5 and day != date(2024, 7, 4)}
    with pytest.raises(ValueError, match="no fixing for 2024-07-04, which is not among the holidays"):
        settlement_price(SR1, fixings, period)
    assert settlement_price(SR1, fixings, period, [date(2024, 7, 4)]) == 95.0
    with pytest.raises(ValueError, match="no fixing for 2024-07-04"):
        fixing_days(fixings, date(2024, 7, 4), date(2024, 7, 6))
    with pytest.raises(ValueError, match="no fixing in the 7 days after"):
        fixing_days({}, date(2024, 7, 12), date(2024, 7, 13), [date(2024, 7, n) for n in range(1, 13)])
    with pytest.raises(ValueError, match="fixing of 2024-07-02 nan"):
        fixing_days({date(2024, 7, 2): float("nan")}, date(2024, 7, 2), date(2024, 7, 3))


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="rate nan"):
        price_from_rate(float("nan"))
    with pytest.raises(ValueError, match="futures price inf"):
        rate_from_price([95.0, np.inf])
    with pytest.raises(ValueError, match="growth of a period"):
        strip_discount_factors([0.05, -5.0], 0.25)

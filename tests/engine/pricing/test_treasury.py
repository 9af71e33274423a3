"""Notes, bonds and bills: laws of price and yield, hard input, and securities on the curve."""

import re
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pricing.bill import BillTime, bill_price, bill_time, bill_yield, price_from_discount
from engine.pricing.curve import TREASURY_TENORS, bootstrap
from engine.pricing.treasury import (
    Bond,
    CashFlows,
    accrued_interest,
    cash_flows,
    clean_price,
    dirty_price,
    dv01,
    modified_duration,
    yield_to_maturity,
)
from engine.pricing.treasury_curve import clean_prices, dirty_price_on_curve, key_rate_dv01, spread_to_curve
from tests.engine.pricing.test_curve import PAR

DAY = date(2024, 6, 26)
FLOWS = st.builds(
    lambda coupon, days: cash_flows(Bond(coupon / 800, DAY + timedelta(days=days)), DAY),
    st.integers(0, 120),
    st.integers(1, 11_000),
)
YIELDS = st.floats(-0.05, 0.25)


@given(FLOWS, YIELDS, YIELDS)
def test_price_falls_with_yield(flows: CashFlows, one: float, other: float) -> None:
    low, high = sorted((one, other))
    at_low, at_high = dirty_price(flows, [low, high])
    assert at_low > at_high or high - low < 1e-12
    assert at_low >= at_high


@given(FLOWS, YIELDS)
def test_yield_and_price_are_a_round_trip(flows: CashFlows, rate: float) -> None:
    price = clean_price(flows, rate)
    assert float(clean_price(flows, yield_to_maturity(flows, price))) == pytest.approx(float(price), abs=1e-10)
    if flows.periods[-1] > 0.1:  # the yield of a few days magnifies the price's last bit
        assert float(yield_to_maturity(flows, price)) == pytest.approx(rate, abs=1e-12)


@given(FLOWS, YIELDS)
def test_duration_and_dv01_are_the_slope(flows: CashFlows, rate: float) -> None:
    down, up = dirty_price(flows, [rate - 1e-5, rate + 1e-5])
    slope = float(down - up) / 2e-5
    assert float(dv01(flows, rate)) == pytest.approx(slope * 1e-4, rel=1e-6)
    assert float(modified_duration(flows, rate)) == pytest.approx(slope / float(dirty_price(flows, rate)), rel=1e-6)


@given(FLOWS, YIELDS)
def test_price_is_the_sum_of_discounted_flows(flows: CashFlows, rate: float) -> None:
    """A second formula, one flow at a time."""
    if len(flows.dates) == 1:
        expected = flows.amounts[0] / (1 + rate / 2 * flows.periods[0])
    else:
        expected = sum(a / (1 + rate / 2) ** t for a, t in zip(flows.amounts.tolist(), flows.periods.tolist(), strict=True))
    assert float(dirty_price(flows, rate)) == pytest.approx(expected, rel=1e-13)


def test_par_at_a_coupon_date_yields_the_coupon() -> None:
    for coupon in (0.0, 0.01, 0.045):
        flows = cash_flows(Bond(coupon, date(2034, 5, 15)), date(2024, 5, 15))
        assert flows.accrued == 0
        assert len(flows.dates) == 20
        assert float(yield_to_maturity(flows, 100.0)) == pytest.approx(coupon, abs=1e-15)


def test_month_ends_stay_month_ends() -> None:
    flows = cash_flows(Bond(0.05, date(2026, 2, 28)), date(2024, 2, 15))
    assert [str(day) for day in flows.dates] == ["2024-02-29", "2024-08-31", "2025-02-28", "2025-08-31", "2026-02-28"]
    middle = cash_flows(Bond(0.05, date(2026, 8, 15)), date(2025, 9, 1))
    assert [str(day) for day in middle.dates] == ["2026-02-15", "2026-08-15"]
    assert middle.accrued == pytest.approx(2.5 * 17 / 184, abs=1e-15)


def test_a_short_first_coupon_pays_for_its_days() -> None:
    bond = Bond(0.04, date(2030, 5, 15), dated=date(2024, 7, 1))
    flows = cash_flows(bond, date(2024, 8, 1))
    assert flows.amounts[0] == pytest.approx(2 * 137 / 184, abs=1e-14)
    assert flows.amounts[1:-1].tolist() == [2.0] * 10
    assert flows.amounts[-1] == 102.0
    assert flows.accrued == pytest.approx(2 * 31 / 184, abs=1e-14)
    assert accrued_interest(bond, date(2024, 7, 1)) == pytest.approx(0, abs=1e-15)
    assert accrued_interest(bond, date(2024, 11, 15)) == 0


def test_negative_yields_are_priced_above_the_sum_of_flows() -> None:
    for days in (30, 400, 10_000):
        flows = cash_flows(Bond(0.02, DAY + timedelta(days=days)), DAY)
        assert float(dirty_price(flows, -0.01)) > flows.amounts.sum()
        assert float(dirty_price(flows, 0.0)) == pytest.approx(flows.amounts.sum(), rel=1e-15)
        assert float(yield_to_maturity(flows, flows.amounts.sum() + 1 - flows.accrued)) < 0


@pytest.mark.parametrize(
    ("terms", "settlement", "reason"),
    [
        (lambda: Bond(4.25, date(2030, 1, 1)), DAY, "coupon 4.25 is outside 0..0.25 (a fraction, not per cent)"),
        (lambda: Bond(float("nan"), date(2030, 1, 1)), DAY, "coupon nan is outside"),
        (lambda: Bond(0.04, date(2024, 6, 26)), DAY, "matured on 2024-06-26, settlement is 2024-06-26"),
        (lambda: Bond(0.04, date(2030, 1, 1), date(2031, 1, 1)), DAY, "dated 2031-01-01 is not before maturity"),
        (lambda: Bond(0.04, date(2030, 1, 1), date(2025, 1, 1)), DAY, "settlement 2024-06-26 is before the dated date"),
        (lambda: Bond(0.04, date(2030, 1, 1), None, date(2025, 1, 1)), DAY, "needs a dated date before it"),
        (lambda: Bond(0.04, date(2030, 1, 1), date(2024, 1, 1), date(2024, 9, 1)), DAY, "is no coupon date"),
    ],
)
def test_impossible_terms_are_refused(terms: object, settlement: date, reason: str) -> None:
    assert callable(terms)
    with pytest.raises(ValueError, match=re.escape(reason)):
        cash_flows(terms(), settlement)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -2.0])
def test_impossible_yields_and_prices_are_refused(bad: float) -> None:
    for days in (30, 4000):
        flows = cash_flows(Bond(0.02, DAY + timedelta(days=days)), DAY)
        with pytest.raises(ValueError, match="yield"):
            clean_price(flows, [0.01, bad])
        with pytest.raises(ValueError, match="price"):
            yield_to_maturity(flows, [99.0, bad])


# Bills


@given(st.integers(1, 366), st.floats(-0.05, 0.2))
def test_bill_yield_and_price_are_a_round_trip(days: int, rate: float) -> None:
    time = BillTime(days, 366)
    price = float(bill_price(time, rate))
    assert (price < 100) == (rate > 0) or abs(rate) < 1e-12
    assert float(bill_price(time, bill_yield(time, price))) == pytest.approx(price, abs=1e-11)
    assert float(bill_yield(time, price)) == pytest.approx(rate, abs=1e-11 if days < 10 else 1e-12)


def test_bills_of_the_regulation() -> None:
    """31 CFR 356 appendix B: 100 (1 - 0.0776 x 84/360) and its investment rate are the shape; counted by hand here."""
    time = bill_time(date(1990, 1, 1), date(1990, 3, 26))
    assert time == BillTime(84, 365)
    price = float(price_from_discount(time, 0.0776))
    assert price == pytest.approx(98.189333333333, abs=1e-11)
    assert float(bill_yield(time, price)) == pytest.approx((100 - price) / price * 365 / 84, abs=1e-15)
    assert bill_time(date(2023, 6, 1), date(2024, 5, 30)).year_days == 366
    assert bill_time(date(2024, 6, 1), date(2024, 7, 1)).year_days == 365
    with pytest.raises(ValueError, match="matured on"):
        bill_time(DAY, DAY)
    with pytest.raises(ValueError, match="a bill runs 365 at most"):
        bill_time(DAY, date(2025, 6, 27))


# On the curve


def test_a_security_on_its_curve() -> None:
    curve = bootstrap(TREASURY_TENORS, PAR)
    flows = cash_flows(Bond(0.045, date(2034, 5, 15)), DAY)
    assert float(clean_price(flows, 0.0435)) == pytest.approx(
        float(dirty_price_on_curve(flows, curve) - flows.accrued), abs=1.0
    )
    spread = spread_to_curve(flows, curve, 101.25)
    assert float(dirty_price_on_curve(flows, curve, spread)) == pytest.approx(101.25 + flows.accrued, abs=1e-11)
    assert spread_to_curve(flows, curve, 100.25) > spread


def test_key_rate_dv01_adds_up_and_sits_at_the_maturity() -> None:
    keys = (2.0, 5.0, 10.0, 30.0)
    flows = cash_flows(Bond(0.045, date(2034, 5, 15)), DAY)
    spread = spread_to_curve(flows, bootstrap(TREASURY_TENORS, PAR), 101.25)
    each = key_rate_dv01(flows, TREASURY_TENORS, PAR, keys, spread)
    parallel = key_rate_dv01(flows, TREASURY_TENORS, PAR, (10.0,), spread)
    assert each.argmax() == 2
    assert each[2] > 0.95 * parallel[0]
    assert each.sum() == pytest.approx(parallel[0], abs=1e-7)  # third order: duration^3 x price x bp^3 is 5e-8
    assert parallel[0] == pytest.approx(float(dv01(flows, yield_to_maturity(flows, 101.25))), rel=0.01)


def test_many_securities_over_many_curves() -> None:
    securities = [
        cash_flows(Bond(coupon, maturity), DAY)
        for coupon, maturity in [
            (0.02, date(2024, 9, 30)),
            (0.04, date(2031, 8, 15)),
            (0.0, date(2027, 1, 3)),
            (0.05, date(2054, 5, 15)),
        ]
    ]
    spreads = [0.0, 0.001, -0.002, 0.0005]
    curves = PAR + np.array([-0.06, 0.0, 0.02])[:, None]
    found = clean_prices(securities, bootstrap(TREASURY_TENORS, curves), spreads)
    assert found.shape == (3, 4)
    for row, par in zip(found, curves, strict=True):
        curve = bootstrap(TREASURY_TENORS, par)
        alone = [dirty_price_on_curve(f, curve, s) - f.accrued for f, s in zip(securities, spreads, strict=True)]
        assert row == pytest.approx(alone, abs=1e-11)
    later = cash_flows(Bond(0.04, date(2031, 8, 15)), date(2024, 6, 27))
    with pytest.raises(ValueError, match="one settlement date"):
        clean_prices([*securities, later], bootstrap(TREASURY_TENORS, PAR), [0.0] * 5)

"""The second opinion: QuantLib on every security of a real day, and on options."""

from datetime import date

import numpy as np
import pytest
import QuantLib as ql

from engine.pricing import bill, options, treasury
from engine.pricing.treasury import Bond
from tests.engine.pricing.securities import DAY, NEXT_DAY, all_securities, day, quantlib_bond

PRICE = ACCRUED = 1e-10  # per 100 face
YIELD = 1e-12
DV01 = 1e-12  # per 100 face


def same_as_quantlib(bond: Bond, settlement: date, clean: float) -> None:
    flows = treasury.cash_flows(bond, settlement)
    twin, count = quantlib_bond(bond)
    on = day(settlement)
    compounding = ql.Simple if len(flows.dates) == 1 else ql.Compounded
    found = float(treasury.yield_to_maturity(flows, clean))
    rate = ql.InterestRate(found, count, compounding, ql.Semiannual)
    expected = twin.bondYield(ql.BondPrice(clean, ql.BondPrice.Clean), count, compounding, ql.Semiannual, on, 1e-15, 1000)
    duration = ql.BondFunctions.duration(twin, rate, ql.Duration.Modified, on)
    dirty = ql.BondFunctions.cleanPrice(twin, rate, on) + twin.accruedAmount(on)
    assert flows.accrued == pytest.approx(twin.accruedAmount(on), abs=ACCRUED)
    assert found == pytest.approx(expected, abs=YIELD)
    assert float(treasury.clean_price(flows, 0.04)) == pytest.approx(
        ql.BondFunctions.cleanPrice(twin, ql.InterestRate(0.04, count, compounding, ql.Semiannual), on), abs=PRICE
    )
    assert float(treasury.clean_price(flows, found)) == pytest.approx(clean, abs=PRICE)
    assert float(treasury.modified_duration(flows, found)) == pytest.approx(duration, abs=1e-9)
    assert float(treasury.dv01(flows, found)) == pytest.approx(dirty * duration * 1e-4, abs=DV01)


def test_every_note_and_bond() -> None:
    coupons = [security for security in all_securities() if security.kind != "BILL"]
    assert len(coupons) == 315
    for security in coupons:
        same_as_quantlib(security.bond, DAY, security.price)


def growth(rate: float, years: float) -> float:
    """What 1 grows to: simple interest, to half a year and from there (31 CFR 356 appendix B)."""
    simple = ql.InterestRate(rate, ql.Actual365Fixed(), ql.Simple, ql.Annual)
    return float(np.prod([simple.compoundFactor(part) for part in ((0.5, years - 0.5) if years > 0.5 else (years,))]))


def test_every_bill() -> None:
    bills = [security for security in all_securities() if security.kind == "BILL"]
    assert len(bills) == 50
    for _, bond, price, _ in bills:
        time = bill.bill_time(DAY, bond.maturity)
        years = time.days / time.year_days
        found = float(bill.bill_yield(time, price))

        expected = ql.Brent().solve(lambda rate, y=years, p=price: growth(rate, y) - 100 / p, 1e-15, 0.05, -0.5, 1.0)
        discount = float(bill.discount_from_price(time, price))
        off = discount * ql.Actual360().yearFraction(day(DAY), day(bond.maturity))
        assert 100 * (1 - off) == pytest.approx(price, abs=PRICE)
        assert float(bill.price_from_discount(time, discount)) == pytest.approx(price, abs=PRICE)
        assert found == pytest.approx(expected, abs=YIELD)
        assert float(bill.bill_price(time, found)) == pytest.approx(price, abs=PRICE)
        slope = (100 / growth(found - 1e-6, years) - 100 / growth(found + 1e-6, years)) / 0.02
        assert float(bill.bill_dv01(time, found)) == pytest.approx(slope, abs=1e-9)


def test_yields_that_came_with_the_prices() -> None:
    """The file's own yields, in per cent to 4 decimals, for the next day; those of bills beyond half a year are simple."""
    checked = 0
    for kind, bond, price, expected in all_securities():
        if bond.maturity <= NEXT_DAY:
            continue
        if kind == "BILL":
            time = bill.bill_time(NEXT_DAY, bond.maturity)
            if 2 * time.days > time.year_days:
                continue
            found = bill.bill_yield(time, price)
        else:
            found = treasury.yield_to_maturity(treasury.cash_flows(bond, NEXT_DAY), price)
        assert 100 * float(found) == pytest.approx(expected, abs=0.5e-4 + 1e-9)
        checked += 1
    assert checked == 358


SHORT_FIRST = Bond(0.04125, date(2031, 11, 15), dated=date(2024, 7, 1))
LONG_FIRST = Bond(0.08, date(2009, 11, 15), dated=date(2004, 8, 31), first_coupon=date(2005, 5, 15))
MONTH_END = Bond(0.0375, date(2026, 2, 28), dated=date(2024, 1, 9), first_coupon=date(2024, 8, 31))


@pytest.mark.parametrize(
    ("bond", "settlement"),
    [
        (SHORT_FIRST, date(2024, 7, 1)),
        (SHORT_FIRST, date(2024, 8, 20)),
        (SHORT_FIRST, date(2024, 11, 15)),
        (LONG_FIRST, date(2004, 9, 15)),
        (LONG_FIRST, date(2004, 11, 15)),
        (LONG_FIRST, date(2005, 2, 1)),
        (LONG_FIRST, date(2005, 6, 1)),
        (MONTH_END, date(2024, 1, 20)),
        (MONTH_END, date(2024, 2, 29)),
        (MONTH_END, date(2024, 6, 30)),
        (MONTH_END, date(2025, 12, 31)),
    ],
    ids=str,
)
@pytest.mark.parametrize("clean", [64.0, 99.5, 131.0])
def test_odd_first_periods(bond: Bond, settlement: date, clean: float) -> None:
    same_as_quantlib(bond, settlement, clean)


@pytest.mark.parametrize("call", [True, False])
def test_options(call: bool) -> None:
    side = ql.Option.Call if call else ql.Option.Put
    for strike in (60.0, 95.0, 110.0, 111.0, 180.0):
        for deviation in (0.0, 0.01, 0.2, 1.5):
            black = ql.blackFormula(side, strike, 110.0, deviation, 0.97)
            assert float(options.black_value(110.0, strike, deviation * 2, 0.25, call, 0.97)) == pytest.approx(
                black, abs=1e-12
            )
    for strike in (-2.0, -0.5, 0.0, 1.0):
        for deviation in (0.0, 0.4, 3.0):
            normal = ql.bachelierBlackFormula(side, strike, -0.5, deviation, 0.97)
            found = options.bachelier_value(-0.5, strike, deviation * 2, 0.25, call, 0.97)
            assert float(found) == pytest.approx(normal, abs=1e-12)

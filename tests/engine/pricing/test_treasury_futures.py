"""Treasury futures: published factors, baskets at their limits, implied repo by a second formula, model prices."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pricing.dates import add_months
from engine.pricing.treasury import Bond, accrued_interest, cash_flows, dv01, yield_to_maturity
from engine.pricing.treasury_futures import (
    CONTRACTS,
    Basket,
    basket,
    cheapest_to_deliver,
    conversion_factor,
    deliverable,
    forward_over_factor,
    futures_dv01,
    gross_basis,
    implied_repo,
    invoice_amount,
    model_futures_price,
    point_value,
    published_factor,
)
from tests.engine.pricing.securities import DAY, all_securities

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "conversion_factors.json").read_text())
SEPTEMBER = date(2024, 9, 1)
LAST_DELIVERY = date(2024, 9, 30)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case[0])
def test_published_conversion_factors(case: list[float | str]) -> None:
    product, coupon, years, months, _, expected = case
    found = conversion_factor(CONTRACTS[str(product)], float(coupon) / 100, int(years), int(months))
    assert round(found, 6) == expected


def test_factor_of_a_security_counts_from_the_first_delivery_day() -> None:
    note = Bond(0.03375, date(2034, 2, 15), date(2024, 2, 15))  # 9 years 5 months 14 days from 2024-09-01
    assert published_factor(CONTRACTS["ZN"], note, date(2024, 9, 20)) == round(GOLDEN["cases"][1][-1], 4)
    two_year = Bond(0.0075, date(2026, 8, 30), date(2024, 8, 30))  # 1 year 11 months 29 days
    assert published_factor(CONTRACTS["ZT"], two_year, SEPTEMBER) == round(GOLDEN["cases"][0][-1], 4)


@given(st.sampled_from(sorted(CONTRACTS)), st.integers(1, 29), st.integers(0, 11), st.floats(0, 0.15))
def test_factor_is_one_at_six_per_cent_and_rises_with_the_coupon(
    product: str, years: int, months: int, coupon: float
) -> None:
    terms = CONTRACTS[product]
    at_six = conversion_factor(terms, 0.06, years, months)
    if months % 6 == 0:
        assert at_six == pytest.approx(1, abs=1e-14)
    assert at_six == pytest.approx(1, abs=3e-4)  # below 1 inside a half year, where accrued interest is linear
    assert (
        conversion_factor(terms, coupon + 0.01, years, months) > conversion_factor(terms, coupon, years, months)
        or years == 0
    )


def test_dollars_of_a_point_and_a_tick() -> None:
    assert {name: point_value(terms) for name, terms in CONTRACTS.items()} == {
        "ZT": 2000, "Z3N": 2000, "ZF": 1000, "ZN": 1000, "TN": 1000, "ZB": 1000, "TWE": 1000, "UB": 1000,
    }  # fmt: skip
    assert {name: point_value(terms) * terms.tick for name, terms in CONTRACTS.items()} == {
        "ZT": 7.8125, "Z3N": 7.8125, "ZF": 7.8125, "ZN": 15.625, "TN": 15.625, "ZB": 31.25, "TWE": 31.25, "UB": 31.25,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("product", "original", "first", "last"),
    [
        ("ZT", 24, date(2026, 6, 1), date(2026, 9, 30)),
        ("Z3N", 84, date(2027, 6, 1), date(2027, 9, 30)),
        ("ZF", 60, date(2028, 11, 1), None),
        ("ZN", 120, date(2031, 3, 1), date(2034, 9, 1)),
        ("TN", 120, date(2034, 2, 1), date(2034, 9, 1)),
        ("ZB", 360, date(2039, 9, 1), date(2049, 8, 31)),
        ("TWE", 240, date(2043, 11, 1), date(2044, 8, 1)),
        ("UB", 360, date(2049, 9, 1), None),
    ],
)
def test_maturities_from_first_to_last_are_deliverable(product: str, original: int, first: date, last: date | None) -> None:
    terms, day = CONTRACTS[product], timedelta(days=1)

    def may(maturity: date) -> bool:
        return deliverable(terms, Bond(0.04, maturity, add_months(maturity, -original)), date(2024, 9, 17))

    assert may(first)
    assert not may(first - day)
    if last is None:
        assert may(first + 1500 * day)
    else:
        assert may(last)
        assert not may(last + day)


def test_original_term_decides() -> None:
    old_bond = Bond(0.0625, date(2031, 5, 15), date(2001, 5, 15))
    assert not deliverable(CONTRACTS["ZN"], old_bond, SEPTEMBER)
    seven_year = Bond(0.04, date(2029, 5, 15), date(2022, 5, 15))
    five_year = Bond(0.04, date(2029, 5, 15), date(2024, 5, 15))
    assert [deliverable(CONTRACTS["ZF"], bond, SEPTEMBER) for bond in (seven_year, five_year)] == [False, True]
    with pytest.raises(ValueError, match=r"original term of 0\.04 2029-05-15 is unknown"):
        deliverable(CONTRACTS["ZF"], Bond(0.04, date(2029, 5, 15)), SEPTEMBER)


def left_over(coupons: list[float], dirty: float, received: float, rate: float) -> float:
    """The second formula: borrow the price, keep an account at simple interest day by day, receive what delivery brings."""
    balance, interest = -dirty, 0.0
    for coupon in coupons:
        interest += balance * rate / 360
        balance += coupon
    return balance + interest + received


def rate_that_breaks_even(bond: Bond, settlement: date, delivery: date, dirty: float, received: float) -> float:
    flows = cash_flows(bond, settlement)
    paid = dict(zip(flows.dates, flows.amounts.tolist(), strict=True))
    coupons = [paid.get(settlement + timedelta(days=day + 1), 0.0) for day in range((delivery - settlement).days)]
    low, high = -5.0, 5.0
    for _ in range(55):
        middle = (low + high) / 2
        low, high = (middle, high) if left_over(coupons, dirty, received, middle) > 0 else (low, middle)
    return low


@pytest.mark.parametrize(
    ("product", "futures", "settlement", "delivery"),
    [
        ("ZN", 110.0, DAY, LAST_DELIVERY),
        ("ZN", 110.0, DAY, date(2024, 12, 31)),  # two coupons of many securities on the way
        ("ZB", 118.0, DAY, LAST_DELIVERY),
        ("UB", 125.0, DAY, date(2024, 8, 15)),  # a coupon on the delivery day
    ],
)
def test_implied_repo_of_real_baskets(product: str, futures: float, settlement: date, delivery: date) -> None:
    """Cash prices are real; the futures prices are round numbers near that day's, not quotes."""
    securities = {s.bond: s.price for s in all_securities() if s.kind != "BILL"}
    held = basket(CONTRACTS[product], list(securities), settlement, delivery)
    clean = np.array([securities[bond] for bond in held.bonds])
    found = implied_repo(held, clean, futures)
    assert len(held.bonds) > 10
    expected = []
    for bond, price in zip(held.bonds, clean.tolist(), strict=True):
        received = futures * published_factor(CONTRACTS[product], bond, delivery) + accrued_interest(bond, delivery)
        dirty = price + accrued_interest(bond, settlement)
        expected.append(rate_that_breaks_even(bond, settlement, delivery, dirty, received))
    assert found == pytest.approx(expected, abs=1e-12)
    assert int(cheapest_to_deliver(held, clean, futures)) == int(np.argmax(expected))
    basis = gross_basis(held, clean, futures)
    assert basis == pytest.approx([p - futures * f for p, f in zip(clean, held.factors, strict=True)], abs=1e-12)


def held_example() -> tuple[Basket, np.ndarray]:
    bonds = [
        Bond(0.0125, date(2031, 8, 15), date(2021, 8, 15)),
        Bond(0.04125, date(2031, 7, 31), date(2024, 7, 31)),
        Bond(0.045, date(2033, 11, 15), date(2023, 11, 15)),
        Bond(0.04, date(2034, 2, 15), date(2024, 2, 15)),
    ]
    return basket(CONTRACTS["ZN"], bonds, date(2024, 8, 6), LAST_DELIVERY), np.array([83.2, 100.5, 103.1, 99.3])


@given(st.floats(-0.02, 0.1), st.lists(st.floats(-8, 8), min_size=4, max_size=4))
def test_the_model_price_lets_the_cheapest_earn_the_repo_rate(repo: float, moves: list[float]) -> None:
    held, clean = held_example()
    clean = clean + np.array(moves)
    futures, place = model_futures_price(held, clean, repo)
    returns = implied_repo(held, clean, futures)
    assert returns[place] == pytest.approx(repo, abs=1e-12)
    assert (returns <= repo + 1e-12).all()
    forwards = forward_over_factor(held, clean, repo)
    assert forwards.min() == futures


def test_many_scenarios_at_once() -> None:
    held, clean = held_example()
    scenarios = clean + np.array([[-5.0, -4.0, -6.0, -6.5], [0.0] * 4, [5.0, 4.5, 6.5, 7.5]])
    futures, places = model_futures_price(held, scenarios, [0.05, 0.05, -0.01])
    for row, repo, price, place in zip(scenarios, (0.05, 0.05, -0.01), futures, places, strict=True):
        alone, at = model_futures_price(held, row, repo)
        assert (float(alone), int(at)) == (float(price), int(place))
    assert cheapest_to_deliver(held, scenarios, futures).tolist() == places.tolist()


def test_futures_dv01_and_invoice() -> None:
    held, clean = held_example()
    bond = held.bonds[0]
    flows = cash_flows(bond, date(2024, 8, 6))
    each = float(dv01(flows, yield_to_maturity(flows, clean[0])))
    found = float(futures_dv01(CONTRACTS["ZN"], each, held.factors[0]))
    assert found == pytest.approx(each * 1000 / held.factors[0], abs=1e-12)
    assert 55 < found < 80  # some 65 dollars: reference, order of magnitude
    assert invoice_amount(CONTRACTS["ZN"], held, 0, 110.0) == pytest.approx(
        1000 * (110 * held.factors[0] + accrued_interest(bond, LAST_DELIVERY)), abs=1e-9
    )


def test_impossible_baskets_are_refused() -> None:
    held, clean = held_example()
    with pytest.raises(ValueError, match="not after settlement"):
        basket(CONTRACTS["ZN"], held.bonds, LAST_DELIVERY, LAST_DELIVERY)
    with pytest.raises(ValueError, match="none of 4 securities is deliverable into ZB in 2024-09"):
        basket(CONTRACTS["ZB"], held.bonds, DAY.replace(month=8), LAST_DELIVERY)
    with pytest.raises(ValueError, match="0 to 11 months"):
        conversion_factor(CONTRACTS["ZN"], 0.04, 7, 12)
    with pytest.raises(ValueError, match="clean price nan"):
        implied_repo(held, np.where(clean > 100, np.nan, clean), 110.0)
    with pytest.raises(ValueError, match="futures price inf"):
        implied_repo(held, clean, np.inf)
    with pytest.raises(ValueError, match="conversion factor 0"):
        futures_dv01(CONTRACTS["ZN"], 0.05, 0.0)

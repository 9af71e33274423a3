"""Treasury futures: contract terms, deliverable basket, conversion factor, cheapest to deliver, implied repo, DV01.

Futures and clean prices are points per 100 face. The delivery options (timing, quality, wild card) are not valued.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.pricing.checks import Array, above, finite
from engine.pricing.dates import add_months, month_end, whole_months
from engine.pricing.treasury import FACE, Bond, cash_flows

NOTE_MONTHS: Final = 120  # a note has an original term to ten years, a bond more
REPO_YEAR: Final = 360
NOTIONAL_COUPON: Final = 0.06
FACTOR_DECIMALS: Final = 4


@dataclass(frozen=True, slots=True)
class FuturesTerms:
    """Terms of one contract: face in dollars, tick in points, and what may be delivered, terms in months.

    Remaining terms run from the first day of the delivery month; the longest from its last day where so said.
    """

    product: str
    face: int
    tick: float
    notes: bool
    remaining_min: int
    remaining_max: int | None
    original_max: int | None
    source: str
    max_from_last_day: bool = False
    max_included: bool = True
    months_in_factor: bool = False  # the factor counts whole months, not quarters


# Grades as in the reference: [P] the exchange's page, [R] believed and to be checked against the rulebook chapter.
CONTRACTS: Final = {
    terms.product: terms
    for terms in (
        FuturesTerms(
            "ZT", 200_000, 1 / 256, True, 21, 24, 63, "[P] CME 2-Year T-Note contract specifications, CBOT ch. 21",
            max_from_last_day=True, months_in_factor=True,
        ),
        FuturesTerms(
            "Z3N", 200_000, 1 / 256, True, 33, 36, 84,
            "[P] CME 3-Year T-Note contract specifications, CBOT ch. 39; [R] face raised to 300,000 since",
            max_from_last_day=True, months_in_factor=True,
        ),
        FuturesTerms(
            "ZF", 100_000, 1 / 128, True, 50, None, 63, "[R] CBOT ch. 20: original to 5y3m, remaining 4y2m or more",
            months_in_factor=True,
        ),
        FuturesTerms(
            "ZN", 100_000, 1 / 64, True, 78, 120, None,
            "[P] CME 10-Year T-Note contract specifications, CBOT ch. 19; [R] longest term narrowed to 8 years later",
        ),
        FuturesTerms("TN", 100_000, 1 / 64, True, 113, 120, None, "[P] CME Ultra 10-Year specifications, CBOT ch. 26"),
        FuturesTerms(
            "ZB", 100_000, 1 / 32, False, 180, 300, None, "[P] CME T-Bond contract specifications, CBOT ch. 18",
            max_included=False,
        ),
        FuturesTerms("TWE", 100_000, 1 / 32, False, 230, 239, None, "[R] 20-Year T-Bond: remaining 19y2m to 19y11m"),
        FuturesTerms("UB", 100_000, 1 / 32, False, 300, None, None, "[P] CME Ultra T-Bond specifications, CBOT ch. 40"),
    )
}  # fmt: skip


def point_value(terms: FuturesTerms) -> float:
    """Dollars per contract and point of price."""
    return terms.face / FACE


def deliverable(terms: FuturesTerms, bond: Bond, delivery_month: date) -> bool:
    """Whether a security may be delivered in the month that holds the date, by its original and remaining terms.

    ValueError without a dated date: then the original term, which tells a note from a bond, is unknown.
    """
    if bond.dated is None:
        raise ValueError(f"the original term of {bond.coupon:.5g} {bond.maturity} is unknown: its dated date is missing")
    first, last = delivery_month.replace(day=1), month_end(delivery_month)
    if (bond.maturity <= add_months(bond.dated, NOTE_MONTHS)) != terms.notes:
        return False
    if terms.original_max is not None and bond.maturity > add_months(bond.dated, terms.original_max):
        return False
    if bond.maturity < add_months(first, terms.remaining_min):
        return False
    if terms.remaining_max is None:
        return True
    longest = (
        add_months(last, terms.remaining_max, True) if terms.max_from_last_day else add_months(first, terms.remaining_max)
    )
    return bond.maturity <= longest if terms.max_included else bond.maturity < longest


def conversion_factor(terms: FuturesTerms, coupon: float, years: int, months: int) -> float:
    """The price of 1 face at 6 %, unrounded, for a remaining term of whole years and months from the first delivery day.

    Source: CME Group, Calculating U.S. Treasury Futures Conversion Factors [P]; whole quarters for TN and TWE [I].
    """
    if not (years >= 0 and 0 <= months < 12):
        raise ValueError(f"a remaining term of {years} years {months} months must have 0 to 11 months")
    z = months if terms.months_in_factor else months - months % 3
    if z < 7:
        v, half_years = z, 2 * years
    else:
        v, half_years = (z - 6 if terms.months_in_factor else 3), 2 * years + 1
    half_yield, half_coupon = NOTIONAL_COUPON / 2, coupon / 2
    to_first_coupon = (1 + half_yield) ** (-v / 6)
    face = (1 + half_yield) ** -half_years
    coupons = coupon / NOTIONAL_COUPON * (1 - face)
    factor: float = to_first_coupon * (half_coupon + face + coupons) - half_coupon * (6 - v) / 6
    return factor


def published_factor(terms: FuturesTerms, bond: Bond, delivery_month: date) -> float:
    """The conversion factor of invoices: remaining term from the delivery month's first day, rounded to 4 decimals."""
    years, months = divmod(whole_months(delivery_month.replace(day=1), bond.maturity), 12)
    return round(conversion_factor(terms, bond.coupon, years, months), FACTOR_DECIMALS)


@dataclass(frozen=True, slots=True)
class Basket:
    """Deliverable securities between settlement and delivery, arrays (N,) per 100 face.

    coupons are those paid in between, coupon_days their sum weighted by the days each is held until delivery.
    """

    bonds: tuple[Bond, ...]
    days: int
    factors: Array
    accrued: Array
    delivery_accrued: Array
    coupons: Array
    coupon_days: Array


def basket(terms: FuturesTerms, bonds: Sequence[Bond], settlement: date, delivery: date) -> Basket:
    """The deliverable ones of the bonds, in their order, bought at settlement and delivered on the delivery day.

    ValueError when delivery is not after settlement or nothing may be delivered.
    """
    if delivery <= settlement:
        raise ValueError(f"delivery {delivery} is not after settlement {settlement}")
    held = tuple(bond for bond in bonds if deliverable(terms, bond, delivery))
    if not held:
        raise ValueError(f"none of {len(bonds)} securities is deliverable into {terms.product} in {delivery:%Y-%m}")
    now = [cash_flows(bond, settlement) for bond in held]
    between = [[(c, (delivery - d).days) for d, c in zip(f.dates, f.amounts, strict=True) if d <= delivery] for f in now]
    return Basket(
        bonds=held,
        days=(delivery - settlement).days,
        factors=np.array([published_factor(terms, bond, delivery) for bond in held]),
        accrued=np.array([flows.accrued for flows in now]),
        delivery_accrued=np.array([cash_flows(bond, delivery).accrued for bond in held]),
        coupons=np.array([sum(coupon for coupon, _ in paid) for paid in between], dtype=np.float64),
        coupon_days=np.array([sum(coupon * days for coupon, days in paid) for paid in between], dtype=np.float64),
    )


def gross_basis(held: Basket, clean: ArrayLike, futures: ArrayLike) -> Array:
    """Clean price less futures price times factor, in points: clean (..., N), futures (...)."""
    return finite("clean price", clean) - finite("futures price", futures)[..., None] * held.factors


def implied_repo(held: Basket, clean: ArrayLike, futures: ArrayLike) -> Array:
    """The simple act/360 return of buying each security now and delivering it: clean (..., N), futures (...).

    (invoice + coupons - dirty) 360 / (dirty days - sum of coupon x days it is held): coupons are invested at the same rate
    (Burghardt, The Treasury Bond Basis, ch. 1 [R]).
    """
    dirty = above("price with accrued interest", finite("clean price", clean) + held.accrued, 0.0)
    invoice = finite("futures price", futures)[..., None] * held.factors + held.delivery_accrued
    result: Array = (invoice + held.coupons - dirty) * REPO_YEAR / (dirty * held.days - held.coupon_days)
    return result


def cheapest_to_deliver(held: Basket, clean: ArrayLike, futures: ArrayLike) -> NDArray[np.intp]:
    """Place in the basket of the security with the highest implied repo, shape (...); the first where two are equal."""
    return np.asarray(np.argmax(implied_repo(held, clean, futures), axis=-1))


def forward_over_factor(held: Basket, clean: ArrayLike, repo: ArrayLike) -> Array:
    """Each security's clean forward price at delivery over its factor: clean (..., N), simple act/360 repo rate (...)."""
    dirty = above("price with accrued interest", finite("clean price", clean) + held.accrued, 0.0)
    a_day = finite("repo rate", repo)[..., None] / REPO_YEAR
    carried = dirty * (1 + a_day * held.days) - held.coupons - a_day * held.coupon_days
    result: Array = (carried - held.delivery_accrued) / held.factors
    return result


def model_futures_price(held: Basket, clean: ArrayLike, repo: ArrayLike) -> tuple[Array, NDArray[np.intp]]:
    """The forward of the cheapest to deliver over its factor, shape (...), and that security's place in the basket.

    The least of the basket's: any other price would let the carry trade of some security earn more than the repo rate.
    """
    values = forward_over_factor(held, clean, repo)
    return values.min(axis=-1), np.asarray(np.argmin(values, axis=-1))


def invoice_amount(terms: FuturesTerms, held: Basket, place: int, futures: float) -> float:
    """Dollars a contract's buyer pays for the security at that place of the basket: price x factor + accrued interest."""
    return float(point_value(terms) * (futures * held.factors[place] + held.delivery_accrued[place]))


def futures_dv01(terms: FuturesTerms, cheapest_dv01: ArrayLike, factor: ArrayLike) -> Array:
    """Dollars per basis point and contract: DV01 per 100 face of the cheapest to deliver over its factor [S, R]."""
    return finite("DV01", cheapest_dv01) / above("conversion factor", factor, 0.0) * point_value(terms)

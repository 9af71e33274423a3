"""Cross-margin of a Treasury leg at FICC and a futures leg at CME: saving, each leg's requirement after it, and eligibility.

Form: rates.md 1.2 [I], consistent with the published summaries [S] 14-16; conditions of customers: rates.md 3 and 2 ([P] 9,
12, 13, 18). The saving s is an integer in 1e-9, rounded down, so that a requirement after it is never too low.
"""

from datetime import date
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E9, callable_part, kernel, mul_div_floor, part
from engine.models.rows import MINOR_MAX
from engine.pricing.dates import add_months

ONE: Final = E9  # a saving of everything


class Basis(IntEnum):
    """Where a saving comes from."""

    AGREED = 0  # both houses answered
    LAST_AGREED = 1  # one house is missing; the last agreed saving, still fresh, within what the other allows
    NONE = 2  # one house is missing and nothing agreed is fresh, or no house answered, or a figure out of range


_AGREED, _LAST_AGREED, _NONE = (int(basis) for basis in (Basis.AGREED, Basis.LAST_AGREED, Basis.NONE))


class Agreement(NamedTuple):
    """Parameters, shares in 1e-9: the saving is rounded down to a multiple of precision (0: as it is), then at most the cap.

    Precision, cap and ttl are not published (rates.md 8): configuration. ttl_ns: how long an agreed saving stays fresh.
    """

    cap_ppb: int = ONE
    precision_ppb: int = 0
    ttl_ns: int = 0


class House(NamedTuple):
    """What one house's own model says, minor units: the Treasury leg alone, the futures leg alone, both together."""

    answered: bool
    treasury: int
    futures: int
    combined: int


ABSENT: Final = House(False, 0, 0, 0)


def check(agreement: Agreement) -> Agreement:
    """The parameters themselves; ValueError where one is out of its range."""
    if not (0 <= agreement.cap_ppb <= ONE and 0 <= agreement.precision_ppb <= ONE and agreement.ttl_ns >= 0):
        raise ValueError(f"{agreement}; allowed are shares of 0 to {ONE} and a ttl from 0")
    return agreement


@callable_part
def answer_fits(house: House) -> bool:
    """Whether a house answered, with figures from 0 whose sum is below MINOR_MAX: what else it sends is no answer."""
    least = min(house.treasury, house.futures, house.combined)
    return house.answered and least >= 0 and max(house.treasury, house.futures, house.combined) < MINOR_MAX // 2


@callable_part
def house_saving(house: House) -> int:
    """max(0, 1 - combined / (Treasury leg + futures leg)) of one house's own model, in 1e-9, down; 0 if a leg is 0."""
    apart = house.treasury + house.futures
    if house.treasury <= 0 or house.futures <= 0 or house.combined >= apart:
        return 0
    return mul_div_floor(apart - house.combined, E9, apart)


@part
def agreed_saving(saving: int, agreement: Agreement) -> int:
    """A saving rounded down to the precision, then at most the cap."""
    if agreement.precision_ppb > 1:
        saving = saving // agreement.precision_ppb * agreement.precision_ppb
    return min(saving, agreement.cap_ppb)


@kernel
def saving_of(cme: House, ficc: House, agreement: Agreement, last_agreed: int, age_ns: int) -> tuple[int, int]:
    """(saving in 1e-9, Basis): the lesser of the two houses' relative savings; with one missing the last agreed one.

    last_agreed: in 1e-9, below 0 where there is none; age_ns: how old it is. It counts while age_ns <= ttl, never above what
    the answering house allows; else 0. A house that is late is given as ABSENT.
    """
    from_cme, from_ficc = answer_fits(cme), answer_fits(ficc)
    if from_cme and from_ficc:
        return agreed_saving(min(house_saving(cme), house_saving(ficc)), agreement), _AGREED
    if (from_cme or from_ficc) and last_agreed >= 0 and 0 <= age_ns <= agreement.ttl_ns:
        allowed = house_saving(cme) if from_cme else house_saving(ficc)
        return agreed_saving(min(last_agreed, allowed), agreement), _LAST_AGREED
    return 0, _NONE


@callable_part
def after_saving(requirement: int, saving: int) -> int:
    """A leg's requirement (minor units, below MINOR_MAX) reduced by a saving in 1e-9, rounded up."""
    return requirement - mul_div_floor(requirement, saving, E9)


class CrossMargin(NamedTuple):
    """One customer's result: saving in 1e-9, where it comes from, the legs after it (None: that house did not answer)."""

    saving_ppb: int
    basis: Basis
    cme_minor: int | None
    ficc_minor: int | None


def cross_margin(cme: House, ficc: House, agreement: Agreement, last_agreed: int = -1, age_ns: int = 0) -> CrossMargin:
    """Each house reduces its own leg in its own model by s. ValueError: parameters out of range."""
    saving, basis = saving_of(cme, ficc, check(agreement), last_agreed, age_ns)
    futures = int(after_saving(cme.futures, saving)) if answer_fits(cme) else None
    treasury = int(after_saving(ficc.treasury, saving)) if answer_fits(ficc) else None
    return CrossMargin(int(saving), Basis(basis), futures, treasury)


@kernel
def cross_margins(
    cme: NDArray[np.int64],
    ficc: NDArray[np.int64],
    agreement: Agreement,
    saving: NDArray[np.int64],
    after: NDArray[np.int64],
) -> None:
    """cross_margin of many accounts at once, from both houses' (accounts, 3) figures of historical.leg_requirements.

    saving: (accounts,) in 1e-9; after: (accounts, 2) the futures leg at CME and the Treasury leg at FICC, minor units,
    untouched (as they came) where a figure is out of range; nothing agreed before is used.
    """
    for a in range(len(saving)):
        at_cme = House(True, cme[a, 0], cme[a, 1], cme[a, 2])
        at_ficc = House(True, ficc[a, 0], ficc[a, 1], ficc[a, 2])
        saving[a] = saving_of(at_cme, at_ficc, agreement, -1, 0)[0]
        after[a, 0], after[a, 1] = cme[a, 1], ficc[a, 0]
        if saving[a] > 0:
            after[a, 0], after[a, 1] = after_saving(cme[a, 1], saving[a]), after_saving(ficc[a, 0], saving[a])


@callable_part
def spread_reduction(rate: int, one: int, other: int) -> int:
    """Minor units, down, that a recognised spread takes off: rate (1e-9) x the lesser of both houses' outright margins.

    The older form of CME's agreements (rates.md 1.2: [19]).
    """
    return mul_div_floor(min(one, other), rate, E9)


class Reason(StrEnum):
    """Why a position is not cross-margined."""

    NOT_DUAL = "the clearing firm is not registered both as broker-dealer and as futures commission merchant"
    NOT_JOINT_MEMBER = "the clearing firm is not a clearing member of both CME and FICC"
    OTHER_FIRM = "the customer clears at CME and at FICC through different legal entities"
    NO_AGREEMENT = "no signed cross-margin agreement of customer, firm and both houses"
    NOT_DESIGNATED = "the account is not designated for cross-margin"
    OTHER_POOL = "the account is not in the segregated pool of cross-margin customers"
    PRODUCT = "the product is not eligible"
    MATURITY = "the Treasury, or the repo's collateral, has one year or less to maturity"
    NO_MATURITY = "the maturity of the Treasury, or of the repo's collateral, is not known"


class Firm(NamedTuple):
    """A clearing firm: its registrations and memberships."""

    broker_dealer: bool
    futures_commission_merchant: bool
    cme_member: bool
    ficc_member: bool


class Account(NamedTuple):
    """How a customer's account stands: the legal entity it clears through at each house, agreement, designation, pool."""

    cme_entity: str
    ficc_entity: str
    agreement_signed: bool
    designated: bool
    pool: str


class Position(NamedTuple):
    """A product and, of a Treasury or a repo, the maturity of the security or collateral itself (never the repo's term)."""

    product: str
    is_treasury: bool
    maturity: date | None = None


class Conditions(NamedTuple):
    """Of the rule file: the customers' pool, eligible products (DTCC's list, rates.md 2: [P] 12), years to maturity."""

    pool: str
    products: frozenset[str]
    more_than_years: int = 1


def account_reasons(firm: Firm, account: Account, conditions: Conditions) -> list[Reason]:
    """Every reason why the account is not cross-margined; empty: it is (rates.md 3: [P] 9, 18; [S] 11, 14)."""
    dual = firm.broker_dealer and firm.futures_commission_merchant
    failed = {
        Reason.NOT_DUAL: not dual,
        Reason.NOT_JOINT_MEMBER: not (firm.cme_member and firm.ficc_member),
        Reason.OTHER_FIRM: not account.cme_entity or account.cme_entity != account.ficc_entity,
        Reason.NO_AGREEMENT: not account.agreement_signed,
        Reason.NOT_DESIGNATED: not account.designated,
        Reason.OTHER_POOL: account.pool != conditions.pool,
    }
    return [reason for reason, found in failed.items() if found]


def position_reasons(position: Position, as_of: date, conditions: Conditions) -> list[Reason]:
    """Every reason why the position is not cross-margined; empty: it is (rates.md 2: [P] 12, 13; of repos [S] 22)."""
    reasons = [] if position.product in conditions.products else [Reason.PRODUCT]
    if position.is_treasury:
        if position.maturity is None:
            reasons.append(Reason.NO_MATURITY)
        elif position.maturity <= add_months(as_of, 12 * conditions.more_than_years):
            reasons.append(Reason.MATURITY)
    return reasons

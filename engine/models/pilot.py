"""The CFTC's digital-asset pilot: phases, eligibility, the weekly report, the firm's own holdings.

CFTC Letters 25-40 (2025-12-08) and 26-05 (2026-02-06) as reported (crypto.md 1.1 [S]). Amounts are minor units; all numbers
come from dated rule files.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from engine.arithmetic import E9, LIMIT, mul_div_up
from engine.numbers import decimal_text, scaled
from engine.pricing.dates import add_months

QUANTITY_DECIMALS: Final = 8


class Digital(StrEnum):
    """What the pilot tells apart among digital assets that are no securities."""

    BITCOIN = "bitcoin"
    ETHER = "ether"
    PAYMENT_STABLECOIN = "payment_stablecoin"
    OTHER = "other"


class Pilot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pilot's parameters: the day the firm first accepts digital assets (null: not yet) and how many months come first.

    floor: the least haircut of what no clearing house accepts. first: eligible in the first months. own_capital: charge on
    the firm's own holdings. residual_interest: what of its own the firm may deposit with customers'.
    """

    commencement: date | None
    months: Annotated[int, Meta(ge=1, le=120)]
    floor: Decimal
    first: list[Digital]
    own_capital: dict[Digital, Decimal]
    residual_interest: list[Digital]


class Phase(IntEnum):
    """Where a firm stands in the pilot on a day."""

    BEFORE = 0
    FIRST = 1
    LATER = 2


def phase_of(pilot: Pilot, day: date) -> Phase:
    """BEFORE the firm's commencement, in its FIRST months, or LATER (the same day of the month ends them)."""
    if pilot.commencement is None or day < pilot.commencement:
        return Phase.BEFORE
    return Phase.FIRST if day < add_months(pilot.commencement, pilot.months) else Phase.LATER


def pilot_reason(pilot: Pilot, digital: Digital, day: date) -> str:
    """Why a digital asset is not eligible on a day; empty where it is."""
    phase = phase_of(pilot, day)
    if phase == Phase.BEFORE:
        begins = "has not named a day" if pilot.commencement is None else f"begins on {pilot.commencement}"
        return f"the firm does not yet accept digital assets: it {begins}"
    if phase == Phase.FIRST and digital not in pilot.first:
        return f"in the firm's first {pilot.months} months only {', '.join(pilot.first)} are eligible"
    return ""


def report_due(pilot: Pilot, week_ending: date) -> bool:
    """Whether the week that ends on the day needs a report: any of its seven days lies in the first months [I]."""
    return any(phase_of(pilot, week_ending - timedelta(days=back)) == Phase.FIRST for back in range(7))


class OwnHolding(NamedTuple):
    """A digital asset that the firm itself owns, in a ledger apart from customers'; value in minor units, of either sign."""

    asset: str
    digital: Digital
    value_minor: int


def own_capital_charge(pilot: Pilot, holdings: Iterable[OwnHolding]) -> int:
    """Minor units: sum of |value| x the charge of what it is, each rounded up (crypto.md 1.1 [S]; formula [D]).

    ValueError: a digital asset without a charge, a value out of range.
    """
    total = 0
    for holding in holdings:
        if holding.digital not in pilot.own_capital:
            raise ValueError(f"{holding.asset} is {holding.digital}; charges are known of {', '.join(pilot.own_capital)}")
        if abs(holding.value_minor) >= LIMIT:
            raise ValueError(f"|value| of {holding.asset} is {abs(holding.value_minor)}; allowed is 0 to {LIMIT - 1}")
        total += int(mul_div_up(abs(holding.value_minor), scaled(pilot.own_capital[holding.digital], E9), E9))
    return total


def residual_interest_reason(pilot: Pilot, digital: Digital) -> str:
    """Why the firm may not deposit this asset of its own as residual interest; empty where it may (crypto.md 1.1 [S])."""
    if digital in pilot.residual_interest:
        return ""
    return f"of its own digital assets the firm may deposit only {', '.join(pilot.residual_interest)}, not {digital}"


class AccountClass(StrEnum):
    """The classes of customer accounts that the weekly report tells apart."""

    FUTURES = "futures 4d"
    CLEARED_SWAPS = "cleared swaps Part 22"
    FOREIGN = "30.7"


class CustomerHolding(NamedTuple):
    """Digital assets in one customer account: quantity in 1e-8, value in US cents (None: unpriced)."""

    account_class: AccountClass
    asset: str
    quantity_e8: int
    value_usd_minor: int | None


class ReportRow(NamedTuple):
    """One line of the weekly report: all customers' holdings of an asset in one account class."""

    week_ending: date
    account_class: AccountClass
    asset: str
    quantity_e8: int
    value_usd_minor: int


def weekly_report(holdings: Iterable[CustomerHolding], week_ending: date) -> list[ReportRow]:
    """Rows by account class (in the order of AccountClass) and asset, sums exact. ValueError: unpriced, or below 0."""
    sums: dict[tuple[AccountClass, str], tuple[int, int]] = {}
    for holding in holdings:
        value = holding.value_usd_minor
        if value is None or value < 0 or holding.quantity_e8 < 0:
            raise ValueError(
                f"{holding.asset} in {holding.account_class}: quantity {holding.quantity_e8}, value {value};"
                " allowed are both known and from 0"
            )
        place = holding.account_class, holding.asset
        before = sums.get(place, (0, 0))
        sums[place] = before[0] + holding.quantity_e8, before[1] + value
    order = list(AccountClass)
    places = sorted(sums, key=lambda place: (order.index(place[0]), place[1]))
    return [ReportRow(week_ending, *place, *sums[place]) for place in places]


def class_totals(rows: Iterable[ReportRow]) -> dict[AccountClass, int]:
    """US cents by account class, all three of them."""
    totals = dict.fromkeys(AccountClass, 0)
    for row in rows:
        totals[row.account_class] += row.value_usd_minor
    return totals


def report_csv(rows: Sequence[ReportRow], week_ending: date) -> str:
    """The report as CSV: a header, the rows, a total of each account class and of all (asset empty, no quantity).

    ValueError: a row of another week.
    """
    lines = ["week_ending,account_class,asset,quantity,value_usd"]
    for row in rows:
        if row.week_ending != week_ending:
            raise ValueError(f"a row of the week ending {row.week_ending}; allowed is {week_ending}")
        quantity, value = decimal_text(row.quantity_e8, QUANTITY_DECIMALS), decimal_text(row.value_usd_minor, 2)
        lines.append(f"{week_ending},{row.account_class},{_cell(row.asset)},{quantity},{value}")
    totals = class_totals(rows)
    lines += [f"{week_ending},{one},,,{decimal_text(total, 2)}" for one, total in totals.items()]
    return "\n".join([*lines, f"{week_ending},all,,,{decimal_text(sum(totals.values()), 2)}", ""])


def _cell(text: str) -> str:
    """Text as a CSV cell: quoted where it holds a comma or a quote."""
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text

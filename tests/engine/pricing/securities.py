"""The 365 securities of one real day, and the same security in QuantLib."""

import csv
from datetime import date
from typing import NamedTuple

import QuantLib as ql

from engine.pricing.dates import add_months, is_month_end
from engine.pricing.treasury import Bond
from tests.services import shared

DAY = date(2024, 6, 26)
NEXT_DAY = date(2024, 6, 27)  # the day for which the file's own check yields were computed


class Security(NamedTuple):
    """One line of the file: a bill, note or bond, its price and the yield that came with it, in per cent."""

    kind: str
    bond: Bond
    price: float
    check_yield_pct: float


def all_securities() -> list[Security]:
    """Every line; bonds dated so long ago that their first periods are past. Skips where ../shared is absent."""
    terms = {"BILL": 12, "NOTE": 120, "BOND": 360}  # the longest original terms: the file has no issue dates
    with shared("data/ust/fedinvest_prices_2024-06-26.csv").open() as lines:
        found = []
        for line in csv.DictReader(lines):
            kind, maturity = line["security_type"], date.fromisoformat(line["maturity_date"])
            dated = add_months(maturity, -terms[kind], is_month_end(maturity))
            bond = Bond(float(line["coupon_pct"]) / 100, maturity, dated)
            found.append(Security(kind, bond, float(line["sell_clean"]), float(line["check_ytm_sell_pct"])))
    return found


def day(value: date) -> "ql.Date":
    """A date of QuantLib."""
    return ql.Date(value.day, value.month, value.year)


def quantlib_bond(bond: Bond) -> tuple["ql.FixedRateBond", "ql.ActualActual"]:
    """The same bond from its dated date, with its day count."""
    assert bond.dated
    schedule = ql.Schedule(
        day(bond.dated), day(bond.maturity), ql.Period(6, ql.Months), ql.NullCalendar(), ql.Unadjusted, ql.Unadjusted,
        ql.DateGeneration.Backward, is_month_end(bond.maturity), day(bond.first_coupon) if bond.first_coupon else ql.Date(),
    )  # fmt: skip
    count = ql.ActualActual(ql.ActualActual.ISMA, schedule)
    return ql.FixedRateBond(0, 100.0, schedule, [bond.coupon], count), count

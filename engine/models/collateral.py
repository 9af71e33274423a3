"""Collateral: what a holding is worth as margin under a schedule of haircuts, caps and eligibility.

Margin value = value x (1 - h) x (1 - h_fx), one after the other, at most the cap (crypto.md 1.1, formulas [D]); amounts are
minor units, shares 1e-9, assets round down. All numbers come from dated rule files.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from engine.arithmetic import E9, LIMIT, callable_part, mul_div_floor
from engine.models.pilot import Digital, Pilot, pilot_reason
from engine.models.rows import MINOR_MAX
from engine.numbers import scaled
from engine.pricing.dates import add_months

Key = Annotated[str, Meta(min_length=1, max_length=64)]


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one asset, or one kind of asset, counts; shares of its value, the cap in major units of the schedule's currency.

    Exactly one of haircut, bands and tokenized_of, or eligible false with a reason. bands: haircuts by remaining maturity,
    [years up to, haircut] ascending, null: any; past the last one it is not eligible. tokenized_of: the entry of the
    untokenized asset, whose haircut it has plus `adjustment` (CFTC Letter 25-39, crypto.md 1.1 [S]). fx_haircut: of a
    currency, for requirements in another. share: the part of the requirement that it may cover. shocked: it stands in the
    scenarios with the positions (Shock), and the haircut is what remains for liquidity and depeg (crypto.md 1.1, 4.5).
    digital: what it is to the pilot; clearing_house_haircut: that of a clearing house that accepts it.
    """

    haircut: Decimal | None = None
    bands: list[tuple[int | None, Decimal]] | None = None
    tokenized_of: Key | None = None
    adjustment: Decimal | None = None
    clearing_house_haircut: Decimal | None = None
    fx_haircut: Decimal | None = None
    cap: Decimal | None = None
    share: Decimal | None = None
    eligible: bool = True
    reason: Annotated[str, Meta(max_length=256)] = ""
    shocked: bool = False
    digital: Digital | None = None


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Entries by asset id or kind, and the currency of caps. through: whether a band holds on the day its years end."""

    assets: Annotated[dict[Key, Terms], Meta(min_length=1, max_length=1024)]
    currency: Key
    through: bool = True
    pilot: Pilot | None = None


def check(schedule: Schedule) -> Schedule:
    """The schedule itself; ValueError naming field, found and allowed where one is out of range or contradicts another."""
    for key, terms in schedule.assets.items():
        where = f"assets.{key}"
        for name in ("haircut", "adjustment", "clearing_house_haircut", "fx_haircut", "share"):
            _check_share(f"{where}.{name}", getattr(terms, name))
        if terms.bands is not None:
            check_bands(f"{where}.bands", terms.bands)
        if terms.cap is not None and not _bounded(terms.cap, MINOR_MAX):
            raise ValueError(f"{where}.cap is {terms.cap}; allowed is 0 to {MINOR_MAX}")
        _check_entry(schedule, where, terms)
    if schedule.pilot is not None:
        _check_share("pilot.floor", schedule.pilot.floor)
        for digital, charge in schedule.pilot.own_capital.items():
            _check_share(f"pilot.own_capital.{digital}", charge)
    return schedule


def _bounded(value: Decimal, most: int) -> bool:
    """Whether it is 0 to most, and not written with an exponent whose exact value fills the memory."""
    return value.is_finite() and 0 <= value <= most and int(value.as_tuple().exponent) >= -40


def _check_share(name: str, value: Decimal | None) -> None:
    if value is not None and not (_bounded(value, 1) and (Fraction(value) * E9).denominator == 1):
        raise ValueError(f"{name} is {value}; allowed is 0 to 1 with up to 9 decimals")


def check_bands(name: str, bands: Sequence[tuple[int | None, Decimal]]) -> None:
    """ValueError naming what was found and is allowed where bands do not ascend, or a share is not 0 to 1."""
    before = 0
    for at, (years, haircut) in enumerate(bands):
        _check_share(f"{name}[{at}]", haircut)
        if years is not None and not before < years <= 1000:
            raise ValueError(f"{name}[{at}] ends at {years} years; allowed is above {before}, up to 1000")
        if years is None and at < len(bands) - 1:
            raise ValueError(f"{name}[{at}] has no end; allowed is that in the last one only")
        before = years or before
    if not bands:
        raise ValueError(f"{name} is empty; allowed is one band or more")


def _check_entry(schedule: Schedule, where: str, terms: Terms) -> None:
    """What must hold between the fields of one entry."""
    forms = [name for name in ("haircut", "bands", "tokenized_of") if getattr(terms, name) is not None]
    if len(forms) != int(terms.eligible):
        allowed = "exactly one of haircut, bands and tokenized_of" if terms.eligible else "none where eligible is false"
        raise ValueError(f"{where} has {', '.join(forms) or 'no haircut'}; allowed is {allowed}")
    if terms.eligible == bool(terms.reason):
        raise ValueError(f"{where}.reason is {terms.reason!r}; allowed is one where eligible is false, and only there")
    if (terms.adjustment is None) != (terms.tokenized_of is None):
        raise ValueError(f"{where}.adjustment is {terms.adjustment}; allowed is one with tokenized_of, and only there")
    if terms.tokenized_of is not None:
        base = schedule.assets.get(terms.tokenized_of)
        if base is None or base.tokenized_of is not None or base.digital is not None:
            raise ValueError(f"{where}.tokenized_of is {terms.tokenized_of}; allowed is an entry of an untokenized asset")
    if terms.digital is not None and schedule.pilot is None:
        raise ValueError(f"{where}.digital is {terms.digital}; allowed is one where the schedule has a pilot")
    if terms.clearing_house_haircut is not None and (terms.digital is None or not terms.eligible):
        raise ValueError(
            f"{where}.clearing_house_haircut is given; allowed is that of an eligible digital asset of the pilot"
        )


class Holding(NamedTuple):
    """Collateral held: its asset id and kinds, the particular first, and its value in the schedule's currency, from 0.

    currency: what it is denominated in (a currency: itself), None for coins, which have no cross-currency haircut.
    """

    names: tuple[str, ...]
    value_minor: int
    currency: str | None = None
    maturity: date | None = None


class Shock(IntEnum):
    """How a holding stands in the scenarios of the positions, so that no loss of it is charged twice."""

    NONE = 0  # not at all: the haircut covers it
    WHOLE = 1  # its profits and losses count
    BEYOND = 2  # in the pilot, whose haircut is the least allowed: only losses beyond what the haircut took count


class Treatment(NamedTuple):
    """How a schedule treats a holding on a day: the entry found ("" for none), why it is not eligible ("": it is), haircuts.

    What is not eligible has a haircut of everything.
    """

    key: str
    reason: str
    haircut_ppb: int
    fx_ppb: int
    shock: Shock


def treatment(schedule: Schedule, holding: Holding, day: date, requirement_currency: str) -> Treatment:
    """Entry, eligibility with its reason, and haircuts of a holding that covers a requirement in a currency on a day."""
    key = next((name for name in holding.names if name in schedule.assets), "")
    if not key:
        return _refused("", f"no entry for {' or '.join(holding.names)}")
    terms = schedule.assets[key]
    haircut, reason = _static_haircut(schedule, terms, holding, day)
    if not reason and schedule.pilot is not None and terms.digital is not None:
        reason = pilot_reason(schedule.pilot, terms.digital, day)
    if reason:
        return _refused(key, reason)
    fx = _fx_haircut(schedule, holding.currency, requirement_currency)
    if fx is None:
        return _refused(key, f"no cross-currency haircut for {holding.currency} against {requirement_currency}")
    shock = Shock.NONE if not terms.shocked else Shock.WHOLE if terms.digital is None else Shock.BEYOND
    return Treatment(key, "", haircut, fx, shock)


def _refused(key: str, reason: str) -> Treatment:
    return Treatment(key, reason, E9, 0, Shock.NONE)


def _ppb(share: Decimal) -> int:
    return scaled(share, E9)


def _static_haircut(schedule: Schedule, terms: Terms, holding: Holding, day: date) -> tuple[int, str]:
    """(haircut in 1e-9, reason why not eligible); of a tokenized asset that of the untokenized one plus the adjustment.

    In the pilot that of a clearing house that accepts the asset, else at least the floor (crypto.md 1.1 [S]).
    """
    base = terms if terms.tokenized_of is None else schedule.assets[terms.tokenized_of]
    if not base.eligible:
        return E9, base.reason
    if base.bands is None:
        assert base.haircut is not None  # check: one of the two
        haircut = _ppb(base.haircut)
    else:
        found, reason = band_share(base.bands, holding.maturity, day, schedule.through)
        if found is None:
            return E9, reason
        haircut = _ppb(found)
    haircut = min(haircut + _ppb(terms.adjustment or Decimal(0)), E9)
    if schedule.pilot is not None and terms.digital is not None:
        accepted = terms.clearing_house_haircut
        haircut = max(haircut, _ppb(schedule.pilot.floor)) if accepted is None else _ppb(accepted)
    return haircut, ""


def band_share(
    bands: Sequence[tuple[int | None, Decimal]], maturity: date | None, day: date, through: bool
) -> tuple[Decimal | None, str]:
    """(share of the band that the remaining maturity lies in, or None with the reason)."""
    if maturity is None:
        return None, "its maturity is not known"
    if maturity <= day:
        return None, f"it matured on {maturity}"
    for years, share in bands:
        end = date.max if years is None or day.year + years >= date.max.year else add_months(day, 12 * years)
        if maturity < end or (maturity == end and (through or years is None)):
            return share, ""
    return None, f"over {bands[-1][0]} years to its maturity on {maturity}"


def _fx_haircut(schedule: Schedule, currency: str | None, requirement_currency: str) -> int | None:
    """In 1e-9: that of the asset's currency, or of the requirement's where the asset is in the schedule's own currency.

    CME's cross-currency groups, whose own currency is USD (crypto.md 1.2 [P]). None: the schedule has none.
    """
    if currency is None or currency == requirement_currency:
        return 0
    terms = schedule.assets.get(requirement_currency if currency == schedule.currency else currency)
    return None if terms is None or terms.fx_haircut is None else _ppb(terms.fx_haircut)


@callable_part
def margin_value(value_minor: int, haircut_ppb: int, fx_ppb: int) -> int:
    """Minor units: value (0 to LIMIT) x (1 - h) rounded down, x (1 - h_fx) rounded down (crypto.md 1.1 [D])."""
    return int(mul_div_floor(mul_div_floor(value_minor, E9 - haircut_ppb, E9), E9 - fx_ppb, E9))


class Line(NamedTuple):
    """A holding: value = haircut + over (past a cap or a share, worth 0) + margin; key, reason and shock as in Treatment."""

    asset: str
    key: str
    reason: str
    shock: Shock
    value_minor: int
    haircut_minor: int
    over_minor: int
    margin_minor: int


def margin_lines(
    schedule: Schedule,
    holdings: Sequence[Holding],
    requirement_minor: int,
    day: date,
    requirement_currency: str | None = None,
    decimals: int = 2,
) -> list[Line]:
    """A line for each holding; holdings of one entry share its cap and its share of the requirement, the first ones first.

    Amounts are minor units of the schedule's currency, which has so many decimals; caps and shares round down. ValueError:
    a value or requirement outside 0 to LIMIT.
    """
    _in_range("requirement", requirement_minor)
    left: dict[str, int] = {}
    lines = []
    for holding in holdings:
        value = _in_range(f"value of {holding.names[0]}", holding.value_minor)
        found = treatment(schedule, holding, day, requirement_currency or schedule.currency)
        worth = int(margin_value(value, found.haircut_ppb, found.fx_ppb))
        counted = worth
        if not found.reason:
            room = left.setdefault(found.key, _room(schedule.assets[found.key], requirement_minor, decimals))
            counted = min(worth, room)
            left[found.key] = room - counted
        line = Line(holding.names[0], found.key, found.reason, found.shock, value, value - worth, worth - counted, counted)
        lines.append(line)
    return lines


def _in_range(name: str, amount_minor: int) -> int:
    if not 0 <= amount_minor < LIMIT:
        raise ValueError(f"{name} is {amount_minor}; allowed is 0 to {LIMIT - 1}")
    return amount_minor


def _room(terms: Terms, requirement_minor: int, decimals: int) -> int:
    """Minor units that an entry may be worth in all."""
    cap = LIMIT if terms.cap is None else min(int(Fraction(terms.cap) * 10**decimals), LIMIT)
    return cap if terms.share is None else min(cap, int(mul_div_floor(requirement_minor, _ppb(terms.share), E9)))

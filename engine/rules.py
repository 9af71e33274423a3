"""Margin rules as data: checking a version, and binding an instrument to the version in force."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np

from engine.arithmetic import LIMIT
from engine.documents import BASE, Rule
from engine.events import NS, QUANTITY_ONE, key64
from engine.models import collateral
from engine.models.scan import MICRO
from engine.numbers import INT64_MAX, divide_half_even, divide_up, scaled
from engine.parameters import AddOns, Parameters
from engine.state import FLAT, GRID, HISTORICAL, NO_RATE, NO_RULE, POINTS, PORTFOLIO, SCAN, TIERED, VOLATILITY, Risk, State

BPS = 10_000
CENTS = 100

MODELS = {"flat": FLAT, "tiered": TIERED, "volatility": VOLATILITY, "maturity": TIERED}
PORTFOLIO_MODELS = {"historical": HISTORICAL, "scan": SCAN, "grid": GRID, "points": POINTS}
_COMMON = {"scenarios", "currency", "initial_ratio"}
NEEDS: dict[str, tuple[set[str], set[str]]] = {  # parameters that a model needs, and those it may have
    "flat": ({"initial", "maintenance"}, set()),
    "tiered": ({"tiers"}, set()),
    "volatility": ({"multiple", "days", "tenor_days", "floor", "initial_ratio"}, set()),
    "maturity": ({"bands", "initial_ratio"}, set()),
    "historical": (_COMMON | {"tail"}, {"stress_weight", "floor", "bands", "minimum", "multiplier", "addons"}),
    "scan": (_COMMON | {"ranges"}, {"calendar_charge", "spreads", "minimum", "multiplier", "addons"}),
    "grid": (
        _COMMON,
        {"dampener", "gain_share", "gain_cap", "roll_rate", "roll_minimum", "delta_threshold", "delta_step", "delta_cap",
         "multiplier", "addons"},
    ),
    "points": (_COMMON, {"minimum", "future_minimum", "offset", "multiplier", "addons"}),
    "cross_margin": ({"houses", "products", "years", "pools"}, {"cap", "precision", "ttl", "pairs"}),
    "collateral": ({"assets", "currency"}, {"pilot"}),
}  # fmt: skip
_SHARES = ("tail", "stress_weight", "gain_share", "offset", "cap", "precision", "delta_step", "delta_cap")
_WITH_DEFAULTS = ("days_per_year", "stale_after", "through")
_MONEY = 10**9  # the largest amount of a parameter, but of caps


@dataclass(frozen=True, slots=True)
class Binding:
    """What turns a rule's money per unit into micros per lot: the currency's decimals and the lot.

    maturity: of the instrument, if it has one; day: the UTC day.
    """

    decimals: int
    lot: Fraction
    maturity: date | None
    day: date

    def micros_per_lot(self, amount: Decimal) -> int:
        """Money per unit of quantity as micros per lot, rounded up; LIMIT, which makes accounts UNPRICED, from there on."""
        value = Fraction(amount) * self.lot * 10 ** (self.decimals + 6)
        return min(divide_up(value.numerator, value.denominator), LIMIT)


def check_rule(rule: Rule) -> None:
    """ValueError when a version lacks a parameter of its model, has a foreign one, or one out of range."""
    p, (needs, may) = rule.parameters, NEEDS[rule.model]
    names = [name for name in p.__struct_fields__ if name not in _WITH_DEFAULTS]
    given = {name: value for name in names if (value := getattr(p, name)) is not None}
    if not needs <= set(given) <= needs | may:
        takes = ", ".join(sorted(needs)) + "".join(f", [{name}]" for name in sorted(may))
        raise ValueError(f"rule {rule.id}: model {rule.model} takes {takes}, found {', '.join(sorted(given))}")
    for name, value in given.items():
        _check_number(rule, name, value)
    for name, seconds in (("stale_after", p.stale_after), ("ttl", p.ttl)):
        if round((seconds or 0) * NS) > INT64_MAX:
            raise ValueError(f"rule {rule.id}: {name} {seconds} is over 9e9 seconds")
    if rule.model == "flat" and given["initial"] < given["maintenance"]:
        raise ValueError(f"rule {rule.id}: initial {given['initial']} is below maintenance {given['maintenance']}")
    if given.get("initial_ratio", 1) < 1 or given.get("multiplier", 1) < 1:
        raise ValueError(f"rule {rule.id}: initial_ratio and multiplier are at least 1")
    if rule.model == "volatility":
        if given["tenor_days"] <= 0 or p.days_per_year <= 0:
            raise ValueError(f"rule {rule.id}: tenor_days and days_per_year are above 0")
        scaled(given["tenor_days"], QUANTITY_ONE)
        _factors(rule)
    _check_tiers(rule)
    _check_lists(rule)


def _check_number(rule: Rule, name: str, value: Any) -> None:
    if isinstance(value, Decimal):
        top = 1 if name in _SHARES or (name == "floor" and rule.model == "historical") else _MONEY
        if not 0 <= value <= top:
            raise ValueError(f"rule {rule.id}: {name} {value} is not between 0 and {top:g}")
        if rule.model in PORTFOLIO_MODELS or rule.model == "cross_margin" or name == "initial_ratio":
            scaled(value, NS)
    if name == "tail" and ((value * BPS) % 1 != 0 or value == 1):
        raise ValueError(f"rule {rule.id}: tail {value} is not a whole number of basis points below 1")
    if name == "stress_weight" and (value * BPS) % 1 != 0:
        raise ValueError(f"rule {rule.id}: stress_weight {value} is not a whole number of basis points")


def _check_tiers(rule: Rule) -> None:
    tiers = rule.parameters.tiers or []
    for before, tier in zip([None, *tiers], tiers, strict=False):
        if (before is None and tier.above != 0) or (before is not None and tier.above <= before.above):
            raise ValueError(f"rule {rule.id}: tiers ascend from 0, found from {tier.above}")
        if not 0 <= tier.maintenance <= tier.initial <= 10:
            raise ValueError(f"rule {rule.id}: a tier's rates are 0 <= maintenance <= initial <= 10")
        scaled(tier.initial, NS)
        scaled(tier.maintenance, NS)


def _check_lists(rule: Rule) -> None:
    p = rule.parameters
    for name, one in (p.ranges or {}).items():
        if one.price < 0 or one.volatility < 0:
            raise ValueError(f"rule {rule.id}: ranges of {name} are {one.price} and {one.volatility}; allowed is from 0")
    for spread in p.spreads or []:
        sides = [leg.side for leg in spread.legs]
        pools = {(leg.underlying, leg.side) for leg in spread.legs}
        if set(sides) != {1, -1} or len(pools) < len(sides) or not 0 <= spread.credit <= _MONEY:
            raise ValueError(f"rule {rule.id}: a spread has legs of both sides, no underlying twice on one, a credit from 0")
        for leg in spread.legs:
            if not 0 < leg.ratio <= BPS:
                raise ValueError(f"rule {rule.id}: ratio {leg.ratio} of {leg.underlying}; allowed is above 0, up to {BPS}")
            scaled(leg.ratio, MICRO)
        scaled(spread.credit, NS)
    if p.addons is not None:
        _check_addons(rule, p.addons)
    _check_shares(rule, p)
    _check_pairs(rule, p)


def _check_pairs(rule: Rule, p: Parameters) -> None:
    """The spread-based form of cross-margin."""
    if p.pairs is None:
        return
    if (p.cap, p.precision, p.ttl) != (None, None, None):
        raise ValueError(f"rule {rule.id}: pairs stand beside cap, precision or ttl, which are of the other form")
    for name in ("futures", "treasury"):
        products = [getattr(one, name) for one in p.pairs]
        if len(set(products)) < len(products):
            raise ValueError(f"rule {rule.id}: pairs name {name} {', '.join(products)}; allowed is each product once")
    for one in p.pairs:
        if not 0 <= one.rate <= 1:
            raise ValueError(f"rule {rule.id}: rate {one.rate} of {one.futures} and {one.treasury}; allowed is 0 to 1")
        scaled(one.rate, NS)


def _check_shares(rule: Rule, p: Parameters) -> None:
    """Bands of maturity, and a collateral schedule."""
    if p.bands is not None and p.floor is not None:
        raise ValueError(f"rule {rule.id}: floor and bands are given; allowed is one of them")
    if p.bands is not None:
        collateral.check_bands(f"rule {rule.id}: bands", p.bands)
        if p.bands[-1][0] is not None:
            raise ValueError(f"rule {rule.id}: bands end at {p.bands[-1][0]} years; allowed is null in the last one")
    if rule.model == "collateral":
        try:
            for name, terms in collateral.check(schedule_of(rule)).assets.items():
                scaled(terms.cap or Decimal(0), CENTS)
                if terms.cap is not None and p.currency != BASE:
                    raise ValueError(f"assets.{name}.cap is in {p.currency}; allowed is one in {BASE}")
        except ValueError as error:
            raise ValueError(f"rule {rule.id}: {error}") from error


def _check_addons(rule: Rule, addons: AddOns) -> None:
    shares: dict[str, Decimal] = {}
    if addons.liquidity is not None:
        shares["liquidity.participation"] = addons.liquidity.participation
    if addons.regime is not None:
        shares |= {"regime.charge": addons.regime.charge, "regime.buffer": addons.regime.buffer}
    if addons.depeg is not None:
        shares |= {"depeg.threshold": addons.depeg.threshold, "depeg.share": addons.depeg.share}
    for name, value in shares.items():
        if not (0 <= value <= 1 and value * MICRO % 1 == 0):
            raise ValueError(f"rule {rule.id}: addons.{name} is {value}; allowed is 0 to 1 with up to 6 decimals")
    if addons.gap is not None and not 1 <= addons.gap.multiplier <= 10:
        raise ValueError(f"rule {rule.id}: addons.gap.multiplier is {addons.gap.multiplier}; allowed is 1 to 10")
    if addons.regime is not None:
        one = addons.regime
        if not (0 <= one.low <= one.high <= 100 and one.short_days > 0 and one.long_days > 0):
            raise ValueError(f"rule {rule.id}: addons.regime has {one.low} to {one.high} of {one.short_days} over"
                             f" {one.long_days} days; allowed is 0 <= low <= high <= 100 and days above 0")  # fmt: skip
        for value in (one.low, one.high):
            scaled(value, NS)
        for value in (one.short_days, one.long_days):
            scaled(value, QUANTITY_ONE)


def schedule_of(rule: Rule) -> collateral.Schedule:
    """The schedule that a rule of model collateral states."""
    p = rule.parameters
    return collateral.Schedule(assets=p.assets or {}, currency=p.currency or "", through=p.through, pilot=p.pilot)


def _root(value: Fraction) -> int:
    """sqrt(value) in 1e-9, rounded half-even (an exact half cannot occur)."""
    shifted = value * 10**36
    return divide_half_even(isqrt(shifted.numerator // shifted.denominator), 10**9)


def _factors(rule: Rule) -> tuple[int, int]:
    """multiple x sqrt(days / days a year) and multiple x sqrt(days), both in 1e-9."""
    p = rule.parameters
    assert p.multiple is not None
    assert p.days is not None
    square = Fraction(p.multiple) ** 2 * Fraction(p.days)
    return min(_root(square / Fraction(p.days_per_year)), LIMIT), min(_root(square), LIMIT)


def share_of(p: Parameters, maturity: date | None, day: date) -> tuple[Decimal | None, str]:
    """(the share of market value that a rule's bands have for a maturity on a day, or None with the reason)."""
    return collateral.band_share(p.bands or (), maturity, day, p.through)


def version_key(rule: Rule | None, share: Decimal | None = None) -> int:
    """What identifies a rule version in an instrument's row, with the share that its bands have for it: 0 for none."""
    return 0 if rule is None else key64(f"{rule.id}:{rule.effective_ns}" + (f":{share}" if share is not None else ""))


def bind(state: State, slot: int, rule: Rule | None, binding: Binding) -> None:
    """Let an instrument follow a rule version, or its maturity another band; a switch rebuilds its rates at this clock."""
    row, share, is_by_maturity = state.instruments[slot], None, rule is not None and rule.model == "maturity"
    if rule is not None and is_by_maturity:
        share, _ = share_of(rule.parameters, binding.maturity, binding.day)
    if row["rule_version"] == version_key(rule, share):
        return
    row["rule_version"], row["switched"] = version_key(rule, share), 1
    if rule is None:
        row["model"] = NO_RULE
        return
    p = rule.parameters
    row["model"] = MODELS.get(rule.model, PORTFOLIO if rule.model in PORTFOLIO_MODELS else NO_RULE)
    if is_by_maturity and share is None:
        row["model"] = NO_RATE
    row["flat_initial"] = binding.micros_per_lot(p.initial or Decimal(0))
    row["flat_maintenance"] = binding.micros_per_lot(p.maintenance or Decimal(0))
    row["floor"] = binding.micros_per_lot((p.floor if rule.model == "volatility" else None) or Decimal(0))
    row["initial_ratio"] = scaled(p.initial_ratio or Decimal(0), NS)
    row["tenor"] = scaled(p.tenor_days or Decimal(0), QUANTITY_ONE)
    row["volatility_stale_ns"] = round((p.stale_after or 0) * NS)
    row["factor"], row["factor_bp"] = _factors(rule) if rule.model == "volatility" else (0, 0)
    state.tiers[slot] = (0, 0, 0)
    for i, tier in enumerate(p.tiers or []):
        above = divide_up(*(Fraction(tier.above) * 10**binding.decimals).as_integer_ratio())
        state.tiers[slot, i] = min(above, LIMIT), scaled(tier.initial, NS), scaled(tier.maintenance, NS)
    if share is not None:
        initial = Fraction(share) * Fraction(p.initial_ratio or 1) * NS
        state.tiers[slot, 0] = 0, divide_up(*initial.as_integer_ratio()), scaled(share, NS)


def bind_floors(
    state: State, risk: Risk, slot: int, rule: Rule | None, maturities: Sequence[date | None], day: date
) -> None:
    """Fill in the floors of the portfolio rule in a slot; who holds an instrument whose floor changed is margined anew.

    maturities: of every instrument, by slot; bands have no floor for what has no maturity left.
    """
    rows, portfolio = state.instruments[: len(maturities)], state.portfolios[slot]
    floors = np.zeros(len(maturities), np.int64)
    if rule is not None and portfolio["has_floor"]:
        p = rule.parameters
        for at in np.flatnonzero(rows["sets"] >> portfolio["set"] & 1).tolist():
            share = p.floor if p.bands is None else share_of(p, maturities[at], day)[0]
            floors[at] = scaled(share or Decimal(0), NS)
    held = risk.floors[slot, : len(maturities)]
    rows["switched"][held != floors] = 1
    held[:] = floors

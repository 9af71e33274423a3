"""Margin rules as data: checking a version, and binding an instrument to the version in force."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isqrt

from engine.arithmetic import LIMIT
from engine.documents import Rule
from engine.events import NS, QUANTITY_ONE, key64
from engine.numbers import INT64_MAX, divide_half_even, divide_up, scaled
from engine.state import FLAT, NO_RULE, TIERED, VOLATILITY, State

MODELS = {"flat": FLAT, "tiered": TIERED, "volatility": VOLATILITY}
NEEDS = {
    "flat": ("initial", "maintenance"),
    "tiered": ("tiers",),
    "volatility": ("multiple", "days", "tenor_days", "floor", "initial_ratio"),
}


@dataclass(frozen=True, slots=True)
class Binding:
    """What turns a rule's money per unit into micros per lot: the currency's decimals and the lot."""

    decimals: int
    lot: Fraction

    def micros_per_lot(self, amount: Decimal) -> int:
        """Money per unit of quantity as micros per lot, rounded up; LIMIT, which makes accounts UNPRICED, from there on."""
        value = Fraction(amount) * self.lot * 10 ** (self.decimals + 6)
        return min(divide_up(value.numerator, value.denominator), LIMIT)


def check_rule(rule: Rule) -> None:
    """ValueError when a version lacks a parameter of its model, has a foreign one, or one out of range."""
    given = {
        name: value
        for name in ("initial", "maintenance", "tiers", "multiple", "days", "tenor_days", "floor", "initial_ratio")
        if (value := getattr(rule.parameters, name)) is not None
    }
    if set(given) != set(NEEDS[rule.model]):
        raise ValueError(
            f"rule {rule.id}: model {rule.model} takes {', '.join(NEEDS[rule.model])}, found {', '.join(given)}"
        )
    for name, value in given.items():
        if name != "tiers" and not 0 <= value <= 10**9:
            raise ValueError(f"rule {rule.id}: {name} {value} is not between 0 and 1e9")
    parameters = rule.parameters
    if round((parameters.stale_after or 0) * NS) > INT64_MAX:
        raise ValueError(f"rule {rule.id}: stale_after {parameters.stale_after} is over 9e9 seconds")
    if rule.model == "flat" and given["initial"] < given["maintenance"]:
        raise ValueError(f"rule {rule.id}: initial {given['initial']} is below maintenance {given['maintenance']}")
    if rule.model == "volatility":
        if given["initial_ratio"] < 1 or given["tenor_days"] <= 0 or parameters.days_per_year <= 0:
            raise ValueError(f"rule {rule.id}: initial_ratio is at least 1, tenor_days and days_per_year are above 0")
        scaled(given["tenor_days"], QUANTITY_ONE)
        _factors(rule)
    for before, tier in zip([None, *(parameters.tiers or [])], parameters.tiers or [], strict=False):
        if (before is None and tier.above != 0) or (before is not None and tier.above <= before.above):
            raise ValueError(f"rule {rule.id}: tiers ascend from 0, found from {tier.above}")
        if not 0 <= tier.maintenance <= tier.initial <= 10:
            raise ValueError(f"rule {rule.id}: a tier's rates are 0 <= maintenance <= initial <= 10")
        scaled(tier.initial, NS)
        scaled(tier.maintenance, NS)


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


def version_key(rule: Rule | None) -> int:
    """What identifies a rule version in an instrument's row: 0 for none."""
    return 0 if rule is None else key64(f"{rule.id}:{rule.effective_ns}")


def bind(state: State, slot: int, rule: Rule | None, binding: Binding) -> None:
    """Let an instrument follow a rule version; a switch rebuilds its margin rates at this clock."""
    row = state.instruments[slot]
    if row["rule_version"] == version_key(rule):
        return
    row["rule_version"], row["switched"] = version_key(rule), 1
    if rule is None:
        row["model"] = NO_RULE
        return
    p = rule.parameters
    row["model"] = MODELS[rule.model]
    row["flat_initial"] = binding.micros_per_lot(p.initial or Decimal(0))
    row["flat_maintenance"] = binding.micros_per_lot(p.maintenance or Decimal(0))
    row["floor"] = binding.micros_per_lot(p.floor or Decimal(0))
    row["initial_ratio"] = scaled(p.initial_ratio or Decimal(0), NS)
    row["tenor"] = scaled(p.tenor_days or Decimal(0), QUANTITY_ONE)
    row["volatility_stale_ns"] = round((p.stale_after or 0) * NS)
    row["factor"], row["factor_bp"] = _factors(rule) if rule.model == "volatility" else (0, 0)
    state.tiers[slot] = (0, 0, 0)
    for i, tier in enumerate(p.tiers or []):
        above = divide_up(*(Fraction(tier.above) * 10**binding.decimals).as_integer_ratio())
        state.tiers[slot, i] = min(above, LIMIT), scaled(tier.initial, NS), scaled(tier.maintenance, NS)

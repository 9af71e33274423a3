"""How pools take assets as collateral: haircut, limits, and whether they move in the scenarios of positions."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

from engine.arithmetic import LIMIT
from engine.documents import AnyDocument, Asset, Instrument, Pool, Rule
from engine.events import NS
from engine.models.collateral import Holding, Schedule, Shock, Treatment, treatment
from engine.numbers import scaled
from engine.rules import CENTS, schedule_of
from engine.state import NONE

_SHOCKS: Final = ("historical", "grid")  # the models whose scenarios collateral can move in
Documents = Mapping[tuple[str, str], AnyDocument]
Rules = Callable[[str | None], Rule | None]
"""A rule's version in force."""


def shocked_in(pool: Pool, rules: Rules) -> list[str]:
    """The rules in force in whose scenarios a pool's collateral can move, in the pool's order."""
    found = [rules(name) for name in pool.moves_in]
    return [rule.id for rule in found if rule is not None and rule.model in _SHOCKS]


def asset_terms(pool: Pool, asset: Asset, documents: Documents, rules: Rules, day: date) -> tuple[str, dict[str, int]]:
    """(the schedule's entry in whose limits an asset counts, "" for none; the other fields of TERMS) of a pool."""
    terms = {"haircut": NS, "cap": LIMIT, "share": NONE, "shock": int(Shock.NONE)}
    if pool.collateral is None:
        return "", terms | {"haircut": scaled(asset.haircut, NS)}
    treated = treatment_of(pool, asset, documents, rules, day)
    if treated is None or treated[1].reason:
        return "", terms
    schedule, found = treated
    entry, can = schedule.assets[found.key], asset.instrument is not None and bool(shocked_in(pool, rules))
    reduced = found.shock == Shock.WHOLE  # a haircut that only stands beside the scenarios
    if 0 in (entry.cap, entry.share) or (reduced and not can):
        return "", terms
    terms["haircut"] = NS - (NS - found.haircut_ppb) * (NS - found.fx_ppb) // NS
    if entry.cap is not None:
        terms["cap"] = scaled(entry.cap, CENTS)
    if entry.share is not None:
        terms["share"] = scaled(entry.share, NS)
    if can:
        terms["shock"] = int(found.shock)
    return "" if entry.cap is None and entry.share is None else found.key, terms


def treatment_of(
    pool: Pool, asset: Asset, documents: Documents, rules: Rules, day: date
) -> tuple[Schedule, Treatment] | None:
    """The schedule that a pool's collateral rule states, and how it treats an asset; None where it has none in force."""
    rule = rules(pool.collateral)
    if rule is None or rule.model != "collateral":
        return None
    schedule, priced = schedule_of(rule), documents.get(("instrument", asset.instrument or ""))
    maturity = priced.maturity if isinstance(priced, Instrument) else None
    currency = asset.id if asset.type == "currency" else None if asset.type in ("crypto", "stablecoin") else asset.currency
    holding = Holding(
        names=(asset.id, asset.type),
        currency=currency,
        maturity=None if maturity is None else date.fromisoformat(maturity),
        value_minor=0,
    )
    return schedule, treatment(schedule, holding, day, pool.currency)

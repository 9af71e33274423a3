"""What an account's collateral counts, its cross-margin with the reasons, and its customer's margin three ways.

The engine is brought to the rules in force (engine.explain.prepare), and else stays as it is. Amounts are minor units of the
currency named with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from engine.agreements import explain_house, explain_pair
from engine.arithmetic import E6, E9, LIMIT, kernel
from engine.binding import RowSet, model_of
from engine.core import MarginEngine
from engine.documents import Account, Agreement, Asset, Pool
from engine.eligibility import conditions_of, position_of
from engine.equity import margin_amount
from engine.explain import (
    Requirement,
    Vector,
    converted,
    day_of,
    held,
    instrument_of,
    prepare,
    quantile,
    requirement,
    tried,
)  # fmt: skip
from engine.models import cross_margin
from engine.models.collateral import Shock
from engine.models.views import Leg, Legal, View, cross, silo, unified
from engine.numbers import scaled
from engine.parameters import Parameters
from engine.pools import treatment_of
from engine.rules import BPS
from engine.scenarios.sets import ScenarioSet
from engine.state import HISTORICAL, NONE, PORTFOLIO, State
from engine.vectors import UNITS
from engine.views import agreement

TAIL_BPS: Final = 100
APART: Final = (
    "no rule in force margins accounts of several regimes as one: each pool's collateral covers its own positions only"
)


@dataclass(frozen=True, slots=True)
class Counted:
    """A holding: amount = haircut + over (past its limits) + margin, minor units of the asset.

    worth: margin in the account's currency, None where one has no rate. entry: that of the schedule in whose cap and share
    of the stored maintenance it counts ("": it has none). reason: why it is not eligible ("": it is).
    """

    asset: str
    amount: int
    haircut_ppb: int
    haircut: int
    over: int
    margin: int
    worth: int | None
    shock: str
    entry: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cash:
    """Market value less cost of all positions in a currency, minor units of it; worth: in the account's currency."""

    currency: str
    amount: int
    worth: int | None


@dataclass(frozen=True, slots=True)
class Equity:
    """What an account's equity counts; `now` is the sum of all `worth`, None where one is not known."""

    stored: int
    now: int | None
    collateral: tuple[Counted, ...]
    positions: tuple[Cash, ...]


@kernel
def _margin_amount(state: State, account: int, asset: int, maintenance: int) -> int:
    return margin_amount(state, account, asset, maintenance)


def equity(engine: MarginEngine, account: int) -> Equity:
    """An account's equity, line by line."""
    prepare(engine)
    d, state = engine.definitions, engine.definitions.state
    into, counted, cash = int(state.accounts.figures[account]["asset"]), list[Counted](), list[Cash]()
    for asset, name in enumerate(d.asset_ids):
        amount, currency = int(state.accounts.holding[asset, account]), int(state.assets[asset]["currency_slot"])
        margin, profit = 0, 0
        if amount != 0:
            one = _counted(engine, account, asset, amount, into)
            counted.append(one)
            margin = one.margin
        if currency != NONE:
            profit = (int(state.accounts.value[currency, account]) - int(state.accounts.book[currency, account])) // E6
        if profit != 0:
            both = converted(engine, margin + profit, asset, into, up=False)
            alone = converted(engine, margin, asset, into, up=False)
            cash.append(Cash(name, profit, None if both is None or alone is None else both - alone))
    worth = [one.worth for one in counted] + [one.worth for one in cash]
    known = [one for one in worth if one is not None]
    now = sum(known) if len(known) == len(worth) else None
    return Equity(int(state.accounts.figures[account]["equity"]), now, tuple(counted), tuple(cash))


def _counted(engine: MarginEngine, account: int, asset: int, amount: int, into: int) -> Counted:
    d, state = engine.definitions, engine.definitions.state
    pool_slot = int(state.accounts.pool[account])
    pool, document = d.documents["pool", d.pool_ids[pool_slot]], d.documents["asset", d.asset_ids[asset]]
    assert isinstance(pool, Pool)
    assert isinstance(document, Asset)
    terms, required = state.terms[pool_slot, asset], int(state.accounts.figures[account]["maintenance"])
    rate = int(terms["haircut"]) if amount > 0 else 0
    margin, reason, entry = int(_margin_amount(state, account, asset, required)), "", ""
    if pool.collateral is not None:
        treated = treatment_of(pool, document, d.documents, d.rule_now, day_of(engine))
        reason = f"rule {pool.collateral} is not in force" if treated is None else treated[1].reason
        entry = "" if treated is None or terms["entry"] == NONE else treated[1].key
    after = amount * (E9 - rate) // E9
    shock = Shock(int(terms["shock"])).name.lower()
    worth = converted(engine, margin, asset, into, up=False)
    return Counted(document.id, amount, rate, amount - after, after - margin, margin, worth, shock, entry, reason)


# Cross-margin


@dataclass(frozen=True, slots=True)
class HouseFigures:
    """What a house's rule asks for the eligible Treasury positions, the futures, and both, minor units of its currency."""

    rule: str
    currency: str
    figures: tuple[int, int, int] | None
    saving_ppb: int


class SpreadFigures(NamedTuple):
    """A recognised spread: products, rate in 1e-9, each house's outright in minor units (below 0: net short)."""

    futures: str
    treasury: str
    rate_ppb: int
    futures_minor: int
    treasury_minor: int
    taken_minor: int


@dataclass(frozen=True, slots=True)
class Cross:
    """An account's agreement: in force where `reasons` is empty.

    takes_off: (account, currency, line CROSS of its portfolio, below 0) of each leg that it reduces. positions: (account,
    instrument, why it is not eligible; nothing: it is). spreads: of the spread-based form, whose saving is their sum.
    """

    agreement: str
    rule: str
    reasons: tuple[str, ...]
    futures: str
    treasury: str
    houses: tuple[HouseFigures, ...]
    saving_ppb: int
    basis: str
    takes_off: tuple[tuple[str, str, int], ...]
    positions: tuple[tuple[str, str, tuple[str, ...]], ...]
    spreads: tuple[SpreadFigures, ...]


def cross_of(engine: MarginEngine, account: int) -> Cross | None:
    """The agreement that an account is in, None where it is in none."""
    prepare(engine)
    d, state = engine.definitions, engine.definitions.state
    at = int(state.accounts.agreement[account])
    if at == NONE:
        return None
    row, document = state.agreements[at], d.documents["agreement", d.portfolios.agreement_ids[at]]
    assert isinstance(document, Agreement)
    rule, known = d.rule_now(document.rule), agreement(state, d, at)
    legs = (int(row["futures"]), int(row["treasury"]))
    positions = () if rule is None else _eligibility(engine, legs, rule.parameters)
    houses = tuple(_house(engine, at, int(p)) for p in (row["cme"], row["ficc"]) if p != NONE) if row["active"] else ()
    found = [(engine.account_ids[leg], p) for leg in legs for p in requirement(engine, leg).portfolios]
    taken = [(name, p.currency, p.lines["CROSS"]) for name, p in found if p.lines.get("CROSS", 0)]
    saving = 0 if row["pairs"] else known.saving_ppb
    spreads = _spreads(engine, at, rule.parameters, houses) if rule is not None and row["active"] else ()
    basis = known.basis or ("not worked out yet" if row["active"] else "not in force")
    return Cross(
        document.id, document.rule, known.reasons, known.futures.account, known.treasury.account, houses, saving,
        basis, tuple(taken), positions, spreads,
    )  # fmt: skip


def _eligibility(engine: MarginEngine, legs: tuple[int, int], p: Parameters) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Why each position of both legs is not cross-margined; of another rule than its leg's house is a reason too."""
    d, conditions, found = engine.definitions, conditions_of(p), list[tuple[str, str, tuple[str, ...]]]()
    for leg, house in zip(legs, p.houses or (), strict=False):
        for instrument, _ in held(d.state, leg):
            document = instrument_of(engine, instrument)
            failed = cross_margin.position_reasons(position_of(document), day_of(engine), conditions)
            reasons = [str(reason) for reason in failed]
            if document.rule != house:
                reasons.append(f"it is margined by rule {document.rule}, not by {house}")
            found.append((engine.account_ids[leg], document.id, tuple(reasons)))
    return tuple(found)


def _house(engine: MarginEngine, agreement: int, portfolio: int) -> HouseFigures:
    """One house's three figures."""
    d = engine.definitions
    name, currency = d.portfolios.rule_ids[portfolio], d.asset_ids[int(d.state.portfolios[portfolio]["asset"])]
    house = explain_house(d.margin, agreement, portfolio)
    if not house.answered:
        return HouseFigures(name, currency, None, 0)
    figures = (int(house.treasury), int(house.futures), int(house.combined))
    return HouseFigures(name, currency, figures, int(cross_margin.house_saving(house)))


def _spreads(
    engine: MarginEngine, agreement: int, p: Parameters, houses: tuple[HouseFigures, ...]
) -> tuple[SpreadFigures, ...]:
    """What each recognised spread takes off; none where a house has no answer."""
    if any(house.figures is None for house in houses):
        return ()
    found = []
    for k, one in enumerate(p.pairs or ()):
        treasury, futures, taken = (int(amount) for amount in explain_pair(engine.definitions.margin, agreement, k))
        found.append(SpreadFigures(one.futures, one.treasury, scaled(one.rate, E9), futures, treasury, taken))
    return tuple(found)


def historical_loss(vector: Vector, row: Any) -> int:
    """Minor units, up: the risk part of a vector under a historical rule's row."""
    look_back, weight, tail = int(row["lookback"]), int(row["stress_weight_bps"]), int(row["tail_bps"])
    loss = -int(vector[quantile(vector[:look_back], tail)]) * (BPS - weight)
    if weight:
        loss -= int(vector[look_back + quantile(vector[look_back:], tail)]) * weight
    return max(0, -(-loss // (BPS * UNITS)))


# Views


@dataclass(frozen=True, slots=True)
class Views:
    """Maintenance of all accounts of a customer three ways, minor units of one currency; unified_by: its set, or why not."""

    currency: str
    views: tuple[View, ...]
    unified_by: str


def views(engine: MarginEngine, account: int) -> Views:
    """Silo, cross and unified margin of the account's customer, in the account's currency."""
    d, state = engine.definitions, engine.definitions.state
    into, customer = int(state.accounts.figures[account]["asset"]), engine.account_info(account).customer
    accounts = [a for a, name in enumerate(engine.account_ids) if _customer(engine, name) == customer]
    legs, after, pools = list[Leg](), dict[str, int | None](), dict[str, int]()
    for one in accounts:
        found, name = requirement(engine, one), engine.account_ids[one]
        pool = d.pool_ids[d.account_pools[one]]
        legs.append(Leg(name, pool, _in(engine, found, into, with_cross=False)))
        after[name] = _in(engine, found, into, with_cross=True)
        known = equity(engine, one)
        amount = known.stored if known.now is None else known.now
        worth = converted(engine, amount, int(state.accounts.figures[one]["asset"]), into, up=False)
        pools[pool] = pools.get(pool, 0) + (worth or 0)
    status, blocked = _status(engine, accounts)
    needed, by = _together(engine, accounts, into)
    three = (
        silo(legs, pools),
        cross(legs, after if status is Legal.IN_FORCE else {}, pools, status, blocked),
        unified(legs, pools, needed, Legal.HYPOTHETICAL, (APART, *(() if needed is not None else (by,)))),
    )
    return Views(d.asset_ids[into], three, by)


def _customer(engine: MarginEngine, name: str) -> str:
    document = engine.definitions.documents["account", name]
    assert isinstance(document, Account)
    return document.customer


def _in(engine: MarginEngine, found: Requirement, into: int, with_cross: bool) -> int | None:
    """Maintenance of an account in a currency, with or without what cross-margin takes off; None: unpriced."""
    d, sums = engine.definitions, dict[str, int]()
    for alone in found.alone:
        if alone.problem:
            return None
        sums[alone.currency] = sums.get(alone.currency, 0) + alone.required.maintenance
    for one in found.portfolios:
        if one.problem:
            return None
        amount = one.required.maintenance
        if not with_cross and one.lines["CROSS"]:
            assert one.rule is not None
            before = amount - one.lines["HOUSE"] - one.lines["CROSS"]
            multiplier = int(d.state.portfolios[d.portfolios.rule_ids.index(one.rule.id)]["multiplier"])
            amount = before - (-before * (multiplier - E9) // E9)
        sums[one.currency] = sums.get(one.currency, 0) + amount
    amounts = [converted(engine, amount, d.asset_slot(name), into, up=True) for name, amount in sums.items()]
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _status(engine: MarginEngine, accounts: Sequence[int]) -> tuple[Legal, tuple[str, ...]]:
    """Whether cross-margin of these accounts is in force, and what blocks it."""
    d, state = engine.definitions, engine.definitions.state
    rows = sorted({int(state.accounts.agreement[a]) for a in accounts} - {NONE})
    if not rows:
        return Legal.HYPOTHETICAL, ("the customer has no cross-margin agreement",)
    if any(state.agreements[at]["active"] for at in rows):
        return Legal.IN_FORCE, ()
    names = [d.portfolios.agreement_ids[at] for at in rows]
    return Legal.PENDING, tuple(f"{name}: {why}" for name in names for why in d.portfolios.not_in_force.get(name, ()))


def _together(engine: MarginEngine, accounts: Sequence[int], into: int) -> tuple[int | None, str]:
    """Minor units that these accounts require, all their portfolio positions as one historical portfolio; and by which set.

    Positions margined alone stay so, shocked collateral is left out. None, and why not, where no set has a move of every
    factor.
    """
    d, state = engine.definitions, engine.definitions.state
    mine, at = dict[int, int](), len(d.portfolios.row_sets)
    for account in accounts:
        for instrument, lots in held(state, account):
            if state.instruments[instrument]["model"] == PORTFOLIO:
                mine[instrument] = mine.get(instrument, 0) + lots
    why = "not computed: no historical scenario set is defined"
    if at >= len(engine.definitions.margin.risk.width):
        return None, f"not computed: the limit of {at} sets of rows is reached"
    for made in d.portfolios.sets.values():
        if model_of(made) != "historical":
            continue
        d.portfolios.row_sets.append(RowSet(made.name, d.asset_ids[into], None))
        reasons, rows = tried(engine, list(mine), 1 << at)
        d.portfolios.row_sets.pop()
        if not reasons:
            needed, said = _one_margin(engine, made, mine, partial(rows, at))
            alone = _alone(engine, accounts, into)
            return (None, said) if needed is None or alone is None else (needed + alone, said)
        why = f"not computed: {'; '.join(reasons.values())}"
    return None, why


def _alone(engine: MarginEngine, accounts: Sequence[int], into: int) -> int | None:
    """Maintenance of these accounts' positions that are margined alone, in one currency; None: one has no rate."""
    found = [replace(requirement(engine, account), portfolios=()) for account in accounts]
    amounts = [_in(engine, one, into, with_cross=False) for one in found]
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _one_margin(
    engine: MarginEngine, made: ScenarioSet, mine: dict[int, int], rows: Callable[[int], Vector]
) -> tuple[int | None, str]:
    """The historical requirement at tail and stress weight of the first rule in force over the set, else the 99 % loss."""
    count = len(made.labels)
    total = np.zeros(count, object)
    for instrument, lots in mine.items():
        total = total + rows(instrument)[:count].astype(object) * lots
    if any(abs(value) >= LIMIT for value in total):
        return None, "not computed: the positions are out of range"
    look_back = int(made.parameters.get("look_back", count))
    row = {"lookback": look_back, "tail_bps": TAIL_BPS, "stress_weight_bps": 0}
    d = engine.definitions
    historical = [p for p in d.state.portfolios if p["model"] == HISTORICAL]
    alike = [p for p in historical if d.portfolios.row_sets[p["set"]].scenarios == made.name]
    if alike:
        row = {name: int(alike[0][name]) for name in row}
    said = f"set {made.name}, tail {row['tail_bps']} bps, stress weight {row['stress_weight_bps']} bps"
    return historical_loss(total.astype(np.int64), row), said

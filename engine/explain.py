"""Why an account requires what it requires: lines, scenarios, and contributions of positions that sum exactly.

Requirements come from the engine's kernels; what stands beside them is worked out again in plain integers. Amounts are minor
units of the currency named with them. A contribution is in 1e-8 of a minor unit (a vector's unit, 1e-4, x a basis point of
the stress weight), so that none is rounded; what the requirement rounds up is a contribution of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E9, LIMIT, kernel
from engine.charges import Line
from engine.core import MarginEngine
from engine.documents import Instrument, Rule
from engine.eligibility import position_of
from engine.models.collateral import Shock
from engine.models.rows import rank_of
from engine.numbers import date_of
from engine.portfolio import explain_portfolio
from engine.report import Quality
from engine.requirement import position_requirement
from engine.rules import BPS, share_of
from engine.scenarios.sets import ScenarioSet
from engine.state import (
    CHUNK,
    GRID,
    HISTORICAL,
    MARGIN_DUE,
    NO_RATE,
    NONE,
    POINTS,
    PORTFOLIO,
    POSITIONS_DIRTY,
    SCAN,
    State,
)  # fmt: skip
from engine.vectors import UNITS, moving_in

PARTS: Final = BPS * UNITS  # of a minor unit, in which contributions are
WORST: Final = 5
Vector = NDArray[np.int64]


class Amounts(NamedTuple):
    """An initial and a maintenance requirement."""

    initial: int
    maintenance: int


NOTHING: Final = Amounts(0, 0)


@dataclass(frozen=True, slots=True)
class Version:
    """A rule's version in force."""

    id: str
    model: str
    effective_ns: int


@dataclass(frozen=True, slots=True)
class Alone:
    """A position margined alone; rule None: none is in force, and it requires nothing.

    problem: why its rule cannot say what it requires.
    """

    instrument: str
    quantity: Decimal
    rule: Version | None
    currency: str
    required: Amounts
    problem: str


class Loss(NamedTuple):
    """What a portfolio loses in a scenario, in 1e-4 minor units; below 0: a gain."""

    scenario: str
    loss: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The vector of all positions, or of one group (of): its worst scenarios, and those that the requirement took.

    taken: (scenario, its weight in basis points).
    """

    of: str
    worst: tuple[Loss, ...]
    taken: tuple[tuple[str, int], ...]


class Contribution(NamedTuple):
    """What a position, shocked collateral or a line of the model adds to the risk line, in 1e-8 minor units."""

    name: str
    kind: str
    loss: int


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What an account's positions under one portfolio rule require together; lines are of maintenance, by name.

    problem: why it cannot be said, and then nothing else is there.
    """

    rule: Version | None
    scenarios: str
    set_hash: str
    currency: str
    lines: dict[str, int] = field(default_factory=dict)
    required: Amounts = NOTHING
    tails: tuple[Tail, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Total:
    """What is required in one currency, and that in the account's, rounded up; None: a currency has no rate."""

    currency: str
    required: Amounts
    converted: Amounts | None


@dataclass(frozen=True, slots=True)
class Requirement:
    """An account's requirement: as stored, and as its positions require now (None: unpriced), which the totals sum to.

    behind: why the two may differ.
    """

    stored: Amounts
    now: Amounts | None
    behind: tuple[str, ...]
    totals: tuple[Total, ...]
    alone: tuple[Alone, ...]
    portfolios: tuple[Portfolio, ...]


@kernel
def _alone(state: State, instrument: int, lots: int, initial: bool) -> int:
    return position_requirement(state, state.instruments[instrument], lots, initial)


def prepare(engine: MarginEngine) -> None:
    """Bring the tables of an engine out of a snapshot to the rules in force at its clock, as its next clock would."""
    engine.definitions.bind_rules(engine.clock_ns)


def positions(state: State, account: int) -> list[int]:
    """The slots of an account's positions, those without lots too."""
    slots, slot = [], int(state.accounts.first_position[account])
    while slot != NONE:
        slots.append(slot)
        slot = int(state.book.next[slot])
    return slots


def held(state: State, account: int) -> list[tuple[int, int]]:
    """(instrument, lots) of what an account holds, by instrument."""
    found = [(int(state.book.chunk_instrument[s // CHUNK]), int(state.book.lots[s])) for s in positions(state, account)]
    return sorted((instrument, lots) for instrument, lots in found if lots != 0)


def converted(engine: MarginEngine, amount: int, asset: int, into: int, up: bool) -> int | None:
    """An amount of one currency in another's minor units, rounded; None where one has no rate."""
    rate, other = (int(engine.definitions.state.assets[slot]["rate"]) for slot in (asset, into))
    if asset == into or amount == 0:
        return amount
    if min(rate, other) <= 0:
        return None
    return -(-amount * rate // other) if up else amount * rate // other


def version(rule: Rule | None) -> Version | None:
    """What names a rule's version."""
    return None if rule is None else Version(rule.id, rule.model, rule.effective_ns)


def instrument_of(engine: MarginEngine, slot: int) -> Instrument:
    """The document of the instrument in a slot."""
    document = engine.definitions.documents["instrument", engine.definitions.instrument_ids[slot]]
    assert isinstance(document, Instrument)
    return document


def requirement(engine: MarginEngine, account: int, with_tails: bool = True) -> Requirement:
    """All lines of an account's requirement; the engine is brought to the rules in force.

    with_tails False: without scenarios and contributions, which take most of the time.
    """
    prepare(engine)
    state = engine.definitions.state
    figures, into = state.accounts.figures[account], int(state.accounts.figures[account]["asset"])
    mine = held(state, account)
    alone, sums = [], dict[int, list[int]]()
    for instrument, lots in mine:
        if state.instruments[instrument]["model"] != PORTFOLIO:
            alone.append(_position_alone(engine, instrument, lots))
            _add(sums, int(state.instruments[instrument]["asset"]), alone[-1].required)
    slots = portfolios_of(state, account, mine)
    portfolios = tuple(portfolio(engine, account, p, mine, with_tails) for p in slots)
    for p, found in zip(slots, portfolios, strict=True):
        _add(sums, int(state.portfolios[p]["asset"]), found.required)
    totals = tuple(_total(engine, asset, Amounts(*both), into) for asset, both in sorted(sums.items()))
    known = [total.converted for total in totals if total.converted is not None]
    problems = [one.problem for one in alone] + [found.problem for found in portfolios]
    clear = len(known) == len(totals) and not any(problems)
    now = Amounts(sum(k.initial for k in known), sum(k.maintenance for k in known)) if clear else None
    stored = Amounts(int(figures["initial"]), int(figures["maintenance"]))
    return Requirement(stored, now, tuple(_behind(engine, account, mine)), totals, tuple(alone), portfolios)


def _position_alone(engine: MarginEngine, instrument: int, lots: int) -> Alone:
    d, document = engine.definitions, instrument_of(engine, instrument)
    rule, required, problem = d.rule_now(document.rule), NOTHING, ""
    if rule is not None and d.state.instruments[instrument]["model"] == NO_RATE:
        problem = f"{document.id}: {share_of(rule.parameters, position_of(document).maturity, day_of(engine))[1]}"
    else:
        required = Amounts(*(int(_alone(d.state, instrument, lots, initial)) for initial in (True, False)))
    return Alone(document.id, lots * document.lot, version(rule), document.currency, required, problem)


def _add(sums: dict[int, list[int]], asset: int, required: Amounts) -> None:
    both = sums.setdefault(asset, [0, 0])
    both[0], both[1] = both[0] + required.initial, both[1] + required.maintenance


def _total(engine: MarginEngine, asset: int, required: Amounts, into: int) -> Total:
    initial, maintenance = (converted(engine, amount, asset, into, True) for amount in required)
    both = None if initial is None or maintenance is None else Amounts(initial, maintenance)
    return Total(engine.definitions.asset_ids[asset], required, both)


def _behind(engine: MarginEngine, account: int, mine: Sequence[tuple[int, int]]) -> list[str]:
    """Why an account's stored figures may not be what its positions require now."""
    state, figures, reasons = engine.definitions.state, engine.definitions.state.accounts.figures[account], []
    if figures["quality"] == Quality.UNPRICED:
        reasons.append("it is UNPRICED: the stored figures are the last known")
    if state.accounts.flags[account] & POSITIONS_DIRTY:
        reasons.append("its positions changed since the last clock")
    if state.accounts.flags[account] & MARGIN_DUE:
        reasons.append("it is due: rates or rows of what it holds were built again")
    ids = engine.definitions.instrument_ids
    switched = [ids[slot] for slot, _ in mine if state.instruments[slot]["switched"]]
    if switched:
        reasons.append(f"a rule or set in force is newer than the rates or rows of {', '.join(switched)}")
    moved = [ids[i] for i, _ in mine if state.instruments[i]["built"] and state.instruments[i]["mark"] != _built(state, i)]
    if moved:
        reasons.append(f"marks moved since the rates or rows of {', '.join(moved)} were built")
    return reasons


def _built(state: State, instrument: int) -> int:
    return int(state.instruments[instrument]["built_mark"])


def portfolios_of(state: State, account: int, mine: Sequence[tuple[int, int]]) -> list[int]:
    """The portfolios that an account has positions in, or collateral that moves with them."""
    found = _with_positions(state, mine)
    moving = _moves_in(state, account, mine)
    return sorted(found | {moving} if moving != NONE else found)


def _with_positions(state: State, mine: Sequence[tuple[int, int]]) -> set[int]:
    rows = state.instruments
    return {int(rows[i]["portfolio"]) for i, _ in mine if rows[i]["model"] == PORTFOLIO}


@kernel
def _moving_in(state: State, pool: int, portfolios: int) -> int:
    return moving_in(state, pool, portfolios)


def _moves_in(state: State, account: int, mine: Sequence[tuple[int, int]]) -> int:
    """The portfolio in whose scenarios an account's collateral moves, NONE where none of it does."""
    if not _moving(state, account):
        return NONE
    return int(_moving_in(state, int(state.accounts.pool[account]), sum(1 << p for p in _with_positions(state, mine))))


def _moving(state: State, account: int) -> list[tuple[int, int]]:
    """(asset, how much) of an account's collateral that moves in scenarios."""
    holding, terms = state.accounts.holding[:, account], state.terms[int(state.accounts.pool[account])]
    return [(j, int(holding[j])) for j in np.flatnonzero((holding != 0) & (terms["shock"] != 0)).tolist()]


# One portfolio: its lines, and where its risk comes from.


class Held(NamedTuple):
    """A position or shocked collateral: profits in 1e-4 minor units, by scenario; group: a slot, NONE of collateral."""

    name: str
    kind: str
    group: int
    profits: Vector


def portfolio(engine: MarginEngine, account: int, slot: int, mine: Sequence[tuple[int, int]], with_tails: bool) -> Portfolio:
    """Lines of what an account requires in a portfolio, and the contributions to its risk line, which sum to it."""
    d, state = engine.definitions, engine.definitions.state
    row = state.portfolios[slot]
    rule = d.rule_now(d.portfolios.rule_ids[slot])
    if rule is None or not row["model"]:
        return Portfolio(version(rule), "", "", "", problem="no version of the rule is in force")
    made = d.portfolios.sets[rule.parameters.scenarios or ""]
    named = (version(rule), made.name, made.hash, rule.parameters.currency or "")
    inside = [(i, lots) for i, lots in mine if state.instruments[i]["portfolio"] == slot]
    moving = _moving(state, account) if _moves_in(state, account, mine) == slot else []
    needed = [i for i, _ in inside] + [int(state.assets[asset]["instrument"]) for asset, _ in moving]
    missing = [why_unpriceable(engine, i) for i in needed if int(state.instruments[i]["missing"]) >> int(row["set"]) & 1]
    maintenance = int(explain_portfolio(engine.definitions.margin, account, slot))
    if missing or maintenance >= LIMIT:
        return Portfolio(*named, problem="; ".join(missing) or "it cannot be held exactly: a position is out of range")
    lines = {line.name: int(engine.definitions.margin.risk.lines[line]) for line in Line}
    required = Amounts(-(-maintenance * int(row["initial_ratio"]) // E9), maintenance)
    if not with_tails:
        return Portfolio(*named, lines, required)
    parts = [_position(engine, int(row["set"]), *one) for one in inside]
    parts += [_shocked(engine, account, slot, *one) for one in moving]
    dampener = engine.definitions.margin.risk.dampener[slot, : len(made.labels)]
    tails, contributions = _tails(engine, row, made, parts, dampener, lines[Line.RISK.name])
    return Portfolio(*named, lines, required, tails, contributions)


def why_unpriceable(engine: MarginEngine, slot: int) -> str:
    """Why an instrument has no risk rows now; the engine stays as it was."""
    reasons, _ = tried(engine, [slot], int(engine.definitions.state.instruments[slot]["sets"]))
    name = engine.definitions.instrument_ids[slot]
    return reasons.get(name, f"{name}: its rows wait for the next clock")


def tried(engine: MarginEngine, slots: Sequence[int], sets: int) -> tuple[dict[str, str], Callable[[int, int], Vector]]:
    """Build rows of instruments in the sets of these bits, then undo it: (reasons why not, by id; rows).

    rows: profits of a lot in 1e-4 minor units, from a set's slot and an instrument's.
    """
    state, builder = engine.definitions.state, engine.builder
    risk, at = engine.definitions.margin.risk, list(slots)
    waits = state.instruments["waits"].copy()
    before = [state.instruments[at].copy(), risk.values[:, at].copy(), risk.scale[:, at].copy(), risk.bound[:, at].copy()]
    known = builder.reasons.copy()
    state.instruments["waits"] = 0
    for slot in at:
        state.instruments[slot]["sets"], state.instruments[slot]["waits"] = sets, 1
    builder.build()
    reasons = {name: why for name, why in builder.reasons.items() if engine.definitions.instrument_slot(name) in at}
    built = {
        (s, slot): risk.values[s, slot].astype(np.int64) * risk.scale[s, slot] for slot in at for s in range(len(risk.width))
    }
    state.instruments[at], risk.values[:, at], risk.scale[:, at], risk.bound[:, at] = before
    state.instruments["waits"] = waits
    builder.reasons = known
    return reasons, lambda set_slot, slot: built[set_slot, slot]


def _position(engine: MarginEngine, scenarios: int, instrument: int, lots: int) -> Held:
    state = engine.definitions.state
    risk = engine.definitions.margin.risk
    each = risk.values[scenarios, instrument].astype(np.int64) * risk.scale[scenarios, instrument]
    group, name = int(state.instruments[instrument]["group"]), engine.definitions.instrument_ids[instrument]
    return Held(name, "position", group, each * lots)


def _shocked(engine: MarginEngine, account: int, slot: int, asset: int, amount: int) -> Held:
    """Collateral as engine.vectors.add_shocked adds it."""
    state, row = engine.definitions.state, engine.definitions.state.portfolios[slot]
    pool, instrument = int(state.accounts.pool[account]), int(state.assets[asset]["instrument"])
    quantity, lot = amount * int(state.assets[asset]["unit"]), int(state.instruments[instrument]["lot"])
    risk = engine.definitions.margin.risk
    scale = int(risk.scale[row["set"], instrument])
    won = [quantity * value * scale // lot for value in risk.values[row["set"], instrument].tolist()]
    if state.terms[pool, asset]["shock"] == Shock.BEYOND:
        worth = converted(engine, amount, asset, int(row["asset"]), up=False) if amount > 0 else 0
        charged = (worth or 0) * int(state.terms[pool, asset]["haircut"]) // E9 * UNITS
        won = [min(one + charged, 0) for one in won]
    return Held(engine.definitions.asset_ids[asset], "collateral", NONE, np.array(won, np.int64))


def quantile(vector: Vector, tail_bps: int) -> int:
    """The index of the scenario whose loss the historical model takes; of equal ones the first."""
    return int(np.argsort(vector, kind="stable")[rank_of(len(vector), tail_bps)])


def _worst(vector: Vector, labels: Sequence[str]) -> tuple[Loss, ...]:
    return tuple(Loss(labels[s], -int(vector[s])) for s in np.argsort(vector, kind="stable")[:WORST])


def _sum(parts: Sequence[Held], count: int) -> Vector:
    total = np.zeros(count, np.int64)
    for one in parts:
        total += one.profits[:count]
    return total


def _tails(
    engine: MarginEngine, row: Any, made: ScenarioSet, parts: Sequence[Held], dampener: Vector, risk: int
) -> tuple[tuple[Tail, ...], tuple[Contribution, ...]]:
    """Tails of a portfolio, and contributions that sum to its risk line (minor units)."""
    if row["model"] == HISTORICAL:
        tails, found = _historical(row, made, parts)
    elif row["model"] == SCAN:
        tails, found = _scan(engine, made, parts)
    else:
        tails, found = _netted(engine, row, made, parts, dampener)
    rounded = risk * PARTS - sum(one.loss for one in found)
    assert 0 <= rounded < PARTS, "the contributions are not those of the risk line"
    return tuple(tails), (*found, Contribution("rounding", "line", rounded))


def _floored(found: list[Contribution]) -> list[Contribution]:
    """With a line for a gain, which does not count."""
    total = sum(one.loss for one in found)
    return [*found, Contribution("a gain does not count", "line", -total)] if total < 0 else found


def _historical(row: Any, made: ScenarioSet, parts: Sequence[Held]) -> tuple[list[Tail], list[Contribution]]:
    """The scenario of the quantile, and that of the stress set by its weight (engine.models.historical)."""
    total, look_back, weight = _sum(parts, len(made.labels)), int(row["lookback"]), int(row["stress_weight_bps"])
    taken = [(quantile(total[:look_back], int(row["tail_bps"])), BPS - weight)]
    if weight:
        taken.append((look_back + quantile(total[look_back:], int(row["tail_bps"])), weight))
    found = [Contribution(p.name, p.kind, -sum(share * int(p.profits[s]) for s, share in taken)) for p in parts]
    return [Tail("", _worst(total, made.labels), tuple((made.labels[s], share) for s, share in taken))], _floored(found)


def _groups(parts: Sequence[Held]) -> list[tuple[int, list[Held]]]:
    slots = sorted({one.group for one in parts if one.group != NONE})
    return [(slot, [one for one in parts if one.group == slot]) for slot in slots]


def _scan(engine: MarginEngine, made: ScenarioSet, parts: Sequence[Held]) -> tuple[list[Tail], list[Contribution]]:
    """Each group in its own worst scenario."""
    tails, found = list[Tail](), list[Contribution]()
    for slot, members in _groups(parts):
        total = _sum(members, len(made.labels))
        at, name = int(np.argmin(total)), engine.definitions.instrument_ids[slot]
        tails.append(Tail(name, _worst(total, made.labels), ((made.labels[at], BPS),)))
        found += _floored([Contribution(one.name, one.kind, -int(one.profits[at]) * BPS) for one in members])
    return tails, found


def _netted(
    engine: MarginEngine, row: Any, made: ScenarioSet, parts: Sequence[Held], dampener: Vector
) -> tuple[list[Tail], list[Contribution]]:
    """Grid and points: all groups in one scenario, each with what the model takes off its gain or loss as a line."""
    count, lines = len(made.labels), list[tuple[str, Vector]]()
    total = _sum([one for one in parts if one.group == NONE], count)
    for slot, members in _groups(parts):
        raw = _sum(members, count)
        counted = np.array([_counted(row, *one) for one in zip(raw.tolist(), dampener.tolist(), strict=True)], np.int64)
        lines.append((engine.definitions.instrument_ids[slot], counted - raw))
        total += counted
    at = int(np.argmin(total))
    found = [Contribution(one.name, one.kind, -int(one.profits[at]) * BPS) for one in parts]
    what = "dampener and share of gains" if row["model"] == GRID else "share of gains"
    found += [Contribution(f"{what}: {name}", "line", -int(off[at]) * BPS) for name, off in lines if off[at]]
    return [Tail("", _worst(total, made.labels), ((made.labels[at], BPS),))], _floored(found)


def _counted(row: Any, profit: int, dampener: int) -> int:
    """What a group's profit in a scenario counts as: engine.models.grid.add_pair, or a points rule's offset."""
    if row["model"] == POINTS:
        return profit if profit < 0 else profit * int(row["offset"]) // E9
    damped = profit - min(dampener, profit) if profit > 0 else profit + min(dampener, -profit)
    return min(damped, int(row["gain_cap"])) * int(row["gain_share"]) // E9 if damped > 0 else damped


def day_of(engine: MarginEngine) -> date:
    """The UTC day of the engine's clock."""
    return date_of(engine.clock_ns)

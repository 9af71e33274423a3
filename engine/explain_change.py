"""What changed an account's figures between two snapshots of its shard, in parts that sum exactly to the difference.

The account (with the other one of its agreement) is margined afresh in small engines of its own, by the kernels of every
other account: first with everything of then, then with one ingredient after the other of now, in the order of STEPS. What
the parts do not explain, as rates and rows follow their inputs with a delay, is a part of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec
import numpy as np

from engine.arithmetic import kernel
from engine.book import change_exposures, open_position
from engine.core import MarginEngine
from engine.documents import Agreement, AnyDocument, Rule, names_used, parse_document
from engine.events import RECORD, Kind
from engine.explain import positions
from engine.frames import Frame, FrameKind
from engine.numbers import MAX_TIME_NS
from engine.report import Quality
from engine.state import CHUNK, MARGIN_DUE, NONE, POSITIONS_DIRTY, VALUE_DIRTY, State, set_flags

STEPS: Final = ("positions", "prices", "volatility", "rules", "collateral", "cross-margin")
"""prices: marks, and the time that passed. rules: all documents but agreements, and which versions are in force."""
NOT_SEPARABLE: Final = "not separable"
_MARKET: Final = ("priced", "settled", "closed", "mark", "mark_ts_ns", "settlement")
_DUE: Final = POSITIONS_DIRTY | VALUE_DIRTY | MARGIN_DUE
Key = tuple[str, str]
Body = tuple[AnyDocument, bytes]


class Figures(NamedTuple):
    """Of an account, minor units of its currency."""

    equity: int
    initial: int
    maintenance: int

    def less(self, other: "Figures") -> "Figures":
        """The differences."""
        return Figures(*(a - b for a, b in zip(self, other, strict=True)))


class Moment(NamedTuple):
    """A snapshot: its log offset, its clock, and the account's figures as stored."""

    offset: int
    clock_ns: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Change:
    """Parts sum to now less then; the last one is NOT_SEPARABLE. notes: where an ingredient could not be isolated."""

    then: Moment
    now: Moment
    parts: tuple[tuple[str, Figures], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class World:
    """All that the figures of some accounts follow from, by ids; positions: (lots, cost, realized) micros.

    markets: the fields of _MARKET; volatilities: (value, ts_ns, basis points); agreed: (saving, agreed_ns).
    """

    accounts: tuple[str, ...]
    positions: dict[Key, tuple[int, int, int]]
    markets: dict[str, tuple[int, ...]]
    clock_ns: int
    volatilities: dict[tuple[str, int], tuple[int, int, int]]
    documents: tuple[Body, ...]
    in_force_ns: int  # rule versions that are effective later are not in force
    holdings: dict[Key, int]
    agreements: tuple[Body, ...]
    agreed: dict[str, tuple[int, int]]


def change(older: MarginEngine, newer: MarginEngine, account_id: str) -> Change:
    """Why an account's figures changed between two engines of one shard; ValueError: the older has no such account."""
    slot, before = newer.find_account(account_id), older.find_account(account_id)
    if slot is None or before is None:
        raise ValueError(f"account {account_id} was not defined at offset {(older if slot is not None else newer).offset}")
    now, then = _world(newer, _partners(newer, account_id)), _world(older, _partners(newer, account_id))
    then, notes = _with_what_is_new(then, now)
    worlds = [then, replace(then, positions=now.positions)]
    worlds.append(replace(worlds[-1], markets=now.markets, clock_ns=now.clock_ns))
    worlds.append(replace(worlds[-1], volatilities=now.volatilities))
    worlds.append(replace(worlds[-1], documents=now.documents, in_force_ns=now.in_force_ns))
    worlds.append(replace(worlds[-1], holdings=now.holdings))
    worlds.append(replace(worlds[-1], agreements=now.agreements, agreed=now.agreed))
    moments = _moment(older, before), _moment(newer, slot)
    known, parts = None, list[tuple[str, Figures]]()
    for step, world in zip(("then", *STEPS), worlds, strict=True):
        found = figures_in(world, newer, account_id)
        if isinstance(found, str):
            notes.append(f"{step}: {NOT_SEPARABLE}: {found}")
            continue
        if known is not None:
            parts.append((step, found.less(known)))
        known = found
    return Change(*moments, _with_rest(moments, parts), tuple(notes))


def _with_rest(moments: tuple[Moment, Moment], parts: list[tuple[str, Figures]]) -> tuple[tuple[str, Figures], ...]:
    rest = moments[1].figures.less(moments[0].figures)
    for _, part in parts:
        rest = rest.less(part)
    return (*parts, (NOT_SEPARABLE, rest))


def _moment(engine: MarginEngine, slot: int) -> Moment:
    row = engine.definitions.state.accounts.figures[slot]
    return Moment(engine.offset, engine.clock_ns, Figures(*(int(row[name]) for name in Figures._fields)))


def _partners(engine: MarginEngine, account_id: str) -> list[str]:
    """The account, and the other one of its agreement."""
    agreements = [d for d in engine.definitions.documents.values() if isinstance(d, Agreement)]
    pairs = [(d.futures_account, d.treasury_account) for d in agreements]
    return list(next((pair for pair in pairs if account_id in pair), (account_id,)))


def _world(engine: MarginEngine, accounts: Sequence[str]) -> World:
    d, state = engine.definitions, engine.definitions.state
    slots = [(name, slot) for name in accounts if (slot := engine.find_account(name)) is not None]
    bodies = [(parse_document(body), body) for body in d.applied]
    rows = state.volatilities[: int(state.now[0]["volatilities"])]
    names = [d.instrument_ids[int(row["underlying"])] for row in rows]
    return World(
        accounts=tuple(accounts),
        positions={key: found for name, slot in slots for key, found in _positions(engine, name, slot)},
        markets={name: tuple(int(state.instruments[i][f]) for f in _MARKET) for i, name in enumerate(d.instrument_ids)},
        clock_ns=engine.clock_ns,
        volatilities={
            (name, int(row["tenor"])): (int(row["value"]), int(row["ts_ns"]), int(row["basis_points"]))
            for name, row in zip(names, rows, strict=True)
        },
        documents=tuple(one for one in bodies if not isinstance(one[0], Agreement)),
        in_force_ns=engine.clock_ns,
        holdings={
            (name, d.asset_ids[asset]): int(state.accounts.holding[asset, slot])
            for name, slot in slots
            for asset in np.flatnonzero(state.accounts.holding[:, slot]).tolist()
        },
        agreements=tuple(one for one in bodies if isinstance(one[0], Agreement)),
        agreed={
            name: (int(state.agreements[at]["saving"]), int(state.agreements[at]["agreed_ns"]))
            for at, name in enumerate(d.portfolios.agreement_ids)
        },
    )  # fmt: skip


def _positions(engine: MarginEngine, name: str, account: int) -> list[tuple[Key, tuple[int, int, int]]]:
    d, book = engine.definitions, engine.definitions.state.book
    found = []
    for slot in positions(d.state, account):
        key = name, d.instrument_ids[int(book.chunk_instrument[slot // CHUNK])]
        found.append((key, (int(book.lots[slot]), int(book.position[slot]["cost"]), int(book.position[slot]["realized"]))))
    return found


def _with_what_is_new(then: World, now: World) -> tuple[World, list[str]]:
    """The world of then with what was not known then as it is now, so that positions of now can stand in it."""
    notes, markets, volatilities = list[str](), dict(now.markets), dict(now.volatilities)
    used = {instrument for (_, instrument), (lots, _, _) in now.positions.items() if lots}
    markets |= {name: one for name, one in then.markets.items() if one[0] or not now.markets[name][0]}
    if late := sorted(name for name in used if markets[name] != then.markets.get(name)):
        notes.append(f"prices: {', '.join(late)} had no mark then; that of now is used throughout")
    volatilities |= then.volatilities
    known = {_key(document) for document, _ in then.documents}
    new = [one for one in now.documents[len(then.documents) :] if _key(one[0]) not in known]
    return replace(then, markets=markets, volatilities=volatilities, documents=(*then.documents, *new)), notes


def _key(document: AnyDocument) -> Key:
    return document.kind, document.id


# Margining a world


@kernel
def _place(state: State, account: int, instrument: int, lots: int, cost: int, realized: int) -> None:
    slot, row = open_position(state, account, instrument), state.instruments[instrument]
    state.book.position[slot].cost, state.book.position[slot].realized = cost, realized
    state.book.lots[slot] = lots
    state.accounts.book[row.currency, account] += cost - realized
    change_exposures(state, account, row, 0, lots)


def figures_in(world: World, like: MarginEngine, account_id: str) -> Figures | str:
    """An account's figures in a world, margined afresh with the limits of an engine; a reason where it is unpriced."""
    bodies = _needed(world)
    engine = _opened(like, world, len(bodies))
    d = engine.definitions
    for body in bodies:
        d.define(body)
    _fill(d.state, engine, world)
    clock = np.zeros(1, RECORD)
    clock["kind"], clock["ts_ns"] = Kind.CLOCK, world.clock_ns
    engine.step(Frame(FrameKind.RECORDS, 0, 1, bytes.fromhex(engine.genesis.log_id), 1, 1, records=clock), 1)
    slot = d.account_slot(account_id)
    row = d.state.accounts.figures[slot]
    if row["quality"] == Quality.UNPRICED:
        held = {instrument for (name, instrument), (lots, _, _) in world.positions.items() if name == account_id and lots}
        why = [why for name, why in engine.builder.reasons.items() if name in held]
        return f"the account is UNPRICED{': ' * bool(why)}{'; '.join(why)}"
    return Figures(*(int(row[name]) for name in Figures._fields))


def _opened(like: MarginEngine, world: World, documents: int) -> MarginEngine:
    """An engine of its own with room for so many documents and the world's accounts and positions."""
    genesis, room = like.genesis, max(documents, 4)
    limits = msgspec.structs.replace(
        genesis.limits, accounts=room, positions=len(world.positions) + 1, ids=1,
        instruments=min(room, genesis.limits.instruments),
    )  # fmt: skip
    alone = msgspec.structs.replace(genesis, shards=1, start_ns=world.clock_ns, limits=limits)
    engine = MarginEngine(0)
    engine.step(Frame(FrameKind.GENESIS, 0, 1, bytes.fromhex(genesis.log_id), 1, 0, genesis=alone), 0)
    return engine


def _needed(world: World) -> list[bytes]:
    """The documents that the world's accounts need, in order; rule versions not in force yet are put off for ever."""
    parsed, accounts = (*world.documents, *world.agreements), set(world.accounts)
    wanted = {("asset", "USD")} | {("instrument", name) for _, name in world.positions}
    wanted |= {("asset", name) for _, name in world.holdings} | {("account", name) for name in accounts}
    legs = [(d, {d.futures_account, d.treasury_account}) for d, _ in parsed if isinstance(d, Agreement)]
    wanted |= {_key(d) for d, both in legs if both & accounts}
    names: dict[Key, set[Key]] = {}
    for document, _ in parsed:
        names.setdefault(_key(document), set()).update(_named(document))
    left = list(wanted)
    while left:
        more = names.get(left.pop(), set()) - wanted
        wanted |= more
        left += more
    chosen = [(d, body) for d, body in parsed if _key(d) in wanted]
    return [_put_off(d, at) if _is_later(d, world) else body for at, (d, body) in enumerate(chosen)]


def _named(document: AnyDocument) -> list[Key]:
    """All that a document names, the underlyings of a rule's spreads too."""
    legs = [leg for spread in document.parameters.spreads or [] for leg in spread.legs] if isinstance(document, Rule) else []
    return [*names_used(document), *(("instrument", leg.underlying) for leg in legs)]


def _is_later(document: AnyDocument, world: World) -> bool:
    return isinstance(document, Rule) and document.effective_ns > world.in_force_ns


def _put_off(document: AnyDocument, number: int) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(document, effective=MAX_TIME_NS - number))


def _fill(state: State, engine: MarginEngine, world: World) -> None:
    """Put markets, volatilities, positions, holdings and agreed savings into a state whose documents are defined."""
    d = engine.definitions
    for slot, name in enumerate(d.instrument_ids):
        for field, value in zip(_MARKET, world.markets[name], strict=True):
            state.instruments[slot][field] = value
    for (name, tenor), volatility in world.volatilities.items():
        slot = d.instrument_slot(name)
        if slot != NONE:
            at, row = int(state.now[0]["volatilities"]), state.instruments[slot]
            state.volatilities[at] = slot, row["volatilities"], tenor, *volatility
            row["volatilities"], state.now[0]["volatilities"] = at, at + 1
    for (account, name), (lots, cost, realized) in world.positions.items():
        _place(state, d.account_slot(account), d.instrument_slot(name), lots, cost, realized)
    for (account, name), amount in world.holdings.items():
        state.accounts.holding[d.asset_slot(name), d.account_slot(account)] = amount
    for at, name in enumerate(d.portfolios.agreement_ids):
        state.agreements[at]["saving"], state.agreements[at]["agreed_ns"] = world.agreed[name]
    for slot in range(engine.account_count):
        set_flags(state.accounts, slot, _DUE)

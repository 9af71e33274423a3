"""What statements say beside what accounts hold, which they never change: matched, broken or missing, and since when.

A statement breaks where its quantity differed from what the account held when it arrived; the break ends when both are the
same, or with a statement that matches. What an account holds and the latest run does not state is missing there: of the
run's holder if it stated it before, else of nobody in particular, if no holder ever did.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import kernel
from engine.book import find_position
from engine.definitions import Definitions
from engine.events import NS
from engine.state import NONE, State
from engine.statements import NOBODY, agrees, is_held

MOST_SHOWN: Final = 1000  # breaks listed, the oldest first
RUN_NS: Final = 600 * NS  # a run has so long before what it has not stated counts as missing


class BreakKind(IntEnum):
    """How a statement and what is held compare."""

    MATCHED = 0
    QUANTITY = 1
    MISSING_HERE = 2  # stated, not held
    MISSING_THERE = 3  # held; stated as none, or not stated by the holder's latest run


_MATCHED, _QUANTITY = int(BreakKind.MATCHED), int(BreakKind.QUANTITY)
_MISSING_HERE, _MISSING_THERE = int(BreakKind.MISSING_HERE), int(BreakKind.MISSING_THERE)
_NOTHING: Final = 4  # neither stated by the latest run nor held, or the run may still come to it


@dataclass(frozen=True, slots=True)
class Break:
    """A difference: quantities in 1e-8 units, since_ns the clock at which it was first seen, stated_ns 0 for never.

    holder: its id, "" for nobody in particular, its key in hex where no document names it.
    """

    account: str
    holder: str
    name: str  # of the instrument or asset
    is_asset: bool
    kind: BreakKind
    held: int
    stated: int
    since_ns: int
    stated_ns: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One shard's statements by BreakKind's names, since when its oldest break (0: none), and the oldest breaks."""

    ts_ns: int
    counts: dict[str, int]
    oldest_ns: int
    breaks: tuple[Break, ...]


@kernel
def _compare(state: State, kinds: NDArray[np.uint8], since_ns: NDArray[np.int64]) -> None:
    """By statement: its BreakKind or _NOTHING, and since when it breaks."""
    for i in range(state.now[0].statements):
        row = state.statements[i]
        held = is_held(state, row.account, row.slot, row.is_asset != 0)
        since_ns[i] = row.since_ns if row.gone_ns == 0 else row.gone_ns
        if row.gone_ns != 0:
            is_late = held and state.now[0].clock_ns >= row.gone_ns + RUN_NS
            kinds[i] = _MISSING_THERE if is_late else _NOTHING
        elif row.since_ns == 0 or agrees(state, row):
            kinds[i] = _MATCHED
        elif held and row.quantity != 0:
            kinds[i] = _QUANTITY
        else:
            kinds[i] = _MISSING_THERE if held else _MISSING_HERE


def reconciliation(
    state: State, definitions: Definitions, pool: int | None = None, most: int = MOST_SHOWN
) -> Reconciliation:
    """How statements and what is held compare now, of all accounts or of a pool's (its slot); nothing in the state changes.

    most: how many breaks are listed.
    """
    count = int(state.now[0]["statements"])
    kinds, since_ns = np.zeros(count, np.uint8), np.zeros(count, np.int64)
    _compare(state, kinds, since_ns)
    if pool is not None:
        kinds[state.accounts.pool[state.statements["account"][:count]] != pool] = _NOTHING
    broken = np.flatnonzero((kinds != _MATCHED) & (kinds != _NOTHING))
    broken = broken[np.argsort(since_ns[broken], kind="stable")]
    shown = [_break(state, definitions, i, int(kinds[i]), int(since_ns[i])) for i in broken[:most].tolist()]
    return Reconciliation(
        ts_ns=int(state.now[0]["clock_ns"]),
        counts={kind.name: int((kinds == kind).sum()) for kind in BreakKind},
        oldest_ns=int(since_ns[broken[0]]) if len(broken) else 0,
        breaks=tuple(shown),
    )


def _break(state: State, definitions: Definitions, i: int, kind: int, since_ns: int) -> Break:
    row = state.statements[i]
    account, item, is_asset, holder = (int(row[name]) for name in ("account", "slot", "is_asset", "holder"))
    if is_asset:
        own = int(state.accounts.holding[item, account])
        name, held = definitions.asset_ids[item], own * int(state.assets[item]["unit"])
    else:
        slot = int(find_position(state, account, item))
        lots = 0 if slot == NONE else int(state.book.lots[slot])
        name, held = definitions.instrument_ids[item], lots * int(state.instruments[item]["lot"])
    known = "" if holder == NOBODY else definitions.holder_ids.get(holder, f"{holder % 2**64:016x}")
    stated = 0 if row["gone_ns"] else int(row["quantity"])
    ids = definitions.account_ids[account], known, name
    return Break(*ids, bool(is_asset), BreakKind(kind), held, stated, since_ns, int(row["ts_ns"]))

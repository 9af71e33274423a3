"""Statements of clearing houses and custodians, kept beside what accounts hold; engine/reconciliation.py compares them.

Per holder, account and instrument (or asset) the last statement is kept. A run is what a holder states of an account's
instruments, or of its assets, with times on one day. A statement of a day before the latest run, or older than the one kept,
is superseded. Whether it differs from what the account holds is seen when it arrives.
"""

from typing import Any, Final

import numpy as np

from engine.arithmetic import kernel, part
from engine.book import find_position
from engine.codes import SUPERSEDED, Code
from engine.events import DAY_NS
from engine.state import CHUNK, NONE, State

NOBODY: Final = 0  # holder of what is held and never stated
_OK, _FULL_STATEMENTS = int(Code.OK), int(Code.FULL_STATEMENTS)


@part
def is_held(state: State, account: int, item: int, is_asset: bool) -> bool:
    if is_asset:
        return bool(state.accounts.holding[item, account] != 0)
    slot = find_position(state, account, item)
    return bool(slot != NONE and state.book.lots[slot] != 0)


@part
def agrees(state: State, row: Any) -> bool:
    """Whether an account holds exactly what was stated."""
    if row.is_asset:
        unit, held = state.assets[row.slot].unit, state.accounts.holding[row.slot, row.account]
    else:
        slot = find_position(state, row.account, row.slot)
        unit, held = state.instruments[row.slot].lot, np.int64(0 if slot == NONE else state.book.lots[slot])
    return bool(row.quantity % unit == 0 and row.quantity // unit == held)


@part
def _find(state: State, account: int, item: int, is_asset: bool, holder: int) -> int:
    """The account's statement of an item by a holder, or that nobody made; NONE."""
    i = state.accounts.first_statement[account]
    while i != NONE:
        row = state.statements[i]
        if row.slot == item and row.is_asset == is_asset and (row.holder == holder or row.holder == NOBODY):
            return int(i)
        i = row.next
    return NONE


@part
def _is_known(state: State, account: int, item: int, is_asset: bool) -> bool:
    """Whether there is a statement of an item by anybody."""
    i = state.accounts.first_statement[account]
    while i != NONE:
        row = state.statements[i]
        if row.slot == item and row.is_asset == is_asset:
            return True
        i = row.next
    return False


@part
def _add(state: State, account: int, item: int, is_asset: bool) -> int:
    """A new row of an account, for which there is room."""
    now = state.now[0]
    i = now.statements
    now.statements += 1
    row = state.statements[i]
    row.account, row.slot, row.is_asset = account, item, is_asset
    row.next, state.accounts.first_statement[account] = state.accounts.first_statement[account], i
    return int(i)


@part
def _miss(state: State, account: int, item: int, is_asset: bool, clock_ns: int) -> None:
    """Note that an item is held and was never stated; not where that would take the last row."""
    if state.now[0].statements + 1 < len(state.statements) and not _is_known(state, account, item, is_asset):
        state.statements[_add(state, account, item, is_asset)].gone_ns = clock_ns


@part
def _begin_run(state: State, account: int, is_asset: bool, holder: int, clock_ns: int) -> None:
    """Let all that is held, and that the holder or nobody stated so far, count as not stated from now on."""
    i = state.accounts.first_statement[account]
    while i != NONE:
        row = state.statements[i]
        if row.is_asset == is_asset and (row.holder == holder or row.holder == NOBODY):
            if row.gone_ns == 0 or not is_held(state, account, row.slot, is_asset):
                row.gone_ns = clock_ns
        i = row.next
    if is_asset:
        for j in range(state.now[0].assets):
            if state.accounts.holding[j, account] != 0:
                _miss(state, account, j, True, clock_ns)
        return
    slot = state.accounts.first_position[account]
    while slot != NONE:
        if state.book.lots[slot] != 0:
            _miss(state, account, state.book.chunk_instrument[slot // CHUNK], False, clock_ns)
        slot = state.book.next[slot]


# A kernel of its own: statements are few, and compiled into `apply` it would make that larger for all others.


@kernel
def take_statement(state: State, account: int, item: int, is_asset: bool, record: Any) -> int:
    """Keep what a holder (the record's price) states: OK, SUPERSEDED or FULL_STATEMENTS."""
    holder, today, latest = record.price, record.ts_ns // DAY_NS, -1
    clock_ns = max(state.now[0].clock_ns, 1)
    i = state.accounts.first_statement[account]
    while i != NONE:
        row = state.statements[i]
        if row.is_asset == is_asset and row.holder == holder:
            latest = max(latest, row.ts_ns // DAY_NS)
            if row.slot == item and record.ts_ns < row.ts_ns:
                return SUPERSEDED
        i = row.next
    if today < latest:
        return SUPERSEDED
    if _find(state, account, item, is_asset, holder) == NONE and state.now[0].statements >= len(state.statements):
        return _FULL_STATEMENTS
    if today > latest:
        _begin_run(state, account, is_asset, holder, clock_ns)
    i = _find(state, account, item, is_asset, holder)
    if i == NONE:
        i = _add(state, account, item, is_asset)
    row = state.statements[i]
    row.holder, row.quantity, row.ts_ns, row.gone_ns = holder, record.quantity, record.ts_ns, 0
    if agrees(state, row):
        row.since_ns = 0
    elif row.since_ns == 0:
        row.since_ns = clock_ns
    return _OK

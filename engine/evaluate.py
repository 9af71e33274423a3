"""Equity, status and quality of the accounts that a clock finds changed."""

from typing import Any

import numpy as np

from engine.arithmetic import E12, LIMIT, fits, kernel, mul_div_floor, part
from engine.book import MAX_SUM
from engine.calls import call_level, follow_calls, wake_calls, write_change
from engine.equity import account_equity
from engine.margin import rebuild_rates
from engine.prefetch import prefetch
from engine.report import ChangeKind, Quality, Status
from engine.requirement import account_requirement, is_margined, require_anew
from engine.revalue import revalue_assets, revalue_instruments
from engine.state import BLOCK, CALLS_PER_ACCOUNT, LINE, MARGIN_DUE, NONE, POSITIONS_DIRTY, VALUE_DIRTY, State

_OK, _WATCH, _CALL, _DEBIT = int(Status.OK), int(Status.WATCH), int(Status.CALL), int(Status.DEBIT)
_FRESH, _STALE, _UNPRICED = int(Quality.FRESH), int(Quality.STALE), int(Quality.UNPRICED)
CHANGES_PER_ACCOUNT = 3 + 2 * CALLS_PER_ACCOUNT  # status, quality and a call; of each open call money and age
_STATUS, _QUALITY = int(ChangeKind.STATUS), int(ChangeKind.QUALITY)


@part
def account_quality(state: State, account: int) -> int:
    """The worst quality among the inputs of an account: instruments it holds, assets it holds or owes, its own currency."""
    accounts, row = state.accounts, state.accounts.figures[account]
    own = row.asset
    if row.unpriced > 0 or state.assets[own].rate <= 0:
        return _UNPRICED
    quality = _STALE if row.stale > 0 else _FRESH
    for j in range(state.now[0].assets):
        asset = state.assets[j]
        used = accounts.holding[j, account] != 0 or own == j
        if asset.currency_slot != -1:
            value, book = accounts.value[asset.currency_slot, account], accounts.book[asset.currency_slot, account]
            used = used or value != 0 or book != 0
            if abs(value) >= MAX_SUM or abs(book) >= MAX_SUM or abs(value - book) >= MAX_SUM:
                return _UNPRICED
        if used:
            quality = max(quality, int(asset.quality))
    return quality


@part
def classify(equity: int, initial: int, maintenance: int) -> int:
    """Status by equity alone: 17 CFR 1.44(a) undermargined below maintenance, withdrawals only above initial."""
    if equity < 0:
        return _DEBIT
    if equity < maintenance:
        return _CALL
    return _WATCH if equity < initial else _OK


@part
def _figures(state: State, account: int, margins: bool) -> bool:
    """Requirement (if it is due) and equity with what follows from them; False, and nothing changed, where not exact."""
    row = state.accounts.figures[account]
    initial, maintenance = row.initial, row.maintenance
    if margins:
        initial, maintenance = account_requirement(state, account, 0), account_requirement(state, account, 1)
    equity, rate = account_equity(state, account, maintenance), state.assets[row.asset].rate
    if max(initial, maintenance, abs(equity)) >= LIMIT or not fits(equity - initial, rate, E12):
        return False
    excess_usd = mul_div_floor(equity - initial, rate, E12)
    if abs(excess_usd) >= LIMIT or abs(equity - initial) >= LIMIT:
        return False
    row.initial, row.maintenance, row.equity, row.excess_usd = initial, maintenance, equity, excess_usd
    row.call = initial - equity if equity < maintenance else 0
    return True


@part
def _evaluate(state: State, account: int, margins: bool, changes: Any, at: int) -> int:
    """Figures, calls, status and quality of one account; while UNPRICED the figures stay. Returns the next place."""
    accounts, row = state.accounts, state.accounts.figures[account]
    before, held = int(row.status), int(row.quality)
    quality = account_quality(state, account)
    if quality != _UNPRICED and not _figures(state, account, margins):
        quality = _UNPRICED
        if margins:
            accounts.flags[account] |= POSITIONS_DIRTY  # a requirement that cannot be held is tried again at every clock
    if quality == _UNPRICED:
        accounts.flags[account] &= POSITIONS_DIRTY | MARGIN_DUE
    else:
        accounts.flags[account] &= 0 if margins else MARGIN_DUE
    at = follow_calls(state, account, quality, changes, at)
    status = max(classify(row.equity, row.initial, row.maintenance), call_level(state, account))
    if status != before:
        row.status = status
        at = write_change(state, changes, at, account, _STATUS, before, status)
    if accounts.flags[account] != 0:
        accounts.changed[account // LINE] = 1
    if quality != held:
        row.quality = quality
        at = write_change(state, changes, at, account, _QUALITY, held, quality)
    accounts.touched[account] = 1
    return at


@part
def _pick(state: State, account: int, count: int) -> int:
    """Put an account whose flags say so among the picked ones, and ask for its memory; returns their number."""
    now, accounts, picked = state.now[0], state.accounts, state.picked
    margins = is_margined(state, account)
    if not margins and accounts.flags[account] & VALUE_DIRTY == 0:
        accounts.changed[account // LINE] = 1
        return count
    picked[0, count], picked[1, count], picked[2, count] = account, int(margins), NONE
    prefetch(accounts.figures, account)
    prefetch(accounts.touched, account)
    for j in range(now.assets):
        prefetch(accounts.holding[j], account)
    for c in range(now.currencies):
        prefetch(accounts.value[c], account)
        prefetch(accounts.book[c], account)
    return count + 1


@part
def _evaluate_picked(state: State, count: int, changes: Any, at: int) -> int:
    """Requirements of the picked accounts that are due, side by side, then all their figures."""
    accounts, book, picked = state.accounts, state.book, state.picked
    for i in range(count):
        account = picked[0, i]
        if picked[1, i] and accounts.flags[account] & MARGIN_DUE != 0 and accounts.figures[account].unpriced == 0:
            slot = accounts.first_position[account]
            picked[2, i] = slot
            if slot != NONE:
                prefetch(book.lots, slot)
                prefetch(book.next, slot)
    require_anew(state, picked, count)
    for i in range(count):
        at = _evaluate(state, picked[0, i], picked[1, i] != 0, changes, at)
    return at


@kernel
def evaluate_accounts(state: State, changes: Any) -> int:
    """Margin the accounts that are due, then evaluate those that changed; returns the number of changes.

    An account is margined at once when its positions changed, else at the first clock past its own phase. changes: CHANGE
    rows, CHANGES_PER_ACCOUNT per account at most.
    """
    accounts = state.accounts
    blocks, words = accounts.changed.view(np.uint64), accounts.flags.view(np.uint64)
    at = count = 0
    for eight in range(len(blocks)):
        if blocks[eight] == 0:
            continue
        for block in range(8 * eight, 8 * eight + 8):
            if accounts.changed[block] == 0:
                continue
            accounts.changed[block] = 0
            for word in range(8 * block, 8 * block + 8):
                if words[word] != 0:
                    for account in range(8 * word, 8 * word + 8):
                        if accounts.flags[account] != 0:
                            count = _pick(state, account, count)
            if count >= BLOCK:
                at = _evaluate_picked(state, count, changes, at)
                count = 0
    return _evaluate_picked(state, count, changes, at)


@kernel
def open_clock(state: State, ts_ns: int) -> int:
    """Move time on, revalue, and build margin rates; returns how many instruments wait for risk rows (engine/risk.py)."""
    now = state.now[0]
    now.passed_ns = max(0, ts_ns - now.clock_ns)
    now.clock_ns = max(now.clock_ns, ts_ns)
    wake_calls(state)
    revalue_instruments(state)
    revalue_assets(state)
    return rebuild_rates(state)

"""Equity, status and quality of the accounts that a clock finds changed."""

from typing import Any

import numpy as np

from engine.arithmetic import E6, E9, E12, LIMIT, fits, kernel, mul_div_floor, part
from engine.book import MAX_SUM
from engine.margin import rebuild_rates
from engine.prefetch import prefetch
from engine.report import ChangeKind, Quality, Status
from engine.requirement import account_requirement, is_margined, require_anew
from engine.revalue import revalue_assets, revalue_instruments
from engine.state import BLOCK, LINE, MARGIN_DUE, NONE, POSITIONS_DIRTY, VALUE_DIRTY, State

_OK, _WATCH, _CALL, _DEBIT = int(Status.OK), int(Status.WATCH), int(Status.CALL), int(Status.DEBIT)
_FRESH, _STALE, _UNPRICED = int(Quality.FRESH), int(Quality.STALE), int(Quality.UNPRICED)
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
def _cents(amount: int, rate: int) -> int:
    """US cents of minor units at a rate, from 0, rounded down; LIMIT where they are not below that."""
    return max(0, min(mul_div_floor(amount, rate, E12), LIMIT)) if fits(amount, rate, E12) else LIMIT


@part
def _within_limits(state: State, account: int, asset: int, amount: int, maintenance: int) -> int:
    """Of an asset's minor units after its haircut, those within cap and share of its entry; LIMIT out of range.

    Assets of one entry share them, the first ones first, as in margin_lines (engine/models/collateral.py). A share is of
    maintenance, what a clearing house requires: at CME letters of credit cover up to 25 % of it (crypto.md 1.2 [P]).
    """
    accounts, assets, terms = state.accounts, state.assets, state.terms[state.accounts.pool[account]]
    limits, rate = terms[asset], assets[asset].rate
    room = limits.cap
    if limits.share != NONE:
        required = _cents(maintenance, assets[accounts.figures[account].asset].rate)
        if required >= LIMIT:
            return LIMIT
        room = min(room, mul_div_floor(required, limits.share, E9))
    for j in range(limits.entry, asset):
        if terms[j].entry == limits.entry and accounts.holding[j, account] > 0:
            worth = _cents(mul_div_floor(accounts.holding[j, account], E9 - terms[j].haircut, E9), assets[j].rate)
            room -= min(room, worth)
    if rate <= 0 or _cents(amount, rate) <= room or not fits(room, E12, rate):
        return amount
    return min(amount, mul_div_floor(room, E12, rate))


@part
def margin_amount(state: State, account: int, asset: int, maintenance: int) -> int:
    """Of what an account holds of an asset, what its pool counts: minor units of the asset, rounded down.

    maintenance: what the account requires, minor units of its currency.
    """
    held, terms = state.accounts.holding[asset, account], state.terms[state.accounts.pool[account], asset]
    if held <= 0:
        return int(held)
    amount = mul_div_floor(held, E9 - terms.haircut, E9)
    return amount if terms.entry == NONE else _within_limits(state, account, asset, amount, maintenance)


@part
def account_equity(state: State, account: int, maintenance: int) -> int:
    """Net liquidating value and haircut collateral in minor units of the account's currency, each asset rounded down.

    LIMIT where it, or what it consists of, is not below that. maintenance: as margin_amount takes it.
    """
    accounts, into, total = state.accounts, state.accounts.figures[account].asset, 0
    for j in range(state.now[0].assets):
        row = state.assets[j]
        amount = margin_amount(state, account, j, maintenance)
        if row.currency_slot != -1:
            amount += (accounts.value[row.currency_slot, account] - accounts.book[row.currency_slot, account]) // E6
        if amount != 0:
            if j != into:
                rate = state.assets[into].rate
                amount = mul_div_floor(amount, row.rate, rate) if fits(amount, row.rate, rate) else LIMIT
            if abs(amount) >= LIMIT or abs(total + amount) >= LIMIT:
                return LIMIT
            total += amount
    return total


@part
def classify(equity: int, initial: int, maintenance: int) -> int:
    """Status by equity alone: 17 CFR 1.44(a) undermargined below maintenance, withdrawals only above initial."""
    if equity < 0:
        return _DEBIT
    if equity < maintenance:
        return _CALL
    return _WATCH if equity < initial else _OK


@part
def _change(state: State, changes: Any, at: int, account: int, kind: int, before: int, after: int) -> int:
    row, figures = changes[at], state.accounts.figures[account]
    figures.change += 1
    row.account, row.kind, row.before, row.after = account, kind, before, after
    row.change, row.amount, row.equity = figures.change, figures.call, figures.equity
    row.initial, row.maintenance = figures.initial, figures.maintenance
    row.ts_ns = state.now[0].clock_ns
    return at + 1


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
    """Figures, status and quality of one account; while UNPRICED the first two stay. Returns the next change's place."""
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
        status = classify(row.equity, row.initial, row.maintenance)
        if status != before:
            row.status = status
            at = _change(state, changes, at, account, _STATUS, before, status)
    if accounts.flags[account] != 0:
        accounts.changed[account // LINE] = 1
    if quality != held:
        row.quality = quality
        at = _change(state, changes, at, account, _QUALITY, held, quality)
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
    rows, two per account at most.
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
    revalue_instruments(state)
    revalue_assets(state)
    return rebuild_rates(state)

"""Equity, status and quality of the accounts that a clock finds changed."""

from typing import Any

from engine.arithmetic import E6, E9, E12, LIMIT, fits, kernel, mul_div_floor, part
from engine.book import MAX_SUM
from engine.margin import account_requirement, rebuild_rates
from engine.report import ChangeKind, Quality, Status
from engine.revalue import revalue_assets, revalue_instruments
from engine.state import MARGIN_DUE, POSITIONS_DIRTY, VALUE_DIRTY, State

_OK, _WATCH, _CALL, _DEBIT = int(Status.OK), int(Status.WATCH), int(Status.CALL), int(Status.DEBIT)
_FRESH, _STALE, _UNPRICED = int(Quality.FRESH), int(Quality.STALE), int(Quality.UNPRICED)
_STATUS, _QUALITY = int(ChangeKind.STATUS), int(ChangeKind.QUALITY)


@part
def account_quality(state: State, account: int) -> int:
    """The worst quality among the inputs of an account: instruments it holds, assets it holds or owes, its own currency."""
    accounts, own = state.accounts, state.accounts.asset[account]
    if accounts.unpriced[account] > 0 or state.assets[own].rate <= 0:
        return _UNPRICED
    quality = _STALE if accounts.stale[account] > 0 else _FRESH
    for j in range(state.now[0].assets):
        row = state.assets[j]
        used = accounts.holding[j, account] != 0 or own == j
        if row.currency_slot != -1:
            value, book = accounts.value[row.currency_slot, account], accounts.book[row.currency_slot, account]
            used = used or value != 0 or book != 0
            if abs(value) >= MAX_SUM or abs(book) >= MAX_SUM or abs(value - book) >= MAX_SUM:
                return _UNPRICED
        if used:
            quality = max(quality, int(row.quality))
    return quality


@part
def account_equity(state: State, account: int) -> int:
    """Net liquidating value and haircut collateral in minor units of the account's currency, each asset rounded down.

    LIMIT where it, or what it consists of, is not below that.
    """
    accounts, into = state.accounts, state.accounts.asset[account]
    total = 0
    for j in range(state.now[0].assets):
        row = state.assets[j]
        amount = accounts.holding[j, account]
        if amount > 0:
            amount = mul_div_floor(amount, E9 - row.haircut, E9)
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
    state.accounts.change[account] += 1
    row = changes[at]
    row.account, row.kind, row.before, row.after = account, kind, before, after
    accounts = state.accounts
    row.change, row.amount, row.equity = accounts.change[account], accounts.call[account], accounts.equity[account]
    row.initial, row.maintenance = accounts.initial[account], accounts.maintenance[account]
    row.ts_ns = state.now[0].clock_ns
    return at + 1


@part
def _figures(state: State, account: int, margins: bool) -> bool:
    """Requirement (if it is due) and equity with what follows from them; False, and nothing changed, where not exact."""
    accounts = state.accounts
    initial, maintenance = accounts.initial[account], accounts.maintenance[account]
    if margins:
        initial, maintenance = account_requirement(state, account)
    equity, rate = account_equity(state, account), state.assets[accounts.asset[account]].rate
    if max(initial, maintenance, abs(equity)) >= LIMIT or not fits(equity - initial, rate, E12):
        return False
    excess_usd = mul_div_floor(equity - initial, rate, E12)
    if abs(excess_usd) >= LIMIT or abs(equity - initial) >= LIMIT:
        return False
    accounts.initial[account], accounts.maintenance[account], accounts.equity[account] = initial, maintenance, equity
    accounts.call[account] = initial - equity if equity < maintenance else 0
    accounts.excess_usd[account] = excess_usd
    return True


@part
def _evaluate(state: State, account: int, margins: bool, changes: Any, at: int) -> int:
    """Figures, status and quality of one account; while UNPRICED the first two stay. Returns the next change's place."""
    accounts = state.accounts
    before, held = int(accounts.status[account]), int(accounts.quality[account])
    quality = account_quality(state, account)
    if quality != _UNPRICED and not _figures(state, account, margins):
        quality = _UNPRICED
    if quality == _UNPRICED:
        accounts.flags[account] &= POSITIONS_DIRTY | MARGIN_DUE
    else:
        accounts.flags[account] &= 0 if margins else MARGIN_DUE
        status = classify(accounts.equity[account], accounts.initial[account], accounts.maintenance[account])
        if status != before:
            accounts.status[account] = status
            at = _change(state, changes, at, account, _STATUS, before, status)
    if quality != held:
        accounts.quality[account] = quality
        at = _change(state, changes, at, account, _QUALITY, held, quality)
    accounts.touched[account] = 1
    return at


@kernel
def evaluate_accounts(state: State, passed_ns: int, changes: Any) -> int:
    """Margin the accounts that are due, then evaluate those that changed; returns the number of changes.

    passed_ns: since the clock before. An account is margined at once when its positions changed, else at the first clock
    past its own phase. changes: CHANGE rows, two per account at most.
    """
    now, accounts = state.now[0], state.accounts
    window = now.spread_ns
    into = now.clock_ns % window
    at = 0
    for account in range(now.accounts):
        flags = int(accounts.flags[account])
        if flags == 0:
            continue
        since = into - accounts.phase_ns[account]
        if since < 0:
            since += window
        margins = flags & POSITIONS_DIRTY != 0 or (flags & MARGIN_DUE != 0 and since < passed_ns)
        if not margins and flags & VALUE_DIRTY == 0:
            continue
        at = _evaluate(state, account, margins, changes, at)
    return at


@kernel
def run_clock(state: State, ts_ns: int, changes: Any) -> int:
    """Everything a clock does after rules were bound; returns the number of CHANGE rows written."""
    now = state.now[0]
    passed_ns = max(0, ts_ns - now.clock_ns)
    now.clock_ns = max(now.clock_ns, ts_ns)
    revalue_instruments(state)
    revalue_assets(state)
    rebuild_rates(state)
    return evaluate_accounts(state, passed_ns, changes)

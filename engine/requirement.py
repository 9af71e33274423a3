"""What positions require: of one, of an account as its positions change, and of accounts margined anew."""

from typing import Any

from engine.arithmetic import E6, E9, LIMIT, add_up, mul_div_up, part
from engine.prefetch import prefetch
from engine.state import (
    CHUNK,
    MARGIN_DUE,
    MAX_TIERS,
    NO_RULE,
    NONE,
    PORTFOLIO,
    POSITIONS_DIRTY,
    TIERED,
    MarginState,
    State,
)


@part
def _tiered(tiers: Any, notional: int, initial: bool) -> int:
    """The requirement of a notional (minor units): each part between two tiers at its own rate, each rounded up."""
    total = 0
    for t in range(MAX_TIERS):
        above = tiers[t].above
        if t > 0 and above == 0:
            break
        upper = notional
        if t + 1 < MAX_TIERS and tiers[t + 1].above != 0:
            upper = min(notional, tiers[t + 1].above)
        if upper > above:
            rate = tiers[t].initial if initial else tiers[t].maintenance
            total = add_up(total, mul_div_up(upper - above, rate, E9))
    return total


@part
def position_requirement(state: State, row: Any, lots: int, initial: bool) -> int:
    """Minor units of the instrument's currency that a position of so many lots requires alone, rounded up."""
    if row.model == NO_RULE or row.model == PORTFOLIO or lots == 0:
        return 0
    if row.model == TIERED:
        notional = mul_div_up(abs(lots), row.built_value, E6)
        return LIMIT if notional >= LIMIT else _tiered(state.tiers[row.tiers], notional, initial)
    rate = row.initial_rate if initial else row.maintenance_rate
    return LIMIT if rate >= LIMIT else mul_div_up(abs(lots), rate, E6)


@part
def follow_position(state: State, account: int, row: Any, before: int, after: int) -> bool:
    """Let the requirement of an account that is not MARGIN_DUE follow a position; False where it must be margined anew.

    That is where the instrument's rates no longer are what the sum was built from, where its positions are margined
    together with others, and where the sum may be inexact.
    """
    if row.switched or row.model == PORTFOLIO:
        return False
    required = state.accounts.required
    for level in range(2):
        held = position_requirement(state, row, before, level == 0)
        needed = position_requirement(state, row, after, level == 0)
        total = int(required[row.currency, account, level])
        if max(total, held, needed, total - held + needed) >= LIMIT:
            return False
        required[row.currency, account, level] = total - held + needed
    return True


@part
def require(state: State, account: int, slot: int) -> None:
    """Add what the position in a slot requires to the account's sums; LIMIT where they are not below that."""
    lots = int(state.book.lots[slot])
    if lots != 0:
        required, row = state.accounts.required, state.instruments[state.book.chunk_instrument[slot // CHUNK]]
        for level in range(2):
            needed = position_requirement(state, row, lots, level == 0)
            required[row.currency, account, level] = add_up(required[row.currency, account, level], needed)


@part
def require_anew(state: State, picked: Any, count: int) -> None:
    """The requirements of those of the first `count` picked accounts that are to be walked, at the rates in force.

    picked: (account, whether it is margined, the position it is walked from or NONE). They are walked side by side, so
    that their waiting for memory overlaps.
    """
    book, required, left = state.book, state.accounts.required, 0
    for i in range(count):
        if picked[2, i] != NONE:
            left += 1
            for c in range(state.now[0].currencies):
                required[c, picked[0, i], 0] = required[c, picked[0, i], 1] = 0
    while left > 0:
        left = 0
        for i in range(count):
            slot = picked[2, i]
            if slot == NONE:
                continue
            require(state, picked[0, i], slot)
            slot = book.next[slot]
            picked[2, i] = slot
            if slot != NONE:
                left += 1
                prefetch(book.lots, slot)
                prefetch(book.next, slot)


@part
def is_margined(state: State | MarginState, account: int) -> bool:
    """Whether an account that has flags is margined at this clock: its positions changed, or it is due past its phase."""
    now, accounts, flags = state.now[0], state.accounts, int(state.accounts.flags[account])
    if flags & POSITIONS_DIRTY != 0 or flags & MARGIN_DUE == 0:
        return flags & POSITIONS_DIRTY != 0
    since = now.clock_ns % now.spread_ns - accounts.phase_ns[account]
    return bool(since + (now.spread_ns if since < 0 else 0) < now.passed_ns)


@part
def convert_up(state: State, amount: int, asset: int, into: int) -> int:
    """An amount of one currency in another's minor units, rounded up; LIMIT where either is not below that."""
    if asset == into or amount >= LIMIT:
        return amount
    return mul_div_up(amount, state.assets[asset].rate, state.assets[into].rate)


@part
def account_requirement(state: State, account: int, level: int) -> int:
    """Initial (level 0) or maintenance (1) of an account: its sums per currency, converted; LIMIT where not below that."""
    accounts, total, into = state.accounts, 0, state.accounts.figures[account].asset
    for c in range(state.now[0].currencies):
        amount = accounts.required[c, account, level]
        if state.now[0].portfolios > 0:
            amount = add_up(amount, accounts.together[c, account, level])
        if amount != 0:
            total = add_up(total, convert_up(state, amount, state.currencies[c], into))
    return total

"""What an account's money and collateral are worth as margin, minor units of its currency, rounded down."""

from engine.arithmetic import E6, E9, E12, LIMIT, fits, mul_div_floor, part
from engine.state import State


@part
def margin_amount(state: State, pool: int, asset: int, held: int) -> int:
    """Of what is held of an asset, what the pool counts after haircut and cap: minor units of the asset, rounded down."""
    if held <= 0:
        return held
    amount, cap, rate = (
        mul_div_floor(held, E9 - state.haircuts[pool, asset], E9),
        state.caps[pool, asset],
        state.assets[asset].rate,
    )
    if cap != 0 and rate > 0 and (not fits(amount, rate, E12) or mul_div_floor(amount, rate, E12) > cap):
        return min(amount, mul_div_floor(cap, E12, rate)) if fits(cap, E12, rate) else amount
    return amount


@part
def money_in(state: State, account: int, asset: int, before: int, after: int) -> int:
    """Minor units of the account's currency, down, that a holding's change adds as margin; 0 without a rate."""
    pool, into = state.accounts.pool[account], state.accounts.figures[account].asset
    amount = margin_amount(state, pool, asset, after) - margin_amount(state, pool, asset, before)
    if asset != into and amount != 0:
        own, rate = state.assets[into].rate, state.assets[asset].rate
        amount = mul_div_floor(amount, rate, own) if own > 0 and rate > 0 and fits(amount, rate, own) else 0
    return amount


@part
def account_equity(state: State, account: int) -> int:
    """Net liquidating value and haircut collateral in minor units of the account's currency, each asset rounded down.

    LIMIT where it, or what it consists of, is not below that.
    """
    accounts, into = state.accounts, state.accounts.figures[account].asset
    total, pool = 0, accounts.pool[account]
    for j in range(state.now[0].assets):
        row = state.assets[j]
        amount = margin_amount(state, pool, j, accounts.holding[j, account])
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

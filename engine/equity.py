"""What an account's money and collateral are worth as margin, minor units of its currency, rounded down."""

from engine.arithmetic import E6, E9, E12, LIMIT, fits, mul_div_floor, part
from engine.state import NONE, State


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
def hold(state: State, account: int, asset: int, total: int) -> int:
    """Set what an account holds of an asset, and give by how much more that counts as margin at the last rates.

    Minor units of the account's currency, rounded down; 0 where the asset or the currency has no rate.
    """
    row = state.accounts.figures[account]
    before = margin_amount(state, account, asset, row.maintenance)
    state.accounts.holding[asset, account] = total
    after = margin_amount(state, account, asset, row.maintenance)
    amount = after - before if max(before, after) < LIMIT else 0
    if asset != row.asset and amount != 0:
        own, rate = state.assets[row.asset].rate, state.assets[asset].rate
        amount = mul_div_floor(amount, rate, own) if own > 0 and rate > 0 and fits(amount, rate, own) else 0
    return amount

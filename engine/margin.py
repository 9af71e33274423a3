"""Margin rates per lot, built from marks and volatilities, and the requirement of an account's positions."""

from typing import Any

from engine.apply import find_volatility
from engine.arithmetic import E6, E9, LIMIT, add_up, kernel, mul_div_up, part
from engine.report import Quality
from engine.state import CHUNK, FLAT, MARGIN_DUE, MAX_TIERS, NO_RULE, NONE, TIERED, VOLATILITY, State

BPS = 10_000
_UNPRICED = int(Quality.UNPRICED)


@part
def _moved(value: int, built: int, bps: int) -> bool:
    """Whether a value moved by at least so many basis points of what it was."""
    return value != built and abs(value - built) >= mul_div_up(abs(built), bps, BPS)


@part
def _build(row: Any, volatility: int, basis_points: int, clock_ns: int) -> None:
    """Margin rates of one lot in micros, rounded up, at the instrument's lot value and this volatility.

    The volatility rule: the larger of a floor and factor x volatility x price (x DV01 where the volatility is in basis
    points a day), factor = multiple x sqrt(days / days a year).
    """
    if row.model == FLAT:
        row.maintenance_rate, row.initial_rate = row.flat_maintenance, row.flat_initial
    elif row.model == VOLATILITY:
        if basis_points:
            base, factor = mul_div_up(abs(row.dv01), volatility, E9), row.factor_bp
        else:
            base, factor = mul_div_up(abs(row.lot_value), volatility, E9), row.factor
        row.maintenance_rate = max(row.floor, mul_div_up(base, factor, E9))
        row.initial_rate = mul_div_up(row.maintenance_rate, row.initial_ratio, E9)
    row.built_value = abs(row.lot_value)
    row.built_mark, row.built_volatility, row.built_unit, row.built_ns = row.mark, volatility, basis_points, clock_ns
    row.built, row.switched = 1, 0


@part
def _mark_due(state: State, instrument: int) -> None:
    """Every holder of a rebuilt instrument is to be margined again at its own phase."""
    book, row, flags = state.book, state.instruments[instrument], state.accounts.flags
    chunk = row.first_chunk
    while chunk != NONE:
        first = chunk * CHUNK
        used = row.last_used if chunk == row.last_chunk else CHUNK
        for slot in range(first, first + used):
            if book.lots[slot] != 0:
                flags[book.account[slot]] |= MARGIN_DUE
        chunk = book.chunk_next[chunk]


@kernel
def rebuild_rates(state: State) -> None:
    """Build the margin rates of instruments whose inputs moved past the threshold, whose rule changed, or that are due."""
    now = state.now[0]
    for i in range(now.instruments):
        row = state.instruments[i]
        if row.closed or row.quality == _UNPRICED:
            continue
        volatility, basis_points = 0, 0
        if row.model == VOLATILITY:
            at = find_volatility(state, row.underlying, row.tenor)
            volatility, basis_points = state.volatilities[at].value, state.volatilities[at].basis_points
        differs = row.mark != row.built_mark or volatility != row.built_volatility or basis_points != row.built_unit
        if (
            not row.built
            or row.switched
            or (differs and now.clock_ns - row.built_ns >= now.rebuild_ns)
            or _moved(row.mark, row.built_mark, now.rebuild_bps)
            or _moved(volatility, row.built_volatility, now.rebuild_bps)
        ):
            _build(row, volatility, basis_points, now.clock_ns)
            _mark_due(state, i)


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
    """Minor units of the instrument's currency that a position of so many lots requires, rounded up."""
    if row.model == NO_RULE:
        return 0
    if row.model == TIERED:
        notional = mul_div_up(abs(lots), row.built_value, E6)
        return LIMIT if notional >= LIMIT else _tiered(state.tiers[row.tiers], notional, initial)
    rate = row.initial_rate if initial else row.maintenance_rate
    return LIMIT if rate >= LIMIT else mul_div_up(abs(lots), rate, E6)


@part
def convert_up(state: State, amount: int, asset: int, into: int) -> int:
    """An amount of one currency in another's minor units, rounded up."""
    if asset == into:
        return amount
    return mul_div_up(amount, state.assets[asset].rate, state.assets[into].rate)


@part
def account_requirement(state: State, account: int) -> tuple[int, int]:
    """Initial and maintenance of an account: positions summed per currency, then converted; LIMIT where not below that."""
    book, accounts, sums = state.book, state.accounts, state.sums
    for c in range(state.now[0].currencies):
        sums[0, c] = sums[1, c] = 0
    slot = accounts.first_position[account]
    while slot != NONE:
        lots = book.lots[slot]
        if lots != 0:
            row = state.instruments[book.chunk_instrument[slot // CHUNK]]
            sums[0, row.currency] = add_up(sums[0, row.currency], position_requirement(state, row, lots, True))
            sums[1, row.currency] = add_up(sums[1, row.currency], position_requirement(state, row, lots, False))
        slot = book.position[slot].next
    initial, maintenance, into = 0, 0, accounts.asset[account]
    for c in range(state.now[0].currencies):
        if sums[0, c] != 0:
            initial = add_up(initial, convert_up(state, sums[0, c], state.currencies[c], into))
        if sums[1, c] != 0:
            maintenance = add_up(maintenance, convert_up(state, sums[1, c], state.currencies[c], into))
    return initial, maintenance

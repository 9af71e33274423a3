"""Add-ons to what a portfolio requires, each a line: liquidity, volatility, procyclicality, closures, funding, depeg."""

from enum import IntEnum
from typing import Any

from engine.arithmetic import E6, E9, LIMIT, add_up, mul_div_floor, mul_div_up, part
from engine.models.addons import (
    buffer_used,
    closure_gap,
    depeg,
    funding,
    liquidity,
    procyclicality_buffer,
    volatility_buffer,
)  # fmt: skip
from engine.state import MarginState


class Line(IntEnum):
    """The lines of a portfolio's requirement, in the order in which they are worked out."""

    RISK = 0  # the model's scenarios
    FLOOR = 1  # what the floor adds to them
    SPREAD = 2  # calendar charges less credits between commodities
    MINIMUM = 3  # what the minimum per option or contract adds
    ROLL = 4  # roll shock of the grid
    DELTA = 5  # delta shock of the grid
    CROSS = 6  # what cross-margin takes off
    LIQUIDITY = 7  # positions that take longer to close than the horizon
    REGIME = 8  # short volatility above its long-run band
    BUFFER = 9  # anti-procyclicality, used up as volatility rises
    GAP = 10  # a closure such as a weekend, in it and ahead of it
    FUNDING = 11  # what perpetuals expect to pay
    HOUSE = 12  # the multiplier on all of these
    DEPEG = 13  # a stablecoin held that is off its peg; the multiplier is on it too


_LIQUIDITY, _REGIME, _BUFFER, _GAP = int(Line.LIQUIDITY), int(Line.REGIME), int(Line.BUFFER), int(Line.GAP)
_FUNDING, _HOUSE, _DEPEG = int(Line.FUNDING), int(Line.HOUSE), int(Line.DEPEG)


@part
def _of_positions(state: MarginState, row: Any, end: int) -> tuple[int, int]:
    """(liquidity, funding) of the selected positions, minor units."""
    slow = paid = 0
    for i in range(end):
        lots, held = state.risk.mine_lots[i], state.instruments[state.risk.mine_row[i]]
        if row.participation > 0:
            alone = mul_div_up(abs(lots), held.unit_risk, E6)
            slow = add_up(slow, liquidity(alone, lots, held.volume, row.participation, row.horizon_days))
        if row.fundings > 0:
            value = mul_div_up(abs(lots), held.gross, E6)
            paid = add_up(paid, funding(value if lots > 0 else -value, held.funding_rate, row.fundings))
    return slow, paid


@part
def _off_peg(state: MarginState, row: Any, account: int) -> int:
    """Minor units that the account is charged for the rule's stablecoin, held at par; LIMIT out of range.

    What moves in the scenarios is charged there. Profits of positions in the coin are settled into the holding.
    """
    held, into = state.accounts.holding[row.depeg_asset, account], state.assets[row.asset].rate
    terms = state.terms[state.accounts.pool[account], row.depeg_asset]
    if held <= 0 or terms.shock != 0:
        return 0
    value = mul_div_up(held, row.depeg_par, into) if into > 0 else LIMIT
    return LIMIT if value >= LIMIT else depeg(value, row.depeg_share, mul_div_floor(value, terms.haircut, E9))


@part
def add_charges(state: MarginState, row: Any, account: int, end: int, base: int) -> int:
    """The requirement with the rule's add-ons on a base, each left in its line; LIMIT where not below that."""
    lines = state.risk.lines
    lines[_LIQUIDITY], lines[_FUNDING] = _of_positions(state, row, end)
    if row.charge > 0:
        lines[_REGIME] = volatility_buffer(base, row.short_volatility, row.long_volatility, row.low, row.high, row.charge)[0]
    if row.buffer > 0:
        used = buffer_used(row.short_volatility, row.long_volatility, row.buffer)
        lines[_BUFFER] = procyclicality_buffer(base, row.buffer, used)
    if row.gap > 0:
        lines[_GAP] = closure_gap(base, row.closure_ns, row.least_ns, row.gap)
    if row.off_peg:
        lines[_DEPEG] = _off_peg(state, row, account)
    total = add_up(base, lines[_DEPEG])
    for i in range(_LIQUIDITY, _HOUSE):
        total = add_up(total, lines[i])
    if total >= LIMIT:
        return LIMIT
    lines[_HOUSE] = mul_div_up(total, row.multiplier - E9, E9)
    return add_up(total, lines[_HOUSE])

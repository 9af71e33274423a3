"""Add-ons to what a portfolio requires, each a line: liquidity, volatility, anti-procyclicality, closures, funding."""

from enum import IntEnum
from typing import Any

from engine.arithmetic import E6, E9, LIMIT, add_up, mul_div_up, part
from engine.models.addons import buffer_used, closure_gap, funding, liquidity, procyclicality_buffer, volatility_buffer
from engine.state import MarginState


class Line(IntEnum):
    """The lines of a portfolio's requirement, in the order in which they are worked out."""

    RISK = 0  # the model's scenarios
    FLOOR = 1  # what the floor adds to them
    SPREAD = 2  # calendar charges less credits between commodities
    MINIMUM = 3  # what the minimum of the portfolio, per option or contract adds
    ROLL = 4  # roll shock of the grid
    DELTA = 5  # delta shock of the grid
    CROSS = 6  # what cross-margin takes off
    LIQUIDITY = 7  # positions that take longer to close than the horizon
    REGIME = 8  # short volatility above its long-run band
    BUFFER = 9  # anti-procyclicality, used up as volatility rises
    GAP = 10  # a closure such as a weekend, in it and ahead of it
    FUNDING = 11  # what perpetuals expect to pay
    HOUSE = 12  # the multiplier on all of these


_LIQUIDITY, _REGIME, _BUFFER, _GAP = int(Line.LIQUIDITY), int(Line.REGIME), int(Line.BUFFER), int(Line.GAP)
_FUNDING, _HOUSE = int(Line.FUNDING), int(Line.HOUSE)


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
def add_charges(state: MarginState, row: Any, end: int, base: int) -> int:
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
    total = base
    for i in range(_LIQUIDITY, _HOUSE):
        total = add_up(total, lines[i])
    if total >= LIMIT:
        return LIMIT
    lines[_HOUSE] = mul_div_up(total, row.multiplier - E9, E9)
    return add_up(total, lines[_HOUSE])

"""An account's positions as scenario vectors: gathered by portfolio, multiplied with the rows, collateral beside them.

Vectors are int64 in units of 1e-4 minor units of the rule's currency. Scratch lies in `state.risk`.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E6, E9, LIMIT, SURELY_FITS, add_up, fits, kernel, mul_div_floor, mul_div_up, part
from engine.models import historical
from engine.models.collateral import Shock
from engine.models.rows import FINEST, Rows, portfolio_vector
from engine.state import CHUNK, MAX_SHOCKS, NONE, PORTFOLIO, MarginState, State

UNITS: Final = 10**FINEST  # in one minor unit
_BEYOND = int(Shock.BEYOND)


@part
def gather(state: MarginState, account: int) -> tuple[int, int]:
    """Put the account's positions under portfolio rules into risk.row and risk.lots: (how many, bit p for portfolio p).

    That in which its collateral moves, if any does, is left in risk.moving, and is there too where it has no position.
    """
    risk, count, portfolios = state.risk, 0, 0
    slot = state.accounts.first_position[account]
    while slot != NONE:
        lots = state.book.lots[slot]
        if lots != 0:
            instrument = state.book.chunk_instrument[slot // CHUNK]
            row = state.instruments[instrument]
            if row.model == PORTFOLIO:
                risk.row[count], risk.lots[count] = instrument, lots
                count += 1
                portfolios |= 1 << row.portfolio
        slot = state.book.next[slot]
    pool = state.accounts.pool[account]
    risk.moving[0] = NONE
    for j in range(state.now[0].assets):
        if state.terms[pool, j].shock != 0 and state.accounts.holding[j, account] != 0:
            risk.moving[0] = moving_in(state, pool, portfolios)
            portfolios |= 1 << risk.moving[0]
            break
    return count, portfolios


@part
def moving_in(state: State | MarginState, pool: int, portfolios: int) -> int:
    """Where collateral of a pool moves: the first portfolio that it names among those with positions, else the first of all.

    portfolios: bit p for portfolio p.
    """
    for k in range(MAX_SHOCKS):
        portfolio = state.shocks[pool, k]
        if portfolio == NONE:
            break
        if portfolios >> portfolio & 1:
            return int(portfolio)
    return int(state.shocks[pool, 0])


@part
def select(state: MarginState, portfolio: int, count: int, eligible: int, wanted: bool, at: int) -> int:
    """Copy the gathered positions of a portfolio to risk.mine_row and mine_lots from `at` on; returns where they end.

    eligible: a cross-margin rule's bit; only positions that have it (wanted) or have it not; 0: all of them, if not wanted.
    """
    risk = state.risk
    for i in range(count):
        row = state.instruments[risk.row[i]]
        if row.portfolio == portfolio and (row.eligible & eligible != 0) == wanted:
            risk.mine_row[at], risk.mine_lots[at] = risk.row[i], risk.lots[i]
            at += 1
    return at


@part
def are_built(state: MarginState, scenarios: int, start: int, end: int) -> bool:
    """Whether all selected positions from start to end have a row in a set."""
    for i in range(start, end):
        row = state.instruments[state.risk.mine_row[i]]
        if (row.sets & ~row.missing) >> scenarios & 1 == 0:
            return False
    return True


@part
def add_shocked(state: MarginState, account: int, portfolio: int, vector: NDArray[np.int64]) -> bool:
    """Add what happens to the account's shocked collateral, each scenario rounded down; False: no row, or out of range.

    Of an asset whose haircut is charged all the same only the loss beyond it counts (Shock.BEYOND).
    """
    accounts, scenarios = state.accounts, state.portfolios[portfolio].set
    pool, total = accounts.pool[account], 0
    if state.risk.moving[0] != portfolio:
        return True
    for j in range(state.now[0].assets):
        held = accounts.holding[j, account]
        if held == 0 or state.terms[pool, j].shock == 0:
            continue
        asset = state.assets[j]
        row = state.instruments[asset.instrument]
        scale, bound = state.risk.scale[scenarios, asset.instrument], state.risk.bound[scenarios, asset.instrument]
        if row.missing >> scenarios & 1 or abs(float(held) * float(asset.unit)) >= SURELY_FITS:
            return False
        quantity, charged = held * asset.unit, charged_units(state, pool, j, portfolio, held)
        total = add_up(total, mul_div_up(abs(quantity), bound, row.lot))
        if total >= LIMIT:
            return False
        values, beyond = state.risk.values[scenarios][asset.instrument], state.terms[pool, j].shock == _BEYOND
        for s in range(len(vector)):
            won = mul_div_floor(quantity, values[s] * scale, row.lot)
            vector[s] += min(won + charged, 0) if beyond else won
    return True


@part
def charged_units(state: MarginState, pool: int, asset: int, portfolio: int, held: int) -> int:
    """What a pool's haircut takes off a holding, units of the portfolio's currency, rounded down; 0 where it cannot say."""
    rate, into = state.assets[asset].rate, state.assets[state.portfolios[portfolio].asset].rate
    if held <= 0 or into <= 0 or not fits(held, rate, into):
        return 0
    value = mul_div_floor(held, rate, into)
    return mul_div_floor(value, state.terms[pool, asset].haircut, E9) * UNITS if value < LIMIT // UNITS else 0


# Two kernels of their own, though small: compiled into each of their callers they would take minutes.


@kernel
def _multiply(rows: Rows, row_of: NDArray[np.int32], lots: NDArray[np.int64], span: Any, vector: NDArray[np.int64]) -> bool:
    return portfolio_vector(rows, row_of, lots, span[0], span[1], vector)


@kernel
def _risk(vector: NDArray[np.int64], rules: historical.Historical, scratch: NDArray[np.int64]) -> int:
    return historical.risk(vector, rules, scratch)


@part
def vector_of(state: MarginState, scenarios: int, start: int, end: int, vector: NDArray[np.int64]) -> bool:
    """The vector of the selected positions from start to end; False, and none, where it is out of range."""
    risk = state.risk
    rows = Rows(risk.values[scenarios], risk.scale[scenarios], risk.bound[scenarios], UNITS)
    return _multiply(rows, risk.mine_row, risk.mine_lots, (start, end), vector)


@part
def gross_value(state: MarginState, start: int, end: int) -> int:
    """Minor units of the market value of the selected positions, each taken positive and rounded up; LIMIT at most."""
    total = 0
    for i in range(start, end):
        total = add_up(total, mul_div_up(abs(state.risk.mine_lots[i]), state.instruments[state.risk.mine_row[i]].gross, E6))
    return total


@part
def historical_loss(state: MarginState, row: Any, vector: NDArray[np.int64]) -> int:
    """Minor units, up: the risk part that a historical rule (a row of `portfolios`) makes of a vector."""
    rules = historical.Historical(row.lookback, row.stress, row.tail_bps, row.stress_weight_bps)
    return -(-_risk(vector, rules, state.risk.scratch) // UNITS)


@part
def value_floor(state: MarginState, row: Any, start: int, end: int) -> int:
    """Minor units, up: the rule's floor for the selected positions, a share of their market value."""
    return 0 if row.floor == 0 else mul_div_up(gross_value(state, start, end), row.floor, E9)

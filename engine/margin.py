"""Margin rates per lot, built from marks and volatilities."""

from typing import Any

from engine.apply import find_volatility
from engine.arithmetic import E9, kernel, mul_div_up, part
from engine.report import Quality
from engine.state import CHUNK, FLAT, MARGIN_DUE, NONE, VOLATILITY, State, set_flags

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
    book, row = state.book, state.instruments[instrument]
    chunk = row.first_chunk
    while chunk != NONE:
        first = chunk * CHUNK
        used = row.last_used if chunk == row.last_chunk else CHUNK
        for slot in range(first, first + used):
            if book.lots[slot] != 0:
                set_flags(state.accounts, book.account[slot], MARGIN_DUE)
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

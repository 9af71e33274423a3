"""Margin rates per lot, built from marks and volatilities; and which instruments' risk rows are to be built."""

from typing import Any

from engine.apply import find_volatility
from engine.arithmetic import E9, kernel, mul_div_up, part
from engine.events import DAY_NS
from engine.report import Quality
from engine.revalue import inputs_quality, instrument_quality, move_holders
from engine.state import CHUNK, FLAT, MARGIN_DUE, NONE, VOLATILITY, State, set_flags

BPS = 10_000
MOST_ROWS = 64  # instruments whose rows are built at one clock because they moved; the next clock goes on
_UNPRICED = int(Quality.UNPRICED)


@part
def _moved(value: int, built: int, bps: int) -> bool:
    """Whether a value moved by at least so many basis points of what it was."""
    return value != built and abs(value - built) >= mul_div_up(abs(built), bps, BPS)


@part
def _build(row: Any, volatility: int, basis_points: int, forward: int, rate: int, clock_ns: int) -> None:
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
    row.built_forward, row.built_rate = forward, rate
    row.built, row.switched, row.waits = 1, 0, int(row.sets != 0)


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


@part
def _must_build(state: State, row: Any, volatility: int, basis_points: int, forward: int, rate: int) -> bool:
    """Whether an instrument's rates and rows are to be built from other inputs than they were."""
    now = state.now[0]
    differs = row.mark != row.built_mark or volatility != row.built_volatility or basis_points != row.built_unit
    if row.sets != 0:
        differs = differs or forward != row.built_forward or rate != row.built_rate
        differs = differs or now.clock_ns // DAY_NS != row.built_ns // DAY_NS
    if not row.built or row.switched:
        return True
    moved = (
        _moved(row.mark, row.built_mark, now.rebuild_bps)
        or _moved(volatility, row.built_volatility, now.rebuild_bps)
        or _moved(forward, row.built_forward, now.rebuild_bps)
        or _moved(rate, row.built_rate, now.rebuild_bps)
    )
    age_ns = now.clock_ns - row.built_ns
    if row.sets != 0:  # sooner would be in vain: the holders of the rows before still wait for their phases
        moved = moved and age_ns >= now.spread_ns
    return bool(moved or (differs and age_ns >= now.rebuild_ns))


@part
def rebuild_rates(state: State) -> int:
    """Build the margin rates of instruments whose inputs moved past the threshold, whose rule changed, or that are due.

    Those that have risk rows now wait for them; returns how many. Of rows that merely moved, at most MOST_ROWS wait: the
    walk begins where the one before stopped.
    """
    now = state.now[0]
    waiting, moved, first = 0, 0, now.next_row
    for k in range(now.instruments):
        i = (first + k) % now.instruments
        row = state.instruments[i]
        if row.closed or inputs_quality(state, row) == _UNPRICED:
            continue
        volatility, basis_points = 0, 0
        if row.model == VOLATILITY:
            at = find_volatility(state, row.underlying, row.tenor)
            volatility, basis_points = state.volatilities[at].value, state.volatilities[at].basis_points
        follows = row.sets != 0 and row.option and row.underlying != NONE
        forward = state.instruments[row.underlying].mark if follows else 0
        rate = state.assets[row.quote].rate if row.sets != 0 else 0
        if not _must_build(state, row, volatility, basis_points, forward, rate):
            continue
        if row.sets != 0 and row.built and not row.switched:
            moved += 1
            if moved > MOST_ROWS:
                continue
            now.next_row = (i + 1) % now.instruments
        _build(row, volatility, basis_points, forward, rate, now.clock_ns)
        waiting += int(row.waits)
        if not row.waits:
            _mark_due(state, i)
    return waiting


@part
def _mark_shocked(state: State, instrument: int) -> None:
    """Who holds an asset that moves with the instrument in the scenarios is to be margined again."""
    accounts = state.accounts
    for j in range(state.now[0].assets):
        if state.assets[j].instrument == instrument:
            for account in range(state.now[0].accounts):
                if accounts.holding[j, account] != 0 and state.terms[accounts.pool[account], j].shock != 0:
                    set_flags(accounts, account, MARGIN_DUE)


@kernel
def settle_rows(state: State) -> None:
    """After the waiting rows were built, or found unpriceable: quality of their instruments, and whom it concerns."""
    for i in range(state.now[0].instruments):
        row = state.instruments[i]
        if row.waits:
            row.waits = 0
            quality = instrument_quality(state, row)
            if quality != row.quality:
                move_holders(state, i, quality)
            _mark_due(state, i)
            _mark_shocked(state, i)

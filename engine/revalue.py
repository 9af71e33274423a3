"""What a clock does to the market side: expiry, prices into values and exposures, quality of inputs, rates of assets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.apply import find_volatility
from engine.arithmetic import E12, LIMIT, callable_part, fits, half_even_product, kernel, part
from engine.book import count_quality, delta_per_lot, lot_value
from engine.events import WEEK_NS
from engine.prefetch import prefetch
from engine.report import Quality
from engine.state import (
    CHUNK,
    LINE,
    MARGIN_DUE,
    MAX_SESSIONS,
    NO_RATE,
    NONE,
    PORTFOLIO,
    POSITIONS_DIRTY,
    VALUE_DIRTY,
    VOLATILITY,
    Book,
    State,
    set_flags,
)  # fmt: skip

_FRESH = int(Quality.FRESH)
_STALE = int(Quality.STALE)
_UNPRICED = int(Quality.UNPRICED)


@part
def _add(accounts: NDArray[np.int32], lots: NDArray[np.int32], change: int, sums: NDArray[np.int64]) -> None:
    for i in range(len(lots)):
        sums[np.uint32(accounts[i])] += np.int64(lots[i]) * change


@part
def _add_value(
    accounts: NDArray[np.int32], lots: NDArray[np.int32], change: int, values: NDArray[np.int64], flags: NDArray[np.uint8]
) -> None:
    for i in range(len(lots)):
        account = np.uint32(accounts[i])
        values[account] += np.int64(lots[i]) * change
        flags[account] |= np.uint8(VALUE_DIRTY)


@part
def _prefetch_chunk(book: Book, chunk: int) -> None:
    """Ask for the holders of a chunk, which lies anywhere; their lines are asked for by the processor, but late."""
    if chunk != NONE:
        for at in range(chunk * CHUNK, (chunk + 1) * CHUNK, LINE // 4):
            prefetch(book.account, at)
            prefetch(book.lots, at)


@part
def add_value(state: State, instrument: int, change: int) -> None:
    """Add lots x change (micros a lot) to the value of every holder of an instrument: the pass a price tick makes."""
    accounts, book, row = state.accounts, state.book, state.instruments[instrument]
    holders, chunk = 0, row.first_chunk
    while chunk != NONE:
        first = chunk * CHUNK
        stop = first + (row.last_used if chunk == row.last_chunk else CHUNK)
        _prefetch_chunk(book, book.chunk_next[chunk])
        _add_value(book.account[first:stop], book.lots[first:stop], change, accounts.value[row.currency], accounts.flags)
        holders += stop - first
        chunk = book.chunk_next[chunk]
    if holders > state.now[0].accounts // 16:  # then hardly a line of flags is without one
        accounts.changed[:] = 1
    else:
        _mark_changed(state, row)


@part
def _mark_changed(state: State, row: Any) -> None:
    book, chunk = state.book, row.first_chunk
    while chunk != NONE:
        first = chunk * CHUNK
        stop = first + (row.last_used if chunk == row.last_chunk else CHUNK)
        for account in book.account[first:stop]:
            state.accounts.changed[np.uint32(account) // np.uint32(LINE)] = 1
        chunk = book.chunk_next[chunk]


@callable_part
def add_exposure(state: State, instrument: int, factor: int, change: int) -> None:
    """Add lots x change to one exposure of every holder of an instrument whose sensitivity changed."""
    book, exposure, row = state.book, state.accounts.exposure[factor], state.instruments[instrument]
    chunk = row.first_chunk
    while chunk != NONE:
        first = chunk * CHUNK
        stop = first + (row.last_used if chunk == row.last_chunk else CHUNK)
        _add(book.account[first:stop], book.lots[first:stop], change, exposure)
        chunk = book.chunk_next[chunk]


@part
def reprice(state: State, instrument: int) -> None:
    """Bring the holders of an instrument from the lot value they hold to that of its mark."""
    row = state.instruments[instrument]
    value = lot_value(row, row.mark)
    if value == row.lot_value:
        return
    add_value(state, instrument, value - row.lot_value)
    row.lot_value = value
    if row.inverse and row.delta_factor != NONE:
        delta = delta_per_lot(row, value)
        add_exposure(state, instrument, row.delta_factor, delta - row.delta)
        row.delta = delta


@part
def close_expired(state: State, instrument: int) -> None:
    """Close every position of an expired instrument at its settlement price: all profit is realized, nothing is held."""
    book, accounts, row = state.book, state.accounts, state.instruments[instrument]
    value = lot_value(row, row.settlement)
    chunk = row.first_chunk
    while chunk != NONE:
        first = chunk * CHUNK
        used = row.last_used if chunk == row.last_chunk else CHUNK
        for slot in range(first, first + used):
            lots, account = int(book.lots[slot]), book.account[slot]
            if lots == 0:
                continue
            position = book.position[slot]
            position.realized += lots * value - position.cost
            position.cost = 0
            accounts.book[row.currency, account] -= lots * value
            accounts.value[row.currency, account] -= lots * row.lot_value
            if row.dv01_factor != NONE:
                accounts.exposure[row.dv01_factor, account] -= lots * row.dv01
            if row.delta_factor != NONE:
                accounts.exposure[row.delta_factor, account] -= lots * row.delta
            count_quality(state, account, row.quality, -1)
            book.lots[slot] = 0
            set_flags(accounts, account, POSITIONS_DIRTY | VALUE_DIRTY | MARGIN_DUE)
        chunk = book.chunk_next[chunk]
    row.closed = 1


@part
def open_time(sessions: Any, ts_ns: int) -> int:
    """Nanoseconds inside a calendar's weekly sessions from a fixed Thursday up to a time."""
    weeks, into = ts_ns // WEEK_NS, ts_ns % WEEK_NS
    total, part = 0, 0
    for i in range(MAX_SESSIONS):
        start, stop = sessions[i, 0], sessions[i, 1]
        total += stop - start
        part += max(0, min(into, stop) - start)
    return weeks * total + part


@part
def _mark_quality(state: State, row: Any) -> int:
    """FRESH, STALE or UNPRICED by the age of the mark alone."""
    if not row.priced:
        return _UNPRICED
    clock_ns = state.now[0].clock_ns
    if row.stale_ns == 0 or clock_ns - row.mark_ts_ns <= row.stale_ns:
        return _FRESH
    if row.calendar == NONE:
        return _STALE
    sessions = state.sessions[row.calendar]
    age = open_time(sessions, clock_ns) - open_time(sessions, row.mark_ts_ns)
    return _STALE if age > row.stale_ns else _FRESH


@part
def instrument_quality(state: State, row: Any) -> int:
    """The worst of its inputs, and of the risk rows that its portfolio rule needs."""
    unpriceable = row.model == PORTFOLIO and row.missing == row.sets and not row.closed
    return _UNPRICED if unpriceable else inputs_quality(state, row)


@part
def inputs_quality(state: State, row: Any) -> int:
    """The worst of its inputs: the mark, the settlement an expired one waits for, the volatility or rate its rule needs."""
    if row.closed:
        return _FRESH
    quality = int(row.mark_quality)
    if row.model == NO_RATE or (row.expiry_ns != 0 and row.expiry_ns <= state.now[0].clock_ns):
        return _UNPRICED
    if row.model == VOLATILITY:
        at = NONE if row.underlying == NONE else find_volatility(state, row.underlying, row.tenor)
        if at == NONE:
            return _UNPRICED
        if row.volatility_stale_ns != 0:
            age = state.now[0].clock_ns - state.volatilities[at].ts_ns
            if age > row.volatility_stale_ns:
                quality = max(quality, _STALE)
    return quality


@part
def move_holders(state: State, instrument: int, quality: int) -> None:
    """Move the quality counters of an instrument's holders to its new quality."""
    book, row = state.book, state.instruments[instrument]
    chunk = row.first_chunk
    while chunk != NONE:
        first = chunk * CHUNK
        used = row.last_used if chunk == row.last_chunk else CHUNK
        for slot in range(first, first + used):
            if book.lots[slot] != 0:
                account = book.account[slot]
                count_quality(state, account, row.quality, -1)
                count_quality(state, account, quality, 1)
                set_flags(state.accounts, account, VALUE_DIRTY)
        chunk = book.chunk_next[chunk]
    row.quality = quality


@kernel
def revalue_instruments(state: State) -> None:
    """Expiry, then prices, then quality, for every instrument."""
    clock_ns = state.now[0].clock_ns
    for i in range(state.now[0].instruments):
        row = state.instruments[i]
        if row.settled and not row.closed and row.expiry_ns <= clock_ns:
            close_expired(state, i)
        if row.priced:
            reprice(state, i)
        row.mark_quality = _mark_quality(state, row)
        quality = instrument_quality(state, row)
        if quality != row.quality:
            move_holders(state, i, quality)


@part
def asset_rate(state: State, asset: int) -> int:
    """US cents x 1e12 of one minor unit: the mark as value in the asset's currency, times that currency's rate.

    LIMIT where it is not below that.
    """
    row = state.assets[asset]
    price = row.numerator
    if row.instrument != NONE:
        mark = state.instruments[row.instrument].mark
        if not fits(mark, row.numerator, row.denominator):
            return LIMIT
        price = half_even_product(mark, row.numerator, row.denominator)
    if row.currency == asset or abs(price) >= LIMIT:
        return int(price)
    rate = state.assets[row.currency].rate
    return half_even_product(price, rate, E12) if fits(price, rate, E12) else LIMIT


@kernel
def revalue_assets(state: State) -> None:
    """Rates (0 unpriced) and quality of every asset in order of definition; who uses one that changed is evaluated again."""
    accounts = state.accounts
    for j in range(state.now[0].assets):
        row = state.assets[j]
        quality = _FRESH if row.currency == j else int(state.assets[row.currency].quality)
        if row.instrument != NONE:
            quality = max(quality, int(state.instruments[row.instrument].mark_quality))
        rate = 0 if quality == _UNPRICED else asset_rate(state, j)
        if abs(rate) >= LIMIT:
            rate, quality = 0, _UNPRICED
        if rate == row.rate and quality == row.quality:
            continue
        row.rate, row.quality = rate, quality
        slot = row.currency_slot
        for account in range(state.now[0].accounts):
            used = accounts.holding[j, account] != 0 or accounts.figures[account].asset == j
            if slot != NONE:
                used = used or accounts.value[slot, account] != 0 or accounts.book[slot, account] != 0
            if used:
                set_flags(accounts, account, VALUE_DIRTY)

"""The book: positions with exact lots, cost and realized profit by average cost, found by (account, instrument)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import INT64_MAX, SURELY_FITS, callable_part, half_even_product, mix, mul_div_floor, part
from engine.codes import Code
from engine.report import Quality
from engine.requirement import follow_position
from engine.state import CHUNK, MARGIN_DUE, NONE, POSITIONS_DIRTY, VALUE_DIRTY, State, enter, look_up, set_flags

MAX_REALIZED = 1 << 61
MAX_SUM = 1 << 62
_OK = int(Code.OK)
_POSITION_RANGE = int(Code.POSITION_RANGE)
_FULL_POSITIONS = int(Code.FULL_POSITIONS)
_STALE = int(Quality.STALE)
_UNPRICED = int(Quality.UNPRICED)


@part
def lot_value(instrument: Any, mark: int) -> int:
    """Micros of one lot at a mark in thousandths of a tick; negative if inverse, so that profit is lots x change."""
    if instrument.inverse:
        return inverse_value(instrument, mark * (instrument.tick // 1000))
    return half_even_product(mark, instrument.tick_value, 1000)


@part
def trade_value(instrument: Any, ticks: int) -> int:
    """Micros of one lot at a price of so many ticks."""
    if instrument.inverse:
        return inverse_value(instrument, ticks * instrument.tick)
    return int(ticks * instrument.tick_value)


@part
def inverse_value(instrument: Any, price: int) -> int:
    """Micros of one lot of an inverse contract at a price in 1e-9: minus its size over the price, rounded half-even."""
    return -half_even_product(instrument.contract, instrument.scale, price)


@part
def delta_per_lot(instrument: Any, value: int) -> int:
    """1e-10 units of the underlying per lot; an inverse contract's follows from its lot value."""
    if instrument.inverse:
        return half_even_product(-value, instrument.delta_multiplier, instrument.delta_divisor)
    return int(instrument.delta)


@part
def position_key(account: int, instrument: int) -> Any:
    """What the index knows a position by."""
    return np.uint64((int(account) << 32) + int(instrument) + 1)


@part
def position_hash(account: int, instrument: int) -> Any:
    """Where the index begins to look for a position."""
    return mix(np.uint64(0), position_key(account, instrument))


@callable_part
def find_position(state: State, account: int, instrument: int) -> int:
    """The slot of a position, or NONE."""
    return look_up(state.book.slots, position_key(account, instrument), position_hash(account, instrument))


@part
def index_position(index: NDArray[Any], account: int, instrument: int, slot: int) -> None:
    """Enter a new position into the index."""
    enter(index, position_key(account, instrument), position_hash(account, instrument), slot)


@part
def is_full(state: State) -> bool:
    """Whether there is no room for another position."""
    return bool(state.now[0].positions >= state.now[0].max_positions)


@part
def open_position(state: State, account: int, instrument: int) -> int:
    """A new, empty position at the end of its instrument's chunks; the caller has checked that there is room."""
    book, now, row = state.book, state.now[0], state.instruments[instrument]
    if row.last_chunk == NONE or row.last_used == CHUNK:
        chunk = now.chunks
        now.chunks += 1
        book.chunk_instrument[chunk] = instrument
        book.chunk_next[chunk] = NONE
        if row.last_chunk == NONE:
            row.first_chunk = chunk
        else:
            book.chunk_next[row.last_chunk] = chunk
        row.last_chunk = chunk
        row.last_used = 0
    slot = row.last_chunk * CHUNK + row.last_used
    row.last_used += 1
    now.positions += 1
    book.account[slot] = account
    book.next[slot] = state.accounts.first_position[account]
    state.accounts.first_position[account] = slot
    index_position(book.slots, account, instrument, slot)
    return int(slot)


@part
def _overflows(a: int, b: int) -> bool:
    """Whether a x b leaves int64; the division is exact and slow, the estimate tells in all but a sliver of cases."""
    return abs(float(a) * float(b)) > SURELY_FITS and b != 0 and abs(a) > INT64_MAX // abs(b)


@part
def _leaves(total: int, lots: int, each: int) -> bool:
    """Whether total + lots x each is outside the exact range of account sums."""
    return _overflows(lots, each) or abs(total + lots * each) >= MAX_SUM


@part
def exposures_leave(state: State, account: int, row: Any, lots: int) -> bool:
    """Whether a change by so many lots would take the account's value or an exposure out of the exact range."""
    accounts = state.accounts
    if _leaves(accounts.value[row.currency, account], lots, row.lot_value):
        return True
    if row.dv01_factor != NONE and _leaves(accounts.exposure[row.dv01_factor, account], lots, row.dv01):
        return True
    return row.delta_factor != NONE and _leaves(accounts.exposure[row.delta_factor, account], lots, row.delta)


@part
def change_exposures(state: State, account: int, row: Any, before: int, after: int) -> None:
    """Let the account's net exposures, requirement and quality counters follow a position from `before` to `after` lots."""
    accounts, lots = state.accounts, after - before
    accounts.value[row.currency, account] += lots * row.lot_value
    if row.dv01_factor != NONE:
        accounts.exposure[row.dv01_factor, account] += lots * row.dv01
    if row.delta_factor != NONE:
        accounts.exposure[row.delta_factor, account] += lots * row.delta
    count = int(after != 0) - int(before != 0)
    if count != 0:
        count_quality(state, account, row.quality, count)
    flags = POSITIONS_DIRTY | VALUE_DIRTY
    if accounts.flags[account] & MARGIN_DUE == 0 and not follow_position(state, account, row, before, after):
        flags |= MARGIN_DUE
    set_flags(accounts, account, flags)


@part
def count_quality(state: State, account: int, quality: int, count: int) -> None:
    """Add to the number of the account's held positions whose instrument has this quality."""
    if quality == _STALE:
        state.accounts.figures[account].stale += count
    elif quality == _UNPRICED:
        state.accounts.figures[account].unpriced += count


@part
def fill(state: State, account: int, instrument: int, slot: int, lots: int, value: int, ts_ns: int) -> int:
    """A trade of so many lots at `value` micros a lot, by average cost; the code says whether it was applied.

    slot: the position, or NONE to open it. Closing takes floor(cost x closed / held) from cost; the remainder stays, so
    that cost less realized profit is always exact.
    """
    book, row = state.book, state.instruments[instrument]
    if slot == NONE and is_full(state):
        return _FULL_POSITIONS
    held, cost, realized = 0, 0, 0
    if slot != NONE:
        position = book.position[slot]
        held, cost, realized = int(book.lots[slot]), position.cost, position.realized
    after = held + lots
    if abs(after) > row.max_lots or abs(lots) > max(row.max_lots, abs(held)) + row.max_lots:
        return _POSITION_RANGE
    if held == 0 or (held > 0) == (lots > 0):
        cost += lots * value
    else:
        closed = min(abs(lots), abs(held))
        share = cost if closed == abs(held) else mul_div_floor(cost, closed, abs(held))
        realized += (closed if held > 0 else -closed) * value - share
        cost -= share
        if abs(lots) > abs(held):
            cost = after * value
    if (
        abs(realized) >= MAX_REALIZED
        or _leaves(state.accounts.book[row.currency, account], lots, value)
        or exposures_leave(state, account, row, lots)
    ):
        return _POSITION_RANGE
    if slot == NONE:
        slot = open_position(state, account, instrument)
    entry = book.position[slot]
    entry.cost, entry.realized = cost, realized
    entry.last_trade_ns = max(entry.last_trade_ns, ts_ns)
    book.lots[slot] = after
    state.accounts.book[row.currency, account] += lots * value
    change_exposures(state, account, row, held, after)
    return _OK


@part
def replace(state: State, account: int, instrument: int, slot: int, lots: int, cost: int, ts_ns: int) -> int:
    """A start-of-day position: these lots at this cost and no realized profit, whatever was held before."""
    book, row = state.book, state.instruments[instrument]
    if slot == NONE and is_full(state):
        return _FULL_POSITIONS
    held, net = 0, 0
    if slot != NONE:
        held, net = int(book.lots[slot]), book.position[slot].cost - book.position[slot].realized
    if abs(lots) > row.max_lots or abs(cost) >= MAX_REALIZED:
        return _POSITION_RANGE
    total = state.accounts.book[row.currency, account] + cost - net
    if abs(total) >= MAX_SUM or exposures_leave(state, account, row, lots - held):
        return _POSITION_RANGE
    if slot == NONE:
        slot = open_position(state, account, instrument)
    entry = book.position[slot]
    entry.cost, entry.realized, entry.as_of_ns = cost, 0, ts_ns
    book.lots[slot] = lots
    state.accounts.book[row.currency, account] = total
    change_exposures(state, account, row, held, lots)
    return _OK

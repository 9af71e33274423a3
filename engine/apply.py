"""Applying records in the order of the log, up to a clock: one result code a record, no control flow outside."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import INT64_MAX, callable_part, half_even_product, kernel, part, quotient
from engine.book import fill, find_position, inverse_value, is_full, position_hash, replace, trade_value
from engine.calls import take_money
from engine.codes import REDELIVERED, SUPERSEDED, Code
from engine.equity import hold
from engine.events import Flag, Kind
from engine.prefetch import prefetch
from engine.state import AHEAD, BUCKET, MARGIN_DUE, NONE, POSITIONS_DIRTY, RING, VALUE_DIRTY, State, find, set_flags
from engine.statements import take_statement

MAX_HOLDING: Final = 1 << 62

_TRADE = int(Kind.TRADE)
_PRICE = int(Kind.PRICE)
_VOLATILITY = int(Kind.VOLATILITY)
_COLLATERAL = int(Kind.COLLATERAL)
_POSITION = int(Kind.POSITION)
_STATEMENT = int(Kind.STATEMENT)
_SETTLEMENT = int(Flag.SETTLEMENT)
_BASIS_POINTS = int(Flag.BASIS_POINTS)
_REPLACE = int(Flag.REPLACE)
_ASSET = int(Flag.ASSET)
_OK = int(Code.OK)
_UNKNOWN_ACCOUNT = int(Code.UNKNOWN_ACCOUNT)
_UNKNOWN_INSTRUMENT = int(Code.UNKNOWN_INSTRUMENT)
_UNKNOWN_ASSET = int(Code.UNKNOWN_ASSET)
_NOT_TRADABLE = int(Code.NOT_TRADABLE)
_AHEAD_OF_TIME = int(Code.AHEAD_OF_TIME)
_EXPIRED = int(Code.EXPIRED)
_OFF_LOT = int(Code.OFF_LOT)
_OFF_TICK = int(Code.OFF_TICK)
_OFF_UNIT = int(Code.OFF_UNIT)
_OUT_OF_BAND = int(Code.OUT_OF_BAND)
_DUPLICATE = int(Code.DUPLICATE)
_ALREADY_INCLUDED = int(Code.ALREADY_INCLUDED)
_AS_OF_CONFLICT = int(Code.AS_OF_CONFLICT)
_POSITION_RANGE = int(Code.POSITION_RANGE)
_NEGATIVE_HOLDING = int(Code.NEGATIVE_HOLDING)
_FULL_POSITIONS = int(Code.FULL_POSITIONS)
_FULL_VOLATILITIES = int(Code.FULL_VOLATILITIES)
_FULL_ORIGINS = int(Code.FULL_ORIGINS)


@callable_part
def is_remembered(state: State, key: int) -> bool:
    """Whether an event with this id key was applied, as far back as the two generations reach."""
    mask = np.uint64(len(state.ids) - 1)
    for generation in range(2):
        at = np.uint64(key) & mask
        while True:
            held = state.ids[at, generation]
            if (held[0] == key) | (held[1] == key) | (held[2] == key) | (held[3] == key):
                return True
            if held[3] == 0:
                break
            at = (at + np.uint64(1)) & mask
    return False


@part
def put_id(ids: NDArray[np.uint64], generation: int, key: int) -> None:
    """Put an id that is not there into a generation, behind the others of its bucket."""
    mask = np.uint64(len(ids) - 1)
    at = np.uint64(key) & mask
    while ids[at, generation, BUCKET - 1] != 0:
        at = (at + np.uint64(1)) & mask
    held = ids[at, generation]
    held[int(held[0] != 0) + int(held[1] != 0) + int(held[2] != 0)] = key


@callable_part
def remember(state: State, key: int, ts_ns: int) -> None:
    """Remember an id; a full generation becomes the previous one, and the one before it is forgotten."""
    now = state.now[0]
    if now.ids >= now.max_ids:
        now.generation = 1 - now.generation
        state.ids[:, now.generation] = 0
        now.previous_ids_from_ns = now.ids_from_ns
        now.ids = 0
    if now.ids == 0:
        now.ids_from_ns = ts_ns
    now.ids_from_ns = min(now.ids_from_ns, ts_ns)
    now.ids += 1
    put_id(state.ids, now.generation, key)


@callable_part
def advance(state: State, kind: int, partition: int, offset: int, index: int) -> int:
    """Move the watermark of an origin over one record: OK, REDELIVERED below it, FULL_ORIGINS where it has no place."""
    if partition >= state.watermark_offset.shape[1]:
        return _FULL_ORIGINS
    at = state.watermark_offset[kind, partition]
    if offset < at or (offset == at and index <= state.watermark_index[kind, partition]):
        return REDELIVERED
    state.watermark_offset[kind, partition] = offset
    state.watermark_index[kind, partition] = index
    return _OK


@callable_part
def is_ahead(state: State, ts_ns: int) -> bool:
    """Whether a time is further ahead of the log's than the limit."""
    now = state.now[0]
    return bool(now.clock_ns > 0 and ts_ns > now.clock_ns + now.ahead_ns)


@part
def _tradable_code(state: State, instrument: int, ts_ns: int) -> int:
    """What trades and start-of-day positions have in common: tradable, in time, not expired."""
    row = state.instruments[instrument]
    if not row.tradable:
        return _NOT_TRADABLE
    if is_ahead(state, ts_ns):
        return _AHEAD_OF_TIME
    if row.closed or (row.expiry_ns != 0 and ts_ns >= row.expiry_ns):
        return _EXPIRED
    return _OK


@part
def _trade(state: State, record: Any, account: int, instrument: int, slot: int) -> int:
    """slot: the position, or NONE where there was none some records before."""
    if account == NONE:
        return _UNKNOWN_ACCOUNT
    if instrument == NONE:
        return _UNKNOWN_INSTRUMENT
    code = _tradable_code(state, instrument, record.ts_ns)
    if code != _OK:
        return code
    row = state.instruments[instrument]
    lots, ticks = quotient(record.quantity, row.lot), quotient(record.price, row.tick)
    if lots * row.lot != record.quantity:
        return _OFF_LOT
    if ticks * row.tick != record.price:
        return _OFF_TICK
    if record.price < row.low or record.price > row.high:
        return _OUT_OF_BAND
    if is_remembered(state, record.id):
        return _DUPLICATE
    if slot == NONE:
        slot = find_position(state, account, instrument)
    if slot != NONE:
        as_of = state.book.position[slot].as_of_ns
        if as_of != 0 and record.ts_ns <= as_of:
            return _ALREADY_INCLUDED
    code = fill(state, account, instrument, slot, lots, trade_value(row, ticks), record.ts_ns)
    if code == _OK:
        remember(state, record.id, record.ts_ns)
    return code


@part
def _position(state: State, record: Any) -> int:
    account = find(state.account_keys, record.account)
    if account == NONE:
        return _UNKNOWN_ACCOUNT
    instrument = find(state.instrument_keys, record.instrument)
    if instrument == NONE:
        return _UNKNOWN_INSTRUMENT
    code = _tradable_code(state, instrument, record.ts_ns)
    if code != _OK:
        return code
    row = state.instruments[instrument]
    lots = record.quantity // row.lot
    if lots * row.lot != record.quantity:
        return _OFF_LOT
    if record.price < row.low or record.price > row.high:
        return _OUT_OF_BAND
    if is_remembered(state, record.id):
        return _DUPLICATE
    slot = find_position(state, account, instrument)
    if slot != NONE:
        held = state.book.position[slot]
        if record.ts_ns < held.last_trade_ns or record.ts_ns < held.as_of_ns:
            return _AS_OF_CONFLICT
    if abs(lots) > row.max_lots:  # its cost would leave int64
        return _FULL_POSITIONS if slot == NONE and is_full(state) else _POSITION_RANGE
    if row.inverse:
        cost = lots * inverse_value(row, record.price)
    else:
        cost = half_even_product(lots * row.tick_value, record.price, row.tick)
    code = replace(state, account, instrument, slot, lots, cost, record.ts_ns)
    if code == _OK:
        remember(state, record.id, record.ts_ns)
    return code


@part
def _price(state: State, record: Any) -> int:
    instrument = find(state.instrument_keys, record.instrument)
    if instrument == NONE:
        return _UNKNOWN_INSTRUMENT
    if is_ahead(state, record.ts_ns):
        return _AHEAD_OF_TIME
    row = state.instruments[instrument]
    expired = row.expiry_ns != 0 and record.ts_ns >= row.expiry_ns
    settles = expired and record["flags"] & _SETTLEMENT != 0
    if row.closed or (expired and not settles):
        return _EXPIRED
    if record.price < row.low or record.price > row.high:
        return _OUT_OF_BAND
    if row.priced and record.ts_ns < row.mark_ts_ns:
        return SUPERSEDED
    row.mark = half_even_product(record.price, 1000, row.tick)
    row.mark_ts_ns = record.ts_ns
    row.priced = 1
    if settles:
        row.settled = 1
        row.settlement = row.mark
    return _OK


@part
def find_volatility(state: State, underlying: int, tenor: int) -> int:
    """The row of an underlying's volatility at a tenor, or NONE."""
    at = state.instruments[underlying].volatilities
    while at != NONE and state.volatilities[at].tenor != tenor:
        at = state.volatilities[at].next
    return int(at)


@part
def _volatility(state: State, record: Any) -> int:
    underlying = find(state.instrument_keys, record.instrument)
    if underlying == NONE:
        return _UNKNOWN_INSTRUMENT
    if is_ahead(state, record.ts_ns):
        return _AHEAD_OF_TIME
    at = find_volatility(state, underlying, record.quantity)
    if at == NONE:
        now = state.now[0]
        if now.volatilities >= now.max_volatilities:
            return _FULL_VOLATILITIES
        at = now.volatilities
        now.volatilities += 1
        row = state.volatilities[at]
        row.underlying, row.tenor = underlying, record.quantity
        row.next = state.instruments[underlying].volatilities
        state.instruments[underlying].volatilities = at
    elif record.ts_ns < state.volatilities[at].ts_ns:
        return SUPERSEDED
    held = state.volatilities[at]
    held.value, held.ts_ns = record.price, record.ts_ns
    held.basis_points = int(record["flags"] & _BASIS_POINTS != 0)
    return _OK


@part
def _collateral(state: State, record: Any) -> int:
    account = find(state.account_keys, record.account)
    if account == NONE:
        return _UNKNOWN_ACCOUNT
    asset = find(state.asset_keys, record.instrument)
    if asset == NONE:
        return _UNKNOWN_ASSET
    if is_ahead(state, record.ts_ns):
        return _AHEAD_OF_TIME
    row = state.assets[asset]
    total = record.quantity // row.unit
    if total * row.unit != record.quantity:
        return _OFF_UNIT
    if is_remembered(state, record.id):
        return _DUPLICATE
    held = state.accounts.holding[asset, account]
    if record["flags"] & _REPLACE == 0:
        if (held > 0 and total > INT64_MAX - held) or (held < 0 and total < -INT64_MAX - held):
            return _POSITION_RANGE
        total += held
    if total < 0 and not row.is_currency:
        return _NEGATIVE_HOLDING
    if abs(total) >= MAX_HOLDING:
        return _POSITION_RANGE
    if state.accounts.first_call[account] == NONE:
        state.accounts.holding[asset, account] = total
    else:
        take_money(state, account, hold(state, account, asset, total))
    required = row.watched != 0 or state.terms[state.accounts.pool[account], asset].shock != 0
    set_flags(state.accounts, account, VALUE_DIRTY | (POSITIONS_DIRTY | MARGIN_DUE if required else 0))
    remember(state, record.id, record.ts_ns)
    return _OK


@part
def _statement(state: State, record: Any) -> int:
    account, is_asset = find(state.account_keys, record.account), record["flags"] & _ASSET != 0
    if account == NONE:
        return _UNKNOWN_ACCOUNT
    item = find(state.asset_keys if is_asset else state.instrument_keys, record.instrument)
    if item == NONE:
        return _UNKNOWN_ASSET if is_asset else _UNKNOWN_INSTRUMENT
    if is_ahead(state, record.ts_ns):
        return _AHEAD_OF_TIME
    if is_remembered(state, record.id):
        return _DUPLICATE
    code = take_statement(state, account, item, is_asset, record)
    if code == _OK:
        remember(state, record.id, record.ts_ns)
    return code


@part
def _look_up(state: State, records: NDArray[Any], i: int) -> None:
    """Find a trade's account and instrument, and ask for the memory that it will touch but for its position."""
    record, found, accounts = records[i], state.found[i & (RING - 1)], state.accounts
    found[0] = found[1] = NONE
    if record.kind != _TRADE:
        return
    account, instrument = find(state.account_keys, record.account), find(state.instrument_keys, record.instrument)
    found[0], found[1] = account, instrument
    prefetch(state.ids[:, 0, 0], np.uint64(record.id) & np.uint64(len(state.ids) - 1))
    if account == NONE or instrument == NONE:
        return
    row = state.instruments[instrument]
    prefetch(state.book.slots, position_hash(account, instrument) & np.uint64(len(state.book.slots) - 1))
    prefetch(accounts.flags, account)
    prefetch(accounts.value[row.currency], account)
    prefetch(accounts.book[row.currency], account)
    if row.dv01_factor != NONE:
        prefetch(accounts.exposure[row.dv01_factor], account)
    if row.delta_factor != NONE:
        prefetch(accounts.exposure[row.delta_factor], account)


@part
def _reach(state: State, i: int) -> None:
    """Find the position of a trade that was looked up, and ask for its memory."""
    found = state.found[i & (RING - 1)]
    found[2] = NONE
    if found[0] != NONE and found[1] != NONE:
        slot = find_position(state, found[0], found[1])
        found[2] = slot
        if slot != NONE:
            prefetch(state.book.position, slot)
            prefetch(state.book.lots, slot)


@part
def _apply_other(state: State, record: Any, kind: int) -> int:
    """Apply a record that is neither a trade nor a clock."""
    if kind == _PRICE:
        return _price(state, record)
    if kind == _COLLATERAL:
        return _collateral(state, record)
    if kind == _POSITION:
        return _position(state, record)
    if kind == _VOLATILITY:
        return _volatility(state, record)
    return _statement(state, record) if kind == _STATEMENT else _OK


@kernel
def apply(state: State, records: NDArray[Any], first: int, results: NDArray[np.uint8], counts: NDArray[np.int64]) -> int:
    """Apply records from `first` up to the next clock or the end, and return where it stopped.

    results[i]: 0 applied, SUPERSEDED, REDELIVERED, or the Code of a reject; clocks are left to the caller. counts: (applied,
    superseded, redelivered and rejected, kind), added to.
    """
    stop, mask = len(records), np.uint64(len(state.account_keys) - BUCKET)
    for i in range(first - 3 * AHEAD, stop):
        if i + 3 * AHEAD < stop:
            prefetch(state.account_keys, np.uint64(records[i + 3 * AHEAD].account) & mask)
        if first <= i + 2 * AHEAD < stop:
            _look_up(state, records, i + 2 * AHEAD)
        if first <= i + AHEAD < stop:
            _reach(state, i + AHEAD)
        if i < first:
            continue
        record = records[i]
        kind = int(record.kind)
        if kind == 0:
            return i
        code = advance(state, kind, record.partition, record.offset, record.index)
        if code == _OK:
            if kind == _TRADE:
                found = state.found[i & (RING - 1)]
                code = _trade(state, record, found[0], found[1], found[2])
            else:
                code = _apply_other(state, record, kind)
        results[i] = code
        counts[0 if code == _OK else 1 if code == SUPERSEDED else 2 if code == REDELIVERED else 3, kind] += 1
    return stop

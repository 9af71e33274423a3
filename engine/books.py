"""An account's book as bytes: what it holds, by ids, for those who work with it outside of the engine that keeps it.

head (24 bytes: clock in ns, log offset, how many positions and holdings; little endian) | HELD rows | HOLDING rows
"""

import struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import kernel, mix, part, wrapping_add
from engine.book import replace
from engine.codes import Code
from engine.state import CHUNK, MARGIN_DUE, NONE, POSITIONS_DIRTY, VALUE_DIRTY, State, find, set_flags

HELD: Final = np.dtype([("instrument", "<u8"), ("lots", "<i8"), ("cost", "<i8"), ("realized", "<i8")])  # key, -, micros
HOLDING: Final = np.dtype([("asset", "<u8"), ("amount", "<i8")])  # key, minor units
_HEAD: Final = struct.Struct("<qqII")
_SEED = np.uint64(0xB00C)
_OK, _UNKNOWN_INSTRUMENT, _UNKNOWN_ASSET = int(Code.OK), int(Code.UNKNOWN_INSTRUMENT), int(Code.UNKNOWN_ASSET)
_ALL_DUE = VALUE_DIRTY | POSITIONS_DIRTY | MARGIN_DUE


class Book(NamedTuple):
    """What an account holds, as of a clock and a log offset: HELD and HOLDING rows, in no order."""

    clock_ns: int
    offset: int
    positions: NDArray[np.void]
    holdings: NDArray[np.void]


EMPTY: Final = Book(0, 0, np.empty(0, HELD), np.empty(0, HOLDING))


def unpack(data: bytes) -> Book:
    """The book in these bytes; ValueError where they are none."""
    if len(data) < _HEAD.size:
        raise ValueError("not a book: it is cut short")
    clock_ns, offset, positions, holdings = _HEAD.unpack_from(data)
    middle = _HEAD.size + positions * HELD.itemsize
    if len(data) != middle + holdings * HOLDING.itemsize:
        raise ValueError(f"a book of {positions} positions and {holdings} holdings has {len(data)} bytes")
    held, rest = (
        np.frombuffer(data, *where).copy() for where in ((HELD, positions, _HEAD.size), (HOLDING, holdings, middle))
    )
    return Book(clock_ns, offset, held, rest)


def hashes(state: State, slots: NDArray[np.int32]) -> NDArray[np.uint64]:
    """A hash of each account's book, never 0, that changes when the book does."""
    found = np.empty(len(slots), np.uint64)
    _measure(state, slots, np.empty((len(slots), 2), np.int64), found)
    return found


def pack(state: State, slots: NDArray[np.int32], offset: int) -> list[bytes]:
    """The books of these accounts, as of the engine's clock and a log offset."""
    sizes = np.empty((len(slots), 2), np.int64)
    _measure(state, slots, sizes, np.empty(len(slots), np.uint64))
    total = sizes.sum(axis=0)
    positions, holdings = np.empty(total[0], HELD), np.empty(total[1], HOLDING)
    _gather(state, slots, positions, holdings)
    held, collateral, clock_ns = positions.tobytes(), holdings.tobytes(), int(state.now[0]["clock_ns"])
    books, first, start = [], 0, 0
    for count, kinds in sizes.tolist():
        stop, end = first + count * HELD.itemsize, start + kinds * HOLDING.itemsize
        books.append(_HEAD.pack(clock_ns, offset, count, kinds) + held[first:stop] + collateral[start:end])
        first, start = stop, end
    return books


@part
def _is_empty(state: State, slot: int) -> bool:
    row = state.book.position[slot]
    return bool(state.book.lots[slot] == 0 and row.cost == 0 and row.realized == 0)


@kernel
def _measure(state: State, slots: NDArray[np.int32], sizes: NDArray[np.int64], found: NDArray[np.uint64]) -> None:
    """sizes: (account, positions and holdings that a book has); found: hash of the account's book."""
    book, holding = state.book, state.accounts.holding
    for i in range(len(slots)):
        sizes[i, 0] = sizes[i, 1] = 0
        total, slot = _SEED, state.accounts.first_position[slots[i]]
        while slot != NONE:
            if not _is_empty(state, slot):
                row = book.position[slot]
                one = mix(mix(_SEED, book.chunk_instrument[slot // CHUNK]), book.lots[slot])
                total = wrapping_add(total, mix(mix(one, row.cost), row.realized))
                sizes[i, 0] += 1
            slot = book.next[slot]
        for asset in range(state.now[0].assets):
            if holding[asset, slots[i]] != 0:
                total = wrapping_add(total, mix(mix(total, asset), holding[asset, slots[i]]))
                sizes[i, 1] += 1
        found[i] = total if total != np.uint64(0) else _SEED


@kernel
def _gather(state: State, slots: NDArray[np.int32], positions: Any, holdings: Any) -> None:
    """Fill HELD and HOLDING rows of these accounts, one after another."""
    book, p, h = state.book, 0, 0
    for i in range(len(slots)):
        slot = state.accounts.first_position[slots[i]]
        while slot != NONE:
            if not _is_empty(state, slot):
                row = book.position[slot]
                positions[p]["instrument"] = state.instruments[book.chunk_instrument[slot // CHUNK]].key
                positions[p]["lots"] = book.lots[slot]
                positions[p]["cost"], positions[p]["realized"] = row.cost, row.realized
                p += 1
            slot = book.next[slot]
        for asset in range(state.now[0].assets):
            amount = state.accounts.holding[asset, slots[i]]
            if amount != 0:
                holdings[h]["asset"], holdings[h]["amount"] = state.assets[asset].key, amount
                h += 1


@kernel
def place(state: State, slots: NDArray[np.int32], positions: Any, holdings: Any) -> int:
    """Give accounts that have none the same book: net cost and collateral as they are; the code says what does not fit."""
    for i in range(len(positions)):
        row = positions[i]
        instrument = find(state.instrument_keys, row["instrument"])
        if instrument == NONE:
            return _UNKNOWN_INSTRUMENT
        for account in slots:
            code = replace(state, account, instrument, NONE, row["lots"], row["cost"] - row["realized"], 0)
            if code != _OK:
                return code
    for i in range(len(holdings)):
        asset = find(state.asset_keys, holdings[i]["asset"])
        if asset == NONE:
            return _UNKNOWN_ASSET
        for account in slots:
            state.accounts.holding[asset, account] = holdings[i]["amount"]
    for account in slots:
        set_flags(state.accounts, account, _ALL_DUE)
    return _OK

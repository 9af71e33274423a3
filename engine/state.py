"""The engine's state: a struct of arrays, allocated once from the limits. Slots are dense indexes in order of definition.

Money is in micros (1e-6 of a minor unit) where a name says so, else in minor units of its currency.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import INT64_MAX, callable_part, part, rows
from engine.events import KINDS
from engine.layout import (
    ACCOUNT,
    AGREEMENT,
    ASSET,
    CALL,
    CALL_TERMS,
    ENTRY,
    GLOBALS,
    INSTRUMENT,
    PORTFOLIO_ROW,
    POSITION,
    STATEMENT,
    TERMS,
    TIER,
    VOLATILITY_ROW,
)
from engine.limits import Limits
from engine.models.scan import Spreads

LINE: Final = 64  # bytes of a cache line; accounts whose flags share one
BUCKET: Final = 4  # keys of a hash table that share a cache line
AHEAD: Final = 16  # records between asking for memory and reading it
RING: Final = 4 * AHEAD  # records that are looked up or about to be, and a few more: a power of two
BLOCK: Final = 32  # accounts whose memory is asked for together
CHUNK: Final = 256  # positions of one instrument that lie together, so that a price tick reads memory in a row
MAX_TIERS: Final = 16
MAX_SESSIONS: Final = 32
NONE: Final = -1
CALLS_PER_ACCOUNT: Final = 2  # room for open margin calls

POSITIONS_DIRTY: Final = 1
VALUE_DIRTY: Final = 2
MARGIN_DUE: Final = 4

NO_RULE: Final = 0
FLAT: Final = 1
TIERED: Final = 2
VOLATILITY: Final = 3
PORTFOLIO: Final = 4  # positions under the rule are margined together, as its row in `portfolios` says
NO_RATE: Final = 5  # the rule has no rate for the instrument, which makes it UNPRICED
HISTORICAL: Final = 1
SCAN: Final = 2
GRID: Final = 3
POINTS: Final = 4
LINES: Final = 14  # of a requirement, as engine/charges.py names them
MAX_SPREADS: Final = 32
MAX_LEGS: Final = 8
MAX_SHOCKS: Final = 8


class Accounts(NamedTuple):
    """Per account, by slot; two-dimensional arrays are (currency, asset or factor, account): a tick walks along accounts.

    required: initial and maintenance of the positions margined alone, minor units; of an account that is not MARGIN_DUE at
    the margin rates in force. It lies beside book, as a trade needs both. together: of those under portfolio rules, as last
    margined. money: that came in (went out, below 0) since the last evaluation, minor units, while there are calls.
    """

    key: NDArray[np.uint64]
    pool: NDArray[np.int32]
    agreement: NDArray[np.int32]  # its row in `agreements`, NONE for most
    phase_ns: NDArray[np.int64]
    first_position: NDArray[np.int32]
    first_call: NDArray[np.int32]  # the oldest that is open, NONE for most
    calls_made: NDArray[np.int64]
    first_statement: NDArray[np.int32]  # the latest, NONE for most
    money: NDArray[np.int64]
    flags: NDArray[np.uint8]
    changed: NDArray[np.uint8]  # by account // LINE: whether any of these may have flags
    touched: NDArray[np.uint8]
    figures: NDArray[Any]  # ACCOUNT
    holding: NDArray[np.int64]  # (asset, account), minor units
    value: NDArray[np.int64]  # (currency, account), micros: market value, which is the net notional
    book: NDArray[np.int64]  # (currency, account), micros: cost less realized profit
    required: NDArray[np.int64]  # (currency, account, initial and maintenance)
    together: NDArray[np.int64]  # (currency, account, initial and maintenance)
    exposure: NDArray[np.int64]  # (factor, account)


class Book(NamedTuple):
    """Positions by slot; a chunk holds CHUNK positions of one instrument. slots: hash of (account, instrument) to slot."""

    lots: NDArray[np.int32]
    account: NDArray[np.int32]
    position: NDArray[Any]  # POSITION
    next: NDArray[np.int32]  # the account's position before
    chunk_instrument: NDArray[np.int32]
    chunk_next: NDArray[np.int32]
    slots: NDArray[Any]  # ENTRY


class State(NamedTuple):
    """Everything a kernel reads and writes."""

    now: NDArray[Any]  # GLOBALS, one row
    accounts: Accounts
    book: Book
    instruments: NDArray[Any]  # INSTRUMENT
    assets: NDArray[Any]  # ASSET
    currencies: NDArray[np.int32]  # currency slot -> asset
    factor_keys: NDArray[np.uint64]
    volatilities: NDArray[Any]  # VOLATILITY_ROW
    tiers: NDArray[Any]  # (rows of TIER, MAX_TIERS)
    portfolios: NDArray[Any]  # PORTFOLIO_ROW
    agreements: NDArray[Any]  # AGREEMENT
    terms: NDArray[Any]  # (pool, asset) of TERMS
    shocks: NDArray[np.int32]  # (pool, place): the portfolios in which its assets may move, in their order; NONE ends them
    calls: NDArray[Any]  # CALL
    call_terms: NDArray[Any]  # (pool, asset that is the account's currency) CALL_TERMS
    statements: NDArray[Any]  # STATEMENT
    sessions: NDArray[np.int64]  # (calendar, MAX_SESSIONS, start and stop in the week); unused rows are 0, 0
    ids: NDArray[np.uint64]  # (bucket, generation, BUCKET keys)
    account_keys: NDArray[Any]  # ENTRY hash maps
    instrument_keys: NDArray[Any]
    asset_keys: NDArray[Any]
    watermark_offset: NDArray[np.int64]  # (kind, partition)
    watermark_index: NDArray[np.int64]
    covered: NDArray[np.int64]
    found: NDArray[np.int32]  # (records ahead, account, instrument and position): scratch of apply
    picked: NDArray[np.int32]  # (account, whether it is margined and its position, accounts together): scratch of a clock


class Risk(NamedTuple):
    """Rows of every scenario set by instrument (engine/models/rows.py has their form), and scratch to margin one account.

    values: (set, instrument, scenario) int32; scale, bound: (set, instrument). dampener: (portfolio, cell), units of 1e-4
    minor units, as are vectors. floors: (portfolio, instrument), 1e-9 of its value; 0 of what has no row for the portfolio.
    """

    values: NDArray[np.int32]
    scale: NDArray[np.int64]
    bound: NDArray[np.int64]
    dampener: NDArray[np.int64]
    floors: NDArray[np.int64]
    pairs: NDArray[np.int64]  # (cross-margin rule, instrument): 1 + the spread that it belongs to, 0: none
    pair_rates: NDArray[np.int64]  # (cross-margin rule, spread), 1e-9
    width: NDArray[np.int64]  # by set: how many scenarios
    set_hash: NDArray[np.uint64]  # by set: of what its rows were built from
    spreads: Spreads  # of all portfolios; leg pools are slots of underlyings
    row: NDArray[np.int32]  # gathered positions: instrument
    lots: NDArray[np.int64]
    mine_row: NDArray[np.int32]  # those of one portfolio
    mine_lots: NDArray[np.int64]
    vectors: NDArray[np.int64]  # (4, scenarios)
    scratch: NDArray[np.int64]  # 2 x scenarios
    deltas: NDArray[np.int64]  # (long and short, instrument)
    beside: NDArray[np.int64]  # (2, instruments): numbers of the positions of mine_row, as a model takes them
    lines: NDArray[np.int64]  # of the requirement last computed
    moving: NDArray[np.int64]  # of the account last gathered: the portfolio in which its collateral moves, NONE: in none


class MarginAccounts(NamedTuple):
    """The arrays of Accounts that margining positions together needs."""

    pool: NDArray[np.int32]
    agreement: NDArray[np.int32]
    phase_ns: NDArray[np.int64]
    first_position: NDArray[np.int32]
    flags: NDArray[np.uint8]
    changed: NDArray[np.uint8]
    figures: NDArray[Any]
    holding: NDArray[np.int64]
    together: NDArray[np.int64]


class MarginBook(NamedTuple):
    """The arrays of Book that it needs."""

    lots: NDArray[np.int32]
    next: NDArray[np.int32]
    chunk_instrument: NDArray[np.int32]


class MarginState(NamedTuple):
    """The State as kernels see it that margin positions together: few of its arrays, and the risk rows.

    Compiling a kernel takes time by the number of arrays it is given: with the rows in State all took a third longer.
    """

    now: NDArray[Any]
    accounts: MarginAccounts
    book: MarginBook
    instruments: NDArray[Any]
    assets: NDArray[Any]
    portfolios: NDArray[Any]
    agreements: NDArray[Any]
    terms: NDArray[Any]
    shocks: NDArray[np.int32]
    risk: Risk


def hash_size(entries: int) -> int:
    """The size of an open-addressing table for so many entries: a power of two, at most 2/3 full."""
    return 1 << max(4, (entries * 3 // 2).bit_length())


def _lines(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros that begin where a cache line begins."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + LINE, np.uint8)
    first = -raw.ctypes.data % LINE
    lines: NDArray[Any] = raw[first : first + size].view(dtype)
    return lines.reshape(shape)


def allocate(limits: Limits, start_ns: int) -> State:
    """An empty state; the pages of what is not used are never touched."""
    a, chunks = limits.accounts, -(-limits.positions // CHUNK) + limits.instruments
    blocks = -(-a // (8 * LINE))
    assert chunks * CHUNK < 1 << 31, "slots are 32 bits"
    money = _lines((limits.currencies, a, 4), np.int64)  # book, two requirements and 8 bytes for alignment
    now = rows(np.zeros(1, GLOBALS))
    now["clock_ns"] = start_ns
    now["ahead_ns"] = limits.ahead_ms * 10**6
    now["spread_ns"] = limits.spread_ms * 10**6
    now["rebuild_ns"] = limits.rebuild_ms * 10**6
    now["rebuild_bps"] = limits.rebuild_bps
    now["max_accounts"], now["max_positions"], now["max_ids"] = a, limits.positions, limits.ids
    now["max_volatilities"] = limits.volatilities
    now["free_call"], now["next_deadline_ns"] = NONE, INT64_MAX
    terms = rows(np.zeros((limits.pools, limits.assets), TERMS))
    terms["entry"] = NONE
    accounts = Accounts(
        key=np.zeros(a, np.uint64),
        pool=np.zeros(a, np.int32),
        agreement=np.full(a, NONE, np.int32),
        phase_ns=np.zeros(a, np.int64),
        first_position=np.zeros(a, np.int32),
        first_call=np.full(a, NONE, np.int32),
        calls_made=np.zeros(a, np.int64),
        first_statement=np.full(a, NONE, np.int32),
        money=np.zeros(a, np.int64),
        flags=_lines((8 * LINE * blocks,), np.uint8),
        changed=np.zeros(8 * blocks, np.uint8),
        touched=np.zeros(a, np.uint8),
        figures=rows(_lines((a,), ACCOUNT)),
        holding=np.zeros((limits.assets, a), np.int64),
        value=np.zeros((limits.currencies, a), np.int64),
        book=money[:, :, 0],
        required=money[:, :, 1:3],
        together=np.zeros((limits.currencies, a, 2), np.int64),
        exposure=np.zeros((limits.factors, a), np.int64),
    )
    book = Book(
        lots=np.zeros(chunks * CHUNK, np.int32),
        account=np.zeros(chunks * CHUNK, np.int32),
        position=rows(_lines((chunks * CHUNK,), POSITION)),
        next=np.zeros(chunks * CHUNK, np.int32),
        chunk_instrument=np.zeros(chunks, np.int32),
        chunk_next=np.zeros(chunks, np.int32),
        slots=rows(_lines((hash_size(limits.positions),), ENTRY)),
    )
    return State(
        now=now,
        accounts=accounts,
        book=book,
        instruments=rows(np.zeros(limits.instruments, INSTRUMENT)),
        assets=rows(np.zeros(limits.assets, ASSET)),
        currencies=np.zeros(limits.currencies, np.int32),
        factor_keys=np.zeros(limits.factors, np.uint64),
        volatilities=rows(np.zeros(limits.volatilities, VOLATILITY_ROW)),
        tiers=rows(np.zeros((limits.instruments, MAX_TIERS), TIER)),
        portfolios=rows(np.zeros(limits.portfolios, PORTFOLIO_ROW)),
        agreements=rows(np.zeros(a // 2 + 1, AGREEMENT)),
        terms=terms,
        shocks=np.full((limits.pools, MAX_SHOCKS), NONE, np.int32),
        calls=rows(np.zeros(CALLS_PER_ACCOUNT * a, CALL)),
        call_terms=rows(np.zeros((limits.pools, limits.assets), CALL_TERMS)),
        statements=rows(np.zeros(limits.statements, STATEMENT)),
        sessions=np.zeros((limits.calendars, MAX_SESSIONS, 2), np.int64),
        ids=_lines((hash_size(limits.ids) // BUCKET, 2, BUCKET), np.uint64),
        account_keys=rows(_lines((hash_size(a),), ENTRY)),
        instrument_keys=rows(_lines((hash_size(limits.instruments),), ENTRY)),
        asset_keys=rows(_lines((hash_size(limits.assets),), ENTRY)),
        watermark_offset=np.full((KINDS, limits.partitions), -1, np.int64),
        watermark_index=np.full((KINDS, limits.partitions), -1, np.int64),
        covered=np.full((KINDS, limits.partitions), -1, np.int64),
        found=np.zeros((RING, 4), np.int32),
        picked=np.zeros((3, BLOCK + LINE), np.int32),
    )


def margin_state(state: State, limits: Limits) -> MarginState:
    """A state's own arrays, and new empty rows."""

    def some(kind: Any, arrays: Any) -> Any:
        return kind(*(getattr(arrays, name) for name in kind._fields))

    own = {name: getattr(state, name) for name in MarginState._fields if name not in ("accounts", "book", "risk")}
    accounts, book = some(MarginAccounts, state.accounts), some(MarginBook, state.book)
    return MarginState(accounts=accounts, book=book, risk=_risk(limits), **own)


def _risk(limits: Limits) -> Risk:
    width, instruments = limits.scenarios + LINE // 4, limits.instruments  # a line more: rows do not alias in the cache
    spreads = limits.portfolios * MAX_SPREADS
    legs = spreads * MAX_LEGS
    return Risk(
        values=np.zeros((limits.sets, instruments, width), np.int32),
        scale=np.zeros((limits.sets, instruments), np.int64),
        bound=np.zeros((limits.sets, instruments), np.int64),
        dampener=np.zeros((limits.portfolios, width), np.int64),
        floors=np.zeros((limits.portfolios, instruments), np.int64),
        pairs=np.zeros((limits.portfolios, instruments), np.int64),
        pair_rates=np.zeros((limits.portfolios, MAX_SPREADS), np.int64),
        width=np.zeros(limits.sets, np.int64),
        set_hash=np.zeros(limits.sets, np.uint64),
        spreads=Spreads(
            np.zeros(spreads + 1, np.int64),
            np.zeros(legs, np.int32),
            np.zeros(legs, np.int64),
            np.zeros(legs, np.int64),
            np.zeros(spreads, np.int64),
        ),
        row=np.zeros(instruments, np.int32),
        lots=np.zeros(instruments, np.int64),
        mine_row=np.zeros(instruments, np.int32),
        mine_lots=np.zeros(instruments, np.int64),
        vectors=np.zeros((4, width), np.int64),
        scratch=np.zeros(2 * width, np.int64),
        deltas=np.zeros((2, instruments), np.int64),
        beside=np.zeros((2, instruments), np.int64),
        lines=np.zeros(LINES, np.int64),
        moving=np.full(1, NONE, np.int64),
    )


@callable_part
def set_flags(accounts: Accounts | MarginAccounts, account: int, flags: int) -> None:
    """Set flags of an account, so that the next clock sees it."""
    accounts.flags[account] |= np.uint8(flags)
    accounts.changed[account // LINE] = 1


@part
def look_up(table: NDArray[Any], key: int, hashed: Any) -> int:
    """The slot of a key in an ENTRY hash map, or NONE; where in its bucket it is, is found without a branch to foretell."""
    mask = np.uint64(len(table) - BUCKET)
    at = np.uint64(hashed) & mask
    while True:
        second, third, last = table[at + np.uint64(1)].key, table[at + np.uint64(2)].key, table[at + np.uint64(3)].key
        entry = table[at + np.uint64(int(second == key) + 2 * int(third == key) + 3 * int(last == key))]
        if entry.key == key:
            return int(entry.slot)
        if last == 0:
            return NONE
        at = (at + np.uint64(BUCKET)) & mask


@part
def enter(table: NDArray[Any], key: int, hashed: Any, slot: int) -> None:
    """Put a key that is not there into an ENTRY hash map, behind the others of its bucket."""
    mask = np.uint64(len(table) - 1)
    at = np.uint64(hashed) & np.uint64(len(table) - BUCKET)
    while table[at].key != 0:
        at = (at + np.uint64(1)) & mask
    table[at].key = key
    table[at].slot = slot


@callable_part
def find(table: NDArray[Any], key: int) -> int:
    """The slot of a 64-bit key of an id, or NONE."""
    return look_up(table, key, key)


@callable_part
def insert(table: NDArray[Any], key: int, slot: int) -> None:
    """Put the 64-bit key of an id into an ENTRY hash map."""
    enter(table, key, key, slot)

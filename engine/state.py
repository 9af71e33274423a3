"""The engine's state: a struct of arrays, allocated once from the limits. Slots are dense indexes in order of definition.

Money is in micros (1e-6 of a minor unit) where a name says so, else in minor units of its currency.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import INT64_MAX, part, rows
from engine.events import KINDS
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
HISTORICAL: Final = 1
SCAN: Final = 2
GRID: Final = 3
POINTS: Final = 4
LINES: Final = 13  # of a requirement, as engine/charges.py names them
MAX_SPREADS: Final = 32
MAX_LEGS: Final = 8

INSTRUMENT: Final = np.dtype(
    [
        # definition
        ("key", "<u8"), ("currency", "<i4"), ("asset", "<i4"), ("tick", "<i8"), ("lot", "<i8"),
        ("low", "<i8"), ("high", "<i8"), ("tick_value", "<i8"),  # micros of one lot, one tick
        ("contract", "<i8"), ("scale", "<i8"),  # inverse: one lot in the quote currency, micros of one unit of the currency
        ("max_lots", "<i8"), ("expiry_ns", "<i8"), ("stale_ns", "<i8"), ("calendar", "<i4"), ("underlying", "<i4"),
        ("dv01_factor", "<i4"), ("delta_factor", "<i4"), ("dv01", "<i8"), ("delta", "<i8"), ("delta_divisor", "<i8"),
        ("delta_multiplier", "<i8"), ("inverse", "u1"), ("tradable", "u1"),
        # market
        ("priced", "u1"), ("settled", "u1"), ("closed", "u1"), ("quality", "u1"), ("mark_quality", "u1"),
        ("mark", "<i8"), ("mark_ts_ns", "<i8"), ("settlement", "<i8"), ("lot_value", "<i8"), ("volatilities", "<i4"),
        # holders: a list of chunks
        ("first_chunk", "<i4"), ("last_chunk", "<i4"), ("last_used", "<i4"),
        # margin rates per lot, and what they were built from
        ("model", "u1"), ("switched", "u1"), ("built", "u1"), ("rule_version", "<u8"),
        ("flat_initial", "<i8"), ("flat_maintenance", "<i8"), ("floor", "<i8"), ("factor", "<i8"), ("factor_bp", "<i8"),
        ("initial_ratio", "<i8"), ("tenor", "<i8"), ("volatility_stale_ns", "<i8"), ("tiers", "<i4"),
        ("initial_rate", "<i8"), ("maintenance_rate", "<i8"), ("built_value", "<i8"), ("built_mark", "<i8"),
        ("built_volatility", "<i8"), ("built_unit", "<i8"), ("built_ns", "<i8"),
        # risk rows, and what portfolio models need beside them, per lot in the money of the rule
        ("portfolio", "<i4"), ("group", "<i4"),  # its row in `portfolios`; its underlying, else itself
        ("sets", "<i8"),  # bit s: it has a row in scenario set s
        ("waits", "u1"), ("unpriceable", "u1"), ("option", "u1"),
        ("eligible", "<i8"),  # bit r: eligible under cross-margin rule r
        ("built_forward", "<i8"), ("built_rate", "<i8"),  # the underlying's mark and the currency's rate of the rows
        ("quote", "<i4"),  # the asset that profits are counted in
        ("risk_delta", "<i8"), ("spot", "<i8"), ("gross", "<i8"), ("roll", "<i8"), ("minimum", "<i8"),
        ("unit_risk", "<i8"), ("volume", "<i8"), ("funding_rate", "<i8"),
    ],
    align=True,
)  # fmt: skip
ASSET: Final = np.dtype(
    [
        ("key", "<u8"), ("currency", "<i4"), ("currency_slot", "<i4"), ("instrument", "<i4"), ("is_currency", "u1"),
        ("quality", "u1"), ("unit", "<i8"), ("haircut", "<i8"), ("numerator", "<i8"), ("denominator", "<i8"),
        ("rate", "<i8"),  # US cents x 1e12 of one minor unit
    ],
    align=True,
)  # fmt: skip
VOLATILITY_ROW: Final = np.dtype(
    [("underlying", "<i4"), ("next", "<i4"), ("tenor", "<i8"), ("value", "<i8"), ("ts_ns", "<i8"), ("basis_points", "<i8")]
)
PORTFOLIO_ROW: Final = np.dtype(
    [
        ("model", "<i4"), ("set", "<i4"), ("currency", "<i4"), ("asset", "<i4"), ("rule", "<u8"),
        ("scenarios", "<i8"), ("initial_ratio", "<i8"), ("multiplier", "<i8"),
        ("lookback", "<i8"), ("stress", "<i8"), ("tail_bps", "<i8"), ("stress_weight_bps", "<i8"), ("floor", "<i8"),
        ("calendar_charge", "<i8"), ("first_spread", "<i8"), ("last_spread", "<i8"),
        ("gain_share", "<i8"), ("gain_cap", "<i8"), ("delta_threshold", "<i8"), ("delta_step", "<i8"), ("delta_cap", "<i8"),
        ("offset", "<i8"),
        # add-ons: the rule's numbers, and what volatility and calendar said when rules were last bound
        ("participation", "<i8"), ("horizon_days", "<i8"), ("fundings", "<i8"), ("low", "<i8"), ("high", "<i8"),
        ("charge", "<i8"), ("buffer", "<i8"), ("short_volatility", "<i8"), ("long_volatility", "<i8"), ("gap", "<i8"),
        ("least_ns", "<i8"), ("closure_ns", "<i8"),
        ("looked_rule", "<u8"), ("looked_hour", "<i8"),  # the version and the hour that these were worked out for
    ],
    align=True,
)  # fmt: skip
AGREEMENT: Final = np.dtype(
    [
        ("futures", "<i4"), ("treasury", "<i4"),  # accounts
        ("cme", "<i4"), ("ficc", "<i4"),  # rows of `portfolios`
        ("cap", "<i8"), ("precision", "<i8"), ("ttl_ns", "<i8"),
        ("saving", "<i8"), ("agreed_ns", "<i8"),  # the last agreed saving in 1e-9, below 0: none; and when
        ("active", "u1"), ("done", "u1"), ("basis", "u1"), ("rule", "<i8"),  # its bit in `eligible`
        ("applied", "<i8"),  # the saving now
        ("after_futures", "<i8"), ("after_treasury", "<i8"),  # what each leg's portfolio requires with it, minor units
        ("alone_futures", "<i8"), ("alone_treasury", "<i8"),  # and without; maintenance before the multiplier
    ],
    align=True,
)  # fmt: skip
POSITION: Final = np.dtype([("cost", "<i8"), ("realized", "<i8"), ("as_of_ns", "<i8"), ("last_trade_ns", "<i8")])
ACCOUNT: Final = np.dtype(
    [
        ("asset", "<i4"),  # its currency
        ("stale", "<i4"), ("unpriced", "<i4"),  # held positions whose instrument is so
        ("status", "u1"), ("quality", "u1"),
        ("change", "<i8"), ("equity", "<i8"), ("initial", "<i8"), ("maintenance", "<i8"), ("call", "<i8"),
        ("excess_usd", "<i8"),
    ],
    align=True,
)  # fmt: skip
CALL: Final = np.dtype(
    [
        ("account", "<i4"), ("next", "<i4"),  # the account's next younger call; of a free row the next free one
        ("state", "u1"), ("sequence", "<i8"), ("amount", "<i8"), ("received", "<i8"),  # minor units
        ("issued_ns", "<i8"), ("due_ns", "<i8"), ("escalate_ns", "<i8"), ("restrict_ns", "<i8"),
        ("since_ns", "<i8"),  # pending: since when short; open: since when back at initial, 0: not
        ("wake_ns", "<i8"),  # when time alone may change it
    ],
    align=True,
)  # fmt: skip
CALL_TERMS: Final = np.dtype(
    [
        ("minimum", "<i8"), ("rounding", "<i8"),  # minor units, from 1
        ("issue_after_ns", "<i8"), ("cover_after_ns", "<i8"), ("raise_share", "<i8"),  # 1e-9
        ("due_ns", "<i8"), ("escalate_ns", "<i8"), ("restrict_ns", "<i8"),  # of a call issued now
    ],
    align=True,
)  # fmt: skip
STATEMENT: Final = np.dtype(
    [
        ("account", "<i4"), ("next", "<i4"),  # the account's statement before
        ("slot", "<i4"), ("is_asset", "u1"),  # of an asset, else of an instrument
        ("holder", "<i8"),  # key64 of who stated it; 0: nobody did, though the account holds it
        ("quantity", "<i8"), ("ts_ns", "<i8"),  # 1e-8 units
        ("since_ns", "<i8"),  # since which clock statements differ from what is held; 0: the last one did not
        ("gone_ns", "<i8"),  # the clock at which a run began that has not stated it; 0: the last run did
    ],
    align=True,
)  # fmt: skip
ENTRY: Final = np.dtype([("key", "<u8"), ("slot", "<i8")])
TIER: Final = np.dtype([("above", "<i8"), ("initial", "<i8"), ("maintenance", "<i8")])
GLOBALS: Final = np.dtype(
    [
        ("clock_ns", "<i8"), ("passed_ns", "<i8"), ("ahead_ns", "<i8"), ("spread_ns", "<i8"), ("rebuild_ns", "<i8"),
        ("rebuild_bps", "<i8"), ("portfolios", "<i8"), ("agreements", "<i8"), ("next_row", "<i8"),
        ("accounts", "<i8"), ("max_accounts", "<i8"), ("positions", "<i8"), ("max_positions", "<i8"), ("chunks", "<i8"),
        ("instruments", "<i8"), ("assets", "<i8"), ("currencies", "<i8"), ("factors", "<i8"),
        ("volatilities", "<i8"), ("max_volatilities", "<i8"),
        ("statements", "<i8"),
        ("calls", "<i8"), ("free_call", "<i8"), ("next_deadline_ns", "<i8"),  # rows used, first free one among them or NONE
        ("generation", "<i8"), ("ids", "<i8"), ("max_ids", "<i8"), ("ids_from_ns", "<i8"), ("previous_ids_from_ns", "<i8"),
    ]
)  # fmt: skip


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
    haircuts: NDArray[np.int64]  # (pool, asset), 1e-9; E9: not taken
    caps: NDArray[np.int64]  # (pool, asset), US cents of margin value; 0: none
    shocks: NDArray[np.int32]  # (pool, asset): the portfolio that an asset's moves belong to, else NONE
    shock_kinds: NDArray[np.int32]  # (pool, asset): Shock of engine/models/collateral.py
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
    minor units, as are vectors.
    """

    values: NDArray[np.int32]
    scale: NDArray[np.int64]
    bound: NDArray[np.int64]
    dampener: NDArray[np.int64]
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
    lines: NDArray[np.int64]  # of the requirement last computed


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
    haircuts: NDArray[np.int64]
    shocks: NDArray[np.int32]
    shock_kinds: NDArray[np.int32]
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
        haircuts=np.zeros((limits.pools, limits.assets), np.int64),
        caps=np.zeros((limits.pools, limits.assets), np.int64),
        shocks=np.full((limits.pools, limits.assets), NONE, np.int32),
        shock_kinds=np.zeros((limits.pools, limits.assets), np.int32),
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
        deltas=np.zeros((2, max(3, instruments)), np.int64),
        lines=np.zeros(LINES, np.int64),
    )


@part
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


@part
def find(table: NDArray[Any], key: int) -> int:
    """The slot of a 64-bit key of an id, or NONE."""
    return look_up(table, key, key)


@part
def insert(table: NDArray[Any], key: int, slot: int) -> None:
    """Put the 64-bit key of an id into an ENTRY hash map."""
    enter(table, key, key, slot)

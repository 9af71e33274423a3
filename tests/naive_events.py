"""What the slow twin does with one record or action: the checks in their order, then the facts that change."""

from dataclasses import dataclass

import msgspec

from engine.codes import Code
from engine.documents import parse_action
from engine.events import Flag, Kind, id_key, key64
from engine.numbers import time_ns
from tests import naive_calls, naive_reconciliation
from tests.naive_clock import Change, alone
from tests.naive_portfolio import counted
from tests.naive_state import Account, Instrument, OutOfRange, Position, State, half_even

SUM_LIMIT = 2**62
REALIZED_LIMIT = 2**61
Verdict = Code | None  # OK: applied, None: superseded, else why it was rejected


@dataclass(frozen=True)
class Event:
    """A record, without its origin."""

    kind: Kind
    ts_ns: int
    account: int
    instrument: int
    id: int
    quantity: int
    price: int
    flags: Flag


def apply(state: State, event: Event) -> Verdict:
    """Judges and applies one record."""
    return {
        Kind.TRADE: _position_event, Kind.POSITION: _position_event, Kind.PRICE: _price, Kind.VOLATILITY: _volatility,
        Kind.COLLATERAL: _collateral, Kind.STATEMENT: _statement,
    }[event.kind](state, event)  # fmt: skip


def act(state: State, body: bytes) -> tuple[Verdict, int, list[Change]]:
    """Judges an action on a margin call; its verdict, time (0 when it cannot be read) and what it changes."""
    try:
        action = parse_action(body)
        ts_ns = time_ns(action.ts)
    except (msgspec.MsgspecError, ValueError):
        return Code.BAD_FIELD, 0, []
    account = state.accounts.get(action.account)
    if account is None:
        return Code.UNKNOWN_ACCOUNT, ts_ns, []
    if _ahead(state, ts_ns):
        return Code.AHEAD_OF_TIME, ts_ns, []
    key = id_key("actions", action.account, action.user, action.id)
    if _is_remembered(state, key):
        return Code.DUPLICATE, ts_ns, []
    call = naive_calls.find(account, action.call)
    if call is None:
        return Code.UNKNOWN_CALL, ts_ns, []
    return _remember(state, key), ts_ns, [naive_calls.say(account, call, action, state.clock_ns)]


def _ahead(state: State, ts_ns: int) -> bool:
    return 0 < state.clock_ns < ts_ns - state.genesis.limits.ahead_ms * 10**6


def _is_remembered(state: State, event_id: int) -> bool:
    return any(event_id in generation for generation in state.ids)


def _remember(state: State, event_id: int) -> Verdict:
    if _is_remembered(state, event_id):
        return Code.DUPLICATE
    if len(state.ids[0]) >= state.genesis.limits.ids:
        state.ids = [set(), state.ids[0]]
    state.ids[0].add(event_id)
    return Code.OK


def _account(state: State, key: int) -> Account | None:
    return next((account for account in state.accounts.values() if account.key == key), None)


def _instrument(state: State, key: int) -> Instrument | None:
    return next((instrument for i, instrument in state.instruments.items() if key64(i) == key), None)


def _is_over(instrument: Instrument, ts_ns: int) -> bool:
    expiry = instrument.expiry_ns
    return instrument.closed or (expiry is not None and ts_ns >= expiry)


def _position_event(state: State, event: Event) -> Verdict:
    account, instrument = _account(state, event.account), _instrument(state, event.instrument)
    if account is None:
        return Code.UNKNOWN_ACCOUNT
    if instrument is None:
        return Code.UNKNOWN_INSTRUMENT
    is_trade = event.kind is Kind.TRADE
    old = account.positions.get(instrument.document.id)
    checks = (
        (not instrument.document.tradable, Code.NOT_TRADABLE),
        (_ahead(state, event.ts_ns), Code.AHEAD_OF_TIME),
        (_is_over(instrument, event.ts_ns), Code.EXPIRED),
        (event.quantity % instrument.lot != 0, Code.OFF_LOT),
        (is_trade and event.price % instrument.tick != 0, Code.OFF_TICK),
        (not instrument.low <= event.price <= instrument.high, Code.OUT_OF_BAND),
        (_is_remembered(state, event.id), Code.DUPLICATE),
        (is_trade and old is not None and 0 < old.as_of_ns and event.ts_ns <= old.as_of_ns, Code.ALREADY_INCLUDED),
        (not is_trade and old is not None and event.ts_ns < max(old.last_trade_ns, old.as_of_ns), Code.AS_OF_CONFLICT),
        (old is None and _positions(state) >= state.genesis.limits.positions, Code.FULL_POSITIONS),
    )
    for failed, code in checks:
        if failed:
            return code
    dl = event.quantity // instrument.lot
    new = _traded(old or Position(), instrument, dl, event) if is_trade else _start_of_day(old, instrument, dl, event)
    if not _in_range(state, account, instrument, new):
        return Code.POSITION_RANGE
    before = _is_exact(state, account, instrument.currency)
    account.positions[instrument.document.id] = new
    account.positions_dirty = True
    if (
        instrument.forced
        or instrument.portfolio is not None
        or not (before and _is_exact(state, account, instrument.currency))
    ):
        account.due = True  # its requirement no longer follows its positions: it is margined anew
    return _remember(state, event.id)


def _is_exact(state: State, account: Account, currency: str) -> bool:
    """Whether what its positions in a currency require alone can be held exactly."""
    try:
        alone(state, account, currency)
    except OutOfRange:
        return False
    return True


def _positions(state: State) -> int:
    return sum(len(account.positions) for account in state.accounts.values())


def _traded(old: Position, instrument: Instrument, dl: int, event: Event) -> Position:
    value = instrument.value_at_price(event.price)
    lots, cost, realized = old.lots, old.cost, old.realized
    if lots == 0 or (lots > 0) == (dl > 0):
        cost += dl * value
    else:
        closed = min(abs(dl), abs(lots))
        share = cost if closed == abs(lots) else cost * closed // abs(lots)
        realized += (closed if lots > 0 else -closed) * value - share
        cost -= share
        if abs(dl) > abs(lots):
            cost = (lots + dl) * value
    return Position(lots + dl, cost, realized, old.as_of_ns, max(old.last_trade_ns, event.ts_ns))


def _start_of_day(old: Position | None, instrument: Instrument, lots: int, event: Event) -> Position:
    if instrument.document.inverse:
        cost = lots * instrument.value_at_price(event.price)
    else:
        cost = half_even(lots * int(instrument.tick_value) * event.price, instrument.tick)
    return Position(lots, cost, 0, event.ts_ns, old.last_trade_ns if old else 0)


def _in_range(state: State, account: Account, instrument: Instrument, new: Position) -> bool:
    old = account.positions.get(instrument.document.id, Position())
    dl = new.lots - old.lots
    book = state.book(account, instrument.currency) + new.cost - new.realized - old.cost + old.realized
    value = state.value(account, instrument.currency) + dl * instrument.held
    if abs(new.lots) > instrument.max_lots or abs(new.realized) >= REALIZED_LIMIT:
        return False
    if abs(book) >= SUM_LIMIT or abs(value) >= SUM_LIMIT:
        return False
    factor = instrument.factor
    return factor is None or abs(state.exposure(account, factor) + dl * instrument.sensitivity) < SUM_LIMIT


def _price(state: State, event: Event) -> Verdict:
    instrument = _instrument(state, event.instrument)
    if instrument is None:
        return Code.UNKNOWN_INSTRUMENT
    if _ahead(state, event.ts_ns):
        return Code.AHEAD_OF_TIME
    is_settlement = bool(event.flags & Flag.SETTLEMENT)
    is_final = is_settlement and instrument.expiry_ns is not None and event.ts_ns >= instrument.expiry_ns
    if instrument.closed or (not is_final and _is_over(instrument, event.ts_ns)):
        return Code.EXPIRED
    if not instrument.low <= event.price <= instrument.high:
        return Code.OUT_OF_BAND
    if instrument.mark is not None and event.ts_ns < instrument.mark_ns:
        return None
    instrument.mark, instrument.mark_ns = instrument.milliticks(event.price), event.ts_ns
    instrument.settled = instrument.settled or is_final
    return Code.OK


def _volatility(state: State, event: Event) -> Verdict:
    instrument = _instrument(state, event.instrument)
    if instrument is None:
        return Code.UNKNOWN_INSTRUMENT
    if _ahead(state, event.ts_ns):
        return Code.AHEAD_OF_TIME
    slot = instrument.document.id, event.quantity
    if slot not in state.volatilities and len(state.volatilities) >= state.genesis.limits.volatilities:
        return Code.FULL_VOLATILITIES
    if slot in state.volatilities and event.ts_ns < state.volatilities[slot][2]:
        return None
    state.volatilities[slot] = event.price, bool(event.flags & Flag.BASIS_POINTS), event.ts_ns
    return Code.OK


def _asset_id(state: State, key: int) -> str | None:
    return next((asset for asset in state.assets if key64(asset) == key), None)


def _collateral(state: State, event: Event) -> Verdict:
    account, asset_id = _account(state, event.account), _asset_id(state, event.instrument)
    if account is None:
        return Code.UNKNOWN_ACCOUNT
    if asset_id is None:
        return Code.UNKNOWN_ASSET
    if _ahead(state, event.ts_ns):
        return Code.AHEAD_OF_TIME
    document = state.assets[asset_id].document
    unit = 10 ** (8 - document.decimals)
    if event.quantity % unit:
        return Code.OFF_UNIT
    if _is_remembered(state, event.id):
        return Code.DUPLICATE
    held = 0 if event.flags & Flag.REPLACE else account.holdings.get(asset_id, 0)
    result = held + event.quantity // unit
    if abs(result) >= 2**63:
        return Code.POSITION_RANGE
    if document.type != "currency" and result < 0:
        return Code.NEGATIVE_HOLDING
    if abs(result) >= SUM_LIMIT:
        return Code.POSITION_RANGE
    before = _counted(state, account, asset_id)
    account.holdings[asset_id] = result
    after = _counted(state, account, asset_id)
    if account.calls and before is not None and after is not None:
        _take_money(state, account, asset_id, after - before)
    if state.pool_terms(account, asset_id).shocked_in or asset_id in state.watched:
        account.positions_dirty = account.due = True
    return _remember(state, event.id)


def _counted(state: State, account: Account, asset_id: str) -> int | None:
    """What counts of an asset as margin, by the requirement as of the last clock; None where that cannot be said exactly."""
    try:
        return counted(state, account, asset_id, account.maintenance)
    except OutOfRange:
        return None


def _take_money(state: State, account: Account, asset_id: str, amount: int) -> None:
    """Counts money for margin calls, in the account's currency; what has no rate counts nothing."""
    own, rate = (state.assets[name].rate for name in (account.document.currency, asset_id))
    if asset_id != account.document.currency:
        amount = amount * rate // own if own > 0 and rate > 0 and abs(amount * rate // own) < 2**63 else 0
    account.money = min(max(account.money + amount, 1 - SUM_LIMIT), SUM_LIMIT - 1)


def _statement(state: State, event: Event) -> Verdict:
    account, instrument = _account(state, event.account), _instrument(state, event.instrument)
    if account is None:
        return Code.UNKNOWN_ACCOUNT
    is_asset = bool(event.flags & Flag.ASSET)
    name = _asset_id(state, event.instrument) if is_asset else instrument and instrument.document.id
    if name is None:
        return Code.UNKNOWN_ASSET if is_asset else Code.UNKNOWN_INSTRUMENT
    if _ahead(state, event.ts_ns):
        return Code.AHEAD_OF_TIME
    if _is_remembered(state, event.id):
        return Code.DUPLICATE
    verdict = naive_reconciliation.take(state, account, (is_asset, name), event.price, event.quantity, event.ts_ns)
    return _remember(state, event.id) if verdict is Code.OK else verdict

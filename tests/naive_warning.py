"""Early warning worked out position by position in plain floats from the slow twin's facts (engine/warning.py)."""

import math

from engine.report import CallState, Quality
from engine.warning import COIN, RUNGS
from tests.naive_definitions import MONDAY_NS, WEEK_NS, sessions_of
from tests.naive_portfolio import counted
from tests.naive_rules import row_set
from tests.naive_state import E9, E12, Account, Instrument, State

MOST = {"rates": 500, "delta": 100}
Factor = tuple[str, str]  # rates and a currency, or delta and an instrument


def factors(state: State) -> set[Factor]:
    """All that moves: rates of positions' currencies, underlyings with a price, marks of assets."""
    found = {factor for asset in state.assets for factor in links(state, asset)}
    for instrument in state.instruments.values():
        if instrument.factor is not None and instrument.factor.startswith("dv01"):
            found.add(("rates", instrument.currency))
        elif instrument.factor is not None and unit_value(state, instrument.underlying or "") is not None:
            found.add(("delta", instrument.underlying or ""))
    return found


def unit_value(state: State, instrument_id: str) -> float | None:
    """US cents of one unit of an underlying; None where its mark is no price of it."""
    of = state.instruments[instrument_id]
    if of.mark is None or of.document.inverse or of.document.type == "yield":
        return None
    return of.held / (of.lot / 1e8 * float(of.multiplier)) / 1e6 * state.assets[of.currency].rate / E12


def links(state: State, asset_id: str) -> dict[Factor, float]:
    """By factor: the share that an asset's rate changes by with the most of its move."""
    document = state.assets[asset_id].document
    moves = {} if document.currency == asset_id else dict(links(state, document.currency))
    if document.instrument is not None:
        mark = state.instruments[document.instrument]
        factor, share = ("delta", mark.underlying or document.instrument), 1.0
        if mark.dv01 and mark.held > 0:
            factor, share = ("rates", mark.currency), -500 * mark.dv01 / mark.held
        moves[factor] = moves.get(factor, 0.0) + share
    return moves


def amount(state: State, account: Account, asset_id: str) -> float:
    """US cents of all that an account has in an asset, as its equity counts it."""
    total = counted(state, account, asset_id, account.maintenance)
    if asset_id in state.currencies:
        total += (state.value(account, asset_id) - state.book(account, asset_id)) // 10**6
    return total * state.assets[asset_id].rate / E12


def gain(state: State, account: Account, factor: Factor) -> float:
    """US cents that the most of a factor's move up brings an account, in its own currency."""
    kind, name = factor
    total = 0.0
    for instrument_id, position in account.positions.items():
        instrument = state.instruments[instrument_id]
        if kind == "rates" and instrument.factor == f"dv01:{name}:{instrument.document.bucket}":
            total -= 500 * position.lots * instrument.dv01 / 1e6 * state.assets[name].rate / E12
        if kind == "delta" and instrument.factor == f"delta:{name}":
            total += position.lots * delta(instrument) / 1e10 * (unit_value(state, name) or 0.0)
    shares = {asset: links(state, asset).get(factor, 0.0) for asset in state.assets}
    own = account.document.currency
    total += sum(amount(state, account, asset) * share for asset, share in shares.items() if share)
    return total - account.equity * state.assets[own].rate / E12 * shares[own]


def delta(instrument: Instrument) -> int:
    """1e-10 units of the underlying a lot: of an option with risk rows of its own rule the one they were built with."""
    own = None if instrument.portfolio is None or instrument.rule is None else row_set(instrument.rule)
    built = instrument.is_option and own in (instrument.rows or {})
    return instrument.beside.delta if built else instrument.sensitivity


def cents(state: State, account: Account, minor: int) -> float:
    """US cents of an amount of the account's currency."""
    return minor * state.assets[account.document.currency].rate / E12


def warned(state: State) -> list[Account]:
    """Accounts that early warning looks at."""
    return [account for account in state.accounts.values() if account.quality is not Quality.UNPRICED]


def shares(state: State, account: Account) -> dict[Factor, float]:
    """By factor: the share of the most, signed, that takes an account to maintenance, where it does."""
    room = cents(state, account, account.equity - account.maintenance)
    gains = {factor: gain(state, account, factor) for factor in factors(state)}
    return {factor: -room / one for factor, one in gains.items() if one and room <= abs(one)}


def calls(state: State, moves: dict[Factor, float]) -> dict[str, tuple[float, float, bool]]:
    """What accounts short after moves (of the most) lack to initial, what of it is not called, if they are so now."""
    found = {}
    for name, account in state.accounts.items():
        if account.quality is Quality.UNPRICED:
            continue
        gained = sum(share * gain(state, account, factor) for factor, share in moves.items())
        if cents(state, account, account.equity - account.maintenance) + gained < 0:
            asked = sum(call.amount - call.received for call in account.calls if call.state is not CallState.PENDING)
            missing = cents(state, account, account.initial - account.equity) - gained
            is_short = account.equity < account.maintenance
            found[name] = missing, max(0.0, missing - cents(state, account, asked)), is_short
    return found


def rung(state: State, name: str) -> dict[str, float]:
    """By account that a rung of the ladder brings below maintenance: what would be called."""
    of, share = RUNGS[name]
    moved = {factor for factor in factors(state) if factor[0] == "rates"}
    if of == COIN:
        document = state.assets[COIN].document if COIN in state.assets else None
        mark = None if document is None or document.instrument is None else state.instruments[document.instrument]
        moved = set() if mark is None else {("delta", mark.underlying or mark.document.id)}
    return {name: call for name, (call, _, is_short) in calls(state, dict.fromkeys(moved, share)).items() if not is_short}


def close_hours(state: State, pool: str) -> int:
    """Hours until the pool's calendar goes from open to closed, walked minute by minute, rounded up; at most a day."""
    name = state.pools[pool].calendar
    if name is None:
        return 24
    week = sessions_of(state.calendars[name])

    def is_open(ts_ns: int) -> bool:
        return any(start <= (ts_ns - MONDAY_NS) % WEEK_NS < stop for start, stop in week)

    minute = 60 * E9
    first = (state.clock_ns // minute + 1) * minute
    closes = (at for at in range(first, first + 24 * 60 * minute, minute) if is_open(at - 1) and not is_open(at))
    return min(24, -(-(next(closes, 2**62) - state.clock_ns) // (60 * minute)))


def deviation(state: State, factor: Factor) -> float | None:
    """A factor's standard deviation of a day as a share of the most; None without a volatility."""
    found = []
    for instrument_id in state.instruments:
        kept = sorted((tenor, v) for (i, tenor), (v, bp, _) in state.volatilities.items() if i == instrument_id and bp)
        if factor[0] == "rates" and kept and state.instruments[instrument_id].currency == factor[1]:
            found.append(kept[0][1] / E9 / 500)
        kept = sorted((tenor, v) for (i, tenor), (v, bp, _) in state.volatilities.items() if i == instrument_id and not bp)
        if factor == ("delta", instrument_id) and kept:
            found.append(kept[0][1] / E9 / math.sqrt(365))
    return max(found, default=None)

"""The slow twin of add-ons: what a rule's numbers were when last looked at, and what they add to a requirement."""

from fractions import Fraction
from math import ceil, isqrt

from engine.documents import Calendar, Rule
from engine.parameters import AddOns, Depeg, Parameters
from tests.naive_definitions import MONDAY_NS, WEEK_NS, sessions_of
from tests.naive_state import E9, Account, Instrument, Looked, OutOfRange, State, exact

HOUR_NS = 3600 * E9
LIMIT = 2**62


def look(state: State) -> None:
    """Works out the add-ons of rules: of a new version, each hour, when a peg breaks or holds, when a volatility comes."""
    state.watched = set()
    for rule_id in state.portfolio_ids:
        rule, hour = state.portfolio_rule(rule_id), state.clock_ns // HOUR_NS
        version = None if rule is None else (rule.id, rule.effective_ns)
        before = state.looked.get(rule_id, Looked(None, -1))
        addons = None if rule is None else rule.parameters.addons
        if addons is not None and addons.depeg is not None and addons.depeg.share:
            state.watched.add(addons.depeg.asset)
        now = Looked(version, hour, *_numbers(state, rule))
        came = any(old == 0 < new for old, new in ((before.short, now.short), (before.long, now.long)))
        if (before.version, before.hour, before.off_peg) == (version, hour, now.off_peg) and not came:
            continue
        state.looked[rule_id] = now
        differs = now[2:] != before[2:]
        for instrument in state.instruments.values():
            instrument.forced = instrument.forced or (differs and instrument.portfolio == rule_id)
        if not differs and version == before.version:
            continue
        for account in state.accounts.values():
            moving = [a for a, held in account.holdings.items() if held]
            if any(rule_id in state.pool_terms(account, asset).shocked_in for asset in moving):
                account.positions_dirty = account.due = True


def _off_peg(state: State, addons: AddOns | None) -> bool:
    """Whether a dollar of the rule's stablecoin is worth as little as its threshold says."""
    if addons is None or addons.depeg is None or not addons.depeg.share:
        return False
    instrument, price = state.assets[addons.depeg.asset].document.instrument, Fraction(1)
    if instrument is not None:
        one = state.instruments[instrument]
        if one.mark is None:
            return False
        price = Fraction(one.mark * one.tick, 1000 * E9) * one.multiplier
    return price <= 1 - Fraction(addons.depeg.threshold)


def _numbers(state: State, rule: Rule | None) -> tuple[int, int, int, int, bool]:
    """Short and long-run volatility, how long the closure is, how many fundings, whether the stablecoin is off its peg."""
    addons = AddOns() if rule is None else rule.parameters.addons or AddOns()
    short = long = closure = count = 0
    if addons.regime is not None:
        pairs = [
            (addons.regime.underlying, exact(days, 10**8)) for days in (addons.regime.short_days, addons.regime.long_days)
        ]
        short, long = (state.volatilities.get(pair, (0,))[0] for pair in pairs)
    if addons.gap is not None:
        closure = _closure(state.calendars[addons.gap.calendar], state.clock_ns, addons.gap.ahead_hours * HOUR_NS)
    if addons.funding is not None:
        one = addons.funding
        times = range(state.clock_ns // HOUR_NS + 1, (state.clock_ns + one.ahead_hours * HOUR_NS) // HOUR_NS + 1)
        count = sum((hour - one.first_hour) % one.interval_hours == 0 for hour in times)
    return short, long, closure, count, _off_peg(state, addons)


def _closure(calendar: Calendar, now: int, ahead: int) -> int:
    """How long no session is open from the next close on (from now, where none is open), if that is within a time ahead."""
    week = MONDAY_NS + (now - MONDAY_NS) // WEEK_NS * WEEK_NS
    spans = [(week + k * WEEK_NS + a, week + k * WEEK_NS + b) for k in range(-1, 4) for a, b in sessions_of(calendar)]
    close, is_open = now, True
    while is_open:  # sessions that touch are one
        later = [stop for start, stop in spans if start <= close < stop]
        is_open, close = bool(later) and close < now + 2 * WEEK_NS, max(later, default=close)
    if close - now > ahead:
        return 0
    return min(start for start, _ in spans if start >= close) - close


def charged(state: State, account: Account, rule: Rule, held: list[tuple[Instrument, int]], base: int) -> int:
    """What a requirement becomes with its rule's add-ons, before the multiplier; OutOfRange where it cannot be held."""
    p, looked = rule.parameters, state.looked[rule.id]
    addons = p.addons or AddOns()
    total = base + _of_positions(addons, held, looked)
    if addons.regime is not None:
        total += _regime(p, looked, base)
    if addons.gap is not None and looked.closure >= addons.gap.least_hours * HOUR_NS:
        total += ceil(base * (Fraction(addons.gap.multiplier) - 1))
    if addons.depeg is not None and looked.off_peg:
        total += _coins(state, account, addons.depeg, state.assets[p.currency or ""].rate)
    if total >= LIMIT:
        raise OutOfRange
    return total


def _coins(state: State, account: Account, rule: Depeg, into: int) -> int:
    """A share of the stablecoin held, as if it were at its peg, less its haircut; nothing of what scenarios move."""
    held, terms = account.holdings.get(rule.asset, 0), state.pool_terms(account, rule.asset)
    if held <= 0 or terms.shocked_in:
        return 0
    if into <= 0:
        raise OutOfRange
    cents = Fraction(held * 100, 10 ** state.assets[rule.asset].document.decimals)
    value = ceil(cents * 10**12 / into)
    if value >= LIMIT:
        raise OutOfRange
    return max(0, ceil(value * Fraction(rule.share)) - value * terms.haircut // E9)


def _of_positions(addons: AddOns, held: list[tuple[Instrument, int]], looked: Looked) -> int:
    total = 0
    for instrument, lots in held:
        if addons.liquidity is not None and addons.liquidity.participation:
            per_day = int(addons.liquidity.participation * 10**6) * instrument.beside.volume * addons.liquidity.horizon_days
            if not 0 < per_day < 2**53:
                raise OutOfRange
            ratio = ceil(Fraction(abs(lots) * 10**18, per_day))
            root = isqrt(ratio - 1) + 1
            alone = ceil(Fraction(abs(lots) * instrument.beside.worst, 10**6))
            total += ceil(Fraction(alone * max(0, root - 10**6), 10**6))
        if looked.fundings:
            value = ceil(Fraction(abs(lots) * instrument.beside.gross, 10**6))
            paid = instrument.beside.funding * (1 if lots > 0 else -1)
            total += ceil(Fraction(value * max(0, paid) * looked.fundings, E9))
    return total


def _regime(p: Parameters, looked: Looked, base: int) -> int:
    """The charge above the band, and what is left of the buffer: it shrinks as volatility rises above its long-run level."""
    assert p.addons is not None
    assert p.addons.regime is not None
    one, short, long, total = p.addons.regime, looked.short, looked.long, 0
    if one.charge:
        if long <= 0 or short < 0:
            raise OutOfRange
        if short > long * Fraction(one.high) // 1:
            total += ceil(base * Fraction(one.charge))
    if one.buffer:
        used, buffer = 0, int(one.buffer * E9)
        if 0 < long < short < 2**53:
            used = min((short - long) * E9 // short * (E9 + buffer) // buffer, E9)
        total += ceil(Fraction(base * ceil(Fraction(buffer * (E9 - used), E9)), E9))
    return total

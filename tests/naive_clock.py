"""What the slow twin does at a CLOCK: it revalues every asset and instrument and evaluates every account, dirty or not."""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil

from engine.documents import Calendar, Rule
from engine.report import ChangeKind, Quality, Status
from tests import naive_calls
from tests.naive_agreements import agree, pair, waits
from tests.naive_binding import bind
from tests.naive_definitions import MONDAY_NS, WEEK_NS, sessions_of
from tests.naive_portfolio import counted, requirement, rules_of, shocked_holders
from tests.naive_rows import DAY_NS, MOST_ROWS, build_rows, quote_of
from tests.naive_state import E9, E12, Account, Asset, Built, Instrument, OutOfRange, State, half_even

MS = 10**6
NO_CALL = (0,) * 6
Change = tuple[object, ...]
# account, kind, before, after, change number, call, equity, initial, maintenance, ts_ns; of a call: event, sequence, amount,
# received, issued, due, else zeros


def clock(state: State, ts_ns: int) -> list[Change]:
    """Moves time on, brings everything up to date, and gives the changes of status and quality in order."""
    before, now = state.clock_ns, max(state.clock_ns, ts_ns)
    state.clock_ns = now
    bind(state)
    for instrument_id, instrument in state.instruments.items():
        _expire(state, instrument_id, instrument, now)
    for instrument in state.instruments.values():
        _reprice(state, instrument, now)
    for asset in state.assets.values():
        _rate(state, asset)
    _build_rates(state, now)
    for instrument in state.instruments.values():
        instrument.quality = _quality(state, instrument, now)
    if state.portfolio_ids:
        _margin_together(state, before)
    changes: list[Change] = []
    for account in state.accounts.values():
        _evaluate(state, account, before, now, changes)
    return changes


def _expire(state: State, instrument_id: str, instrument: Instrument, now: int) -> None:
    expiry = instrument.expiry_ns
    if expiry is None or expiry > now or not instrument.settled or instrument.closed:
        return
    assert instrument.mark is not None
    final = instrument.lot_value(instrument.mark)
    for account in state.holders(instrument_id):
        position = account.positions[instrument_id]
        position.realized += position.lots * final - position.cost
        position.cost = position.lots = 0
        account.positions_dirty = account.due = True
    instrument.closed = True


def _reprice(state: State, instrument: Instrument, now: int) -> None:
    if instrument.mark is not None:
        instrument.held = instrument.lot_value(instrument.mark)
    instrument.mark_quality = _mark_quality(state, instrument, now)


def session_age(calendar: Calendar | None, since: int, now: int) -> int:
    """Time between two moments that lies inside the calendar's sessions; without a calendar, all of it."""
    if calendar is None:
        return now - since
    sessions = sessions_of(calendar)

    def open_until(moment: int) -> int:
        weeks, rest = divmod(moment - MONDAY_NS, WEEK_NS)
        return sum(weeks * (stop - start) + min(max(rest - start, 0), stop - start) for start, stop in sessions)

    return open_until(now) - open_until(since)


def _mark_quality(state: State, instrument: Instrument, now: int) -> Quality:
    document = instrument.document
    if instrument.mark is None:
        return Quality.UNPRICED
    if document.stale_after is None or now <= instrument.mark_ns:
        return Quality.FRESH
    calendar = None if document.calendar is None else state.calendars[document.calendar]
    age = session_age(calendar, instrument.mark_ns, now)
    return Quality.STALE if age > round(document.stale_after * E9) else Quality.FRESH


def _quality(state: State, instrument: Instrument, now: int) -> Quality:
    """The worst of its inputs, and of the rows that its portfolio rule needs."""
    if instrument.portfolio is not None and instrument.rows is None and not instrument.closed:
        return Quality.UNPRICED
    return _inputs_quality(state, instrument, now)


def _inputs_quality(state: State, instrument: Instrument, now: int) -> Quality:
    expiry = instrument.expiry_ns
    if instrument.closed:
        return Quality.FRESH
    if instrument.mark is None or (expiry is not None and expiry <= now):
        return Quality.UNPRICED
    quality = instrument.mark_quality
    if instrument.rule is not None and instrument.rule.model == "volatility":
        held = state.volatility_of(instrument)
        limit = instrument.rule.parameters.stale_after
        if held is None:
            return Quality.UNPRICED
        if limit is not None and now - held[2] > round(limit * E9):
            quality = Quality.STALE
    return quality


def _rate(state: State, asset: Asset) -> None:
    document = asset.document
    asset.rate, asset.quality = 0, Quality.UNPRICED
    base = state.assets[document.currency]
    one = Fraction(10**base.document.decimals * E12, 10**document.decimals)
    if base is asset:
        one = Fraction(10**2 * E12, 10**document.decimals)  # US cents
    quality = Quality.FRESH
    if document.instrument is not None:
        instrument = state.instruments[document.instrument]
        quality = instrument.mark_quality
        if instrument.mark is None:
            return
        one *= Fraction(instrument.mark * instrument.tick, 1000 * E9) * instrument.multiplier
    own = rate = round(one)
    if base is not asset:
        quality = max(quality, base.quality)
        rate = half_even(own * base.rate, E12)
    if quality is not Quality.UNPRICED and max(abs(own), abs(rate)) < 2**62:
        asset.rate, asset.quality = rate, quality


def _build_rates(state: State, now: int) -> None:
    """Builds rates and rows whose inputs moved: of rows that merely moved so many, from where the last walk ended."""
    instruments, moved = list(state.instruments.values()), 0
    first, waiting = state.next_row, []
    for k in range(len(instruments)):
        at = (first + k) % len(instruments)
        instrument = instruments[at]
        if not _must_build(state, instrument, now):
            continue
        if instrument.sets and instrument.built is not None and not instrument.forced:
            moved += 1
            if moved > MOST_ROWS:
                continue
            state.next_row = (at + 1) % len(instruments)
        _build(state, instrument, now)
        waiting.append(instrument)
    for instrument in waiting:
        if instrument.sets:
            build_rows(state, instrument)
        for account in (*state.holders(instrument.document.id), *shocked_holders(state, instrument)):
            account.due = True


def _forward(state: State, instrument: Instrument) -> int:
    """The mark that an option's rows follow beside its own."""
    underlying = state.instruments.get(instrument.underlying or "")
    return (underlying.mark or 0) if instrument.sets and instrument.is_option and underlying is not None else 0


def _quote_rate(state: State, instrument: Instrument) -> int:
    """The rate of what its rows' profits are counted in."""
    return state.assets[quote_of(state, instrument)].rate if instrument.sets else 0


def _must_build(state: State, instrument: Instrument, now: int) -> bool:
    if instrument.closed or instrument.mark is None or _inputs_quality(state, instrument, now) is Quality.UNPRICED:
        return False
    held = state.volatility_of(instrument) if instrument.rule is not None and instrument.rule.model == "volatility" else None
    volatility = held and held[:2]
    built = instrument.built
    if built is None or instrument.forced:
        return True
    forward, limits = _forward(state, instrument), state.genesis.limits
    differs = built.mark != instrument.mark or built.volatility != volatility
    rate = _quote_rate(state, instrument)
    if instrument.sets:
        differs = differs or built.forward != forward or built.rate != rate or built.at_ns // DAY_NS != now // DAY_NS
    pairs = [(built.mark, instrument.mark), (built.forward, forward), (built.rate, rate)]
    if volatility is not None and built.volatility is not None:
        pairs.append((built.volatility[0], volatility[0]))
    moved = any(_moved(*one, limits.rebuild_bps) for one in pairs)
    if instrument.sets and now - built.at_ns < limits.spread_ms * MS:
        moved = False  # the holders of the rows before still wait for their phases
    return moved or (differs and now - built.at_ns >= limits.rebuild_ms * MS)


def _moved(built: int, now: int, bps: int) -> bool:
    return now != built and abs(now - built) * 10**4 >= bps * abs(built)


def _build(state: State, instrument: Instrument, now: int) -> None:
    assert instrument.mark is not None
    rule = instrument.rule
    held = state.volatility_of(instrument) if rule is not None and rule.model == "volatility" else None
    built = instrument.built = Built(
        instrument.mark, held and held[:2], now, _forward(state, instrument), _quote_rate(state, instrument)
    )
    instrument.forced = False
    if rule is None or rule.model not in ("flat", "tiered", "volatility"):
        return
    p = rule.parameters
    if rule.model == "flat":
        built.initial, built.maintenance = (ceil(Fraction(x) * instrument.lot_money) for x in (p.initial, p.maintenance))
    elif rule.model == "tiered":
        built.notional = abs(instrument.held)
        minor = 10**instrument.decimals
        built.tiers = [
            (ceil(Fraction(tier.above) * minor), int(Fraction(tier.initial) * E9), int(Fraction(tier.maintenance) * E9))
            for tier in p.tiers or ()
        ]
    else:
        assert held is not None
        base = abs(instrument.dv01 if held[1] else instrument.held)
        factor = _factor(rule, basis_points=held[1])
        floor = ceil(Fraction(p.floor or 0) * instrument.lot_money)
        built.maintenance = max(floor, ceil(Fraction(ceil(Fraction(base * held[0], E9)) * factor, E9)))
        built.initial = ceil(Fraction(built.maintenance * int(Fraction(p.initial_ratio or 1) * E9), E9))


def _factor(rule: Rule, basis_points: bool) -> int:
    p = rule.parameters
    assert p.multiple is not None
    assert p.days is not None
    with localcontext(prec=60):
        days = p.days if basis_points else p.days / p.days_per_year
        return round(Fraction(p.multiple * Decimal(days).sqrt() * E9))


def _quality_of(state: State, account: Account) -> Quality:
    if state.assets[account.document.currency].rate <= 0:
        return Quality.UNPRICED
    qualities = [state.instruments[i].quality for i, p in account.positions.items() if p.lots]
    for asset_id, asset in state.assets.items():
        value, book = state.value(account, asset_id), state.book(account, asset_id)
        if account.holdings.get(asset_id) or value or book or asset_id == account.document.currency:
            qualities.append(asset.quality)
        if max(abs(value), abs(book), abs(value - book)) >= 2**62:
            return Quality.UNPRICED
    return max(qualities)


def _is_margined(state: State, account: Account, before: int) -> bool:
    """Whether it is margined at this clock: its positions changed, or it is due and its phase was passed."""
    window = state.genesis.limits.spread_ms * MS
    phase = account.phase_key % window
    at_phase = (state.clock_ns - phase) // window > (before - phase) // window
    return account.positions_dirty or (account.due and at_phase)


def _margin_together(state: State, before: int) -> None:
    """Margins what accounts hold under portfolio rules, those of an agreement at the same clock."""
    pair(state)
    for account in state.accounts.values():
        if not account.due or waits(state, account) or not _is_margined(state, account, before):
            continue
        if account.pact is not None and account.pact.is_active and not account.pact.done:
            agree(state, account.pact)
        account.together = {}
        for rule_id in rules_of(state, account):
            currency = state.portfolio_rule(rule_id).parameters.currency or ""
            sums = account.together.get(currency, (0, 0))
            try:
                needed = requirement(state, account, rule_id)
            except OutOfRange:
                needed = 2**62, 2**62
            account.together[currency] = sums[0] + needed[0], sums[1] + needed[1]


def _evaluate(state: State, account: Account, before: int, now: int, changes: list[Change]) -> None:
    quality = _quality_of(state, account)
    is_due = _is_margined(state, account, before)
    if quality is not Quality.UNPRICED:
        try:
            initial, maintenance = _margin(state, account) if is_due else (account.initial, account.maintenance)
            equity, call, excess_usd = _money(state, account, initial, maintenance)
        except OutOfRange:
            quality = Quality.UNPRICED
            account.positions_dirty |= is_due
        else:
            account.initial, account.maintenance, account.equity = initial, maintenance, equity
            account.call, account.excess_usd = call, excess_usd
            if is_due:
                account.positions_dirty = account.due = False
    changes += [naive_calls.change(account, said, now) for said in naive_calls.follow(state, account, quality)]
    status = max(_classify(account.equity, account.initial, account.maintenance), naive_calls.level(account))
    for kind, old, new in ((ChangeKind.STATUS, account.status, status), (ChangeKind.QUALITY, account.quality, quality)):
        if old != new:
            account.change += 1
            money = account.call, account.equity, account.initial, account.maintenance
            changes.append((account.document.id, kind, int(old), int(new), account.change, *money, now, *NO_CALL))
    account.status, account.quality = status, quality


def _exact(amount: int) -> int:
    """An amount, unless it is outside the range in which figures are exact."""
    if abs(amount) >= 2**62:
        raise OutOfRange
    return amount


def alone(state: State, account: Account, currency: str) -> tuple[int, int]:
    """Initial and maintenance of the positions in one currency that are margined alone, minor units."""
    sums = [0, 0]
    for instrument_id, position in account.positions.items():
        instrument = state.instruments[instrument_id]
        if (
            not position.lots
            or instrument.built is None
            or instrument.portfolio is not None
            or instrument.currency != currency
        ):
            continue
        for level, needed in enumerate(_required(instrument.built, abs(position.lots))):
            sums[level] = _exact(sums[level] + needed)
    return sums[0], sums[1]


def _margin(state: State, account: Account) -> tuple[int, int]:
    """Initial and maintenance: what stands alone and what together, summed per currency, converted, each rounded up."""
    sums = {currency: list(map(_exact, needed)) for currency, needed in account.together.items()}
    for currency in state.currencies:
        both = zip(sums.get(currency, (0, 0)), alone(state, account, currency), strict=True)
        sums[currency] = [_exact(a + b) for a, b in both]
    totals = [0, 0]
    for currency, needed in sums.items():
        for level in (0, 1):
            totals[level] = _exact(totals[level] - convert(state, account, currency, -needed[level]))
    return totals[0], totals[1]


def _required(built: Built, lots: int) -> tuple[int, int]:
    """Initial and maintenance of so many lots, minor units."""
    if built.tiers is None:
        initial, maintenance = (ceil(Fraction(lots * _exact(rate), 10**6)) for rate in (built.initial, built.maintenance))
        return _exact(initial), _exact(maintenance)
    notional = _exact(ceil(Fraction(lots * built.notional, 10**6)))
    ends = [tier[0] for tier in built.tiers[1:]] + [notional]
    totals = [0, 0]
    for (start, *rates), end in zip(built.tiers, ends, strict=True):
        part = max(min(notional, end) - start, 0)
        for level in (0, 1):
            totals[level] = _exact(totals[level] + ceil(Fraction(part * rates[level], E9)))
    return totals[0], totals[1]


def convert(state: State, account: Account, currency: str, minor: int) -> int:
    """Minor units of `currency` in those of the account's, rounded down."""
    own = account.document.currency
    if currency == own or minor == 0:
        return minor
    return _exact(minor * state.assets[currency].rate // state.assets[own].rate)


def _money(state: State, account: Account, initial: int, maintenance: int) -> tuple[int, int, int]:
    """Equity, call and excess in US cents."""
    equity = 0
    for asset_id in state.assets:
        minor = counted(state, account, asset_id, maintenance)
        minor += (state.value(account, asset_id) - state.book(account, asset_id)) // 10**6
        equity = _exact(equity + convert(state, account, asset_id, minor))
    call = initial - equity if equity < maintenance else 0
    excess_usd = _exact(equity - initial) * state.assets[account.document.currency].rate // E12
    return equity, call, _exact(excess_usd)


def _classify(equity: int, initial: int, maintenance: int) -> Status:
    if equity < 0:
        return Status.DEBIT
    if equity < maintenance:
        return Status.CALL
    return Status.WATCH if equity < initial else Status.OK

"""The slow twin of portfolio margin: requirements from plain sums over rows, sorted losses and fractions."""

from collections.abc import Iterable
from fractions import Fraction
from math import ceil, floor

from engine.documents import Rule
from engine.models.collateral import Shock
from engine.parameters import Parameters
from tests.naive_charges import charged
from tests.naive_rules import look_back, row_set
from tests.naive_state import E9, E12, Account, Instrument, OutOfRange, RowSet, State, exact

UNITS = 10**4  # of a row in one minor unit
COIN = 10**10  # of a delta in one unit of the underlying
LIMIT = 2**62
Held = list[tuple[Instrument, int]]  # instruments and lots
Vector = list[int]


def held_of(state: State, account: Account, rule_id: str) -> Held:
    """What the account holds under a portfolio rule."""
    held = [(state.instruments[i], position.lots) for i, position in account.positions.items() if position.lots]
    return [(instrument, lots) for instrument, lots in held if instrument.portfolio == rule_id]


def rules_of(state: State, account: Account) -> list[str]:
    """The portfolio rules under which the account has positions, or collateral that moves."""
    used = {*_with_positions(state, account), moves_in(state, account)}
    return [rule_id for rule_id in state.portfolio_ids if rule_id in used]


def _with_positions(state: State, account: Account) -> set[str | None]:
    return {state.instruments[i].portfolio for i, position in account.positions.items() if position.lots}


def moves_in(state: State, account: Account) -> str | None:
    """The rule in whose scenarios all of the account's shocked collateral moves: the first named one with positions."""
    held = [state.pool_terms(account, asset).shocked_in for asset, amount in account.holdings.items() if amount]
    named = next(filter(None, held), ())
    return next((rule_id for rule_id in named if rule_id in _with_positions(state, account)), named[0] if named else None)


def requirement(state: State, account: Account, rule_id: str) -> tuple[int, int]:
    """Initial and maintenance under one rule, minor units of its currency; OutOfRange where they cannot be held."""
    rule = state.portfolio_rule(rule_id)
    assert rule is not None
    held = held_of(state, account, rule_id)
    model = {"historical": _historical, "scan": _scan, "grid": _grid, "points": _points}[rule.model]
    total = within(model(state, account, held, rule))
    after = None if account.pact is None or not account.pact.is_active else account.pact.after.get(account.document.id)
    if after is not None and _is_of_pact(account, rule_id):
        total = min(total, max(after, _least(state, rule, held)))
    total = charged(state, account, rule, held, total)
    maintenance = within(ceil(total * Fraction(rule.parameters.multiplier or 1)))
    return within(ceil(maintenance * Fraction(rule.parameters.initial_ratio or 1))), maintenance


def _is_of_pact(account: Account, rule_id: str) -> bool:
    pact = account.pact
    assert pact is not None
    assert pact.terms is not None
    is_futures = pact.document.futures_account == account.document.id
    return rule_id == (pact.terms.cme if is_futures else pact.terms.ficc)


def within(amount: int) -> int:
    """An amount, unless it is outside the range in which figures are exact."""
    if abs(amount) >= LIMIT:
        raise OutOfRange
    return amount


def vector(held: Held, one: RowSet, scenarios: int) -> Vector:
    """Profit or loss in each scenario, 1e-4 minor units."""
    rows = [(instrument.rows or {}, lots) for instrument, lots in held]
    within(sum(abs(lots) * max(map(abs, row[one])) for row, lots in rows))
    return [sum(lots * row[one][s] for row, lots in rows) for s in range(scenarios)]


def _vector(state: State, held: Held, rule: Rule) -> Vector:
    return vector(held, row_set(rule), len(state.sets[rule.parameters.scenarios or ""].labels))


def _by_group(held: Held) -> list[Held]:
    groups: dict[str, Held] = {}
    for instrument, lots in held:
        groups.setdefault(instrument.group, []).append((instrument, lots))
    return list(groups.values())


def _up(value: Fraction | int) -> int:
    return min(ceil(value), LIMIT)


def minor(value: int) -> int:
    """1e-4 minor units in minor units, rounded up."""
    return ceil(Fraction(value, UNITS))


def _add_shocked(state: State, account: Account, rule: Rule, pnl: Vector) -> Vector:
    """The vector with what the account's collateral wins or loses in it, each holding rounded down."""
    result, bound = list(pnl), 0
    for asset_id, asset in state.assets.items():
        held, terms = account.holdings.get(asset_id, 0), state.pool_terms(account, asset_id)
        if held == 0 or not terms.shocked_in or moves_in(state, account) != rule.id:
            continue
        instrument = state.instruments[asset.document.instrument or ""]
        row = (instrument.rows or {}).get(row_set(rule))
        if row is None:
            raise OutOfRange
        quantity = held * 10 ** (8 - asset.document.decimals)
        if abs(quantity) >= 9.2e18:
            raise OutOfRange
        bound = within(bound + ceil(Fraction(abs(quantity) * max(map(abs, row)), instrument.lot)))
        charged = _charged(state, asset_id, held, terms.haircut, rule)
        for s, value in enumerate(row):
            won = quantity * value // instrument.lot
            result[s] += min(won + charged, 0) if terms.shock == Shock.BEYOND else won
    return result


def _charged(state: State, asset_id: str, held: int, haircut: int, rule: Rule) -> int:
    """What the haircut takes off a holding, in units of the vector."""
    rate, into = (state.assets[name].rate for name in (asset_id, rule.parameters.currency or ""))
    if held <= 0 or into <= 0 or held * rate // into >= LIMIT // UNITS:
        return 0
    return held * rate // into * haircut // E9 * UNITS


def loss_at(pnl: Vector, tail: Fraction) -> int:
    """The loss that so large a share of the scenarios exceeds, never interpolated."""
    return sorted((-value for value in pnl), reverse=True)[floor(len(pnl) * tail)]


def historical_loss(state: State, rule: Rule, pnl: Vector) -> int:
    """The quantile's loss, blended with the stress set's, minor units."""
    p, split = rule.parameters, look_back(state.sets[rule.parameters.scenarios or ""])
    tail, weight = Fraction(p.tail or 0), Fraction(p.stress_weight or 0)
    loss = Fraction(loss_at(pnl[:split], tail))
    if weight:
        loss = (1 - weight) * loss + weight * loss_at(pnl[split:], tail)
    return minor(max(0, ceil(loss)))


def value_floor(state: State, rule: Rule, held: Held) -> int:
    """Of each position's market value the share that the rule's floor has for it, minor units."""
    gross = [(_up(Fraction(abs(lots) * instrument.beside.gross, 10**6)), instrument) for instrument, lots in held]
    return min(sum(_up(Fraction(value * state.floors[rule.id, i.document.id], E9)) for value, i in gross), LIMIT)


def _least(state: State, rule: Rule, held: Held) -> int:
    """The minimum margin amount of a portfolio that holds something, minor units."""
    p = rule.parameters
    has_one = rule.model == "historical" and p.minimum is not None and held
    return exact(p.minimum, 10 ** state.assets[p.currency or ""].document.decimals) if has_one else 0


def _historical(state: State, account: Account, held: Held, rule: Rule) -> int:
    pnl = _add_shocked(state, account, rule, _vector(state, held, rule))
    return max(historical_loss(state, rule, pnl), value_floor(state, rule, held), _least(state, rule, held))


def _expiries(held: Held) -> list[Held]:
    found: dict[int | None, Held] = {}
    for instrument, lots in held:
        found.setdefault(instrument.expiry_ns, []).append((instrument, lots))
    return list(found.values())


def _product(lots: int, each: int) -> int:
    if abs(float(lots) * float(each)) >= 1e18:
        raise OutOfRange
    return lots * each


def _deltas(held: Held) -> tuple[int, int]:
    """Long and short deltas in 1e-6: positions of one expiry net, expiries do not."""
    nets = [sum(_product(lots, instrument.beside.delta) for instrument, lots in one) for one in _expiries(held)]
    return sum(max(net, 0) // 10**4 for net in nets), sum(max(-net, 0) // 10**4 for net in nets)


def _scan(state: State, account: Account, held: Held, rule: Rule) -> int:
    p, long, short, worst, calendar = rule.parameters, dict[str, int](), dict[str, int](), 0, 0
    money = 10 ** state.assets[p.currency or ""].document.decimals
    for group in _by_group(held):
        worst += max(0, -min(_vector(state, group, rule)))
        ups, downs = _deltas(group)
        micros = ceil(min(ups, downs) * Fraction(p.calendar_charge or 0) * money)  # 1e-6 minor units
        calendar += ceil(Fraction(micros, 10**6))
        name = group[0][0].group
        long[name], short[name] = max(ups - downs, 0), max(downs - ups, 0)
    within(worst)
    within(calendar)
    credit = _credit(p, money, long, short)
    risk = minor(worst)
    least = sum(_up(Fraction(-lots * i.beside.minimum, 10**6)) for i, lots in held if lots < 0 and i.is_option)
    return max(risk + calendar - credit, least, 0)


def _credit(p: Parameters, money: int, long: dict[str, int], short: dict[str, int]) -> int:
    """What spreads between commodities take off, in their order; they are counted in 1e-6 of one, rounded down."""
    total = 0
    for spread in p.spreads or ():
        for way in (1, -1):
            legs = [(long if leg.side == way else short, leg.underlying, Fraction(leg.ratio)) for leg in spread.legs]
            count = min(floor(deltas.get(name, 0) / ratio) for deltas, name, ratio in legs)
            for deltas, name, ratio in legs:
                if count:
                    deltas[name] -= floor(count * ratio)
            total += floor(count * Fraction(spread.credit) * money)
            if total >= LIMIT:
                return 0
    return total // 10**6


def _grid(state: State, account: Account, held: Held, rule: Rule) -> int:
    p, made = rule.parameters, state.sets[rule.parameters.scenarios or ""]
    money = 10 ** state.assets[p.currency or ""].document.decimals
    edge = float(made.parameters["price_range"]) * (1 + 1e-12)
    amount = float(p.dampener or 0) * money * UNITS
    damp = [floor((max(abs(move) / edge, 1.0) - 1) * amount) for move in made.matrix[:, 0].tolist()]
    most, share = Fraction(p.gain_cap or 0) * money * UNITS, Fraction(p.gain_share or 0)
    total, roll, delta = [0] * len(made.labels), 0, 0
    for group in _by_group(held):
        for s, value in enumerate(_vector(state, group, rule)):
            size = max(0, abs(value) - damp[s])
            total[s] += floor(min(size, most) * share) if value > 0 else -size
            if abs(total[s]) >= LIMIT // 2:
                raise OutOfRange
        roll += sum(abs(sum(_product(lots, i.beside.roll) for i, lots in one)) for one in _expiries(group))
        delta += _delta_shock(p, money, group)
    total = _add_shocked(state, account, rule, total)
    return minor(max(0, -min(total))) + minor(within(roll)) + within(delta)


def _delta_shock(p: Parameters, money: int, held: Held) -> int:
    """Net delta of futures and short options, reduced by long options, x price x a rate that grows with it."""
    deltas = [(_product(lots, i.beside.delta), i.is_option and lots > 0) for i, lots in held]
    options, others = (sum(d for d, is_long in deltas if is_long == wanted) for wanted in (True, False))
    price = max(instrument.beside.spot for instrument, _ in held)
    if not p.delta_cap or price <= 0:
        return 0
    net = max(min(options + others, others), 0) if others >= 0 else min(max(options + others, others), 0)
    notional, threshold = _up(Fraction(abs(net) * price, COIN)), Fraction(p.delta_threshold or 0) * money
    if notional <= threshold:
        return 0
    step = Fraction(p.delta_step or 0)
    rate = Fraction(ceil(_up((notional - threshold) * COIN / price) * step * E9 / COIN), E9)
    return _up(notional * min(rate, Fraction(p.delta_cap)))


def _points(state: State, account: Account, held: Held, rule: Rule) -> int:
    share, total = Fraction(rule.parameters.offset or 0), None
    for group in _by_group(held):
        one = [value if value < 0 else floor(value * share) for value in _vector(state, group, rule)]
        total = one if total is None else [a + b for a, b in zip(total, one, strict=True)]
        if max(map(abs, total)) >= LIMIT // 2:
            raise OutOfRange
    least = sum(_up(Fraction(abs(lots) * _minimum(i, lots), 10**6)) for i, lots in held)
    return max(minor(max(0, -min(total or [0]))), least)


def _minimum(instrument: Instrument, lots: int) -> int:
    """Micros per lot; a long contract cannot lose more than it is worth."""
    return instrument.beside.minimum if lots < 0 else min(instrument.beside.minimum, instrument.beside.gross)


def shocked_holders(state: State, instrument: Instrument) -> Iterable[Account]:
    """Who holds an asset that moves with the instrument in the scenarios."""
    assets = [i for i, asset in state.assets.items() if asset.document.instrument == instrument.document.id]
    for account in state.accounts.values():
        if any(account.holdings.get(a) and state.pool_terms(account, a).shocked_in for a in assets):
            yield account


def counted(state: State, account: Account, asset_id: str, maintenance: int) -> int:
    """Of what is held of an asset, what counts as margin after haircut, cap and share, minor units of the asset.

    What the schedule counts under one key shares its limits, what was defined first before the rest.
    """
    held, terms, rate = account.holdings.get(asset_id, 0), state.pool_terms(account, asset_id), state.assets[asset_id].rate
    if held <= 0 or terms.key is None:
        return held if held <= 0 else held * (E9 - terms.haircut) // E9
    room = [] if terms.cap is None else [terms.cap]
    if terms.share is not None:
        room.append(within(maintenance * state.assets[account.document.currency].rate // E12) * terms.share // E9)
    left = min(room)
    for other in state.assets:
        more = state.pool_terms(account, other)
        amount = max(0, account.holdings.get(other, 0)) * (E9 - more.haircut) // E9
        if other == asset_id:
            return min(amount, left * E12 // rate) if rate > 0 and amount * rate // E12 > left else amount
        if more.key == terms.key:
            left -= min(left, max(0, amount * state.assets[other].rate // E12))
    raise AssertionError(asset_id)

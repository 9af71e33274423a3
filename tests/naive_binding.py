"""What the slow twin takes from its documents at a CLOCK: rules in force, haircuts of pools, sets of rows, agreements."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from engine.documents import Pool, Rule
from engine.models.collateral import Holding, Schedule, Shock, treatment
from tests.naive_charges import look
from tests.naive_rules import row_set
from tests.naive_state import E9, Asset, Instrument, Pact, PactTerms, PoolTerms, RowSet, State, exact


def bind(state: State) -> None:
    """Brings everything to the rules in force at the clock's time."""
    for instrument in state.instruments.values():
        rule = state.in_force(instrument.document.rule)
        share = share_of(state, rule, instrument) if rule is not None and rule.model == "maturity" else None
        if (_identity(rule), share) != (_identity(instrument.rule), instrument.share):
            instrument.rule, instrument.share, instrument.forced = rule, share, True
    look(state)
    for pool in state.pools.values():
        for asset in state.assets.values():
            _bind_asset(state, pool, asset)
    _bind_sets(state)
    _bind_floors(state)
    _bind_spreads(state)
    for pact in state.pacts.values():
        _bind_pact(state, pact)


def today(state: State) -> date:
    """The UTC day of the clock."""
    return datetime.fromtimestamp(state.clock_ns // E9, UTC).date()


def share_of(state: State, rule: Rule, instrument: Instrument) -> Decimal | None:
    """The share of a rule's bands that the time left to its maturity falls into; None: none is left, or it is not known."""
    day, p = today(state), rule.parameters
    if instrument.document.maturity is None:
        return None
    maturity = date.fromisoformat(instrument.document.maturity)
    for years, share in p.bands or () if maturity > day else ():
        end = None if years is None else _years_on(day, years)
        if end is None or maturity < end or (maturity == end and p.through):
            return share
    return None


def _identity(rule: Rule | None) -> tuple[str, int] | None:
    return None if rule is None else (rule.id, rule.effective_ns)


def _bind_asset(state: State, pool: Pool, asset: Asset) -> None:
    place = pool.id, asset.document.id
    before, terms = state.terms.get(place, PoolTerms()), _terms(state, pool, asset)
    state.terms[place] = terms
    moves = bool(before.shocked_in or terms.shocked_in) or asset.document.id in state.watched
    if before != terms and moves:
        for account in state.accounts.values():
            if account.document.pool == pool.id and account.holdings.get(asset.document.id):
                account.positions_dirty = account.due = True


def _terms(state: State, pool: Pool, asset: Asset) -> PoolTerms:
    """An asset's own haircut, or what the schedule in force says of it; without one in force nothing of it counts."""
    if pool.collateral is None:
        return PoolTerms(asset.haircut)
    rule, document = state.in_force(pool.collateral), asset.document
    if rule is None or rule.model != "collateral":
        return PoolTerms(E9)
    p = rule.parameters
    schedule = Schedule(assets=p.assets or {}, currency=p.currency or "", through=p.through, pilot=p.pilot)
    priced_by = state.instruments.get(document.instrument or "")
    maturity = None if priced_by is None else priced_by.document.maturity
    currency = {"currency": document.id, "crypto": None, "stablecoin": None}.get(document.type, document.currency)
    names = document.id, document.type
    holding = Holding(names, 0, currency, None if maturity is None else date.fromisoformat(maturity))
    found = treatment(schedule, holding, today(state), pool.currency)
    haircut = E9 - (E9 - found.haircut_ppb) * (E9 - found.fx_ppb) // E9
    if found.reason:
        return PoolTerms(E9)
    entry = schedule.assets[found.key]
    limits = (
        None if entry.cap is None and entry.share is None else found.key,
        None if entry.cap is None else exact(entry.cap, 100), None if entry.share is None else exact(entry.share, E9),
    )  # fmt: skip
    named = (pool.shocks,) if isinstance(pool.shocks, str) else pool.shocks
    rules = [rule for name in named if (rule := state.portfolio_rule(name)) is not None]
    shocked_in = tuple(rule.id for rule in rules if rule.model in ("historical", "grid"))
    can = bool(shocked_in) and document.instrument is not None
    if 0 in limits or (found.shock == Shock.WHOLE and not can):
        return PoolTerms(E9)
    if found.shock == Shock.NONE or not can:
        return PoolTerms(haircut, *limits)
    return PoolTerms(haircut, *limits, shocked_in, found.shock)


def _houses(state: State, rule_id: str) -> tuple[Rule, tuple[str, str]] | None:
    """A cross-margin rule in force with its houses, if both are in force as historical rules."""
    rule = state.in_force(rule_id)
    if rule is None or rule.model != "cross_margin":
        return None
    cme, ficc = rule.parameters.houses or ("", "")
    found = [state.in_force(house) for house in (cme, ficc)]
    is_ready = cme != ficc and all(house is not None and house.model == "historical" for house in found)
    is_ready = is_ready and not any({cme, ficc} & set(terms.shocked_in) for terms in state.terms.values())
    return (rule, (cme, ficc)) if is_ready else None


def _bind_sets(state: State) -> None:
    """Which rows each instrument has: of its portfolio rule, of both houses where that is one, of what it is a price of."""
    crossed = {rule_id: found for rule_id in state.cross_ids if (found := _houses(state, rule_id)) is not None}
    rules = [rule for rule_id in state.portfolio_ids if (rule := state.portfolio_rule(rule_id)) is not None]
    own = {rule.id: {row_set(rule)} for rule in rules}
    needed = {rule_id: set(sets) for rule_id, sets in own.items()}
    for _, houses in crossed.values():
        for house in houses:
            needed[house] |= own[houses[0]] | own[houses[1]]
    shocked = {(asset, rule_id) for (_, asset), terms in state.terms.items() for rule_id in terms.shocked_in}
    changed = _changed(state)
    for name, instrument in state.instruments.items():
        sets = set(needed.get(instrument.portfolio or "", ()))
        for asset_id, rule_id in shocked:
            if state.assets[asset_id].document.instrument == name:
                sets |= needed[rule_id]
        eligible = {i for i, (rule, houses) in crossed.items() if _is_eligible(state, instrument, rule, houses)}
        if sets != instrument.sets or sets & changed or eligible != instrument.eligible:
            instrument.sets, instrument.eligible = frozenset(sets), frozenset(eligible)
            instrument.forced, instrument.rows = True, None


def _bind_floors(state: State) -> None:
    """The floor of each instrument that has a row for a historical rule; one that changed margins its holders anew."""
    for rule_id in state.portfolio_ids:
        rule = state.portfolio_rule(rule_id)
        for name, instrument in state.instruments.items():
            now = 0
            if rule is not None and rule.model == "historical" and row_set(rule) in instrument.sets:
                floor = rule.parameters.floor if rule.parameters.bands is None else share_of(state, rule, instrument)
                now = exact(floor or 0, E9)
            instrument.forced = instrument.forced or now != state.floors.get((rule_id, name), 0)
            state.floors[rule_id, name] = now


def _bind_spreads(state: State) -> None:
    """The recognised spread of each cross-margin rule that an instrument belongs to."""
    for rule_id in state.cross_ids:
        found = _houses(state, rule_id)
        pairs = [] if found is None else found[0].parameters.pairs or []
        for name, instrument in state.instruments.items():
            product, of = product_of(instrument)
            now = next((i for i, one in enumerate(pairs) if getattr(one, of) == product), None)
            instrument.forced = instrument.forced or now != state.spreads.get((rule_id, name))
            state.spreads[rule_id, name] = now


def product_of(instrument: Instrument) -> tuple[str, str]:
    """Its product, and the leg of a spread that this is of."""
    document = instrument.document
    return document.product or document.type, "treasury" if document.type in ("treasury", "repo") else "futures"


def _changed(state: State) -> set[RowSet]:
    """The row sets whose scenarios or scan ranges are others than when rules were last bound."""
    now: dict[RowSet, object] = {}
    for one in state.row_sets:
        rule = state.in_force(one.ranges_of)
        now[one] = state.sets[one.scenarios].hash, rule is None, rule and rule.parameters.ranges
    changed = {one for one in now if state.contents.get(one) != now[one]}
    state.contents = now
    return changed


def _is_eligible(state: State, instrument: Instrument, rule: Rule, houses: Iterable[str]) -> bool:
    document, p = instrument.document, rule.parameters
    if instrument.portfolio not in houses or (document.product or document.type) not in (p.products or ()):
        return False
    if document.type not in ("treasury", "repo"):
        return True
    return document.maturity is not None and date.fromisoformat(document.maturity) > _years_on(today(state), p.years or 0)


def _years_on(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # 29 February
        return (day - timedelta(days=1)).replace(year=day.year + years)


def _bind_pact(state: State, pact: Pact) -> None:
    document, before = pact.document, (pact.terms, pact.is_active)
    accounts = [state.accounts[name] for name in (document.futures_account, document.treasury_account)]
    found = _houses(state, document.rule)
    pact.is_active = False
    if found is not None:
        rule, (cme, ficc) = found
        p, firm = rule.parameters, document.firm
        cap, precision = (exact(1 if p.cap is None else p.cap, E9), exact(p.precision or 0, E9))
        pairs = tuple((one.futures, one.treasury, exact(one.rate, E9)) for one in p.pairs or ())
        if bool(pairs) != (pact.terms is not None and bool(pact.terms.pairs)):
            pact.saving = -1
        pact.terms = PactTerms(rule.id, cme, ficc, cap, precision, round((p.ttl or 0) * E9), pairs)
        pact.is_active = (
            firm.broker_dealer and firm.futures_commission_merchant and firm.cme_member and firm.ficc_member
            and document.futures_entity == document.treasury_entity != ""
            and document.signed and document.designated
            and all(account.document.pool in (p.pools or ()) for account in accounts)
        )  # fmt: skip
    if (pact.terms, pact.is_active) != before:
        for account in accounts:
            account.positions_dirty = account.due = True

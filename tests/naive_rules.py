"""The slow twin's reading of rules, scenario sets and agreements: which are refused, and with which code."""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from engine.codes import Code
from engine.documents import Agreement, Rule, Scenarios
from engine.models import collateral
from engine.models.grid import dampeners
from engine.parameters import AddOns, Parameters
from engine.scenarios.sets import ScenarioSet, from_document, shocks_of
from tests.naive_state import E9, PORTFOLIO_MODELS, Pact, Refused, RowSet, State, exact

COMMON = ("scenarios", "currency", "initial_ratio")
GRID = ("dampener", "gain_share", "gain_cap", "roll_rate", "roll_minimum", "delta_threshold", "delta_step", "delta_cap")
NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # what a model needs, and what else it may have
    "flat": (("initial", "maintenance"), ()),
    "tiered": (("tiers",), ()),
    "volatility": (("multiple", "days", "tenor_days", "floor", "initial_ratio"), ()),
    "maturity": (("bands", "initial_ratio"), ()),
    "historical": ((*COMMON, "tail"), ("stress_weight", "floor", "bands", "minimum", "multiplier", "addons")),
    "scan": ((*COMMON, "ranges"), ("calendar_charge", "spreads", "minimum", "multiplier", "addons")),
    "grid": (COMMON, (*GRID, "multiplier", "addons")),
    "points": (COMMON, ("minimum", "future_minimum", "offset", "multiplier", "addons")),
    "cross_margin": (("houses", "products", "years", "pools"), ("cap", "precision", "ttl", "pairs")),
    "collateral": (("assets", "currency"), ("pilot",)),
}
SETTINGS = ("days_per_year", "stale_after", "through")  # these have defaults
SHARES = ("tail", "stress_weight", "gain_share", "offset", "cap", "precision", "delta_step", "delta_cap")


def is_sound(rule: Rule) -> bool:
    """Whether a version has the parameters of its model, each within its range, and none that contradicts another."""
    p, (needs, may) = rule.parameters, NEEDS[rule.model]
    given = {name for name in p.__struct_fields__ if name not in SETTINGS and getattr(p, name) is not None}
    if not set(needs) <= given <= {*needs, *may} or max(p.stale_after or 0, p.ttl or 0) * E9 >= 2**63:
        return False
    is_exact = rule.model in (*PORTFOLIO_MODELS, "cross_margin")
    for name in given:
        value = getattr(p, name)
        if isinstance(value, Decimal):
            is_share = name in SHARES or (name, rule.model) == ("floor", "historical")
            is_whole = _divides(value, E9) or not (is_exact or name == "initial_ratio")
            if not 0 <= value <= (1 if is_share else E9) or not is_whole:
                return False
    if not all(_divides(value, 10**4) for value in (p.tail, p.stress_weight) if value is not None):
        return False
    if any(ratio is not None and ratio < 1 for ratio in (p.initial_ratio, p.multiplier)):
        return False
    return _is_sound_model(rule, p) and _are_sound_addons(p.addons or AddOns()) and _are_bands(p)


def _are_bands(p: Parameters) -> bool:
    """Whether the bands ascend to one without an end, their shares of 0 to 1 with up to 9 decimals."""
    if p.bands is None:
        return True
    *ends, last = [years for years, _ in p.bands]
    is_ascending = None not in ends and ends == sorted(set(ends)) and all(0 < years <= 1000 for years in ends)
    return last is None and is_ascending and all(0 <= share <= 1 and _divides(share, E9) for _, share in p.bands)


def _are_sound_addons(addons: AddOns) -> bool:
    shares = [addons.liquidity.participation] if addons.liquidity else []
    if addons.regime is not None:
        one = addons.regime
        shares += [one.charge, one.buffer]
        if not (0 <= one.low <= one.high <= 100 and one.short_days > 0 and one.long_days > 0):
            return False
        if not all(_divides(value, E9) for value in (one.low, one.high)):
            return False
        if not all(_divides(value, 10**8) for value in (one.short_days, one.long_days)):
            return False
    if addons.depeg is not None:
        shares += [addons.depeg.threshold, addons.depeg.share]
    if addons.gap is not None and not 1 <= addons.gap.multiplier <= 10:
        return False
    return all(0 <= share <= 1 and _divides(share, 10**6) for share in shares)


def _divides(value: Decimal, one: int) -> bool:
    return (Fraction(value) * one).denominator == 1


def _is_sound_model(rule: Rule, p: Parameters) -> bool:
    if rule.model == "flat":
        return p.initial >= p.maintenance
    if rule.model == "volatility":
        return exact(p.tenor_days, 10**8) > 0 and p.days_per_year > 0
    if rule.model == "tiered":
        starts = [tier.above for tier in p.tiers]
        rates = [(exact(tier.initial, E9), exact(tier.maintenance, E9)) for tier in p.tiers]
        return starts[0] == 0 and starts == sorted(set(starts)) and all(0 <= m <= i <= 10 * E9 for i, m in rates)
    if rule.model == "collateral":
        schedule = collateral.Schedule(assets=p.assets, currency=p.currency, through=p.through, pilot=p.pilot)
        caps = [terms.cap for terms in collateral.check(schedule).assets.values() if terms.cap is not None]
        return all(_divides(cap, 100) and p.currency == "USD" for cap in caps)
    if rule.model == "historical":
        return p.tail < 1 and None in (p.floor, p.bands)
    if rule.model == "cross_margin" and p.pairs is not None:
        sides = [one.futures for one in p.pairs], [one.treasury for one in p.pairs]
        is_alone = (p.cap, p.precision, p.ttl) == (None, None, None)
        is_share = all(0 <= one.rate <= 1 and _divides(one.rate, E9) for one in p.pairs)
        return is_alone and is_share and all(len(set(side)) == len(side) for side in sides)
    if rule.model == "scan":
        return all(one.price >= 0 and one.volatility >= 0 for one in p.ranges.values()) and _are_spreads(p)
    return True


def _are_spreads(p: Parameters) -> bool:
    for spread in p.spreads or ():
        places = {(leg.underlying, leg.side) for leg in spread.legs}
        if {leg.side for leg in spread.legs} != {1, -1} or len(places) < len(spread.legs):
            return False
        if not all(0 < leg.ratio <= 10**4 and _divides(leg.ratio, 10**6) for leg in spread.legs):
            return False
        if not 0 <= spread.credit <= E9:
            return False
    return True


def take_rule(state: State, rule: Rule) -> None:
    """Takes a sound version of a portfolio or cross-margin rule; Refused where something is full or contradicts its set."""
    limits, p = state.genesis.limits, rule.parameters
    is_full = p.currency not in state.currencies and len(state.currencies) >= limits.currencies
    if p.currency is not None and is_full:
        raise Refused(Code.FULL_CURRENCIES)
    if rule.model == "cross_margin":
        _enter(state.cross_ids, rule.id, limits.portfolios, Code.FULL_RULES)
    elif rule.model in PORTFOLIO_MODELS:
        if p.addons is not None and p.addons.depeg is not None:
            coin = state.assets[p.addons.depeg.asset].document
            _refuse_unless(coin.type == "stablecoin" and coin.currency == "USD")
        made = state.sets[p.scenarios or ""]
        _refuse_unless(model_of(made) == rule.model and fits(state, rule, made))
        if rule.id not in state.portfolio_ids and len(state.portfolio_ids) >= limits.portfolios:
            raise Refused(Code.FULL_RULES)
        _enter(state.row_sets, row_set(rule), limits.sets, Code.FULL_SCENARIOS)
        _enter(state.portfolio_ids, rule.id, limits.portfolios, Code.FULL_RULES)
    if p.currency is not None:
        state.currencies.add(p.currency)


def fits(state: State, rule: Rule, made: ScenarioSet) -> bool:
    """Whether a rule can use a set, and its money is whole in the units that requirements are counted in."""
    p, minor = rule.parameters, 10 ** state.assets[rule.parameters.currency].document.decimals
    if p.stress_weight and look_back(made) >= len(made.labels):
        return False
    amounts = [(p.calendar_charge, minor * 10**6), (p.gain_cap, minor * 10**4), (p.delta_threshold, minor)]
    amounts += [(p.minimum, minor)] if rule.model == "historical" else []
    amounts += [(spread.credit, minor * 10**6) for spread in p.spreads or ()]
    for amount, one in amounts:
        if amount is not None:
            exact(amount, one)
    if rule.model == "grid":
        dampeners(shocks_of(made), float(p.dampener or 0) * minor * 10**4)
    return True


def _enter(table: list, one: object, limit: int, code: Code) -> None:
    if one not in table:
        if len(table) >= limit:
            raise Refused(code)
        table.append(one)


def _refuse_unless(holds: bool) -> None:
    if not holds:
        raise Refused(Code.REFUSED_DEFINITION)


def row_set(rule: Rule) -> RowSet:
    """What the rows of a portfolio rule are made for."""
    p = rule.parameters
    return RowSet(p.scenarios or "", p.currency or "", None if p.ranges is None else rule.id)


def model_of(made: ScenarioSet) -> str | None:
    """The model that a set's factors and units are for."""
    if made.kinds == ("scan_range", "scan_range", "scale"):
        return "scan"
    if made.kinds == ("relative", "direction", "flag"):
        return "grid"
    if made.factors == ("price",):
        return "points" if made.kinds == ("relative",) else None
    return "historical" if set(made.kinds) <= {"bp", "log", "relative"} else None


def look_back(made: ScenarioSet) -> int:
    """How many of a set's scenarios are the look-back; those after them are the stress set."""
    return made.parameters.get("look_back", len(made.labels))  # type: ignore[return-value]


def take_set(state: State, document: Scenarios) -> None:
    """Takes a scenario set or its new version."""
    made = from_document(document)
    _refuse_unless(len(made.labels) >= 1)
    if len(made.labels) > state.genesis.limits.scenarios:
        raise Refused(Code.FULL_SCENARIOS)
    _refuse_unless(isinstance(look_back(made), int) and 1 <= look_back(made) <= len(made.labels))
    old = state.sets.get(made.name)
    _refuse_unless(old is None or model_of(old) == model_of(made))
    _refuse_unless(all(fits(state, rule, made) for rule in _users(state, made.name)))
    state.sets[made.name] = made


def _users(state: State, name: str) -> Iterable[Rule]:
    versions = [rule for by_time in state.rules.values() for rule in by_time.values()]
    return [rule for rule in versions if rule.parameters.scenarios == name]


def take_agreement(state: State, document: Agreement) -> None:
    """Takes an agreement, or a new version of one, of two accounts of its customer that are in no other."""
    old = state.pacts.get(document.id)
    if old is not None:
        fixed = ("customer", "rule", "futures_account", "treasury_account")
        if any(getattr(old.document, name) != getattr(document, name) for name in fixed):
            raise Refused(Code.CHANGED_DEFINITION)
        old.document = document
        return
    names = document.futures_account, document.treasury_account
    accounts = [state.accounts[name] for name in names]
    _refuse_unless(all(account.document.customer == document.customer for account in accounts))
    _refuse_unless(names[0] != names[1] and all(account.pact is None for account in accounts))
    futures, treasury = accounts
    futures.pact = treasury.pact = state.pacts[document.id] = Pact(document)
    treasury.phase_key = futures.key

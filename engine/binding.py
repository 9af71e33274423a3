"""Portfolio rules in force: from rules, scenario sets, pools and agreements to the tables that kernels read.

Slots stand in the order of definition, so that a log gives the same ones again; what changed is switched, which builds rows
and margins accounts anew.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from engine.codes import Code
from engine.documents import Agreement, Asset, Instrument, Pool, Rule
from engine.eligibility import is_eligible, position_of, reasons_against
from engine.events import HOUR_NS, NS, QUANTITY_ONE
from engine.limits import Limits
from engine.models import cross_margin, grid, scan
from engine.models.addons import closure_ns, fundings
from engine.models.rows import FINEST
from engine.numbers import scaled
from engine.pairs import bind_pairs, pairs_key
from engine.parameters import AddOns, Parameters, Regime
from engine.pools import Documents, Rules, asset_terms, shocked_in
from engine.rules import BPS, PORTFOLIO_MODELS, bind_floors, version_key
from engine.scenarios.moves import Move
from engine.scenarios.profits import GRID_KINDS, POINTS, SPAN_KINDS
from engine.scenarios.sets import ScenarioSet, shocks_of
from engine.state import (
    MARGIN_DUE,
    MAX_LEGS,
    MAX_SHOCKS,
    MAX_SPREADS,
    NONE,
    PORTFOLIO,
    POSITIONS_DIRTY,
    VALUE_DIRTY,
    Risk,
    State,
    set_flags,
)
from engine.terms import Refused, refuse_unless

_ADDONS: Final = (
    "participation", "horizon_days", "fundings", "low", "high", "charge", "buffer", "short_volatility", "long_volatility",
    "gap", "least_ns", "closure_ns", "depeg_asset", "depeg_par", "depeg_threshold", "depeg_share",
)  # fmt: skip
_NOT_READY: Final = "its rule or a house's rule is not in force, or collateral moves in a house's scenarios"
_KINDS: Final[Mapping[str, Callable[[ScenarioSet], bool]]] = {
    "scan": lambda s: s.kinds == SPAN_KINDS,
    "grid": lambda s: s.kinds == GRID_KINDS,
    "points": lambda s: (s.factors, s.kinds) == POINTS,
    "historical": lambda s: set(s.kinds) <= set(Move) and (s.factors, s.kinds) != POINTS,
}


@dataclass(frozen=True, slots=True)
class RowSet:
    """What a set slot's rows are made from: the scenario set, the currency's asset, and the scan ranges of a rule."""

    scenarios: str
    currency: str
    ranges_of: str | None


@dataclass(slots=True)
class Portfolios:
    """Slots of portfolio rules, row sets, cross-margin rules and agreements, and why an agreement is not in force."""

    state: State
    risk: Risk
    limits: Limits
    sets: dict[str, ScenarioSet] = field(default_factory=dict)
    row_sets: list[RowSet] = field(default_factory=list)
    rule_ids: list[str] = field(default_factory=list)
    cross_ids: list[str] = field(default_factory=list)
    agreement_ids: list[str] = field(default_factory=list)
    not_in_force: dict[str, list[str]] = field(default_factory=dict)
    lacking: list[int] = field(default_factory=list)  # slots of rules whose regime has not both volatilities

    # --- definitions ----------------------------------------------------------------------------------------------

    def define_set(self, made: ScenarioSet, users: Iterable[tuple[Rule, int]]) -> None:
        """Take a set, or its new version; Refused where it does not fit, or a rule could not use it any more.

        users: the rule versions that name it, with the decimals of their currencies; ValueError where one cannot be bound.
        """
        count, look_back = len(made.labels), made.parameters.get("look_back", len(made.labels))
        refuse_unless(1 <= count, "a set without scenarios")
        if count > self.limits.scenarios:
            raise Refused(Code.FULL_SCENARIOS)
        is_count = isinstance(look_back, int) and 1 <= look_back <= count
        refuse_unless(is_count, f"look_back is {look_back}, not 1 to {count}")
        old = self.sets.get(made.name)
        refuse_unless(old is None or model_of(old) == model_of(made), f"{made.name} becomes a set for another model")
        for rule, decimals in users:
            _numbers(rule, made, 10**decimals)
        self.sets[made.name] = made

    def define_rule(self, rule: Rule, decimals: int) -> None:
        """Give a portfolio or cross-margin rule its slots; Refused where they are full or it contradicts its set.

        decimals: of the rule's currency. ValueError where an amount is finer or larger than its unit can say.
        """
        if rule.model == "cross_margin":
            if rule.id not in self.cross_ids:
                if len(self.cross_ids) >= self.limits.portfolios:
                    raise Refused(Code.FULL_RULES)
                self.cross_ids.append(rule.id)
        elif rule.model in PORTFOLIO_MODELS:
            made = self.sets[rule.parameters.scenarios or ""]
            refuse_unless(
                model_of(made) == rule.model,
                f"model {rule.model} takes a {rule.model} set, {made.name} is a {model_of(made)} one",
            )
            _numbers(rule, made, 10**decimals)
            row_set, new_rule = _row_set(rule), rule.id not in self.rule_ids
            new_set = row_set not in self.row_sets
            if new_rule and len(self.rule_ids) >= self.limits.portfolios:
                raise Refused(Code.FULL_RULES)
            if new_set and len(self.row_sets) >= self.limits.sets:
                raise Refused(Code.FULL_SCENARIOS)
            self.row_sets += [row_set] * new_set
            self.rule_ids += [rule.id] * new_rule
            self.state.now[0]["portfolios"] = len(self.rule_ids)

    def define_agreement(self, document: Agreement, accounts: tuple[int, int]) -> None:
        """Give an agreement of these accounts (futures, Treasuries) its row; Refused where one is in another already."""
        table, at = self.state.accounts.agreement, len(self.agreement_ids)
        refuse_unless(accounts[0] != accounts[1], "both legs name one account")
        refuse_unless(all(table[a] == NONE for a in accounts), "an account is in another agreement")
        row = self.state.agreements[at]
        row["futures"], row["treasury"] = accounts
        row["cme"] = row["ficc"] = NONE
        row["saving"] = -1
        self.state.accounts.phase_ns[accounts[1]] = self.state.accounts.phase_ns[accounts[0]]  # margined together
        table[list(accounts)] = at
        self.agreement_ids.append(document.id)
        self.state.now[0]["agreements"] = at + 1

    # --- what is in force -----------------------------------------------------------------------------------------

    def bind(self, documents: Documents, names: "Names", rules: Rules, clock_ns: int) -> None:
        """Bring all tables to the rules in force at a time."""
        for slot, rule_id in enumerate(self.rule_ids):
            rule = rules(rule_id)
            self._portfolio(slot, rule, names)
            self._look(slot, rule, names, clock_ns)
        rows = self.state.portfolios
        lacks = (rows["short_volatility"] == 0) | (rows["long_volatility"] == 0)
        self.lacking = np.flatnonzero((rows["high"] > 0) & lacks).tolist()
        self.state.assets["watched"] = 0
        self.state.assets["watched"][rows["depeg_asset"][rows["depeg_share"] > 0]] = 1
        day = datetime.fromtimestamp(clock_ns // NS, UTC).date()
        self._pools(documents, names, rules, day)
        self._instruments(documents, names, rules, day)
        self.pair(documents, names, rules)

    def _portfolio(self, slot: int, rule: Rule | None, names: "Names") -> None:
        row = self.state.portfolios[slot]
        if row["rule"] == version_key(rule) and self._same_set(rule, row):
            return
        row["rule"], row["model"], row["scenarios"], row["has_floor"] = version_key(rule), 0, 0, 0
        if rule is None or rule.model not in PORTFOLIO_MODELS:
            return
        p, made = rule.parameters, self.sets[rule.parameters.scenarios or ""]
        money = 10 ** names.decimals(p.currency or "")
        row["model"], row["set"] = PORTFOLIO_MODELS[rule.model], self.row_sets.index(_row_set(rule))
        row["currency"], row["asset"] = names.currency(p.currency or ""), names.asset(p.currency or "")
        numbers = _numbers(rule, made, money)
        for name, value in numbers.terms.items():
            row[name] = value
        self.risk.dampener[slot, : len(numbers.dampener)] = numbers.dampener
        self._spreads(slot, p, numbers.credits, names)

    def _look(self, slot: int, rule: Rule | None, names: "Names", clock_ns: int) -> None:
        """Work out a rule's add-ons for a new version, each hour and when is_look_due; whom they concern is due again."""
        state, row, hour = self.state, self.state.portfolios[slot], clock_ns // HOUR_NS
        same = (row["looked_rule"], row["looked_hour"], row["off_peg"]) == (version_key(rule), hour, self._is_off_peg(row))
        if same and not self._has_come(row, rule, names.instrument):
            return
        is_new = row["looked_rule"] != version_key(rule)
        row["looked_rule"], row["looked_hour"] = version_key(rule), hour
        addons = None if rule is None else rule.parameters.addons
        if self._addons(slot, addons or AddOns(), names, clock_ns):
            state.instruments["switched"][state.instruments["portfolio"] == slot] = 1
            is_new = True
        if is_new:
            named = (state.shocks == slot).any(axis=1)
            for pool, asset in np.argwhere((state.terms["shock"] != 0) & named[:, None]).tolist():
                self._mark(names.accounts, pool, asset, POSITIONS_DIRTY | MARGIN_DUE)

    def _mark(self, count: int, pool: int, asset: int, flags: int) -> None:
        """Set flags of those of the first `count` accounts of a pool that hold an asset."""
        accounts, used = self.state.accounts, slice(count)
        held = (accounts.pool[used] == pool) & (accounts.holding[asset, used] != 0)
        accounts.flags[used][held] |= flags
        accounts.changed[:] = 1

    def _addons(self, slot: int, addons: AddOns, names: "Names", clock_ns: int) -> bool:
        """Fill in the numbers of a rule's add-ons as of a time; whether one changed."""
        row, liquidity, regime = self.state.portfolios[slot], addons.liquidity, addons.regime
        numbers = dict.fromkeys(_ADDONS, 0)
        if liquidity is not None:
            numbers |= {"participation": scaled(liquidity.participation, scan.MICRO), "horizon_days": liquidity.horizon_days}
        if regime is not None:
            numbers |= {name: scaled(getattr(regime, name), NS) for name in ("low", "high", "charge", "buffer")}
            numbers["short_volatility"], numbers["long_volatility"] = self._volatilities(regime, names.instrument)
        if addons.gap is not None:
            sessions = self.state.sessions[names.calendar_ids.index(addons.gap.calendar)]
            closure = closure_ns(sessions, clock_ns, addons.gap.ahead_hours * HOUR_NS)
            numbers |= {"gap": scaled(addons.gap.multiplier, NS), "closure_ns": int(closure)}
            numbers["least_ns"] = addons.gap.least_hours * HOUR_NS
        if addons.funding is not None:
            first, interval = addons.funding.first_hour * HOUR_NS, addons.funding.interval_hours * HOUR_NS
            until = clock_ns + addons.funding.ahead_hours * HOUR_NS
            numbers["fundings"] = int(fundings(clock_ns, until, interval, first))
        if addons.depeg is not None:
            coin = names.asset(addons.depeg.asset)
            numbers |= {"depeg_asset": coin, "depeg_par": 10**6 * int(self.state.assets[coin]["unit"])}
            numbers |= {f"depeg_{name}": scaled(getattr(addons.depeg, name), NS) for name in ("threshold", "share")}
        before = [int(row[name]) for name in (*numbers, "off_peg")]
        for name, value in numbers.items():
            row[name] = value
        row["off_peg"] = self._is_off_peg(row)
        return before != [*numbers.values(), int(row["off_peg"])]

    def is_look_due(self, rules: Rules, instrument: Callable[[str], int]) -> bool:
        """Whether a stablecoin left its peg or is back, or a missing volatility came, since rules were last bound."""
        rows = self.state.portfolios[: len(self.rule_ids)]
        crossed = (row["off_peg"] != self._is_off_peg(row) for row in rows[rows["depeg_share"] > 0])
        return any(crossed) or any(self._has_come(rows[i], rules(self.rule_ids[i]), instrument) for i in self.lacking)

    def _has_come(self, row: Any, rule: Rule | None, instrument: Callable[[str], int]) -> bool:
        """Whether a volatility that the rule's regime lacked when it was last looked at is there."""
        regime = None if rule is None or rule.parameters.addons is None else rule.parameters.addons.regime
        found = (0, 0) if regime is None else self._volatilities(regime, instrument)
        return any(row[name] == 0 < now for name, now in zip(("short_volatility", "long_volatility"), found, strict=True))

    def _is_off_peg(self, row: Any) -> bool:
        """Whether the stablecoin of a rule's row is priced at or below 1 less its threshold; without a mark it is at 1."""
        coin, rest = self.state.assets[int(row["depeg_asset"])], NS - int(row["depeg_threshold"])
        if not row["depeg_share"] or coin["instrument"] == NONE:
            return bool(row["depeg_share"] and rest == NS)
        priced = self.state.instruments[int(coin["instrument"])]
        value = int(priced["mark"]) * int(coin["numerator"]) * NS
        return bool(priced["priced"]) and value <= int(row["depeg_par"]) * int(coin["denominator"]) * rest

    def _volatilities(self, regime: Regime, instrument: Callable[[str], int]) -> tuple[int, int]:
        """The short and the long-run volatility of a regime; 0, which no add-on takes, where there is none."""
        of, held = instrument(regime.underlying), self.state.volatilities[: int(self.state.now[0]["volatilities"])]
        held = held[held["underlying"] == of]
        tenors = (scaled(days, QUANTITY_ONE) for days in (regime.short_days, regime.long_days))
        short, long = (int(held["value"][held["tenor"] == tenor].sum()) for tenor in tenors)  # of one or none
        return short, long

    def _same_set(self, rule: Rule | None, row: Any) -> bool:
        if rule is None or rule.model not in PORTFOLIO_MODELS:
            return True
        made = self.sets[rule.parameters.scenarios or ""]
        return bool((row["scenarios"], row["lookback"]) == (len(made.labels), _look_back(made)))

    def _spreads(self, slot: int, p: Parameters, credits: list[int], names: "Names") -> None:
        row, table = self.state.portfolios[slot], self.risk.spreads
        first = slot * MAX_SPREADS
        row["first_spread"] = row["last_spread"] = first
        leg = first * MAX_LEGS
        table.first[first] = leg
        for i, spread in enumerate(p.spreads or [], first):
            for one in spread.legs:
                table.pool[leg] = names.instrument(one.underlying)
                table.ratio_micros[leg], table.side[leg] = scaled(one.ratio, scan.MICRO), one.side
                leg += 1
            table.amount_micros[i] = credits[i - first]
            table.first[i + 1] = leg
            row["last_spread"] = i + 1

    def _pools(self, documents: Documents, names: "Names", rules: Rules, day: date) -> None:
        """How every pool takes every asset; whoever holds one of which that changed is evaluated again."""
        for pool_slot, pool_id in enumerate(names.pool_ids):
            pool, firsts = documents["pool", pool_id], dict[str, int]()
            assert isinstance(pool, Pool)
            moves_in = np.full(MAX_SHOCKS, NONE, np.int32)
            for place, rule_id in enumerate(shocked_in(pool, rules)):
                moves_in[place] = self.rule_ids.index(rule_id)
            moved_else = bool((self.state.shocks[pool_slot] != moves_in).any())
            self.state.shocks[pool_slot] = moves_in
            for slot, asset_id in enumerate(names.asset_ids):
                asset = documents["asset", asset_id]
                assert isinstance(asset, Asset)
                entry, terms = asset_terms(pool, asset, documents, rules, day)
                terms["entry"] = firsts.setdefault(entry, slot) if entry else NONE
                row = self.state.terms[pool_slot, slot]
                before = {name: int(row[name]) for name in terms}
                if before == terms and not (moved_else and terms["shock"]):
                    continue
                for name, value in terms.items():
                    row[name] = value
                moves = before["shock"] or terms["shock"] or self.state.assets[slot]["watched"]
                moved = POSITIONS_DIRTY | MARGIN_DUE if moves else 0
                self._mark(names.accounts, pool_slot, slot, VALUE_DIRTY | moved)

    def _instruments(self, documents: Documents, names: "Names", rules: Rules, today: date) -> None:
        """Which row sets each instrument has, and under which cross-margin rules it is eligible."""
        state, table = self.state, self.state.portfolios
        changed = self._changed_sets(rules)
        crossed = [self._cross(rules(rule_id)) for rule_id in self.cross_ids]
        own_sets = [1 << int(row["set"]) if row["model"] else 0 for row in table[: len(self.rule_ids)]]
        of_portfolio = list(own_sets)
        for _, houses in crossed:
            for house in houses:
                of_portfolio[house] |= reduce(or_, (own_sets[other] for other in houses))
        shocked, positions = self._shocked(of_portfolio), list[cross_margin.Position]()
        for slot, name in enumerate(names.instrument_ids):
            row, document = state.instruments[slot], documents["instrument", name]
            assert isinstance(document, Instrument)
            positions.append(position_of(document))
            row["portfolio"] = self.rule_ids.index(document.rule) if document.rule in self.rule_ids else NONE
            row["group"] = slot if row["underlying"] == NONE else row["underlying"]
            row["option"] = document.type in ("option", "future_option")
            row["quote"] = names.asset(quote_of(document, documents))
            bits = shocked.get(slot, 0) | (of_portfolio[row["portfolio"]] if row["model"] == PORTFOLIO else 0)
            own = row["portfolio"] if row["model"] == PORTFOLIO else NONE
            allowed = [r for r, (rule, houses) in enumerate(crossed) if own in houses and is_eligible(document, rule, today)]
            eligible = sum(1 << r for r in allowed)
            if row["sets"] != bits or bits & changed or row["eligible"] != eligible:
                row["sets"], row["eligible"], row["switched"] = bits, eligible, 1
                row["missing"] = bits
        pairs = [() if rule is None else rule.parameters.pairs or () for rule, _ in crossed]
        bind_pairs(state, self.risk, pairs, positions)
        for slot, rule_id in enumerate(self.rule_ids):
            bind_floors(state, self.risk, slot, rules(rule_id), [one.maturity for one in positions], today)

    def _shocked(self, of_portfolio: list[int]) -> dict[int, int]:
        """The row sets that assets' instruments need, by instrument."""
        state, found = self.state, dict[int, int]()
        for pool, asset in np.argwhere(state.terms["shock"] != 0).tolist():
            instrument = int(state.assets[asset]["instrument"])
            sets = [of_portfolio[p] for p in state.shocks[pool].tolist() if p != NONE]
            found[instrument] = reduce(or_, sets, found.get(instrument, 0))
        return found

    def _changed_sets(self, rules: Rules) -> int:
        """The row sets whose scenarios or scan ranges are not those that rows were built from."""
        bits, hashes = 0, self.risk.set_hash
        for slot, row_set in enumerate(self.row_sets):
            rule = rules(row_set.ranges_of)
            ranges = b"" if rule is None else msgspec.json.encode(rule.parameters.ranges, order="sorted")
            now = np.uint64(xxhash.xxh3_64_intdigest(self.sets[row_set.scenarios].hash.encode() + ranges))
            if hashes[slot] != now:
                hashes[slot], bits = now, bits | 1 << slot
                self.risk.width[slot] = len(self.sets[row_set.scenarios].labels)
        return bits

    def _cross(self, rule: Rule | None) -> tuple[Rule | None, set[int]]:
        """A cross-margin rule and its houses' portfolios; none of them where one is not in force."""
        houses = () if rule is None or rule.model != "cross_margin" else rule.parameters.houses or ()
        slots = [self.rule_ids.index(house) for house in houses if house in self.rule_ids]
        moving = (self.state.terms["shock"] != 0).any(axis=1)
        shocked = set(self.state.shocks[moving].ravel().tolist())  # no house's portfolio may hold collateral
        ready = len(set(slots)) == 2 and not shocked & set(slots)
        ready = ready and all(self.state.portfolios[p]["model"] == PORTFOLIO_MODELS["historical"] for p in slots)
        return (rule, set(slots)) if ready else (None, set())

    def pair(self, documents: Documents, names: "Names", rules: Rules) -> None:
        """Bring agreements to the rules in force, portfolios being so."""
        crossed = {rule_id: self._cross(rules(rule_id)) for rule_id in self.cross_ids}
        for at, agreement_id in enumerate(self.agreement_ids):
            document, row = documents["agreement", agreement_id], self.state.agreements[at]
            assert isinstance(document, Agreement)
            rule, houses = crossed.get(document.rule, (None, set()))
            accounts = [names.account_pool(int(row[leg])) for leg in ("futures", "treasury")]
            reasons = [] if rule is not None else [_NOT_READY]
            terms: dict[str, int] = {"active": 0}
            if rule is not None and len(houses) == 2:
                p = rule.parameters
                reasons = reasons_against(document, p, accounts)
                cme, ficc = (self.rule_ids.index(house) for house in p.houses or ())
                terms = {
                    "cme": cme, "ficc": ficc, "rule": self.cross_ids.index(rule.id),
                    "cap": _share(Decimal(1) if p.cap is None else p.cap, NS), "precision": _share(p.precision, NS),
                    "ttl_ns": round((p.ttl or 0) * NS), "active": int(not reasons), "pairs": pairs_key(p.pairs),
                }  # fmt: skip
                if (terms["pairs"] == 0) != (row["pairs"] == 0):
                    row["saving"] = -1  # it was agreed in the other form
            if self.not_in_force.get(agreement_id) != reasons:
                self.not_in_force[agreement_id], row["touched"] = reasons, 1
            if any(row[name] != value for name, value in terms.items()):
                for name, value in {**terms, "touched": 1}.items():
                    row[name] = value
                for leg in ("futures", "treasury"):
                    set_flags(self.state.accounts, int(row[leg]), POSITIONS_DIRTY | MARGIN_DUE)


@dataclass(frozen=True, slots=True)
class Names:
    """Slots by id, as far as binding needs them."""

    instrument_ids: list[str]
    asset_ids: list[str]
    pool_ids: list[str]
    calendar_ids: list[str]
    accounts: int
    instrument: Callable[[str], int]
    asset: Callable[[str], int]
    currency: Callable[[str], int]
    decimals: Callable[[str], int]
    account_pool: Callable[[int], str]


def quote_of(document: Instrument, documents: Documents) -> str:
    """The currency of an instrument's profits: of what is settled in coin that of its underlying, if it has one."""
    underlying = documents.get(("instrument", document.underlying or ""))
    return underlying.currency if document.inverse and isinstance(underlying, Instrument) else document.currency


class _Numbers(NamedTuple):
    """The numbers of a portfolio rule as integers: fields of its row, dampeners of its cells, credits of its spreads."""

    terms: dict[str, int]
    dampener: NDArray[np.int64]
    credits: list[int]


def _numbers(rule: Rule, made: ScenarioSet, money: int) -> _Numbers:
    """What a rule and its set make together; money: minor units in one of its currency.

    Refused where it blends a stress set that is not there, ValueError where an amount is no whole number of its unit.
    """
    p, count, lookback = rule.parameters, len(made.labels), _look_back(made)
    weight = p.stress_weight or Decimal(0)
    refuse_unless(weight == 0 or lookback < count, f"stress_weight {weight} without stress scenarios in {made.name}")
    terms = {"scenarios": count, "lookback": lookback, "stress": count - lookback}
    terms |= {"tail_bps": _share(p.tail, BPS), "stress_weight_bps": _share(weight, BPS)}
    terms |= {name: _share(getattr(p, name), NS) for name in ("gain_share", "delta_step", "delta_cap", "offset")}
    terms |= {name: _share(getattr(p, name) or Decimal(1), NS) for name in ("initial_ratio", "multiplier")}
    terms["calendar_charge"] = _share(p.calendar_charge, money * scan.MICRO)
    terms["gain_cap"] = _share(p.gain_cap, money * 10**FINEST)
    terms["delta_threshold"] = _share(p.delta_threshold, money)
    terms["has_floor"] = int(p.floor is not None or p.bands is not None)
    terms["minimum"] = _share(p.minimum, money) if rule.model == "historical" else 0
    dampener = np.zeros(0, np.int64)
    if rule.model == "grid":
        dampener = grid.dampeners(shocks_of(made), float(p.dampener or 0) * money * 10**FINEST)
    return _Numbers(terms, dampener, [scaled(spread.credit, money * scan.MICRO) for spread in p.spreads or []])


def _row_set(rule: Rule) -> RowSet:
    p = rule.parameters
    return RowSet(p.scenarios or "", p.currency or "", rule.id if p.ranges is not None else None)


def model_of(made: ScenarioSet) -> str | None:
    """The model that a set's kinds are for."""
    return next((model for model, fits in _KINDS.items() if fits(made)), None)


def _look_back(made: ScenarioSet) -> int:
    return int(made.parameters.get("look_back", len(made.labels)))


def _share(value: Decimal | None, one: int) -> int:
    return scaled(value or Decimal(0), one)

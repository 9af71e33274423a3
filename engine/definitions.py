"""Definitions: from reference documents to rows of the state, in the order of the log, with a verdict for each."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any, Final

import msgspec
import numpy as np
import xxhash

from engine.binding import Names, Portfolios
from engine.codes import Code
from engine.deadlines import bind_calls, holidays_of
from engine.documents import (
    BASE,
    CUSTOMERS_OWN,
    Account,
    Agreement,
    AnyDocument,
    Asset,
    Calendar,
    Holder,
    Instrument,
    Pool,
    Rule,
    Scenarios,
    names_used,
    parse_document,
)  # fmt: skip
from engine.eligibility import position_of
from engine.events import DAY_NS, HOUR_NS, NS, key64, signed64
from engine.limits import Limits
from engine.numbers import INT64_MAX, scaled, time_ns
from engine.report import Quality
from engine.revalue import add_exposure
from engine.rules import Binding, bind, check_rule
from engine.scenarios.sets import from_document
from engine.state import NONE, VALUE_DIRTY, MarginState, State, find, insert, margin_state, set_flags
from engine.terms import Refused, instrument_terms, refuse_unless, unit_value, week

_MOST_MONEY: Final = 10**7  # of a pool's minimum transfer and rounding, major units
_FIXED: Final[dict[type, tuple[str, ...]]] = {
    Account: ("customer", "pool", "currency"),
    Asset: ("type", "currency", "decimals", "instrument"),
    Instrument: (
        "type", "currency", "multiplier", "lot", "tick", "inverse", "underlying", "bucket", "expiry",
    ),
    Pool: ("currency",),
    Agreement: ("customer", "rule", "futures_account", "treasury_account"),
    Rule: ("model", "parameters", "effective"),
}  # fmt: skip
_PRICED_BY: Final = (  # terms that risk rows are built from
    "coupon", "maturity", "strike", "right", "deliverables", "daily_volume", "funding",
)  # fmt: skip


def changes_what_is_fixed(old: AnyDocument, new: AnyDocument) -> str | None:
    """The field of a redefinition that may never change, or None."""
    return next((name for name in _FIXED.get(type(new), ()) if _said(old, name) != _said(new, name)), None)


def _said(document: AnyDocument, name: str) -> Any:
    value = getattr(document, name)
    return time_ns(value) if name in ("expiry", "effective") and value is not None else value


@dataclass(slots=True)
class Definitions:
    """What is defined in one shard: documents by kind and id, slots, and the rows of the state they fill."""

    state: State
    limits: Limits
    documents: dict[tuple[str, str], AnyDocument] = field(default_factory=dict)
    applied: list[bytes] = field(default_factory=list)  # bodies, in order: a snapshot defines from them again
    tables: list[bytes] = field(default_factory=list)  # those of them that every shard holds
    account_ids: list[str] = field(default_factory=list)
    instrument_ids: list[str] = field(default_factory=list)
    asset_ids: list[str] = field(default_factory=list)
    factor_names: list[str] = field(default_factory=list)
    calendar_ids: list[str] = field(default_factory=list)
    rules: dict[str, list[Rule]] = field(default_factory=dict)  # by id, ascending by effective time
    versions: int = 0
    tables_hash: int = 0  # of the documents that every shard holds
    pool_ids: list[str] = field(default_factory=list)
    holder_ids: dict[int, str] = field(default_factory=dict)  # by key
    account_pools: list[int] = field(default_factory=list)  # by account slot, an index of pool_ids
    rule_set: str = ""  # a hash of the rule versions in force and their scenario sets, 16 hex digits
    unbound: bool = False  # a document changed what is bound
    unpaired: bool = False  # an agreement did, and nothing else
    next_switch_ns: int = INT64_MAX
    bound_ns: int = 0
    calls_until_ns: int = 0  # until when the terms of margin calls hold
    margin: MarginState = field(init=False)
    portfolios: Portfolios = field(init=False)

    def __post_init__(self) -> None:
        self.margin = margin_state(self.state, self.limits)
        self.portfolios = Portfolios(self.state, self.margin.risk, self.limits)

    def define(self, body: bytes | msgspec.Raw) -> None:
        """Apply one reference document; Refused says why not, and then nothing changed."""
        try:
            document = parse_document(body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Refused(Code.BAD_FIELD, str(error)) from error
        for kind, name in names_used(document):
            if (kind, name) not in self.documents and not (kind == "rule" and name in self.rules):
                raise Refused(Code.UNKNOWN_NAME, f"{kind} {name} is not defined")
        name = document.id
        if isinstance(document, Rule):
            name = f"{document.id}:{self._effective(document)}"
        try:
            if not self._differs(self.documents.get((document.kind, name)), document):
                return
            self._fill(document, self.documents.get((document.kind, name)))
        except (ValueError, ArithmeticError) as error:  # ArithmeticError: NaN and Infinity among decimals
            raise Refused(Code.REFUSED_DEFINITION, str(error)) from error
        self.documents[document.kind, name] = document
        self.applied.append(bytes(body))
        if document.kind not in CUSTOMERS_OWN:
            self.tables.append(self.applied[-1])
            self.tables_hash = (self.tables_hash + xxhash.xxh3_64_intdigest(bytes(body))) % 2**64

    @staticmethod
    def _effective(rule: Rule) -> int:
        try:
            return rule.effective_ns
        except ValueError as error:
            raise Refused(Code.REFUSED_DEFINITION, f"effective: {error}") from error

    @staticmethod
    def _differs(old: AnyDocument | None, document: AnyDocument) -> bool:
        """Whether a document says anything new; Refused when it changes what may not change."""
        if old is None or old == document:
            return old is None
        if changed := changes_what_is_fixed(old, document):
            raise Refused(Code.CHANGED_DEFINITION, f"{changed} of {document.kind} {document.id} may not change")
        return True

    def _fill(self, document: AnyDocument, old: Any) -> None:
        if isinstance(document, Account) and old is None:
            self._account(document)
        elif isinstance(document, Instrument):
            self._instrument(document, old)
        elif isinstance(document, Asset):
            self._asset(document, old)
        elif isinstance(document, Calendar):
            self._calendar(document)
        elif isinstance(document, Pool):
            self._pool(document, old)
        elif isinstance(document, Rule) and old is None:
            self._rule(document)
        elif isinstance(document, Scenarios):
            versions = [rule for versions in self.rules.values() for rule in versions]
            users = [rule for rule in versions if rule.parameters.scenarios == document.id]
            made = from_document(document)
            self.portfolios.define_set(made, [(rule, self.decimals(rule.parameters.currency)) for rule in users])
            self.unbound = True
        elif isinstance(document, Agreement):
            self._agreement(document, old)
        elif isinstance(document, Holder):
            self.holder_ids[signed64(key64(document.id))] = document.id

    def forget_accounts(self) -> None:
        """Know no customer, account or agreement any more; their rows of the state are the caller's business."""
        for key in [key for key in self.documents if key[0] in CUSTOMERS_OWN]:
            del self.documents[key]
        self.applied = self.tables.copy()
        self.account_ids.clear()
        self.account_pools.clear()
        self.portfolios.agreement_ids.clear()
        self.portfolios.not_in_force.clear()

    def asset_slot(self, asset_id: str) -> int:
        """The slot of a defined asset."""
        return int(find(self.state.asset_keys, _u64(key64(asset_id))))

    def instrument_slot(self, instrument_id: str) -> int:
        """The slot of a defined instrument."""
        return int(find(self.state.instrument_keys, _u64(key64(instrument_id))))

    def account_slot(self, account_id: str) -> int:
        """The slot of an account, or NONE."""
        return int(find(self.state.account_keys, _u64(key64(account_id))))

    def _new_key(self, table: Any, name: str, used: int, limit: int, full: Code) -> int:
        key = key64(name)
        if find(table, _u64(key)) != NONE:
            raise Refused(Code.KEY_COLLISION, f"{name} has the 64-bit key of another id")
        if used >= limit:
            raise Refused(full)
        return key

    def _account(self, document: Account) -> None:
        now, accounts = self.state.now[0], self.state.accounts
        slot = len(self.account_ids)
        key = self._new_key(self.state.account_keys, document.id, slot, self.limits.accounts, Code.FULL_ACCOUNTS)
        asset = self.asset_slot(document.currency)
        kind = self.documents["asset", document.currency]
        refuse_unless(isinstance(kind, Asset) and kind.type in ("currency", "crypto"), f"{document.currency} is no currency")
        insert(self.state.account_keys, _u64(key), slot)
        accounts.key[slot] = key
        accounts.pool[slot] = self.pool_ids.index(document.pool)
        accounts.figures["asset"][slot] = asset
        accounts.phase_ns[slot] = key % int(now["spread_ns"])
        accounts.first_position[slot] = NONE
        set_flags(accounts, slot, VALUE_DIRTY)
        now["accounts"] = slot + 1
        self.account_ids.append(document.id)
        self.account_pools.append(self.pool_ids.index(document.pool))

    def _asset(self, document: Asset, old: Asset | None) -> None:
        slot = len(self.asset_ids)
        if old is None:
            key = self._new_key(self.state.asset_keys, document.id, slot, self.limits.assets, Code.FULL_ASSETS)
        haircut = scaled(document.haircut, NS)
        refuse_unless(0 <= haircut <= NS, f"haircut {document.haircut} is not between 0 and 1")
        if old is not None:
            slot = self.asset_slot(document.id)
            self.state.assets[slot]["haircut"] = haircut
            self.unbound = True
            return
        own = document.currency == document.id
        refuse_unless(own == (document.id == BASE), f"{BASE} and only {BASE} is an asset of its own currency")
        row = self.state.assets[slot]
        valued_by = self.documents.get(("instrument", document.instrument or ""))
        assert valued_by is None or isinstance(valued_by, Instrument)
        numerator, denominator = unit_value(document, self.decimals(document.currency) if not own else 2, valued_by)
        insert(self.state.asset_keys, _u64(key), slot)
        row["key"], row["haircut"], row["currency_slot"] = key, haircut, NONE
        row["currency"] = slot if own else self.asset_slot(document.currency)
        row["instrument"] = NONE if document.instrument is None else self.instrument_slot(document.instrument)
        row["is_currency"] = document.type == "currency"
        row["unit"] = 10 ** (8 - document.decimals)
        row["numerator"], row["denominator"] = numerator, denominator
        row["quality"] = Quality.UNPRICED
        self.state.now[0]["assets"] = slot + 1
        self.asset_ids.append(document.id)
        self.unbound = True
        self.calls_until_ns = 0

    def _calendar(self, document: Calendar) -> None:
        is_new = document.id not in self.calendar_ids
        if is_new and len(self.calendar_ids) >= self.limits.calendars:
            raise Refused(Code.FULL_CALENDARS)
        rows = week(document)
        if is_new:
            self.calendar_ids.append(document.id)
        try:
            holidays_of(document)
        except ValueError as error:
            raise Refused(Code.REFUSED_DEFINITION, f"holidays: {error}") from error
        self.calls_until_ns = 0
        table = self.state.sessions[self.calendar_ids.index(document.id)]
        table[:] = 0
        for i, (start, stop) in enumerate(rows):
            table[i] = start, stop

    def _rule(self, document: Rule) -> None:
        if self.versions >= self.limits.rules:
            raise Refused(Code.FULL_RULES)
        check_rule(document)
        if document.parameters.currency is not None:
            asset = self.asset_slot(document.parameters.currency)
            if self.state.assets[asset]["currency_slot"] == NONE and self._are_currencies_full():
                raise Refused(Code.FULL_CURRENCIES)
            addons = document.parameters.addons
            if addons is not None and addons.depeg is not None:
                coin = self.documents["asset", addons.depeg.asset]
                refuse_unless(
                    isinstance(coin, Asset) and (coin.type, coin.currency) == ("stablecoin", BASE),
                    f"addons.depeg.asset is {coin.id}; allowed is a stablecoin of {BASE}",
                )
            self.portfolios.define_rule(document, self.decimals(document.parameters.currency))
            self._currency(asset)
        else:
            self.portfolios.define_rule(document, 0)
        self.versions += 1
        versions = self.rules.setdefault(document.id, [])
        versions.append(document)
        versions.sort(key=lambda rule: rule.effective_ns)
        self.unbound = True

    def _pool(self, document: Pool, old: Pool | None) -> None:
        refuse_unless(
            document.currency not in document.transfers,
            f"transfers names {document.currency}, the pool's currency; its terms are minimum_transfer and rounding",
        )
        for currency in (document.currency, *document.transfers):
            transfer = document.transfer(currency)
            for name, amount in (("minimum_transfer", transfer.minimum_transfer), ("rounding", transfer.rounding)):
                refuse_unless(0 <= amount <= _MOST_MONEY, f"{name} of {currency} is {amount}; allowed is 0 to {_MOST_MONEY}")
                scaled(amount, 10 ** self.decimals(currency))
        refuse_unless(0 <= document.calls.raise_share <= 1, f"calls.raise_share is {document.calls.raise_share}, not 0 to 1")
        scaled(document.calls.raise_share, NS)
        escalate, restrict = document.calls.escalate_days, document.calls.restrict_days
        refuse_unless(escalate <= restrict, f"calls.escalate_days is {escalate}, after restrict_days {restrict}")
        self.calls_until_ns = 0
        if old is None:
            if len(self.pool_ids) >= self.limits.pools:
                raise Refused(Code.FULL_POOLS)
            self.pool_ids.append(document.id)
        self.unbound = True

    def _agreement(self, document: Agreement, old: Agreement | None) -> None:
        if old is None:
            accounts = [self.documents["account", a] for a in (document.futures_account, document.treasury_account)]
            owners = {account.customer for account in accounts if isinstance(account, Account)}
            refuse_unless(owners == {document.customer}, f"the accounts are of {sorted(owners)}, not of {document.customer}")
            futures, treasury = (self.account_slot(account.id) for account in accounts)
            self.portfolios.define_agreement(document, (futures, treasury))
        self.unpaired = True

    def bind_rules(self, clock_ns: int) -> None:
        """Bind each instrument to the newest version of its rule that is effective at this time."""
        is_due = self.unbound or clock_ns >= self.next_switch_ns
        if not is_due and not self.portfolios.is_look_due(self.rule_now, self.instrument_slot):
            if self.unpaired:
                self.portfolios.pair(self.documents, self._names(), self.rule_now)
                self.unpaired = False
            return
        today = datetime.fromtimestamp(clock_ns // NS, UTC).date()
        for slot, name in enumerate(self.instrument_ids):
            document = self.documents["instrument", name]
            assert isinstance(document, Instrument)
            bind(self.state, slot, self.rule_in_force(document.rule, clock_ns), self._binding(document, today))
        self.bound_ns = clock_ns
        self.portfolios.bind(self.documents, self._names(), self.rule_now, clock_ns)
        later = [r.effective_ns for versions in self.rules.values() for r in versions if r.effective_ns > clock_ns]
        if any(_is_by_day(rule) for versions in self.rules.values() for rule in versions):
            later.append((clock_ns // DAY_NS + 1) * DAY_NS)
        if any(rule.parameters.addons for versions in self.rules.values() for rule in versions):
            later.append((clock_ns // HOUR_NS + 1) * HOUR_NS)  # volatility regimes and closures
        self.next_switch_ns = min(later, default=INT64_MAX)
        self.unbound = self.unpaired = False
        self.hash_rules(clock_ns)

    def bind_calls(self, clock_ns: int) -> None:
        """Bind the terms of margin calls that are issued at this time: they change at cut-offs, and with documents."""
        if clock_ns < self.calls_until_ns:
            return
        self.calls_until_ns = bind_calls(self.state, self.documents, self.pool_ids, self.asset_ids, clock_ns)

    def hash_rules(self, clock_ns: int) -> None:
        """Let rule_set name the rule versions in force at this time."""
        in_force = [self.rule_in_force(rule_id, clock_ns) for rule_id in sorted(self.rules)]
        parts = [msgspec.json.encode(rule) for rule in in_force if rule is not None]
        parts += [made.hash.encode() for _, made in sorted(self.portfolios.sets.items())]
        self.rule_set = xxhash.xxh3_64_hexdigest(b"\n".join(parts))

    def rule_now(self, rule_id: str | None) -> Rule | None:
        """The version of a rule in force when rules were last bound, or None."""
        return self.rule_in_force(rule_id, self.bound_ns)

    def decimals(self, asset_id: str | None) -> int:
        """How many decimals the smallest unit of a defined asset has."""
        asset = self.documents["asset", asset_id or ""]
        assert isinstance(asset, Asset)
        return asset.decimals

    def _names(self) -> Names:
        return Names(
            instrument_ids=self.instrument_ids,
            asset_ids=self.asset_ids,
            pool_ids=self.pool_ids,
            calendar_ids=self.calendar_ids,
            accounts=len(self.account_ids),
            instrument=self.instrument_slot,
            asset=self.asset_slot,
            currency=lambda asset_id: self._currency(self.asset_slot(asset_id)),
            decimals=self.decimals,
            account_pool=lambda account: self.pool_ids[self.account_pools[account]],
        )

    def rule_in_force(self, rule_id: str | None, clock_ns: int) -> Rule | None:
        """The newest version of a rule that is effective, or None."""
        if rule_id is None:
            return None
        return next((r for r in reversed(self.rules[rule_id]) if r.effective_ns <= clock_ns), None)

    def _binding(self, document: Instrument, today: date) -> Binding:
        return Binding(self.decimals(document.currency), Fraction(document.lot), position_of(document).maturity, today)

    def _factor(self, name: str) -> int:
        if name in self.factor_names:
            return self.factor_names.index(name)
        slot = len(self.factor_names)
        self.factor_names.append(name)
        self.state.factor_keys[slot] = key64(name)
        self.state.now[0]["factors"] = slot + 1
        return slot

    def _currency(self, asset: int) -> int:
        row = self.state.assets[asset]
        if row["currency_slot"] != NONE:
            return int(row["currency_slot"])
        slot = int(self.state.now[0]["currencies"])
        row["currency_slot"] = slot
        self.state.currencies[slot] = asset
        self.state.now[0]["currencies"] = slot + 1
        return slot

    def _instrument(self, document: Instrument, old: Instrument | None) -> None:
        models = {rule.model for rule in self.rules.get(document.rule or "", ())}
        refuse_unless(not models & {"cross_margin", "collateral"}, f"rule {document.rule} does not margin positions")
        if old is not None:
            slot = self.instrument_slot(document.id)
            terms = self._terms(document)
            row = self.state.instruments[slot]
            refuse_unless(
                not row["priced"] or terms["low"] <= row["mark"] * Fraction(terms["tick"], 1000) <= terms["high"],
                "the mark is outside the new band",
            )
            change = terms["dv01"] - int(row["dv01"])
            if change and row["dv01_factor"] != NONE:
                add_exposure(self.state, slot, int(row["dv01_factor"]), change)
                row["switched"] = 1
            if any(getattr(old, name) != getattr(document, name) for name in _PRICED_BY):
                self._switch_rows(document.id)
        else:
            slot = len(self.instrument_ids)
            key = self._new_key(
                self.state.instrument_keys, document.id, slot, self.limits.instruments, Code.FULL_INSTRUMENTS
            )
            factor = self._room(document)
            terms = self._terms(document)
            row = self.state.instruments[slot]
            self._open(document, slot, key, terms, factor)
        for name in ("low", "high", "max_lots", "stale_ns", "calendar", "dv01"):
            row[name] = terms[name]
        self.unbound = True

    def _switch_rows(self, instrument_id: str) -> None:
        """Let the rows of an instrument, and of the futures that it is deliverable into, be built anew at the next clock."""
        for slot, name in enumerate(self.instrument_ids):
            other = self.documents["instrument", name]
            assert isinstance(other, Instrument)
            if name == instrument_id or any(one.instrument == instrument_id for one in other.deliverables or ()):
                self.state.instruments[slot]["switched"] = 1

    def _terms(self, document: Instrument) -> dict[str, int]:
        currency = self.documents["asset", document.currency]
        assert isinstance(currency, Asset)
        calendar = NONE if document.calendar is None else self.calendar_ids.index(document.calendar)
        return instrument_terms(document, currency.decimals, calendar)

    def _room(self, document: Instrument) -> str | None:
        """The name of a new instrument's risk factor, if it has one; Refused when factors or currencies are full."""
        factor = None
        own = document.underlying or (document.id if document.type == "spot" else None)
        if document.tradable and document.dv01 is not None:
            refuse_unless(document.bucket is not None, "dv01 and bucket go together")
            factor = f"dv01:{document.currency}:{document.bucket}"
        elif document.tradable and own is not None:
            factor = f"delta:{own}"
        if factor is not None and factor not in self.factor_names and len(self.factor_names) >= self.limits.factors:
            raise Refused(Code.FULL_FACTORS)
        currency = self.state.assets[self.asset_slot(document.currency)]
        if currency["currency_slot"] == NONE and self._are_currencies_full():
            raise Refused(Code.FULL_CURRENCIES)
        return factor

    def _are_currencies_full(self) -> bool:
        return int(self.state.now[0]["currencies"]) >= self.limits.currencies

    def _open(self, document: Instrument, slot: int, key: int, terms: dict[str, int], factor: str | None) -> None:
        """Fill the row of a new instrument, for which there is room."""
        asset, row = self.asset_slot(document.currency), self.state.instruments[slot]
        own = document.underlying or (document.id if document.type == "spot" else None)
        for name, value in terms.items():
            row[name] = value
        row["key"], row["asset"], row["currency"] = key, asset, self._currency(asset)
        row["inverse"], row["tradable"] = document.inverse, document.tradable
        row["dv01_factor"] = row["delta_factor"] = NONE
        if factor is not None:
            row["dv01_factor" if factor.startswith("dv01") else "delta_factor"] = self._factor(factor)
        row["first_chunk"] = row["last_chunk"] = row["volatilities"] = NONE
        row["quality"] = row["mark_quality"] = Quality.UNPRICED
        row["tiers"] = slot
        insert(self.state.instrument_keys, _u64(key), slot)
        self.instrument_ids.append(document.id)
        self.state.now[0]["instruments"] = slot + 1
        # its own id may be its underlying, so the slot exists before it is looked up
        row["underlying"] = NONE if own is None else self.instrument_slot(own)


def _is_by_day(rule: Rule) -> bool:
    """Whether a rule looks at maturities or at the pilot's phase."""
    return rule.model in ("cross_margin", "collateral") or rule.parameters.bands is not None


def _u64(key: int) -> Any:
    return np.uint64(key)

"""The slow twin's state: plain dataclasses, dicts and unbounded ints; sums are taken anew whenever they are asked for."""

from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from engine.codes import Code
from engine.documents import Account as AccountDocument
from engine.documents import Agreement as AgreementDocument
from engine.documents import Asset as AssetDocument
from engine.documents import Calendar, Customer, Pool, Rule
from engine.documents import Instrument as InstrumentDocument
from engine.frames import Genesis
from engine.models.collateral import Shock
from engine.numbers import time_ns
from engine.report import CallState, Quality, Status
from engine.scenarios.sets import ScenarioSet

E9 = 10**9
E12 = 10**12
PORTFOLIO_MODELS = ("historical", "scan", "grid", "points")
OPTIONS = ("option", "future_option")


class OutOfRange(Exception):
    """A figure cannot be held exactly: the account is UNPRICED."""


class Refused(Exception):
    """A document that is not accepted, with its code."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.reason)
        self.code = code


def half_even(numerator: int, denominator: int) -> int:
    """numerator / denominator rounded half to even (what round() of a fraction does)."""
    return round(Fraction(numerator, denominator))


def exact(value: object, one: int) -> int:
    """value x one, which must be whole and fit 64 bits: a definition with other numbers is refused."""
    scaled = Fraction(value) * one  # type: ignore[arg-type]
    if scaled.denominator != 1 or abs(scaled) >= 2**63:
        raise Refused(Code.REFUSED_DEFINITION)
    return scaled.numerator


@dataclass
class Position:
    """One position; cost and realized in micros (1e-6 minor units) of the instrument's currency, times 0 for never."""

    lots: int = 0
    cost: int = 0
    realized: int = 0
    as_of_ns: int = 0
    last_trade_ns: int = 0


class RowSet(NamedTuple):
    """What rows are made for: a scenario set, the rule's currency, and the rule that has scan ranges."""

    scenarios: str
    currency: str
    ranges_of: str | None


class Beside(NamedTuple):
    """What portfolio models need beside rows, per lot: delta in 1e-10, spot in minor units, gross and minimum in micros,
    roll in 1e-4 minor units."""

    delta: int
    spot: int
    gross: int
    minimum: int
    roll: int
    worst: int
    volume: int
    funding: int


class Looked(NamedTuple):
    """A rule's add-ons when last looked at: by which version and hour, volatilities, the closure, how many fundings,
    whether the stablecoin is off its peg."""

    version: tuple[str, int] | None
    hour: int
    short: int = 0
    long: int = 0
    closure: int = 0
    fundings: int = 0
    off_peg: bool = False


class PoolTerms(NamedTuple):
    """How a pool takes an asset: haircut in 1e-9, cap in US cents and share of maintenance in 1e-9 (None: none) of all
    that its schedule counts under one key, the rules in whose scenarios it may move."""

    haircut: int = 0
    key: str | None = None
    cap: int | None = None
    share: int | None = None
    shocked_in: tuple[str, ...] = ()
    shock: Shock = Shock.NONE


class PactTerms(NamedTuple):
    """An agreement's rule as bound: the houses' rules, cap and precision in 1e-9, nanoseconds that a saving stays fresh."""

    rule: str
    cme: str
    ficc: str
    cap: int
    precision: int
    ttl_ns: int
    pairs: tuple[tuple[str, str, int], ...] = ()  # futures product, Treasury product, rate: savings are minor units then


@dataclass
class Pact:
    """An agreement, and the last saving (1e-9) that both houses agreed on; after: what each account's leg requires with it.

    done: worked out since one of its accounts was due; held: from a stale input.
    """

    document: AgreementDocument
    terms: PactTerms | None = None
    is_active: bool = False
    saving: int = -1
    agreed_ns: int = 0
    applied: int = 0
    done: bool = False
    held: bool = False
    after: dict[str, int] = field(default_factory=dict)


@dataclass
class Built:
    """The margin of one lot as last built, and from what. initial, maintenance: micros; notional: micros, of tiers.

    forward: the mark of an option's underlying, 0 where it is of no account; rate: of the currency of profits, likewise.
    """

    mark: int
    volatility: tuple[int, bool] | None
    at_ns: int
    forward: int = 0
    rate: int = 0
    initial: int = 0
    maintenance: int = 0
    notional: int = 0
    tiers: list[tuple[int, int, int]] | None = None


@dataclass
class Instrument:
    """An instrument, its mark and what was derived from it at the last CLOCK (held: the value of one lot in micros)."""

    document: InstrumentDocument
    decimals: int
    lot: int = 0
    tick: int = 0
    low: int = 0
    high: int = 0
    mark: int | None = None
    mark_ns: int = 0
    settled: bool = False
    closed: bool = False
    held: int = 0
    mark_quality: Quality = Quality.UNPRICED
    quality: Quality = Quality.UNPRICED
    rule: Rule | None = None
    share: Decimal | None = None  # of its market value, by the bands of its rule and its maturity
    forced: bool = False
    built: Built | None = None
    sets: frozenset[RowSet] = frozenset()
    eligible: frozenset[str] = frozenset()  # cross-margin rules
    rows: dict[RowSet, list[int]] | None = None  # 1e-4 minor units per lot, of sets in which it can be priced
    beside: Beside = field(default=Beside(0, 0, 0, 0, 0, 0, 0, 0))

    def __post_init__(self) -> None:
        self.read(self.document)

    def read(self, document: InstrumentDocument) -> None:
        """Takes the numbers of a definition; Refused when they contradict themselves, and then nothing is changed."""
        lot, tick = exact(document.lot, 10**8), exact(document.tick, E9)
        low, high = (exact(price, E9) for price in document.band)
        if document.maturity is not None:
            date.fromisoformat(document.maturity)
        if lot <= 0 or not 0 < tick < 2**53 or low > high or (document.dv01 is None) != (document.bucket is None):
            raise Refused(Code.REFUSED_DEFINITION)
        old = self.document, self.lot, self.tick, self.low, self.high
        self.document, self.lot, self.tick, self.low, self.high = document, lot, tick, low, high
        if self.multiplier <= 0 or not self._sound():
            self.document, self.lot, self.tick, self.low, self.high = old
            raise Refused(Code.REFUSED_DEFINITION)

    def _sound(self) -> bool:
        if (self.expiry_ns is not None and self.expiry_ns <= 0) or (self.document.stale_after or 0) * E9 >= 2**63:
            return False
        if self.mark is not None and not self.low <= Fraction(self.mark * self.tick, 1000) <= self.high:
            return False
        if self.document.inverse:
            contract = self.multiplier * self.lot * 10
            if self.tick % 1000 or contract.denominator != 1 or contract >= 2**63:
                return False
            if self.low <= 0 or self.high >= 2**53:
                return False
            if self.milliticks(self.low) == 0:
                return False
        elif self.tick_value.denominator != 1 or self.tick_value < 1:
            return False
        elif max(abs(self.milliticks(price)) for price in (self.low, self.high)) * self.tick_value >= 2**62:
            return False
        return self._largest_value() < 2**61 and abs(self.sensitivity) < 2**63

    @property
    def multiplier(self) -> Fraction:
        """What one point of one unit is worth; the size of one unit of an inverse contract."""
        return Fraction(self.document.multiplier)

    @property
    def lot_money(self) -> Fraction:
        """Micros per lot of one unit of currency per unit of quantity."""
        return Fraction(self.lot * 10 ** (self.decimals + 6), 10**8)

    @property
    def tick_value(self) -> Fraction:
        """Micros that one lot gains on one tick."""
        return self.lot_money * self.multiplier * self.tick / E9

    def milliticks(self, price: int) -> int:
        """The mark nearest to a price."""
        return half_even(price * 1000, self.tick)

    def _largest_value(self) -> int:
        if self.document.inverse:
            return max(abs(self.value_at_price(price)) for price in (self.low, self.high))
        ends = [abs(self.lot_value(self.milliticks(price))) for price in (self.low, self.high)]
        return max(*ends, int(self.tick_value))

    @property
    def max_lots(self) -> int:
        """The largest position, either way, whose money stays exact."""
        return min(2**31 - 1, 2**61 // max(1, self._largest_value()))

    @property
    def expiry_ns(self) -> int | None:
        """When it expires; None when it does not."""
        return None if self.document.expiry is None else time_ns(self.document.expiry)

    @property
    def currency(self) -> str:
        """What its money is counted in."""
        return self.document.currency

    @property
    def factor(self) -> str | None:
        """The risk factor its positions are exposed to."""
        if not self.document.tradable:
            return None
        if self.document.dv01 is not None:
            return f"dv01:{self.currency}:{self.document.bucket}"
        return None if self.underlying is None else f"delta:{self.underlying}"

    @property
    def underlying(self) -> str | None:
        """The instrument whose moves it follows; a spot instrument is its own."""
        own = self.document.id if self.document.type == "spot" else None
        return self.document.underlying or own

    @property
    def portfolio(self) -> str | None:
        """The portfolio rule that it is bound to."""
        return None if self.rule is None or self.rule.model not in PORTFOLIO_MODELS else self.rule.id

    @property
    def group(self) -> str:
        """What its positions are margined with: those on the same underlying."""
        return self.underlying or self.document.id

    @property
    def is_option(self) -> bool:
        """Whether its rows follow the mark of its underlying."""
        return self.document.type in OPTIONS

    @property
    def dv01(self) -> int:
        """What one lot loses on one basis point, micros; 0 without a stated DV01."""
        return round(Fraction(self.document.dv01 or 0) * self.multiplier * self.lot_money)

    @property
    def sensitivity(self) -> int:
        """Exposure of one lot to its factor: micros per basis point, or 1e-10 units of the underlying."""
        if self.document.dv01 is not None:
            return self.dv01
        if self.document.inverse:
            return half_even(-self.held * 10**10, 10 ** (self.decimals + 6))
        return round(self.lot * 100 * self.multiplier)

    def lot_value(self, mark: int) -> int:
        """Micros of one lot at a mark in milliticks."""
        if self.document.inverse:
            return self.value_at_price(Fraction(mark * self.tick, 1000))
        return round(mark * self.tick_value / 1000)

    def value_at_price(self, price: Fraction | int) -> int:
        """Micros of one lot at a price in 1e-9 points."""
        if self.document.inverse:
            return -round(self.multiplier * self.lot_money * E9 / price)
        return round(Fraction(price) * self.tick_value / self.tick)


@dataclass
class Asset:
    """What can be held; rate: value of one minor unit in US cents x 1e12, 0 while UNPRICED."""

    document: AssetDocument
    haircut: int
    rate: int = 0
    quality: Quality = Quality.UNPRICED


@dataclass
class Call:
    """A margin call; times: due, escalated, restricted. since_ns: short since (pending), or back at initial since, or 0."""

    state: CallState = CallState.PENDING
    sequence: int = 0
    amount: int = 0
    received: int = 0
    issued_ns: int = 0
    times: tuple[int, int, int] = (0, 0, 0)
    since_ns: int = 0
    is_over: bool = False

    def copy(self) -> "Call":
        """As it is now."""
        return replace(self)


@dataclass
class Statement:
    """What a holder (0: nobody) last stated of an item, (is it an asset, its id); gone_ns: a run since has not stated it."""

    item: tuple[bool, str]
    holder: int = 0
    quantity: int = 0
    ts_ns: int = 0
    since_ns: int = 0
    gone_ns: int = 0


@dataclass
class Account:
    """An account with its facts and its figures as of the last evaluation (minor units of its currency)."""

    document: AccountDocument
    key: int
    positions: dict[str, Position] = field(default_factory=dict)
    holdings: dict[str, int] = field(default_factory=dict)
    positions_dirty: bool = False
    due: bool = False
    phase_key: int = 0  # of two accounts under an agreement, that of the futures account
    pact: Pact | None = None
    together: dict[str, tuple[int, int]] = field(default_factory=dict)  # by currency: initial, maintenance
    status: Status = Status.OK
    quality: Quality = Quality.FRESH
    equity: int = 0
    initial: int = 0
    maintenance: int = 0
    call: int = 0
    excess_usd: int = 0
    change: int = 0
    calls: list[Call] = field(default_factory=list)  # the oldest first
    calls_made: int = 0
    statements: list[Statement] = field(default_factory=list)
    money: int = 0  # in, less out, since the last clock, in its currency

    def __post_init__(self) -> None:
        self.phase_key = self.key


@dataclass
class State:
    """Everything one shard holds."""

    genesis: Genesis
    clock_ns: int
    customers: dict[str, Customer] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    calendars: dict[str, Calendar] = field(default_factory=dict)
    assets: dict[str, Asset] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    rules: dict[str, dict[int, Rule]] = field(default_factory=dict)
    currencies: set[str] = field(default_factory=set)
    factors: set[str] = field(default_factory=set)
    volatilities: dict[tuple[str, int], tuple[int, bool, int]] = field(default_factory=dict)
    ids: list[set[int]] = field(default_factory=lambda: [set(), set()])
    sets: dict[str, ScenarioSet] = field(default_factory=dict)
    row_sets: list[RowSet] = field(default_factory=list)
    portfolio_ids: list[str] = field(default_factory=list)
    cross_ids: list[str] = field(default_factory=list)
    pacts: dict[str, Pact] = field(default_factory=dict)
    terms: dict[tuple[str, str], PoolTerms] = field(default_factory=dict)  # by pool and asset, as last bound
    contents: dict[RowSet, object] = field(default_factory=dict)  # what rows are made of, as last bound
    looked: dict[str, Looked] = field(default_factory=dict)  # by portfolio rule
    watched: set[str] = field(default_factory=set)  # stablecoins that rules in force look at, as last bound
    floors: dict[tuple[str, str], int] = field(default_factory=dict)  # 1e-9, by historical rule and instrument, as bound
    spreads: dict[tuple[str, str], int | None] = field(default_factory=dict)  # by cross-margin rule and instrument, as bound
    holder_ids: dict[int, str] = field(default_factory=dict)  # by key
    next_row: int = 0  # the instrument at which the next walk over rows begins

    def book(self, account: Account, currency: str) -> int:
        """Cost less realized profit of an account's positions in one currency, micros."""
        return sum(p.cost - p.realized for i, p in account.positions.items() if self.instruments[i].currency == currency)

    def value(self, account: Account, currency: str) -> int:
        """Value of an account's positions in one currency as of the last CLOCK, micros."""
        instruments = self.instruments
        return sum(p.lots * instruments[i].held for i, p in account.positions.items() if instruments[i].currency == currency)

    def exposure(self, account: Account, factor: str) -> int:
        """An account's net exposure to one factor."""
        instruments = self.instruments
        return sum(
            p.lots * instruments[i].sensitivity for i, p in account.positions.items() if instruments[i].factor == factor
        )  # fmt: skip

    def volatility_of(self, instrument: Instrument) -> tuple[int, bool, int] | None:
        """(volatility, in basis points, ts) that the instrument's volatility rule looks at."""
        assert instrument.rule is not None
        tenor = exact(instrument.rule.parameters.tenor_days, 10**8)
        return self.volatilities.get((instrument.underlying or "", tenor))

    def in_force(self, rule_id: str | None) -> Rule | None:
        """The newest version of a rule that is effective now."""
        versions = self.rules.get(rule_id or "", {})
        newest = max((effective for effective in versions if effective <= self.clock_ns), default=None)
        return None if newest is None else versions[newest]

    def portfolio_rule(self, rule_id: str | None) -> Rule | None:
        """A rule in force, if its model is one that margins positions together."""
        rule = self.in_force(rule_id)
        return rule if rule is not None and rule.model in PORTFOLIO_MODELS else None

    def pool_terms(self, account: "Account", asset_id: str) -> PoolTerms:
        """How an asset counts in the account's pool."""
        return self.terms.get((account.document.pool, asset_id), PoolTerms())

    def holders(self, instrument_id: str) -> list[Account]:
        """Accounts with lots of an instrument."""
        return [a for a in self.accounts.values() if (p := a.positions.get(instrument_id)) is not None and p.lots]

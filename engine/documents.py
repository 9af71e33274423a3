"""Reference documents: what customers, accounts, instruments, assets, pools, calendars and rules say, as msgspec structs.

They travel as JSON in document frames of the log; numbers are decimals, taken exactly as written.
"""

from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from engine.models.collateral import Terms
from engine.models.pilot import Pilot
from engine.numbers import time_ns

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^(?![\x20-\x7e]*\n)[\x20-\x7e]+$")]
Name = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=1024)]
Time = int | str

InstrumentType = Literal[
    "treasury", "repo", "treasury_future", "rate_future", "crypto_future", "perpetual", "option", "future_option",
    "spot", "fund", "fx", "index", "yield", "funding_rate",
]  # fmt: skip
NOT_TRADABLE: Final = frozenset({"fx", "index", "yield", "funding_rate"})


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", gc=False):
    """What every reference document has: a kind (the tag) and an id that is unique within the kind."""

    id: Id

    @property
    def kind(self) -> str:
        """The document's kind, as in its JSON."""
        return str(self.__struct_config__.tag)


class Customer(Document, frozen=True, kw_only=True, tag="customer"):
    """A customer; all accounts of one customer live in one shard."""

    name: Name = ""


class Account(Document, frozen=True, kw_only=True, tag="account"):
    """An account of a customer in one pool, margined in its currency."""

    customer: Id
    pool: Id
    currency: Id


class Asset(Document, frozen=True, kw_only=True, tag="asset"):
    """What can be held as collateral; a currency is an asset like others.

    One unit is worth the mark of `instrument` (times its multiplier) in `currency`; without `instrument`, one unit of
    `currency`. The base currency, USD, names itself as its currency. decimals: of the smallest unit held (0-8).
    """

    type: Literal["currency", "crypto", "stablecoin", "treasury", "fund", "security"]
    currency: Id
    haircut: Decimal = Decimal(0)
    decimals: Annotated[int, Meta(ge=0, le=8)] = 2
    instrument: Id | None = None


class Pool(Document, frozen=True, kw_only=True, tag="pool"):
    """Where collateral is held under one regime; pools never lend to one another.

    collateral: the rule (model collateral) that says what is taken and at which haircut; without it each asset's own.
    shocks: the portfolio rule in whose scenarios the assets that the collateral rule calls shocked move with the positions.
    """

    regime: Name
    currency: Id
    calendar: Id | None = None
    minimum_transfer: Decimal = Decimal(0)
    rounding: Decimal = Decimal(0)
    collateral: Id | None = None
    shocks: Id | None = None


class Calendar(Document, frozen=True, kw_only=True, tag="calendar"):
    """Weekly sessions in UTC as pairs such as ["Sun 23:00", "Fri 22:00"]; time outside them does not make a price stale."""

    sessions: Annotated[list[tuple[str, str]], Meta(min_length=1, max_length=32)]


class Deliverable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A security of a Treasury future's basket, and its conversion factor."""

    instrument: Id
    factor: Decimal


class Instrument(Document, frozen=True, kw_only=True, tag="instrument"):
    """An instrument; prices in points, one point of one unit of quantity is worth `multiplier` in `currency`.

    An inverse contract is worth multiplier / price of `currency` (its multiplier is the contract's size in the quote
    currency). band: lowest and highest price ever taken. stale_after: seconds. dv01: points per basis point, with its
    tenor `bucket`. rule: the margin rule of positions in it. product: what agreements call it. daily_volume: units of
    quantity traded a day. funding: the instrument whose price is its funding rate, per cent. deliverables: of a Treasury
    future, the basket.
    """

    type: InstrumentType
    currency: Id
    tick: Decimal
    band: tuple[Decimal, Decimal]
    multiplier: Decimal = Decimal(1)
    lot: Decimal = Decimal(1)
    stale_after: Annotated[float, Meta(gt=0)] | None = None
    calendar: Id | None = None
    rule: Id | None = None
    underlying: Id | None = None
    inverse: bool = False
    expiry: Time | None = None
    dv01: Decimal | None = None
    bucket: Id | None = None
    name: Name = ""
    maturity: Id | None = None
    coupon: Decimal | None = None
    strike: Decimal | None = None
    right: Literal["call", "put"] | None = None
    product: Id | None = None
    daily_volume: Decimal | None = None
    funding: Id | None = None
    deliverables: Annotated[tuple[Deliverable, ...], Meta(min_length=1, max_length=64)] | None = None

    @property
    def tradable(self) -> bool:
        """Whether positions can be held in it."""
        return self.type not in NOT_TRADABLE


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"above": "from"}):
    """The rates of the part of a notional from `from` (major units of the instrument's currency) to the next tier's."""

    above: Decimal
    initial: Decimal
    maintenance: Decimal


class SpreadLeg(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many deltas of an underlying one spread takes; legs of side 1 stand against legs of side -1."""

    underlying: Id
    ratio: Decimal
    side: Literal[1, -1]


class Spread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recognised spread between commodities and the money that one of it takes off."""

    legs: Annotated[list[SpreadLeg], Meta(min_length=2, max_length=8)]
    credit: Decimal


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scan ranges of an underlying: of its price in points (a share of the price where `fraction`), of its volatility."""

    price: Decimal
    volatility: Decimal = Decimal(0)
    fraction: bool = False


class Liquidity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Positions that take longer than horizon_days to close at this share (participation) of a day's volume are charged."""

    participation: Decimal
    horizon_days: Annotated[int, Meta(ge=1, le=1000)]


class Regime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Short over long-run volatility of an underlying, looked at each hour: above `high` the share `charge` is added.

    buffer: the share that is added at other times, and used up as volatility rises (anti-procyclicality).
    """

    underlying: Id
    short_days: Decimal
    long_days: Decimal
    low: Decimal
    high: Decimal
    charge: Decimal = Decimal(0)
    buffer: Decimal = Decimal(0)


class Gap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """While a closure of the calendar of at least least_hours lasts, and for ahead_hours before it, all is multiplied."""

    calendar: Id
    ahead_hours: Annotated[int, Meta(ge=0, le=100)]
    least_hours: Annotated[int, Meta(ge=1, le=168)]
    multiplier: Decimal


class Funding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Funding every interval_hours from first_hour (UTC) on; what is due within ahead_hours and would be paid is charged."""

    interval_hours: Annotated[int, Meta(ge=1, le=24)]
    first_hour: Annotated[int, Meta(ge=0, le=23)]
    ahead_hours: Annotated[int, Meta(ge=1, le=168)]


class AddOns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Charges on top of what a portfolio model asks for, each its own line."""

    liquidity: Liquidity | None = None
    regime: Regime | None = None
    gap: Gap | None = None
    funding: Funding | None = None


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule's parameters; which are needed depends on the model (engine/rules.py has the table).

    flat: initial and maintenance, money per unit of quantity. tiered: tiers. volatility: per unit, the larger of floor and
    multiple x volatility x sqrt(days) x price, with the volatility of the underlying at tenor_days (a fraction a year of
    days_per_year days; one in basis points a day is multiplied by the DV01 instead of the price); initial is maintenance x
    initial_ratio. stale_after: seconds after which the volatility is stale.

    Portfolio models (historical, scan, grid, points) margin all positions of an account under the rule as one, in
    `currency`, over the scenario set `scenarios`: the requirement x multiplier is maintenance, x initial_ratio initial.
    Shares are fractions, money is in major units. tail: share of losses beyond the quantile; stress_weight: of the stress
    set; floor: share of the market value held. calendar_charge: money per delta of a spread between expiries; minimum:
    money per short option (scan) or per unit of quantity (points). dampener: money off each pair's tail cells; gain_share,
    gain_cap: what of a pair's gain counts; roll_rate (a year), roll_minimum: shares of the net delta's value of an expiry;
    delta_threshold, delta_step, delta_cap: the delta shock. offset: share of a class's gain that counts against others.

    cross_margin: houses are the two rules (futures, Treasuries) whose models answer; cap, precision, ttl (seconds) of the
    saving; products and years of eligible positions; pools of the accounts. collateral: assets, through, pilot and currency
    are a Schedule of engine/models/collateral.py.
    """

    initial: Decimal | None = None
    maintenance: Decimal | None = None
    tiers: Annotated[list[Tier], Meta(min_length=1, max_length=16)] | None = None
    multiple: Decimal | None = None
    days: Decimal | None = None
    tenor_days: Decimal | None = None
    floor: Decimal | None = None
    initial_ratio: Decimal | None = None
    days_per_year: Decimal = Decimal(365)
    stale_after: Annotated[float, Meta(gt=0)] | None = None
    scenarios: Id | None = None
    currency: Id | None = None
    multiplier: Decimal | None = None
    addons: AddOns | None = None
    tail: Decimal | None = None
    stress_weight: Decimal | None = None
    ranges: dict[Id, Range] | None = None
    calendar_charge: Decimal | None = None
    spreads: Annotated[list[Spread], Meta(max_length=32)] | None = None
    minimum: Decimal | None = None
    dampener: Decimal | None = None
    gain_share: Decimal | None = None
    gain_cap: Decimal | None = None
    roll_rate: Decimal | None = None
    roll_minimum: Decimal | None = None
    delta_threshold: Decimal | None = None
    delta_step: Decimal | None = None
    delta_cap: Decimal | None = None
    offset: Decimal | None = None
    houses: tuple[Id, Id] | None = None
    cap: Decimal | None = None
    precision: Decimal | None = None
    ttl: Annotated[float, Meta(ge=0)] | None = None
    products: list[Id] | None = None
    years: Annotated[int, Meta(ge=0, le=100)] | None = None
    pools: list[Id] | None = None
    assets: Annotated[dict[Id, Terms], Meta(min_length=1, max_length=1024)] | None = None
    through: bool = True
    pilot: Pilot | None = None


class Rule(Document, frozen=True, kw_only=True, tag="rule"):
    """One dated version of a margin rule: in force from `effective` until the next version of the same id.

    sources: where each parameter comes from, with its grade of evidence.
    """

    model: Literal["flat", "tiered", "volatility", "historical", "scan", "grid", "points", "cross_margin", "collateral"]
    effective: Time
    parameters: Parameters
    sources: dict[str, Text] = {}

    @property
    def effective_ns(self) -> int:
        """Nanoseconds since 1970 from which this version is in force."""
        return time_ns(self.effective)


class Scenarios(Document, frozen=True, kw_only=True, tag="scenarios"):
    """A scenario set as engine/scenarios/sets.py writes it; a later document of the same id replaces it."""

    format: Name
    version: Name
    hash: Id
    parameters: dict[str, str | int | float | bool]
    factors: tuple[Id, ...]
    moves: tuple[Id, ...]
    labels: tuple[Name, ...]
    matrix: tuple[tuple[float | None, ...], ...]


class Firm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clearing firm of an agreement: its registrations and memberships."""

    broker_dealer: bool
    futures_commission_merchant: bool
    cme_member: bool
    ficc_member: bool


class Agreement(Document, frozen=True, kw_only=True, tag="agreement"):
    """Cross-margin of a customer's futures account and Treasury account under a rule of model cross_margin.

    The entities are the legal entities through which each account clears. A later document of the same id may change all but
    customer and accounts.
    """

    customer: Id
    rule: Id
    futures_account: Id
    treasury_account: Id
    futures_entity: Name
    treasury_entity: Name
    firm: Firm
    signed: bool
    designated: bool


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What a named user says about a margin call; travels as a document in the account's shard."""

    id: Id
    ts: Time
    user: Id
    kind: Literal["ack", "note", "cancel"]
    account: Id
    call: Id
    text: Text = ""


AnyDocument = Customer | Account | Asset | Pool | Calendar | Instrument | Rule | Scenarios | Agreement
DOCUMENTS: Final[dict[str, type[Document]]] = {
    str(t.__struct_config__.tag): t
    for t in (Customer, Account, Asset, Pool, Calendar, Instrument, Rule, Scenarios, Agreement)
}
CUSTOMERS_OWN: Final = frozenset({"customer", "account", "agreement"})  # kinds that only the customer's shard holds
_decoder: Final[msgspec.json.Decoder[AnyDocument]] = msgspec.json.Decoder(AnyDocument)
_action_decoder: Final = msgspec.json.Decoder(Action)


def parse_document(raw: bytes | msgspec.Raw) -> AnyDocument:
    """A reference document from its JSON; msgspec.ValidationError or DecodeError say what is wrong and where."""
    return _decoder.decode(raw)


def parse_action(raw: bytes | msgspec.Raw) -> Action:
    """An action from its JSON; msgspec.ValidationError or DecodeError say what is wrong and where."""
    return _action_decoder.decode(raw)


class _Tag(msgspec.Struct):
    kind: str


def kind_of(raw: bytes | msgspec.Raw) -> str:
    """The kind that a reference document says it is of; msgspec's errors or UnicodeDecodeError where it says none."""
    return msgspec.json.decode(raw, type=_Tag).kind


def document_key(document: AnyDocument) -> str:
    """The document's key in topic reference: `kind:id`; a rule's has its effective time too."""
    if isinstance(document, Rule):
        return f"rule:{document.id}:{document.effective}"
    return f"{document.kind}:{document.id}"


def names_used(document: AnyDocument) -> list[tuple[str, str]]:
    """(kind, id) of every other document this one names; they must be defined before it."""
    used: list[tuple[str, str | None]] = []
    if isinstance(document, Account):
        used = [("customer", document.customer), ("pool", document.pool), ("asset", document.currency)]
    elif isinstance(document, Asset):
        used = [
            ("asset", None if document.currency == document.id else document.currency),
            ("instrument", document.instrument),
        ]
    elif isinstance(document, Pool):
        used = [
            ("asset", document.currency),
            ("calendar", document.calendar),
            ("rule", document.collateral),
            ("rule", document.shocks),
        ]
    elif isinstance(document, Instrument):
        underlying = None if document.underlying == document.id else document.underlying
        used = [
            ("asset", document.currency),
            ("calendar", document.calendar),
            ("rule", document.rule),
            ("instrument", underlying),
            ("instrument", document.funding),
            *(("instrument", one.instrument) for one in document.deliverables or ()),
        ]
    elif isinstance(document, Rule):
        used = _named_by(document.parameters)
    elif isinstance(document, Agreement):
        used = [
            ("customer", document.customer),
            ("rule", document.rule),
            ("account", document.futures_account),
            ("account", document.treasury_account),
        ]
    return [(kind, name) for kind, name in used if name is not None]


def _named_by(p: Parameters) -> list[tuple[str, str | None]]:
    addons = p.addons or AddOns()
    return [
        ("scenarios", p.scenarios),
        ("asset", p.currency),
        ("instrument", None if addons.regime is None else addons.regime.underlying),
        ("calendar", None if addons.gap is None else addons.gap.calendar),
        *(("rule", house) for house in p.houses or ()),
        *(("instrument", leg.underlying) for spread in p.spreads or () for leg in spread.legs),
    ]

"""Reference documents: what customers, accounts, instruments, assets, pools, calendars and rules say, as msgspec structs.

They travel as JSON in document frames of the log; numbers are decimals, taken exactly as written.
"""

from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from engine.arithmetic import E9, LIMIT
from engine.models.pilot import AccountClass
from engine.numbers import scaled, time_ns
from engine.parameters import AddOns, Id, Parameters

Name = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=1024)]
Time = int | str
BASE: Final = "USD"  # the currency that all others are valued in

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
    """A customer; all accounts of one customer live in one shard.

    house: it is the firm itself, whose holdings are the firm's own, and in a pool of customers its residual interest.
    day_end_limit: US dollars of initial margin in all accounts at the day's end; capital_buffer: the share of what is over
    it that the firm holds as incremental capital buffer. ValueError where one is out of its range.
    """

    name: Name = ""
    house: bool = False
    day_end_limit: Decimal | None = None
    capital_buffer: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        """Check the numbers, so that a wrong one is refused wherever the document is read."""
        cents, share = scaled(self.day_end_limit or 0, 100), scaled(self.capital_buffer, E9)
        if not 0 <= cents < LIMIT or not 0 <= share <= E9:
            raise ValueError(
                f"day_end_limit is {self.day_end_limit}, capital_buffer {self.capital_buffer}; allowed are 0 to"
                f" {LIMIT // 100 - 1} US dollars and a share of 0 to 1"
            )


class Holder(Document, frozen=True, kw_only=True, tag="holder"):
    """A clearing house or custodian that sends statements: gives its id a name where they are listed."""

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


class CallTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When margin calls of a pool are issued, closed and escalated; seconds and business days.

    issue_after: how long equity must be short before a call. cover_after: how long it must be back at the initial
    requirement before the market closes a call. raise_share: a call due at the same time is raised when what is missing
    beyond it is at least this share of it. escalate_days, restrict_days: cut-offs after the due one at which an unmet call
    is escalated, and the account restricted to risk-reducing orders (5 business days of age: CME 930.D, rates.md 6 [P]).
    """

    issue_after: Annotated[float, Meta(ge=0, le=864_000)] = 0
    cover_after: Annotated[float, Meta(ge=0, le=864_000)] = 0
    raise_share: Decimal = Decimal("0.1")
    escalate_days: Annotated[int, Meta(ge=1, le=30)] = 1
    restrict_days: Annotated[int, Meta(ge=1, le=30)] = 4


class Pool(Document, frozen=True, kw_only=True, tag="pool"):
    """Where collateral is held under one regime; pools never lend to one another.

    collateral: the rule (model collateral) that says what is taken and at which haircut; without it each asset's own.
    shocks: the portfolio rules in whose scenarios the assets that the collateral rule calls shocked move with the positions.
    All of an account's stand in one of them, so that no loss is charged twice: the first in which it has positions.
    minimum_transfer, rounding: of margin calls to accounts in the pool's currency; calendar: by whose cut-offs they are due.
    account_class: what the CFTC calls its customers' accounts; the weekly report of its pilot omits pools without one.
    """

    regime: Name
    currency: Id
    calendar: Id | None = None
    minimum_transfer: Decimal = Decimal(0)
    rounding: Decimal = Decimal(0)
    collateral: Id | None = None
    shocks: Id | Annotated[tuple[Id, ...], Meta(min_length=1, max_length=8)] = ()
    calls: CallTerms = CallTerms()
    account_class: AccountClass | None = None

    @property
    def moves_in(self) -> tuple[str, ...]:
        """The rules of `shocks`, in their order."""
        return (self.shocks,) if isinstance(self.shocks, str) else self.shocks


Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


class Cutoff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By when called money must be in: the first `at` (UTC) of a business day that is notice_hours or more after the call.

    Both as given here: 6 p.m. in New York in winter, one business day later (17 CFR 1.22, rates.md 6 [P]).
    """

    at: Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "23:00"
    notice_hours: Annotated[int, Meta(ge=0, le=240)] = 24


class Calendar(Document, frozen=True, kw_only=True, tag="calendar"):
    """Weekly sessions in UTC as pairs such as ["Sun 23:00", "Fri 22:00"]; time outside them does not make a price stale.

    holidays: days such as "2026-11-26" that are no business days. cutoffs: by currency; "*" for all others. time_zone: in
    which reports show times beside UTC, such as "America/Chicago"; nothing here is given in it.
    """

    sessions: Annotated[list[tuple[str, str]], Meta(min_length=1, max_length=32)]
    business_days: Annotated[tuple[Day, ...], Meta(min_length=1, max_length=7)] = ("Mon", "Tue", "Wed", "Thu", "Fri")
    holidays: Annotated[tuple[str, ...], Meta(max_length=1024)] = ()
    cutoffs: dict[Id, Cutoff] = {}
    time_zone: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_+/-]*$")] = ""


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


class Rule(Document, frozen=True, kw_only=True, tag="rule"):
    """One dated version of a margin rule: in force from `effective` until the next version of the same id.

    sources: where each parameter comes from, with its grade of evidence.
    """

    model: Literal[
        "flat", "tiered", "volatility", "maturity", "historical", "scan", "grid", "points", "cross_margin", "collateral"
    ]
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
    call: Annotated[str, Meta(min_length=1, max_length=160, pattern="^[ -~]*$")]
    text: Text = ""


AnyDocument = Customer | Account | Asset | Pool | Calendar | Instrument | Rule | Scenarios | Agreement | Holder
DOCUMENTS: Final[dict[str, type[Document]]] = {
    str(t.__struct_config__.tag): t
    for t in (Customer, Account, Asset, Pool, Calendar, Instrument, Rule, Scenarios, Agreement, Holder)
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
            *(("rule", name) for name in document.moves_in),
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
        ("asset", None if addons.depeg is None else addons.depeg.asset),
        *(("rule", house) for house in p.houses or ()),
        *(("instrument", leg.underlying) for spread in p.spreads or () for leg in spread.legs),
    ]

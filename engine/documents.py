"""Reference documents: what customers, accounts, instruments, assets, pools, calendars and rules say, as msgspec structs.

They travel as JSON in document frames of the log; numbers are decimals, taken exactly as written.
"""

from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

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
    """Where collateral is held under one regime; pools never lend to one another."""

    regime: Name
    currency: Id
    calendar: Id | None = None
    minimum_transfer: Decimal = Decimal(0)
    rounding: Decimal = Decimal(0)


class Calendar(Document, frozen=True, kw_only=True, tag="calendar"):
    """Weekly sessions in UTC as pairs such as ["Sun 23:00", "Fri 22:00"]; time outside them does not make a price stale."""

    sessions: Annotated[list[tuple[str, str]], Meta(min_length=1, max_length=32)]


class Instrument(Document, frozen=True, kw_only=True, tag="instrument"):
    """An instrument; prices in points, one point of one unit of quantity is worth `multiplier` in `currency`.

    An inverse contract is worth multiplier / price of `currency` (its multiplier is the contract's size in the quote
    currency). band: lowest and highest price ever taken. stale_after: seconds. dv01: points per basis point, with its
    tenor `bucket`. rule: the margin rule of positions in it.
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

    @property
    def tradable(self) -> bool:
        """Whether positions can be held in it."""
        return self.type not in NOT_TRADABLE


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"above": "from"}):
    """The rates of the part of a notional from `from` (major units of the instrument's currency) to the next tier's."""

    above: Decimal
    initial: Decimal
    maintenance: Decimal


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule's parameters; which are needed depends on the model.

    flat: initial and maintenance, money per unit of quantity. tiered: tiers. volatility: per unit, the larger of floor and
    multiple x volatility x sqrt(days) x price, with the volatility of the underlying at tenor_days (a fraction a year of
    days_per_year days; one in basis points a day is multiplied by the DV01 instead of the price); initial is maintenance x
    initial_ratio. stale_after: seconds after which the volatility is stale.
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


class Rule(Document, frozen=True, kw_only=True, tag="rule"):
    """One dated version of a margin rule: in force from `effective` until the next version of the same id."""

    model: Literal["flat", "tiered", "volatility"]
    effective: Time
    parameters: Parameters

    @property
    def effective_ns(self) -> int:
        """Nanoseconds since 1970 from which this version is in force."""
        return time_ns(self.effective)


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What a named user says about a margin call; travels as a document in the account's shard."""

    id: Id
    ts: Time
    user: Id
    kind: Literal["ack", "note", "cancel"]
    account: Id
    call: Id
    text: Text = ""


AnyDocument = Customer | Account | Asset | Pool | Calendar | Instrument | Rule
DOCUMENTS: Final[dict[str, type[Document]]] = {
    str(t.__struct_config__.tag): t for t in (Customer, Account, Asset, Pool, Calendar, Instrument, Rule)
}
_decoder: Final[msgspec.json.Decoder[AnyDocument]] = msgspec.json.Decoder(AnyDocument)
_action_decoder: Final = msgspec.json.Decoder(Action)


def parse_document(raw: bytes | msgspec.Raw) -> AnyDocument:
    """A reference document from its JSON; msgspec.ValidationError or DecodeError say what is wrong and where."""
    return _decoder.decode(raw)


def parse_action(raw: bytes | msgspec.Raw) -> Action:
    """An action from its JSON; msgspec.ValidationError or DecodeError say what is wrong and where."""
    return _action_decoder.decode(raw)


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
        used = [("asset", document.currency), ("calendar", document.calendar)]
    elif isinstance(document, Instrument):
        underlying = None if document.underlying == document.id else document.underlying
        used = [
            ("asset", document.currency),
            ("calendar", document.calendar),
            ("rule", document.rule),
            ("instrument", underlying),
        ]
    return [(kind, name) for kind, name in used if name is not None]

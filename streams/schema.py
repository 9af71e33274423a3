"""What may stand in every input topic: one msgspec struct per event, and the JSON Schema made from them."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from engine.documents import DOCUMENTS, Action
from engine.events import MAX_ARRAY, MAX_MESSAGE_BYTES, TOPIC_OF, Kind

PRICE_DECIMALS: Final = 9
QUANTITY_DECIMALS: Final = 8
MAX_TENOR_DAYS: Final = 36_500
_PRINTABLE: Final = {"pattern": "^[\\x20-\\x7e]*$"}
_EXACT: Final = "an integer or a decimal string is taken as written, a number with a fraction as its shortest decimal"

Id = Annotated[
    str, Meta(min_length=1, max_length=64, description="printable ASCII, 1 to 64 characters", extra_json_schema=_PRINTABLE)
]
Source = Annotated[
    str, Meta(max_length=64, description="printable ASCII, up to 64 characters", extra_json_schema=_PRINTABLE)
]
Time = Annotated[
    int | str,
    Meta(description="nanoseconds since 1970 (integer), or RFC 3339 with up to 9 decimals of a second; 1970 to 2100"),
]
Quantity = Annotated[
    int | float | str,
    Meta(description=f"up to {QUANTITY_DECIMALS} decimals, within +-92233720368; {_EXACT}"),
]
PriceNumber = Annotated[
    int | float | str,
    Meta(description=f"up to {PRICE_DECIMALS} decimals, within +-9223372036; {_EXACT}"),
]


class Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What all events share: unknown fields are rejected."""

    ts: Time


class Trade(Event, kw_only=True, gc=False):
    """A fill. qty is signed, + bought, never 0; a bust is the opposite trade with an id of its own."""

    id: Id
    account: Id
    instrument: Id
    qty: Quantity
    price: PriceNumber
    source: Source


class Price(Event, kw_only=True, gc=False):
    """A mark: price, or bid and ask (the mark is the mid; bid <= ask). settlement: the day-end or expiry value."""

    instrument: Id
    price: PriceNumber | UnsetType = UNSET
    bid: PriceNumber | UnsetType = UNSET
    ask: PriceNumber | UnsetType = UNSET
    settlement: bool = False
    source: Source = ""


class Volatility(Event, kw_only=True, gc=False):
    """A volatility of an underlying at a tenor, over 0: vol (a fraction a year) or vol_bp (basis points a day)."""

    underlying: Id
    tenor_days: Annotated[int | float | str, Meta(description=f"over 0, up to {MAX_TENOR_DAYS}, up to 8 decimals")]
    vol: PriceNumber | UnsetType = UNSET
    vol_bp: PriceNumber | UnsetType = UNSET


class Collateral(Event, kw_only=True, gc=False):
    """A change of what an account holds of an asset (a currency is one), or with replace the new total."""

    id: Id
    account: Id
    asset: Id
    qty: Quantity
    source: Source
    replace: bool = False


class Position(Event, kw_only=True, gc=False):
    """A start-of-day position as of ts: replaces the position; price is what it is carried at."""

    id: Id
    account: Id
    instrument: Id
    qty: Quantity
    price: PriceNumber


class Statement(Event, kw_only=True, gc=False):
    """What a clearing house or custodian (holder) says an account has: of an instrument or of an asset."""

    id: Id
    holder: Id
    account: Id
    qty: Quantity
    instrument: Id | UnsetType = UNSET
    asset: Id | UnsetType = UNSET


EVENTS: Final[dict[Kind, type[Event]]] = {
    Kind.TRADE: Trade,
    Kind.PRICE: Price,
    Kind.VOLATILITY: Volatility,
    Kind.COLLATERAL: Collateral,
    Kind.POSITION: Position,
    Kind.STATEMENT: Statement,
}


def json_schema() -> dict[str, Any]:
    """JSON Schema of every input: `$defs` holds the events and documents, `topics` what a message of each topic may be."""
    types: list[type] = [*EVENTS.values(), Action, *DOCUMENTS.values()]
    references, definitions = msgspec.json.schema_components(types)
    by_type = dict(zip(types, references, strict=True))
    forms = {kind: [by_type[event]] for kind, event in EVENTS.items()}
    forms[Kind.ACTION] = [by_type[Action]]
    forms[Kind.REFERENCE] = [by_type[document] for document in DOCUMENTS.values()]
    _one_of(definitions["Price"], [["price"], ["bid", "ask"]])
    _one_of(definitions["Volatility"], [["vol"], ["vol_bp"]])
    _one_of(definitions["Statement"], [["instrument"], ["asset"]])
    topics = {topic: _message(topic, forms[kind]) for kind, topic in TOPIC_OF.items()}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "crossmargin input events",
        "description": f"UTF-8 JSON, at most {MAX_MESSAGE_BYTES} bytes; ids are unique per topic, account and source.",
        "topics": topics,
        "$defs": definitions,
    }
    told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))  # defaults too as JSON has them
    return told


def _one_of(definition: dict[str, Any], alternatives: list[list[str]]) -> None:
    """Say in a definition that the fields of exactly one alternative are there, and none of the others."""
    forms: list[dict[str, Any]] = []
    for fields in alternatives:
        others = [{"required": [name]} for other in alternatives if other is not fields for name in other]
        forms.append({"required": fields, "not": {"anyOf": others}})
    definition["oneOf"] = forms


def _message(topic: str, forms: list[dict[str, Any]]) -> dict[str, Any]:
    one = forms[0] if len(forms) == 1 else {"oneOf": forms}
    array = {"type": "array", "items": one, "maxItems": MAX_ARRAY}
    return {"title": topic, "description": "one event, or an array of them, judged one by one", "anyOf": [one, array]}

"""JSON messages to events: size, syntax and fields are judged here, one by one where a message holds an array.

Form is judged from the message alone; columns.py judges numbers and names, and makes log records of the events.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec

from engine.codes import Code
from engine.documents import (
    DOCUMENTS,
    Account,
    Action,
    AnyDocument,
    Calendar,
    Customer,
    Instrument,
    Rule,
    Scenarios,
    parse_action,
    parse_document,
)
from engine.events import MAX_ARRAY, MAX_MESSAGE_BYTES, Kind
from streams.columns import clip, exact_time
from streams.directory import Refused
from streams.schema import EVENTS

_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_FORM_ERRORS: Final = (ValueError, RecursionError)  # msgspec's errors are ValueErrors


class _Tag(msgspec.Struct):
    kind: str = ""


_tag: Final = msgspec.json.Decoder(_Tag).decode

# Messages to events


@dataclass(slots=True)
class Decoded:
    """Events of one topic with their messages' places in the batch and indices; and what was refused, with its bytes."""

    events: list[Any] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    refused: list[tuple[int, int, Refused, bytes]] = field(default_factory=list)


def decode_events(kind: Kind, values: Sequence[bytes], places: Sequence[int]) -> Decoded:
    """The events of these messages of one topic; an array's elements are judged one by one."""
    one = _DECODERS[kind][0]
    try:
        if max(map(len, values)) <= MAX_MESSAGE_BYTES:
            return Decoded(list(map(one, values)), list(places), [0] * len(values))
    except _FORM_ERRORS:
        pass  # arrays, or something that is wrong: message by message then
    decoded = Decoded()
    for place, value in zip(places, values, strict=True):
        _decode_message(decoded, kind, place, value)
    return decoded


def _decode_message(decoded: Decoded, kind: Kind, place: int, value: bytes) -> None:
    one, many = _DECODERS[kind]
    array = value.lstrip()[:1] == b"["
    events: list[Any] | None = None
    if many is not None and len(value) <= MAX_MESSAGE_BYTES:
        try:
            events = many(value) if array else [one(value)]
        except _FORM_ERRORS:
            events = None
    if events is None or len(events) > MAX_ARRAY:
        _decode_elements(decoded, kind, place, value)
        return
    decoded.events += events
    decoded.places += [place] * len(events)
    decoded.indices += range(len(events))


def _decode_elements(decoded: Decoded, kind: Kind, place: int, value: bytes) -> None:
    one = _DECODERS[kind][0]
    try:
        elements = split(value)
    except Refused as refused:
        decoded.refused.append((place, 0, refused, value))
        return
    for index, element in enumerate(elements):
        try:
            event = one(element)
        except _FORM_ERRORS as error:
            decoded.refused.append((place, index, why(error, kind, element), bytes(element)))
        else:
            decoded.events.append(event)
            decoded.places.append(place)
            decoded.indices.append(index)


def split(value: bytes) -> Sequence[bytes | msgspec.Raw]:
    """The elements of a message: itself, or its array's; Refused when it is too large or cannot be parsed."""
    if len(value) > MAX_MESSAGE_BYTES:
        raise Refused(Code.TOO_LARGE, f"found {len(value)} bytes; allowed: up to {MAX_MESSAGE_BYTES} bytes a message")
    if value.lstrip()[:1] != b"[":
        return [value]
    try:
        elements = _elements(value)
    except _FORM_ERRORS as error:
        raise Refused(Code.NOT_JSON, _not_json(error)) from error
    if len(elements) > MAX_ARRAY:
        raise Refused(Code.TOO_MANY, f"found an array of {len(elements)} events; allowed: up to {MAX_ARRAY}")
    return elements


def why(error: Exception, kind: Kind, raw: bytes | msgspec.Raw) -> Refused:
    """The reject that a decoding error of an event means."""
    text = str(error)
    if isinstance(error, Refused):
        return error
    if not isinstance(error, msgspec.ValidationError) or (text.startswith("Expected `object`") and " at `" not in text):
        return Refused(Code.NOT_JSON, _not_json(error))
    if text.startswith("Object ") and " at `" not in text:  # a field that is unknown or missing
        text = f"{clip(text)}; allowed: {_fields(kind, raw)}"
    return Refused(Code.OUT_OF_RANGE if "out of range" in text else Code.BAD_FIELD, clip(text))


def _fields(kind: Kind, raw: bytes | msgspec.Raw) -> str:
    """The fields of an event of this kind, or of the document whose kind the raw bytes say."""
    event: type[msgspec.Struct] | None = EVENTS.get(kind)
    if kind is Kind.ACTION:
        event = Action
    elif event is None:
        with suppress(*_FORM_ERRORS):  # what follows the first error may be anything
            event = DOCUMENTS.get(_tag(raw).kind)
    return ", ".join(event.__struct_fields__) if event else f"kind, one of {', '.join(DOCUMENTS)}"


def _not_json(error: Exception) -> str:
    found = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return clip(f"{found}; allowed: a JSON object, or an array of objects")


# Documents


def read_document(raw: bytes | msgspec.Raw) -> AnyDocument:
    """A reference document whose numbers are finite and of bounded length, and whose times are times; Refused otherwise."""
    document = parse_document(raw)
    if not document.id.isprintable():
        raise Refused(Code.BAD_FIELD, f"id: found {document.id!a}; allowed: printable ASCII, 1 to 64 characters")
    if not isinstance(document, Customer | Account | Calendar | Scenarios):
        for path, number in _decimals(document, ""):
            _check_decimal(path, number)
    times = {"expiry": document.expiry} if isinstance(document, Instrument) else {}
    if isinstance(document, Rule):
        times = {"effective": document.effective}
    for name, value in times.items():
        if value is not None:
            exact_time(name, value)
    return document


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """An action as far as the sequencer needs it: its time in nanoseconds, its account, and its JSON."""

    ts: int
    account: str
    body: msgspec.Raw


def read_action(raw: bytes | msgspec.Raw) -> ActionEvent:
    """An action of good form; Refused or a msgspec error when it is not."""
    action = parse_action(raw)
    return ActionEvent(exact_time("ts", action.ts), action.account, msgspec.Raw(bytes(raw)))


def _decimals(value: object, path: str) -> Iterator[tuple[str, Decimal]]:
    if isinstance(value, Decimal):
        yield path, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _decimals(getattr(value, name), f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _decimals(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _decimals(item, f"{path}.{name}")


def _check_decimal(path: str, number: Decimal) -> None:
    allowed = "allowed: a finite decimal of up to 28 digits, up to 18 of them before and 18 after the point"
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or len(number.as_tuple().digits) > 28 or exponent < -18 or number.adjusted() >= 18:
        raise Refused(Code.OUT_OF_RANGE, clip(f"{path}: found {number}; {allowed}"))


def _both(event: type) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    return msgspec.json.Decoder(event).decode, msgspec.json.Decoder(list[event]).decode  # type: ignore[valid-type]


_DECODERS: Final[dict[Kind, tuple[Callable[..., Any], Callable[..., Any] | None]]] = {
    **{kind: _both(event) for kind, event in EVENTS.items()},
    Kind.ACTION: (read_action, None),
}

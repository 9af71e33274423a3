"""Messages to records: exact numbers against decimal, every form of bad input with its code, and nothing that crashes it."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.codes import Code
from engine.documents import DOCUMENTS
from engine.events import MAX_ARRAY, MAX_MESSAGE_BYTES, Flag, Kind, id_key, key64, shard_of, signed64
from engine.numbers import INT64_MAX, MAX_TIME_NS
from streams.codec import decode_events, read_document, split, why
from streams.columns import MAX_DETAIL, Columns, middle
from streams.directory import Directory, Refused
from streams.sequence import rebuilt

SHARDS = 4
thorough = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
DIRECTORY = rebuilt(
    SHARDS,
    map(
        msgspec.json.encode,
        [
            {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
            {"kind": "pool", "id": "POOL", "regime": "r", "currency": "USD"},
            {"kind": "customer", "id": "C"},
            {"kind": "account", "id": "A", "customer": "C", "pool": "POOL", "currency": "USD"},
            {"kind": "instrument", "id": "I", "type": "perpetual", "currency": "USD", "tick": 1, "band": [0, 9]},
        ],
    ),
)
TRADE = {"id": "1", "ts": 5, "account": "A", "instrument": "I", "qty": 1, "price": 2, "source": "s"}
GOOD: dict[Kind, dict[str, Any]] = {
    Kind.TRADE: TRADE,
    Kind.PRICE: {"ts": 5, "instrument": "I", "price": 2},
    Kind.VOLATILITY: {"ts": 5, "underlying": "I", "tenor_days": 30, "vol": 0.5},
    Kind.COLLATERAL: {"id": "1", "ts": 5, "account": "A", "asset": "USD", "qty": 1, "source": "s"},
    Kind.POSITION: {"id": "1", "ts": 5, "account": "A", "instrument": "I", "qty": 1, "price": 2},
    Kind.STATEMENT: {"id": "1", "ts": 5, "holder": "h", "account": "A", "asset": "USD", "qty": 1},
    Kind.ACTION: {"id": "1", "ts": 5, "user": "u", "kind": "ack", "account": "A", "call": "c"},
}


def encode_all(kind: Kind, *messages: bytes, directory: Directory = DIRECTORY) -> tuple[Columns, list[Refused | None]]:
    """The columns of single-event messages, and for each message why it was refused."""
    decoded = decode_events(kind, messages, range(len(messages)))
    verdicts: list[Refused | None] = [None] * len(messages)
    for place, index, refused, raw in decoded.refused:
        assert index == 0
        assert raw == messages[place]
        verdicts[place] = refused
    columns = Columns(kind, decoded.events, directory)
    for row, refused in columns.refused.items():
        verdicts[decoded.places[row]] = refused
    return columns, verdicts


def verdict(kind: Kind, message: bytes) -> Refused:
    (found,) = encode_all(kind, message)[1]
    assert found is not None
    return found


def record(kind: Kind, event: dict[str, Any]) -> Any:
    columns, (refused,) = encode_all(kind, msgspec.json.encode(event))
    assert refused is None
    return columns.records[0]


# Numbers

digits = st.text("0123456789", min_size=1, max_size=21)
plain = st.builds(lambda sign, whole, fraction: f"{sign}{whole.lstrip('0') or '0'}{fraction}",
                  st.sampled_from(["", "-"]), digits, st.one_of(st.just(""), digits.map(lambda d: f".{d}")))  # fmt: skip
tokens = st.one_of(
    plain,
    plain.map(lambda text: f'"{text}"'),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**15), 10**15).map(lambda n: repr(n / 10**9)),
    st.integers(-(10**6), 10**6).map(lambda n: repr(n / 10**2)),
    st.integers(-(10**22), 10**22).map(str),
    st.builds(lambda n, e: f"{n}e{e}", st.integers(-99999, 99999), st.integers(-20, 20)),
)


def wanted(token: str, one: int) -> int | None:
    """What INTERFACES says of a JSON token: value x one, None for a reject."""
    if token.startswith('"'):
        value = Decimal(token.strip('"'))
    else:
        parsed = msgspec.json.decode(token)
        value = Decimal(parsed) if isinstance(parsed, int) else Decimal(repr(parsed))
    exact = Fraction(value) * one
    return int(exact) if exact.denominator == 1 and abs(exact) <= INT64_MAX else None


@thorough
@given(st.lists(tokens, min_size=1, max_size=8))
@example(["0.1", "1e-9", "0.1000000001"])
@example(["9223372036.854775807", "9007199254740993"])
@example(['"1.000000000000000000000000000001"'])
@example(['"9223372036.854775807"', '"-9223372036.854775808"'])
@example(['"0.123456789"', '"1.10000000000"', '"-0"'])
@example(["1e300", "-1.5"])
@example(["123456.123456789", "999999.999999999", "1000000.000000001"])
def test_numbers_are_exact_or_refused(numbers: list[str]) -> None:
    for name, column, one in (("price", "price", 10**9), ("qty", "quantity", 10**8)):
        event = msgspec.json.encode({**GOOD[Kind.POSITION], name: 0}).decode()
        messages = [event.replace(f'"{name}":0', f'"{name}":{number}').encode() for number in numbers]
        columns, verdicts = encode_all(Kind.POSITION, *messages)
        for row, (number, refused) in enumerate(zip(numbers, verdicts, strict=True)):
            expected = wanted(number, one)
            if expected is None:
                assert refused is not None, number
                assert refused.code in (Code.OUT_OF_RANGE, Code.BAD_FIELD)
                assert len(refused.detail) <= MAX_DETAIL + 3
            else:
                assert refused is None, (number, refused)
                assert columns.records[column][row] == expected


@pytest.mark.parametrize(
    "text", ["1e5", " 1", "1 ", "+1", "01", ".5", "5.", "", "nan", "Infinity", "1_0", "0x1", "1,5", "٣"]
)
def test_a_string_must_be_a_plain_decimal(text: str) -> None:
    for others in ([], ["1.5"], [2]):  # alone, among strings, and in a mixed column
        messages = [msgspec.json.encode({**TRADE, "price": price}) for price in [text, *others]]
        refused = encode_all(Kind.TRADE, *messages)[1]
        assert refused[0] is not None
        assert refused[0].code is Code.BAD_FIELD
        assert not any(refused[1:])


@thorough
@given(st.lists(st.tuples(st.integers(-INT64_MAX, INT64_MAX), st.integers(-INT64_MAX, INT64_MAX)), min_size=1))
def test_mid_is_rounded_half_to_even(quotes: list[tuple[int, int]]) -> None:
    bids, asks = (np.array(column, np.int64) for column in zip(*quotes, strict=True))
    assert middle(bids, asks).tolist() == [round(Fraction(bid + ask, 2)) for bid, ask in quotes]


@thorough
@given(st.one_of(st.integers(-(10**25), 10**25), st.integers(0, MAX_TIME_NS)))
def test_integer_times_are_taken_as_nanoseconds(ts: int) -> None:
    columns, (refused,) = encode_all(Kind.PRICE, msgspec.json.encode({**GOOD[Kind.PRICE], "ts": ts}))
    if 0 <= ts <= MAX_TIME_NS:
        assert columns.records["ts_ns"][0] == ts
    else:
        assert refused is not None
        assert refused.code in (Code.OUT_OF_RANGE, Code.BAD_FIELD)


def test_times_as_text() -> None:
    assert record(Kind.PRICE, {**GOOD[Kind.PRICE], "ts": "1970-01-01T00:00:01.000000002Z"})["ts_ns"] == 1_000_000_002
    for ts, code in (
        ("yesterday", Code.BAD_FIELD),
        ("2026-13-01T00:00:00Z", Code.BAD_FIELD),
        ("1969-12-31T23:59:59Z", Code.OUT_OF_RANGE),
    ):
        refused = verdict(Kind.PRICE, msgspec.json.encode({**GOOD[Kind.PRICE], "ts": ts}))
        assert refused.code is code
        assert ts in refused.detail


# Records


def test_trade() -> None:
    row = record(Kind.TRADE, {**TRADE, "qty": -1.5, "price": "2.25"})
    assert (row["kind"], row["ts_ns"], row["quantity"], row["price"], row["flags"]) == (
        Kind.TRADE,
        5,
        -150_000_000,
        2_250_000_000,
        0,
    )
    assert (row["account"], row["instrument"], row["id"]) == (key64("A"), key64("I"), id_key("trades", "A", "s", "1"))
    assert encode_all(Kind.TRADE, msgspec.json.encode(TRADE))[0].shards.tolist() == [shard_of("C", SHARDS)]


def test_price_and_quote() -> None:
    row = record(Kind.PRICE, {**GOOD[Kind.PRICE], "settlement": True, "source": "s"})
    assert (row["price"], row["flags"], row["account"], row["id"]) == (2 * 10**9, Flag.SETTLEMENT, 0, 0)
    quote = {"ts": 5, "instrument": "I", "bid": 1, "ask": "1.000000003"}
    assert record(Kind.PRICE, quote)["price"] == 1_000_000_002


def test_quotes_and_prices_in_one_column() -> None:
    quote = {"ts": 5, "instrument": "I", "bid": 1, "ask": 3}
    events = [
        GOOD[Kind.PRICE],
        quote,
        {**quote, "ask": 0},
        {**quote, "price": 1},
        {"ts": 5, "instrument": "I"},
        {**quote, "bid": 2},
    ]
    columns, verdicts = encode_all(Kind.PRICE, *map(msgspec.json.encode, events))
    assert [refused and refused.code for refused in verdicts] == [
        None,
        None,
        Code.BAD_FIELD,
        Code.BAD_FIELD,
        Code.BAD_FIELD,
        None,
    ]
    assert columns.records["price"][[0, 1, 5]].tolist() == [2 * 10**9, 2 * 10**9, 25 * 10**8]


def test_volatility() -> None:
    row = record(Kind.VOLATILITY, GOOD[Kind.VOLATILITY])
    assert (row["quantity"], row["price"], row["flags"], row["instrument"]) == (30 * 10**8, 5 * 10**8, 0, key64("I"))
    row = record(Kind.VOLATILITY, {"ts": 5, "underlying": "I", "tenor_days": "0.5", "vol_bp": 6})
    assert (row["quantity"], row["price"], row["flags"]) == (5 * 10**7, 6 * 10**9, Flag.BASIS_POINTS)


def test_collateral_position_and_statement() -> None:
    row = record(Kind.COLLATERAL, {**GOOD[Kind.COLLATERAL], "replace": True})
    assert (row["instrument"], row["flags"], row["id"]) == (key64("USD"), Flag.REPLACE, id_key("collateral", "A", "s", "1"))
    assert record(Kind.POSITION, GOOD[Kind.POSITION])["id"] == id_key("positions", "A", "", "1")
    row = record(Kind.STATEMENT, GOOD[Kind.STATEMENT])
    assert (row["instrument"], row["flags"], row["id"]) == (key64("USD"), Flag.ASSET, id_key("statements", "A", "h", "1"))
    assert row["price"] == signed64(key64("h"))
    other = {name: value for name, value in GOOD[Kind.STATEMENT].items() if name != "asset"}
    row = record(Kind.STATEMENT, {**other, "instrument": "I"})
    assert (row["instrument"], row["flags"]) == (key64("I"), 0)


# What is refused

BAD: list[tuple[Kind, dict[str, Any], Code, str]] = [
    (Kind.TRADE, {"qty": 0}, Code.BAD_FIELD, "qty"),
    (Kind.TRADE, {"qty": "0.000"}, Code.BAD_FIELD, "qty"),
    (Kind.TRADE, {"qty": 0.000000001}, Code.OUT_OF_RANGE, "8 decimals"),
    (Kind.TRADE, {"qty": True}, Code.BAD_FIELD, "$.qty"),
    (Kind.TRADE, {"qty": None}, Code.BAD_FIELD, "$.qty"),
    (Kind.TRADE, {"price": [1]}, Code.BAD_FIELD, "$.price"),
    (Kind.TRADE, {"price": 10**11}, Code.OUT_OF_RANGE, "price"),
    (Kind.TRADE, {"price": 10**400}, Code.OUT_OF_RANGE, "price"),
    (Kind.TRADE, {"price": "1.1234567891"}, Code.OUT_OF_RANGE, "9 decimals"),
    (Kind.TRADE, {"colour": 1}, Code.BAD_FIELD, "colour"),
    (Kind.TRADE, {"id": ""}, Code.BAD_FIELD, "$.id"),
    (Kind.TRADE, {"id": "x" * 65}, Code.BAD_FIELD, "$.id"),
    (Kind.TRADE, {"id": "é"}, Code.BAD_FIELD, "printable ASCII"),
    (Kind.TRADE, {"source": "a\nb"}, Code.BAD_FIELD, "printable ASCII"),
    (Kind.TRADE, {"account": "B"}, Code.UNKNOWN_ACCOUNT, "'B'"),
    (Kind.TRADE, {"account": "é"}, Code.BAD_FIELD, "printable ASCII"),
    (Kind.TRADE, {"instrument": "USD"}, Code.UNKNOWN_INSTRUMENT, "'USD'"),
    (Kind.TRADE, {"account": "B", "qty": 0}, Code.BAD_FIELD, "qty"),
    (Kind.TRADE, {"ts": 1.5}, Code.BAD_FIELD, "$.ts"),
    (Kind.TRADE, {"ts": -1}, Code.OUT_OF_RANGE, "ts"),
    (Kind.PRICE, {"bid": 1}, Code.BAD_FIELD, "bid"),
    (Kind.PRICE, {"settlement": 1}, Code.BAD_FIELD, "$.settlement"),
    (Kind.VOLATILITY, {"vol_bp": 1}, Code.BAD_FIELD, "vol_bp"),
    (Kind.VOLATILITY, {"vol": 0}, Code.OUT_OF_RANGE, "over 0"),
    (Kind.VOLATILITY, {"vol": -1}, Code.OUT_OF_RANGE, "over 0"),
    (Kind.VOLATILITY, {"tenor_days": 0}, Code.OUT_OF_RANGE, "tenor_days"),
    (Kind.VOLATILITY, {"tenor_days": 36_501}, Code.OUT_OF_RANGE, "36500"),
    (Kind.VOLATILITY, {"underlying": "J"}, Code.UNKNOWN_INSTRUMENT, "'J'"),
    (Kind.COLLATERAL, {"asset": "I"}, Code.UNKNOWN_ASSET, "'I'"),
    (Kind.STATEMENT, {"instrument": "I"}, Code.BAD_FIELD, "instrument and asset"),
    (Kind.STATEMENT, {"asset": "EUR"}, Code.UNKNOWN_ASSET, "'EUR'"),
    (Kind.ACTION, {"kind": "sell"}, Code.BAD_FIELD, "$.kind"),
    (Kind.ACTION, {"ts": "now"}, Code.BAD_FIELD, "now"),
    (Kind.ACTION, {"account": "B"}, Code.UNKNOWN_ACCOUNT, "'B'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "code", "says"), BAD)
def test_bad_fields(kind: Kind, change: dict[str, Any], code: Code, says: str) -> None:
    good, bad = msgspec.json.encode(GOOD[kind]), msgspec.json.encode({**GOOD[kind], **change})
    assert encode_all(kind, good)[1] == [None]
    for messages in ([bad], [good, bad, good]):
        verdicts = encode_all(kind, *messages)[1]
        refused = verdicts.pop(len(messages) // 2)
        assert not any(verdicts)
        assert refused is not None
        assert refused.code is code
        assert says in refused.detail


@pytest.mark.parametrize("kind", GOOD)
def test_missing_fields_are_named_with_those_allowed(kind: Kind) -> None:
    refused = verdict(kind, b"{}")
    assert refused.code is Code.BAD_FIELD
    assert "missing required field" in refused.detail
    assert "allowed: " in refused.detail


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b'{"id":"\xff"}',
        b"5",
        b'"x"',
        b"null",
        b"[" * 200_000,
        b'{"id":' * 100_000,
        b"\x00",
    ],
)
def test_what_is_not_json(message: bytes) -> None:
    assert verdict(Kind.TRADE, message).code in (Code.NOT_JSON, Code.BAD_FIELD)
    assert len(verdict(Kind.TRADE, message).detail) <= MAX_DETAIL + 3


def test_deep_nesting_is_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert verdict(Kind.TRADE, deep).code is Code.NOT_JSON
    for message in (b'{"x":' + deep + b"}", b'{"ts":' + deep + b"}", b'[{"ts":' + deep + b"}]"):
        for kind in (Kind.TRADE, Kind.ACTION):
            assert verdict(kind, message).code in (Code.NOT_JSON, Code.BAD_FIELD)


def test_large_messages_are_refused() -> None:
    event = msgspec.json.encode(TRADE)
    assert encode_all(Kind.TRADE, event + b" " * (MAX_MESSAGE_BYTES - len(event)))[1] == [None]
    refused = verdict(Kind.TRADE, event + b" " * (MAX_MESSAGE_BYTES - len(event) + 1))
    assert refused.code is Code.TOO_LARGE


def test_arrays_are_judged_element_by_element() -> None:
    good, bad = msgspec.json.encode(TRADE), b'{"id": 1}'
    message = b" [" + b", ".join([good, bad, b"5", good]) + b"]"
    decoded = decode_events(Kind.TRADE, [good, message, b"[]", b"[" + good + b"]"], [7, 8, 9, 10])
    assert list(zip(decoded.places, decoded.indices, strict=True)) == [(7, 0), (8, 0), (8, 3), (10, 0)]
    assert [(place, index, raw) for place, index, _, raw in decoded.refused] == [(8, 1, bad), (8, 2, b"5")]
    assert [refused.code for _, _, refused, _ in decoded.refused] == [Code.BAD_FIELD, Code.NOT_JSON]


def test_arrays_hold_at_most_4096_events() -> None:
    event = msgspec.json.encode(GOOD[Kind.PRICE])
    for count in (MAX_ARRAY, MAX_ARRAY + 1):
        message = b"[" + b",".join([event] * count) + b"]"
        decoded = decode_events(Kind.PRICE, [message], [0])
        if count == MAX_ARRAY:
            assert len(decoded.events) == count
        else:
            assert [(index, refused.code, raw) for _, index, refused, raw in decoded.refused] == [
                (0, Code.TOO_MANY, message)
            ]


# Documents


def document_refusal(**fields: object) -> Refused:
    raw = msgspec.json.encode(fields)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_document(raw)
    return why(caught.value, Kind.REFERENCE, raw)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"tick": "NaN"}, Code.OUT_OF_RANGE, "tick"),
        ({"tick": "1e999999999"}, Code.OUT_OF_RANGE, "tick"),
        ({"band": ["0", "Infinity"]}, Code.OUT_OF_RANGE, "band[1]"),
        ({"tick": "0." + "1" * 30}, Code.OUT_OF_RANGE, "tick"),
        ({"expiry": "soon"}, Code.BAD_FIELD, "expiry"),
        ({"expiry": -5}, Code.OUT_OF_RANGE, "expiry"),
        ({"type": "stock"}, Code.BAD_FIELD, "$.type"),
        ({"colour": 1}, Code.BAD_FIELD, "multiplier"),
        ({"kind": "gadget"}, Code.BAD_FIELD, "gadget"),
        ({"id": "a b\n"}, Code.BAD_FIELD, "id"),
    ],
)
def test_bad_documents(change: dict[str, object], code: Code, says: str) -> None:
    good = {"kind": "instrument", "id": "I", "type": "perpetual", "currency": "USD", "tick": "1", "band": ["0", "9"]}
    read_document(msgspec.json.encode(good))
    refused = document_refusal(**{**good, **change})
    assert refused.code is code
    assert says in refused.detail


def test_rules_have_times_and_bounded_numbers() -> None:
    good = {"kind": "rule", "id": "r", "model": "flat", "effective": 0, "parameters": {"initial": 1, "maintenance": 1}}
    read_document(msgspec.json.encode(good))
    assert document_refusal(**{**good, "effective": "never"}).code is Code.BAD_FIELD
    refused = document_refusal(**{**good, "parameters": {"initial": "1e400"}})
    assert (refused.code, "parameters.initial" in refused.detail) == (Code.OUT_OF_RANGE, True)


def test_a_document_without_kind_names_the_kinds() -> None:
    assert all(kind in document_refusal(id="x").detail for kind in DOCUMENTS)


# Nothing crashes it

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Kind, bytes]:
    kind = draw(st.sampled_from(list(GOOD)))
    event = dict(GOOD[kind])
    for name in draw(st.lists(st.sampled_from([*event, "extra", "bid", "vol_bp", "asset"]), max_size=2)):
        event[name] = draw(json_values)
    raw = bytearray(msgspec.json.encode(draw(st.sampled_from([event, [event], [GOOD[kind], event]]))))
    for _ in range(draw(st.integers(0, 3))):
        raw[draw(st.integers(0, len(raw) - 1))] ^= 1 << draw(st.integers(0, 7))
    return kind, bytes(raw[: draw(st.sampled_from([len(raw), len(raw), len(raw) // 2]))])


@thorough
@given(mutated())
def test_mutated_messages_are_taken_or_refused_element_by_element(case: tuple[Kind, bytes]) -> None:
    kind, message = case
    decoded = decode_events(kind, [message], [0])
    columns = Columns(kind, decoded.events, DIRECTORY)
    seen = sorted([*decoded.indices, *(index for _, index, _, _ in decoded.refused)])
    try:
        assert seen == list(range(len(split(message))))
    except Refused:
        assert seen == [0]
    for refused in [*columns.refused.values(), *(refused for _, _, refused, _ in decoded.refused)]:
        assert refused.code.is_form
        assert refused.detail
        assert len(refused.detail) <= MAX_DETAIL + 3

"""Hostile input out of a seed: mutants of good events, each with its certain verdict, and of rogues' events, made at random.

Rogues have customers, accounts, instruments and rules of their own, so that what happens to be valid touches nobody else.
"""

import json
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from engine.events import MAX_ARRAY, MAX_MESSAGE_BYTES, NS
from streams.files import EXAMPLE, open_sources
from streams.generate import Generator
from streams.load import in_order
from streams.market import excerpt_ticks
from streams.sources import Item
from streams.topics import INPUTS, REFERENCE

PARTITIONS = 3
ACCOUNTS = 60
GOOD = 4_000
ROGUES = 8
DAY_NS = 86_400 * NS
START_NS = 1_767_225_600 * NS  # 2026-01-01, which is over; FAR is 2096
FAR = str(4_000_000_000 * NS)
DEEP = "[" * 100_000
NUMBERS = {  # tokens that are neither price nor quantity, and why
    "NaN": "not_json", "-Infinity": "not_json", "0x10": "not_json", "01": "not_json", "1_000": "not_json",
    "null": "bad_field", "true": "bad_field", "{}": "bad_field", "[1]": "bad_field", '"NaN"': "bad_field", DEEP: "bad_field",
    '"1e5"': "bad_field", '"\u0661"': "bad_field", '""': "bad_field", "[" * 90 + "]" * 90: "bad_field",
    "9" * 30: "out_of_range", "9" * 4000: "out_of_range", "1e300": "out_of_range", "0.1234567891": "out_of_range",
    '"92233720368547758.08"': "out_of_range", "-9223372036854775809": "out_of_range", "1e999": "out_of_range",
}  # fmt: skip
TIMES = {
    "-1": "out_of_range", "4102444800000000001": "out_of_range", "9" * 19: "out_of_range", "1.5": "bad_field",
    '"yesterday"': "bad_field", '"2024-02-30T00:00:00Z"': "bad_field", "null": "bad_field", "1e999": "out_of_range",
}  # fmt: skip
NAMES = {
    "7": "bad_field", "null": "bad_field", '""': "bad_field", f'"{"A" * 65}"': "bad_field", '"\u00e9"': "bad_field",
    '"A\\u0000"': "bad_field", '"\\ud800"': "not_json", '"': "not_json",
}  # fmt: skip
TOKENS = (*NUMBERS, *TIMES, *NAMES, "0", "-1", "1e-8", "92233720368", "-92233720368", '"USD"', '"USDT"', "[]", '["0","1e9"]')
EXTREMES = b"1e17 999999999999999999 1e-18 -1 0 1000000000 92233720368 1e18 1e300 NaN Infinity 0.000000001 5e-324".split()
FIGURE = re.compile(rb'(?<=[:\[ ])"?-?[0-9][0-9.]*"?(?=[,\]}])')
SPACE = " \t\r\n"
Tokens = dict[str, str]
"""A JSON object by field, each value as written; an empty one is left out."""


@dataclass(frozen=True)
class Sent:
    """A message and what it counts as. good: indices of good events; verdict: what is certain to become of all others.

    verdict: a reject's reason, "rejected" for whatever reason, "superseded", or "" where only chance knows.
    """

    topic: str
    partition: int
    value: bytes | None
    elements: tuple[bytes, ...]
    verdict: str = ""
    good: tuple[int, ...] = ()


@dataclass
class Plan:
    """All messages in their order: definitions, positions and first prices; then good ones among mutants."""

    opening: list[Sent] = field(default_factory=list)
    storm: list[Sent] = field(default_factory=list)


def elements(value: bytes | None) -> tuple[bytes, ...]:
    """What a message counts as, by another parser than the product's: an array's elements, or itself."""
    whole = (value or b"",)
    if value is None or len(value) > MAX_MESSAGE_BYTES or value.lstrip(SPACE.encode())[:1] != b"[":
        return whole
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_int=str, parse_float=str, object_pairs_hook=list)
    text = value.decode("latin-1")  # UTF-8 is each element's own affair
    found, at, separator = [], text.index("[") + 1, ","
    try:
        if text[at:].strip(SPACE) == "]":
            return ()
        while separator == ",":
            while text[at] in SPACE:
                at += 1
            event, end = decoder.raw_decode(text, at)
            json.dumps(event, ensure_ascii=False).encode()  # half of a surrogate pair is no text
            found.append(value[at:end])
            while text[end] in SPACE:
                end += 1
            separator, at = text[end], end + 1
    except (ValueError, RecursionError, IndexError):
        return whole
    return whole if separator != "]" or text[at:].strip(SPACE) or len(found) > MAX_ARRAY else tuple(found)


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and its like are no JSON


def compose(fields: Tokens) -> bytes:
    return ("{" + ",".join(f'"{name}":{token}' for name, token in fields.items() if token) + "}").encode()


def tokens(body: bytes) -> Tokens:
    return {name: json.dumps(value) for name, value in json.loads(body).items()}


def place(topic: str, key: str) -> int:
    """The partition of a key, as load and feed choose it."""
    return 0 if topic == REFERENCE else zlib.crc32(key.encode()) % PARTITIONS


def good(item: Item) -> Sent:
    """A good event as a message of its own."""
    _, topic, key, body = item
    return Sent(topic, place(topic, key), body, (body,), good=(0,))


class Storm:
    """The example's definitions and generated good events, and the mutants among them: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._number = 0
        generator = Generator(seed, ACCOUNTS, excerpt_ticks(START_NS), trades_per_second=300)
        documents = in_order([item for source in open_sources(EXAMPLE) for item in source])
        self._opening = [*documents, *generator.opening()]
        self._live = list(islice(generator.live(), GOOD))
        self._by_topic = {
            topic: [item for item in (*self._opening, *self._live) if item[1] == topic]
            for topic in ("trades", "prices", "collateral", "positions", "volatility", REFERENCE)
        }
        self._with_ids = [item for item in self._opening if item[1] in ("positions", "collateral")]

    def plan(self, mutants: int) -> Plan:
        """The good events among so many mutated messages."""
        opening = [good(item) for item in self._opening]
        opening += [Sent(REFERENCE, 0, body, (body,)) for body in map(compose, rogue_documents())]
        makers = [self._certain] * 30 + [self._duplicate] * 8 + [self._mixed] * 10 + [self._rogue] * 50 + [self._odd] * 2
        large, live, storm = self._large(), iter(self._live), []
        for number in range(mutants):
            storm += [self._as_is(item) for item in islice(live, self._random.choice((0, 0, 1)) if number else 50)]
            make = self._random.choice(makers)
            storm.append(large.pop() if large and number % 600 == 599 else make(live))
        return Plan(opening, storm + [self._as_is(item) for item in live])

    def _as_is(self, item: Item) -> Sent:
        if item[1] in ("trades", "collateral"):
            self._with_ids.append(item)
        return good(item)

    def _id(self) -> str:
        self._number += 1
        return f'"mutant-{self._number}"'

    # Mutants of good events, which cannot be valid

    def _certain(self, _: object) -> Sent:
        topic = self._random.choice(tuple(self._by_topic))
        _, _, key, body = self._random.choice(self._by_topic[topic])
        return self._definition() if topic == REFERENCE else self._invalid(topic, key, tokens(body))

    def _invalid(self, topic: str, key: str, fields: Tokens) -> Sent:
        if "id" in fields:
            fields["id"] = self._id()
        if self._random.random() < 0.1:
            whole = compose(fields)
            cut = whole[: self._random.randrange(1, len(whole))]
            body, verdict = self._random.choice((cut, whole + b"]", b"\xef\xbb\xbf" + whole)), "not_json"
        else:
            changed, verdict = self._random.choice(self._changes(topic, fields))
            body = compose({**fields, **changed})
        return Sent(topic, place(topic, key), body, (body,), verdict)

    def _changes(self, topic: str, fields: Tokens) -> list[tuple[Tokens, str]]:
        """All that can be done to a valid event, each with its verdict."""
        numbers = [name for name in ("qty", "price", "bid", "vol", "vol_bp", "tenor_days") if name in fields]
        names = [name for name in ("account", "instrument", "underlying", "asset") if name in fields]
        return [
            *(({name: token}, verdict) for name in numbers for token, verdict in NUMBERS.items()),
            *(({"ts": token}, verdict) for token, verdict in TIMES.items()),
            *(({name: token}, verdict) for name in names for token, verdict in NAMES.items()),
            *(({name: '"nobody"'}, f"unknown_{name.replace('underlying', 'instrument')}") for name in names),
            *(({name: ""}, "bad_field") for name in fields if name not in ("source", "replace")),
            ({"unheard_of": "1"}, "bad_field"),
            ({"ts": FAR}, "ahead_of_time"),
            *self._meaningless(topic),
        ]

    def _meaningless(self, topic: str) -> list[tuple[Tokens, str]]:
        """What is of good form but refused by the state."""
        early = {"ts": str(START_NS - DAY_NS)}
        changes: dict[str, list[tuple[Tokens, str]]] = {
            "trades": [
                ({"instrument": '"UST-10Y-YIELD"'}, "not_tradable"), ({"qty": "1e-8"}, "off_lot"),
                ({"qty": "0"}, "bad_field"), ({"price": "1e-9"}, "off_tick"), ({"price": "1000000000"}, "out_of_band"),
                (early, "already_included"),
            ],
            "prices": [
                ({"bid": "1", "ask": "0.5", "price": ""}, "bad_field"),
                ({"price": "1", "bid": "1", "ask": "1"}, "bad_field"),
                ({"price": "1000000000", "bid": "", "ask": ""}, "out_of_band"), (early, "superseded"),
            ],
            "collateral": [
                ({"qty": "-92233720368", "replace": "false", "asset": '"UST-BILL"'}, "negative_holding"),
                ({"asset": '"USD"', "qty": "0.001"}, "off_unit"), ({"replace": "1"}, "bad_field"),
            ],
            "positions": [(early, "as_of_conflict"), ({"qty": "1e-8"}, "off_lot"), ({"price": "1e9"}, "out_of_band")],
            "volatility": [
                ({"tenor_days": "0"}, "out_of_range"), ({"vol": "1", "vol_bp": "1"}, "bad_field"), (early, "superseded"),
            ],
        }  # fmt: skip
        return changes[topic]

    def _definition(self) -> Sent:
        """A change of a good definition that is refused, or a document that is none."""
        account, instrument = (tokens(self._document(kind)) for kind in ("account", "instrument"))
        asset = {"kind": '"asset"', "id": self._id(), "type": '"crypto"', "currency": '"USD"'}
        customer = {"kind": '"customer"', "id": asset["id"]}
        rule = rogue_documents()[1] | {"effective": str(START_NS - self._number)}
        body, verdict = self._random.choice(
            [
                ({**account, "customer": '"rogue-customer-0"'}, "changed_definition"),
                ({**account, "pool": '"rogue-pool"'}, "changed_definition"),
                ({**instrument, "tick": '"0.5000001"'}, "changed_definition"),
                ({**instrument, "currency": '"nothing"'}, "unknown_name"),
                ({**instrument, "id": asset["id"], "stale_after": "1e300"}, "rejected"),
                ({**asset, "haircut": '"2"'}, "refused_definition"), ({**asset, "haircut": "NaN"}, "not_json"),
                ({**asset, "haircut": '"NaN"'}, "out_of_range"), ({**asset, "decimals": "9"}, "bad_field"),
                ({**asset, "kind": '"nonsense"'}, "bad_field"), ({**asset, "kind": "7"}, "bad_field"),
                ({**asset, "bogus": "1", "more": DEEP}, "rejected"), ({**asset, "bogus": "1", "more": '"'}, "rejected"),
                ({**asset, "haircut": DEEP}, "bad_field"), ({**asset, "decimals": "2.5"}, "bad_field"),
                ({**customer, "name": f'"{"N" * 257}"'}, "bad_field"), ({**customer, "id": '"\u00e9"'}, "bad_field"),
                ({**rule, "parameters": '{"initial":"1000000000","maintenance":"1"}'}, ""),
            ]
        )  # fmt: skip
        value = compose(body)
        return Sent(REFERENCE, 0, value, (value,), verdict)

    def _document(self, kind: str) -> bytes:
        return self._random.choice([body for _, _, key, body in self._opening if key.startswith(f"{kind}:")])

    def _duplicate(self, _: object) -> Sent:
        """A good event once more."""
        _, topic, key, body = self._random.choice(self._with_ids)
        return Sent(topic, place(topic, key), body, (body,), "duplicate")

    def _mixed(self, live: Iterator[Item]) -> Sent:
        """An array with a good event among mutants of it."""
        item = next(live, None)
        if item is None:
            return self._certain(None)
        self._as_is(item)
        _, topic, key, body = item
        parts: list[bytes] = []
        while len(parts) < 3:
            made = self._invalid(topic, key, tokens(body)).elements[0]
            if elements(b"[" + made + b"]") == (made,):
                parts.append(made)
        at = self._random.randrange(4)
        parts.insert(at, body)
        return Sent(topic, place(topic, key), b"[" + b" ,\n".join(parts) + b"]", tuple(parts), good=(at,))

    # Events of rogues, mutated at random

    def _rogue(self, _: object) -> Sent:
        """An event, or an array of them, with up to three mutations."""
        topic, body = self._rogue_event(self._random.choice(INPUTS))
        for _ in range(self._random.choice((0, 1, 1, 1, 2, 3))):
            body = self._mutated(topic, body)
        if self._random.random() < 0.1:
            others = [self._rogue_event(topic)[1] for _ in range(self._random.randrange(4))]
            body = b"[" + b",".join([*others, body, *others[:1]]) + b"]"
            body = self._flipped(body) if self._random.random() < 0.3 else body
        return Sent(topic, 0 if topic == REFERENCE else self._random.randrange(PARTITIONS), body, elements(body))

    def _rogue_event(self, topic: str) -> tuple[str, bytes]:
        """A valid event, or nearly so."""
        r = self._random
        if topic == REFERENCE:
            return topic, self._rogue_document()
        ts = {"ts": str(START_NS - r.randrange(DAY_NS))}
        instrument = {"instrument": f'"rogue-instrument-{r.randrange(2 * ROGUES)}"'}
        qty, price = (r.choice(("1", "-1", '"2.5"', "1e3", str(r.randrange(1, 1000)))) for _ in range(2))
        who = {**ts, "id": self._id(), "account": f'"rogue-account-{r.randrange(ROGUES)}"', "qty": qty}
        asset = {"asset": r.choice(('"USD"', '"BTC"', '"rogue-asset"', '"UST-10Y"'))}
        flag = r.choice(("true", "false"))
        return topic, compose(
            {
                "trades": {**who, **instrument, "price": price, "source": '"s"'},
                "positions": {**who, **instrument, "price": price},
                "collateral": {**who, **asset, "source": '"s"', "replace": flag},
                "prices": {**ts, **instrument, "price": price, "settlement": flag},
                "volatility": {**ts, "underlying": instrument["instrument"], "tenor_days": "30", "vol": price},
                "statements": {**who, **r.choice((instrument, asset)), "holder": '"h"'},
                "actions": {**who, "qty": "", "user": '"u"', "kind": '"ack"', "call": '"c"', "text": '"\u20ac"'},
            }[topic]
        )

    def _rogue_document(self) -> bytes:
        """A definition, often a new one."""
        r = self._random
        document = r.choice(rogue_documents())
        if document["kind"] == '"instrument"' and r.random() < 0.7:
            document |= {
                "id": f'"rogue-instrument-{r.randrange(ROGUES, 2 * ROGUES)}"',
                "rule": f'"rogue-rule-{r.randrange(3)}"',
            }
        elif document["kind"] == '"rule"':
            document["effective"] = str(START_NS - r.randrange(DAY_NS))
        return compose(document)

    def _mutated(self, topic: str, body: bytes) -> bytes:
        r = self._random
        figures = list(FIGURE.finditer(body))
        if figures and r.random() < 0.4:
            figure = r.choice(figures)
            return body[: figure.start()] + r.choice((b"%b", b'"%b"')) % r.choice(EXTREMES) + body[figure.end() :]
        try:
            fields = tokens(body)
            name = r.choice([name for name in fields if (topic, name) != (REFERENCE, "id")])
        except (ValueError, AttributeError, RecursionError, IndexError):
            return self._flipped(body)
        one, other = sorted(r.randrange(len(body) + 1) for _ in range(2))
        return r.choice(
            (
                compose({**fields, name: r.choice(TOKENS)}),
                compose({**fields, name: ""}),
                compose({**fields, r.choice(("", "ts", "kind", "qty", name.upper())): fields[name]}),
                body[:-1] + b"," + compose({name: r.choice(TOKENS)})[1:],
                self._flipped(body),
                r.choice((body[:one] + body[other:], body[:other] + body[one:], body[:one])),
            )
        )

    def _flipped(self, body: bytes) -> bytes:
        """The bytes with up to eight bits flipped."""
        data = bytearray(body)
        for _ in range(self._random.randrange(1, 9) if data else 0):
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return bytes(data)

    def _odd(self, _: object) -> Sent:
        """What is hardly a message at all."""
        topic, body = self._rogue_event(self._random.choice(INPUTS))
        value = self._random.choice(
            [
                None, b"", b" ", b"\x00", b"null", b"7", b'""', b"[]", b" [ ] ", b"{}", b"[[]]", b"[null,{},[]]", b"[{}",
                b"[1,]", b"NaN", b"\xff\xfe", body.decode().encode("utf-16"), DEEP.encode(), b'{"a":' * 50_000, b"[" + body,
                body + body, b"\x0b[" + body + b"]", b"\n\t[ " + body + b" ]\r", b"[" + b"{}," * 99 + body + b"]",
                b"\x80" * 99,
            ]
        )  # fmt: skip
        return Sent(topic, 0, value, elements(value))

    def _large(self) -> list[Sent]:
        """Messages just within the limits, and beyond."""
        body, bad = self._rogue_event("trades")[1], b'{"ts":1,"id":"x"}'
        within = [
            (body + b" " * (MAX_MESSAGE_BYTES - len(body)), ""),
            (b"[" + b",".join([bad] * MAX_ARRAY) + b"]", "bad_field"),
            (b"[" * MAX_MESSAGE_BYTES, "not_json"),
            (b'{"id":"' + b"x" * (MAX_MESSAGE_BYTES - 9) + b'"}', "bad_field"),
        ]
        beyond = [
            (body + b" " * (MAX_MESSAGE_BYTES + 1 - len(body)), "too_large"),
            (b"[" + b",".join([bad] * (MAX_ARRAY + 1)) + b"]", "too_many"),
            (b"\x01" * (2 << 20), "too_large"),
            (b"\xff" * (3 << 20), "too_large"),  # too large as base64 for a reject: shown from the input
            (b"[" * (5 << 20), "too_large"),
        ]
        made = [Sent("trades", 1, value, elements(value), verdict) for value, verdict in within]
        return made + [
            Sent(topic, 0, value, (value,), verdict) for topic in ("trades", REFERENCE) for value, verdict in beyond
        ]


def rogue_documents() -> list[Tokens]:
    """Definitions of the rogues, in order of dependence: the second is a flat rule."""
    since = {"effective": "2020-01-01T00:00:00Z"}
    volatility = {"multiple": "2", "days": "1", "tenor_days": "30", "floor": "1", "initial_ratio": "1.5"}
    documents: list[dict[str, Any]] = [
        {"kind": "asset", "id": "rogue-asset", "type": "crypto", "currency": "USD", "haircut": "0.5", "decimals": 8},
        {
            "kind": "rule", "id": "rogue-rule-0", "model": "flat", **since,
            "parameters": {"initial": "20", "maintenance": "10"},
        },
        {
            "kind": "rule", "id": "rogue-rule-1", "model": "tiered", **since,
            "parameters": {"tiers": [{"from": "0", "initial": "0.2", "maintenance": "0.1"}]},
        },
        {
            "kind": "rule", "id": "rogue-rule-2", "model": "volatility", **since,
            "parameters": {**volatility, "days_per_year": "365", "stale_after": 60.5},
        },
        {"kind": "calendar", "id": "rogue-calendar", "sessions": [["Sun 23:00", "Fri 22:00"]]},
        {"kind": "pool", "id": "rogue-pool", "regime": "none", "currency": "USD", "minimum_transfer": "1", "rounding": "1"},
    ]  # fmt: skip
    for n in range(ROGUES):
        terms: dict[str, Any] = {
            "type": "perpetual", "currency": "BTC" if n % 2 else "USD", "tick": "0.01", "band": ["0.01", "1000000"],
            "lot": "1", "multiplier": "100", "inverse": bool(n % 2), "underlying": "BTC-USD", "stale_after": 60,
            "calendar": "rogue-calendar",
        }  # fmt: skip
        if n == 5:
            terms["expiry"] = "2020-01-01T00:00:00Z"
        if n == 6:
            terms |= {"lot": "9000000", "band": ["0.01", "9"]}
        documents += [
            {"kind": "instrument", "id": f"rogue-instrument-{n}", "rule": f"rogue-rule-{n % 3}", **terms},
            {"kind": "customer", "id": f"rogue-customer-{n}"},
            {
                "kind": "account", "id": f"rogue-account-{n}", "customer": f"rogue-customer-{n}", "pool": "rogue-pool",
                "currency": "USD",
            },
        ]  # fmt: skip
    return [{name: json.dumps(value) for name, value in document.items()} for document in documents]

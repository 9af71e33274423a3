"""Ten thousand mutated inputs among good ones, on a real Kafka: each gets one verdict, and the good ones never notice."""

import json
import os
import random
import re
import subprocess
import sys
import time
import urllib.request
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from engine.core import MarginEngine
from engine.events import KIND_OF, MAX_ARRAY, MAX_MESSAGE_BYTES, NS, Kind
from engine.frames import Genesis, decode_frame
from engine.limits import Limits
from engine.numbers import decimal_text
from engine.report import Quality, Status, combine
from monitors.alerts import RejectMessage
from streams import kafka
from streams.directory import Directory
from streams.embedded import LOOPBACK, free_port
from streams.feed import with_time
from streams.files import EXAMPLE, open_sources
from streams.generate import Generator
from streams.load import in_order
from streams.market import excerpt_ticks
from streams.processes import Child, ready
from streams.rejects import raw_bytes
from streams.sequence import Message, SequencerCore
from streams.settings import Settings, environment
from streams.snapshots import SnapshotStore
from streams.sources import Item
from streams.topics import INPUTS, REFERENCE
from tests.integration import chain
from tests.services import wait_until

MUTANTS = 10_000
GOOD = 4_000
ACCOUNTS = 60
PARTITIONS = 3
EVIL = 8  # accounts and instruments that random mutations aim at
SEED = int(os.environ.get("CROSSMARGIN_TEST_SEED", "0")) or 20_240_809
LIMITS = Limits(accounts=1 << 12, positions=1 << 14, ids=1 << 16, rebuild_ms=1, spread_ms=1)  # rates are never behind marks
DAY_NS = 86_400 * NS
DEEP = "[" * 100_000
NUMBERS = {  # tokens that are no price and no quantity, and why
    "NaN": "not_json", "-Infinity": "not_json", "0x10": "not_json", "01": "not_json", "1_000": "not_json",
    DEEP: "bad_field", "null": "bad_field", "true": "bad_field", "{}": "bad_field", "[1]": "bad_field", '"NaN"': "bad_field",
    '"1e5"': "bad_field", '"\u0661"': "bad_field", '""': "bad_field", "[" * 90 + "]" * 90: "bad_field",
    "9" * 30: "out_of_range", "9" * 4000: "out_of_range", "1e300": "out_of_range", "0.1234567891": "out_of_range",
    '"92233720368547758.08"': "out_of_range", "-9223372036854775809": "out_of_range", "1e999": "out_of_range",
}  # fmt: skip
TIMES = {
    "-1": "out_of_range", "4102444800000000001": "out_of_range", "9" * 19: "out_of_range", "1.5": "bad_field",
    '"yesterday"': "bad_field", '"2024-02-30T00:00:00Z"': "bad_field", "null": "bad_field", "1e999": "out_of_range",
}  # fmt: skip
NAMES = {
    "7": "bad_field", "null": "bad_field", '""': "bad_field", '"%s"' % ("A" * 65): "bad_field", '"\u00e9"': "bad_field",
    '"A\\u0000"': "bad_field", '"\\ud800"': "not_json", '"' : "not_json",
}  # fmt: skip
TOKENS = [*NUMBERS, *TIMES, *NAMES, "0", "-1", "1e-8", "92233720368", "-92233720368", '"USD"', '"USDT"', "[]", '["0","1e9"]']
EXTREMES = b"1e17 999999999999999999 1e-18 -1 0 1000000000 92233720368 1e18 1e300 NaN Infinity 0.000000001 5e-324 1e9".split()
FIGURE = re.compile(rb'(?<=[:\[ ])"?-?[0-9][0-9.]*"?(?=[,\]}])')


@dataclass(frozen=True)
class Sent:
    """One message, what it counts as, and the verdict that is certain to come for every element that is not good."""

    topic: str
    partition: int
    value: bytes | None
    elements: tuple[bytes, ...]
    verdict: str = ""  # a reject's reason, "superseded", or "" where any will do
    good: tuple[int, ...] = ()  # elements that are good events


@dataclass
class Plan:
    """Everything that is sent, in order; offsets are places in by_partition."""

    opening: list[Sent] = field(default_factory=list)
    storm: list[Sent] = field(default_factory=list)


def elements(value: bytes | None) -> tuple[bytes, ...]:
    """What a message counts as, by another parser than the sequencer's: an array's elements, else one."""
    whole = (value or b"",)
    if value is None or len(value) > MAX_MESSAGE_BYTES or value.lstrip(b" \t\r\n")[:1] != b"[":
        return whole
    text, found = value.decode("latin-1"), []
    space = " \t\r\n"
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_int=str, parse_float=str)
    at, separator = text.index("[") + 1, ","
    try:
        if text[at:].strip(space) == "]":
            return ()
        while separator == ",":
            while text[at] in space:
                at += 1
            event, end = decoder.raw_decode(text, at)
            json.dumps(event, ensure_ascii=False).encode()  # half a surrogate pair is no text
            found.append(value[at:end])
            while text[end] in space:
                end += 1
            separator, at = text[end], end + 1
    except (ValueError, RecursionError, IndexError):
        return whole
    return whole if separator != "]" or text[at:].strip(space) or len(found) > MAX_ARRAY else tuple(found)


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and its like are no JSON


def compose(fields: dict[str, str]) -> bytes:
    return ("{" + ",".join(f'"{name}":{token}' for name, token in fields.items()) + "}").encode()


def tokens(body: bytes) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in json.loads(body).items()}


class Storm:
    """Mutants of two sorts: of good events, each with its certain verdict; and of evil ones' events, mutated at random."""

    def __init__(self, seed: int, now_ns: int) -> None:
        self.random = random.Random(seed)
        self.now_ns = now_ns
        generator = Generator(seed, ACCOUNTS, excerpt_ticks(now_ns - 60 * NS), trades_per_second=300)
        self.documents = in_order([item for source in open_sources(EXAMPLE) for item in source])
        self.opening = list(generator.opening())
        self.live = list(islice(generator.live(), GOOD))
        self.evil = [(REFERENCE, compose(document)) for document in evil_documents()]
        self.number = 0
        self._base = {
            topic: [item for item in (*self.opening, *self.live) if item[1] == topic and b"YIELD" not in item[3]]
            for topic in ("trades", "prices", "collateral", "positions", "volatility", REFERENCE)
        }
        self._ided: list[Item] = [item for item in self.opening if item[1] in ("positions", "collateral")]

    def plan(self, mutants: int) -> Plan:
        """Documents, positions and first prices; then good events among so many mutants."""
        first = [*self.documents, *self.opening]
        plan = Plan([one(item) for item in first])
        plan.opening += [Sent(topic, 0, body, (body,)) for topic, body in self.evil]
        kinds = [self.certain] * 30 + [self.duplicate] * 8 + [self.mixed] * 10 + [self.random_one] * 50 + [self.odd] * 2
        sizes = iter(self.large())
        good = iter(self.live)
        storm: list[Sent] = []
        every = mutants // 12
        for n in range(mutants):
            for item in islice(good, self.random.choice((0, 0, 1)) if n else 50):
                storm.append(self._good(item))
            made = next(sizes, None) if n % every == every - 1 else None
            storm.append(made or self.random.choice(kinds)(good))
        plan.storm = storm + [self._good(item) for item in good]
        return plan

    def _good(self, item: Item) -> Sent:
        if item[1] in ("trades", "collateral"):
            self._ided.append(item)
        return one(item)

    def fresh(self) -> str:
        self.number += 1
        return json.dumps(f"mutant-{self.number}")

    # Mutants of good events, which cannot be valid

    def certain(self, _: object) -> Sent:
        topic = self.random.choice(tuple(self._base))
        _, _, key, body = self.random.choice(self._base[topic])
        return self._certain(topic, key, tokens(body))

    def _certain(self, topic: str, key: str, fields: dict[str, str]) -> Sent:
        if topic == REFERENCE:
            return self._definition(key)
        if "id" in fields:
            fields["id"] = self.fresh()
        numbers = [name for name in ("qty", "price", "bid", "vol", "vol_bp", "tenor_days") if name in fields]
        names = [name for name in ("account", "instrument", "underlying", "asset") if name in fields]
        choices: list[tuple[dict[str, str], str]] = [
            *(({name: token}, verdict) for name in numbers for token, verdict in NUMBERS.items()),
            *(({"ts": token}, verdict) for token, verdict in TIMES.items()),
            *(({name: token}, verdict) for name in names for token, verdict in NAMES.items()),
            *(({name: '"nobody"'}, f"unknown_{name if name != 'underlying' else 'instrument'}") for name in names),
            *(({name: ""}, "bad_field") for name in fields if name not in ("source", "replace")),  # left out
            ({"unheard_of": "1"}, "bad_field"),
            ({"ts": str(self.now_ns + DAY_NS)}, "ahead_of_time"),
            *self._meaningless(topic, fields),
        ]
        changed, verdict = self.random.choice(choices)
        if self.random.random() < 0.1:
            whole = compose(fields)
            body = self.random.choice((whole[: self.random.randrange(1, len(whole))], whole + b"]", b"\xef\xbb\xbf" + whole))
            return Sent(topic, place(topic, key), body, (body,), "not_json")
        fields.update(changed)
        body = compose({name: token for name, token in fields.items() if token})
        return Sent(topic, place(topic, key), body, (body,), verdict)

    def _meaningless(self, topic: str, fields: dict[str, str]) -> list[tuple[dict[str, str], str]]:
        """What is well formed, but refused by the state."""
        early = str(self.now_ns - DAY_NS)
        return {
            "trades": [
                ({"instrument": '"UST-10Y-YIELD"'}, "not_tradable"), ({"qty": "1e-8"}, "off_lot"), ({"qty": "0"}, "bad_field"),
                ({"price": "1e-9"}, "off_tick"), ({"price": "1000000000"}, "out_of_band"), ({"ts": early}, "already_included"),
            ],
            "prices": [
                ({"ts": early}, "superseded"),
                ({"bid": "1", "ask": "0.5", "price": ""}, "bad_field"), ({"price": "1", "bid": "1", "ask": "1"}, "bad_field"),
                ({"price": "1000000000", "bid": "", "ask": ""}, "out_of_band"),
            ],
            "collateral": [
                ({"qty": "-92233720368", "replace": "false", "asset": '"UST-BILL"'}, "negative_holding"),
                ({"asset": '"USD"', "qty": "0.001"}, "off_unit"), ({"replace": "1"}, "bad_field"),
            ],
            "positions": [({"ts": early}, "as_of_conflict"), ({"qty": "1e-8"}, "off_lot"), ({"price": "1e9"}, "out_of_band")],
            "volatility": [
                ({"ts": early}, "superseded"), ({"vol": "1", "vol_bp": "1"}, "bad_field"), ({"tenor_days": "0"}, "out_of_range"),
            ],
        }[topic]  # fmt: skip

    def _definition(self, key: str) -> Sent:
        """Changes of good definitions that are refused, and documents that are none."""
        name = json.dumps(f"mutant-{self.number}")
        account, instrument = tokens(self._document("account")), tokens(self._document("instrument"))
        self.number += 1
        asset = {"kind": '"asset"', "id": name, "type": '"crypto"', "currency": '"USD"'}
        body, verdict = self.random.choice(
            [
                ({**account, "customer": '"C000001"' if "C000001" not in account["customer"] else '"C000002"'},
                 "changed_definition"),
                ({**account, "pool": '"CRYPTO"' if "CRYPTO" not in account["pool"] else '"FICC"'}, "changed_definition"),
                ({**instrument, "tick": '"0.5000001"'}, "changed_definition"),
                ({**instrument, "currency": '"nothing"'}, "unknown_name"),
                ({**asset, "haircut": '"2"'}, "refused_definition"), ({**asset, "haircut": "NaN"}, "not_json"),
                ({**asset, "haircut": '"NaN"'}, "out_of_range"), ({**asset, "decimals": "9"}, "bad_field"),
                ({**asset, "kind": '"nonsense"'}, "bad_field"), ({**asset, "kind": "7"}, "bad_field"),
                ({**asset, "bogus": "1", "kind ": DEEP}, "bad_field"), ({**asset, "haircut": DEEP}, "bad_field"),
                ({"kind": '"customer"', "id": name, "name": json.dumps("N" * 257)}, "bad_field"),
                ({"kind": '"customer"', "id": '"\u00e9"'}, "bad_field"),
            ]
        )  # fmt: skip
        value = compose(body)
        return Sent(REFERENCE, 0, value, (value,), verdict)

    def _document(self, kind: str) -> bytes:
        found = [body for _, topic, key, body in (*self.documents, *self.opening) if key.startswith(f"{kind}:")]
        return self.random.choice(found)

    def duplicate(self, _: object) -> Sent:
        """A good event again, as it was."""
        item = self.random.choice(self._ided)
        return Sent(item[1], place(item[1], item[2]), item[3], (item[3],), "duplicate")

    def mixed(self, good: Iterable[Item]) -> Sent:
        """An array with a good event among bad ones of its kind."""
        item = next(iter(good), None)
        if item is None:
            return self.certain(None)
        parts = []
        while len(parts) < self.random.randrange(1, 6):
            made = self._certain(item[1], item[2], tokens(item[3]))
            verdict = "" if made.verdict == "superseded" else made.verdict
            if len(elements(made.value)) == 1 and is_json(made.elements[0]):
                parts.append((made.elements[0], verdict))
        at = self.random.randrange(len(parts) + 1)
        parts.insert(at, (item[3], ""))
        value = b"[" + b" ,\n".join(part for part, _ in parts) + b"]"
        self._good(item)
        return Sent(item[1], place(item[1], item[2]), value, tuple(part for part, _ in parts), good=(at,))

    # Events of the evil, mutated at random

    def random_one(self, _: object) -> Sent:
        """A valid event, or an array of them, with one to three random mutations."""
        topic, body = self.evil_event()
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 3))):
            body = self.mutated(topic, body)
        if self.random.random() < 0.1:
            others = [self.evil_event(topic)[1] for _ in range(self.random.randrange(0, 4))]
            body = b"[" + b",".join([*others, body, *others[:1]]) + b"]"
            if self.random.random() < 0.3:
                body = self.flipped(body)
        partition = 0 if topic == REFERENCE else self.random.randrange(PARTITIONS)
        return Sent(topic, partition, body, elements(body))

    def evil_event(self, topic: str | None = None) -> tuple[str, bytes]:
        r = self.random
        topic = topic or r.choice(INPUTS)
        account, instrument = (json.dumps(f"evil-{what}") for what in (f"account-{r.randrange(EVIL)}", f"instrument-{r.randrange(2 * EVIL)}"))
        ts = str(self.now_ns - r.randrange(DAY_NS))
        number = r.choice(("1", "-1", '"2.5"', "100", "1e3", '"0.01"', str(r.randrange(10**10))))
        qty, price = (r.choice((number, str(r.randrange(1, 1000)))) for _ in range(2))
        who = {"id": self.fresh(), "ts": ts, "account": account}
        match topic:
            case "trades":
                fields = {**who, "instrument": instrument, "qty": qty, "price": price, "source": '"s"'}
            case "positions":
                fields = {**who, "instrument": instrument, "qty": qty, "price": price}
            case "collateral":
                asset = r.choice(('"USD"', '"BTC"', '"EUR"', '"evil-asset-1"', '"UST-10Y"'))
                fields = {**who, "asset": asset, "qty": qty, "source": '"s"', "replace": r.choice(("true", "false"))}
            case "prices":
                fields = {"ts": ts, "instrument": instrument, "price": price, "settlement": r.choice(("true", "false"))}
            case "volatility":
                fields = {"ts": ts, "underlying": instrument, "tenor_days": r.choice(("30", qty)), "vol": price}
            case "statements":
                fields = {**who, "holder": '"h"', r.choice(("instrument", "asset")): instrument, "qty": qty}
            case "actions":
                fields = {**who, "user": '"u"', "kind": '"ack"', "call": '"c"', "text": '"\u20ac"'}
            case _:
                fields = self._evil_document()
        return topic, compose(fields)

    def _evil_document(self) -> dict[str, str]:
        """A definition, often a new one."""
        r = self.random
        document = json.loads(compose(r.choice(evil_documents())))
        if document["kind"] == "instrument" and r.random() < 0.7:
            document |= {"id": f"evil-instrument-{r.randrange(EVIL, 3 * EVIL)}", "rule": f"evil-rule-{r.randrange(3)}"}
        elif document["kind"] == "rule":
            document["effective"] = self.now_ns - r.randrange(DAY_NS)
        return {name: json.dumps(value) for name, value in document.items()}

    def mutated(self, topic: str, body: bytes) -> bytes:
        r = self.random
        figures = list(FIGURE.finditer(body))
        if figures and r.random() < 0.4:
            figure, extreme = r.choice(figures), r.choice(EXTREMES)
            return body[: figure.start()] + r.choice((b"%b", b'"%b"')) % extreme + body[figure.end() :]
        try:
            fields = tokens(body)
        except (ValueError, AttributeError, RecursionError):
            return self.flipped(body)
        names = [name for name in fields if (topic, name) != (REFERENCE, "id")]
        if not names:
            return self.flipped(body)
        name = r.choice(names)
        match r.randrange(8):
            case 0 | 1 | 2:
                fields[name] = r.choice(TOKENS)
            case 3:
                del fields[name]
            case 4:
                fields[r.choice(("", "ts", "kind", "qty", name.upper()))] = fields[name]
            case 5:
                return body[:-1] + b"," + compose({name: r.choice(TOKENS)})[1:]
            case 6:
                return self.flipped(body)
            case _:
                at = sorted(r.randrange(len(body) + 1) for _ in range(2))
                return r.choice((body[: at[0]] + body[at[1] :], body[: at[1]] + body[at[0] :], body[: at[0]]))
        return compose(fields)

    def flipped(self, body: bytes) -> bytes:
        """The bytes with one to eight bits flipped."""
        data = bytearray(body)
        for _ in range(self.random.randrange(1, 9) if data else 0):
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        return bytes(data)

    def odd(self, _: object) -> Sent:
        """What is hardly a message at all."""
        topic, body = self.evil_event()
        value = self.random.choice(
            [
                None, b"", b" ", b"\x00", b"null", b"7", b'""', b"[]", b" [ ] ", b"{}", b"[[]]", b"[null,{},[]]", b"[{}", b"[1,]",
                b"NaN", b"\xff\xfe", body.decode().encode("utf-16"), DEEP.encode(), b'{"a":' * 50_000, b"[" + body, body + body,
                b"\x0b[" + body + b"]", b"\n\t[ " + body + b" ]\r", b"[" + b"{}," * 99 + body + b"]", random.Random(7).randbytes(99),
            ]
        )  # fmt: skip
        return Sent(topic, 0, value, elements(value))

    def large(self) -> list[Sent]:
        """Messages about as long as may be, and over."""
        body = self.evil_event("trades")[1]
        bad = compose({"ts": "1", "id": '"x"'})
        whole = [
            body + b" " * (MAX_MESSAGE_BYTES - len(body)),
            b"[" + b",".join([bad] * MAX_ARRAY) + b"]",
        ]
        refused = [
            (body + b" " * (MAX_MESSAGE_BYTES + 1 - len(body)), "too_large"),
            (b"[" + b",".join([bad] * (MAX_ARRAY + 1)) + b"]", "too_many"),
            (b'{"id":"' + b"\xff" * (3 << 20) + b'"}', "too_large"),
            (b'{"id":"' + b"\x01" * (2 << 20) + b'"}', "too_large"),
            (b"[" * (5 << 20), "too_large"),
            (b"[" * MAX_MESSAGE_BYTES, "not_json"),
            (b'{"id":"' + b"x" * (MAX_MESSAGE_BYTES - 9) + b'"}', "bad_field"),
        ]
        return [
            *(Sent("trades", 1, value, elements(value)) for value in whole),
            *(Sent(topic, 0, value, (value,), verdict) for topic in ("trades", REFERENCE) for value, verdict in refused[:5]),
            *(Sent("trades", 0, value, (value,), verdict) for value, verdict in refused[5:]),
        ]


def evil_documents() -> list[dict[str, str]]:
    """Definitions that random mutations start from, as tokens."""
    documents: list[dict[str, Any]] = [
        {"kind": "asset", "id": "evil-asset-1", "type": "crypto", "currency": "USD", "haircut": "0.5", "decimals": 8},
        {
            "kind": "rule", "id": "evil-rule-0", "model": "flat", "effective": "2020-01-01T00:00:00Z",
            "parameters": {"initial": "20", "maintenance": "10"},
        },
        {
            "kind": "rule", "id": "evil-rule-1", "model": "tiered", "effective": "2020-01-01T00:00:00Z",
            "parameters": {"tiers": [{"from": "0", "initial": "0.2", "maintenance": "0.1"}]},
        },
        {
            "kind": "rule", "id": "evil-rule-2", "model": "volatility", "effective": 1_700_000_000 * NS,
            "parameters": {
                "multiple": "2", "days": "1", "tenor_days": "30", "floor": "1", "initial_ratio": "1.5", "days_per_year": "365",
                "stale_after": 60.5,
            },
        },
        {"kind": "calendar", "id": "evil-calendar", "sessions": [["Sun 23:00", "Fri 22:00"]]},
        {"kind": "pool", "id": "evil-pool", "regime": "none", "currency": "USD", "minimum_transfer": "1", "rounding": "1"},
    ]  # fmt: skip
    for n in range(EVIL):
        documents.append(
            {
                "kind": "instrument", "id": f"evil-instrument-{n}", "type": "perpetual", "currency": "BTC" if n % 2 else "USD",
                "tick": "0.01", "band": ["0.01", "1000000"], "multiplier": "100", "lot": "1", "inverse": bool(n % 2),
                "rule": f"evil-rule-{n % 3}", "underlying": "BTC-USD", "stale_after": 60, "calendar": "evil-calendar",
                **({"expiry": "2020-01-01T00:00:00Z"} if n == 5 else {}),
            }
        )  # fmt: skip
        documents.append({"kind": "customer", "id": f"evil-customer-{n}"})
        account = {"kind": "account", "id": f"evil-account-{n}", "customer": f"evil-customer-{n}", "pool": "evil-pool"}
        documents.append({**account, "currency": "USD"})
    return [{name: json.dumps(value) for name, value in document.items()} for document in documents]


def is_json(body: bytes) -> bool:
    """Whether an element leaves the rest of its array readable."""
    return elements(b"[" + body + b"]") == (body,)


def one(item: Item) -> Sent:
    _, topic, key, body = item
    return Sent(topic, place(topic, key), body, (body,), good=(0,))


def place(topic: str, key: str) -> int:
    """The partition of a key, as load and feed choose it."""
    return 0 if topic == REFERENCE else zlib.crc32(key.encode()) % PARTITIONS

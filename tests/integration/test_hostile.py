"""Ten thousand mutated inputs among good ones, on a real Kafka: each gets one verdict, and the good ones never notice."""

import json
import os
import random
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
    "NaN": "not_json", "-Infinity": "not_json", "0x10": "not_json", "01": "not_json", "1_000": "not_json", DEEP: "not_json",
    "null": "bad_field", "true": "bad_field", "{}": "bad_field", "[1]": "bad_field", '"NaN"': "bad_field",
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
EXTREMES = ("1e17", "999999999999999999", "1e-18", "-1", "0", "1e300", "NaN", '"NaN"', '"Infinity"', "1000000000", "5e-324")


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
    if value is None or len(value) > MAX_MESSAGE_BYTES or value.lstrip()[:1] != b"[":
        return whole
    text, found = value.decode("latin-1"), []
    space = " \t\r\n"
    decoder = json.JSONDecoder(strict=False, parse_constant=float)
    at, separator = text.index("[") + 1, ","
    try:
        if text[at:].strip(space) == "]":
            return ()
        while separator == ",":
            while text[at] in space:
                at += 1
            _, end = decoder.raw_decode(text, at)
            found.append(value[at:end])
            while text[end] in space:
                end += 1
            separator, at = text[end], end + 1
    except (ValueError, RecursionError, IndexError):
        return whole
    return whole if separator != "]" or text[at:].strip(space) or len(found) > MAX_ARRAY else tuple(found)


def compose(fields: dict[str, str]) -> bytes:
    return ("{" + ",".join(f'"{name}":{token}' for name, token in fields.items()) + "}").encode()


def tokens(body: bytes) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in json.loads(body).items()}

"""The event record: one 64-byte numpy layout that is memory, log and replay file, with its keys, kinds and units.

Field meanings by kind (an unused field is 0):

| kind       | account | instrument     | quantity       | price            | flags        |
|------------|---------|----------------|----------------|------------------|--------------|
| CLOCK      | -       | -              | -              | -                | -            |
| TRADE      | account | instrument     | signed qty     | price            | -            |
| PRICE      | -       | instrument     | -              | mark             | SETTLEMENT   |
| VOLATILITY | -       | underlying     | tenor in days  | volatility       | BASIS_POINTS |
| COLLATERAL | account | asset          | change, total  | -                | REPLACE      |
| POSITION   | account | instrument     | signed qty     | price            | -            |
| STATEMENT  | account | instrument or asset | qty       | holder           | ASSET        |

Quantities are in 1e-8 units (tenors too), prices, marks and volatilities in 1e-9 units, times in nanoseconds since 1970; a
holder is its key64 as a signed number.
"""

from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
import xxhash

QUANTITY_ONE: Final = 10**8
PRICE_ONE: Final = 10**9
NS: Final = 10**9
HOUR_NS: Final = 3_600 * NS
DAY_NS: Final = 24 * HOUR_NS
WEEK_NS: Final = 7 * DAY_NS
MAX_ID_LENGTH: Final = 64
MAX_ARRAY: Final = 4096
MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_FRAME_RECORDS: Final = 1024
CLOCK_NS: Final = 100_000_000
LAST_INDEX: Final = 0xFFFF

RECORD: Final = np.dtype(
    [
        ("ts_ns", "<i8"),
        ("account", "<u8"),
        ("instrument", "<u8"),
        ("id", "<u8"),
        ("quantity", "<i8"),
        ("price", "<i8"),
        ("offset", "<i8"),
        ("partition", "<u2"),
        ("index", "<u2"),
        ("kind", "<u2"),
        ("flags", "<u2"),
    ]
)


class Kind(IntEnum):
    """What a record says; the numbers are part of the log format."""

    CLOCK = 0
    TRADE = 1
    PRICE = 2
    VOLATILITY = 3
    COLLATERAL = 4
    POSITION = 5
    STATEMENT = 6
    ACTION = 7
    REFERENCE = 8


class Flag(IntFlag):
    """Bits of a record's flags; the numbers are part of the log format."""

    SETTLEMENT = 1
    BASIS_POINTS = 2
    REPLACE = 4
    ASSET = 8


TOPIC_OF: Final[dict[Kind, str]] = {
    Kind.TRADE: "trades",
    Kind.PRICE: "prices",
    Kind.VOLATILITY: "volatility",
    Kind.COLLATERAL: "collateral",
    Kind.POSITION: "positions",
    Kind.STATEMENT: "statements",
    Kind.ACTION: "actions",
    Kind.REFERENCE: "reference",
}
KIND_OF: Final[dict[str, Kind]] = {topic: kind for kind, topic in TOPIC_OF.items()}
BROADCAST: Final = frozenset({Kind.CLOCK, Kind.PRICE, Kind.VOLATILITY})
KINDS: Final = len(Kind)


def key64(name: str) -> int:
    """The 64-bit key of an account, instrument or asset id: xxh3 of its UTF-8 bytes, never 0 (0 means 'none')."""
    return xxhash.xxh3_64_intdigest(name.encode()) or 1


def signed64(key: int) -> int:
    """A 64-bit key as the signed number of the same bits."""
    return key - (1 << 64) if key >= 1 << 63 else key


def id_key(topic: str, account: str, source: str, event_id: str) -> int:
    """The 64-bit key under which an event's id is remembered: ids are unique per topic, account and source."""
    return xxhash.xxh3_64_intdigest(f"{topic}\0{account}\0{source}\0{event_id}".encode()) or 1


def shard_of(customer_id: str, shards: int) -> int:
    """The shard that holds all accounts of a customer."""
    return xxhash.xxh3_64_intdigest(customer_id.encode()) % shards

"""Compiling every kernel before a worker holds anything, or reading it from numba's cache."""

from typing import Final

import msgspec
import numpy as np

from engine.core import MarginEngine
from engine.events import RECORD, Kind, key64
from engine.frames import Entry, Frame, FrameKind, Genesis, decode_frame, encode_frame
from engine.scenarios.sets import encode, points_set

_RULE: Final = {"scenarios": "points equity", "currency": "USD", "initial_ratio": "1"}
_DOCUMENTS: Final = (
    b'{"kind":"asset","id":"USD","type":"currency","currency":"USD"}',
    b'{"kind":"pool","id":"P","regime":"","currency":"USD"}',
    b'{"kind":"customer","id":"C"}',
    b'{"kind":"account","id":"A","customer":"C","pool":"P","currency":"USD"}',
    encode(points_set("equity")),
    msgspec.json.encode({"kind": "rule", "id": "R", "model": "points", "effective": 0, "parameters": _RULE}),
    b'{"kind":"instrument","id":"I","type":"spot","currency":"USD","tick":"1","band":["1","9"],"rule":"R"}',
)


def warm_up(genesis: Genesis) -> None:
    """Let an engine that is thrown away take frames as they are read, and do all that a worker asks of it."""
    engine = MarginEngine(0)
    log_id = bytes.fromhex(genesis.log_id)
    records = np.zeros(3, RECORD)
    records["kind"], records["ts_ns"] = (Kind.TRADE, Kind.PRICE, Kind.CLOCK), genesis.start_ns + 1
    records["instrument"], records["price"], records["offset"] = key64("I"), 5 * 10**9, (0, 1, 0)
    documents = [Entry(Kind.REFERENCE, 0, place, 0, msgspec.Raw(body)) for place, body in enumerate(_DOCUMENTS)]
    for number, frame in enumerate(
        (
            Frame(FrameKind.GENESIS, 0, genesis.shards, log_id, 0, 0, genesis=genesis),
            Frame(FrameKind.DOCUMENTS, 0, genesis.shards, log_id, 0, 1, documents=documents),
            Frame(FrameKind.RECORDS, 0, genesis.shards, log_id, 0, 2, records=records),
        )
    ):
        engine.step(decode_frame(encode_frame(frame)), number)
    again = MarginEngine.from_bytes(engine.to_bytes())
    again.figures(again.take_touched())
    again.population()
    again.shard_digest()

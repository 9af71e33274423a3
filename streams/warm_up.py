"""Compiling every kernel before a worker holds anything, or reading it from numba's cache.

Where nothing is cached, a second process compiles those that margin portfolios meanwhile: numba compiles one at a time.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Final

import msgspec
import numpy as np

from engine.core import MarginEngine
from engine.documents import Action
from engine.events import QUANTITY_ONE, RECORD, Kind, key64
from engine.frames import Entry, Frame, FrameKind, Genesis, decode_frame, encode_frame
from engine.limits import Limits
from engine.margin import settle_rows
from engine.portfolio import margin_portfolios
from engine.scenarios.sets import encode, points_set
from engine.state import allocate, margin_state

_RULE: Final = {"scenarios": "points equity", "currency": "USD", "initial_ratio": "1"}
ALONE: Final = (
    b'{"kind":"asset","id":"USD","type":"currency","currency":"USD"}',
    b'{"kind":"pool","id":"P","regime":"","currency":"USD"}',
    b'{"kind":"customer","id":"C"}',
    b'{"kind":"account","id":"A","customer":"C","pool":"P","currency":"USD"}',
)
TOGETHER: Final = (
    encode(points_set("equity")),
    msgspec.json.encode({"kind": "rule", "id": "R", "model": "points", "effective": 0, "parameters": _RULE}),
    b'{"kind":"instrument","id":"I","type":"spot","currency":"USD","tick":"1","band":["1","9"],"rule":"R"}',
)
APART: Final = (b'{"kind":"instrument","id":"J","type":"spot","currency":"USD","tick":"1","band":["1","9"]}',)


def warm_up(genesis: Genesis) -> None:
    """Let an engine that is thrown away take frames as they are read, and do all that a worker asks of it."""
    with _helper():
        _ask_all(stepped(genesis, ALONE))
    _ask_all(stepped(genesis, ALONE + TOGETHER))


def stepped(genesis: Genesis, bodies: tuple[bytes, ...]) -> MarginEngine:
    """An engine after these documents, a trade of A and a price of I, a clock, and a word on the call that they make."""
    engine, log_id, ts_ns = MarginEngine(0), bytes.fromhex(genesis.log_id), genesis.start_ns + 1
    records = np.zeros(3, RECORD)
    records["kind"], records["ts_ns"] = (Kind.TRADE, Kind.PRICE, Kind.CLOCK), ts_ns
    records["instrument"], records["price"], records["offset"] = key64("I"), 5 * 10**9, (0, 1, 0)
    records["account"], records["quantity"], records["id"] = (key64("A"), 0, 0), (QUANTITY_ONE, 0, 0), (1, 0, 0)
    documents = [Entry(Kind.REFERENCE, 0, place, 0, msgspec.Raw(body)) for place, body in enumerate(bodies)]
    said = Action(id="1", ts=ts_ns, user="U", kind="ack", account="A", call="A:P:1", text="")
    action = Entry(Kind.ACTION, 0, 0, 0, msgspec.Raw(msgspec.json.encode(said)))
    for number, frame in enumerate(
        (
            Frame(FrameKind.GENESIS, 0, genesis.shards, log_id, 0, 0, genesis=genesis),
            Frame(FrameKind.DOCUMENTS, 0, genesis.shards, log_id, 0, 1, documents=documents),
            Frame(FrameKind.RECORDS, 0, genesis.shards, log_id, 0, 2, records=records),
            Frame(FrameKind.DOCUMENTS, 0, genesis.shards, log_id, 0, 3, documents=[action]),
        )
    ):
        engine.step(decode_frame(encode_frame(frame)), number)
    return engine


def _ask_all(engine: MarginEngine) -> None:
    again = MarginEngine.from_bytes(engine.to_bytes())
    again.figures(again.take_touched())
    again.population()
    again.warnings()
    again.reconciliation()
    again.shard_digest()
    slots = np.arange(again.account_count, dtype=np.int32)
    again.book_hashes(slots)
    again.books(slots)


@contextmanager
def _helper() -> Iterator[None]:
    """A second process beside the block that compiles portfolio kernels, where there are none yet; it ends with this one.

    What it does not do, whatever the reason, is compiled here afterwards.
    """
    cached = Path(os.environ["NUMBA_CACHE_DIR"]).rglob(f"portfolio.{margin_portfolios.__name__}-*.nbi")
    if any(cached):
        yield
        return
    command = [sys.executable, "-m", "streams.warm_up"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[1]) as child:
        yield
        child.wait()


def _compile_portfolios() -> None:
    """What the second process does."""
    Thread(target=_end_with_parent, daemon=True).start()
    limits = Limits(accounts=1, positions=1, instruments=1)
    state = allocate(limits, 0)
    margin_portfolios(margin_state(state, limits))
    settle_rows(state)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    _compile_portfolios()

"""An engine that has a log's market and rules, but accounts only for one question at a time: what-ifs and explanations.

The market is a snapshot without accounts (MarginEngine.market_bytes). Figures are those of the engine that keeps the
accounts at the same marks; only what an account remembers is not there: its agreement's last agreed saving, its calls.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine import snapshot
from engine.books import Book, place
from engine.codes import Code
from engine.core import MarginEngine
from engine.events import RECORD, Kind
from engine.frames import Frame, FrameKind
from engine.report import Report
from engine.state import CHUNK, NONE

IDS: Final = 1 << 12  # what was asked is not asked again under its ids
_WRITER: Final = 0


def market_of(engine: MarginEngine, accounts: int, positions: int) -> bytes:
    """An engine's market, for a shadow with room for so many accounts and positions at a time."""
    limits = msgspec.structs.replace(engine.genesis.limits, accounts=accounts, positions=positions, ids=IDS)
    return engine.market_bytes(limits)


class Shadow:
    """The engine, and how accounts come into it and out of it. market: as market_bytes gives it; BadSnapshot."""

    def __init__(self, market: bytes) -> None:
        self.engine = MarginEngine.from_bytes(market)
        self._frames = self._origins = 0
        self.market_ns = self.engine.clock_ns
        self.step(np.empty(0, RECORD))

    def load(self, market: bytes) -> "Shadow":
        """The shadow of another market: this one where the documents are the same, which is quick, else a new one."""
        meta, bodies, load = snapshot.unpack(market)
        definitions = self.engine.definitions
        self.clear()
        if bodies != definitions.tables or meta.genesis != self.engine.genesis:
            return Shadow(market)
        load(definitions.state, definitions.margin.risk)
        definitions.unbound = True
        self.engine.offset = meta.offset
        self.market_ns = self.engine.clock_ns
        self.step(np.empty(0, RECORD))
        return self

    @property
    def room(self) -> tuple[int, int]:
        """How many accounts and positions there is room for."""
        limits = self.engine.genesis.limits
        return limits.accounts, limits.positions

    def clear(self) -> None:
        """Take all accounts out."""
        definitions = self.engine.definitions
        state, now = definitions.state, definitions.state.now[0]
        count, chunks, accounts = int(now["accounts"]), int(now["chunks"]), state.accounts
        for array in (
            accounts.key[:count], accounts.pool[:count], accounts.phase_ns[:count], accounts.first_position[:count],
            accounts.touched[:count], accounts.figures[:count], accounts.flags, accounts.changed,
            state.book.lots[: chunks * CHUNK], state.book.position[: chunks * CHUNK], state.book.slots, state.account_keys,
            state.agreements[: int(now["agreements"])],
        ):  # fmt: skip
            array.view(np.uint8)[...] = 0
        for table in (
            accounts.holding, accounts.value, accounts.book, accounts.required, accounts.together, accounts.exposure,
        ):  # fmt: skip
            table[:, :count] = 0
        accounts.agreement[:count] = NONE
        instruments = state.instruments[: int(now["instruments"])]
        instruments["first_chunk"] = instruments["last_chunk"] = NONE
        instruments["last_used"] = 0
        for name in ("accounts", "positions", "chunks", "agreements"):
            now[name] = 0
        definitions.forget_accounts()

    def define(self, **fields: Any) -> None:
        """A document of a customer, account or agreement; Refused says why not."""
        self.engine.definitions.define(msgspec.json.encode(fields))

    def open(self, customer: str, names: Sequence[str], pool: str, currency: str, book: Book) -> tuple[list[int], Code]:
        """Accounts with one book: their slots, and OK or what of it does not fit; Refused where they cannot be defined."""
        first = self.engine.account_count
        for name in names:
            self.define(kind="account", id=name, customer=customer, pool=pool, currency=currency)
        slots = np.arange(first, self.engine.account_count, dtype=np.int32)
        return slots.tolist(), Code(int(place(self.engine.definitions.state, slots, book.positions, book.holdings)))

    def step(self, records: NDArray[np.void]) -> Report:
        """Apply records (without origins, which they are given) and a clock at the market's time.

        Rejects name a record by their offset less that of the first, which is `origins` before the call.
        """
        engine, count = self.engine, len(records)
        frame = np.zeros(count + 1, RECORD)
        frame[:count] = records
        frame["ts_ns"] = engine.clock_ns
        frame["offset"][:count] = np.arange(self._origins, self._origins + count)
        frame["kind"][count] = Kind.CLOCK
        self._origins += count
        self._frames += 1
        genesis, offset = engine.genesis, engine.offset
        report = engine.step(
            Frame(
                FrameKind.RECORDS, engine.shard, genesis.shards, bytes.fromhex(genesis.log_id), _WRITER, self._frames - 1,
                records=frame,
            ),
            offset,
        )  # fmt: skip
        engine.offset = offset
        return report

    @property
    def origins(self) -> int:
        """How many records were applied so far."""
        return self._origins

    def documents(self, documents: Iterable[bytes]) -> None:
        """Documents of a customer as they were published; Refused says why not."""
        for body in documents:
            self.engine.definitions.define(body)

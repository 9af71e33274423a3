"""An engine that is filled without its documents: tables by the log, accounts and positions straight into its state.

Only for measuring kernels at many accounts; what defining them costs is measured by the memory benchmark.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.apply import apply
from engine.arithmetic import kernel
from engine.core import MarginEngine
from engine.events import KINDS, QUANTITY_ONE, RECORD, Kind
from engine.frames import Entry, Frame, FrameKind, Genesis, decode_frame, encode_frame
from engine.limits import Limits
from engine.state import NONE, VALUE_DIRTY, MarginState, State, insert, set_flags
from tests.bench.universe import INSTRUMENTS, MID, PARTITIONS, TICK_E9, Universe

LOG_ID: Final = bytes(range(16))
START_NS: Final = 10**18
BLOCK: Final = 1 << 20


class Filled:
    """A one-shard engine that holds a whole universe, priced and evaluated; and records and frames to go on with."""

    def __init__(self, universe: Universe) -> None:
        accounts = universe.accounts
        limits = Limits(accounts=accounts, positions=accounts * universe.positions + INSTRUMENTS)
        self.universe = universe
        self.engine = MarginEngine(0)
        self.keys = universe.account_keys()
        self._number = 0
        self.next_offset = 10**6  # of prices
        self._offsets = np.zeros(2 * PARTITIONS, np.int64)
        genesis = Genesis(log_id=LOG_ID.hex(), shards=1, time_mode="wall", start_ns=START_NS, limits=limits)
        self.step(self.frame(FrameKind.GENESIS, genesis=genesis))
        bodies = enumerate(universe.tables())
        entries = [Entry(Kind.REFERENCE, 0, offset, 0, msgspec.Raw(body)) for offset, body in bodies]
        self.step(self.frame(FrameKind.DOCUMENTS, documents=entries))
        _define(self.state, self.keys)
        self.state.accounts.holding[0, :accounts] = universe.collateral * 100
        self._apply(self._marks())
        for block in self._opening():
            self._apply(block)
        self.clock_ns = START_NS
        self.step(self.clock())

    @property
    def state(self) -> State:
        """The engine's arrays."""
        log = self.engine._log
        assert log is not None
        return log.state

    @property
    def margin(self) -> MarginState:
        """What of them margins positions together."""
        log = self.engine._log
        assert log is not None
        return log.definitions.margin

    def frame(self, kind: FrameKind, **content: Any) -> bytes:
        """The next frame of the log."""
        self._number += 1
        return encode_frame(Frame(kind, 0, 1, LOG_ID, 1, self._number - 1, **content))

    def step(self, frame: bytes) -> Any:
        """What a worker does with a frame first."""
        return self.engine.step(decode_frame(frame), self.engine.offset)

    def clock(self) -> bytes:
        """A frame that only holds a clock, a millisecond later."""
        return self.frame(FrameKind.RECORDS, records=self._clock_row(), last=True)

    def _clock_row(self) -> Any:
        row = np.zeros(1, RECORD)
        self.clock_ns += 1_000_000
        row["ts_ns"] = self.clock_ns
        return row

    def records(self, count: int, share: float) -> Any:
        """The next events as records, with so large a share of prices."""
        events = self.universe.events(count, share)
        rows = self.universe.records(events, START_NS, self._offsets, self.keys)
        self._offsets += np.bincount(events.origin, minlength=2 * PARTITIONS)
        return rows

    def batch(self, rows: Any, frame_records: int = 1024) -> list[bytes]:
        """The frames of a batch: the records and a clock."""
        rows = np.concatenate([rows, self._clock_row()])
        cuts = range(0, len(rows), frame_records)
        parts = [rows[cut : cut + frame_records] for cut in cuts]
        return [self.frame(FrameKind.RECORDS, records=part, last=part is parts[-1]) for part in parts]

    def _marks(self) -> Any:
        rows = np.zeros(INSTRUMENTS, RECORD)
        rows["kind"], rows["ts_ns"], rows["price"] = Kind.PRICE, START_NS - 1, MID * TICK_E9
        rows["instrument"], rows["partition"] = self.universe.instrument_keys, PARTITIONS
        rows["offset"] = np.arange(INSTRUMENTS)
        return rows

    def _opening(self) -> Iterator[Any]:
        universe = self.universe
        total = universe.accounts * universe.positions
        lots = universe.lots.reshape(-1)
        random = np.random.default_rng([universe.seed, 2])
        order = random.permutation(total)
        for first in range(0, total, BLOCK):
            part = order[first : first + BLOCK]
            account, place = part // universe.positions, part % universe.positions
            rows = np.zeros(len(part), RECORD)
            rows["kind"], rows["ts_ns"], rows["price"] = Kind.POSITION, START_NS - 1, MID * TICK_E9
            rows["account"] = self.keys[account]
            rows["instrument"] = universe.instrument_keys[universe.held(account, place)]
            rows["id"] = random.integers(1, 2**63, len(part))
            rows["quantity"], rows["offset"] = lots[part] * QUANTITY_ONE, first + np.arange(len(part))
            yield rows

    def _apply(self, rows: Any) -> None:
        results = np.zeros(len(rows), np.uint8)
        done = apply(self.state, rows, 0, results, np.zeros((4, KINDS), np.int64))
        assert done == len(rows)
        assert not results.any(), f"{int((results != 0).sum())} records were not applied"


@kernel
def _define(state: State, keys: NDArray[np.uint64]) -> None:
    """Accounts with these keys in asset 0, as their documents would define them."""
    now, accounts = state.now[0], state.accounts
    for slot in range(len(keys)):
        key = keys[slot]
        insert(state.account_keys, key, slot)
        accounts.key[slot] = key
        accounts.phase_ns[slot] = key % np.uint64(now.spread_ns)
        accounts.first_position[slot] = NONE
        set_flags(accounts, slot, VALUE_DIRTY)
    now.accounts = len(keys)

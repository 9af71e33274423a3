"""Memory and time by accounts: all shards in one process defined from documents, filled, written as snapshots, loaded.

Each number of accounts runs in two processes of its own: one that defines and writes, one that only loads.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np

from engine.core import MarginEngine
from engine.events import QUANTITY_ONE, RECORD, Kind, key64
from engine.frames import Entry, Frame, FrameKind, Genesis, decode_frame, encode_frame
from engine.limits import Limits
from engine.report import Report
from streams.settings import UserError
from streams.snapshots import Snapshot, SnapshotStore
from tests.bench.result import ROOT, Figures, Sizes, numbers
from tests.bench.services import Services, resident_bytes, say
from tests.bench.universe import INSTRUMENTS, MID, TICK_E9, Universe

LOG_ID: Final = bytes(range(16))
START_NS: Final = 10**18
FRAME: Final = 1024
CHUNK: Final = 50_000  # accounts whose documents and positions are made at a time
NOTES: Final = [
    "limits of each shard: its accounts and positions and 5 %; ids at their default",
    "define: documents and start-of-day records as frames through decode and MarginEngine.step, and the first clocks; making"
    " the frames is not counted",
    "write: to_bytes and the file on disk, shard by shard; load: file to engine in a fresh process",
    "resident: after all is priced and evaluated; peak: the most while snapshots were written",
]
GIB: Final = 2**30


class Plan(msgspec.Struct):
    """What a child process does."""

    accounts: int
    positions: int
    shards: int
    seed: int
    folder: str
    loads: bool


def run(sizes: Sizes, _: Services) -> tuple[Figures, list[str]]:
    """Bytes and seconds for each number of accounts."""
    figures: Figures = {"positions_per_account": sizes.positions, "shards": sizes.memory_shards}
    for accounts in numbers(sizes.memory_accounts):
        say(f"memory: {accounts:,} accounts")
        with tempfile.TemporaryDirectory(prefix="crossmargin-bench-") as folder:
            plan = Plan(accounts, sizes.positions, sizes.memory_shards, sizes.seed, folder, False)
            found = _child(plan)
            plan.loads = True
            found |= _child(plan)
        found["seconds"] = found["define_s"] + found["write_s"] + found["load_s"]
        found["resident_bytes_per_account"] = round(found["resident_gib"] * GIB / accounts)
        figures[f"accounts_{accounts}"] = found
    return figures, NOTES


def _child(plan: Plan) -> Figures:
    """Run a plan in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.memory", msgspec.json.encode(plan).decode()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the memory benchmark's process failed: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    found: Figures = msgspec.json.decode(done.stdout)
    return found


# What the child processes do


class Writer:
    """Engines of all shards, and frames for them; seconds: of the steps only."""

    def __init__(self, plan: Plan) -> None:
        share = plan.accounts / plan.shards
        accounts = int(share * 1.05 + 6 * share**0.5 + 16)
        limits = Limits(accounts=accounts, positions=accounts * plan.positions)
        self.genesis = Genesis(log_id=LOG_ID.hex(), shards=plan.shards, time_mode="wall", start_ns=START_NS, limits=limits)
        self.engines = [MarginEngine(shard) for shard in range(plan.shards)]
        self.seconds = 0.0
        self._numbers = [0] * plan.shards
        self._offset = 0
        for shard in range(plan.shards):
            self.step(shard, FrameKind.GENESIS, genesis=self.genesis)

    def step(self, shard: int, kind: FrameKind, **content: Any) -> Report:
        """Give a shard its next frame."""
        frame = encode_frame(
            Frame(
                kind, shard, self.genesis.shards, LOG_ID, 1, self._numbers[shard], last=kind is FrameKind.RECORDS, **content
            )
        )
        self._numbers[shard] += 1
        engine = self.engines[shard]
        begun = time.perf_counter()
        report = engine.step(decode_frame(frame), engine.offset)
        self.seconds += time.perf_counter() - begun
        if report.rejects:
            raise AssertionError(f"rejected: {report.rejects[0]}")
        return report

    def documents(self, shard: int, bodies: list[bytes]) -> None:
        """Documents of one shard, in frames."""
        for first in range(0, len(bodies), FRAME):
            part = bodies[first : first + FRAME]
            entries = [Entry(Kind.REFERENCE, 0, self._next(), 0, msgspec.Raw(body)) for body in part]
            self.step(shard, FrameKind.DOCUMENTS, documents=entries)

    def records(self, shard: int, rows: Any) -> None:
        """Records of one shard, in frames; their offsets are filled in."""
        rows["ts_ns"] = np.where(rows["kind"] == Kind.CLOCK, rows["ts_ns"], START_NS)
        for first in range(0, len(rows), FRAME):
            part = rows[first : first + FRAME]
            part["offset"] = [self._next() for _ in range(len(part))]
            self.step(shard, FrameKind.RECORDS, records=part)

    def _next(self) -> int:
        self._offset += 1
        return self._offset


def define(plan: Plan) -> Figures:
    """Define and fill everything, then write the snapshots."""
    universe = Universe(plan.accounts, plan.positions, plan.seed)
    _warm(plan)
    before, _ = resident_bytes()
    writer = Writer(plan)
    tables = universe.tables()
    for shard in range(plan.shards):
        writer.documents(shard, tables)
    for shard, bodies in _customers(universe, plan.shards):
        writer.documents(shard, bodies)
    documents_s, documents_bytes = writer.seconds, resident_bytes()[0]
    for shard in range(plan.shards):
        writer.records(shard, _marks(universe))
    for shard, rows in _holdings(universe, plan.shards):
        writer.records(shard, rows)
    for number in range(2):
        for shard in range(plan.shards):
            clock = np.zeros(1, RECORD)
            clock["ts_ns"] = START_NS + 1 + number
            writer.records(shard, clock)
    resident, _ = resident_bytes()
    store = SnapshotStore(f"{plan.folder}/snapshots")
    begun, size = time.perf_counter(), 0
    for engine in writer.engines:
        body = engine.to_bytes()
        store.save(Snapshot(engine.shard, engine.offset, engine.genesis, body))
        size += len(body)
    write_s = time.perf_counter() - begun
    usage = [engine.usage() for engine in writer.engines]
    return {
        "positions": sum(used["positions"][0] for used in usage),
        "define_s": writer.seconds,
        "documents_s": documents_s,
        "records_s": writer.seconds - documents_s,
        "write_s": write_s,
        "process_gib": before / GIB,
        "documents_gib": (documents_bytes - before) / GIB,
        "resident_gib": resident / GIB,
        "peak_gib": resident_bytes()[1] / GIB,
        "snapshots_gib": size / GIB,
        "universe_gib": (universe.lots.nbytes + universe.collateral.nbytes) / GIB,
    }


def load(plan: Plan) -> Figures:
    """Load every shard's snapshot."""
    _warm(plan)
    store = SnapshotStore(f"{plan.folder}/snapshots")
    begun = time.perf_counter()
    engines = []
    for shard in range(plan.shards):
        snapshot = store.load(shard, LOG_ID.hex())
        assert snapshot is not None
        engines.append(MarginEngine.from_bytes(snapshot.body))
        del snapshot
    seconds = time.perf_counter() - begun
    resident, peak = resident_bytes()
    assert sum(engine.account_count for engine in engines) == plan.accounts
    return {"load_s": seconds, "loaded_resident_gib": resident / GIB, "loading_peak_gib": peak / GIB}


def _warm(plan: Plan) -> None:
    """Have the kernels compiled, or read from numba's cache, before anything is timed."""
    universe = Universe(2, plan.positions, plan.seed)
    writer = Writer(Plan(2, plan.positions, 1, plan.seed, plan.folder, False))
    writer.documents(0, universe.tables())
    for shard, bodies in _customers(universe, 1):
        writer.documents(shard, bodies)
    for shard, rows in _holdings(universe, 1):
        writer.records(shard, rows)
    clock = np.zeros(1, RECORD)
    clock["ts_ns"] = START_NS + 1
    writer.records(0, clock)
    MarginEngine.from_bytes(writer.engines[0].to_bytes())


def _customers(universe: Universe, shards: int) -> Iterator[tuple[int, list[bytes]]]:
    """(shard, documents), a chunk of accounts at a time."""
    for first in range(0, universe.accounts, CHUNK):
        stop = min(first + CHUNK, universe.accounts)
        owner = universe.shards_of(shards, first, stop).tolist()
        bodies: list[list[bytes]] = [[] for _ in range(shards)]
        for number, body in universe.customers(first, stop):
            bodies[owner[number - first]].append(body)
        yield from enumerate(bodies)


def _marks(universe: Universe) -> Any:
    rows = np.zeros(INSTRUMENTS, RECORD)
    rows["kind"], rows["price"], rows["instrument"] = Kind.PRICE, MID * TICK_E9, universe.instrument_keys
    return rows


def _holdings(universe: Universe, shards: int) -> Iterator[tuple[int, Any]]:
    """(shard, records) of collateral and positions, a chunk of accounts at a time."""
    random = np.random.default_rng([universe.seed, 3])
    for first in range(0, universe.accounts, CHUNK):
        stop = min(first + CHUNK, universe.accounts)
        owner, keys = universe.shards_of(shards, first, stop), universe.account_keys(first, stop)
        for shard in range(shards):
            own = np.flatnonzero(owner == shard)
            cash = np.zeros(len(own), RECORD)
            cash["kind"], cash["instrument"], cash["account"] = Kind.COLLATERAL, key64("USD"), keys[own]
            cash["quantity"] = universe.collateral[first + own] * QUANTITY_ONE
            account = np.repeat(own, universe.positions)
            place = np.tile(np.arange(universe.positions), len(own))
            held = np.zeros(len(account), RECORD)
            held["kind"], held["price"], held["account"] = Kind.POSITION, MID * TICK_E9, keys[account]
            held["instrument"] = universe.instrument_keys[universe.held(first + account, place)]
            held["quantity"] = universe.lots[first + account, place] * QUANTITY_ONE
            for rows in (cash, held):
                rows["id"] = random.integers(1, 2**63, len(rows))
                yield shard, rows


def main() -> None:
    """The child process: a plan in, figures out, as JSON."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    sys.stdout.write(msgspec.json.encode(load(plan) if plan.loads else define(plan)).decode())


if __name__ == "__main__":
    main()

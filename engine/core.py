"""The margin engine of one shard: a pure function of a prefix of its log. `step` is the one place with control flow."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from engine import books, hashing, snapshot
from engine.apply import REDELIVERED, SUPERSEDED, advance, apply, is_ahead, is_remembered, remember
from engine.arithmetic import rows
from engine.codes import Code
from engine.definitions import Definitions
from engine.documents import CUSTOMERS_OWN, Account, Action, Agreement, Asset, kind_of, parse_action, parse_document
from engine.evaluate import evaluate_accounts, open_clock
from engine.events import BROADCAST, KINDS, LAST_INDEX, Kind, id_key
from engine.frames import Entry, Frame, FrameKind, Genesis
from engine.limits import Limits
from engine.margin import settle_rows
from engine.numbers import time_ns
from engine.portfolio import margin_portfolios
from engine.report import CHANGE, FIGURES, AccountInfo, Digest, Population, Reject, Report
from engine.risk import Builder
from engine.state import NONE, State, allocate
from engine.terms import Refused
from engine.views import population, stored

MAX_WRITERS = 64
_AGREEMENT = b"agreement"  # in the JSON of each, and of few other documents


class LogError(Exception):
    """The log cannot be followed; the engine is as it was before the frame."""


class Hole(LogError):
    """A frame or a range of inputs is missing."""


class LogMismatch(LogError):
    """The frame belongs to another log, another shard, or another number of shards."""


@dataclass(slots=True)
class _Open:
    """What exists once the genesis is read."""

    genesis: Genesis
    state: State
    definitions: Definitions
    builder: Builder
    changes: NDArray[np.void]


class MarginEngine:
    """Positions, exposures, margin and status of every account of one shard, after the frames so far.

    offset is the log offset of the frame expected next. All views are of the state after the last step.
    """

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.offset = 0
        self._writers: dict[int, int] = {}  # writer -> its last frame number, oldest first
        self._log: _Open | None = None

    # --- the one way in -------------------------------------------------------------------------------------------

    def step(self, frame: Frame, offset: int) -> Report:
        """Apply the frame at the expected offset; LogError when it cannot follow, and then nothing changed."""
        self._check(frame, offset)
        if frame.kind is FrameKind.GENESIS:
            if self._log is None:
                assert frame.genesis is not None
                self._open(frame.genesis)
            report = Report(offset, self.clock_ns)
        else:
            report = Report(offset, self.clock_ns, frame.oldest_ns if frame.last else 0)
            if frame.kind is FrameKind.DOCUMENTS:
                for entry in frame.documents:
                    self._document(entry, report)
            else:
                self._records(frame.records, report)
        if frame.last:
            self._cover(frame)
        self._writers.pop(frame.writer, None)
        self._writers[frame.writer] = frame.number
        if len(self._writers) > MAX_WRITERS:
            del self._writers[next(iter(self._writers))]
        self.offset = offset + 1
        report.clock_ns = self.clock_ns
        return report

    def _open(self, genesis: Genesis) -> None:
        state = allocate(genesis.limits, genesis.start_ns)
        changes = rows(np.zeros(2 * genesis.limits.accounts, CHANGE))
        definitions = Definitions(state, genesis.limits)
        self._log = _Open(genesis, state, definitions, Builder(definitions), changes)

    def _check(self, frame: Frame, offset: int) -> None:
        if offset != self.offset:
            raise Hole(f"shard {self.shard}: frame at offset {offset}, expected {self.offset}")
        if frame.shard != self.shard:
            raise LogMismatch(f"shard {self.shard}: frame of shard {frame.shard}")
        last = self._writers.get(frame.writer)
        expected = 0 if last is None else last + 1
        if self._log is None:
            genesis = frame.genesis
            if genesis is None:
                raise LogMismatch(f"shard {self.shard}: the log does not begin with its genesis")
            if (genesis.log_id, genesis.shards) != (frame.log_id.hex(), frame.shards):
                raise LogMismatch(f"shard {self.shard}: the genesis is of log {genesis.log_id}, its frame of another")
        elif frame.log_id.hex() != self.genesis.log_id or frame.shards != self.genesis.shards:
            raise LogMismatch(
                f"shard {self.shard}: frame of log {frame.log_id.hex()} with {frame.shards} shards, "
                f"expected {self.genesis.log_id} with {self.genesis.shards}"
            )
        if frame.number != expected:
            raise Hole(f"shard {self.shard}: frame {frame.number} of writer {frame.writer:x}, expected {expected}")
        if len(frame.records) and (frame.records["kind"] >= KINDS).any():
            raise LogMismatch(f"shard {self.shard}: a record of a kind that this program does not know")
        if frame.last and self._log is not None:
            self._check_ranges(frame)

    def _check_ranges(self, frame: Frame) -> None:
        covered = self._state.covered
        for kind, partition, start, _ in frame.ranges.tolist():
            if kind >= KINDS or partition >= covered.shape[1]:
                raise LogMismatch(f"shard {self.shard}: range of kind {kind}, partition {partition}")
            at = covered.item(kind, partition)
            if 0 <= at < start:
                raise Hole(
                    f"shard {self.shard}: {Kind(kind).name} partition {partition} is covered up to {at}, "
                    f"the batch begins at {start}"
                )

    def _cover(self, frame: Frame) -> None:
        state = self._state
        for kind, partition, _, stop in frame.ranges.tolist():
            origin = kind, partition
            if stop > state.covered.item(origin):
                state.covered[origin] = stop
            if stop > state.watermark_offset.item(origin):
                state.watermark_offset[origin], state.watermark_index[origin] = stop - 1, LAST_INDEX

    def _records(self, records: NDArray[np.void], report: Report) -> None:
        state, results, counts = self._state, np.zeros(len(records), np.uint8), np.zeros((4, KINDS), np.int64)
        at, table = 0, rows(records)
        while (at := apply(state, table, at, results, counts)) < len(records):
            self._clock(int(records[at]["ts_ns"]), report)
            counts[0, Kind.CLOCK] += 1
            at += 1
        if self.shard != 0:
            counts[:, list(BROADCAST)] = 0
        report.applied, report.superseded, report.redelivered = counts[0], counts[1], counts[2]
        if counts[3].any():
            self._reject(records, results, report)

    def _clock(self, ts_ns: int, report: Report) -> None:
        log = self._open_log
        log.definitions.bind_rules(max(ts_ns, self.clock_ns))
        if open_clock(log.state, ts_ns) > 0:
            log.builder.build()
            settle_rows(log.state)
        if log.definitions.portfolios.rule_ids:
            margin_portfolios(log.definitions.margin)
        count = evaluate_accounts(log.state, log.changes)
        if count:
            changes = log.changes[:count]
            report.changes = np.concatenate([report.changes, changes]) if len(report.changes) else changes.copy()

    def _reject(self, records: NDArray[np.void], results: NDArray[np.uint8], report: Report) -> None:
        for i in np.flatnonzero((results != 0) & (results < SUPERSEDED)):
            row, kind = records[i], Kind(int(records[i]["kind"]))
            if self.shard == 0 or kind not in BROADCAST:
                origin = int(row["partition"]), int(row["offset"]), int(row["index"])
                report.rejects.append(Reject(Code(int(results[i])), kind, *origin, int(row["ts_ns"])))

    # --- documents ------------------------------------------------------------------------------------------------

    def _document(self, entry: Entry, report: Report) -> None:
        moved = advance(self._state, entry.kind, entry.partition, entry.offset, entry.index)
        code, counted, ts_ns = Code.OK, True, 0
        if moved == REDELIVERED:
            counted = self._is_own(entry)
            report.redelivered[entry.kind] += counted
            return
        if moved != Code.OK:
            code = Code(moved)
        elif entry.kind == Kind.ACTION:
            code, ts_ns = self._action(entry.body)
        else:
            counted = self._is_own(entry)
            try:
                self._open_log.definitions.define(bytes(entry.body))
            except Refused as refused:
                code = refused.code
        if not counted:
            return
        if code is Code.OK:
            report.applied[entry.kind] += 1
        else:
            report.rejects.append(Reject(code, Kind(entry.kind), entry.partition, entry.offset, entry.index, ts_ns))

    def _is_own(self, entry: Entry) -> bool:
        """Whether this shard counts the document: its own customers, accounts and actions; shard 0 what all shards see."""
        if self.shard == 0 or entry.kind == Kind.ACTION:
            return True
        try:
            return kind_of(entry.body) in CUSTOMERS_OWN
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False

    def _action(self, body: msgspec.Raw) -> tuple[Code, int]:
        """An action is remembered by its id; margin calls with a life act on it."""
        try:
            action: Action = parse_action(body)
            ts_ns = time_ns(action.ts)
        except (msgspec.MsgspecError, ValueError):
            return Code.BAD_FIELD, 0
        key: Any = np.uint64(id_key("actions", action.account, action.user, action.id))
        if self.find_account(action.account) is None:
            return Code.UNKNOWN_ACCOUNT, ts_ns
        if is_ahead(self._state, ts_ns):
            return Code.AHEAD_OF_TIME, ts_ns
        if is_remembered(self._state, key):
            return Code.DUPLICATE, ts_ns
        remember(self._state, key, ts_ns)
        return Code.OK, ts_ns

    # --- views ----------------------------------------------------------------------------------------------------

    @property
    def _open_log(self) -> _Open:
        if self._log is None:
            raise LogError(f"shard {self.shard}: no genesis yet")
        return self._log

    @property
    def _state(self) -> State:
        return self._open_log.state

    @property
    def genesis(self) -> Genesis:
        """The log's first frame; LogError before it was read."""
        return self._open_log.genesis

    @property
    def is_open(self) -> bool:
        """Whether the genesis was read."""
        return self._log is not None

    @property
    def definitions(self) -> Definitions:
        """What is defined, and in its `state` all arrays: for views that explain them; they change nothing in it."""
        return self._open_log.definitions

    @property
    def builder(self) -> Builder:
        """What builds risk rows from marks, and knows why one could not be built."""
        return self._open_log.builder

    @property
    def clock_ns(self) -> int:
        """Engine time: the latest clock, 0 before any."""
        return int(self._log.state.now[0]["clock_ns"]) if self._log else 0

    @property
    def account_ids(self) -> list[str]:
        """Account ids by slot."""
        return self._log.definitions.account_ids if self._log else []

    @property
    def account_count(self) -> int:
        """How many accounts are defined."""
        return len(self.account_ids)

    @property
    def rule_set(self) -> str:
        """A hash of all rule versions in force at the latest clock, 16 hex digits."""
        return self._open_log.definitions.rule_set

    def find_account(self, account_id: str) -> int | None:
        """The slot of an account, or None."""
        slot = self._open_log.definitions.account_slot(account_id)
        return None if slot == NONE else slot

    def account_info(self, slot: int) -> AccountInfo:
        """Who the account in a slot is."""
        documents = self._open_log.definitions.documents
        account = documents["account", self.account_ids[slot]]
        assert isinstance(account, Account)
        currency = documents["asset", account.currency]
        assert isinstance(currency, Asset)
        return AccountInfo(account.id, account.customer, account.pool, account.currency, currency.decimals)

    def figures(self, slots: NDArray[np.int32]) -> NDArray[np.void]:
        """FIGURES of these accounts, in their order."""
        accounts, rows = self._state.accounts.figures[slots], np.empty(len(slots), FIGURES)
        for name in FIGURES.names or ():
            rows[name] = accounts[name]
        return rows

    def book_hashes(self, slots: NDArray[np.int32]) -> NDArray[np.uint64]:
        """By account a hash of what it holds, never 0."""
        return books.hashes(self._state, slots)

    def books(self, slots: NDArray[np.int32]) -> list[bytes]:
        """What these accounts hold, as engine/books.py packs it."""
        return books.pack(self._state, slots, self.offset)

    def agreements(self, first: int) -> tuple[int, list[tuple[str, str, bytes]]]:
        """(how many documents there are, customer, id and JSON of the agreements among those from number `first` on)."""
        applied, found = self._open_log.definitions.applied, list[tuple[str, str, bytes]]()
        for body in applied[first:]:
            if _AGREEMENT in body and isinstance(document := parse_document(body), Agreement):
                found.append((document.customer, document.id, body))
        return len(applied), found

    def take_touched(self) -> NDArray[np.int32]:
        """Slots of the accounts evaluated since the last call (all of them after a snapshot was loaded)."""
        touched = self._state.accounts.touched
        slots = np.flatnonzero(touched[: self.account_count]).astype(np.int32)
        touched[slots] = 0
        return slots

    def population(self) -> Population:
        """The shard's accounts in sum."""
        return population(self._state, self._open_log.definitions)

    def stored(self) -> dict[str, dict[Any, Any]]:
        """Positions, holdings, exposures, marks and volatilities by ids."""
        return stored(self._state, self._open_log.definitions)

    def usage(self) -> dict[str, tuple[int, int]]:
        """How full each limit is: name -> (used, limit)."""
        now, limits, definitions = self._state.now[0], self.genesis.limits, self._open_log.definitions
        used = {
            n: int(now[n])
            for n in ("accounts", "positions", "instruments", "assets", "currencies", "factors", "volatilities")
        }
        portfolios = definitions.portfolios
        used |= {
            "rules": definitions.versions,
            "calendars": len(definitions.calendar_ids),
            "pools": len(definitions.pool_ids),
        }
        used |= {"portfolios": len(portfolios.rule_ids), "sets": len(portfolios.row_sets)}
        return {name: (count, int(getattr(limits, name))) for name, count in used.items()}

    def id_span_ns(self) -> int:
        """The span of event time, back from now, in which a repeated id is surely noticed; -1 when none was forgotten."""
        now = self._state.now[0]
        return int(now["clock_ns"] - now["previous_ids_from_ns"]) if now["previous_ids_from_ns"] else -1

    def digest(self) -> Digest:
        """Hashes of the state by ids: equal for the same log however cut, and in sum for any number of shards."""
        definitions = self._open_log.definitions
        tables = int(hashing.tables_digest(self._state, definitions.margin.risk)) + definitions.tables_hash
        return Digest(int(hashing.accounts_digest(self._state)), tables % 2**64)

    def shard_digest(self) -> int:
        """A hash of everything that recovery must bring back: the digest, watermarks, remembered ids and log offset."""
        digest = self.digest()
        parts = (
            digest.accounts,
            digest.tables,
            int(hashing.origins_digest(self._state)),
            self.offset,
            sorted(self._writers.items()),
        )
        return xxhash.xxh3_64_intdigest(repr(parts).encode())

    # --- snapshots ------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The whole state as bytes that from_bytes continues from."""
        log = self._open_log
        return snapshot.pack(
            snapshot.Meta(self.shard, self.offset, log.genesis, list(self._writers.items())),
            log.definitions.applied,
            log.state,
            log.definitions.margin.risk,
        )

    def market_bytes(self, limits: Limits) -> bytes:
        """The same without accounts and what came from inputs, with these limits: what engine/shadow.py begins with."""
        log = self._open_log
        genesis = msgspec.structs.replace(log.genesis, limits=limits)
        meta = snapshot.Meta(self.shard, self.offset, genesis, [])
        return snapshot.pack_market(meta, log.definitions.tables, log.state, log.definitions.margin.risk)

    @classmethod
    def from_bytes(cls, data: bytes) -> "MarginEngine":
        """The engine that wrote these bytes; BadSnapshot when they are damaged or of another version."""
        meta, bodies, load = snapshot.unpack(data)
        engine = cls(meta.shard)
        engine._open(meta.genesis)
        log = engine._open_log
        for body in bodies:
            log.definitions.define(body)
        load(log.state, log.definitions.margin.risk)
        log.definitions.unbound = True
        log.definitions.hash_rules(engine.clock_ns)
        log.state.accounts.touched[: len(log.definitions.account_ids)] = 1
        engine.offset, engine._writers = meta.offset, dict(meta.writers)
        return engine

"""All accounts as a table of columns, kept up to date from Redis: what live pages, lists and sums are made from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from redis import Redis

from monitors.changes import Changed, Changes
from monitors.keys import Keys
from monitors.view import PoolSum

NAMED: Final = ("status", "quality", "pool", "currency", "customer", "distance_factor")  # few values each, held as codes
NUMBERS: Final = ("equity", "initial", "maintenance", "excess", "utilization", "call", "distance")
FIELDS: Final = (*NAMED, *NUMBERS, "ts_ns")
COLUMNS: Final = ("account", *NAMED, *NUMBERS, "excess_usd", "ts")
Values = tuple[str | bool, ...]  # of a field by account, False where it has none
SORTS: Final = ("excess", "utilization")


@dataclass(slots=True)
class _Names:
    """The values of a column of few values, in order of appearance."""

    values: list[str] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)

    def code(self, value: str) -> int:
        code = self.codes.setdefault(value, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code


class LiveTable:
    """Rows by slot, in the order in which accounts were first seen. client: one that gives bytes.

    A new epoch of the data (Redis was wiped) empties the table and begins a new generation. One thread polls; the other
    methods may be called from any.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        read = keys.meta, keys.changed, keys.by_excess
        self._changes, self._lock = Changes(client, read, keys.account_prefix, FIELDS), Lock()
        self.generation = self.tick = 0
        self._clear()

    def _clear(self) -> None:
        self._ids: list[str] = []
        self._slots: dict[str, int] = {}
        self._names = {name: _Names() for name in NAMED}
        self._codes = np.zeros((len(NAMED), 0), np.int32)
        self._numbers = np.zeros((len(NUMBERS) + 1, 0))  # the last row: excess in USD
        self._times = np.zeros((2, 0), np.int64)  # engine time of the figures, and the tick of the last change

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def epoch(self) -> str:
        """Of the data that was read last; "" before any."""
        return self._changes.epoch

    # --- writing

    def poll(self) -> bool:
        """Read what was written since the last poll; whether anything was. redis-py's errors pass."""
        changed = False
        for is_new, rows in self._changes.read():
            self._take(is_new, rows)
            changed = True
        return changed

    def _take(self, is_new: bool, rows: Changed) -> None:
        with self._lock:
            if is_new:
                self._clear()
                self.generation += 1
            self.tick += 1  # each batch its own: a frame may be taken between two of a poll
            self._reserve(len(self._ids) + len(rows))
            if rows:
                self._write(*zip(*rows, strict=True))

    def _reserve(self, count: int) -> None:
        room = self._times.shape[1]
        if count > room:
            more = ((0, 0), (0, max(count, 2 * room) - room))
            self._codes, self._numbers = np.pad(self._codes, more), np.pad(self._numbers, more)
            self._times = np.pad(self._times, more)

    def _write(self, ids: Values, excess: Values, *columns: Values) -> None:
        """Fill in these accounts, each of them once, column by column."""
        slots = [self._slots.setdefault(str(account_id), len(self._slots)) for account_id in ids]
        self._ids += [str(account_id) for account_id, slot in zip(ids, slots, strict=True) if slot >= len(self._ids)]
        named, (*numbers, times) = columns[: len(NAMED)], columns[len(NAMED) :]
        for row, (name, values) in enumerate(zip(NAMED, named, strict=True)):
            code = self._names[name].code
            self._codes[row, slots] = [code(str(value or "")) for value in values]
        for row, values in enumerate((*numbers, excess)):
            self._numbers[row, slots] = [float(value) if value else np.nan for value in values]
        self._times[0, slots] = [int(value or 0) for value in times]
        self._times[1, slots] = self.tick

    # --- reading

    def frame(self, generation: int, since: int) -> tuple[int, int, bytes | None]:
        """(generation, tick, Arrow IPC stream of the rows changed after tick `since`, None: nothing).

        Of another generation than the table's, all rows.
        """
        with self._lock:
            if generation != self.generation:
                since = -1
            slots = np.flatnonzero(self._times[1, : len(self._ids)] > since)
            body = _stream(self._batch(slots)) if len(slots) or since < 0 else None
            return self.generation, self.tick, body

    def _batch(self, slots: NDArray[np.int64]) -> pa.RecordBatch:
        ids = self._ids
        columns: list[Any] = [pa.array([ids[slot] for slot in slots.tolist()], pa.string())]
        for row, name in enumerate(NAMED):
            codes, values = self._codes[row, slots], self._names[name].values
            if name == "customer":
                columns.append(pa.array([values[code] for code in codes.tolist()], pa.string()))
            else:
                columns.append(pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values, pa.string())))
        columns += [pa.array(self._numbers[row, slots], from_pandas=True) for row in range(len(NUMBERS) + 1)]
        columns.append(pa.array(self._times[0, slots] // 10**6, pa.timestamp("ms")))
        return pa.RecordBatch.from_arrays(columns, list(COLUMNS))

    def counts(self, name: str) -> dict[str, int]:
        """How many accounts have each value of a named column."""
        with self._lock:
            codes = self._codes[NAMED.index(name), : len(self._ids)]
            values = self._names[name].values
            return dict(zip(values, np.bincount(codes, minlength=len(values)).tolist(), strict=True))

    def pool_sums(self) -> list[PoolSum]:
        """Sums by pool and currency."""
        with self._lock:
            count = len(self._ids)
            pools, currencies = (self._names[name].values for name in ("pool", "currency"))
            codes = [self._codes[NAMED.index(name), :count] for name in ("pool", "currency")]
            pairs = codes[0] * len(currencies) + codes[1]
            rows = (*(NUMBERS.index(name) for name in ("equity", "initial", "maintenance", "call")), len(NUMBERS))
            sizes = np.bincount(pairs)
            sums = [np.bincount(pairs, np.nan_to_num(self._numbers[row, :count])) for row in rows]
        return [
            PoolSum(pools[p // len(currencies)], currencies[p % len(currencies)], int(sizes[p]), *_at(sums, p))
            for p in np.flatnonzero(sizes).tolist()
        ]

    def point(self, account_id: str) -> tuple[int, float, float, float] | None:
        """(engine time in ns, equity, initial, maintenance) of an account, None where it is unknown."""
        with self._lock:
            slot = self._slots.get(account_id)
            if slot is None:
                return None
            equity, initial, maintenance = (
                float(self._numbers[NUMBERS.index(name), slot]) for name in ("equity", "initial", "maintenance")
            )
            return int(self._times[0, slot]), equity, initial, maintenance

    def select(
        self, wanted: dict[str, str], sort: str, limit: int, after: tuple[float, int] | None
    ) -> tuple[list[str], tuple[float, int] | None]:
        """Ids of accounts with these values of named columns, at most limit, and after which row to go on (None: the end).

        sort: excess in USD, the lowest first; utilization, the highest first, that of no equity before all.
        """
        with self._lock:
            count = len(self._ids)
            mask = np.ones(count, bool)
            for name, value in wanted.items():
                mask &= self._codes[NAMED.index(name), :count] == self._names[name].codes.get(value, -1)
            if sort == "excess":
                order = self._numbers[len(NUMBERS), :count]
            else:
                order = -np.nan_to_num(self._numbers[NUMBERS.index("utilization"), :count], nan=np.inf)
            slots = np.flatnonzero(mask)
            if after is not None:
                beyond, slot = after
                slots = slots[(order[slots] > beyond) | ((order[slots] == beyond) & (slots > slot))]
            slots = slots[np.argsort(order[slots], kind="stable")]
            found = slots[:limit]
            last = int(found[-1]) if len(found) else -1
            more = len(slots) > limit
            return [self._ids[slot] for slot in found.tolist()], (float(order[last]), last) if more else None


def _at(sums: Sequence[NDArray[Any]], place: int) -> tuple[float, float, float, float, float]:
    equity, initial, maintenance, call, excess_usd = (round(float(one[place]), 2) for one in sums)
    return equity, initial, maintenance, call, excess_usd


def _stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())

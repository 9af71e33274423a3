"""All margin calls as Redis has them, open and over, kept up to date: which of them fit a question, in which order."""

from dataclasses import dataclass
from threading import Lock
from typing import Final

from redis import Redis

from engine.report import OPEN_CALLS
from monitors.changes import Changed, Changes
from monitors.keys import CALL_KEEP_SECONDS, Keys

FIELDS: Final = ("state", "account", "customer", "pool", "due_ns", "ts_ns", "acknowledged_by")
MOST_CLOSED: Final = 100_000  # calls over that are held, the newest
OPEN: Final = frozenset(state.name for state in OPEN_CALLS)


@dataclass(frozen=True, slots=True)
class _Known:
    """What calls are chosen by; at_ns: when it is due, of one that is over when it ended."""

    id: str
    state: str
    account: str
    pool: str
    words: str
    at_ns: int
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Which calls: open ones or those over; None or "": any. text: part of account, customer or pool, in lower case."""

    is_open: bool = True
    state: str | None = None
    account: str | None = None
    pool: str | None = None
    text: str = ""
    acknowledged: bool | None = None

    def fits(self, call: _Known) -> bool:
        """Whether a call is one of them."""
        return (
            self.state in (None, call.state)
            and self.pool in (None, call.pool)
            and self.account in (None, call.account)
            and self.acknowledged in (None, call.acknowledged)
            and self.text in call.words
        )


class CallTable:
    """Ids of calls with what they are chosen by; the rest is read where it is shown. client: one that gives bytes.

    One thread polls; select() may be called from any.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._changes = Changes(client, (keys.meta, keys.changed_calls), keys.call_prefix, FIELDS)
        self._lock = Lock()
        self._held: dict[bool, dict[str, _Known]] = {True: {}, False: {}}  # by whether they are open; over: as they ended
        self._in_order: dict[bool, list[_Known] | None] = {True: [], False: []}  # None: to be sorted

    def poll(self) -> None:
        """Read what was written since the last poll. redis-py's errors pass."""
        for is_new, rows in self._changes.read():
            with self._lock:
                if is_new:
                    self._held = {True: {}, False: {}}
                self._take(rows)
                self._in_order = {True: None, False: None}

    def _take(self, rows: Changed) -> None:
        newest_ns = 0
        for call_id, _, *values in rows:
            state, account, customer, pool, due_ns, ts_ns, acknowledged_by = (str(value or "") for value in values)
            for held in self._held.values():
                held.pop(str(call_id), None)
            if state:  # else its hash was dropped meanwhile
                is_open = state in OPEN
                at_ns = int(due_ns if is_open else ts_ns)
                words = f"{account} {customer} {pool}".lower()
                self._held[is_open][str(call_id)] = _Known(
                    str(call_id), state, account, pool, words, at_ns, bool(acknowledged_by)
                )
                newest_ns = max(newest_ns, int(ts_ns))
        closed, kept_ns = self._held[False], newest_ns - CALL_KEEP_SECONDS * 10**9
        while closed and (len(closed) > MOST_CLOSED or next(iter(closed.values())).at_ns < kept_ns):
            del closed[next(iter(closed))]

    def select(self, choice: Choice, first: int, count: int) -> tuple[list[str], int]:
        """Ids of the calls that fit from the `first` on, at most count, and how many fit in all.

        Open ones by due time, those over by when they ended, the last first.
        """
        with self._lock:
            calls = self._in_order[choice.is_open]
            if calls is None:
                calls = sorted(self._held[choice.is_open].values(), key=lambda call: call.at_ns, reverse=not choice.is_open)
                self._in_order[choice.is_open] = calls
        if choice != Choice(choice.is_open):
            calls = [call for call in calls if choice.fits(call)]
        return [call.id for call in calls[first : first + count]], len(calls)

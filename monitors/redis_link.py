"""One connection to Redis or Valkey that writes accounts by a script: pipelined, and never reconnecting by itself."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from monitors.backlog import AgreementEntry, Entry, Moment, State
from monitors.keys import (
    AGREEMENT_FIELDS,
    AGREEMENT_PREFIX,
    ALERTS_WINDOW,
    CALL_KEEP_SECONDS,
    CALL_WRITES_FIELD,
    FIGURE_FIELDS,
    LAYOUT,
    LIFE_BYTES,
    MOMENT_FIELDS,
    OWNED_PREFIX,
    WRITES_FIELD,
    Keys,
    shard_field,
)

_LISTS, _ACCOUNTS, _CALLS = (
    Path(__file__).with_name(f"{name}.lua").read_text() for name in ("call_lists", "accounts", "calls")
)
SCRIPT: Final = _LISTS + _ACCOUNTS
CALLS_SCRIPT: Final = _LISTS + _CALLS
TIMEOUT_SECONDS: Final = 5
_log = logging.getLogger("crossmargin.redis")
_pack: Final = msgspec.msgpack.Encoder().encode
_NAMES: Final = ((*FIGURE_FIELDS, *MOMENT_FIELDS, "change"), AGREEMENT_FIELDS)
Section = tuple[int, Moment, Sequence[State], Sequence[Entry]]  # shard (-1: meta stays as it is), as of when, what


class ForeignLog(Exception):
    """Redis holds the accounts of another log: nothing is written, and somebody has to decide."""


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """RedisTimeout where the server takes too long. redis-py's own timeouts make a task for each command, or give None
    in place of the reply, which then stands before the next one's."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield
    except TimeoutError as late:
        raise RedisTimeout(f"no answer in {TIMEOUT_SECONDS:g} s") from late


def _packed(section: Section) -> Any:
    """A section as the script takes it."""
    shard, (ts_ns, offset, rule_set), states, entries = section
    moment = str(ts_ns), str(offset), rule_set
    fields = (shard_field(shard, "offset"), shard_field(shard, "ts_ns")) if shard >= 0 else ()
    return fields, moment, states, entries


class Wiped(Exception):
    """The data found when connecting is gone or another's by now: connect again, and write everything again."""


class RedisLink:
    """The connection of one sink; every error of redis-py means: disconnect, connect again, write everything again.

    log_id and shards: whose data this is. now: wall time in ns, for `started`.
    """

    def __init__(self, url: str, keys: Keys, log_id: str, shards: int, now: Callable[[], int]) -> None:
        self._pool = ConnectionPool.from_url(url, socket_timeout=None, socket_connect_timeout=TIMEOUT_SECONDS)
        self._keys, self._log_id, self._shards, self._now = keys, log_id, shards, now
        self._connection: AbstractConnection | None = None
        self._head: tuple[Any, ...] = ()  # of a call of the script; empty until the database is known to be this log's
        self._calls: tuple[Any, ...] = ()

    @property
    def connected(self) -> bool:
        """Whether a connection is open and its database belongs to this log."""
        return bool(self._head)

    @property
    def address(self) -> str:
        """host:port/db or path/db, without secrets."""
        known = self._pool.connection_kwargs
        place = known.get("path") or f"{known.get('host', 'localhost')}:{known.get('port', 6379)}"
        return f"{place}/{known.get('db', 0)}"

    async def connect(self) -> None:
        """Open, load the script and make the database this log's: RedisError when unreachable, ForeignLog when another's."""
        self._connection = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            async with _in_time():
                await self._connection.connect()  # type: ignore[no-untyped-call]
            await self._ask("PING")
            epoch = await self._claim()
            await self._check_eviction()
            script = await self._ask("SCRIPT", "LOAD", SCRIPT)
            calls = await self._ask("SCRIPT", "LOAD", CALLS_SCRIPT)
        except BaseException:
            await self.disconnect()
            raise
        keys = self._keys
        lists = keys.open_calls, keys.closed_calls, keys.changed_calls
        self._head = ("EVALSHA", script, 9, keys.meta, keys.by_excess, keys.by_utilization, keys.alerts, keys.changed)
        self._head += (keys.agreements, *lists, keys.account_prefix, keys.status_prefix, keys.quality_prefix)
        self._head += (
            keys.book_prefix,
            keys.customer_prefix,
            self._log_id,
            epoch,
            ALERTS_WINDOW,
            WRITES_FIELD,
            OWNED_PREFIX,
        )
        self._head += (keys.call_prefix, CALL_KEEP_SECONDS, CALL_WRITES_FIELD, LIFE_BYTES)
        self._calls = ("EVALSHA", calls, 4, keys.meta, *lists, keys.call_prefix, self._log_id, epoch)
        self._calls += (CALL_KEEP_SECONDS, CALL_WRITES_FIELD, LIFE_BYTES)

    async def disconnect(self) -> None:
        """Close at once; what was sent and not answered may or may not have been written."""
        connection, self._connection, self._head = self._connection, None, ()
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def send(self, sections: Sequence[Section], agreements: Sequence[AgreementEntry] = ()) -> None:
        """Send the entries of some shards, and agreements beside them, in one call of the script."""
        named = [(self._keys.agreement(name), offset, fields, name) for name, offset, fields in agreements]
        packed = _pack((_NAMES, [_packed(section) for section in sections], named))
        await self._send(*self._head, packed)

    async def write_calls(self, shard: int, moment: Moment, calls: Sequence[Any]) -> None:
        """Write all open calls of a shard, as open_call_entry gives them; nothing else may be unanswered."""
        ts_ns, offset, _ = moment
        if not await self._ask(*self._calls, shard, offset, ts_ns, _pack(calls)):
            raise self._wiped()

    async def put(self, key: str, text: bytes) -> None:
        """Set a string; nothing else may be unanswered."""
        await self._ask("SET", key, text)

    async def receive(self) -> list[int]:
        """How many alerts of each section of the oldest unanswered send were new; Wiped when nothing was written."""
        added: list[int] = await self._receive()
        if not added:
            raise self._wiped()
        return added

    def _wiped(self) -> Wiped:
        return Wiped(f"Redis at {self.address}: {self._keys.meta} is gone or changed")

    async def put_agreements(self, agreements: Sequence[tuple[str, str, bytes]]) -> None:
        """Write agreements (customer, id, JSON) beside their customers' accounts."""
        for customer, agreement_id, body in agreements:
            await self._send("HSET", self._keys.customer(customer), AGREEMENT_PREFIX + agreement_id, body)
        for _ in agreements:
            await self._receive()

    async def _claim(self) -> str:
        """Fill in what meta lacks and return its epoch: a random mark that lives as long as the data beside it."""
        meta = self._keys.meta
        mine = {"version": LAYOUT, "log_id": self._log_id, "shards": self._shards, "started": self._now()}
        for field, value in {**mine, "epoch": uuid.uuid4().hex}.items():
            await self._ask("HSETNX", meta, field, value)
        found = await self._ask("HMGET", meta, "version", "log_id", "shards", "epoch")
        version, log_id, shards, epoch = (value.decode() for value in found)
        if (version, log_id, shards) != (str(LAYOUT), self._log_id, str(self._shards)):
            raise ForeignLog(
                f"Redis at {self.address}: {meta} belongs to log {log_id} (layout {version}, {shards} shards), this is log"
                f" {self._log_id} (layout {LAYOUT}, {self._shards} shards); use another database or prefix, or delete the"
                f" keys {self._keys.prefix}*"
            )
        return str(epoch)

    async def _check_eviction(self) -> None:
        """Warn when the server may drop keys by itself; a server that does not tell is not asked again."""
        try:
            answer = await self._ask("CONFIG", "GET", "maxmemory-policy")
        except ResponseError:
            return
        pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
        policy = {name.decode(): value.decode() for name, value in pairs}.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            _log.warning("Redis at %s: maxmemory-policy %s drops accounts; set it to noeviction", self.address, policy)

    async def _ask(self, *command: Any) -> Any:
        await self._send(*command)
        return await self._receive()

    async def _send(self, *command: Any) -> None:
        async with _in_time():
            await self._open().send_command(*command)

    async def _receive(self) -> Any:
        async with _in_time():
            return await self._open().read_response()

    def _open(self) -> AbstractConnection:
        """The connection, still open: redis-py would open another by itself and hide a restart of the server."""
        if self._connection is None or not self._connection.is_connected:
            raise RedisConnectionError("the connection is closed")
        return self._connection

"""What all pages look at: live tables of accounts and calls, polled four times a second, and the way into WebSockets."""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web
from redis import Redis
from redis.exceptions import RedisError

from engine.report import AgreementState
from monitors.collector import Histogram
from monitors.keys import MARKET_FIELD, Keys
from monitors.live import LiveTable
from monitors.live_calls import CallTable
from monitors.metrics import TABLE
from monitors.outlook import StaleInstrument
from monitors.view import Meta, PoolSum, Row, open_client, parse_meta, read_agreements, read_ladder
from streams.settings import Settings
from streams.web_schema import History, Point, Saving, State, Summary

POLL_SECONDS: Final = 0.25
STALE_SECONDS: Final = 5.0
STATE_SECONDS: Final = 1.0
SLOW_SECONDS, SLOW_SPARE = 3.0, 10
ALERTS_KEPT: Final = 200
WATCHED: Final = 256  # accounts whose history is kept
POINTS: Final = 3600
MAX_SOCKETS: Final = 64
LOST: Final = "Redis does not answer"
LOGGED_OUT: Final = 4401  # close code: the session ended
logger: Final = logging.getLogger("crossmargin.web")
_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Watched:
    """An account that somebody looked at."""

    currency: str
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=POINTS))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a poll found, all of the same data; meta None: not known; sums: counts by status and quality, pools."""

    meta: Meta | None = None
    accounts: int = 0
    sums: tuple[dict[str, int], dict[str, int], list[PoolSum]] = field(default_factory=lambda: ({}, {}, []))


class Live:
    """The newest of everything in Redis that changes by itself; run() keeps it so."""

    def __init__(self, settings: Settings, now: Callable[[], int] = time.time_ns) -> None:
        self.keys = Keys(settings.redis_prefix)
        self._bytes, self._texts = open_client(settings.redis_url, text=False), open_client(settings.redis_url)
        self.table, self.calls = LiveTable(self._bytes, self.keys), CallTable(self._bytes, self.keys)
        self._now, self._turn, self._polled = now, asyncio.Condition(), 0
        self._seen = _Seen()
        self.problem = "not read yet"
        self.poll_seconds, self.read_at = Histogram(TABLE["crossmargin_web_poll_seconds"].bounds), time.monotonic()
        self.market_ns = self.calls_open = 0
        self._alerts: deque[tuple[int, Row]] = deque(maxlen=ALERTS_KEPT)
        self._alerts_seen, self._last_alert = 0, ""
        self._alerts_reached: dict[tuple[str, str], int] = {}  # by log and shard, the log offset of the newest alert
        self._alerts_before: dict[tuple[str, str], int] = {}  # the same when the data was last new
        self.agreements: list[Row] = []
        self._savings: list[Saving] = []
        self._stale: list[StaleInstrument] = []
        self._watched: OrderedDict[str, _Watched] = OrderedDict()
        self._sockets: set[web.WebSocketResponse] = set()

    @property
    def client(self) -> Redis:
        """A client that gives text, for reading in threads."""
        return self._texts

    @property
    def bytes_client(self) -> Redis:
        """A client that gives bytes."""
        return self._bytes

    async def run(self) -> None:
        """Poll until cancelled; while Redis is away the table stays as it was."""
        while True:
            begun, before = time.monotonic(), self.problem
            try:
                await asyncio.to_thread(self._poll)
                self.problem, self.read_at = "", time.monotonic()
                self.poll_seconds.observe(self.read_at - begun)
            except (RedisError, OSError, msgspec.MsgspecError) as error:
                self.problem = LOST  # anybody may read it: where the server is stands in the log only
                if before != LOST:
                    logger.warning("%s: %s", LOST, error)
            if before == LOST != self.problem:
                logger.info("Redis answers again")
            self._sample()
            async with self._turn:
                self._polled += 1
                self._turn.notify_all()
            await asyncio.sleep(max(POLL_SECONDS / 10, POLL_SECONDS - (time.monotonic() - begun)))

    async def follow_slowly(self) -> None:
        """Read agreements and stale instruments over and over until cancelled, a tenth of the time at most.

        While Redis is away they stay.
        """
        while True:
            begun = time.monotonic()
            try:
                self.agreements = await asyncio.to_thread(read_agreements, self._texts, self.keys)
                self._savings = savings(self.agreements)
                ladder = await asyncio.to_thread(read_ladder, self._texts, self.keys)
                self._stale = [] if ladder is None else ladder.stale
            except (RedisError, OSError, msgspec.MsgspecError):
                pass  # run() says so
            await asyncio.sleep(max(SLOW_SECONDS, SLOW_SPARE * (time.monotonic() - begun)))

    async def close_sockets(self) -> None:
        """Tell every page that the server goes."""
        for socket in list(self._sockets):
            await socket.close(code=1001)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._bytes.close()
        self._texts.close()

    def _poll(self) -> None:
        """All that changed; called in a thread."""
        pipe = self._texts.pipeline(transaction=False)
        pipe.hgetall(self.keys.meta)
        pipe.zcard(self.keys.open_calls)
        after = f"({self._last_alert}" if self._last_alert else "-"
        pipe.xrevrange(self.keys.alerts, "+", after, count=ALERTS_KEPT)
        meta, calls_open, alerts = pipe.execute()
        self.calls.poll()
        generation = self.table.generation
        sums = self._seen.sums
        if self.table.poll():
            sums = self.table.counts("status"), self.table.counts("quality"), self.table.pool_sums()
        if self.table.generation != generation:
            self._last_alert, self._alerts_before = "", self._alerts_reached.copy()
        elif alerts:
            self._last_alert = alerts[0][0]
        self._take_alerts(meta.get("log_id", ""), [dict(alert) for _, alert in reversed(alerts)])
        self.market_ns, self.calls_open = int(meta.get(MARKET_FIELD, 0)), calls_open
        # Last, as meta was read first: what it calls whole is in the table, if both are of the same data.
        known = parse_meta(meta) if meta.get("epoch") == self.table.epoch else None
        self._seen = _Seen(known, len(self.table), sums)

    def _take_alerts(self, log_id: str, alerts: list[Row]) -> None:
        """Keep those not taken before: one that was wiped is given its alerts again.

        A shard's alerts do not come in the order of its log where few pass a burst.
        """
        held = {alert["id"] for _, alert in self._alerts}
        for alert in alerts:
            place, offset = (log_id, alert["shard"]), int(alert["offset"])
            if offset >= self._alerts_before.get(place, 0) and alert["id"] not in held:
                self._alerts_reached[place] = max(offset, self._alerts_reached.get(place, 0))
                self._alerts_seen += 1
                self._alerts.append((self._alerts_seen, alert))

    # --- what is known

    @property
    def age_seconds(self) -> float | None:
        """Wall time minus the engine time of the shard furthest behind; None before anything was read."""
        meta = self._seen.meta
        return None if meta is None else meta.age_seconds(self._now())

    def _state(self, seen: _Seen) -> State:
        meta, age_seconds = seen.meta, round(self.age_seconds or 0.0, 3)
        return State(
            connected=not self.problem,
            log_id="" if meta is None else meta.log_id,
            clock_ns=min(meta.clocks_ns.values(), default=0) if meta is not None else 0,
            age_seconds=age_seconds,
            stale=bool(self.problem) or meta is None or bool(meta.missing) or age_seconds > STALE_SECONDS,
            missing=[] if meta is None else meta.missing,
            accounts=seen.accounts,
            market_ns=self.market_ns,
        )

    def summary(self) -> Summary:
        """All accounts at a glance."""
        seen = self._seen
        by_status, by_quality, pools = seen.sums
        return Summary(
            state=self._state(seen), by_status=by_status, by_quality=by_quality, pools=pools, calls_open=self.calls_open,
            agreements=len(self.agreements), savings=self._savings, stale=self._stale,
        )  # fmt: skip

    # --- history

    def watch(self, account_id: str, currency: str) -> History:
        """What was seen of an account, which is watched from now on; the one not asked for longest gives way."""
        watched = self._watched.pop(account_id, None) or _Watched(currency)
        self._watched[account_id] = watched
        if len(self._watched) > WATCHED:
            self._watched.popitem(last=False)
        self._add_point(account_id, watched)
        return History(account=account_id, currency=watched.currency, points=list(watched.points))

    def _sample(self) -> None:
        for account_id, watched in self._watched.items():
            self._add_point(account_id, watched)

    def _add_point(self, account_id: str, watched: _Watched) -> None:
        """At most one a second of engine time."""
        found = self.table.point(account_id)
        if found is not None and (not watched.points or found[0] - watched.points[-1].ts_ns >= 10**9):
            ts_ns, equity, initial, maintenance = found
            watched.points.append(Point(ts_ns=ts_ns, equity=equity, initial=initial, maintenance=maintenance))

    # --- WebSockets

    async def serve(self, request: web.Request, is_current: Callable[[], bool]) -> web.WebSocketResponse:
        """Send the table, then what changes, until the page goes or its session ends.

        Text: {"kind": "state", ...}, {"kind": "alerts", "alerts": [...]}, {"kind": "reset"} before all rows of a new table;
        binary: an Arrow IPC stream of rows, keyed by `account`. A page that reads slowly gets fewer and larger updates.
        """
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=4096, compress=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        sender = asyncio.create_task(self._send(socket, is_current))
        try:
            async for message in socket:  # nothing is expected; this notices the end
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            self._sockets.discard(socket)
            sender.cancel()
        return socket

    @property
    def socket_count(self) -> int:
        """Pages that are open."""
        return len(self._sockets)

    @property
    def is_full(self) -> bool:
        """Whether no further socket is taken."""
        return self.socket_count >= MAX_SOCKETS

    async def _send(self, socket: web.WebSocketResponse, is_current: Callable[[], bool]) -> None:
        generation, tick, polled, alerts, stated_at = -1, -1, -1, 0, 0.0
        while not socket.closed:
            async with self._turn:
                await self._turn.wait_for(lambda seen=polled: self._polled != seen)  # type: ignore[misc]
                polled = self._polled
            if not is_current():
                await socket.close(code=LOGGED_OUT, message=b"the session ended")
                return
            held, reached, rows = await asyncio.to_thread(self.table.frame, generation, tick)
            try:
                if held != generation:
                    await socket.send_str(_text("reset"))
                if rows is not None:
                    await socket.send_bytes(rows)
                generation, tick = held, reached
                if new := [alert for number, alert in self._alerts if number > alerts]:
                    alerts = self._alerts_seen
                    await socket.send_str(_text("alerts", alerts=new))
                if rows is not None or time.monotonic() - stated_at >= STATE_SECONDS:
                    stated_at = time.monotonic()
                    await socket.send_str(_text("state", **msgspec.structs.asdict(self.summary())))
            except ConnectionError:
                return


def savings(agreements: Sequence[Row]) -> list[Saving]:
    """What agreements in force save, by currency: legs whose requirement is known."""
    legs: dict[str, list[tuple[str, str, str]]] = {}
    for row in agreements:
        for leg in ("futures", "treasury"):
            alone, after = row[f"{leg}_alone"], row[f"{leg}_after"]
            if row["state"] != AgreementState.NOT_IN_FORCE and alone and after:
                legs.setdefault(row[f"{leg}_currency"], []).append((row["agreement"], alone, after))
    found = []
    for currency, all_legs in sorted(legs.items()):
        names, *amounts = zip(*all_legs, strict=True)
        alone_sum, after_sum = (sum(map(Decimal, texts), Decimal(0)) for texts in amounts)
        sums = {"alone": str(alone_sum), "after": str(after_sum), "saved": str(alone_sum - after_sum)}
        found.append(Saving(currency=currency, agreements=len(set(names)), **sums))
    return found


def _text(kind: str, **more: Any) -> str:
    return _encode({"kind": kind, **more}).decode()

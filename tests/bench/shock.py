"""A shock that flips 30 % of all accounts in one batch: how long until Redis has every flag, and every figure."""

import asyncio
import gc
import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.events import RECORD, Kind
from engine.report import ChangeKind, Report, Status
from monitors.alerts import Alerts, encode_alert
from monitors.keys import Keys
from monitors.redis_sink import RedisSink
from monitors.view import open_client
from streams.outbox import SLICE
from tests.bench.filled import LOG_ID, START_NS, Filled
from tests.bench.result import Figures, Sizes
from tests.bench.services import Services, say
from tests.bench.universe import INSTRUMENTS, MID, TICK_E9, Universe
from tests.bench.web import Named

SHARE: Final = 0.3  # of the accounts that change their status
STEP, MOST = 40, 1200  # ticks
NOTES: Final = [
    "one engine, its sink and Valkey on the same cores; every price moves at once until 30 % of all accounts change their"
    " status in one batch. from its step: status_in_redis_s until Redis' sets of accounts by status are right,"
    " flags_in_redis_s until it acknowledged all alerts of status and calls, while the messages for Kafka are made in slices"
    " as a worker does; then figures and books",
]


def run(sizes: Sizes, services: Services) -> tuple[Figures, list[str]]:
    """Seconds of the first shock that flips SHARE of kernel_accounts."""
    say("shock: filling an engine")
    filled = Filled(Universe(sizes.kernel_accounts, sizes.positions, sizes.seed))
    with open_client(services.redis_url) as client:
        client.flushdb()
    return asyncio.run(_measure(filled, services.redis_url)), NOTES


async def _measure(filled: Filled, url: str) -> Figures:
    accounts = filled.universe.accounts
    engine: Any = Named(filled.engine, accounts)
    slots = np.arange(accounts, dtype=np.int32)
    topic: list[bytes] = []
    sink = RedisSink(url, log_id=LOG_ID.hex(), shards=1, read_alerts=lambda shard, limit: topic[-limit:], max_alerts=1 << 20)
    await sink.start()
    try:
        sink.attach(0, engine)
        await _settled(sink)
        gc.collect()  # as a worker does that has loaded its shards
        gc.freeze()
        say("shock: moving prices")
        ticks = 0
        while True:
            ticks += STEP
            _publish(sink, engine, topic, _move(filled, 0))
            await _settled(sink)
            begun = time.perf_counter()
            report = _move(filled, ticks)
            stepped = time.perf_counter()
            alerts = Alerts(0, engine, report)
            sink.publish(0, engine, report, alerts)
            queued = time.perf_counter()
            shown = asyncio.create_task(asyncio.to_thread(_await_status, url, engine.figures(slots)["status"]))
            for first in range(0, len(alerts), SLICE):  # as the worker's outbox
                topic += [encode_alert(alerts[place]) for place in range(first, min(first + SLICE, len(alerts)))]
                await asyncio.sleep(0)
            while sink.backlog().alerts:
                await asyncio.sleep(0.001)
            flagged = time.perf_counter()
            status_shown = await shown
            await _settled(sink)
            written = time.perf_counter()
            flips = int((report.changes["kind"] == ChangeKind.STATUS).sum())
            if flips >= SHARE * accounts or ticks >= MOST:
                break
    finally:
        await sink.close()
    with open_client(url) as client:
        kept = client.xlen(Keys().alerts)
    return {
        "accounts": accounts, "flips": flips, "alerts": len(alerts), "alerts_kept": kept, "ticks": ticks,
        "step_s": round(stepped - begun, 3), "queued_s": round(queued - stepped, 3),
        "status_in_redis_s": round(status_shown - begun, 3), "flags_in_redis_s": round(flagged - begun, 3),
        "all_written_s": round(written - begun, 3),
    }  # fmt: skip


def _publish(sink: RedisSink, engine: Any, topic: list[bytes], report: Report) -> None:
    """What a worker does after a step."""
    alerts = Alerts(0, engine, report)
    topic += map(encode_alert, alerts)
    sink.publish(0, engine, report, alerts)


def _await_status(url: str, statuses: NDArray[Any]) -> float:
    """Wait until Redis' sets count these statuses; when that was, by the counter of the measurement."""
    keys = Keys()
    wanted = [int(np.count_nonzero(statuses == status)) for status in Status]
    with open_client(url) as client:
        while [client.scard(keys.status(status)) for status in Status] != wanted:
            time.sleep(0.005)
    return time.perf_counter()


async def _settled(sink: RedisSink) -> None:
    assert await sink.drain(60), "Redis did not get everything within a minute"


def _move(filled: Filled, ticks: int) -> Report:
    """All marks so many ticks below the middle for even instruments, above it for odd ones, and a clock."""
    rows = np.zeros(INSTRUMENTS, RECORD)
    signs = np.where(np.arange(INSTRUMENTS) % 2 == 0, -1, 1)
    rows["kind"], rows["ts_ns"], rows["price"] = Kind.PRICE, START_NS, (MID + signs * ticks) * TICK_E9
    rows["instrument"] = filled.universe.instrument_keys
    rows["offset"] = filled.next_offset + np.arange(INSTRUMENTS)
    filled.next_offset += INSTRUMENTS
    (frame,) = filled.batch(rows)
    report: Report = filled.step(frame)
    return report

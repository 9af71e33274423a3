"""A minute without Redis under load, which comes back empty: what the page says, how soon all is there, what went on."""

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Thread
from typing import Any, Final

import msgspec

from engine.events import NS
from streams import kafka
from streams.embedded import RedisServer, embedded_redis, free_port
from streams.processes import Child, answers
from streams.topics import ALERTS
from tests.bench.latency import PROBES, Feed, Feeder, probe_cash, probe_documents
from tests.bench.result import Figures, Sizes, percentiles
from tests.bench.services import Chain, Services, say
from tests.bench.stream_data import opening, reference
from tests.bench.universe import CALM, PARTITIONS, Universe
from tests.bench.worker_metrics import samples
from tests.integration.chain import check_redis, inputs_are_read, replay
from tests.streams.web_server import Client, add_tokens

BEFORE_SECONDS: Final = 15.0
AFTER_SECONDS: Final = 25.0
LOOK_SECONDS: Final = 0.05
ASK_SECONDS: Final = 2.0  # between two looks at the worker's metrics, which cost it some milliseconds each
MS: Final = 10**6
NOTES: Final = [
    "Kafka, sequencer, worker, web server, feeder and Valkey share the machine; Valkey is killed under load, and comes back"
    " empty",
    "page_stale_s: from the kill to the page's first answer that it is stale; page_new_s, accounts_s, alerts_s: from the"
    " return of Valkey until the page is new again, Redis has every account, and every alert of before the return",
    "probe_ms: from the moment a probe was due to its alert's time in margin.alerts, which is in whole milliseconds and"
    " taken as its end; meanwhile: while Valkey was away. lag_frames: most that a shard was behind the log meanwhile",
    "lost, doubled: alerts of margin.alerts that Redis lacks at the end, and those that it has twice. All figures, flags and"
    " alerts in Redis are compared with a replay of the log: a difference ends the benchmark",
]


@dataclass(frozen=True)
class Outage:
    """When Valkey went and came back, and what was seen meanwhile; seconds are as in NOTES."""

    killed_ns: int
    back_ns: int
    page_stale_s: float
    page_new_s: float
    accounts_s: float
    applied: float
    lag_frames: float


def run(sizes: Sizes, services: Services) -> tuple[Figures, list[str]]:
    """One outage of outage_seconds."""
    universe = Universe(sizes.accounts, sizes.positions, sizes.seed, CALM)
    with ExitStack() as stack:
        valkey = stack.enter_context(embedded_redis())
        named: dict[str, Any] = {
            "web_port": free_port(),
            "web_metrics_port": free_port(),
            "web_tokens": str(services.folder / "outage-tokens.jsonl"),
        }
        named |= {"web_requests_per_second": 1000.0, "shards": sizes.shards, "input_partitions": PARTITIONS}
        chain = stack.enter_context(services.chain("outage", valkey.url, **named))
        chain.produce([*reference(universe), *probe_documents()])
        chain.produce([*opening(universe, time.time_ns()), *probe_cash()])
        sequencer, worker = chain.start("sequencer"), chain.start("worker")
        stack.enter_context(Child("web", chain.settings, chain.folder))
        page = Client(f"http://{chain.settings.web_host}:{chain.settings.web_port}", add_tokens(chain.settings))
        accounts = sizes.accounts + PROBES
        chain.until(lambda: answers(chain.settings.web_host, chain.settings.web_port, "/api/health"), "the web server")
        chain.until(lambda: _is_new(page, accounts), "all accounts on the page", sequencer, worker)
        feeder, feed = Feeder(chain, universe, sizes.probes, sizes.linger_ms), Feed()
        seconds = BEFORE_SECONDS + sizes.outage_seconds + AFTER_SECONDS
        feeding = Thread(target=feeder.feed, args=(sizes.outage_rate, seconds, feed))
        say(
            f"outage: {sizes.outage_rate:,} events/s for {seconds:.0f} s, {sizes.outage_seconds:.0f} s of them without Redis"
        )
        feeding.start()
        chain.until(lambda: feed.late_ns, "the first probe")
        time.sleep(BEFORE_SECONDS)
        outage = _outage(chain, valkey, page, accounts, sizes.outage_seconds)
        feeding.join()
        chain.until(lambda: inputs_are_read(chain.settings), "the end of the inputs", sequencer, worker)
        sequencer.stop()
        chain.await_flagged(worker)
        figures = _figures(chain, feed, outage)
        say("outage: replaying the log")
        check_redis(chain.settings, replay(chain.settings))
    sent = {"accounts": accounts, "shards": sizes.shards, "events_per_s": feed.sent / feed.seconds}
    applied = {"applied_per_s_meanwhile": outage.applied / sizes.outage_seconds, "lag_frames": outage.lag_frames}
    return {**sent, **applied, **figures}, NOTES


def _is_new(page: Client, accounts: int) -> bool:
    state = page.get("/api/summary")["state"]
    return not state["stale"] and state["accounts"] == accounts


def _outage(chain: Chain, valkey: RedisServer, page: Client, accounts: int, seconds: float) -> Outage:
    """Kill, wait, start, and look until everything is there."""
    applied = sum(samples(chain, "crossmargin_events_total"))
    chain.until(lambda: _is_new(page, accounts), "a page that is new")
    killed_ns, lag = time.time_ns(), 0.0
    valkey.kill()
    chain.until(lambda: page.get("/api/summary")["state"]["stale"], "a page that is stale")
    page_stale_s = (time.time_ns() - killed_ns) / NS
    while time.time_ns() < killed_ns + seconds * NS:
        assert page.get("/api/summary")["state"]["stale"], "the page is not stale without Redis"
        lag = max(lag, *samples(chain, "crossmargin_log_lag_records"))
        time.sleep(ASK_SECONDS)
    applied = sum(samples(chain, "crossmargin_events_total")) - applied
    valkey.start()
    back_ns, accounts_s = time.time_ns(), 0.0
    while (state := page.get("/api/summary")["state"])["stale"] or not accounts_s:
        if not accounts_s and chain.redis.zcard(chain.keys.by_excess) == accounts:
            accounts_s = (time.time_ns() - back_ns) / NS
        time.sleep(LOOK_SECONDS)
    page_new_s = (time.time_ns() - back_ns) / NS
    assert state["accounts"] == accounts, "the page is incomplete, and not stale"
    return Outage(killed_ns, back_ns, page_stale_s, page_new_s, accounts_s, applied, lag)


def _figures(chain: Chain, feed: Feed, outage: Outage) -> Figures:
    """Times, latencies before, during and after the outage, and what is missing or there twice."""
    said: dict[str, int] = {}  # by alert: its time in the topic in ms
    probes: dict[str, list[int]] = defaultdict(list)  # by account: the end of that millisecond of each flag
    for shard in range(chain.settings.shards):
        for message in kafka.read_partition(chain.settings, ALERTS, shard):
            alert, at_ms = msgspec.json.decode(message.value() or b""), message.timestamp()[1]
            if alert["id"] not in said and alert["kind"] == "status" and alert["account"].startswith("P"):
                probes[alert["account"]].append((at_ms + 1) * MS)
            said.setdefault(alert["id"], at_ms)
    window: Any = chain.redis.xrange(chain.keys.alerts)
    shown = {fields["id"]: int(entry.partition("-")[0]) for entry, fields in window}
    late_ms = [shown[name] - outage.back_ns // MS for name, at_ms in said.items() if at_ms < outage.back_ns // MS]
    found: dict[str, list[float]] = {"before": [], "meanwhile": [], "after": []}
    missed = 0
    for account, due_ns in feed.due_ns.items():
        missed += abs(len(due_ns) - len(probes[account]))
        for due, at in zip(due_ns, probes[account], strict=False):
            name = "before" if due < outage.killed_ns else "meanwhile" if due < outage.back_ns else "after"
            found[name].append((at - due) / MS)
    return {
        "page_stale_s": outage.page_stale_s, "page_new_s": outage.page_new_s, "accounts_s": outage.accounts_s,
        "alerts_s": max(late_ms) / 1000, "probe_ms": {name: percentiles(values) for name, values in found.items()},
        "probes": sum(map(len, found.values())), "missed": missed, "alerts": len(said),
        "lost": len(said.keys() - shown.keys()), "doubled": len(window) - len(shown),
    }  # fmt: skip

"""The same shock on the whole chain while events flow: when Redis, page and metrics have it, and what others wait."""

import http.client
import re
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final

import msgspec

from engine.report import Status
from monitors.view import open_client
from streams.embedded import LOOPBACK, free_port
from streams.processes import Child
from streams.web_access import TokenFile
from tests.bench.latency import Feed, Feeder, matched, probe_cash, probe_documents, settle, status_alerts
from tests.bench.result import Figures, Sizes, numbers, percentiles
from tests.bench.services import Chain, Services, say
from tests.bench.stream_data import opening, reference
from tests.bench.universe import INSTRUMENTS, MID, PARTITIONS, TICK, Universe, instrument_id

TICKS: Final = 520  # what every price moves at once: 31 % of the accounts change their status
WARM_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.25  # as a page polls, and oftener than Prometheus scrapes
LAST_LOOK_SECONDS: Final = 1.0  # after the feed: readers see the end too
THERE: Final = 0.99  # of what a reader shows in the end: trades go on and flip some accounts more
NOTES: Final = [
    "every price moves in one message while trades flow at the first of --rates; kernel_accounts accounts in --shards shards"
    " of one worker; feeder, broker, sequencer, worker, Valkey, web server and its reader share the machine",
    "from the send of the prices: status_s, page_s and metrics_s until Redis' sets, the page's API and the worker's"
    " /metrics count 99 % of the accounts that are not OK in the end; redis_s to Redis' own time of the last status alert of"
    " the shock's clocks, which has its account's call beside it",
    "probe_ms: as in latency, before the shock, and over the seconds of which it is the middle",
]


def run(sizes: Sizes, services: Services) -> tuple[Figures, list[str]]:
    """Seconds until all readers have the shock, and percentiles of probes without and with it."""
    universe, rate = Universe(sizes.kernel_accounts, sizes.positions, sizes.seed), numbers(sizes.rates)[0]
    tokens = services.folder / "shock-tokens"
    token = TokenFile(tokens).add("bench", "viewer")
    web = {
        "web_port": free_port(),
        "web_metrics_port": free_port(),
        "web_tokens": str(tokens),
        "web_requests_per_second": 1e5,
    }
    with services.chain("shock", shards=sizes.shards, input_partitions=PARTITIONS, **web) as chain:
        chain.produce([*reference(universe), *probe_documents()])
        day = chain.produce([*opening(universe, time.time_ns()), *probe_cash()])
        sequencer, worker = chain.start("sequencer"), chain.start("worker")
        chain.await_sequenced(day, sequencer, worker)
        chain.await_flagged(worker)
        with Child("web", chain.settings, chain.folder):
            chain.until(lambda: _answers(chain, token), "the page")
            feeder = Feeder(chain, universe, sizes.probes, sizes.linger_ms, prices=0.0)
            feeder.feed(rate, WARM_SECONDS, Feed())
            settle(chain, sequencer, worker)
            say(f"shock: {rate:,} events/s for {sizes.seconds:.0f} s")
            before, _ = _fed(chain, feeder, rate, sizes.seconds, sequencer, worker)
            say("shock: the same with the shock in the middle")
            readers = {
                "status_s": Reader(lambda: _status(chain)),
                "page_s": Reader(lambda: _page(chain, token)),
                "metrics_s": Reader(lambda: _metrics(chain)),
            }
            send = Thread(target=_shock, args=(feeder, sizes.seconds / 2, sent := list[int]()))
            for thread in (*readers.values(), send):
                thread.start()
            around, alerts = _fed(chain, feeder, rate, sizes.seconds, sequencer, worker)
            time.sleep(LAST_LOOK_SECONDS)
            followed = {name: reader.end(sent[0]) for name, reader in readers.items()}
            send.join()
    flips, seconds = _flips(alerts, sent[0])
    return {
        "accounts": sizes.kernel_accounts, "rate": rate, "flips": flips, "redis_s": seconds, **followed,
        "probe_ms_before": percentiles(before), "probe_ms_around": percentiles(around),
    }, NOTES  # fmt: skip


def _fed(chain: Chain, feeder: Feeder, rate: int, seconds: float, *children: Child) -> tuple[list[float], Any]:
    """Milliseconds of the probes, and all alerts meanwhile."""
    last_id = (chain.redis.xrevrange(chain.keys.alerts, count=1) or [("-", {})])[0][0]
    feed = Feed()
    feeder.feed(rate, seconds, feed)
    settle(chain, *children)
    after = "-" if last_id == "-" else f"({last_id}"
    milliseconds, _ = matched(feed, status_alerts(chain, after)[0])
    return milliseconds, chain.redis.xrange(chain.keys.alerts, after)


def _shock(feeder: Feeder, delay_seconds: float, sent: list[int]) -> None:
    """After a while, every price at once: below the middle for even instruments, above it for odd ones."""
    time.sleep(delay_seconds)
    moved = [(number, MID + (-TICKS if number % 2 == 0 else TICKS)) for number in range(INSTRUMENTS)]
    now_ns = time.time_ns()
    events = [{"ts": now_ns, "instrument": instrument_id(number), "price": ticks * TICK} for number, ticks in moved]
    sent.append(now_ns)
    feeder.send("prices", 0, msgspec.json.encode(events))


def _flips(alerts: Any, sent_ns: int) -> tuple[int, float]:
    """How many status alerts came of the shock's clocks, and seconds from it to Redis' time of the last of them.

    Its clocks: those in which a hundredth and more of all alerts since the shock lie; trades flip few.
    """
    found = [(int(key.split("-")[0]), int(row["ts_ns"])) for key, row in alerts if row["kind"] == "status"]
    since = [(at_ms, ts_ns) for at_ms, ts_ns in found if at_ms * 1_000_000 >= sent_ns]
    clocks: dict[int, list[int]] = {}
    for at_ms, ts_ns in since:
        clocks.setdefault(ts_ns, []).append(at_ms)
    of_shock = [at_ms for group in clocks.values() if len(group) * 100 >= len(since) for at_ms in group]
    return len(of_shock), (max(of_shock) + 1) / 1e3 - sent_ns / 1e9


class Reader(Thread):
    """Asks again and again how many accounts are not OK, as a page or Prometheus would."""

    def __init__(self, ask: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self._ask, self._seen, self._ended = ask, list[tuple[int, int]](), Event()

    def run(self) -> None:
        """Ask until the end."""
        while not self._ended.wait(LOOK_SECONDS):
            count = self._ask()
            self._seen.append((time.time_ns(), count))

    def end(self, since_ns: int) -> float:
        """Seconds from then to the first answer that has nearly what the last one has."""
        self._ended.set()
        self.join()
        final = self._seen[-1][1]
        return next(at_ns - since_ns for at_ns, count in self._seen if at_ns > since_ns and count >= THERE * final) / 1e9


def _status(chain: Chain) -> int:
    """Accounts that are not OK, as of Redis' sets."""
    with open_client(chain.settings.redis_url) as client:
        return sum(client.scard(chain.keys.status(status)) for status in Status if status is not Status.OK)


def _get(port: int, path: str, headers: dict[str, str]) -> bytes:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().read()
    finally:
        connection.close()


def _answers(chain: Chain, token: str) -> bool:
    try:
        return _page(chain, token) >= 0
    except OSError:
        return False


def _page(chain: Chain, token: str) -> int:
    answer = _get(chain.settings.web_port, "/api/summary", {"Authorization": f"Bearer {token}"})
    return sum(count for status, count in msgspec.json.decode(answer)["by_status"].items() if status != Status.OK.name)


def _metrics(chain: Chain) -> int:
    text = _get(chain.settings.metrics_port, "/metrics", {}).decode()
    found = re.findall(r'^crossmargin_accounts\{status="(\w+)"\} (\S+)', text, re.M)
    return round(sum(float(count) for status, count in found if status != Status.OK.name))

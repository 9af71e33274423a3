"""Outages of a chain of real processes: Redis away and wiped, no prices, nothing at all: said at once, over by itself."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, Final

import msgspec
import pytest
from confluent_kafka import Producer

from engine.documents import Action
from engine.events import TOPIC_OF, Kind
from streams import kafka
from streams.embedded import LOOPBACK, RedisServer, embedded_redis, free_port
from streams.processes import Child, answers, ready
from streams.settings import Settings
from streams.topics import LOG
from streams.web_live import STALE_SECONDS
from tests.integration import chain
from tests.integration.prometheus import Prometheus, prometheus
from tests.services import delete_topics, require_redis, wait_until
from tests.streams.web_server import Client, add_tokens

pytestmark = pytest.mark.services
START_SECONDS: Final = 300.0  # kernels may have to be compiled
OUTAGE_SECONDS: Final = 8.0  # without Redis: longer than the page's limit
LIMIT_SECONDS: Final = 3.0  # stale_after of every instrument
LATE_SECONDS: Final = 2.0  # from a limit passed to what the page shows
BACK_SECONDS: Final = 10.0  # from Redis' return to a page that is well: a worker tries again every 2 s at least
FASTER: Final = 20  # alerts look back and wait for so small a part of what their rules say
EVENTS: Final = 20  # a turn
TURN_SECONDS: Final = 0.05
CALLED: Final = ("a0", "a1", "a2")  # accounts that owe so much that they are in call, whatever comes


class Feed(Thread):
    """Sends a steady load while it is on; without prices where they are off."""

    def __init__(self, desk: chain.Desk) -> None:
        super().__init__(name="feed")
        self._desk, self._ended = desk, Event()
        self.on = self.prices = True

    def run(self) -> None:
        while not self._ended.wait(TURN_SECONDS):
            if self.on:
                self._desk.events(EVENTS, self.prices)

    def end(self) -> None:
        """Send no more, and wait until Kafka has everything."""
        self._ended.set()
        self.join()
        self._desk.flush()


@dataclass
class Running:
    """A chain of processes under load, and who looks at it."""

    settings: Settings
    valkey: RedisServer
    desk: chain.Desk
    feed: Feed
    page: Client
    server: Prometheus
    start: Callable[[str], Child]
    processes: dict[str, Child]

    def summary(self) -> Any:
        """What the page says of all accounts."""
        chain.alive(*self.processes.values())
        return self.page.get("/api/summary")

    def is_well(self) -> bool:
        """Whether all accounts are there and new."""
        found = self.summary()
        return not found["state"]["stale"] and found["by_quality"].get("FRESH", 0) == chain.ACCOUNTS

    def figure(self, expression: str) -> float:
        """The number that Prometheus has last scraped, or worked out."""
        samples = self.server.query(expression)
        return float(samples[0]["value"][1]) if samples else 0.0

    def acknowledge(self, call_id: str, text: str) -> tuple[int, Any, Mapping[str, str]]:
        """What the page answers to an operator: status, body, headers."""
        return self.page.ask("POST", f"/api/calls/{call_id}/actions", {"kind": "ack", "text": text}, role="operator")


@pytest.fixture(scope="module")
def running(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    require_redis()
    delete_topics(kafka)
    folder = tmp_path_factory.mktemp("outages")
    with ExitStack() as stack:
        valkey = stack.enter_context(embedded_redis())
        settings = Settings(
            kafka=kafka,
            redis_url=valkey.url,
            shards=2,
            input_partitions=2,
            snapshots=str(folder / "snapshots"),
            metrics_port=free_port(),
            sequencer_metrics_port=free_port(),
            web_port=free_port(),
            web_metrics_port=free_port(),
            web_tokens=str(folder / "tokens.jsonl"),
            web_requests_per_second=1000,
        )
        page = Client(f"http://{settings.web_host}:{settings.web_port}", add_tokens(settings))
        processes: dict[str, Child] = {}

        def start(verb: str) -> Child:
            processes[verb] = stack.enter_context(Child(verb, settings, folder))
            return processes[verb]

        for verb in ("sequencer", "worker", "web"):
            start(verb)
        ports = {
            "sequencer": settings.sequencer_metrics_port,
            "worker": settings.metrics_port,
            "web": settings.web_metrics_port,
        }
        targets = {job: [f"{LOOPBACK}:{port}"] for job, port in ports.items()}
        nobody = f"{LOOPBACK}:{free_port()}"
        server = stack.enter_context(prometheus(folder, targets, nobody, FASTER))
        desk = chain.Desk(settings, seed=11)
        port = settings.sequencer_metrics_port
        wait_until(lambda: chain.alive(*processes.values()) and not ready(LOOPBACK, port), START_SECONDS, "the sequencer")
        limited = [{**one, "stale_after": LIMIT_SECONDS} if one["kind"] == "instrument" else one for one in chain.DOCUMENTS]
        desk.define(limited)
        for account in CALLED:
            desk.collateral(account, -2_000_000)
        feed = Feed(desk)
        found = Running(settings, valkey, desk, feed, page, server, start, processes)
        wait_until(lambda: answers(settings.web_host, settings.web_port, "/api/health"), 30, "the web server")
        stack.callback(feed.end)
        feed.start()
        wait_until(found.is_well, START_SECONDS, "every account on the page")
        yield found


def alerting(running: Running, *names: str) -> bool:
    """Whether all these alerts fire."""
    return set(names) <= running.server.firing()


def stale_accounts(running: Running) -> int:
    found: int = running.summary()["by_quality"].get("STALE", 0)
    return found


def await_stale(running: Running) -> float:
    """Wait until most accounts are STALE; seconds until the first one was."""
    begun = time.monotonic()
    wait_until(lambda: stale_accounts(running) > 0, LIMIT_SECONDS + LATE_SECONDS, "the first STALE account")
    first = time.monotonic() - begun
    left = max(0.0, LIMIT_SECONDS + LATE_SECONDS - first)
    wait_until(lambda: stale_accounts(running) > 0.9 * chain.ACCOUNTS, left, "all accounts that hold something")
    return first


def test_a_price_feed_that_stops_is_said_while_trades_go_on(running: Running) -> None:
    wait_until(running.is_well, START_SECONDS, "new prices")
    wait_until(lambda: running.figure('crossmargin:accounts_quality:ratio{quality="FRESH"}') == 1, 10, "the metrics")
    assert not running.server.firing() & {"PriceFeedStopped", "AccountsStale"}
    trades = running.figure('sum(crossmargin_events_total{kind="trade"})')
    running.feed.prices = False
    assert await_stale(running) > LIMIT_SECONDS / 2
    assert not running.summary()["state"]["stale"], "the clock goes on"
    wait_until(lambda: alerting(running, "PriceFeedStopped", "AccountsStale"), 15, "both alerts")
    assert running.figure('crossmargin:accounts_quality:ratio{quality="STALE"}') > 0.9
    assert running.figure("max(crossmargin_price_age_seconds_max)") > LIMIT_SECONDS
    assert running.figure('sum(crossmargin_events_total{kind="trade"})') > trades
    running.feed.prices = True
    wait_until(running.is_well, LATE_SECONDS, "new prices")
    wait_until(lambda: not running.server.firing() & {"PriceFeedStopped", "AccountsStale"}, 5, "the end of the alerts")


def test_a_stop_of_everything_is_said(running: Running) -> None:
    """Without any event time goes on, and prices grow old; without the sequencer time itself stands still."""
    wait_until(running.is_well, START_SECONDS, "new prices")
    running.feed.on = False
    await_stale(running)
    assert not running.summary()["state"]["stale"], "the clock goes on"
    assert running.processes.pop("sequencer").stop() == 0
    begun = time.monotonic()
    wait_until(lambda: running.summary()["state"]["stale"], STALE_SECONDS + LATE_SECONDS, "a page that says so")
    assert time.monotonic() - begun > STALE_SECONDS / 2
    wait_until(lambda: alerting(running, "ClockStopped", "ProcessDown"), 10, "both alerts")
    running.start("sequencer")
    running.feed.on = True
    wait_until(running.is_well, 30, "a page that is well again")


def test_redis_away_and_wiped_leaves_no_trace(running: Running) -> None:
    wait_until(running.is_well, START_SECONDS, "a page that is well")
    calls = [running.page.get(f"/api/calls?account={account}")["calls"][0]["id"] for account in CALLED]
    applied = running.figure("sum(crossmargin_events_total)")
    assert running.acknowledge(calls[0], "before")[0] == 200
    running.valkey.kill()
    says = without_redis(running, calls)
    assert alerting(running, "SinkDisconnected")
    assert running.figure("sum(crossmargin_events_total)") > applied + EVENTS * OUTAGE_SECONDS
    running.valkey.start()
    back = time.monotonic()
    while (found := running.summary()["state"])["stale"]:
        assert time.monotonic() - back < BACK_SECONDS
        time.sleep(0.02)
    took = time.monotonic() - back
    assert found["accounts"] == chain.ACCOUNTS, "what is incomplete is stale"
    assert running.acknowledge(calls[1], "after")[0] == 200
    settle(running)
    check(running, calls)
    print(f"stale after {says:.2f} s, new again {took:.2f} s after Redis was back")


def without_redis(running: Running, calls: list[str]) -> float:
    """What the page answers meanwhile, and an acknowledgement by another way; seconds until the page said stale."""
    begun = time.monotonic()
    wait_until(lambda: running.summary()["state"]["stale"], STALE_SECONDS, "a page that says so")
    took = time.monotonic() - begun
    status, answer, headers = running.acknowledge(calls[1], "meanwhile")
    assert (status, headers["retry-after"]) == (503, "1")
    assert answer["error"].startswith("Redis does not answer: ")
    action = Action(
        id="by-topic", ts=time.time_ns(), user="bob", kind="ack", account=CALLED[2], call=calls[2], text="meanwhile"
    )
    out = kafka.Delivery(Producer(kafka.producer_config(running.settings)))
    out.send(TOPIC_OF[Kind.ACTION], 0, msgspec.json.encode(action), action.account.encode())
    assert out.wait(10)
    while time.monotonic() - begun < OUTAGE_SECONDS:
        state = running.summary()["state"]
        assert (state["connected"], state["stale"]) == (False, True)
        assert running.page.get("/api/health")["redis"] == "Redis does not answer"
        assert running.page.ask("GET", "/api/calls")[0] == 503
        time.sleep(0.1)
    return took


def settle(running: Running) -> None:
    """End the load and the sequencer, and let Redis come to the log's end."""
    running.feed.end()
    wait_until(lambda: chain.inputs_are_read(running.settings), 30, "the end of the inputs")
    assert running.processes.pop("sequencer").stop() == 0
    ends = [stop for _, stop in kafka.log_range(running.settings, LOG).values()]
    wait_until(lambda: chain.redis_offsets(running.settings) == ends, 30, "the log's end in Redis")


def check(running: Running, calls: list[str]) -> None:
    """Redis and page say what the log makes of all that was sent; each alert and each word is there once."""
    settings, page = running.settings, running.page
    replayed = chain.replay(settings)
    chain.check_inputs_applied_once(replayed, running.desk.expected)
    chain.check_verdicts(settings, replayed, running.desk.expected)
    chain.check_alerts(settings, replayed)
    chain.check_redis(settings, replayed)
    chain.check_calls(settings, replayed)
    words = [[(note["user"], note["text"]) for note in page.get(f"/api/calls/{call}")["notes"]] for call in calls]
    assert words == [[("the operator", "before")], [("the operator", "after")], [("bob", "meanwhile")]]
    by_status = Counter[str]()
    for engine in replayed.engines:
        by_status.update(engine.population().by_status)
    expected = +by_status, sum(len(engine.open_calls()) for engine in replayed.engines)

    def shown() -> tuple[Counter[str], int]:
        found = page.get("/api/summary")
        return +Counter(found["by_status"]), found["calls_open"]

    wait_until(lambda: shown() == expected, LATE_SECONDS, "the page")

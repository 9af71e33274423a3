"""The real Prometheus scrapes engines at work: every query of every dashboard has data, every rule works, alerts arrive."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from engine.events import KINDS, NS
from engine.frames import decode_frame
from engine.limits import Limits
from engine.report import TOP
from monitors.collector import Counters, Histogram, WorkerCollector
from monitors.metrics import TABLE
from monitors.notices import Route
from monitors.outlook import Outlook
from monitors.redis_sink import Backlog
from streams.embedded import LOOPBACK, free_port
from streams.files import EXAMPLE, open_sources
from streams.generate import Generator
from streams.health import HealthServer
from streams.in_process import Replay
from streams.load import in_order
from streams.market import Shock, excerpt_ticks
from streams.notifier_figures import Figures as NotifierFigures
from streams.sequencer import Figures
from streams.sources import Item
from streams.topics import INPUTS
from streams.web_figures import Figures as WebFigures
from tests.deploy.test_dashboards import queries
from tests.integration.prometheus import Prometheus, alertmanager, answer, prometheus
from tests.monitors.test_metrics_scale import MOST_SERIES
from tests.services import wait_until

ACCOUNTS: Final = 300
START_NS: Final = 1_800_000_000 * NS
RATE_INTERVAL: Final = "10s"
WAIT_SECONDS: Final = 60.0


class Sink:
    """A sink that has written everything."""

    connected = True
    resynchronizations = 1

    def backlog(self) -> Backlog:
        return Backlog(alerts=0, accounts=0)


class Page:
    """What the live table and the sessions of a web server say that works; web_figures asks them no more than this."""

    problem, read_at = "", 0.0
    socket_count, session_count, age_seconds = 2, 3, 0.3

    def __init__(self) -> None:
        self.poll_seconds = Histogram(TABLE["crossmargin_web_poll_seconds"].bounds)


class World(Replay):
    """A sequencer core and two engines in a shock, with what their processes show; turn() goes on a bit."""

    def __init__(self) -> None:
        self.counters, self.sequencer = Counters(), Figures()
        self.notifier = NotifierFigures({"desk": Route(url="", calls=("*",)), "quality": Route(url="", qualities=("*",))})
        self.page = Page()
        self.web = WebFigures(self.page, self.page)
        super().__init__(2, 1024, Limits(accounts=4096, positions=1 << 14, ids=1 << 16))
        self.sequencer.active, self.sequencer.lag = True, dict.fromkeys(INPUTS, 3)
        generator = Generator(1, ACCOUNTS, excerpt_ticks(START_NS, 40), lambda first_ns: Shock(first_ns + 2 * NS))
        documents = in_order([item for source in open_sources(EXAMPLE) for item in source])
        self.run([*documents, *generator.opening()])
        self._live = generator.live()
        self.run(islice(self._live, 12_000))
        self.run([self._statement()])
        self.outlooks = [Outlook(one.offset, one.warnings(), one.reconciliation()) for one in self.shards.engines]
        self.worker = WorkerCollector(
            lambda: dict(enumerate(self.shards.engines)),
            self.counters,
            Sink(),
            outlooks=lambda: self.outlooks,
            lag_frames=lambda: {0: 0, 1: 2},
            snapshot_ages_seconds=lambda: {0: 4.0, 1: 9.0},
            build={"version": "1.2.3", "python": "3.11.0"},
            now=lambda: self.shards.engines[0].clock_ns + NS // 10,
        )

    def _statement(self) -> Item:
        """Of more dollars than an account of the first shard holds."""
        ts_ns, account = self.shards.engines[0].clock_ns, self.shards.engines[0].account_ids[0]
        said = {"id": "s-1", "ts": ts_ns, "holder": "bank", "account": account, "asset": "USD", "qty": 10**9}
        return ts_ns, "statements", account, msgspec.json.encode(said)

    def turn(self) -> None:
        """Some more events."""
        self.run(islice(self._live, 20))

    def _take(self, frames: list[tuple[int, bytes]]) -> None:
        for shard, frame in frames:
            engine, begun = self.shards.engines[shard], time.perf_counter()
            report = engine.step(decode_frame(frame), engine.offset)
            self.counters.add(report, time.perf_counter() - begun)
        self.counters.event_to_flag_seconds.observe(0.01)
        self.sequencer.accepted += [1] * KINDS
        self.sequencer.batches += 1
        self.sequencer.batch_seconds.observe(0.001)
        for tally in self.notifier.tallies.values():
            tally.delivered(time.time_ns() - NS)
        self.page.poll_seconds.observe(0.002)
        self.web.answered(200)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def servers(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, str]]:
    """Prometheus and the address of Alertmanager, with the world's processes as targets."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        processes = {"worker": world.worker, "sequencer": world.sequencer, "notifier": world.notifier, "web": world.web}
        targets = {job: [stack.enter_context(serving(collector))] for job, collector in processes.items()}
        address = stack.enter_context(alertmanager(folder))
        yield stack.enter_context(prometheus(folder, targets, address)), address


@contextmanager
def serving(collector: Collector) -> Iterator[str]:
    """The address of a server of a collector's metrics."""
    registry, port = CollectorRegistry(), free_port()
    registry.register(collector)
    with HealthServer(LOOPBACK, port, registry, lambda: ""):
        yield f"{LOOPBACK}:{port}"


@pytest.mark.services
def test_every_query_of_every_dashboard_has_data(world: World, servers: tuple[Prometheus, str]) -> None:
    server, _ = servers
    waiting = {query: query.replace("$__rate_interval", RATE_INTERVAL) for query in queries()}
    assert len(waiting) > 40

    def have_data() -> bool:
        world.turn()
        for query in [query for query, asked in waiting.items() if server.query(asked)]:
            del waiting[query]
        return not waiting

    try:
        wait_until(have_data, WAIT_SECONDS)
    except AssertionError:
        pytest.fail(f"no data for {sorted(waiting)}")

    def figure(expression: str) -> float:
        [sample] = server.query(expression)
        return float(sample["value"][1])

    samples = server.query("sum by (status) (crossmargin_accounts)")
    counted = {sample["metric"]["status"]: int(sample["value"][1]) for sample in samples}
    assert sum(counted.values()) == ACCOUNTS
    assert counted["CALL"] > 10
    assert len(server.query("crossmargin_top_deficit_usd")) == TOP
    calls = "sum(crossmargin_margin_calls_open)", "sum(crossmargin_margin_calls_by_age)"
    assert figure(calls[0]) == figure(calls[1]) > 10
    for name in ("stress_accounts", "stress_call_usd", "call_forecast_usd", "liquidity_due_usd"):
        assert figure(f"sum(crossmargin_{name})") > 0, name
    assert figure("sum(crossmargin_reconciliation_breaks)") == 1
    assert figure("sum(crossmargin_volatility_regime)") == 1, "the example has a rule with a regime"
    assert figure("sum(crossmargin_stale_instruments)") == 0


@pytest.mark.services
def test_the_example_has_few_series(servers: tuple[Prometheus, str]) -> None:
    server, _ = servers
    for job in ("worker", "sequencer", "notifier", "web"):
        [sample] = server.query(f'count({{job="{job}"}})')
        assert int(sample["value"][1]) < MOST_SERIES


@pytest.mark.services
def test_every_rule_works_and_alerts_arrive(servers: tuple[Prometheus, str]) -> None:
    server, address = servers
    wait_until(lambda: all(rule["health"] == "ok" for rule in server.rules()), 30, "the rules' health")
    rules = {rule["name"]: rule for rule in server.rules()}
    firing = {name for name, rule in rules.items() if rule.get("state") == "firing"}
    assert "Watchdog" in firing
    quiet = "ProcessDown ClockStopped NoActiveSequencer SinkDisconnected SnapshotOld NotifierDown NoticesDead"
    assert not firing & {*quiet.split(), "WebDown", "WebBehind", "InstrumentStale"}

    def debit() -> str:
        return next(rule["state"] for rule in server.rules() if rule["name"] == "AccountsInDebit")

    wait_until(lambda: debit() in ("pending", "firing"), 30, "the accounts that the shock brings below zero")

    def receivers() -> dict[str, str]:
        arrived = answer(f"http://{address}/api/v2/alerts") or []
        return {alert["labels"]["alertname"]: alert["receivers"][0]["name"] for alert in arrived}

    wait_until(lambda: "Watchdog" in receivers(), 30, "the alert at Alertmanager")
    assert receivers()["Watchdog"] == "heartbeat"

"""The demo: the whole chain on embedded services, with generated customers, real crypto ticks and a shock within a minute.

Child processes, a sequencer and a worker, do the work exactly as they would on real Kafka and Redis, and a web server shows
the page; this process is the desk's feed and its screen. All that was started ends with it, whatever happens.
"""

import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from types import FrameType
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.live import Live

from engine.events import NS
from engine.limits import Limits
from streams import kafka
from streams.customers import Customers
from streams.embedded import LOOPBACK, embedded_kafka, embedded_redis, free_port, port_near
from streams.generate import Generator
from streams.holders import Holders
from streams.load import Publisher
from streams.market import Shock, daily_yields, excerpt, excerpt_ticks
from streams.population import due_soon, example
from streams.processes import Child, ChildEnded, answers, ready
from streams.screen import SYNTHETIC, Buckets, Figures, Scene, Watch, flag_text, line, percentile_ms, render, summary_table
from streams.settings import CONFIG_VARIABLE, FILE_NAME, Settings, UserError, toml
from streams.sources import Item
from streams.topics import ALERTS, INPUTS, LOG, REJECTS
from streams.web_access import TokenFile

SHARDS: Final = 4
SNAPSHOTS_KEPT: Final = 24  # of a shard: changes of the last four minutes can be explained, though the mock drops its log
SHOCK_SECONDS: Final = 2.0  # after the first tick
DUE_SECONDS: Final = 40.0  # after it, at the next whole minute, calls are due
AHEAD_BYTES: Final = 1 << 20  # at most so much is sent that is not processed yet: the mock keeps 5 MiB a partition
OPENING: Final = (frozenset(INPUTS) - {"positions"}, frozenset({"positions"}))  # collateral first, or all start in CALL
READY_SECONDS: Final = 600.0
DRAIN_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 15.0  # a part that hangs may go on; a process that fails no longer answers while it ends
LOOK_SECONDS: Final = 0.5
USER: Final = "demo"  # whose token for the page is
LINE_SECONDS: Final = 3.0
WINDOW_LOOKS: Final = 20  # rate and latency shown are those of the last 10 s
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; seconds None: until Ctrl-C."""

    seconds: float | None = None
    accounts: int = 2000
    seed: int = 1
    json: bool = False


def run(options: Options) -> dict[str, Any]:
    """Run the demo and return its summary. Raises UserError when a part fails, KeyboardInterrupt when ended too early."""
    began = time.monotonic()
    console = Console(stderr=options.json, highlight=False, soft_wrap=True)
    folder = Path(mkdtemp(prefix="crossmargin-demo-"))
    with ExitStack() as stack:
        interrupts = stack.enter_context(_interrupts())
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        chain = Chain(options, console, folder, began, stack)
        try:
            chain.start()
            chain.load()
            interrupts.held = True  # from here on an interrupt is the end of the play, and disturbs no call of a library
            chain.play(interrupts)
            return chain.finish()
        except ChildEnded as error:
            for text in error.last_lines:
                print(text, file=sys.stderr)
            raise


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP: the first one raises KeyboardInterrupt unless it is held; later ones disturb nothing."""

    def __init__(self) -> None:
        self.came = False
        self.held = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        came, self.came = self.came, True
        if not came and not self.held:
            raise KeyboardInterrupt


@contextmanager
def _interrupts() -> Iterator[Interrupts]:
    """Take the signals, and give them back at the end."""
    interrupts = Interrupts()
    before = {number: signal.signal(number, interrupts) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield interrupts
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class Chain:
    """Services, processes and feed of one demo. began: monotonic seconds at its start."""

    def __init__(self, options: Options, console: Console, folder: Path, began: float, stack: ExitStack) -> None:
        self.options, self.console, self.folder, self.began, self._stack = options, console, folder, began, stack
        self.first_flag_seconds: float | None = None
        self.web: Child | None = None
        self.page_url = ""  # with a token for one login, once it answers
        self._before: Figures | None = None  # at the first tick
        self._tick_seconds = 0.0

    def start(self) -> None:
        """Start services and processes, and wait until the worker has its shards."""
        self._say("starting Kafka (embedded) and Valkey")
        redis = self._stack.enter_context(embedded_redis())
        accounts = max(4096, self.options.accounts)
        self.settings = Settings(
            kafka=self._stack.enter_context(embedded_kafka()),
            redis_url=redis.url,
            shards=SHARDS,
            snapshots=str(self.folder / "snapshots"),
            snapshots_kept=SNAPSHOTS_KEPT,
            metrics_port=free_port(),
            sequencer_metrics_port=free_port(),
            web_metrics_port=free_port(),
            web_port=port_near(Settings().web_port),
            web_tokens=str(self.folder / "web-tokens.jsonl"),
            mock_kafka=True,
            limits=Limits(accounts=accounts, positions=8 * accounts, ids=1 << 18),
        )
        self._say("starting a sequencer and a Faust worker; the very first start compiles the kernels for about a minute")
        self.sequencer = self._stack.enter_context(Child("sequencer", self.settings, self.folder))
        self.worker = self._stack.enter_context(Child("worker", self.settings, self.folder))
        excerpt(), daily_yields()  # read while the others start
        ports = {"worker": self.settings.metrics_port, "sequencer": self.settings.sequencer_metrics_port}
        metrics = {name: (LOOPBACK, port) for name, port in ports.items()}
        watch = Watch(self.settings.redis_url, self.settings.redis_prefix, metrics)
        self._stack.callback(watch.close)
        self.watch = watch
        self._await_worker()
        beside = self.folder / FILE_NAME
        beside.write_text(toml(self.settings), "utf-8")
        self._say(f"the worker is ready; figures for Prometheus: {self.metrics_url}")
        self._say(f"other verbs beside it, such as crossmargin status, with {CONFIG_VARIABLE}={beside}")

    @property
    def metrics_url(self) -> str:
        """Where the worker's metrics are."""
        return f"http://{LOOPBACK}:{self.settings.metrics_port}/metrics"

    def _await_worker(self) -> None:
        end, said = time.monotonic() + READY_SECONDS, time.monotonic()
        while reason := ready(LOOPBACK, self.settings.metrics_port):
            self._check()
            if time.monotonic() > end:
                raise UserError(f"the worker is not ready after {READY_SECONDS:.0f} s: {reason}")
            if time.monotonic() - said > LINE_SECONDS:
                said = time.monotonic()
                self._say(f"preparing the worker ({reason})")
            time.sleep(0.05)

    def load(self) -> None:
        """Send reference documents, customers, positions, collateral, opening prices, statements; wait until all are in."""
        self.feed = Feed(self.settings, self._done, self._check)

        def shock(first_ns: int) -> Shock:
            return Shock(first_ns + round(SHOCK_SECONDS * NS))

        ticks = excerpt_ticks(time.time_ns() + NS)
        self.customers = Customers(self.options.seed)
        self.generator = Generator(self.options.seed, self.options.accounts, ticks, shock)
        self.holders = Holders(self.generator.portfolios)
        self._say(f"loading {self.options.accounts:,} generated accounts (seed {self.options.seed})")
        due = due_soon(self.generator.start_ns + round(DUE_SECONDS * NS))
        for item in (*example().documents, *due, *self.holders.documents()):
            self.feed.send(item)
        opening = list(self.generator.opening())
        for topics in OPENING:
            for item in opening:
                if item[1] in topics:
                    self.feed.send(item)
            self.feed.drain(READY_SECONDS)
        for item in self.holders.state(time.time_ns()):  # when all is there that they are compared with
            self.feed.send(item)
        self.feed.drain(READY_SECONDS)

    def play(self, interrupts: Interrupts) -> None:
        """Send the ticks at their times and show what comes of them, until the time is up or a signal."""
        self._say(f"playing real BTC and ETH ticks and generated trades; {SYNTHETIC}")
        self.web = self._stack.enter_context(Child("web", self.settings, self.folder))  # not before: the flags come first
        self._before = self._figures()
        looks: deque[tuple[float, Figures]] = deque([(time.monotonic(), self._before)], maxlen=WINDOW_LOOKS)
        begun = due_look = time.monotonic()
        end = begun + (self.options.seconds or float("inf"))
        with self._stage() as show:
            for item in self._ticks():
                now = time.monotonic()
                if now >= end or interrupts.came:
                    break
                if item is None:
                    self.feed.poll()
                else:
                    self.feed.send(item)
                if now >= due_look:
                    due_look = now + LOOK_SECONDS
                    self._check()
                    show(self._scene(now - begun, looks))
                    self._others()
        self._tick_seconds = time.monotonic() - begun

    def _others(self) -> None:
        """Send what customers and holders do by now."""
        for item in self.customers.answer(self._answer(self.watch.open_calls), time.time_ns()):
            self.feed.send(item)
        for item in self.holders.put_right(time.time_ns()):
            self.feed.send(item)

    def _ticks(self) -> Iterator[Item | None]:
        """The items of the generator when their time has come, None every few milliseconds between them."""
        for item in self.generator.live():
            while (wait := (item[0] - time.time_ns()) / NS) > 0:
                yield None
                time.sleep(min(wait, 0.005))
            yield item

    def _look_for_page(self) -> None:
        """Say where the page is, with a token, as soon as it answers."""
        where = f"http://{LOOPBACK}:{self.settings.web_port}/"
        if not self.page_url and answers(LOOPBACK, self.settings.web_port, "/api/health"):
            token = TokenFile(Path(self.settings.web_tokens)).add(USER, "operator", once=True)
            self.page_url = f"{where}#token={token}"
            self._say(f"the page, for one login (crossmargin web-token add prints more): {self.page_url}")

    def _scene(self, seconds: float, looks: deque[tuple[float, Figures]]) -> Scene:
        figures = self._figures()
        self._look_for_page()
        then, before = looks[0]
        now = time.monotonic()
        looks.append((now, figures))
        if figures.accounts.alerts and self.first_flag_seconds is None:
            self.first_flag_seconds = now - self.began
            self._say(f"first flags: {flag_text(figures.accounts.alerts[0])}")
        return Scene(
            seconds=seconds,
            figures=figures,
            events_per_second=(figures.events - before.events) / max(now - then, 1e-9),
            p50_ms=percentile_ms(figures.latency, before.latency, 0.5),
            p99_ms=percentile_ms(figures.latency, before.latency, 0.99),
            market=self._market(),
            metrics_url=self.metrics_url,
            page_url=self.page_url,
        )

    def _market(self) -> str:
        """What the market does now, in words."""
        shock, now_ns = self.generator.shock, time.time_ns()
        if shock is None or now_ns < shock.start_ns:
            return "quiet market"
        crypto, yields = shock.at(shock.crypto, now_ns) / 1e4, shock.at(shock.yields, now_ns) / 1e6
        return f"shock: crypto {crypto:+.1f} %, yields {yields:+.0f} bp"

    @contextmanager
    def _stage(self) -> Iterator[Callable[[Scene], None]]:
        """A live screen on a terminal, else a line every few seconds."""
        if self.console.is_terminal:
            with Live(console=self.console, auto_refresh=False, vertical_overflow="crop") as live:
                yield lambda scene: live.update(render(scene, *self.console.size, time.time_ns()), refresh=True)
        else:
            printed = [-LINE_SECONDS]

            def show(scene: Scene) -> None:
                if scene.seconds - printed[0] >= LINE_SECONDS:
                    printed[0] = scene.seconds
                    self.console.print(line(scene), markup=False)

            yield show

    def finish(self) -> dict[str, Any]:
        """Let everything sent arrive, end the processes, and sum up."""
        self._say("ending")
        self.feed.drain(DRAIN_SECONDS)
        figures = self._figures()
        if self.web is not None:
            self.web.terminate()
        for child in (self.sequencer, self.worker):
            status = child.stop()
            if status:
                raise ChildEnded(f"the {child.verb} ended with exit status {status}", child.last_lines())
        latency_before: Buckets = self._before.latency if self._before else {}
        summary = {
            "accounts": figures.count,
            "events": figures.events,
            "rejects": self._messages(REJECTS),
            "alerts": self._messages(ALERTS),
            "by_status": figures.accounts.by_status,
            "by_quality": figures.accounts.by_quality,
            "latency_ms": {
                "p50": _rounded(percentile_ms(figures.latency, latency_before, 0.5)),
                "p99": _rounded(percentile_ms(figures.latency, latency_before, 0.99)),
            },
            "cross_margin": asdict(figures.cross_margin),
            "digest": f"{self._digest():016x}",
            "seconds": round(self._tick_seconds, 1),
        }
        if not self.options.json:
            self._summarize(summary)
        return summary

    def _messages(self, topic: str) -> int:
        return sum(stop for _, stop in kafka.log_range(self.settings, topic).values())

    def _digest(self) -> int:
        """The digest of the state that the worker wrote when it ended."""
        from engine.core import MarginEngine
        from engine.report import combine
        from streams.snapshots import SnapshotStore

        store = SnapshotStore(self.settings.snapshots)
        genesis = store.genesis()
        if genesis is None:
            raise UserError(f"the worker left no snapshot of {LOG}")
        snapshots = [store.load(shard, genesis.log_id) for shard in range(SHARDS)]
        return combine([MarginEngine.from_bytes(snapshot.body).digest() for snapshot in snapshots if snapshot is not None])

    def _summarize(self, summary: dict[str, Any]) -> None:
        rows = [*summary.items()]
        if self.first_flag_seconds is not None:
            rows.append(("first flag", f"{self.first_flag_seconds:.1f} s after the start"))
        self.console.print(summary_table([*rows, ("", SYNTHETIC)]))

    def _figures(self) -> Figures:
        return self._answer(self.watch.read)

    def _answer(self, ask: Callable[[], Answer]) -> Answer:
        """What the chain answers; ChildEnded when a part is silent because it ended, UserError when it stays silent."""
        end = time.monotonic() + SILENT_SECONDS
        while True:
            try:
                return ask()
            except UserError:
                self._check()
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def _done(self) -> int:
        """How many events the worker and the sequencer have dealt with, in whatever way."""
        return self._figures().handled

    def _check(self) -> None:
        for child in (self.sequencer, self.worker, self.web):
            if child is not None:
                child.check()

    def _say(self, text: str) -> None:
        self.console.print(f"[{time.monotonic() - self.began:5.1f} s] {text}", markup=False)


class Feed:
    """Sends events, at most AHEAD_BYTES ahead of the chain.

    done: how many events are dealt with; check: raises when a part of the chain ended.
    """

    def __init__(self, settings: Settings, done: Callable[[], int], check: Callable[[], None]) -> None:
        self._publisher = Publisher(settings)
        self._done, self._check = done, check
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._dealt_with = done()

    def send(self, item: Item) -> None:
        """Send one event; waits while too much is on its way."""
        self._publisher.send(item)
        self._sizes.append(len(item[3]))
        self._bytes += len(item[3])
        if self._bytes > AHEAD_BYTES:
            self._await(AHEAD_BYTES // 2, READY_SECONDS)

    def poll(self) -> None:
        """Let the client take its acknowledgements."""
        self._publisher.poll()

    def drain(self, seconds: float) -> None:
        """Wait until everything sent is dealt with; UserError when it is not in time."""
        self._publisher.finish()
        self._await(0, seconds)

    def _await(self, size: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._bytes > size:
            self._check()
            self.poll()
            done = self._done()
            for _ in range(min(done - self._dealt_with, len(self._sizes))):
                self._bytes -= self._sizes.popleft()
            self._dealt_with = done
            if self._bytes > size:
                if time.monotonic() > end:
                    left = f"{len(self._sizes):,} events that it sent and sequencer and worker have not dealt with"
                    raise UserError(f"the feeder waits since {seconds:.0f} s for {left}")
                time.sleep(0.02)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)

"""What the demo shows: figures read from Redis and /metrics as any user would, as a live screen or as plain lines."""

import http.client
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from textwrap import wrap
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from monitors.keys import Keys
from monitors.view import Row, Summary, open_client, read_calls, read_summary
from monitors.wording import money, outstanding, time_left
from streams.settings import UserError, masked_url

SYNTHETIC: Final = "Treasury path: synthetic, generated from daily par yields"
COLOURS: Final = {
    "OK": "green", "WATCH": "yellow", "CALL": "red", "OVERDUE": "bold red", "RESTRICTED": "bold magenta",
    "DEBIT": "bold white on red", "ISSUED": "yellow", "PART_MET": "cyan", "ESCALATED": "bold white on red",
}  # fmt: skip  # of statuses and of calls
WORST: Final = 20
LATEST: Final = 6  # as many as there are statuses beside them
MOST_CALLS: Final = 20_000  # as many as the demo's accounts at most
CLOCK_WIDTH: Final = 8  # of a flag's time
FRAME_WIDTH: Final = 6  # of what is around a flag and between
STATES_WIDTH: Final = 38
VALUE_WIDTH: Final = 64  # of a value of the summary, whose names are shorter than 15
_UNBROKEN: Final = "\N{NO-BREAK SPACE}"
Buckets = dict[float, float]
"""Cumulative counts of a histogram by upper bound in seconds."""


@dataclass(frozen=True, slots=True)
class CrossMargin:
    """Agreements, and what the portfolios of those in force require without and with them, US dollars."""

    in_force: int = 0
    not_in_force: int = 0
    alone_usd: float = 0.0
    saved_usd: float = 0.0

    def texts(self) -> tuple[str, str]:
        """Two pieces of a line: how many agreements, and the money."""
        share = 100 * self.saved_usd / self.alone_usd if self.alone_usd else 0.0
        return (
            f"cross-margin: {self.in_force:,} agreements in force ({self.not_in_force:,} not)",
            f"requirement alone {_millions(self.alone_usd)} USD, with cross-margin"
            f" {_millions(self.alone_usd - self.saved_usd)}, saved {_millions(self.saved_usd)} ({share:.0f} %)",
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """The state of the whole chain at a moment; counts since its start, of the worker and the sequencer together."""

    accounts: Summary
    events: int = 0
    superseded: int = 0
    rejects: int = 0
    latency: Buckets = field(default_factory=dict)
    cross_margin: CrossMargin = field(default_factory=CrossMargin)

    @property
    def count(self) -> int:
        """How many accounts have a status."""
        return sum(self.accounts.by_status.values())

    @property
    def handled(self) -> int:
        """Events dealt with in whatever way."""
        return self.events + self.superseded + self.rejects


class Watch:
    """Reads the figures of a running chain. metrics: (host, port) of each process by its name."""

    def __init__(self, redis_url: str, prefix: str, metrics: Mapping[str, tuple[str, int]]) -> None:
        self._redis, self._keys, self._metrics = open_client(redis_url), Keys(prefix), metrics
        self._store = f"Valkey at {masked_url(redis_url)}"

    def close(self) -> None:
        """Close the connection to Redis."""
        self._redis.close()

    def read(self) -> Figures:
        """The figures now; UserError names the part that does not answer."""
        with _answering(self._store):
            accounts = read_summary(self._redis, self._keys, WORST, LATEST, WORST)
        samples = []
        for name, (host, port) in self._metrics.items():
            with _answering(f"the {name} at http://{host}:{port}/metrics"):
                samples += scrape(host, port)
        return Figures(
            accounts=accounts,
            events=_total(samples, "crossmargin_events_total"),
            superseded=_total(samples, "crossmargin_superseded_total"),
            rejects=_total(samples, "crossmargin_rejects_total"),
            latency=_buckets(samples, "crossmargin_event_to_flag_seconds_bucket"),
            cross_margin=_cross_margin(samples),
        )

    def open_calls(self) -> list[Row]:
        """All open margin calls, up to MOST_CALLS; UserError where Valkey does not answer."""
        with _answering(self._store):
            return read_calls(self._redis, self._keys, 0, MOST_CALLS)[0]


@contextmanager
def _answering(part: str) -> Iterator[None]:
    """Make errors of a connection say which part of the chain it is that does not answer."""
    try:
        yield
    except (RedisError, OSError, http.client.HTTPException) as error:
        raise UserError(f"{part} does not answer: {error}") from error


def scrape(host: str, port: int) -> list[tuple[str, Mapping[str, str], float]]:
    """(name, labels, value) of every sample of a process's /metrics; OSError and HTTPException where it gives none."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise http.client.HTTPException(f"{answer.status} {text.strip()}")
    return [(s.name, s.labels, s.value) for family in text_string_to_metric_families(text) for s in family.samples]


def _total(samples: Iterable[tuple[str, Mapping[str, str], float]], name: str) -> int:
    """The sum of a metric over its labels, without the clock, which is no event from outside."""
    return int(sum(value for sample, labels, value in samples if sample == name and labels.get("kind") != "clock"))


def _cross_margin(samples: Sequence[tuple[str, Mapping[str, str], float]]) -> CrossMargin:
    in_force = sum(v for s, labels, v in samples if s == "crossmargin_agreements" and labels["state"] == "in_force")
    alone = sum(value for sample, _, value in samples if sample == "crossmargin_cross_margin_alone_usd")
    saved = sum(value for sample, _, value in samples if sample == "crossmargin_cross_margin_saving_usd")
    return CrossMargin(int(in_force), _total(samples, "crossmargin_agreements") - int(in_force), alone, saved)


def _buckets(samples: Iterable[tuple[str, Mapping[str, str], float]], name: str) -> Buckets:
    buckets: Buckets = {}
    for sample, labels, value in samples:
        if sample == name:
            bound = float(labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + value
    return buckets


def percentile_ms(after: Buckets, before: Buckets, share: float) -> float | None:
    """A percentile (share 0-1) of what came between two readings of a histogram, in ms, linear within its bucket.

    None when nothing came; the last finite bound when it lies above it.
    """
    counts = [(bound, after[bound] - before.get(bound, 0.0)) for bound in sorted(after)]
    total = counts[-1][1] if counts else 0.0
    if total <= 0:
        return None
    low = below = 0.0
    for bound, count in counts:
        if count >= share * total:
            if bound == float("inf"):
                break
            return 1e3 * (low + (bound - low) * (share * total - below) / (count - below))
        low, below = bound, count
    return 1e3 * low


def flag_text(alert: Row) -> str:
    """An alert in a few words."""
    call = f", call {money(alert['amount'])} {alert['currency']}" if float(alert["amount"] or 0) else ""
    return f"{alert['account']} {alert['from']} -> {alert['to']}{call}"


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture of the demo: figures and what goes on. seconds: of ticks so far; latency of the last few seconds.

    page_url: "" while the page does not answer yet.
    """

    seconds: float
    figures: Figures
    events_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    market: str
    metrics_url: str
    page_url: str = ""


def line(scene: Scene) -> str:
    """The scene in one line, for an output that is not a terminal."""
    figures, accounts = scene.figures, scene.figures.accounts
    states = " ".join(f"{name} {count}" for name, count in accounts.by_status.items() if count)
    poor = "".join(f" {name} {count}" for name, count in accounts.by_quality.items() if name != "FRESH" and count)
    latest = f", latest {flag_text(accounts.alerts[0])}" if accounts.alerts else ""
    return (
        f"{scene.seconds:4.0f} s  {states}{poor}  {accounts.open_calls:,} calls  {figures.events:,} events"
        f" ({scene.events_per_second:,.0f}/s)  {_latency(scene)}  {', '.join(figures.cross_margin.texts())}"
        f"  {scene.market}{latest}"
    )


def render(scene: Scene, columns: int, lines: int, now_ns: int) -> RenderableType:
    """The scene at a wall time for a terminal of this size; made for 80 x 24 and more."""
    figures = scene.figures
    head = Text.assemble(
        (f" crossmargin demo  {scene.seconds:,.0f} s ", "bold"),
        f" {figures.count:,} accounts  {figures.events:,} events ({scene.events_per_second:,.0f}/s)"
        f"  {figures.rejects:,} rejects\n event to flag {_latency(scene)}  {scene.market}\n",
        *(f" {text}\n" for text in figures.cross_margin.texts()),
    )
    head.rstrip()
    page = Text(f" page {scene.page_url or 'starting'}", no_wrap=True)
    foot = Text(f" {SYNTHETIC}\n {scene.metrics_url}   Ctrl-C ends", style="dim")
    states = Table.grid(padding=0)
    states.add_row(_states(figures.accounts), _flags(figures.accounts.alerts, columns - STATES_WIDTH))
    free = max(6, lines - 19)
    tables = worst_table(figures.accounts.worst, free - free // 2), calls_table(figures.accounts, free // 2, now_ns)
    return Group(head, *tables, states, page, foot)


def _states(accounts: Summary) -> Panel:
    table = Table.grid(padding=(0, 1))
    qualities = [
        (Text(name, style="magenta" if name != "FRESH" and n else ""), n) for name, n in accounts.by_quality.items()
    ]
    beside = [*qualities, (Text("calls", style="bold"), accounts.open_calls)]
    for place, (name, count) in enumerate(accounts.by_status.items()):
        right = (beside[place][0], Text(f"{beside[place][1]:,}", justify="right")) if place < len(beside) else ("", "")
        table.add_row(Text(name, style=COLOURS[name] if count else "dim"), Text(f"{count:,} ", justify="right"), *right)
    return Panel(table, title="accounts", title_align="left", width=STATES_WIDTH, height=LATEST + 2)


def worst_table(rows: Sequence[Row], count: int, title: str = "lowest excess") -> Table:
    """So many accounts with status and money, in lines without a frame."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(title, no_wrap=True, overflow="ellipsis", max_width=24, min_width=14)
    table.add_column("status", min_width=10)
    for name in ("excess USD", "equity", "initial"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("used", justify="right", no_wrap=True)
    for row in rows[:count]:
        status = Text(row.get("status", ""), style=COLOURS.get(row.get("status", ""), ""))
        amounts = (money(row.get(name, "")) for name in ("excess_usd", "equity", "initial"))
        table.add_row(Text(row["account"]), status, *amounts, _share(row.get("utilization", "")))
    return table


def _share(utilization: str) -> str:
    return f"{100 * float(utilization):.0f} %" if utilization else "-"


def calls_table(accounts: Summary, count: int, now_ns: int) -> Table:
    """So many open calls, the first due first, in lines without a frame."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(f"open calls: {accounts.open_calls:,}", no_wrap=True, overflow="ellipsis", max_width=24, min_width=20)
    table.add_column("state", min_width=10)
    table.add_column("outstanding", justify="right", no_wrap=True)
    table.add_column("due", no_wrap=True, min_width=15)
    table.add_column("acknowledged by", no_wrap=True, overflow="ellipsis")
    for call in accounts.calls[:count]:
        asks = f"{money(outstanding(call['amount'], call['received']))} {call['currency']}"
        state = Text(call["state"], style=COLOURS.get(call["state"], ""))
        until = time_left(int(call["due_ns"]), now_ns)
        table.add_row(Text(call["id"]), state, asks, until, Text(call.get("acknowledged_by", "")))
    return table


def _flags(alerts: Iterable[Row], width: int) -> Panel:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, min_width=CLOCK_WIDTH)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=width - CLOCK_WIDTH - FRAME_WIDTH)
    for alert in alerts:
        clock = datetime.fromtimestamp(int(alert["ts_ns"]) / 1e9, UTC).strftime("%H:%M:%S")
        table.add_row(Text(clock, style="dim"), Text(flag_text(alert), style=COLOURS.get(alert["to"], "")))
    return Panel(table, title="latest flags (UTC)", title_align="left", width=width, height=LATEST + 2)


def _latency(scene: Scene) -> str:
    if scene.p50_ms is None or scene.p99_ms is None:
        return "-"
    return f"p50 {scene.p50_ms:.1f} ms p99 {scene.p99_ms:.1f} ms"


def _millions(amount: float) -> str:
    return f"{amount / 1e6:,.2f}m"


def summary_table(rows: Iterable[tuple[str, Any]]) -> Table:
    """Names and values, one a row, within 80 columns: values with parts take as many lines as they need."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        parts = [f"{key} {_figure(part)}" for key, part in value.items()] if isinstance(value, dict) else [_figure(value)]
        whole = "  ".join(part.replace(" ", _UNBROKEN) for part in parts)
        lines = wrap(whole, VALUE_WIDTH, break_on_hyphens=False)
        table.add_row(Text(name, style="bold"), Text("\n".join(lines).replace(_UNBROKEN, " ")))
    return table


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int | float) else str(value)

"""What the notifier shows of itself: what it counts by route, and what Kafka says of its groups and dead letters."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from platform import python_version
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from monitors.collector import Histogram, family, histograms_family
from monitors.metrics import LABEL_VALUES, TABLE
from monitors.notices import Route
from streams import kafka
from streams.dead_notices import Waiting
from streams.settings import Settings
from streams.topics import ALERTS, CALLS

SILENT_SECONDS: Final = 20.0  # without an answer of Kafka, after which the notifier is not ready
REMOVED: Final = "(removed)"  # no route can be called so: of letters whose route is not configured any more


def topic_of(route: Route) -> str:
    """The topic that a route reads."""
    return CALLS if route.calls_only else ALERTS


def group_of(settings: Settings, name: str) -> str:
    """The consumer group of a route."""
    return f"{settings.notifier_group}-{name}"


@dataclass
class Tally:
    """What a route counts. is_placed: its group has told it which partitions are its own."""

    is_placed: bool = False
    retries: int = 0
    lag: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABEL_VALUES["outcome"], 0))
    seconds: Histogram = field(default_factory=lambda: Histogram(TABLE["crossmargin_notifier_delivery_seconds"].bounds))

    def delivered(self, alert_ns: int) -> None:
        """Count an alert of this time that the webhook took."""
        self.outcomes["delivered"] += 1
        self.seconds.observe(max(0.0, (time.time_ns() - alert_ns) / 1e9))


class Figures(Collector):
    """What /metrics and /readyz of the notifier say; look() asks Kafka."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.tallies = {name: Tally() for name in routes}
        self._topics = {name: topic_of(route) for name, route in routes.items()}
        self._waiting = Waiting()
        self._dead: Mapping[str, int] = {}
        self._looked = time.monotonic()
        self._build = (metadata.version("crossmargin"), python_version())

    def look(self, settings: Settings) -> None:
        """Ask Kafka how far the groups are behind and which letters wait; UserError where it does not answer."""
        for name, tally in self.tallies.items():
            if tally.is_placed:  # a new group has no place before
                tally.lag = sum(kafka.lags(settings, group_of(settings, name), self._topics[name]).values())
        self._waiting.read(settings)
        self._dead = self._waiting.by_route()
        self._looked = time.monotonic()

    def not_ready(self) -> str:
        """Why the notifier is not ready: it is when every route has its place in its group; "" then."""
        unplaced = [name for name, tally in self.tallies.items() if not tally.is_placed]
        if unplaced:
            return f"routes without their place in their group: {', '.join(unplaced)}"
        silent_seconds = time.monotonic() - self._looked
        return f"Kafka has not answered for {silent_seconds:.0f} s" if silent_seconds > SILENT_SECONDS else ""

    def describe(self) -> Iterator[Metric]:
        """Nothing: the names are in the table of metrics."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Families of everything as of now."""
        places = {name: (name, topic) for name, topic in self._topics.items()}
        tallies = self.tallies.items()
        outcomes = {(*places[n], outcome): count for n, tally in tallies for outcome, count in tally.outcomes.items()}
        yield family("crossmargin_notifier_notices_total", outcomes)
        yield family("crossmargin_notifier_retries_total", {places[name]: tally.retries for name, tally in tallies})
        yield histograms_family("crossmargin_notifier_delivery_seconds", {(n,): tally.seconds for n, tally in tallies})
        yield family("crossmargin_notifier_lag_messages", {places[name]: tally.lag for name, tally in tallies})
        removed = sum(count for name, count in self._dead.items() if name not in places)
        dead = {name: self._dead.get(name, 0) for name in places} | {REMOVED: removed}
        yield family("crossmargin_notifier_dead_letters", {(name,): count for name, count in dead.items()})
        yield family("crossmargin_build_info", {self._build: 1})

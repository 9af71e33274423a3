"""What the web server shows of itself: requests, who is there, and how old what the pages show is."""

import time
from collections.abc import Iterator
from importlib import metadata
from platform import python_version
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from monitors.collector import family, histogram_family
from monitors.metrics import LABEL_VALUES
from streams.web_access import Access
from streams.web_live import Live

SILENT_SECONDS: Final = 20.0  # without a look at Redis, after which the server is not ready


class Figures(Collector):
    """What /metrics and /readyz of the web server say. requests: answered ones, by class; actions: by result."""

    def __init__(self, live: Live, access: Access) -> None:
        self._live, self._access = live, access
        self.requests = dict.fromkeys(LABEL_VALUES["code"], 0)
        self.actions = dict.fromkeys(LABEL_VALUES["result"], 0)
        self._build = (metadata.version("crossmargin"), python_version())

    def answered(self, status: int) -> None:
        """Count a request by its HTTP status."""
        self.requests[f"{status // 100}xx"] += 1

    def not_ready(self) -> str:
        """Why the server is not ready: it is while it reads Redis; "" then."""
        silent_seconds = time.monotonic() - self._live.read_at
        silent = f"Redis was not read for {silent_seconds:.0f} s" if silent_seconds > SILENT_SECONDS else ""
        return self._live.problem or silent

    def describe(self) -> Iterator[Metric]:
        """Nothing: the names are in the table of metrics."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Families of everything as of now."""
        yield family("crossmargin_web_requests_total", {(code,): count for code, count in self.requests.items()})
        yield family("crossmargin_web_sessions", {(): self._access.session_count})
        yield family("crossmargin_web_sockets", {(): self._live.socket_count})
        polls, age_seconds = self._live.poll_seconds, self._live.age_seconds
        yield histogram_family("crossmargin_web_poll_seconds", polls.counts, polls.sum)
        yield family("crossmargin_web_data_age_seconds", {} if age_seconds is None else {(): age_seconds})
        yield family("crossmargin_web_actions_total", {(result,): count for result, count in self.actions.items()})
        yield family("crossmargin_build_info", {self._build: 1})

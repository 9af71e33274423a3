"""What the worker says of itself: its /metrics, and its own histogram of latency."""

import http.client
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitors.metrics import TABLE
from streams.embedded import LOOPBACK
from tests.bench.services import Chain

METRIC: Final = TABLE["crossmargin_event_to_flag_seconds"]


def histogram(chain: Chain) -> NDArray[np.int64]:
    """Observations in each bucket so far, the last one above all bounds."""
    found = re.findall(rf'^{METRIC.name}_bucket\{{le="([^"]+)"\}} (\S+)', _text(chain), re.M)
    cumulative = [round(float(count)) for _, count in sorted(found, key=lambda pair: float(pair[0]))]
    assert len(cumulative) == len(METRIC.bounds) + 1, f"{METRIC.name} has {len(cumulative)} buckets"
    return np.diff(np.array([0, *cumulative], np.int64))


def samples(chain: Chain, name: str) -> list[float]:
    """The values of a metric, one for each of its labels."""
    return [float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", _text(chain), re.M)]


def _text(chain: Chain) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, chain.settings.metrics_port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def quantile(counts: NDArray[np.int64], share: float) -> float:
    """Seconds below which this share of observations lies, evenly spread in each bucket; nan without any."""
    total = int(counts.sum())
    if not total:
        return float("nan")
    bounds = np.array([0.0, *METRIC.bounds, METRIC.bounds[-1]])
    cumulative = np.concatenate([[0], np.cumsum(counts)]) / total
    bucket = min(int(np.searchsorted(cumulative, share)), len(counts)) - 1
    inside = (share - cumulative[bucket]) / max(cumulative[bucket + 1] - cumulative[bucket], 1e-12)
    return float(bounds[bucket] + inside * (bounds[bucket + 1] - bounds[bucket]))

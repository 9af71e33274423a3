"""The health server: what each path answers, also while the process is busy, and what is said of an occupied port."""

import http.client
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.embedded import LOOPBACK, free_port
from streams.health import HealthServer
from streams.settings import ConfigError, UserError


class Gauge(Collector):
    busy = False

    def collect(self) -> Iterator[Metric]:
        if self.busy:
            raise TimeoutError
        yield GaugeMetricFamily("shown", "A number.", value=7)

    def describe(self) -> Iterator[Metric]:
        yield from ()


def get(port: int, path: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers["Content-Type"], text


def test_every_path() -> None:
    registry, gauge, reasons, port = CollectorRegistry(), Gauge(), ["loading"], free_port()
    registry.register(gauge)
    with HealthServer(LOOPBACK, port, registry, lambda: "".join(reasons)):
        status, content_type, text = get(port, "/metrics?x=1")
        assert (status, content_type.partition(";")[0]) == (200, "text/plain")
        assert "shown 7.0" in text
        assert get(port, "/healthz")[::2] == (200, "ok\n")
        assert get(port, "/readyz")[::2] == (503, "not ready: loading\n")
        reasons.clear()
        assert get(port, "/readyz")[::2] == (200, "ready\n")
        assert get(port, "/")[0] == 404
        gauge.busy = True
        assert get(port, "/metrics")[0] == 503


def test_an_occupied_port_is_named() -> None:
    port = free_port()
    with HealthServer(LOOPBACK, port, CollectorRegistry(), str):
        said = rf"setting metrics_port \(CROSSMARGIN_METRICS_PORT\): cannot listen on {LOOPBACK}:{port}: .*; take "
        with pytest.raises(UserError, match=said):
            HealthServer(LOOPBACK, port, CollectorRegistry(), str)


def test_a_host_that_is_not_ours_is_wrong_use() -> None:
    for host in ("256.0.0.1", "192.0.2.1"):
        said = rf"setting metrics_host \(CROSSMARGIN_METRICS_HOST\): found '{host}': .*; allowed: "
        with pytest.raises(ConfigError, match=said):
            HealthServer(host, free_port(), CollectorRegistry(), str)

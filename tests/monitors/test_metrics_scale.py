"""What a scrape of 100,000 accounts costs, and how many series it has."""

import time
from typing import Final

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from engine.report import TOP
from monitors.collector import Counters
from tests.bench.filled import Filled
from tests.bench.universe import Universe
from tests.monitors.test_metrics import registry_of, samples, value

ACCOUNTS: Final = 100_000
MOST_SERIES: Final = 2_000
MOST_SECONDS: Final = 0.05


@pytest.fixture(scope="module")
def filled() -> Filled:
    """An engine of so many accounts, some of which lack money."""
    filled = Filled(Universe(ACCOUNTS, positions=2, seed=1, thin=0.5))
    definitions = filled.engine.definitions
    definitions.account_ids.extend(f"customer-account-{n}" for n in range(ACCOUNTS))
    definitions.account_pools.extend([0] * ACCOUNTS)
    return filled


def test_a_scrape_of_100_000_accounts_is_short(filled: Filled) -> None:
    registry = registry_of({0: filled.engine}, Counters())
    text = generate_latest(registry).decode()
    series = [sample for metric in text_string_to_metric_families(text) for sample in metric.samples]
    assert 200 < len(series) < MOST_SERIES
    assert sum("customer-account" in str(sample.labels) for sample in series) == TOP
    found = samples(registry)
    assert value(found, "accounts", status="OK") > 0
    assert value(found, "top_truncated") > 1000
    times = []
    for _ in range(8):
        begun = time.process_time()
        generate_latest(registry)
        times.append(time.process_time() - begun)
    assert min(times) < MOST_SECONDS, f"{1e3 * min(times):.0f} ms of processor for a scrape"

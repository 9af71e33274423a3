"""What /metrics shows: the table against what is emitted, values against engines and reports, and no label per account."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from engine.codes import Code
from engine.events import Kind
from engine.report import TOP, UTILIZATION_BOUNDS, CallEvent, CallState, Reject, Report, Status
from engine.warning import FIRST
from monitors.collector import Counters, Histogram, WorkerCollector, family, rejects_family
from monitors.metrics import LABEL_VALUES, METRICS, OPEN_LABELS, TABLE
from monitors.redis_sink import Backlog
from monitors.surface import EngineView
from streams.sequencer import Figures
from tests.monitors.fake_engine import SECOND, FakeEngine
from tests.monitors.test_outlook import SHOCK, outlook

OTHERS = tuple(f"crossmargin_{process}_" for process in ("sequencer", "notifier", "web"))
SAMPLE_SUFFIXES = {"histogram": {"_bucket", "_sum", "_count"}, "gaugehistogram": {"_bucket", "_gsum", "_gcount"}}


class FakeSink:
    """A sink with some backlog."""

    connected = True
    resynchronizations = 3

    def backlog(self) -> Backlog:
        return Backlog(alerts=5, accounts=17)


def registry_of(engines: Mapping[int, EngineView], counters: Counters) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(
        WorkerCollector(
            lambda: engines,
            counters,
            FakeSink(),
            outlooks=lambda: [outlook(shard) for shard in engines],
            lag_frames=lambda: {1: 4, 0: 2},
            snapshot_ages_seconds=lambda: {0: 1.5},
            build={"version": "1.2.3", "python": "3.11.0"},
            now=lambda: 1_700_000_100 * SECOND,
        )
    )
    return registry


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(registry).decode()
    found = [sample for metric in text_string_to_metric_families(text) for sample in metric.samples]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}


@pytest.fixture
def scraped() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    engines = {shard: FakeEngine(shard, 40) for shard in (0, 1)}
    counters = Counters()
    for engine in engines.values():
        report = engine.flip(range(10), Status.CALL, oldest_ns=1)
        report.applied[Kind.TRADE], report.superseded[Kind.PRICE], report.redelivered[Kind.TRADE] = 100, 3, 2
        report.rejects = [Reject(Code.OFF_LOT, Kind.TRADE, 0, 1, 0, 0)] * 4
        counters.add(report, 0.003)
        counters.add(engine.flip(range(4), Status.DEBIT), 0.0001)
        counters.add(engine.flip(range(3), Status.OK), 0.0001)
        counters.add(engine.call(5, CallEvent.ISSUED, CallState.ISSUED), 0.0001)
    counters.add(engine.call(5, CallEvent.RECEIVED, CallState.PART_MET, 100), 0.0001)
    counters.event_to_flag_seconds.observe(0.0045)
    return samples(registry_of(engines, counters))


def value(scraped: Mapping[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return scraped[f"crossmargin_{name}", tuple(sorted(labels.items()))]


def test_values(scraped: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> None:
    expected: Iterable[tuple[str, dict[str, str], float]] = [
        ("accounts", {"status": "OK"}, 66),
        ("accounts", {"status": "CALL"}, 12),
        ("accounts", {"status": "DEBIT"}, 2),
        ("accounts_quality", {"quality": "FRESH"}, 80),
        ("margin_calls_open", {"call": "ISSUED"}, 1),
        ("margin_calls_open", {"call": "PART_MET"}, 1),
        ("margin_calls_open", {"call": "OVERDUE"}, 0),
        ("margin_calls_by_age", {"age": "older"}, 2),
        ("margin_calls_by_age", {"age": "1h"}, 0),
        ("margin_calls_usd", {"pool": "futures"}, 999.0),
        ("margin_calls_total", {"change": "issued"}, 2),
        ("margin_calls_total", {"change": "received"}, 1),
        ("margin_calls_total", {"change": "met"}, 0),
        ("events_total", {"kind": "trade"}, 200),
        ("superseded_total", {"kind": "price"}, 6),
        ("duplicates_total", {"kind": "trade"}, 4),
        ("rejects_total", {"reason": "off_lot"}, 8),
        ("rejects_total", {"reason": "off_tick"}, 0),
        ("batches_total", {}, 2),
        ("step_seconds_count", {}, 9),
        ("step_seconds_bucket", {"le": "0.0001"}, 7),
        ("event_to_flag_seconds_bucket", {"le": "0.004"}, 0),
        ("event_to_flag_seconds_bucket", {"le": "0.005"}, 1),
        ("event_to_flag_seconds_sum", {}, 0.0045),
        ("requirement_usd", {"pool": "cash", "level": "initial"}, 200_000),
        ("requirement_usd", {"pool": "cash", "level": "maintenance"}, 160_000.4),
        ("deficit_usd", {"pool": "futures"}, 246.90),
        ("top_deficit_usd", {"account": "A0-0"}, 100),
        ("top_deficit_usd", {"account": "A1-9"}, 91),
        ("top_truncated", {}, 60),
        ("collateral_usd", {"pool": "cash", "asset": "USD"}, 10_001.0),
        ("collateral_usd", {"pool": "futures", "asset": "BTC"}, 1),
        ("dv01_usd", {"currency": "USD", "bucket": "10Y", "side": "long"}, 21),
        ("dv01_usd", {"currency": "USD", "bucket": "10Y", "side": "short"}, 4),
        ("delta_units", {"underlying": "BTC-USD", "side": "short"}, 4),
        ("agreements", {"state": "in_force"}, 7),
        ("agreements", {"state": "not_in_force"}, 3),
        ("cross_margin_alone_usd", {}, 20_001.0),
        ("cross_margin_saving_usd", {}, 12_000.5),
        ("stress_accounts", {"shock": SHOCK}, 61),
        ("stress_call_usd", {"shock": SHOCK}, 246.90),
        ("stress_call_usd", {"shock": "BTC -10 %"}, 0),
        ("call_forecast_usd", {"pool": "P"}, 5.0),
        ("liquidity_due_usd", {"currency": "USD", "window": "1h"}, 100.0),
        ("volatility_regime", {"state": "above"}, 1),
        ("volatility_regime", {"state": "inside"}, 0),
        ("stale_instruments", {"type": "index"}, 2),
        ("stale_instruments", {"type": "fund"}, FIRST + 5),
        ("stale_instruments", {"type": "spot"}, 0),
        ("reconciliation_breaks", {"kind": "quantity"}, 2),
        ("reconciliation_oldest_seconds", {}, 1e9),
        ("clock_age_seconds", {}, 99.6),
        ("price_age_seconds_max", {}, 13.5),
        ("capacity_used_ratio", {"limit": "positions"}, 0.75),
        ("id_span_seconds", {}, 3600),
        ("log_lag_records", {"shard": "1"}, 4),
        ("snapshot_age_seconds", {"shard": "0"}, 1.5),
        ("sink_backlog_accounts", {"sink": "redis"}, 17),
        ("sink_backlog_alerts", {"sink": "redis"}, 5),
        ("sink_connected", {"sink": "redis"}, 1),
        ("sink_resynchronizations_total", {"sink": "redis"}, 3),
        ("build_info", {"version": "1.2.3", "python": "3.11.0"}, 1),
        ("utilization_ratio_bucket", {"le": "0.25"}, 0),
        ("utilization_ratio_bucket", {"le": "0.5"}, 80),
        ("utilization_ratio_bucket", {"le": "+Inf"}, 80),
    ]
    for name, labels, wanted in expected:
        assert value(scraped, name, **labels) == pytest.approx(wanted), name


def test_the_list_of_the_largest_deficits_is_bounded(
    scraped: dict[tuple[str, tuple[tuple[str, str], ...]], float],
) -> None:
    listed = {dict(labels)["account"] for name, labels in scraped if name == "crossmargin_top_deficit_usd"}
    assert listed == {f"A{shard}-{slot}" for shard in (0, 1) for slot in range(10)}
    assert len(listed) == TOP


def test_what_is_emitted_is_the_table_and_only_the_list_of_deficits_names_accounts() -> None:
    engines = {0: FakeEngine(0, 500, prefix="customer-account-")}
    families = list(registry_of(engines, Counters()).collect())
    emitted = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert emitted == {name for name in TABLE if not name.startswith(OTHERS)}
    for metric in families:
        entry = TABLE[metric.name + ("_total" if metric.type == "counter" else "")]
        assert (metric.type, metric.documentation) == (entry.type, entry.help)
        for sample in metric.samples:
            assert set(sample.labels) - {"le"} == set(entry.labels)
            assert ("account" in sample.labels) == (entry.name == "crossmargin_top_deficit_usd")
            for label, text in sample.labels.items():
                assert label == "account" or "customer-account" not in text
                assert label == "le" or label in OPEN_LABELS or text in LABEL_VALUES[label]


def test_the_sequencer_emits_the_rest_of_the_table() -> None:
    registry, figures = CollectorRegistry(), Figures()
    figures.accepted[Kind.STATEMENT] = 7
    registry.register(figures)
    emitted = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    assert {name for name in TABLE if name.startswith("crossmargin_sequencer_")} <= emitted <= set(TABLE)
    assert value(samples(registry), "sequencer_events_total", kind="statement") == 7


def test_both_expositions_parse() -> None:
    registry = registry_of({0: FakeEngine(0, 5)}, Counters())
    classic = {family.name for family in text_string_to_metric_families(generate_latest(registry).decode())}
    modern = {family.name for family in parse_openmetrics(generate_openmetrics(registry).decode())}
    assert modern <= classic | {"crossmargin_utilization_ratio"}
    assert "crossmargin_utilization_ratio" in modern


def test_a_worker_without_shards_or_time_can_be_scraped() -> None:
    scraped = samples(registry_of({}, Counters()))
    assert value(scraped, "events_total", kind="trade") == 0
    assert ("crossmargin_clock_age_seconds", ()) not in scraped


def test_no_id_forgotten_is_an_infinite_span() -> None:
    assert value(samples(registry_of({1: FakeEngine(1, 5)}, Counters())), "id_span_seconds") == math.inf


def test_table_is_well_formed() -> None:
    assert len(TABLE) == len(METRICS)
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.type == "counter"), metric.name
        assert bool(metric.bounds) == (metric.type in SAMPLE_SUFFIXES), metric.name
        assert list(metric.bounds) == sorted(metric.bounds)
        assert set(metric.labels) <= set(LABEL_VALUES) | OPEN_LABELS
        assert metric.help.endswith(".")
    assert TABLE["crossmargin_utilization_ratio"].bounds == UTILIZATION_BOUNDS
    assert LABEL_VALUES["reason"] == tuple(code.reason for code in Code if code)


def test_families_take_their_form_from_the_table() -> None:
    assert family("crossmargin_accounts", {("OK",): 3}).samples[0].labels == {"status": "OK"}
    assert len(rejects_family({Code.OFF_LOT: 2}).samples) == len(Code) - 1
    with pytest.raises(KeyError):
        family("crossmargin_unheard_of", {})


def test_quantiles() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    assert math.isnan(histogram.quantile(0.5))
    for number in np.linspace(0.01, 3.99, 400):
        histogram.observe(float(number))
    assert histogram.quantile(0.5) == pytest.approx(2.0, abs=0.02)
    assert histogram.quantile(0.75) == pytest.approx(3.0, abs=0.02)
    histogram.observe(1e9)
    assert histogram.quantile(1.0) == 4.0
    assert sum(histogram.counts) == 401


def test_counting_a_report_without_changes() -> None:
    counters = Counters()
    counters.add(Report(0, 0), 0.5)
    assert counters.batches == sum(counters.calls.values()) == 0

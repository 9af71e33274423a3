"""What /metrics shows: counters fed by reports, and gauges read from the engines when scraped; a family per table entry."""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from engine.codes import Code
from engine.events import KINDS, Kind
from engine.reconciliation import BreakKind
from engine.report import TOP, CallEvent, Population, Report
from engine.warning import REGIMES, RUNGS
from monitors.metrics import LABEL_VALUES, TABLE
from monitors.outlook import Outlook, worst_moves
from monitors.redis_sink import Backlog
from monitors.surface import EngineView

Samples = Mapping[Any, float]  # by tuple of label values
_KINDS: Final = tuple(kind.name.lower() for kind in Kind)
_STATES: Final = (("in_force",), ("not_in_force",))
_REDIS: Final = ("redis",)


class Sink(Protocol):
    """What is shown of a sink."""

    @property
    def connected(self) -> bool:
        """Whether its server answers."""

    @property
    def resynchronizations(self) -> int:
        """Shards written anew since the start."""

    def backlog(self) -> Backlog:
        """What waits."""


class Histogram:
    """Counts of observations by upper bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def quantile(self, share: float) -> float:
        """The value below which a share (0-1) of the observations lies, linear within its bucket; nan without any."""
        wanted, low = share * sum(self.counts), 0.0
        for bound, count in zip((*self.bounds, self.bounds[-1]), self.counts, strict=True):
            if count and wanted <= count:
                return low + (bound - low) * wanted / count
            wanted, low = wanted - count, bound
        return float("nan")


def family(name: str, samples: Samples) -> Metric:
    """A gauge or counter of the table with a value per tuple of label values."""
    metric = TABLE[name]
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    result: CounterMetricFamily | GaugeMetricFamily = kind(name, metric.help, labels=metric.labels)
    for labels, value in samples.items():
        result.add_metric(labels, value)
    return result


def histogram_family(name: str, counts: Iterable[float], total: float) -> Metric:
    """A histogram of the table from its counts per bucket (one more than bounds) and the sum of its values."""
    metric = TABLE[name]
    if metric.type == "gaugehistogram":
        return GaugeHistogramMetricFamily(name, metric.help, buckets=_buckets(name, counts), gsum_value=total)
    return HistogramMetricFamily(name, metric.help, buckets=_buckets(name, counts), sum_value=total)


def histograms_family(name: str, samples: Mapping[Any, Histogram]) -> Metric:
    """A histogram of the table with labels, by tuple of label values."""
    metric = TABLE[name]
    result = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    for labels, histogram in samples.items():
        result.add_metric(labels, _buckets(name, histogram.counts), histogram.sum)
    return result


def _buckets(name: str, counts: Iterable[float]) -> list[tuple[str, float]]:
    """Upper bounds with all that lies at or below each."""
    bounds = [str(bound) for bound in TABLE[name].bounds] + ["+Inf"]
    return list(zip(bounds, np.cumsum(list(counts)).tolist(), strict=True))


class Counters:
    """What a worker counts: add() after each step. recovery_seconds: how long its last recovery took."""

    def __init__(self) -> None:
        self.applied, self.superseded, self.redelivered = (np.zeros(KINDS, np.int64) for _ in range(3))
        self.rejects: Counter[Code] = Counter()
        self.calls: Counter[int] = Counter()  # changes of margin calls by CallEvent
        self.batches = 0
        self.step_seconds = Histogram(TABLE["crossmargin_step_seconds"].bounds)
        self.event_to_flag_seconds = Histogram(TABLE["crossmargin_event_to_flag_seconds"].bounds)
        self.recovery_seconds = 0.0

    def add(self, report: Report, seconds: float) -> None:
        """Count what a step did, and how long it took."""
        self.applied += report.applied
        self.superseded += report.superseded
        self.redelivered += report.redelivered
        for reject in report.rejects:
            self.rejects[reject.code] += 1
        self.batches += report.oldest_ns > 0
        self.step_seconds.observe(seconds)
        if len(report.changes):
            self.calls.update(report.changes["event"].tolist())

    def collect(self) -> Iterator[Metric]:
        """Families of all counters and histograms."""
        for name, counts in (("events", self.applied), ("superseded", self.superseded), ("duplicates", self.redelivered)):
            by_kind = zip(_KINDS, counts.tolist(), strict=True)
            yield family(f"crossmargin_{name}_total", {(kind,): count for kind, count in by_kind})
        yield rejects_family(self.rejects)
        events = {(event.name.lower(),): self.calls[event] for event in CallEvent if event}
        yield family("crossmargin_margin_calls_total", events)
        yield family("crossmargin_batches_total", {(): self.batches})
        for name, histogram in (("step", self.step_seconds), ("event_to_flag", self.event_to_flag_seconds)):
            yield histogram_family(f"crossmargin_{name}_seconds", histogram.counts, histogram.sum)


def rejects_family(rejects: Mapping[Code, int]) -> Metric:
    """Rejects by reason, every reason shown from 0 on."""
    return family("crossmargin_rejects_total", {(code.reason,): rejects.get(code, 0) for code in Code if code})


class WorkerCollector(Collector):
    """All metrics of a worker, for a prometheus_client registry.

    engines: the shards now held, each with its genesis; outlooks: the latest looks ahead of them; lag_frames,
    snapshot_ages_seconds: by shard. now: wall time in ns. build: version and python. Engines are only read; a scrape in
    another thread may see a step half done.
    """

    def __init__(
        self,
        engines: Callable[[], Mapping[int, EngineView]],
        counters: Counters,
        sink: Sink,
        *,
        outlooks: Callable[[], Sequence[Outlook]],
        lag_frames: Callable[[], Mapping[int, float]],
        snapshot_ages_seconds: Callable[[], Mapping[int, float]],
        build: Mapping[str, str],
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engines, self._counters, self._sink, self._now = engines, counters, sink, now
        self._outlooks, self._build = outlooks, build
        self._lag_frames, self._snapshot_ages = lag_frames, snapshot_ages_seconds

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not read engines."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Families of everything as of now."""
        yield from self._counters.collect()
        engines = list(self._engines().values())
        if engines:
            yield from self._clock_and_limits(engines)
            yield from populations([engine.population() for engine in engines])
        outlooks = list(self._outlooks())
        if outlooks:
            yield from outlook_families(outlooks)
        backlog = self._sink.backlog()
        yield family("crossmargin_sink_backlog_accounts", {_REDIS: backlog.accounts})
        yield family("crossmargin_sink_backlog_alerts", {_REDIS: backlog.alerts})
        yield family("crossmargin_sink_connected", {_REDIS: self._sink.connected})
        yield family("crossmargin_sink_resynchronizations_total", {_REDIS: self._sink.resynchronizations})
        for name, read in (("log_lag_records", self._lag_frames), ("snapshot_age_seconds", self._snapshot_ages)):
            yield family(f"crossmargin_{name}", {(str(shard),): value for shard, value in sorted(read().items())})
        yield family("crossmargin_recovery_seconds", {(): self._counters.recovery_seconds})
        yield family("crossmargin_build_info", {tuple(self._build[label] for label in ("version", "python")): 1})

    def _clock_and_limits(self, engines: Sequence[EngineView]) -> Iterator[Metric]:
        oldest_ns = min(engine.clock_ns for engine in engines)
        yield family("crossmargin_clock_age_seconds", {(): (self._now() - oldest_ns) / 1e9})
        spans_ns = [span for engine in engines if (span := engine.id_span_ns()) >= 0]
        yield family("crossmargin_id_span_seconds", {(): min(spans_ns) / 1e9 if spans_ns else float("inf")})
        used: dict[tuple[str, ...], float] = {}
        for engine in engines:
            for limit, (count, most) in engine.usage().items():
                used[limit,] = max(used.get((limit,), 0.0), count / most)
        yield family("crossmargin_capacity_used_ratio", used)


def populations(shards: Sequence[Population]) -> Iterator[Metric]:
    """Families of the accounts of these shards in sum."""

    def total(name: str) -> Counter[str]:
        sums: Counter[str] = Counter()
        for shard in shards:
            for key, value in getattr(shard, name).items():
                sums[key] += value
        return sums

    def usd(name: str) -> dict[tuple[str, ...], float]:
        return {(pool,): cents / 100 for pool, cents in total(name).items()}

    yield family("crossmargin_accounts", {(status,): count for status, count in total("by_status").items()})
    yield family("crossmargin_accounts_quality", {(quality,): count for quality, count in total("by_quality").items()})
    yield family("crossmargin_equity_usd", usd("equity_usd"))
    yield family("crossmargin_deficit_usd", usd("deficit_usd"))
    levels = {(*pool, level): value for level in LABEL_VALUES["level"] for pool, value in usd(f"{level}_usd").items()}
    yield family("crossmargin_requirement_usd", levels)
    yield from _details(shards)
    in_force = sum(shard.agreements_in_force for shard in shards)
    others = sum(shard.agreements for shard in shards) - in_force
    yield family("crossmargin_agreements", dict(zip(_STATES, (in_force, others), strict=True)))
    yield family("crossmargin_cross_margin_alone_usd", {(): sum(shard.cross_alone_usd for shard in shards) / 100})
    yield family("crossmargin_cross_margin_saving_usd", {(): sum(shard.cross_saved_usd for shard in shards) / 100})
    counts = np.sum([shard.utilization_counts for shard in shards], axis=0).tolist()
    yield histogram_family("crossmargin_utilization_ratio", counts, sum(shard.utilization_sum for shard in shards))
    yield family("crossmargin_margin_calls_open", {(state,): count for state, count in total("calls").items()})
    yield family("crossmargin_margin_calls_by_age", {(age,): count for age, count in total("call_ages").items()})
    yield family("crossmargin_margin_calls_usd", usd("called_usd"))
    yield family("crossmargin_price_age_seconds_max", {(): max(shard.price_age_seconds_max for shard in shards)})


def _details(shards: Sequence[Population]) -> Iterator[Metric]:
    """Families of the largest deficits, of collateral by asset and of exposures."""
    deficits: dict[str, int] = {}
    collateral: Counter[tuple[str, ...]] = Counter()
    sides: dict[str, dict[tuple[str, ...], float]] = {"dv01_usd": defaultdict(float), "delta_units": defaultdict(float)}
    for shard in shards:
        deficits |= shard.top_deficits_usd
        collateral.update(shard.collateral_usd)
        dv01 = {("dv01_usd", *key): amounts for key, amounts in shard.dv01_usd.items()}
        delta = {("delta_units", underlying): amounts for underlying, amounts in shard.delta_units.items()}
        for (name, *labels), amounts in (dv01 | delta).items():
            for side, amount in zip(LABEL_VALUES["side"], amounts, strict=True):
                sides[name][*labels, side] += amount
    largest = sorted(deficits, key=lambda account_id: -deficits[account_id])[:TOP]
    yield family("crossmargin_top_deficit_usd", {(account_id,): deficits[account_id] / 100 for account_id in largest})
    left_out = sum(shard.deficit_accounts for shard in shards) - len(largest)
    yield family("crossmargin_top_truncated", {(): left_out})
    yield family("crossmargin_collateral_usd", {key: cents / 100 for key, cents in collateral.items()})
    for name, samples in sides.items():
        yield family(f"crossmargin_{name}", samples)


def outlook_families(shards: Sequence[Outlook]) -> Iterator[Metric]:
    """Families of early warning and statements of these shards in sum; rules are the same on all of them."""
    ladders = [shard.warnings.ladder for shard in shards]
    yield family(
        "crossmargin_stress_accounts", {(name,): sum(ladder[name].accounts for ladder in ladders) for name in RUNGS}
    )
    called = {(name,): sum(ladder[name].call_usd for ladder in ladders) / 100 for name in RUNGS}
    yield family("crossmargin_stress_call_usd", called)
    worst = worst_moves([shard.warnings.forecast for shard in shards])
    yield family("crossmargin_call_forecast_usd", {(pool,): cents / 100 for pool, (_, cents) in worst.items()})
    due: Counter[tuple[str, str]] = Counter()
    for shard in shards:
        due.update(shard.warnings.due)
    yield family("crossmargin_liquidity_due_usd", {labels: cents / 100 for labels, cents in due.items()})
    regimes = {(state,): max(list(s.warnings.regimes.values()).count(state) for s in shards) for state in REGIMES}
    yield family("crossmargin_volatility_regime", regimes)
    stale = {one.instrument: one.type for shard in shards for one in shard.warnings.stale}
    types = Counter(stale.values())
    yield family("crossmargin_stale_instruments", {(kind,): types[kind] for kind in LABEL_VALUES["type"]})
    counts = [shard.reconciliation.counts for shard in shards]
    breaks = {(kind.name.lower(),): sum(count[kind.name] for count in counts) for kind in BreakKind if kind}
    yield family("crossmargin_reconciliation_breaks", breaks)
    found = [shard.reconciliation for shard in shards]
    ages = [one.ts_ns - one.oldest_ns for one in found if one.oldest_ns]
    yield family("crossmargin_reconciliation_oldest_seconds", {(): max(ages, default=0) / 1e9})

"""Every metric of the project, declared once: what collectors emit, rules and dashboards query, and the documentation lists.

Labels have few values, all known beforehand or bounded by the log's limits: never an account, but in the list of the TOP
largest deficits. A counter's name is as scraped, with _total.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from engine.codes import Code
from engine.documents import InstrumentType
from engine.events import Kind
from engine.reconciliation import BreakKind
from engine.report import CALL_AGES, OLDER, OPEN_CALLS, UTILIZATION_BOUNDS, CallEvent, Quality, Status
from engine.warning import LATER, REGIMES, RUNGS, WINDOWS

Type = Literal["gauge", "counter", "histogram", "gaugehistogram"]

LATENCY_BOUNDS: Final = (
    0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009, 0.010, 0.012, 0.015, 0.020, 0.025, 0.030, 0.040, 0.050,
    0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
NOTICE_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
POLL_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STEP_BOUNDS: Final = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.25, 1.0)
LABEL_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "status": tuple(status.name for status in Status),
    "quality": tuple(quality.name for quality in Quality),
    "kind": (*(kind.name.lower() for kind in Kind), *(kind.name.lower() for kind in BreakKind if kind)),
    "reason": tuple(code.reason for code in Code if code),
    "level": ("initial", "maintenance"),
    "change": tuple(event.name.lower() for event in CallEvent if event),
    "call": tuple(state.name for state in OPEN_CALLS),
    "age": (*CALL_AGES, OLDER),
    "sink": ("redis",),
    "state": ("in_force", "not_in_force", *REGIMES),
    "side": ("long", "short"),
    "shock": tuple(RUNGS),
    "window": (*WINDOWS, LATER),
    "outcome": ("delivered", "unwanted", "dead"),
    "type": get_args(InstrumentType),
    "code": ("1xx", "2xx", "3xx", "4xx", "5xx"),
    "result": ("taken", "failed"),
}
OPEN_LABELS: Final = frozenset(  # few values too, but not known here
    {
        *("pool", "shard", "limit", "version", "python", "asset", "currency", "bucket", "underlying", "account"),
        *("topic", "route"),
    }
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; bounds: upper limits of a histogram's buckets, without +Inf."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


METRICS: Final[tuple[Metric, ...]] = (
    Metric("crossmargin_accounts", "gauge", "Accounts by margin status.", ("status",)),
    Metric("crossmargin_accounts_quality", "gauge", "Accounts by quality of their figures' inputs.", ("quality",)),
    Metric(
        "crossmargin_clock_age_seconds", "gauge", "Wall time minus the last clock of the log, of the shard furthest behind."
    ),
    Metric("crossmargin_equity_usd", "gauge", "Equity of all accounts.", ("pool",)),
    Metric("crossmargin_requirement_usd", "gauge", "Margin requirement of all accounts.", ("pool", "level")),
    Metric("crossmargin_deficit_usd", "gauge", "What accounts lack to their maintenance margin.", ("pool",)),
    Metric("crossmargin_top_deficit_usd", "gauge", "The largest deficits by account, of each worker.", ("account",)),
    Metric("crossmargin_top_truncated", "gauge", "Accounts with a deficit that the list of the largest leaves out."),
    Metric("crossmargin_collateral_usd", "gauge", "What collateral held counts, after haircut and cap.", ("pool", "asset")),
    Metric(
        "crossmargin_dv01_usd",
        "gauge",
        "What all accounts long a bucket lose when yields rise by 0.01 %, and those short win.",
        ("currency", "bucket", "side"),
    ),
    Metric(
        "crossmargin_delta_units",
        "gauge",
        "Units of the underlying that all accounts are long in sum, and short.",
        ("underlying", "side"),
    ),
    Metric("crossmargin_agreements", "gauge", "Cross-margin agreements by whether they are in force.", ("state",)),
    Metric(
        "crossmargin_cross_margin_alone_usd",
        "gauge",
        "Maintenance margin that both houses' portfolios of agreements in force would require without them.",
    ),
    Metric("crossmargin_cross_margin_saving_usd", "gauge", "What agreements in force take off that requirement."),
    Metric(
        "crossmargin_utilization_ratio",
        "gaugehistogram",
        "Accounts with a requirement by maintenance margin over equity.",
        bounds=UTILIZATION_BOUNDS,
    ),
    Metric("crossmargin_margin_calls_open", "gauge", "Open margin calls by where they are in their life.", ("call",)),
    Metric("crossmargin_margin_calls_by_age", "gauge", "Open margin calls by time since they were issued.", ("age",)),
    Metric("crossmargin_margin_calls_usd", "gauge", "What open margin calls still ask for.", ("pool",)),
    Metric("crossmargin_margin_calls_total", "counter", "What happened to margin calls.", ("change",)),
    Metric("crossmargin_stress_accounts", "gauge", "Accounts that a move would bring below maintenance.", ("shock",)),
    Metric("crossmargin_stress_call_usd", "gauge", "What they would be called for after it.", ("shock",)),
    Metric(
        "crossmargin_call_forecast_usd",
        "gauge",
        "Further calls after the worst move of one factor by its standard deviation until the close.",
        ("pool",),
    ),
    Metric(
        "crossmargin_liquidity_due_usd",
        "gauge",
        "What open margin calls ask for by when it is due; what is overdue is in the first window.",
        ("currency", "window"),
    ),
    Metric("crossmargin_volatility_regime", "gauge", "Rules by where short volatility is to its band.", ("state",)),
    Metric(
        "crossmargin_stale_instruments",
        "gauge",
        "Instruments that make accounts STALE or UNPRICED: a price or another input is old or missing.",
        ("type",),
    ),
    Metric("crossmargin_reconciliation_breaks", "gauge", "Statements that differ from what is held.", ("kind",)),
    Metric("crossmargin_reconciliation_oldest_seconds", "gauge", "Age of the oldest such difference, in log time."),
    Metric("crossmargin_events_total", "counter", "Events applied; what all shards see is counted once.", ("kind",)),
    Metric("crossmargin_superseded_total", "counter", "Prices and volatilities older than the held one.", ("kind",)),
    Metric("crossmargin_rejects_total", "counter", "Events not applied.", ("reason",)),
    Metric("crossmargin_duplicates_total", "counter", "Records delivered again and skipped.", ("kind",)),
    Metric(
        "crossmargin_event_to_flag_seconds",
        "histogram",
        "From a batch's oldest event in Kafka to its flags acknowledged by Redis.",
        bounds=LATENCY_BOUNDS,
    ),
    Metric("crossmargin_step_seconds", "histogram", "Time of one engine step, a frame.", bounds=STEP_BOUNDS),
    Metric("crossmargin_batches_total", "counter", "Batches of events evaluated, with flags or without, on all shards."),
    Metric("crossmargin_log_lag_records", "gauge", "Frames of margin.log not yet applied.", ("shard",)),
    Metric("crossmargin_price_age_seconds_max", "gauge", "Age of the oldest mark of an open instrument, in log time."),
    Metric("crossmargin_capacity_used_ratio", "gauge", "Used part of a limit, of the fullest shard.", ("limit",)),
    Metric("crossmargin_id_span_seconds", "gauge", "Span of event time in which a repeated id is noticed; +Inf: all of it."),
    Metric("crossmargin_sink_backlog_accounts", "gauge", "Accounts whose newest figures are not written.", ("sink",)),
    Metric("crossmargin_sink_backlog_alerts", "gauge", "Alerts not written.", ("sink",)),
    Metric("crossmargin_sink_connected", "gauge", "1 while the sink's server answers.", ("sink",)),
    Metric("crossmargin_sink_resynchronizations_total", "counter", "Shards written anew as a whole.", ("sink",)),
    Metric("crossmargin_snapshot_age_seconds", "gauge", "Since the newest snapshot of the shard.", ("shard",)),
    Metric(
        "crossmargin_recovery_seconds", "gauge", "From the last assignment to the shard's log end, of the slowest shard."
    ),
    Metric("crossmargin_build_info", "gauge", "1; versions as labels.", ("version", "python")),
    Metric("crossmargin_sequencer_active", "gauge", "1 while this sequencer holds the inputs."),
    Metric("crossmargin_sequencer_events_total", "counter", "Events written to the log.", ("kind",)),
    Metric("crossmargin_sequencer_batches_total", "counter", "Batches written to the log."),
    Metric(
        "crossmargin_sequencer_batch_seconds", "histogram", "From a batch's decoding to its frames sent.", bounds=STEP_BOUNDS
    ),
    Metric("crossmargin_sequencer_lag_messages", "gauge", "Messages of an input not yet in the log.", ("topic",)),
    Metric(
        "crossmargin_notifier_notices_total",
        "counter",
        "Alerts that a webhook took, did not want, or that were given up for it.",
        ("route", "topic", "outcome"),
    ),
    Metric("crossmargin_notifier_retries_total", "counter", "Posts that failed and were sent again.", ("route", "topic")),
    Metric(
        "crossmargin_notifier_delivery_seconds",
        "histogram",
        "From an alert, in log time, to its delivery.",
        ("route",),
        NOTICE_BOUNDS,
    ),
    Metric(
        "crossmargin_notifier_lag_messages",
        "gauge",
        "Messages that a webhook's group has not done, whichever notifier has them.",
        ("route", "topic"),
    ),
    Metric("crossmargin_notifier_dead_letters", "gauge", "Dead letters that nobody sent again or dropped.", ("route",)),
    Metric("crossmargin_web_requests_total", "counter", "Requests answered; a live page counts when it goes.", ("code",)),
    Metric("crossmargin_web_sessions", "gauge", "Sessions that have not ended."),
    Metric("crossmargin_web_sockets", "gauge", "Live pages that are open."),
    Metric("crossmargin_web_poll_seconds", "histogram", "Time of one look at what changed in Redis.", bounds=POLL_BOUNDS),
    Metric("crossmargin_web_data_age_seconds", "gauge", "Wall time minus the last clock of what pages show."),
    Metric(
        "crossmargin_web_actions_total", "counter", "What users said about calls, by whether Kafka took it.", ("result",)
    ),
)
TABLE: Final[dict[str, Metric]] = {metric.name: metric for metric in METRICS}

"""The dashboard of the processes themselves: sequencer, workers, notifier, web server, Redis and Kafka as they see them."""

from typing import Final

from deploy.grafana.panels import Panel, lines, number

AGE: Final = number(
    "How old are these figures?",
    "max(crossmargin_clock_age_seconds)",
    "s",
    ((2, "orange"), (5, "red")),
    "Wall time minus the log's clock on the shard furthest behind. Red: the screens show the past.",
)
SYSTEM: Final = (
    AGE,
    number(
        "How many processes answer?",
        'sum(up{job=~"sequencer|worker|notifier|web"})',
        about="Sequencers, workers, notifiers and web servers that Prometheus reaches.",
    ),
    number(
        "How late are flags, 99 in 100?",
        "crossmargin:event_to_flag_seconds:p99_5m",
        "s",
        ((0.25, "orange"), (1, "red")),
        "From an event in Kafka to its flag acknowledged by Redis, of the last five minutes.",
    ),
    number("Is Redis there?", "min by (sink) (crossmargin_sink_connected)", "bool_yes_no", ((0, "red"), (1, "green"))),
    Panel(
        "Which alerts fire?",
        "table",
        (('max by (alertname, severity, team) (ALERTS{alertstate="firing"})', ""),),
        about="Watchdog always fires: it shows that alerting works.",
        links=(("What to do", "${runbooks:raw}/${__data.fields.alertname:percentencode}.md"),),
    ),
    lines("How many events come in?", ("crossmargin:events:rate1m", "{{kind}}"), unit="ops", stacked=True),
    lines(
        "How late are flags?",
        ("crossmargin:event_to_flag_seconds:p50_5m", "half of them within"),
        ("crossmargin:event_to_flag_seconds:p99_5m", "99 in 100 within"),
        unit="s",
        steps=((1, "red"),),
    ),
    lines(
        "What waits, and where?",
        ("max by (shard) (crossmargin_log_lag_records)", "frames of shard {{shard}}"),
        ("max by (topic) (crossmargin_sequencer_lag_messages)", "messages of {{topic}}"),
        ("sum by (sink) (crossmargin_sink_backlog_alerts)", "alerts for {{sink}}"),
        ("sum by (sink) (crossmargin_sink_backlog_accounts)", "accounts for {{sink}}"),
    ),
    lines(
        "What is rejected?", ("crossmargin:rejects:rate5m > 0 or sum(crossmargin:rejects:rate5m)", "{{reason}}"), unit="ops"
    ),
    lines(
        "What comes twice, or too late to count?",
        ("sum by (kind) (rate(crossmargin_duplicates_total[$__rate_interval]))", "{{kind}} delivered again"),
        ("sum by (kind) (rate(crossmargin_superseded_total[$__rate_interval]))", "{{kind}} older than the held one"),
        unit="ops",
    ),
    lines(
        "How long do a batch and a step take?",
        (
            "histogram_quantile(0.99, sum by (le) (rate(crossmargin_step_seconds_bucket[$__rate_interval])))",
            "step of the engine, 99 in 100 within",
        ),
        (
            "histogram_quantile(0.99, sum by (le) (rate(crossmargin_sequencer_batch_seconds_bucket[$__rate_interval])))",
            "batch of the sequencer, 99 in 100 within",
        ),
        unit="s",
    ),
    lines(
        "How many batches go through?",
        ("sum(rate(crossmargin_sequencer_batches_total[$__rate_interval]))", "written by the sequencer"),
        ("sum(rate(crossmargin_batches_total[$__rate_interval]))", "evaluated, on all shards"),
        unit="ops",
    ),
    lines(
        "Does the sequencer take what is sent?",
        ("sum by (kind) (rate(crossmargin_sequencer_events_total[$__rate_interval]))", "{{kind}}"),
        ("sum(crossmargin_sequencer_active)", "active sequencers"),
        unit="short",
    ),
    lines(
        "How old is the oldest price?",
        ("max(crossmargin_price_age_seconds_max)", "of an open instrument"),
        unit="s",
    ),
    lines(
        "Which prices and inputs are old or missing?",
        ("max by (type) (crossmargin_stale_instruments)", "{{type}}"),
        steps=((1, "red"),),
        about="Instruments held, or that price what is held; of the worker that has most. The page's overview names them.",
    ),
    lines(
        "How long would a crash take?",
        ("max by (shard) (crossmargin_snapshot_age_seconds)", "age of the snapshot of shard {{shard}}"),
        ("max(crossmargin_recovery_seconds)", "last recovery"),
        unit="s",
        steps=((300, "red"),),
    ),
    Panel(
        "How full is it?",
        "bargauge",
        (("max by (limit) (crossmargin_capacity_used_ratio)", "{{limit}}"),),
        "percentunit",
        ((0.75, "orange"), (0.9, "red")),
        about="Used part of each limit, of the fullest shard. What is full rejects.",
    ),
    lines(
        "Over what time is a repeated event noticed?",
        ("min(crossmargin_id_span_seconds) < +Inf or vector(0)", "ids are remembered for (0: all since the start)"),
        unit="s",
    ),
    lines(
        "How often was Redis written anew?",
        ("sum by (sink) (increase(crossmargin_sink_resynchronizations_total[1h]))", "shards within the hour"),
    ),
    lines(
        "Do statements agree with the books?",
        ("sum by (kind) (crossmargin_reconciliation_breaks)", "{{kind}}"),
        stacked=True,
        about="quantity: another one. missing_here: stated, not held. missing_there: held, not stated.",
    ),
    lines(
        "How old is the oldest difference to a statement?",
        ("max(crossmargin_reconciliation_oldest_seconds)", "oldest"),
        unit="s",
        steps=((86_400, "red"),),
    ),
    lines(
        "Do webhooks take their notices?",
        (
            "sum by (route, outcome)"
            ' (rate(crossmargin_notifier_notices_total{outcome=~"delivered|dead"}[$__rate_interval]))',
            "{{route}}: {{outcome}}",
        ),
        ("sum by (route) (rate(crossmargin_notifier_retries_total[$__rate_interval]))", "{{route}}: sent again"),
        unit="ops",
        width=6,
        about="dead: given up, a message of topic notices.dead.",
    ),
    lines(
        "How late are notices?",
        (
            "histogram_quantile(0.99, sum by (le, route)"
            " (rate(crossmargin_notifier_delivery_seconds_bucket[$__rate_interval])))",
            "{{route}}: 99 in 100 within",
        ),
        unit="s",
        width=6,
        about="From an alert, in log time, to its delivery.",
    ),
    lines(
        "How far are webhooks behind?",
        ("max by (route, topic) (crossmargin_notifier_lag_messages)", "messages of {{topic}} for {{route}}"),
        width=6,
        steps=((1000, "red"),),
    ),
    Panel(
        "How many notices wait to be sent again?",
        "bargauge",
        (("max by (route) (crossmargin_notifier_dead_letters)", "{{route}}"),),
        steps=((1, "red"),),
        width=6,
        about="Given up and neither sent again nor dropped: crossmargin notifier resend. (removed): of webhooks now gone.",
    ),
    lines(
        "How does the page answer?",
        ("sum by (code) (rate(crossmargin_web_requests_total[$__rate_interval]))", "{{code}}"),
        unit="ops",
        width=6,
        about="Requests by class of their answer. 4xx: refused. 5xx: Redis or Kafka is away, or a fault.",
    ),
    lines(
        "Who looks at the page?",
        ("sum(crossmargin_web_sockets)", "live pages open"),
        ("sum(crossmargin_web_sessions)", "sessions"),
        width=6,
    ),
    lines(
        "How old is what the page shows?",
        ("max(crossmargin_web_data_age_seconds)", "figures"),
        (
            "histogram_quantile(0.99, sum by (le) (rate(crossmargin_web_poll_seconds_bucket[$__rate_interval])))",
            "look at Redis, 99 in 100 within",
        ),
        unit="s",
        width=6,
        steps=((5, "red"),),
    ),
    lines(
        "Does Kafka take what users say about calls?",
        ("sum by (result) (increase(crossmargin_web_actions_total[1h]))", "{{result}} within the hour"),
        width=6,
    ),
    Panel("What runs?", "table", (("count by (job, version, python) (crossmargin_build_info)", ""),)),
)

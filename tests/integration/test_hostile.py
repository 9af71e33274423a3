"""Ten thousand mutated inputs among good ones, on a real Kafka: each gets one verdict, and the good ones never notice."""

import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from confluent_kafka import Producer
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from engine.core import MarginEngine
from engine.events import KIND_OF, TOPIC_OF, Kind
from engine.frames import Frame, Genesis
from engine.limits import Limits
from monitors.alerts import RejectMessage
from streams import kafka
from streams.directory import Directory
from streams.embedded import LOOPBACK, free_port
from streams.processes import Child, ready
from streams.rejects import raw_bytes
from streams.replay import replay_log
from streams.sequence import Message, SequencerCore
from streams.settings import Settings, environment
from streams.topics import INPUTS, LOG, REFERENCE
from tests.integration import chain
from tests.integration.mutants import ACCOUNTS, PARTITIONS, Plan, Sent, Storm
from tests.services import wait_until

MUTANTS = 10_000
SEED = int(os.environ.get("CROSSMARGIN_TEST_SEED", "0")) or 20_240_809
BATCH = 1000
PRODUCER = {"compression.type": "gzip", "message.max.bytes": 16 << 20, "linger.ms": 5}  # packed, large ones pass the broker
LIMITS = Limits(accounts=1 << 12, positions=1 << 14, ids=1 << 16)
Figures = Counter[tuple[str, ...]]
"""Samples of /metrics by name and label value."""


@pytest.mark.services
def test_ten_thousand_mutants_each_get_a_verdict(fresh_kafka: str, redis_url: str, tmp_path: Path) -> None:
    print(f"CROSSMARGIN_TEST_SEED={SEED} makes the same mutants")
    settings = Settings(
        kafka=fresh_kafka,
        redis_url=redis_url,
        redis_prefix="hostile:",
        shards=4,
        input_partitions=PARTITIONS,
        snapshots=str(tmp_path / "snapshots"),
        metrics_port=free_port(),
        sequencer_metrics_port=free_port(),
        limits=LIMITS,
    )
    with Child("sequencer", settings, tmp_path) as sequencer, Child("worker", settings, tmp_path) as worker:
        plan = Storm(SEED).plan(MUTANTS)
        sent = plan.opening + plan.storm
        wait_until(
            lambda: chain.alive(sequencer) and not ready(LOOPBACK, settings.sequencer_metrics_port), 60, "the sequencer"
        )
        for topics in ({REFERENCE}, set(INPUTS) - {REFERENCE}):  # as load does: definitions have arrived before events go
            send(settings, [message for message in plan.opening if message.topic in topics])
        opening, expected = count(plan.opening).total(), count(sent)
        wait_until(lambda: chain.alive(sequencer) and sequenced(settings) == opening, 60, "the opening in the log")
        wait_until(lambda: chain.alive(worker) and not ready(LOOPBACK, settings.metrics_port), 180, "the worker")
        begun = time.monotonic()
        send(settings, plan.storm)
        wait_until(
            lambda: chain.alive(sequencer, worker) and decided(settings) == expected.total(), 60, "a verdict for each event"
        )
        seconds = time.monotonic() - begun
        metrics = [scrape(port) for port in (settings.sequencer_metrics_port, settings.metrics_port)]
        assert sequencer.stop() == 0
        ends = [stop for _, stop in kafka.log_range(settings, LOG).values()]
        wait_until(lambda: chain.alive(worker) and chain.redis_offsets(settings) == ends, 60, "the log's end in Redis")
        assert worker.stop(30) == 0
    for child in (sequencer, worker):
        assert "Traceback" not in child.log.read_text()
    rejects = shown(settings)
    check_metrics(metrics, rejects, expected)
    check_verdicts(sent, rejects)
    replayed = chain.replay(settings)
    chain.check_alerts(settings, replayed)
    chain.check_redis(settings, replayed)
    check_the_good(settings, plan, replayed)
    reasons = Counter(reject.reason for reject in rejects)
    print(f"{MUTANTS} mutants in {len(sent)} messages, {expected.total()} events: {seconds:.1f} s; {dict(reasons)}")


def send(settings: Settings, messages: Sequence[Sent]) -> None:
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings, **PRODUCER)))
    for message in messages:
        delivery.send(message.topic, message.partition, message.value)
    assert delivery.wait(60)


def count(messages: Sequence[Sent]) -> Counter[str]:
    """Events sent, by topic."""
    sums: Counter[str] = Counter()
    for message in messages:
        sums[message.topic] += len(message.elements)
    return sums


# What the product says


def scrape(port: int) -> Figures:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
    return Counter({(s.name, *s.labels.values()): int(s.value) for s in samples if s.name.endswith("_total")})


def by_kind(figures: Figures, *names: str) -> Counter[str]:
    """Events by topic in the sum of these metrics."""
    sums = {topic: sum(figures[name, kind.name.lower()] for name in names) for kind, topic in TOPIC_OF.items()}
    return Counter(sums)


def by_reason(figures: Figures) -> Counter[str]:
    return Counter({labels[0]: count for (name, *labels), count in figures.items() if name == "crossmargin_rejects_total"})


def sequenced(settings: Settings) -> int:
    """Events that are in the log or rejected by the sequencer."""
    figures = scrape(settings.sequencer_metrics_port)
    return by_kind(figures, "crossmargin_sequencer_events_total").total() + by_reason(figures).total()


def decided(settings: Settings) -> int:
    """Events that have their last verdict."""
    sequencer, worker = scrape(settings.sequencer_metrics_port), scrape(settings.metrics_port)
    taken = by_kind(worker, "crossmargin_events_total", "crossmargin_superseded_total")
    return taken.total() + by_reason(worker).total() + by_reason(sequencer).total()


def shown(settings: Settings) -> list[RejectMessage]:
    """What `crossmargin rejects --json` prints."""
    command = [sys.executable, "-m", "streams", "rejects", "--json"]
    done = subprocess.run(command, env={**os.environ, **environment(settings)}, capture_output=True, timeout=60, check=True)
    return msgspec.json.decode(done.stdout, type=dict[str, list[RejectMessage]])["rejects"]


# What it must have said


def check_metrics(metrics: list[Figures], rejects: list[RejectMessage], expected: Counter[str]) -> None:
    """Sent = applied + superseded + rejected, topic by topic; the reasons counted are those in topic rejects."""
    sequencer, worker = metrics
    reasons = Counter(reject.reason for reject in rejects)
    assert +(by_reason(sequencer) + by_reason(worker)) == reasons
    rejected = Counter(reject.origin.topic for reject in rejects)
    taken = by_kind(worker, "crossmargin_events_total", "crossmargin_superseded_total")
    assert taken + rejected == expected
    assert by_kind(worker, "crossmargin_duplicates_total").total() == 0


def check_verdicts(sent: Sequence[Sent], rejects: list[RejectMessage]) -> None:
    """Each reject shows the bytes that were sent; nothing good is rejected, and everything certain has its reason."""
    by_origin = {(r.origin.topic, r.origin.partition, r.origin.offset, r.origin.index): r for r in rejects}
    assert len(by_origin) == len(rejects)
    next_offset: Counter[tuple[str, int]] = Counter()
    wrong = defaultdict(list)
    for message in sent:
        origin = message.topic, message.partition
        offset = next_offset[origin]
        next_offset[origin] += 1
        for index, element in enumerate(message.elements):
            reject = by_origin.pop((*origin, offset, index), None)
            if reject is not None and raw_bytes(reject) != element:
                wrong["bytes"].append((element[:200], reject))
            found, allowed = reject.reason if reject is not None else "", ("",)
            if index not in message.good:
                allowed = {"": (found,), "rejected": (found or "some reason",), "superseded": ("",)}.get(
                    message.verdict, (message.verdict,)
                )
            if found not in allowed:
                wrong[message.topic, found, allowed].append(element[:200])
    assert not wrong
    assert not by_origin, "rejects of what was not sent"


def check_the_good(settings: Settings, plan: Plan, replayed: chain.Replayed) -> None:
    """The good are as in a run in which nobody else sent anything: the same log without it, and the good inputs alone."""
    alone = chain.replay(settings, only_good(plan))
    genesis = kafka.read_genesis(settings)
    assert genesis is not None
    undisturbed = sequenced_alone(genesis, plan, max(engine.clock_ns for engine in replayed.engines))
    accounts = 0
    for engine, same_log, other in zip(replayed.engines, alone.engines, undisturbed, strict=True):
        names, stored, wanted = other.account_ids, engine.stored(), other.stored()
        assert same_log.stored() == wanted
        assert same_log.account_ids == names
        for name in ("positions", "holdings", "exposures"):
            assert {key: value for key, value in stored[name].items() if key[0] in names} == wanted[name]
        for name in ("marks", "volatilities"):
            assert {key: value for key, value in stored[name].items() if key in wanted[name]} == wanted[name]
        assert (figures(engine, names) == figures(same_log, names)).all()
        accounts += len(names)
    assert accounts == ACCOUNTS
    for alerts, wanted_alerts in zip(replayed.alerts, alone.alerts, strict=True):
        assert [alert for alert in alerts if not alert[0].startswith(b"rogue")] == wanted_alerts
    assert not alone.rejects
    assert not +alone.superseded


def only_good(plan: Plan) -> Callable[[Frame], Frame]:
    """Leaves out of a frame all but the good events and CLOCKs."""
    next_offset: Counter[tuple[str, int]] = Counter()
    good: set[tuple[int, int, int, int]] = set()
    for sent in (*plan.opening, *plan.storm):
        origin = sent.topic, sent.partition
        good.update((KIND_OF[sent.topic], sent.partition, next_offset[origin], index) for index in sent.good)
        next_offset[origin] += 1

    def edit(frame: Frame) -> Frame:
        origins = frame.records[["kind", "partition", "offset", "index"]].tolist()
        keep = [origin[0] == Kind.CLOCK or origin in good for origin in origins]
        documents = [d for d in frame.documents if (d.kind, d.partition, d.offset, d.index) in good]
        return replace(frame, records=frame.records[np.array(keep, np.bool_)], documents=documents)

    return edit


def sequenced_alone(genesis: Genesis, plan: Plan, clock_ns: int) -> list[MarginEngine]:
    """The engines after the good events, each a message of its own, through a sequencer's core up to the same CLOCK."""
    core = SequencerCore(genesis, 1, Directory(genesis.shards), {})
    frames = core.genesis_frames()
    offsets: Counter[tuple[str, int]] = Counter()
    messages: list[Message] = []
    for sent in (*plan.opening, *plan.storm):
        for index in sent.good:
            origin = sent.topic, sent.partition
            messages.append(Message(*origin, offsets[origin], 0, sent.elements[index]))
            offsets[origin] += 1
    for start in range(0, len(messages), BATCH):
        batch = core.batch(messages[start : start + BATCH], clock_ns)
        assert not batch.rejects
        frames += batch.frames
    by_shard = {number: [frame for shard, frame in frames if shard == number] for number in range(genesis.shards)}
    result = replay_log(by_shard)
    assert not result.rejects
    return result.engines


def figures(engine: MarginEngine, names: Sequence[str]) -> NDArray[np.void]:
    slots = [engine.find_account(name) for name in names]
    return engine.figures(np.array(slots, np.int32))

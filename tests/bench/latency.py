"""From the producer to a flag in Redis, at fixed rates: what one event costs in time while others flow.

Among the events are probes: trades of accounts that hold nothing else and have too little cash, so that each trade turns
the account's flag, to CALL and back to OK. Each probe's latency runs from the moment it was due to be sent to the moment
Redis gave its alert an id.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from confluent_kafka import Producer

from engine.events import NS
from streams import kafka
from streams.processes import Child
from tests.bench.result import Figures, Sizes, numbers, percentiles
from tests.bench.services import Chain, Services, Usage, say
from tests.bench.stream_data import opening, reference
from tests.bench.universe import CALM, INITIAL, MID, PARTITIONS, PRICES, PROBE, TICK, Universe, customer_id
from tests.bench.worker_metrics import histogram, quantile

PROBES: Final = 2000  # accounts, in turn: ten seconds from one probe of an account to its next
LOTS: Final = 10
WARM_SECONDS: Final = 15.0  # a broker compiles its code for so long
NAP_SECONDS: Final = 0.001
SETTLE_SECONDS: Final = 2.0
NOTES: Final = [
    "one event a message, 80 % trades, 20 % prices, one partition a topic; feeder, broker, sequencer, worker and Valkey"
    " share the machine; few accounts but the probes' are at the edge of a call (flags_per_s: how many flags there were)",
    "probe_ms: from the moment the probe was due (not when a late feeder sent it) to Redis' own time of the alert, which is"
    " in whole milliseconds and taken as its end, so up to 1 ms too long; it includes the feeder's queue and its linger"
    " (option linger_ms), and leaves out who reads Redis",
    "worker_ms: the worker's own histogram over the same time, from the broker's time of a batch's oldest event to Redis'"
    " acknowledgement of its flags; interpolated in buckets",
    "missed: probes whose flag did not come alone (two trades of an account within one clock, or lost)",
    "feeder_late_ms: how late the feeder itself sent its probes; where it is large, the machine is too small for all this",
]


@dataclass
class Feed:
    """What was sent at one rate, in how long; when each probe was due, by its account in order, and how late it was."""

    due_ns: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    late_ns: list[int] = field(default_factory=list)
    sent: int = 0
    seconds: float = 0.0


def run(sizes: Sizes, services: Services) -> tuple[Figures, list[str]]:
    """Percentiles at each rate."""
    universe = Universe(sizes.accounts, sizes.positions, sizes.seed, CALM, sizes.together)
    figures: Figures = {"accounts": sizes.accounts, "shards": sizes.shards, "together": sizes.together}
    with services.chain("latency", shards=sizes.shards, input_partitions=PARTITIONS) as chain:
        chain.produce([*reference(universe), *probe_documents()])
        day = chain.produce([*opening(universe, time.time_ns()), *probe_cash()])
        sequencer, worker = chain.start("sequencer"), chain.start("worker")
        chain.await_sequenced(day, sequencer, worker)
        chain.await_flagged(worker)
        feeder = Feeder(chain, universe, sizes.probes, sizes.linger_ms)
        for rate in numbers(sizes.rates):
            say(f"latency: {rate:,} events/s for {sizes.seconds:.0f} s")
            figures[f"rate_{rate}"] = _at_rate(chain, feeder, rate, sizes.seconds, sequencer, worker)
    return figures, NOTES


def _at_rate(chain: Chain, feeder: "Feeder", rate: int, seconds: float, sequencer: Child, worker: Child) -> Figures:
    """Feed a warm-up that is not measured, then measure."""
    feeder.feed(rate, WARM_SECONDS, Feed())
    settle(chain, sequencer, worker)
    _, last_id = status_alerts(chain, "-")
    before, usage = histogram(chain), Usage(sequencer=sequencer.pid, worker=worker.pid, broker=chain.broker_pid)
    feed = Feed()
    feeder.feed(rate, seconds, feed)
    used = usage.per_event_us(feed.sent)
    settle(chain, sequencer, worker)
    after = f"({last_id}" if last_id else "-"
    shown, _ = status_alerts(chain, after)
    flags = len(chain.redis.xrange(chain.keys.alerts, after))
    milliseconds, missed = matched(feed, shown)
    worker_counts = histogram(chain) - before
    own = {name: quantile(worker_counts, share) * 1000 for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}
    return {
        "events_per_s": feed.sent / feed.seconds,
        "flags_per_s": flags / feed.seconds,
        "probe_ms": percentiles(milliseconds),
        "probes": len(milliseconds),
        "missed": missed,
        "worker_ms": own,
        "feeder_late_ms": percentiles([late / 1e6 for late in feed.late_ns]),
        **used,
    }


def settle(chain: Chain, *children: Child) -> None:
    """Let what was fed come through."""
    chain.await_flagged(*children)
    time.sleep(SETTLE_SECONDS)
    chain.await_flagged(*children)


def status_alerts(chain: Chain, after: str) -> tuple[dict[str, list[tuple[str, int]]], str]:
    """Status alerts of probes: by account, (new status, end of the millisecond in which Redis took it); and the last id."""
    shown: dict[str, list[tuple[str, int]]] = defaultdict(list)
    last = ""
    entries: Any = chain.redis.xrange(chain.keys.alerts, after)
    for last, fields in entries:
        if fields["account"].startswith("P") and fields["kind"] == "status":
            shown[fields["account"]].append((fields["to"], (int(last.split("-")[0]) + 1) * 1_000_000))
    return shown, last


def matched(feed: Feed, shown: dict[str, list[tuple[str, int]]]) -> tuple[list[float], int]:
    """Milliseconds of each probe whose account shows exactly as many turns as it was traded; and how many others."""
    found: list[float] = []
    missed = 0
    for account, due_ns in feed.due_ns.items():
        turns = shown.get(account, [])
        if len(turns) == len(due_ns):
            found += [(at_ns - due) / 1e6 for (_, at_ns), due in zip(turns, due_ns, strict=True)]
        else:
            missed += len(due_ns)
    return found, missed


class Feeder:
    """Sends prepared events at a rate from this thread, every so often a probe instead. prices: share of price events."""

    def __init__(
        self, chain: Chain, universe: Universe, probes_per_second: int, linger_ms: float, prices: float = PRICES
    ) -> None:
        self._producer = Producer(kafka.producer_config(chain.settings, **{"linger.ms": linger_ms}))
        self._universe, self._probes_per_second, self._prices = universe, probes_per_second, prices
        self._trades = 0  # probes sent so far
        self._batch = 0

    def feed(self, rate: int, seconds: float, feed: Feed) -> None:
        """Send rate events a second for so long, and wait until they are acknowledged."""
        count = int(rate * seconds)
        self._batch += 1
        mark = b'"id":"T%d-' % self._batch  # ids are unique over all feeds
        messages = [
            (topic, partition, value.replace(b'"id":"T', mark, 1))
            for topic, partition, value in self._universe.messages(
                self._universe.events(count, self._prices), time.time_ns(), 1
            )
        ]
        every = max(1, rate // self._probes_per_second)
        producer, sent = self._producer, 0
        begun_ns = time.time_ns() + 50_000_000
        while sent < count:
            due = min(count, (time.time_ns() - begun_ns) * rate // NS)
            for number in range(sent, due):
                if number % every == 0:
                    self._probe(feed, begun_ns + number * NS // rate)
                    continue
                topic, partition, value = messages[number]
                producer.produce(topic, value, partition=partition)
            sent = max(sent, due)
            producer.poll(0)
            time.sleep(NAP_SECONDS)
        feed.sent += sent
        producer.flush()
        feed.seconds = time.time() - begun_ns / NS

    def send(self, topic: str, partition: int, value: bytes) -> None:
        """Send one message beside the feed, from any thread."""
        self._producer.produce(topic, value, partition=partition)

    def _probe(self, feed: Feed, due_ns: int) -> None:
        turn, number = divmod(self._trades, PROBES)
        self._trades += 1
        event = {
            "id": f"{turn}", "ts": due_ns, "account": probe_id(number), "instrument": PROBE,
            "qty": LOTS if turn % 2 == 0 else -LOTS, "price": MID * TICK, "source": "probe",
        }  # fmt: skip
        self._producer.produce("trades", msgspec.json.encode(event), partition=number % PARTITIONS)
        feed.due_ns[probe_id(number)].append(due_ns)
        feed.late_ns.append(time.time_ns() - due_ns)


def probe_id(number: int) -> str:
    """The id of a probe's account."""
    return f"P{number:05d}"


def probe_documents() -> Iterator[tuple[str, int, bytes]]:
    """The accounts of the probes."""
    documents: list[dict[str, Any]] = []
    for number in range(PROBES):
        customer = f"P{customer_id(number)}"
        documents.append({"kind": "customer", "id": customer})
        account = {"kind": "account", "id": probe_id(number), "customer": customer, "pool": "FUTURES", "currency": "USD"}
        documents.append(account)
    yield "reference", 0, msgspec.json.encode(documents)


def probe_cash() -> Iterator[tuple[str, int, bytes]]:
    """Half of what a probe's position requires, so that holding it is a call."""
    for partition in range(PARTITIONS):
        cash = {"id": "c", "ts": time.time_ns(), "asset": "USD", "qty": LOTS * INITIAL // 2, "source": "probe"}
        events = [{**cash, "account": probe_id(number)} for number in range(partition, PROBES, PARTITIONS)]
        yield "collateral", partition, msgspec.json.encode(events)

"""The sequencer: its pure core on messages in memory, and the real process from a preloaded Kafka to margin.log."""

import time
from typing import Final

from engine.events import NS
from engine.frames import Genesis
from engine.limits import Limits
from streams.sequence import Message, SequencerCore, rebuilt
from tests.bench.log_scan import scan
from tests.bench.result import Figures, Sizes
from tests.bench.services import Services, Usage, say
from tests.bench.stream_data import reference
from tests.bench.universe import PARTITIONS, Universe

BATCH: Final = 8192
CORE_EVENTS: Final = 200_000
FLOW: Final = ("trades", "prices")
NOTES: Final = [
    "80 % trades, 20 % prices, preloaded; trades go to one shard, prices to all",
    "process: from the clock of the first batch, taken before it is decoded, to the broker's time of the last frame",
    "cpu_us_per_event is processor time of the sequencer: what it would cost on a machine of its own",
    "core: SequencerCore.batch on messages in memory, processor time; no Kafka",
]


def run(sizes: Sizes, services: Services) -> tuple[Figures, list[str]]:
    """Rates of core and process, with one event a message and with many."""
    figures: Figures = {"accounts": sizes.accounts, "shards": sizes.shards}
    for per_message, count in ((1, sizes.events), (sizes.per_message, sizes.array_events)):
        universe = Universe(sizes.accounts, sizes.positions, sizes.seed)
        say(f"sequencer: core, {per_message} a message")
        rate = core_rate(universe, sizes.shards, min(count, CORE_EVENTS * (1 if per_message == 1 else 3)), per_message)
        figures[f"events_a_message_{per_message}"] = {"core_events_per_s": rate} | _process(
            services, universe, sizes.shards, count, per_message
        )
    return figures, NOTES


def core_rate(universe: Universe, shards: int, count: int, per_message: int) -> float:
    """Events a processor second of the pure core, in full batches."""
    genesis = Genesis(log_id="00" * 16, shards=shards, time_mode="wall", start_ns=time.time_ns(), limits=Limits())
    directory = rebuilt(shards, [body for _, _, body in reference(universe)])
    origins = {(topic, partition): 0 for topic in FLOW for partition in range(PARTITIONS)}
    core = SequencerCore(genesis, 1, directory, {("reference", 0): 0, **origins})
    events = universe.events(count)
    messages = []
    for topic, partition, value in universe.messages(events, time.time_ns(), per_message):
        messages.append(Message(topic, partition, origins[topic, partition], time.time_ns(), value))
        origins[topic, partition] += 1
    step = max(1, BATCH // per_message)
    batches = [messages[first : first + step] for first in range(0, len(messages), step)]
    taken = 0
    begun = time.thread_time()
    for part in batches:
        batch = core.batch(part, time.time_ns())
        taken += int(batch.accepted[1] + batch.accepted[2])
    seconds = time.thread_time() - begun
    assert taken == count
    return count / seconds


def _process(services: Services, universe: Universe, shards: int, count: int, per_message: int) -> Figures:
    """The real process on a preloaded Kafka."""
    with services.chain("sequencer", shards=shards, input_partitions=PARTITIONS) as chain:
        say(f"sequencer: preloading {count:,} events, {per_message} a message")
        chain.produce(reference(universe))
        events = universe.events(count)
        sent = chain.produce(universe.messages(events, time.time_ns(), per_message))
        say("sequencer: running")
        child = chain.start("sequencer")
        usage = Usage(sequencer=child.pid, broker=chain.broker_pid)
        chain.await_sequenced(sent, child)
        used = usage.per_event_us(count)
        child.stop()
        span = scan(chain, sent)
        trades = int(events.is_trade.sum())
        expected = trades + (count - trades) * shards
        assert span.records == expected, f"{span.records} records in the log, expected {expected}"
        seconds = span.ended_ms / 1000 - span.begun_ns / NS
        rates = {"events_per_s": count / seconds, "log_records_per_s": expected / seconds}
        return {"messages": sum(sent.values()), "events": count, "seconds": seconds, **rates, **used}

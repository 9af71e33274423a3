"""From preloaded JSON to flags in Redis, beside a stock per-event Faust worker, on the same Kafka in the same run."""

import math
import time
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

from engine.events import NS
from engine.report import Status
from streams import kafka
from streams.topics import REJECTS
from tests.bench.log_scan import scan
from tests.bench.result import Figures, Sizes
from tests.bench.services import Chain, Offsets, Services, Usage, reached, say
from tests.bench.stock import run_stock
from tests.bench.stream_data import opening, reference
from tests.bench.universe import INITIAL, MAINTENANCE, PARTITIONS, Events, Universe, account_id

LOOK_SECONDS: Final = 0.02
NOTES: Final = [
    "crossmargin: from the sequencer's first clock of the flow to the first look at Redis that shows the whole flow; broker,"
    " sequencer, worker and Valkey share the machine; every account is evaluated at every clock",
    "afterwards every account's equity, requirement and status in Redis is compared with plain sums over the events",
    "stock: a Faust worker as the manual writes it, from its first event to its last; its equities and requirements are"
    " compared with the same sums",
    "stock_flags_on_trades evaluates the traded account only, prices are just stored (less than crossmargin does); the ratio"
    " is to this one. stock_flags_on_prices evaluates every holder at each price, as plainly, position by position",
    "ratio_to_stock_one_a_message: many events a message here, one a message there",
]


def run(sizes: Sizes, services: Services) -> tuple[Figures, list[str]]:
    """Rates of both, and their ratios."""
    figures: Figures = {"accounts": sizes.accounts, "shards": sizes.shards}
    plans = ((1, sizes.events, sizes.stock_events), (sizes.per_message, sizes.array_events, sizes.stock_array_events))
    one = 0.0
    for per_message, count, stock_count in plans:
        universe = Universe(sizes.accounts, sizes.positions, sizes.seed)
        events = universe.events(count)
        with services.chain("end-to-end", shards=sizes.shards, input_partitions=PARTITIONS) as chain:
            ours, day = _ours(chain, universe, events, per_message)
            say(f"end_to_end: stock Faust, {per_message} a message")
            stock = run_stock(chain, universe, events, day, per_message, min(stock_count, count), False)
            part: Figures = {"crossmargin": ours, "stock_flags_on_trades": stock}
            if per_message == 1:
                one = stock["events_per_s"]
                full = min(sizes.stock_full_events, count)
                part["stock_flags_on_prices"] = run_stock(chain, universe, events, day, per_message, full, True)
        part["ratio"] = ours["events_per_s"] / stock["events_per_s"]
        if per_message != 1:
            part["ratio_to_stock_one_a_message"] = ours["events_per_s"] / one
        figures[f"events_a_message_{per_message}"] = part
    return figures, NOTES


def _ours(chain: Chain, universe: Universe, events: Events, per_message: int) -> tuple[Figures, Offsets]:
    """Let the processes take the start of the day, stop the sequencer, preload, let it go; figures and the day's offsets."""
    say(f"end_to_end: start of the day, {universe.accounts:,} accounts")
    chain.produce(reference(universe))
    day = chain.produce(opening(universe, time.time_ns()))
    sequencer, worker = chain.start("sequencer"), chain.start("worker")
    chain.await_sequenced(day, sequencer, worker)
    sequencer.stop()
    chain.await_flagged(worker)
    starts = chain.flagged()
    say(f"end_to_end: preloading {len(events):,} events, {per_message} a message")
    sent = chain.produce(universe.messages(events, time.time_ns(), per_message))
    ends = {place: count + day.get(place, 0) for place, count in sent.items()}
    say("end_to_end: running")
    with Looks(chain) as looks:
        sequencer = chain.start("sequencer")
        usage = Usage(sequencer=sequencer.pid, worker=worker.pid, broker=chain.broker_pid)
        chain.await_sequenced(ends, sequencer, worker)
        chain.await_flagged(worker)
        used = usage.per_event_us(len(events))
    span = scan(chain, ends, starts)
    seconds = (looks.first_at(span.ends) - span.begun_ns) / NS
    sequencer.stop()
    worker.stop()
    check(chain, universe, events)
    flags = int(chain.redis.xlen(chain.keys.alerts))
    figures = {
        "events": len(events), "seconds": seconds, "events_per_s": len(events) / seconds, "alerts_window": flags, **used,
        "sequencer_seconds": span.ended_ms / 1000 - span.begun_ns / NS,
    }  # fmt: skip
    return figures, day


class Looks:
    """Looks at Redis again and again in a thread: up to which log offset each shard is shown."""

    def __init__(self, chain: Chain) -> None:
        self._chain, self._ended = chain, Event()
        self._seen: list[tuple[int, dict[int, int]]] = []
        self._thread = Thread(target=self._look, name="looks")

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self._look_once()
        self._look_once()

    def _look_once(self) -> None:
        offsets = self._chain.flagged()
        self._seen.append((time.time_ns(), offsets))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def first_at(self, ends: dict[int, int]) -> int:
        """When these log offsets were first seen in Redis, wall time in nanoseconds."""
        return next(when for when, offsets in self._seen if reached(offsets, ends))


def check(chain: Chain, universe: Universe, events: Events) -> None:
    """Nothing was rejected, and Redis shows every account as plain sums over the events say."""
    assert kafka.watermarks(chain.settings, REJECTS, 0)[1] == 0, "events were rejected"
    equities, initials = universe.equities(events), universe.requirements(events)
    pipeline = chain.redis.pipeline(transaction=False)
    for number in range(universe.accounts):
        pipeline.hmget(chain.keys.account(account_id(number)), "equity", "initial", "status")
    rows = zip(pipeline.execute(), equities.tolist(), initials.tolist(), strict=True)
    for number, (found, equity, initial) in enumerate(rows):
        maintenance = initial * MAINTENANCE / INITIAL
        status = Status.OK if equity >= initial else Status.WATCH if equity >= maintenance else Status.CALL
        expected = (math.floor(equity * 100) / 100, initial, (Status.DEBIT if equity < 0 else status).name)
        assert (float(found[0]), float(found[1]), found[2]) == expected, (
            f"{account_id(number)}: {found}, expected {expected}"
        )

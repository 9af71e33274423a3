"""The real sequencer core and the real engine through random schedules, without a broker: point 5 of 'what it must show'.

A schedule feeds messages bit by bit to one or two writers at once, crashes them at any step (between rejects, in the
middle of a batch's frames, before a commit), lets others repeat from what was committed, and in some cases drops one
frame of the log. In the end nothing may be lost, doubled or reordered, and a dropped frame must be noticed, unless nothing
is missing without it (the last frames of a writer that crashed before it committed them).

CROSSMARGIN_SIMULATION_SCHEDULES says how many schedules run, CROSSMARGIN_SIMULATION_SEED replays one.
"""

import os
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from random import Random

import msgspec
import numpy as np
import pytest

from engine.core import LogError, MarginEngine
from engine.events import KINDS, NS, Kind, shard_of
from engine.frames import Genesis, decode_frame
from engine.limits import Limits
from streams.sequence import Batch, Message, SequencerCore, rebuilt

SCHEDULES = int(os.environ.get("CROSSMARGIN_SIMULATION_SCHEDULES", "10000"))
SEED = os.environ.get("CROSSMARGIN_SIMULATION_SEED")
SHARDS = 2
BASE_NS = 1_800_000_000 * NS
MICROS = 10**8  # one tick of one lot, in 1e-6 cents
LIMITS = Limits(
    accounts=8,
    positions=32,
    instruments=4,
    assets=4,
    currencies=2,
    factors=4,
    volatilities=4,
    rules=4,
    partitions=2,
    ids=256,
)
encode = msgspec.json.encode
Place = tuple[str, int, int, int]


@cache
def customers() -> tuple[str, str]:
    """Two customers that live in different shards."""
    names = [f"C{n}" for n in range(64)]
    first = names[0]
    return first, next(name for name in names if shard_of(name, SHARDS) != shard_of(first, SHARDS))


def account(account_id: str, customer: str) -> dict[str, object]:
    return {"kind": "account", "id": account_id, "customer": customer, "pool": "POOL", "currency": "USD"}


def documents() -> list[dict[str, object]]:
    """FIRST and SECOND, in two shards, are defined from the beginning; LATE comes when it comes."""
    first, second = customers()
    instrument = {"kind": "instrument", "id": "PERP", "type": "perpetual", "currency": "USD", "tick": 1, "band": [1, 1000]}
    return [
        {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
        {"kind": "pool", "id": "POOL", "regime": "test", "currency": "USD"},
        instrument,
        {"kind": "customer", "id": first},
        {"kind": "customer", "id": second},
        account("FIRST", first),
        account("SECOND", second),
        account("LATE", second),
    ]


@dataclass
class Inputs:
    """Messages by origin, and what they must come to."""

    messages: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    trades: list[tuple[str, int, int]] = field(default_factory=list)  # of FIRST and SECOND: account, lots, price
    late: list[Place] = field(default_factory=list)  # trades of LATE: the k-th buys 3^k lots
    bad: dict[Place, bytes] = field(default_factory=dict)
    last_price: int = 0
    last_total: int = 0
    actions: int = 0

    def add(self, topic: str, partition: int, events: list[dict[str, object]], bad: tuple[int, ...] = ()) -> None:
        """One message: a single event, or an array."""
        queue = self.messages.setdefault((topic, partition), [])
        offset = len(queue)
        for index in bad:
            self.bad[topic, partition, offset, index] = encode(events[index])
        queue.append(encode(events[0]) if len(events) == 1 else encode(events))


class Maker:
    """Makes the inputs of one schedule."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.inputs = Inputs()
        self.number = 0

    def make(self) -> Inputs:
        inputs, random = self.inputs, self.random
        for document in documents():
            inputs.add("reference", 0, [document])
        for partition, account_id in ((0, "FIRST"), (1, "SECOND")):
            for _ in range(random.randrange(3, 7)):
                self.trades(partition, account_id)
        inputs.add("trades", 1, [self.trade("NOBODY", 1, 5)], bad=(0,))
        for _ in range(random.randrange(1, 5)):
            inputs.last_price = random.randrange(1, 1000)
            inputs.add("prices", 0, [{"ts": BASE_NS, "instrument": "PERP", "price": inputs.last_price}])
        for n in range(random.randrange(1, 4)):
            inputs.last_total = random.randrange(1, 1000)
            total = {"account": "FIRST", "asset": "USD", "qty": inputs.last_total, "replace": True, "source": "s"}
            inputs.add("collateral", 0, [{"id": f"K{n}", "ts": BASE_NS, **total}])
        for n in range(random.randrange(2)):
            inputs.actions += 1
            note = {"user": "u", "kind": "note", "account": "SECOND", "call": "c"}
            inputs.add("actions", 0, [{"id": f"N{n}", "ts": BASE_NS, **note}])
        return inputs

    def trades(self, partition: int, account_id: str) -> None:
        """One message of trades, some of them of LATE, some of bad form."""
        inputs, random = self.inputs, self.random
        events: list[dict[str, object]] = []
        bad: list[int] = []
        offset = len(inputs.messages.get(("trades", partition), ()))
        for index in range(random.choice((1, 1, 1, 4))):
            if random.random() < 0.15:
                events.append(self.trade(account_id, 0, 5))
                bad.append(index)
            elif random.random() < 0.3 and len(inputs.late) < 14:
                events.append(self.trade("LATE", 3 ** len(inputs.late), 7))
                inputs.late.append(("trades", partition, offset, index))
            else:
                lots, price = random.choice((-3, -2, -1, 1, 2, 3)), random.randrange(1, 100)
                inputs.trades.append((account_id, lots, price))
                events.append(self.trade(account_id, lots, price))
        inputs.add("trades", partition, events, tuple(bad))

    def trade(self, account_id: str, lots: int, price: int) -> dict[str, object]:
        self.number += 1
        ids = {"id": f"T{self.number}", "account": account_id, "instrument": "PERP", "source": "s"}
        return {**ids, "ts": BASE_NS + self.random.randrange(10**10), "qty": lots, "price": price}


class World:
    """What survives crashes: inputs as far as they were sent, committed offsets, the log, and the rejects."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.inputs = Maker(random).make()
        mode = random.choice(("wall", "wall", "event"))
        start_ns = BASE_NS if mode == "wall" else 0
        self.genesis = Genesis(log_id="5a" * 16, shards=SHARDS, time_mode=mode, start_ns=start_ns, limits=LIMITS)
        self.sent = dict.fromkeys(self.inputs.messages, 0)
        self.sent["reference", 0] = len(documents()) - 1
        self.committed = dict.fromkeys(self.inputs.messages, 0)
        self.latest_ns = 0
        self.log: list[list[bytes]] = [[] for _ in range(SHARDS)]
        self.rejects: dict[Place, bytes] = {}
        self.writers = 0
        self.now_ns = BASE_NS + 20 * NS

    def feed(self) -> None:
        """Some more messages come in."""
        origin = self.random.choice(list(self.sent))
        self.sent[origin] = min(len(self.inputs.messages[origin]), self.sent[origin] + self.random.randrange(1, 4))

    def feed_all(self) -> None:
        self.sent = {origin: len(queue) for origin, queue in self.inputs.messages.items()}

    def message(self, origin: tuple[str, int], offset: int) -> Message:
        return Message(*origin, offset, BASE_NS + offset, self.inputs.messages[origin][offset])


class Writer:
    """One run of a sequencer process: its core, and the frames it has not got out yet, by shard."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.writers += 1
        directory = rebuilt(SHARDS, world.inputs.messages["reference", 0][: world.committed["reference", 0]])
        frame_records = world.random.choice((1, 3, 1024))
        self.core = SequencerCore(
            world.genesis,
            world.writers,
            directory,
            world.committed,
            frame_records=frame_records,
            latest_ns=world.latest_ns,
        )
        self.position = dict(world.committed)
        self.queues: list[deque[tuple[int, bytes]]] = [deque() for _ in range(SHARDS)]
        self.left: Counter[int] = Counter()
        self.commits: deque[tuple[int, dict[tuple[str, int], int], int]] = deque()
        self.batches = 0
        self.may_crash = True
        missing = [shard for shard in range(SHARDS) if not world.log[shard]]
        for shard, frame in self.core.genesis_frames(missing):
            self.queues[shard].append((0, frame))
            self.left[0] += 1

    def step(self) -> None:
        """One thing: take a batch, get a frame out, or commit."""
        random = self.world.random
        choices: list[Callable[[], None]] = [self.send] * 3
        if self.commits and not self.left[self.commits[0][0]]:
            choices.append(self.commit)
        if len(self.commits) < 3 and not self.left[0]:
            choices.append(self.take)
        random.choice(choices)()

    def take(self) -> None:
        messages = self.read()
        self.world.now_ns += self.world.random.randrange(2 * NS)
        batch = self.core.batch(messages, self.world.now_ns, self.more_reference)
        if batch.rejects:  # they wait until all before them is out, and are all out before the batch's first frame
            self.send_all()
            for reject in batch.rejects:
                if self.may_crash and self.world.random.random() < 0.05:
                    raise Crash
                place = (reject.topic, reject.partition, reject.offset, reject.index)
                self.world.rejects[place] = reject.raw
        self.queue(batch)

    def queue(self, batch: Batch) -> None:
        self.batches += 1
        for shard, frame in batch.frames:
            self.queues[shard].append((self.batches, frame))
            self.left[self.batches] += 1
        self.commits.append((self.batches, batch.positions, self.core.latest_ns))

    def read(self) -> list[Message]:
        """Some messages in any order that keeps each partition's."""
        messages: list[Message] = []
        for _ in range(self.world.random.choice((0, 1, 3, 6, 12))):
            behind = [origin for origin, at in self.position.items() if at < self.world.sent[origin]]
            if not behind:
                break
            origin = self.world.random.choice(behind)
            messages.append(self.world.message(origin, self.position[origin]))
            self.position[origin] += 1
        return messages

    def more_reference(self) -> list[Message]:
        origin = ("reference", 0)
        offsets = range(self.position[origin], self.world.sent[origin])
        self.position[origin] = max(self.position[origin], self.world.sent[origin])
        return [self.world.message(origin, offset) for offset in offsets]

    def send(self) -> None:
        waiting = [shard for shard in range(SHARDS) if self.queues[shard]]
        if waiting:
            shard = self.world.random.choice(waiting)
            batch, frame = self.queues[shard].popleft()
            self.world.log[shard].append(frame)
            self.left[batch] -= 1

    def send_all(self) -> None:
        while any(self.queues):
            self.send()

    def commit(self) -> None:
        _, positions, latest_ns = self.commits.popleft()
        self.world.committed.update(positions)
        self.world.latest_ns = latest_ns

    def finish(self) -> None:
        """Do all that is left, and stop in good order."""
        while any(self.position[origin] < sent for origin, sent in self.world.sent.items()):
            self.take()
        self.queue(self.core.finish())
        self.take()
        self.send_all()
        while self.commits:
            self.commit()


class Crash(Exception):
    """The process died."""


def run_schedule(random: Random) -> World:
    world = World(random)
    writers: list[Writer] = []
    for _ in range(random.randrange(10, 60)):
        if not writers or (len(writers) < 2 and random.random() < 0.08):
            writers.append(Writer(world))
        world.feed()
        writer = random.choice(writers)
        try:
            writer.step()
            if random.random() < 0.07:
                raise Crash
        except Crash:
            writers.remove(writer)
    world.feed_all()
    for writer in writers:
        with suppress(Crash):
            writer.finish()
    last = Writer(world)
    last.may_crash = False
    last.finish()
    return world


def follow(world: World) -> tuple[list[MarginEngine], np.ndarray, int]:
    """The engines after the log, some reloaded on the way; events applied or superseded by kind, and engine rejects."""
    counts = np.zeros(KINDS, np.int64)
    rejects, engines = 0, []
    for shard in range(SHARDS):
        engine, saved = MarginEngine(shard), b""
        reload_at = world.random.randrange(2 * len(world.log[shard]) + 2)
        offset = done = 0
        while offset < len(world.log[shard]):
            report = engine.step(decode_frame(world.log[shard][offset]), offset)
            if offset >= done:
                counts += report.applied + report.superseded
                rejects += len(report.rejects)
            offset += 1
            done = max(done, offset)
            if not saved and world.random.random() < 0.1:
                saved = engine.to_bytes()
            elif saved and offset >= reload_at:
                engine, reload_at = MarginEngine.from_bytes(saved), 10**9
                offset = engine.offset
        engines.append(engine)
    return engines, counts, rejects


def average_cost(trades: list[tuple[str, int, int]], account_id: str) -> tuple[int, int, int]:
    """Lots, cost and realized profit in micros, by the rule of the engine, in plain integers."""
    lots = cost = realized = 0
    for name, change, price in trades:
        if name != account_id:
            continue
        value = price * MICROS
        if lots * change >= 0:
            cost += change * value
        else:
            closed = min(abs(change), abs(lots))
            share = cost if closed == abs(lots) else cost * closed // abs(lots)
            realized += (1 if lots > 0 else -1) * closed * value - share
            cost = (lots + change) * value if abs(change) > abs(lots) else cost - share
        lots += change
    return lots, cost, realized


def check(world: World) -> None:
    engines, counts, engine_rejects = follow(world)
    inputs = world.inputs
    stored = [engine.stored() for engine in engines]
    positions = stored[0]["positions"] | stored[1]["positions"]
    for name in ("FIRST", "SECOND"):
        wanted = average_cost(inputs.trades, name)
        assert positions.get((name, "PERP"), (0, 0, 0)) == wanted, f"trades of {name} lost, doubled or reordered"
    assert [state["marks"]["PERP"][0] for state in stored] == [inputs.last_price * 1000] * SHARDS
    holdings = stored[0]["holdings"] | stored[1]["holdings"]
    assert holdings["FIRST", "USD"] == inputs.last_total * 100
    lots = positions.get(("LATE", "PERP"), (0, 0, 0))[0]
    applied_late = 0
    for k, place in enumerate(inputs.late):
        digit = lots // 3**k % 3
        assert digit < 2, f"{place} was applied twice"
        assert digit == 1 or place in world.rejects, f"{place} was lost"
        applied_late += digit
    rejected = {place: raw for place, raw in world.rejects.items() if place not in inputs.late}
    assert rejected == inputs.bad
    assert engine_rejects == inputs.actions  # notes on a call that there is not
    assert counts[Kind.TRADE] == len(inputs.trades) + applied_late
    assert counts[Kind.REFERENCE] == len(documents())
    assert counts[Kind.ACTION] == 0
    assert counts[Kind.PRICE] == len(inputs.messages["prices", 0])
    assert all(world.committed[origin] == len(queue) for origin, queue in inputs.messages.items())


def drop_one(world: World) -> tuple[str, bool]:
    """Drop a random frame of the log: which, and whether its writer wrote more to that shard, so that it must be noticed."""
    shard = world.random.randrange(SHARDS)
    log = world.log[shard]
    at = world.random.randrange(len(log))
    writer = decode_frame(log.pop(at)).writer
    return f"frame {at} of shard {shard} dropped", any(decode_frame(frame).writer == writer for frame in log[at:])


def simulate(seed: int) -> str:
    """Run and check one schedule; what became of its dropped frame, "" when none was dropped."""
    random = Random(seed)
    world = run_schedule(random)
    if random.random() < 0.7:
        check(world)
        return ""
    dropped, has_more = drop_one(world)
    try:
        check(world)
    except LogError:
        return "noticed"
    except AssertionError as error:
        raise AssertionError(f"{dropped}, nobody noticed: {error}") from error
    assert not has_more, f"{dropped}, nobody noticed"
    return "not needed"


def seeds() -> list[int]:
    return [int(SEED)] if SEED else list(range(SCHEDULES))


def test_schedules() -> None:
    dropped: Counter[str] = Counter()
    for seed in seeds():
        try:
            dropped[simulate(seed)] += 1
        except Exception as error:
            pytest.fail(f"CROSSMARGIN_SIMULATION_SEED={seed} replays this schedule: {error!r}")
    if len(seeds()) >= 100:
        assert dropped["noticed"] > dropped["not needed"]

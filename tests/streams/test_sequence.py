"""The sequencer's core: order, frames, ranges, both time modes, definitions first, rejects with their bytes."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codes import Code
from engine.events import CLOCK_NS, NS, RECORD, TOPIC_OF, Kind, shard_of
from engine.frames import Frame, FrameKind, Genesis, TimeMode, decode_frame
from engine.limits import Limits
from streams.directory import Directory
from streams.framing import MAX_DOCUMENT_BYTES
from streams.sequence import MAX_JUMP_NS, Batch, Message, SequencerCore, rebuilt

SHARDS = 3
START_NS = 1_800_000_000 * NS
CUSTOMERS = {shard: next(f"C{n}" for n in range(99) if shard_of(f"C{n}", SHARDS) == shard) for shard in range(SHARDS)}
encode = msgspec.json.encode
DOCUMENTS: list[dict[str, Any]] = [
    {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
    {"kind": "pool", "id": "POOL", "regime": "r", "currency": "USD"},
    {"kind": "instrument", "id": "I", "type": "perpetual", "currency": "USD", "tick": 1, "band": [0, 9]},
    *({"kind": "customer", "id": customer} for customer in CUSTOMERS.values()),
    *({"kind": "account", "id": f"A{s}", "customer": c, "pool": "POOL", "currency": "USD"} for s, c in CUSTOMERS.items()),
]


def core_of(mode: TimeMode = "wall", *, directory: Directory | None = None, **more: Any) -> SequencerCore:
    """A core whose directory knows DOCUMENTS, unless another one is given."""
    start_ns = START_NS if mode == "wall" else 0
    genesis = Genesis(log_id="ab" * 16, shards=SHARDS, time_mode=mode, start_ns=start_ns, limits=Limits())
    known = rebuilt(SHARDS, map(encode, DOCUMENTS)) if directory is None else directory
    return SequencerCore(genesis, 7, known, more.pop("positions", {}), **more)


def message(topic: str, offset: int, event: Any, partition: int = 0, timestamp_ns: int = 0) -> Message:
    return Message(topic, partition, offset, timestamp_ns, event if isinstance(event, bytes) else encode(event))


def trade(account: str = "A0", ts: int = START_NS, **more: Any) -> dict[str, Any]:
    return {"id": "1", "ts": ts, "account": account, "instrument": "I", "qty": 1, "price": 2, "source": "s", **more}


def price(ts: int = START_NS) -> dict[str, Any]:
    return {"ts": ts, "instrument": "I", "price": 2}


def action(account: str = "A0", ts: int = START_NS) -> dict[str, Any]:
    return {"id": "1", "ts": ts, "user": "u", "kind": "ack", "account": account, "call": "c"}


def frames_of(batch: Batch, shard: int) -> list[Frame]:
    return [decode_frame(data) for where, data in batch.frames if where == shard]


def records_of(batch: Batch, shard: int) -> np.ndarray:
    return np.concatenate([np.empty(0, RECORD), *(frame.records for frame in frames_of(batch, shard))])


def clocks_of(batch: Batch, shard: int = 0) -> list[int]:
    records = records_of(batch, shard)
    return [int(ts) for ts in records["ts_ns"][records["kind"] == Kind.CLOCK]]


def never() -> Sequence[Message]:
    raise AssertionError("more of reference was asked for")


# Frames


def test_genesis_says_where_the_inputs_begin() -> None:
    core = core_of(positions={("trades", 1): 5})
    frames = [(shard, decode_frame(data)) for shard, data in core.genesis_frames()]
    assert [shard for shard, _ in frames] == [0, 1, 2]
    for shard, frame in frames:
        assert (frame.kind, frame.shard, frame.number, frame.last) == (FrameKind.GENESIS, shard, 0, True)
        assert frame.genesis == core.genesis
        assert frame.ranges.tolist() == [(Kind.TRADE, 1, 5, 5)]
    again = core_of()
    assert [shard for shard, _ in again.genesis_frames([2])] == [2]
    numbers = [decode_frame(data).number for _, data in again.batch([], START_NS).frames]
    assert numbers == [0, 0, 1]


def test_every_batch_ends_on_every_shard_with_ranges_and_a_clock() -> None:
    core = core_of(positions={("trades", 0): 3, ("prices", 0): 9, ("trades", 1): 4})
    core.batch([], START_NS)
    messages = [message("trades", 3, trade("A1"), timestamp_ns=50), message("prices", 9, price(), timestamp_ns=40)]
    batch = core.batch([*messages, message("trades", 5, trade("A2"))], START_NS + 5)
    assert batch.positions == {("trades", 0): 6, ("prices", 0): 10}
    for shard in range(SHARDS):
        frames = frames_of(batch, shard)
        assert [frame.last for frame in frames] == [False] * (len(frames) - 1) + [True]
        assert sorted(frames[-1].ranges.tolist()) == [(Kind.TRADE, 0, 3, 6), (Kind.PRICE, 0, 9, 10)]
        assert frames[-1].oldest_ns == 40
        assert clocks_of(batch, shard) == [START_NS + 5]
        assert records_of(batch, shard)["kind"][-1] == Kind.CLOCK
        assert {(f.writer, f.log_id.hex(), f.shards) for f in frames} == {(7, "ab" * 16, SHARDS)}


def test_the_first_batch_states_all_positions() -> None:
    core = core_of(positions={("trades", 0): 3, ("prices", 0): 9})
    first, second = core.batch([message("trades", 3, trade())], START_NS), core.batch([], START_NS)
    assert frames_of(first, 1)[-1].ranges.tolist() == [(Kind.TRADE, 0, 3, 4), (Kind.PRICE, 0, 9, 9)]
    assert frames_of(second, 1)[-1].ranges.tolist() == []


def test_a_message_that_comes_again_moves_no_position_back() -> None:
    core = core_of(positions={("trades", 0): 3})
    core.batch([message("trades", 3, trade())], START_NS)
    assert core.batch([message("trades", 2, trade())], START_NS).positions == {("trades", 0): 4}


def test_records_go_to_their_shard_and_prices_to_all_in_the_order_of_messages() -> None:
    arrays = [[trade("A1", id="a"), trade("A0", id="b"), trade("A1", id="c")], [price(), price()]]
    messages = [
        message("trades", 0, arrays[0]),
        message("prices", 0, arrays[1], 1),
        message("trades", 1, trade("A1", id="d")),
    ]
    batch = core_of().batch(messages, START_NS)
    origins = {
        shard: [(TOPIC_OF[Kind(r["kind"])], int(r["offset"]), int(r["index"])) for r in records_of(batch, shard)[:-1]]
        for shard in range(SHARDS)
    }
    prices = [("prices", 0, 0), ("prices", 0, 1)]
    assert origins[0] == [("trades", 0, 1), *prices]
    assert origins[1] == [("trades", 0, 0), ("trades", 0, 2), *prices, ("trades", 1, 0)]
    assert origins[2] == prices
    assert batch.accepted[[Kind.TRADE, Kind.PRICE, Kind.CLOCK]].tolist() == [4, 2, 1]
    assert set(records_of(batch, 1)["partition"][:-1].tolist()) == {0, 1}


events = st.one_of(
    st.builds(trade, st.sampled_from(["A0", "A1", "A2", "nobody"]), st.integers(START_NS, START_NS + NS)),
    st.builds(price, st.integers(START_NS, START_NS + NS)),
    st.builds(action, st.sampled_from(["A0", "A1", "nobody"]), st.integers(START_NS, START_NS + NS)),
    st.sampled_from([b"garbage", {"id": 5}, []]),
)


def as_messages(stream: list[Any]) -> list[Message]:
    """Events as messages of their topics; what is none goes to trades."""
    messages = []
    for offset, event in enumerate(stream):
        fields = event if isinstance(event, dict) else {}
        topic = "trades" if "qty" in fields or "ts" not in fields else "actions" if "call" in fields else "prices"
        messages.append(message(topic, offset, event))
    return messages


def told(frames: list[Frame]) -> list[Any]:
    """What frames say, whatever the cuts between them."""
    items: list[Any] = []
    for frame in frames:
        items += [tuple(row) for row in frame.records.tolist()]
        items += [(entry.kind, entry.offset, entry.index, bytes(entry.body)) for entry in frame.documents]
    return items


@settings(deadline=None)
@given(st.lists(events, max_size=30), st.sampled_from(["wall", "event"]), st.integers(1, 30))
def test_cuts_change_nothing(stream: list[Any], mode: TimeMode, batch_size: int) -> None:
    messages = as_messages(stream)
    results = []
    for frame_records in (1, 7, 1024):
        core = core_of(mode, frame_records=frame_records)
        batches = [core.batch(messages[at : at + batch_size], START_NS) for at in range(0, len(messages), batch_size)]
        batches.append(core.finish())
        for batch in batches:
            frames = [decode_frame(data) for _, data in batch.frames]
            assert all(len(frame.records) <= frame_records and len(frame.documents) <= frame_records for frame in frames)
            assert sum(frame.last for frame in frames) in (0, SHARDS)
        results.append([told([f for batch in batches for f in frames_of(batch, shard)]) for shard in range(SHARDS)])
        taken = sum(int(batch.accepted[1:].sum()) for batch in batches)
        assert taken + sum(len(batch.rejects) for batch in batches) == sum(event != [] for event in stream)
    assert results[0] == results[1] == results[2]


def test_actions_travel_as_documents_in_their_place() -> None:
    bodies = [action("A1"), action("A1", START_NS + 1)]
    messages = [message("trades", 0, trade("A1")), message("actions", 4, bodies), message("prices", 0, price())]
    batch = core_of().batch(messages, START_NS)
    kinds = [(frame.kind, len(frame.records) + len(frame.documents)) for frame in frames_of(batch, 1)]
    assert kinds == [(FrameKind.RECORDS, 1), (FrameKind.DOCUMENTS, 2), (FrameKind.RECORDS, 2)]
    entries = frames_of(batch, 1)[1].documents
    assert [(e.kind, e.partition, e.offset, e.index, bytes(e.body)) for e in entries] == [
        (Kind.ACTION, 0, 4, index, encode(body)) for index, body in enumerate(bodies)
    ]
    assert [frame.kind for frame in frames_of(batch, 0)] == [FrameKind.RECORDS]


def test_an_action_at_the_end_in_event_time_is_followed_by_the_ranges() -> None:
    batch = core_of("event").batch([message("actions", 0, action("A1"))], 0)
    last = frames_of(batch, 1)[-1]
    assert (last.kind, len(last.records), last.last, len(last.ranges)) == (FrameKind.RECORDS, 0, True, 1)


def test_large_documents_are_spread_over_frames() -> None:
    name = "n" * 200
    documents = [{"kind": "customer", "id": f"X{n}", "name": name} for n in range(2000)]
    messages = [message("reference", n, encode(document) + b" " * 2000) for n, document in enumerate(documents)]
    batch = core_of().batch(messages, START_NS)
    assert all(len(data) < 2 * MAX_DOCUMENT_BYTES for _, data in batch.frames)
    sent = [e.offset for s in range(SHARDS) for f in frames_of(batch, s) for e in f.documents]
    assert sorted(sent) == list(range(2000))


# Definitions first


def test_definitions_come_before_the_batch_and_go_where_they_belong() -> None:
    core = core_of(directory=Directory(SHARDS))
    messages = [message("trades", 0, trade("A1"))]
    messages += [message("reference", offset, document) for offset, document in enumerate(DOCUMENTS)]
    batch = core.batch(messages, START_NS, never)
    assert not batch.rejects
    assert batch.accepted[Kind.REFERENCE] == len(DOCUMENTS)
    for shard in range(SHARDS):
        first = frames_of(batch, shard)[0]
        assert first.kind is FrameKind.DOCUMENTS
        assert [e.offset for e in first.documents] == [0, 1, 2, 3 + shard, 3 + SHARDS + shard]
    assert len(records_of(batch, 1)) == 2


def test_an_unknown_name_reads_more_of_reference_once() -> None:
    core = core_of(directory=rebuilt(SHARDS, map(encode, DOCUMENTS[:-1])), positions={("reference", 0): len(DOCUMENTS) - 1})
    asked = []

    def more() -> Sequence[Message]:
        asked.append(True)
        return [message("reference", len(DOCUMENTS) - 1, DOCUMENTS[-1])]

    late, nobody = trade("A2"), trade("nobody")
    batch = core.batch([message("trades", 0, [late, nobody, late]), message("prices", 0, price())], START_NS, more)
    assert asked == [True]
    assert [(r.index, r.code, r.raw) for r in batch.rejects] == [(1, Code.UNKNOWN_ACCOUNT, encode(nobody))]
    assert batch.positions["reference", 0] == len(DOCUMENTS)
    frames = frames_of(batch, 2)
    assert [e.offset for e in frames[0].documents] == [len(DOCUMENTS) - 1]
    assert [(int(r["kind"]), int(r["index"])) for r in records_of(batch, 2)[:-1]] == [(1, 0), (1, 2), (2, 0)]
    assert (Kind.REFERENCE, 0, len(DOCUMENTS) - 1, len(DOCUMENTS)) in frames[-1].ranges.tolist()


def test_bad_documents_are_rejected_with_their_bytes() -> None:
    colour = {**DOCUMENTS[1], "colour": "red"}
    moved = {**DOCUMENTS[-1], "customer": CUSTOMERS[0]}
    orphan = {**DOCUMENTS[-1], "id": "A9", "customer": "nobody"}
    batch = core_of().batch([message("reference", 0, [colour, moved]), message("reference", 1, orphan)], START_NS)
    found = [(r.topic, r.offset, r.index, r.code, r.raw) for r in batch.rejects]
    assert found == [
        ("reference", 0, 0, Code.BAD_FIELD, encode(colour)),
        ("reference", 0, 1, Code.CHANGED_DEFINITION, encode(moved)),
        ("reference", 1, 0, Code.UNKNOWN_NAME, encode(orphan)),
    ]
    assert batch.accepted[Kind.REFERENCE] == 0


def test_rejects_carry_origin_and_bytes_of_their_element() -> None:
    bad = trade(qty=0)
    messages = [
        Message("trades", 3, 8, 77, b" [" + encode(trade()) + b" ,  " + encode(bad) + b"]"),
        Message("trades", 3, 9, 78, None),
    ]
    batch = core_of().batch(messages, START_NS)
    found = sorted((r.topic, r.partition, r.offset, r.index, r.code, r.raw, r.ts_ns) for r in batch.rejects)
    assert found == [
        ("trades", 3, 8, 1, Code.BAD_FIELD, encode(bad), 77),
        ("trades", 3, 9, 0, Code.NOT_JSON, b"", 78),
    ]


# Time


def test_wall_clocks_never_go_back() -> None:
    core = core_of()
    times = [START_NS + 5, START_NS + 3, START_NS + 9]
    assert [clocks_of(core.batch([], now)) for now in times] == [[START_NS + 5], [START_NS + 5], [START_NS + 9]]
    assert not core.finish().frames


def test_after_a_pause_a_clock_stands_before_the_events_too() -> None:
    core = core_of()
    now = START_NS + 3600 * NS
    batch = core.batch([message("trades", 0, trade(ts=now)), message("actions", 0, action(ts=now))], now)
    assert clocks_of(batch) == [now, now]
    assert [int(kind) for kind in records_of(batch, 0)["kind"]] == [Kind.CLOCK, Kind.TRADE, Kind.CLOCK]
    assert clocks_of(core.batch([message("trades", 1, trade(ts=now))], now + CLOCK_NS)) == [now + CLOCK_NS]


def test_event_clocks_stand_before_the_first_event_past_each_boundary() -> None:
    core = core_of("event")
    times = [0, 30, 100, 99, 130, 450, 449, 500]
    messages = [message("trades", n, trade(ts=START_NS + ms * 10**6)) for n, ms in enumerate(times)]
    batch = core.batch(messages[:5], 0)
    more = core.batch(messages[5:], 0)
    said = [
        (int(r["ts_ns"]) - START_NS) // 10**6 * (-1 if r["kind"] == Kind.CLOCK else 1)
        for part in (batch, more)
        for r in records_of(part, 0)
    ]
    assert said == [0, 0, 30, -100, 100, 99, 130, -400, 450, 449, -500, 500]
    assert clocks_of(batch) == [START_NS, START_NS + CLOCK_NS]
    assert clocks_of(core.finish()) == [START_NS + 500 * 10**6]  # the event on the boundary is evaluated too
    core.batch([message("trades", 9, trade(ts=START_NS + 501 * 10**6))], 0)
    assert clocks_of(core.finish()) == [START_NS + 501 * 10**6]
    assert not core.finish().frames


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9 * 86_400 * 10), max_size=6), max_size=6), st.integers(0, 3))
def test_event_time_against_a_slow_twin(batches: list[list[int]], restart_at: int) -> None:
    """Times in tenths of a second; the core is replaced by one that only knows what was committed."""
    core = core_of("event")
    latest = clock = 0
    for number, tenths in enumerate(batches):
        if number == restart_at:
            core = core_of("event", latest_ns=core.latest_ns)
        times = [START_NS + tenth * CLOCK_NS + tenth % 7 for tenth in tenths]
        batch = core.batch([message("trades", n, trade(ts=ts)) for n, ts in enumerate(times)], 0)
        said: list[tuple[int, int]] = []
        jumps = []
        for n, ts in enumerate(times):
            if latest and ts > latest + MAX_JUMP_NS:
                jumps.append(n)
                continue
            latest = max(latest, ts)
            if latest // CLOCK_NS * CLOCK_NS > clock:
                clock = latest // CLOCK_NS * CLOCK_NS
                said.append((Kind.CLOCK, clock))
            said.append((Kind.TRADE, ts))
        assert [(int(r["kind"]), int(r["ts_ns"])) for r in records_of(batch, 0)] == said
        assert [(r.offset, r.code) for r in batch.rejects] == [(n, Code.TIME_JUMP) for n in jumps]


def test_a_jump_past_four_days_is_rejected_with_its_bytes() -> None:
    core = core_of("event")
    far = trade(ts=START_NS + MAX_JUMP_NS + 1)
    batch = core.batch([message("trades", 0, [trade(), far, trade(ts=START_NS + MAX_JUMP_NS)])], 0)
    (reject,) = batch.rejects
    assert (reject.index, reject.code, reject.raw) == (1, Code.TIME_JUMP, encode(far))
    assert "4 days" in reject.detail
    assert clocks_of(batch) == [START_NS, START_NS + MAX_JUMP_NS]


def test_a_topic_that_is_no_input_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        core_of().batch([message("margin.log", 0, b"")], START_NS)

"""Frames as bytes: there and back, and damaged bytes are BadFrame, never another error."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import BROADCAST, KIND_OF, MAX_FRAME_RECORDS, RECORD, TOPIC_OF, Kind, id_key, key64, shard_of
from engine.frames import MAX_FRAME_BYTES, RANGE, BadFrame, Entry, Frame, FrameKind, Genesis, decode_frame, encode_frame
from engine.limits import Limits
from tests.strategies import LOG_ID, Cut, frames, stream

U64 = st.integers(0, 2**64 - 1)
HEADERS = st.fixed_dictionaries(
    {
        "shard": st.integers(0, 2**16 - 1), "shards": st.integers(0, 2**16 - 1),
        "log_id": st.binary(min_size=16, max_size=16),
        "writer": U64, "number": U64, "last": st.booleans(), "oldest_ns": st.integers(-(2**63), 2**63 - 1),
    }
)  # fmt: skip


def same(one: Frame, other: Frame) -> bool:
    """Whether two frames say the same."""
    return encode_frame(one) == encode_frame(other) and all(
        getattr(one, name) == getattr(other, name)
        for name in ("kind", "shard", "shards", "log_id", "writer", "number", "last", "oldest_ns", "genesis")
    )


def arrays(dtype: np.dtype, most: int) -> st.SearchStrategy[np.ndarray]:
    """Arrays of a record dtype with any content."""
    return st.integers(0, most).flatmap(
        lambda n: st.binary(min_size=n * dtype.itemsize, max_size=n * dtype.itemsize).map(
            lambda data: np.frombuffer(data, dtype)
        )
    )


def test_the_record_is_64_bytes_without_padding() -> None:
    assert RECORD.itemsize == 64 == sum(RECORD[name].itemsize for name in RECORD.names)
    assert RANGE.itemsize == 24 == sum(RANGE[name].itemsize for name in RANGE.names)
    assert len(encode_frame(Frame(FrameKind.RECORDS, 0, 1, LOG_ID, 1, 0))) == 64


@given(HEADERS, arrays(RANGE, 5), arrays(RECORD, 9))
def test_records_come_back(header: dict, ranges: np.ndarray, records: np.ndarray) -> None:
    frame = Frame(FrameKind.RECORDS, ranges=ranges, records=records, **header)
    back = decode_frame(encode_frame(frame))
    assert same(back, frame)
    assert (back.records == records).all()
    assert (back.ranges == ranges).all()


PLACES = st.tuples(st.integers(0, 8), st.integers(0, 9), st.integers(0, 2**53), st.integers(0, 4095), st.text())


@given(HEADERS, st.lists(PLACES))
def test_documents_come_back(header: dict, rows: list) -> None:
    documents = [Entry(*place, msgspec.Raw(msgspec.json.encode({"id": text}))) for *place, text in rows]
    back = decode_frame(encode_frame(Frame(FrameKind.DOCUMENTS, documents=documents, **header)))
    assert [(e.kind, e.partition, e.offset, e.index, bytes(e.body)) for e in back.documents] == [
        (e.kind, e.partition, e.offset, e.index, bytes(e.body)) for e in documents
    ]


@given(HEADERS, st.builds(Limits, accounts=st.integers(1, 99), ids=st.integers(1, 99)), st.integers(0, 2**62))
def test_the_genesis_comes_back(header: dict, limits: Limits, start_ns: int) -> None:
    genesis = Genesis(log_id=LOG_ID.hex(), shards=16, time_mode="event", start_ns=start_ns, limits=limits)
    frame = Frame(FrameKind.GENESIS, genesis=genesis, **header)
    assert same(decode_frame(encode_frame(frame)), frame)


@given(st.binary(max_size=300))
def test_other_bytes_are_no_frame(data: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_frame(data)


SAMPLES = [encode_frame(frame) for frame in frames(stream(1, 60), 1, Cut(frame=5))[0]][:80]


@given(st.sampled_from(SAMPLES), st.floats(0, 1, exclude_max=True))
def test_a_frame_cut_short_is_bad(data: bytes, part: float) -> None:
    with pytest.raises(BadFrame):
        decode_frame(data[: int(part * len(data))])


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1))
def test_flipped_bits_give_a_frame_or_bad_frame(data: bytes, flips: list) -> None:
    damaged = bytearray(data)
    for part, bit in flips:
        damaged[int(part * len(data))] ^= 1 << bit
    try:
        frame = decode_frame(bytes(damaged))
    except BadFrame:
        return
    assert isinstance(frame.kind, FrameKind)


def test_another_format_version_is_named() -> None:
    data = bytearray(SAMPLES[0])
    data[4:6] = (9).to_bytes(2, "little")
    with pytest.raises(BadFrame, match="format 9"):
        decode_frame(bytes(data))


def test_the_largest_frame_of_records_fits() -> None:
    records = np.zeros(MAX_FRAME_RECORDS, RECORD)
    ranges = np.zeros(8 * 1024, RANGE)
    frame = Frame(FrameKind.RECORDS, 0, 1, LOG_ID, 1, 0, ranges=ranges, records=records)
    assert len(encode_frame(frame)) <= MAX_FRAME_BYTES


def test_keys_tell_ids_apart() -> None:
    assert len({key64(str(i)) for i in range(10_000)}) == 10_000
    parts = [id_key("a", "b", "c", "d"), id_key("ab", "", "c", "d"), id_key("a", "bc", "", "d"), id_key("a", "b", "cd", "")]
    assert len(set(parts)) == 4
    assert {shard_of(f"c{i}", 4) for i in range(100)} == {0, 1, 2, 3}


def test_every_kind_but_the_clock_has_a_topic() -> None:
    assert set(TOPIC_OF) == set(Kind) - {Kind.CLOCK}
    assert {KIND_OF[topic] for topic in TOPIC_OF.values()} == set(TOPIC_OF)
    assert {Kind.CLOCK, Kind.PRICE, Kind.VOLATILITY} == BROADCAST

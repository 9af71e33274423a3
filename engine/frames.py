"""Frames: the messages of margin.log. A frame is a header, ranges, and up to 1,024 records or some reference documents.

header (64 bytes, little endian) | ranges (24 bytes each) | records (64 bytes each) or the documents as JSON
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.events import RECORD
from engine.limits import Limits

MAGIC: Final = b"CMLF"
FORMAT: Final = 1
MAX_FRAME_BYTES: Final = 4 << 20
_HEADER: Final = struct.Struct("<4sHBBHHI16sQQqII")  # 64 bytes
RANGE: Final = np.dtype([("kind", "<u4"), ("partition", "<u4"), ("start", "<i8"), ("stop", "<i8")])
TimeMode = Literal["wall", "event"]


class FrameKind(IntEnum):
    """What a frame holds; the numbers are part of the log format."""

    GENESIS = 1
    RECORDS = 2
    DOCUMENTS = 3


class BadFrame(ValueError):
    """The bytes are not a frame of this format version."""


class Genesis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is fixed when a log is created: its first frame on every shard.

    start_ns is the log's first time (0 in event time). Limits and parameters are here because results depend on them.
    """

    log_id: str
    shards: int
    time_mode: TimeMode
    start_ns: int
    limits: Limits
    format: int = FORMAT


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One document in a frame: its origin (kind = the topic's, partition, offset, index) and its JSON."""

    kind: int
    partition: int
    offset: int
    index: int
    body: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame. number counts this writer's frames on the shard from 0; last ends a batch and states its ranges.

    ranges: RANGE rows, per origin the [start, stop) of consumer positions the batch covered. oldest_ns: the oldest Kafka
    timestamp of the batch (0: none), from which latency is measured.
    """

    kind: FrameKind
    shard: int
    shards: int
    log_id: bytes
    writer: int
    number: int
    last: bool = False
    oldest_ns: int = 0
    ranges: NDArray[np.void] = field(default_factory=lambda: np.empty(0, RANGE))
    records: NDArray[np.void] = field(default_factory=lambda: np.empty(0, RECORD))
    documents: Sequence[Entry] = ()
    genesis: Genesis | None = None


_KINDS: Final = frozenset(int(kind) for kind in FrameKind)
_entries: Final = msgspec.json.Decoder(list[Entry])
_genesis: Final = msgspec.json.Decoder(Genesis)
_encode: Final = msgspec.json.Encoder().encode


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a frame, as they travel in margin.log."""
    if frame.kind is FrameKind.RECORDS:
        body, count = frame.records.tobytes(), len(frame.records)
    elif frame.kind is FrameKind.DOCUMENTS:
        body, count = _encode(frame.documents), len(frame.documents)
    else:
        body, count = _encode(frame.genesis), 1
    header = _HEADER.pack(
        MAGIC, FORMAT, frame.kind, frame.last, frame.shard, frame.shards, 0, frame.log_id, frame.writer, frame.number,
        frame.oldest_ns, len(frame.ranges), count,
    )  # fmt: skip
    return header + frame.ranges.tobytes() + body


def decode_frame(data: bytes) -> Frame:
    """The frame in these bytes (its arrays are views of them); BadFrame says what is wrong."""
    if len(data) < _HEADER.size or data[:4] != MAGIC:
        raise BadFrame("not a margin.log frame")
    _, version, kind, last, shard, shards, _, log_id, writer, number, oldest_ns, ranges, count = _HEADER.unpack_from(data)
    if version != FORMAT:
        raise BadFrame(f"frame format {version}; this program reads format {FORMAT}")
    start = _HEADER.size + ranges * RANGE.itemsize
    if len(data) < start or kind not in _KINDS:
        raise BadFrame(f"frame of kind {kind} is cut short")
    header = {
        "kind": FrameKind(kind), "shard": shard, "shards": shards, "log_id": log_id, "writer": writer, "number": number,
        "last": bool(last), "oldest_ns": oldest_ns, "ranges": np.frombuffer(data, RANGE, ranges, _HEADER.size),
    }  # fmt: skip
    if kind == FrameKind.RECORDS:
        if len(data) != start + count * RECORD.itemsize:
            raise BadFrame(f"frame of {count} records has {len(data)} bytes")
        return Frame(records=np.frombuffer(data, RECORD, count, start), **header)
    try:
        if kind == FrameKind.GENESIS:
            return Frame(genesis=_genesis.decode(data[start:]), **header)
        return Frame(documents=_entries.decode(data[start:]), **header)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadFrame(f"frame of kind {FrameKind(kind).name}: {error}") from error

"""What margin.log itself says about a run: when its first batch was read and its last frame was written."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engine.events import KIND_OF, Kind
from engine.frames import Frame, decode_frame
from streams import kafka
from streams.topics import LOG
from tests.bench.services import Chain

_FLOW: Final = (int(Kind.TRADE), int(Kind.PRICE))


@dataclass
class Span:
    """From the clock of the first batch with events (the sequencer's time before it decoded it) to its last frame.

    begun_ns, ended_ms: wall time; ends: by shard, the log offset after its last frame; records: trades and prices, every
    shard's copy counted.
    """

    begun_ns: int
    ended_ms: int
    ends: dict[int, int]
    records: int


def frames(chain: Chain, shard: int, start: int = 0) -> Iterator[tuple[int, int, Frame]]:
    """(offset, the broker's time in milliseconds, frame) of a shard's log."""
    for message in kafka.read_partition(chain.settings, LOG, shard, start):
        yield message.offset() or 0, message.timestamp()[1], decode_frame(message.value() or b"")


def scan(chain: Chain, sent: dict[tuple[str, int], int], starts: dict[int, int] | None = None) -> Span:
    """The part of the log, from these offsets on, in which trades and prices are covered up to the offsets sent."""
    wanted = {(int(KIND_OF[topic]), partition): end for (topic, partition), end in sent.items()}
    span = Span(0, 0, {}, 0)
    for shard in range(chain.settings.shards):
        stops: dict[tuple[int, int], int] = {}
        for offset, appended_ms, frame in frames(chain, shard, (starts or {}).get(shard, 0)):
            ranges = {(int(r["kind"]), int(r["partition"])): int(r["stop"]) for r in frame.ranges if r["stop"] > r["start"]}
            stops |= ranges
            kinds = frame.records["kind"]
            span.records += int((kinds == _FLOW[0]).sum() + (kinds == _FLOW[1]).sum())
            if wanted.keys() & ranges.keys():
                clock_ns = int(frame.records["ts_ns"][kinds == Kind.CLOCK][-1])
                span.begun_ns = min(span.begun_ns or clock_ns, clock_ns)
            if all(stops.get(origin, 0) >= end for origin, end in wanted.items()):
                span.ended_ms, span.ends[shard] = max(span.ended_ms, appended_ms), offset + 1
                break
        else:
            raise AssertionError(f"the log of shard {shard} does not cover the input")
    return span

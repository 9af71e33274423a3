"""Every Kafka topic of the project: its name, how many partitions, and its settings; declared once."""

from dataclasses import dataclass
from typing import Final

from engine.events import TOPIC_OF
from engine.frames import MAX_FRAME_BYTES

INPUT: Final = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_FRAME_BYTES)}  # over 1 MiB: a reject
KEEP_FOREVER: Final = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}


@dataclass(frozen=True)
class Topic:
    """A topic; partitions is a number, or "shards" or "inputs" for the settings of those names."""

    name: str
    partitions: int | str
    config: dict[str, str]


REFERENCE: Final = "reference"
LOG: Final = "margin.log"
ALERTS: Final = "margin.alerts"
CALLS: Final = "margin.calls"
REJECTS: Final = "rejects"
DEAD_NOTICES: Final = "notices.dead"
INPUTS: Final = tuple(TOPIC_OF.values())

TOPICS: Final = (
    *(Topic(name, "inputs", INPUT) for name in INPUTS if name != REFERENCE),
    Topic(REFERENCE, 1, {**KEEP_FOREVER, **INPUT}),
    Topic(
        LOG, "shards", {**KEEP_FOREVER, "message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_FRAME_BYTES)}
    ),
    Topic(ALERTS, "shards", {**KEEP_FOREVER, "message.timestamp.type": "LogAppendTime"}),
    Topic(CALLS, "shards", {**KEEP_FOREVER}),
    Topic(REJECTS, 1, {**KEEP_FOREVER, "max.message.bytes": str(MAX_FRAME_BYTES)}),
    Topic(DEAD_NOTICES, 1, {**KEEP_FOREVER, "max.message.bytes": str(MAX_FRAME_BYTES)}),
)

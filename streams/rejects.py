"""Topic `rejects`: what the sequencer writes to it, what is in it with the bytes of each event, and sending some again.

The sequencer's rejects carry the bytes; for the engine's they are read from the input, as long as it holds them.
"""

import base64
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from engine.codes import Code
from monitors.alerts import Origin, RejectMessage
from streams import kafka
from streams.codec import split
from streams.directory import Refused
from streams.sequence import RejectedEvent
from streams.settings import ConfigError, Settings, UserError
from streams.topics import INPUTS, REJECTS

MAX_RAW_BYTES: Final = 3 << 20  # as it stands in the message; what is larger is read from the input
READ_SECONDS: Final = 10.0
NEAR: Final = 100_000  # messages that are read over faster than a fetch begins anew
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(RejectMessage).decode
REASONS: Final = tuple(code.reason for code in Code if code)


def read_rejects(
    settings: Settings, reason: str | None = None, limit: int | None = None, since: Mapping[int, int] | None = None
) -> list[RejectMessage]:
    """The newest `limit` rejects (all of them by default), oldest first, one per origin (its last), with the event's bytes.

    since: offsets in the topic by partition, before which nothing is read. raw and raw_base64 are both null where the
    input no longer holds the event. Raises ConfigError for an unknown reason, UserError when Kafka does not answer.
    """
    if reason is not None and reason not in REASONS:
        raise ConfigError(f"reason: found '{reason}'; allowed: {', '.join(REASONS)}")
    by_origin: dict[Origin, RejectMessage] = {}
    for message in _messages(settings, since or {}):
        by_origin.pop(message.origin, None)
        by_origin[message.origin] = message
    found = [message for message in by_origin.values() if reason in (None, message.reason)]
    if limit is not None:
        found = found[max(0, len(found) - limit) :]
    return _with_raw(settings, found)


def raw_bytes(reject: RejectMessage) -> bytes | None:
    """The bytes of the rejected event; None where they are gone."""
    if reject.raw is not None:
        return reject.raw.encode()
    return None if reject.raw_base64 is None else base64.b64decode(reject.raw_base64)


def resubmit(settings: Settings, rejects: Iterable[RejectMessage]) -> int:
    """Send the events again, each to the partition it came from; how many were sent. Events whose bytes are gone are not."""
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    sent = 0
    for reject in rejects:
        raw = raw_bytes(reject)
        if raw is not None and reject.origin.topic in INPUTS:
            delivery.send(reject.origin.topic, reject.origin.partition, raw)
            sent += 1
    if not delivery.wait(READ_SECONDS):
        raise UserError(f"Kafka at {settings.kafka} did not acknowledge all events in {READ_SECONDS:.0f} s")
    return sent


def _messages(settings: Settings, since: Mapping[int, int]) -> Iterator[RejectMessage]:
    for partition, (first, end) in kafka.log_range(settings, REJECTS).items():
        for message in kafka.read_partition(settings, REJECTS, partition, max(first, since.get(partition, first)), end):
            try:
                yield _decode(message.value() or b"")
            except msgspec.DecodeError as error:
                where = f"topic {REJECTS}, partition {partition}, offset {message.offset()}"
                raise UserError(f"{where}: not a reject of crossmargin: {error}") from error


def _with_raw(settings: Settings, rejects: list[RejectMessage]) -> list[RejectMessage]:
    """The same, with the bytes of those that came without, where the inputs still hold them."""
    wanted: dict[tuple[str, int], set[int]] = {}
    for reject in rejects:
        if raw_bytes(reject) is None:
            wanted.setdefault((reject.origin.topic, reject.origin.partition), set()).add(reject.origin.offset)
    if not wanted:
        return rejects
    values: dict[tuple[str, int, int], bytes] = {}
    with kafka.reader(settings) as consumer:
        for (topic, partition), offsets in wanted.items():
            for offset, value in _read(consumer, topic, partition, sorted(offsets)):
                values[topic, partition, offset] = value
    return [_filled(reject, values) if raw_bytes(reject) is None else reject for reject in rejects]


def _filled(reject: RejectMessage, values: Mapping[tuple[str, int, int], bytes]) -> RejectMessage:
    """The reject with the bytes of its event, unless its message is gone."""
    origin = reject.origin
    value = values.get((origin.topic, origin.partition, origin.offset))
    if value is None:
        return reject
    try:
        raw = bytes(split(value)[origin.index])
    except (Refused, IndexError):
        raw = value
    text, coded = raw_fields(raw, 1 << 30)
    return msgspec.structs.replace(reject, raw=text, raw_base64=coded)


def _read(consumer: Consumer, topic: str, partition: int, offsets: list[int]) -> Iterator[tuple[int, bytes]]:
    """(offset, value) of these messages, as far as they are held: read on where they are near, else go there."""
    first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=kafka.REQUEST_SECONDS)
    wanted = deque(offset for offset in offsets if first <= offset < end)
    position, waited_since = -NEAR, time.monotonic()
    while wanted:
        if wanted[0] - position >= NEAR:
            consumer.assign([TopicPartition(topic, partition, wanted[0])])
            position = wanted[0]
        messages = [message for message in consumer.consume(1000, 0.1) if message.error() is None]
        for message in messages:
            position = (message.offset() or 0) + 1
            if wanted and message.offset() == wanted[0]:
                yield wanted[0], message.value() or b""
            while wanted and wanted[0] < position:
                wanted.popleft()
        if messages:
            waited_since = time.monotonic()
        elif time.monotonic() - waited_since > READ_SECONDS:
            where = f"topic {topic}, partition {partition}"
            raise UserError(f"{where}: offset {wanted[0]} could not be read in {READ_SECONDS:.0f} s")


def encode_reject(reject: RejectedEvent) -> tuple[bytes, bytes]:
    """Key and JSON of a sequencer's reject."""
    origin = Origin(reject.topic, reject.partition, reject.offset, reject.index)
    text, coded = raw_fields(reject.raw)
    message = RejectMessage(
        reason=reject.code.reason, origin=origin, ts=reject.ts_ns, detail=reject.detail, raw=text, raw_base64=coded
    )
    return _key(origin).encode(), _encode(message)


def _key(origin: Origin) -> str:
    return f"{origin.topic}:{origin.partition}:{origin.offset}:{origin.index}"


def raw_fields(raw: bytes, most: int = MAX_RAW_BYTES) -> tuple[str | None, str | None]:
    """The bytes as text, else as base64; neither where the message would grow too large."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        pass
    else:
        if len(raw) * 6 <= most or len(_encode(text)) <= most:
            return text, None
    coded = base64.b64encode(raw).decode()
    return (None, coded) if len(coded) <= most else (None, None)

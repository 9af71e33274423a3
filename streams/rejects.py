"""Topic `rejects`: what the sequencer writes to it, what is in it with the bytes of each event, and sending some again.

The sequencer's rejects carry the bytes; for the engine's they are read from the input, as long as it holds them.
"""

import base64
import time
from collections.abc import Iterable, Iterator
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
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(RejectMessage).decode
REASONS: Final = tuple(code.reason for code in Code if code)


def read_rejects(settings: Settings, reason: str | None = None, limit: int | None = None) -> list[RejectMessage]:
    """The newest `limit` rejects (all of them by default), oldest first, one per origin (its last), with the event's bytes.

    raw and raw_base64 are both null where the input no longer holds the event. Raises ConfigError for an unknown
    reason, UserError when Kafka does not answer.
    """
    if reason is not None and reason not in REASONS:
        raise ConfigError(f"reason: found '{reason}'; allowed: {', '.join(REASONS)}")
    by_origin: dict[Origin, RejectMessage] = {}
    for message in _messages(settings):
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


def _messages(settings: Settings) -> Iterator[RejectMessage]:
    for partition, (first, end) in kafka.log_range(settings, REJECTS).items():
        for message in kafka.read_partition(settings, REJECTS, partition, first, end):
            try:
                yield _decode(message.value() or b"")
            except msgspec.DecodeError as error:
                where = f"topic {REJECTS}, partition {partition}, offset {message.offset()}"
                raise UserError(f"{where}: not a reject of crossmargin: {error}") from error


def _with_raw(settings: Settings, rejects: list[RejectMessage]) -> list[RejectMessage]:
    """The same, with the bytes of those that came without."""
    if all(raw_bytes(reject) is not None for reject in rejects):
        return rejects
    with kafka.reader(settings) as consumer:
        inputs = _InputReader(consumer)
        return [reject if raw_bytes(reject) is not None else inputs.fill(reject) for reject in rejects]


class _InputReader:
    """Reads single messages of the inputs; keeps the last one, for the other elements of an array."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._held: dict[tuple[str, int], tuple[int, int]] = {}
        self._last: tuple[str, int, int] | None = None
        self._value: bytes | None = None

    def fill(self, reject: RejectMessage) -> RejectMessage:
        """The reject with the bytes of its event, unless the input no longer holds them."""
        origin = reject.origin
        place = origin.topic, origin.partition, origin.offset
        if place != self._last:
            self._last, self._value = place, self._read(*place)
        if self._value is None:
            return reject
        try:
            raw = bytes(split(self._value)[origin.index])
        except (Refused, IndexError):
            raw = self._value
        text, coded = raw_fields(raw, 1 << 30)
        return msgspec.structs.replace(reject, raw=text, raw_base64=coded)

    def _read(self, topic: str, partition: int, offset: int) -> bytes | None:
        place = TopicPartition(topic, partition, offset)
        if (topic, partition) not in self._held:
            self._held[topic, partition] = self._consumer.get_watermark_offsets(place, timeout=kafka.REQUEST_SECONDS)
        first, end = self._held[topic, partition]
        if not first <= offset < end:
            return None
        self._consumer.assign([place])
        deadline = time.monotonic() + READ_SECONDS
        while time.monotonic() < deadline:
            message = self._consumer.poll(1.0)
            if message is not None and message.error() is None:
                return message.value() if message.offset() == offset else None
        raise UserError(f"topic {topic}, partition {partition}: offset {offset} could not be read in {READ_SECONDS:.0f} s")


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

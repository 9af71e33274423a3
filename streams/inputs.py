"""The sequencer's inputs: where each partition was left, the consumers that read on from there, and what is committed.

Offsets are committed for a group of the log's own, without membership: a second writer for a moment does no harm. Where
they are missing (they expire, and go with a deleted topic), the ranges in the log tell.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any, Final

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from engine.events import TOPIC_OF, Kind
from engine.frames import Genesis, decode_frame
from streams import kafka
from streams.framing import Origin
from streams.sequence import Message
from streams.settings import Settings, UserError
from streams.topics import INPUTS, LOG, REFERENCE

MAX_BATCH_BYTES: Final = 2 << 20
FETCH_BYTES: Final = 64 << 10  # a fetch waits for so much, or FETCH_WAIT_MS: else each producer's message answers one
REFERENCE_SECONDS: Final = 60.0
_PASSING: Final = frozenset(  # errors that librdkafka gets over by itself
    {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE}
)


def input_group(log_id: str) -> str:
    """The group under which the offsets of a log's inputs are committed."""
    return f"crossmargin-sequencer-{log_id}"


class Inputs:
    """All partitions of all inputs (of `reference` the first only), read from where the log left them.

    positions: next offset to be read of each origin at the start. latest_ns: the latest event time that was committed with
    them, 0 when none was. Raises UserError when an input does not fit to what the log says was read.
    """

    def __init__(self, settings: Settings, genesis: Genesis) -> None:
        self._settings = settings
        self._group = input_group(genesis.log_id)
        self.first: dict[Origin, int] = {}  # first offset held
        self.positions: dict[Origin, int] = {}
        self.latest_ns = 0
        self._shards = genesis.shards
        self._log_covers: dict[Origin, int] | None = None
        self._commit_error: KafkaError | None = None
        self._is_stuck = False  # a commit never answered; its consumer cannot be closed
        with kafka.reader(settings, self._group) as consumer:
            for topic in INPUTS:
                self._find(consumer, topic, genesis)
        self._events, self._reference = self._consumer(**{"fetch.min.bytes": FETCH_BYTES}), self._consumer()
        places = [TopicPartition(*origin, offset) for origin, offset in self.positions.items()]
        self._places = [place for place in places if place.topic != REFERENCE]
        self._events.assign(self._places)
        self._reference.assign([place for place in places if place.topic == REFERENCE])
        self._reference_position = self.positions[REFERENCE, 0]

    def _consumer(self, **properties: Any) -> Consumer:
        extra = {"auto.offset.reset": "error", "on_commit": self._committed, **properties}
        return Consumer(kafka.consumer_config(self._settings, self._group, **extra))

    def _find(self, consumer: Consumer, topic: str, genesis: Genesis) -> None:
        """Positions of a topic's partitions."""
        found = consumer.list_topics(topic, timeout=kafka.REQUEST_SECONDS).topics[topic]
        if found.error is not None:
            raise UserError(f"topic {topic} is missing: {found.error.str()}; create it, or let the sequencer do so")
        count = 1 if topic == REFERENCE else len(found.partitions)
        if count > genesis.limits.partitions:
            raise UserError(f"topic {topic} has {count} partitions; this log takes up to {genesis.limits.partitions}")
        asked = [TopicPartition(topic, partition) for partition in range(count)]
        for answer in consumer.committed(asked, timeout=kafka.REQUEST_SECONDS):
            if answer.error is not None:
                raise KafkaException(answer.error)
            place = TopicPartition(topic, answer.partition)
            first, end = consumer.get_watermark_offsets(place, timeout=kafka.REQUEST_SECONDS)
            origin = topic, answer.partition
            offset = answer.offset if answer.offset >= 0 else self._covered().get(origin, first)
            if offset > end:
                raise UserError(
                    f"topic {topic}, partition {answer.partition} ends at {end}, but the log has read it up to {offset}:"
                    " the topic was made anew; a log belongs to its inputs, start a new one"
                )
            if offset < first:
                raise UserError(
                    f"topic {topic}, partition {answer.partition} begins at {first}, but the log has read it up to {offset}:"
                    " messages were deleted before they were read; start a new log"
                )
            self.first[origin], self.positions[origin] = first, offset
            if answer.metadata and answer.metadata.isdecimal():
                self.latest_ns = max(self.latest_ns, int(answer.metadata))

    def _covered(self) -> dict[Origin, int]:
        """What the log says of the inputs on every shard: for offsets that expired, or went with a deleted topic."""
        if self._log_covers is None:
            shards = [self._covered_on(shard) for shard in range(self._shards)]
            self._log_covers = {
                origin: min(covers[origin] for covers in shards)
                for origin in shards[0]
                if all(origin in covers for covers in shards)
            }
        return self._log_covers

    def _covered_on(self, shard: int) -> dict[Origin, int]:
        """The end of the ranges of each origin on one shard."""
        covers: dict[Origin, int] = {}
        first, end = kafka.watermarks(self._settings, LOG, shard)
        for message in kafka.read_partition(self._settings, LOG, shard, first, end):
            frame = decode_frame(message.value() or b"")
            for kind, partition, _, stop in frame.ranges.tolist():
                origin = TOPIC_OF[Kind(kind)], partition
                covers[origin] = max(stop, covers.get(origin, 0))
            if len(frame.records):
                clocks = frame.records["ts_ns"][frame.records["kind"] == Kind.CLOCK]
                self.latest_ns = max(self.latest_ns, int(clocks.max(initial=0)))
        return covers

    def read_documents(self) -> list[bytes]:
        """The messages of `reference` that the log holds already."""
        start, stop = self.first[REFERENCE, 0], self.positions[REFERENCE, 0]
        return [message.value() or b"" for message in kafka.read_partition(self._settings, REFERENCE, 0, start, stop)]

    def read(self, most: int, seconds: float) -> list[list[Message]]:
        """New messages of all inputs, up to `most`, waiting so long for a first one; in parts of bounded size."""
        messages = self._taken(self._reference.consume(most, 0))
        if messages:
            self._reference_position = messages[-1].offset + 1
        first = self._events.consume(1, 0 if messages else seconds)
        return _parts(messages + self._taken(first + self._events.consume(most, 0)))

    def more_reference(self) -> Sequence[Message]:
        """The rest of `reference`, up to its end as it is now. Raises UserError when it does not come in time."""
        _, end = self._reference.get_watermark_offsets(TopicPartition(REFERENCE, 0), timeout=kafka.REQUEST_SECONDS)
        messages: list[Message] = []
        deadline = time.monotonic() + REFERENCE_SECONDS
        while self._reference_position < end:
            got = self._taken(self._reference.consume(10_000, 0.01))
            if got:
                self._reference_position = got[-1].offset + 1
                messages += got
            elif time.monotonic() > deadline:
                raise UserError(f"topic {REFERENCE} could not be read up to its end in {REFERENCE_SECONDS:.0f} s")
        return messages

    def commit(self, positions: dict[Origin, int], latest_ns: int, *, wait: bool = False) -> None:
        """Commit the next offsets, with the latest event time beside them. Raises UserError if it fails."""
        offsets = [TopicPartition(*origin, offset, str(latest_ns)) for origin, offset in positions.items()]
        if self._commit_error is not None:
            raise UserError(f"Kafka did not take the inputs' offsets: {self._commit_error.str()}")
        if not wait:
            self._events.commit(offsets=offsets)
            return
        for answer in self._answers(offsets):
            if answer.error is not None:
                raise UserError(f"Kafka did not take the offset of topic {answer.topic}: {answer.error.str()}")

    def _answers(self, offsets: list[TopicPartition]) -> list[TopicPartition]:
        """Commit and wait for the answers; without a broker the call never returns, so a thread makes it."""
        answer: Future[list[TopicPartition]] = Future()

        def commit() -> None:
            try:
                answer.set_result(self._events.commit(offsets=offsets, asynchronous=False))
            except KafkaException as failure:
                answer.set_exception(failure)

        Thread(target=commit, daemon=True).start()
        try:
            return answer.result(kafka.REQUEST_SECONDS)
        except TimeoutError as late:
            self._is_stuck = True
            raise UserError(f"Kafka did not take the inputs' offsets in {kafka.REQUEST_SECONDS:.0f} s") from late
        except KafkaException as failure:
            raise UserError(f"Kafka did not take the inputs' offsets: {failure.args[0].str()}") from failure

    def _committed(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        """Note that a commit failed for good; one that fails in passing is made up for by the next."""
        if error is not None and error.code() not in _PASSING and not error.retriable():
            self._commit_error = error

    def lag(self, positions: dict[Origin, int]) -> dict[str, int]:
        """Messages of each topic that are not read yet, as far as the last answers of the brokers tell."""
        lags = dict.fromkeys(INPUTS, 0)
        for origin, position in positions.items():
            consumer = self._reference if origin[0] == REFERENCE else self._events
            _, end = consumer.get_watermark_offsets(TopicPartition(*origin), cached=True)
            if end != OFFSET_INVALID:
                lags[origin[0]] += max(0, end - position)
        return lags

    def close(self) -> None:
        """Close the consumers; what is not committed is read again at the next start."""
        if self._is_stuck:
            return
        self._events.close()
        self._reference.close()

    def _taken(self, consumed: list[KafkaMessage]) -> list[Message]:
        """The messages in our form. Raises UserError for an error that does not pass by itself."""
        if any([message.error() is not None for message in consumed]):
            consumed = [message for message in consumed if not _is_error(message)]
        return [
            Message(m.topic(), m.partition(), m.offset(), m.timestamp()[1] * 1_000_000, m.value())  # type: ignore[arg-type]
            for m in consumed
        ]


def _is_error(message: KafkaMessage) -> bool:
    """Whether this is a passing error in place of a message; raises UserError for one that stays."""
    error = message.error()
    if error is None:
        return False
    if error.code() in _PASSING or error.retriable():
        return True
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        where = f"topic {message.topic()}, partition {message.partition()}"
        raise UserError(f"{where}: messages were deleted before they were read ({error.str()}); start a new log")
    raise UserError(f"topic {message.topic()}: {error.str()}")


def _parts(messages: list[Message]) -> list[list[Message]]:
    """The messages cut where their bytes pass MAX_BATCH_BYTES, so that arrays do not make batches that last for seconds."""
    if sum([len(message.value or b"") for message in messages]) <= MAX_BATCH_BYTES:
        return [messages] if messages else []
    parts: list[list[Message]] = [[]]
    size = 0
    for message in messages:
        length = len(message.value or b"")
        if parts[-1] and size + length > MAX_BATCH_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(message)
        size += length
    return parts

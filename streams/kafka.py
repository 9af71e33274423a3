"""Kafka: client settings, creation and check of the topics, what the log holds, and proof that messages were delivered."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.cimpl import NewTopic

from engine.frames import MAX_FRAME_BYTES, Frame, FrameKind, Genesis, decode_frame
from streams.settings import Settings, UserError
from streams.snapshots import SnapshotStore
from streams.topics import ALERTS, LOG, TOPICS, Topic

REQUEST_SECONDS: Final = 10.0
FIRST_ANSWER_SECONDS: Final = 5.0
FETCH_WAIT_MS: Final = 5  # the mock broker does not wake a waiting fetch; a real one answers other requests after it
_UNREACHABLE: Final = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN)
_MOVING: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.REPLICA_NOT_AVAILABLE,
)
_CUT: Final = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET)
logger: Final = logging.getLogger("crossmargin.kafka")


class Cut(UserError):
    """The offset that is asked for is no longer held."""


def _common(settings: Settings) -> dict[str, Any]:
    """What every librdkafka client gets: the brokers, and the user's own properties (TLS, SASL) last."""
    return {"bootstrap.servers": settings.kafka, "error_cb": _log_error, "log_level": 2, **settings.kafka_config}


def _log_error(error: KafkaError) -> None:
    logger.warning("Kafka: %s", error.str())


def consumer_config(settings: Settings, group: str | None = None, **extra: Any) -> dict[str, Any]:
    """librdkafka properties of a consumer, tuned for throughput; it never commits by itself.

    Without a group it is a plain reader, to which an offset outside the log is an error.
    """
    return {
        "group.id": group or "crossmargin-reader",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error" if group is None else "earliest",
        "fetch.queue.backoff.ms": 5,
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        "queued.min.messages": 200_000,
        **_common(settings),
        **extra,
    }


def producer_config(settings: Settings, **extra: Any) -> dict[str, Any]:
    """librdkafka properties of a producer that loses and reorders nothing: idempotent, no message ever times out."""
    return {
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        "message.timeout.ms": 0,
        "message.max.bytes": MAX_FRAME_BYTES,
        "queue.buffering.max.messages": 1_000_000,
        **_common(settings),
        **extra,
    }


def worker_group(log_id: str) -> str:
    """The consumer group of a log's workers."""
    return f"crossmargin-worker-{log_id}"


def unreachable(settings: Settings, error: object) -> UserError:
    """The one line for a broker that does not answer."""
    where = f"no Kafka at {settings.kafka} (setting kafka, CROSSMARGIN_KAFKA)"
    return UserError(f"{where}: {error}; start it or correct the setting")


@contextmanager
def _requests(settings: Settings) -> Iterator[None]:
    """Turns a failed request into one clear line."""
    try:
        yield
    except KafkaException as failure:
        error = failure.args[0]
        if isinstance(error, KafkaError) and error.code() in _UNREACHABLE:
            raise unreachable(settings, error.str()) from failure
        raise UserError(f"Kafka at {settings.kafka} refused a request: {error}") from failure


@contextmanager
def reader(settings: Settings, group: str | None = None, extra: Mapping[str, Any] | None = None) -> Iterator[Consumer]:
    """A consumer for requests and plain reading, closed at the end; failed requests become UserError."""
    with _requests(settings):
        consumer = Consumer(consumer_config(settings, group, **(extra or {})))
        try:
            yield consumer
        finally:
            consumer.close()


def admin(settings: Settings) -> AdminClient:
    """An administration client."""
    return AdminClient(_common(settings))


def cluster(settings: Settings) -> ClusterMetadata:
    """The cluster's brokers and topics; UserError when no broker answers. It never creates a topic."""
    with _requests(settings):
        return admin(settings).list_topics(timeout=FIRST_ANSWER_SECONDS)


# Topics


def partitions_of(settings: Settings, topic: Topic) -> int:
    """How many partitions a topic is created with."""
    if topic.partitions == "shards":
        return settings.shards
    return settings.input_partitions if topic.partitions == "inputs" else int(topic.partitions)


def ensure_topics(settings: Settings) -> None:
    """Create the topics that are missing, and check that the log and its alerts have one partition per shard.

    The mock broker creates topics elsewhere and gets the check only. Raises UserError.
    """
    existing = _partition_counts(settings)
    missing = [topic for topic in TOPICS if topic.name not in existing]
    if missing and not settings.mock_kafka:
        _create(settings, missing)
    if not settings.mock_kafka:
        existing = _await_topics(settings)
    for name in (LOG, ALERTS):
        found = existing.get(name)
        if found is not None and found != settings.shards:
            raise UserError(
                f"topic {name} has {found} partitions, the setting shards (CROSSMARGIN_SHARDS) says {settings.shards};"
                " the number of shards is fixed when the log is created"
            )


def _partition_counts(settings: Settings) -> dict[str, int]:
    return {name: len(topic.partitions) for name, topic in cluster(settings).topics.items() if topic.error is None}


def _create(settings: Settings, topics: list[Topic]) -> None:
    """Ask for the topics; one that someone else creates at the same time is no error."""
    wanted = [NewTopic(t.name, partitions_of(settings, t), config=dict(t.config)) for t in topics]
    client = admin(settings)
    for name, future in client.create_topics(wanted, request_timeout=REQUEST_SECONDS).items():
        try:
            future.result()
        except KafkaException as failure:
            error = failure.args[0]
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise UserError(f"Kafka at {settings.kafka} did not create topic {name}: {error.str()}") from failure


def _await_topics(settings: Settings) -> dict[str, int]:
    """Partition counts once every topic is known and all leaders answer; another process may create them too."""
    deadline = time.monotonic() + REQUEST_SECONDS
    names = {topic.name for topic in TOPICS}
    while names - (counts := _partition_counts(settings)).keys():
        if time.monotonic() > deadline:
            raise UserError(f"Kafka at {settings.kafka} does not show its new topics after {REQUEST_SECONDS:.0f} s")
        time.sleep(0.05)
    for name in names:
        log_range(settings, name, list(range(counts[name])))
    return counts


# What the topics hold


def watermarks(settings: Settings, topic: str, partition: int) -> tuple[int, int]:
    """The first offset held and the next to be written of one partition."""
    return log_range(settings, topic, [partition])[partition]


def log_range(settings: Settings, topic: str, partitions: list[int] | None = None) -> dict[int, tuple[int, int]]:
    """(first offset held, next offset to be written) by partition; of all partitions of the topic when none are named.

    A topic that does not exist has no partitions.
    """
    if partitions is None:
        partitions = list(range(_partition_counts(settings).get(topic, 0)))
    with reader(settings) as consumer:
        return {p: held_range(consumer, topic, p) for p in partitions}


def held_range(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """(first offset held, next offset to be written), asked again while the partition has just no leader; KafkaException."""
    deadline = time.monotonic() + REQUEST_SECONDS
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_SECONDS)
        except KafkaException as failure:
            if failure.args[0].code() not in _MOVING or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def committed(settings: Settings, group: str, topic: str, partitions: list[int]) -> dict[int, int]:
    """The offsets a group has committed, by partition; partitions without one are left out."""
    with reader(settings, group) as consumer:
        answers = consumer.committed([TopicPartition(topic, p) for p in partitions], timeout=REQUEST_SECONDS)
        return {a.partition: a.offset for a in answers if a.offset >= 0}


def lags(settings: Settings, group: str, topic: str) -> dict[int, int]:
    """Messages a group has not committed yet, by partition; from the first one held where it has committed nothing."""
    held = log_range(settings, topic)
    done = committed(settings, group, topic, list(held))
    return {p: stop - max(start, done.get(p, start)) for p, (start, stop) in held.items()}


def group_members(settings: Settings, group: str) -> int:
    """How many members a consumer group has now."""
    with _requests(settings):
        client = admin(settings)
        found = client.describe_consumer_groups([group], request_timeout=REQUEST_SECONDS)
        try:
            return len(found[group].result().members)
        except KafkaException as failure:
            if failure.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            raise


def commit(settings: Settings, group: str, topic: str, offsets: dict[int, int]) -> None:
    """Set committed offsets of a group that has no members."""
    with _requests(settings):
        request = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p, offset) for p, offset in offsets.items()])
        client = admin(settings)
        for future in client.alter_consumer_group_offsets([request]).values():
            for answer in future.result().topic_partitions:
                if answer.error is not None:
                    raise KafkaException(answer.error)


def read_partition(
    settings: Settings, topic: str, partition: int, start: int = 0, stop: int | None = None
) -> Iterator[Message]:
    """The messages of one partition from offset `start` up to (without) `stop`, or up to the end as it is at the call."""
    with reader(settings, extra={"enable.partition.eof": True}) as consumer:
        if stop is None:
            stop = held_range(consumer, topic, partition)[1]
        if start >= stop:
            return
        consumer.assign([TopicPartition(topic, partition, start)])
        position = start
        while position < stop:
            for message in consumer.consume(min(1000, stop - position), 1.0):
                error = message.error()
                if error is None:
                    position = (message.offset() or 0) + 1
                    if position <= stop:
                        yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = message.offset() or 0
                elif error.code() in _CUT:
                    raise Cut(f"topic {topic}, partition {partition}: offset {position} was cut away while it was read")
                else:
                    raise UserError(f"topic {topic}, partition {partition}: {error.str()}")


def first_frame(settings: Settings, shard: int) -> Frame | None:
    """The first frame that the log still holds of a shard; None when it is empty. BadFrame when it is not a frame."""
    if shard >= _partition_counts(settings).get(LOG, 0):
        return None
    deadline = time.monotonic() + REQUEST_SECONDS
    while True:
        start, stop = watermarks(settings, LOG, shard)
        try:
            for message in read_partition(settings, LOG, shard, start, min(stop, start + 1)):
                return decode_frame(message.value() or b"")
            return None
        except Cut:
            if time.monotonic() > deadline:
                raise


def read_genesis(settings: Settings) -> Genesis | None:
    """The genesis of the log, from the first frame of any shard, or of the snapshots where an operator cut the log.

    None when no frame was ever written. Raises UserError when the log was cut and no snapshot tells.
    """
    held = log_range(settings, LOG)
    for shard in held:
        frame = first_frame(settings, shard)
        if frame is not None and frame.kind is FrameKind.GENESIS:
            return frame.genesis
    if all(stop == 0 for _, stop in held.values()):
        return None
    genesis = SnapshotStore(settings.snapshots).genesis()
    if genesis is None:
        raise UserError(
            f"the start of {LOG} was cut away, and no snapshot under {settings.snapshots} holds its genesis;"
            " set snapshots (CROSSMARGIN_SNAPSHOTS) to where the workers write"
        )
    return genesis


# Delivery


class Delivery:
    """A producer's messages on their way, by topic and partition, and its first failure: what `flush` does not prove.

    An idempotent producer acknowledges a partition's messages in order, so counts tell which ones arrived.
    """

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.error: KafkaError | None = None
        self._sent: dict[tuple[str, int], int] = {}
        self._arrived: dict[tuple[str, int], int] = {}
        self._reports: dict[tuple[str, int], Callable[[KafkaError | None, Message], None]] = {}

    def send(self, topic: str, partition: int, value: bytes | None, key: bytes | None = None) -> None:
        """Hand a message to the producer; waits while its queue is full. Raises UserError once any delivery failed."""
        self.check()
        place = (topic, partition)
        report = self._reports.get(place)
        if report is None:
            report = self._reports[place] = self._reporter(place)
            self._sent[place] = self._arrived[place] = 0
        while True:
            try:
                self.producer.produce(topic, value, key, partition, on_delivery=report)
                break
            except BufferError:
                self.producer.poll(0.01)
                self.check()
        self._sent[place] += 1

    def _reporter(self, place: tuple[str, int]) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self._arrived[place] += 1
            elif self.error is None:
                self.error = error

        return report

    def mark(self) -> dict[tuple[str, int], int]:
        """How many were sent so far, to be given to `arrived` later."""
        return dict(self._sent)

    def arrived(self, mark: dict[tuple[str, int], int]) -> bool:
        """Whether all messages sent before the mark are acknowledged; raises UserError once any delivery failed."""
        self.producer.poll(0)
        self.check()
        return all(self._arrived.get(place, 0) >= count for place, count in mark.items())

    def wait(self, timeout_seconds: float | None = None, mark: dict[tuple[str, int], int] | None = None) -> bool:
        """Wait until all (before the mark) is acknowledged; False when time ran out. UserError once a delivery failed."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        mark = self.mark() if mark is None else mark
        while not self.arrived(mark):
            self.producer.poll(0.05)
            if deadline is not None and time.monotonic() > deadline:
                return False
        return True

    def check(self) -> None:
        """Raise UserError if any message could not be delivered: the process must end and repeat its work."""
        if self.error is not None:
            raise UserError(f"Kafka did not take a message: {self.error.str()}; nothing after it is committed, start again")

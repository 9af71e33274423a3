"""Kafka's side: topics as declared, created by several at once, offsets and lags, and messages that are not delivered."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import ConfigResource, ResourceType

from engine.frames import MAX_FRAME_BYTES
from streams import kafka
from streams.embedded import LOOPBACK, free_port
from streams.settings import Settings, UserError
from streams.topics import CALLS, LOG, REJECTS, TOPICS
from tests.services import wait_until

pytestmark = pytest.mark.services


@pytest.fixture
def settings(fresh_kafka: str) -> Settings:
    return Settings(kafka=fresh_kafka, shards=3, input_partitions=2)


def test_several_at_once_create_the_topics_as_declared(settings: Settings) -> None:
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(kafka.ensure_topics, settings) for _ in range(3)]:
            done.result()
    assert kafka.read_genesis(settings) is None
    found = {name: len(topic.partitions) for name, topic in kafka.cluster(settings).topics.items()}
    expected = {topic.name: kafka.partitions_of(settings, topic) for topic in TOPICS}
    assert {name: found.get(name) for name in expected} == expected
    assert (expected[LOG], expected["trades"], expected["reference"]) == (3, 2, 1)
    client = kafka.admin(settings)
    for topic in TOPICS:
        (future,) = client.describe_configs([ConfigResource(ResourceType.TOPIC, topic.name)]).values()
        values = {name: entry.value for name, entry in future.result().items()}
        assert {name: values[name] for name in topic.config} == topic.config


def test_another_number_of_shards_is_refused(settings: Settings) -> None:
    kafka.ensure_topics(settings)
    with pytest.raises(UserError, match=rf"topic {LOG} has 3 partitions, the setting shards .* says 4; "):
        kafka.ensure_topics(Settings(kafka=settings.kafka, shards=4))


def test_offsets_and_lags(settings: Settings) -> None:
    kafka.ensure_topics(settings)
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    for number in range(10):
        delivery.send(CALLS, 1, str(number).encode())
    assert delivery.wait(10)
    assert kafka.log_range(settings, CALLS) == {0: (0, 0), 1: (0, 10), 2: (0, 0)}
    assert kafka.lags(settings, "some", CALLS) == {0: 0, 1: 10, 2: 0}
    kafka.commit(settings, "some", CALLS, {1: 4})
    assert kafka.committed(settings, "some", CALLS, [0, 1]) == {1: 4}
    assert kafka.lags(settings, "some", CALLS) == {0: 0, 1: 6, 2: 0}
    assert kafka.group_members(settings, "some") == 0
    assert [message.value() for message in kafka.read_partition(settings, CALLS, 1, 4, 7)] == [b"4", b"5", b"6"]
    assert [message.offset() for message in kafka.read_partition(settings, CALLS, 1, 8)] == [8, 9]
    assert kafka.log_range(settings, "nosuchtopic") == {}


def test_marks_tell_what_arrived(settings: Settings) -> None:
    kafka.ensure_topics(settings)
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    assert delivery.arrived(delivery.mark())
    delivery.send(CALLS, 0, b"")
    first = delivery.mark()
    wait_until(lambda: delivery.arrived(first), 10, "the acknowledgement")
    delivery.send(CALLS, 2, b"")
    assert delivery.arrived(first)
    assert delivery.wait(10)
    assert delivery.arrived(delivery.mark())


def test_a_message_that_is_not_taken_ends_the_producers_work(settings: Settings) -> None:
    kafka.ensure_topics(settings)
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    delivery.send(REJECTS, 0, bytes(MAX_FRAME_BYTES - 1000))
    assert delivery.wait(10)
    delivery.send(CALLS, 0, bytes(2 << 20))  # this topic takes 1 MiB
    with pytest.raises(UserError, match=r"Kafka did not take a message: .*; nothing after it is committed, start again"):
        delivery.wait(10)
    with pytest.raises(UserError, match="Kafka did not take a message"):
        delivery.send(CALLS, 0, b"")


def test_no_broker_is_one_line() -> None:
    where = f"{LOOPBACK}:{free_port()}"
    with pytest.raises(UserError, match=rf"no Kafka at {where} \(setting kafka, CROSSMARGIN_KAFKA\): .*; start it"):
        kafka.ensure_topics(Settings(kafka=where))

"""The embedded services: they answer, keep or lose data as told, and leave nothing behind."""

import os
import socket
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from redis import Redis

from streams import embedded
from streams.embedded import RedisServer, embedded_kafka, embedded_redis, port_near
from streams.settings import UserError
from streams.topics import TOPICS

pytestmark = pytest.mark.services


def test_a_port_is_the_one_wanted_unless_something_has_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        wanted = other.getsockname()[1]
        assert port_near(wanted) not in (wanted, 0)
    assert port_near(wanted) == wanted


def test_kafka_has_every_topic_carries_messages_and_frees_its_port() -> None:
    with embedded_kafka() as bootstrap:
        producer = Producer({"bootstrap.servers": bootstrap})
        found = producer.list_topics(timeout=10).topics
        assert {topic.name for topic in TOPICS} == set(found)
        assert {len(topic.partitions) for topic in found.values()} == {embedded.MOCK_PARTITIONS}
        producer.produce("trades", b"{}", partition=3)
        assert producer.flush(10) == 0
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition("trades", 3, 0)])
        (message,) = consumer.consume(1, 10)
        assert message.value() == b"{}"
        consumer.close()
        producer.close()
    host, port = bootstrap.split(":")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port)), timeout=1):
        pass


def test_redis_killed_and_started_again_keeps_what_was_written(valkey: RedisServer) -> None:
    with Redis.from_url(valkey.url) as client:
        client.set("a", "1")
    first = valkey.pid
    valkey.kill()
    assert valkey.pid is None
    valkey.start()
    assert valkey.pid not in (None, first)
    with Redis.from_url(valkey.url) as client:
        assert client.get("a") == b"1"


def test_redis_of_the_demo_starts_empty_and_leaves_nothing() -> None:
    with embedded_redis() as server:
        pid, folder = server.pid, server.folder
        with Redis.from_url(server.url) as client:
            client.set("a", "1")
            server.kill()
            server.start()
            assert client.get("a") is None
    assert pid is not None
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_taken_port_is_said_in_one_line() -> None:
    with embedded_redis() as first, embedded_redis() as second:
        second.kill()
        second.port = first.port
        with pytest.raises(UserError, match=rf"did not start on port {first.port}: .*"):
            second.start()


def test_no_server_program_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no Redis server to start: pip install"):
        embedded_redis().__enter__()

"""Fixtures of every test: real services, started once for the session when the first test asks for one."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from streams.embedded import RedisServer, embedded_kafka, embedded_redis
from tests import services

# The first file compiles kernels; beside it one that uses none, so that they are not compiled twice. Then the longest.
FIRST = ("test_simulation.py", "test_sequencer.py", "test_replay.py", "test_twin.py")
ALONE = "test_page.py"  # counts frames a second

pytest.register_assert_rewrite("tests.integration.chain")  # its checks say what they found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side (`-n 2`): the order of files is FIRST, others, what needs a quiet machine."""
    order = {name: place for place, name in enumerate(FIRST)} | {ALONE: len(FIRST) + 1}
    items.sort(key=lambda item: order.get(item.path.name, len(FIRST)))


def pytest_configure(config: pytest.Config) -> None:
    """A SIGTERM ends the session as Ctrl-C does, so that the services it started end too. Examples are never timed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real Kafka, shared by the session's tests; see fresh_kafka."""
    with services.kafka_broker(tmp_path_factory.mktemp("kafka")) as address:
        yield address


@pytest.fixture
def fresh_kafka(kafka: str) -> str:
    """The same Kafka, without any topic or idle consumer group."""
    services.delete_topics(kafka)
    return kafka


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real Redis or Valkey, shared by the session's tests: take a key prefix of your own, or flush it."""
    with services.redis_server() as url:
        yield url


@pytest.fixture
def valkey() -> Iterator[RedisServer]:
    """A server of one test's own, which the test may kill and start again on the same port; it keeps what was written."""
    services.require_redis()
    with embedded_redis(keep_data=True) as server:
        yield server


@pytest.fixture
def mock_kafka() -> Iterator[str]:
    """Bootstrap servers of a mock cluster of one test's own."""
    with embedded_kafka() as address:
        yield address

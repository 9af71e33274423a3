"""Where tests find Kafka, Redis and shared data: given by environment, Docker, local programs, else skipped with the reason.

CROSSMARGIN_TEST_KAFKA and CROSSMARGIN_TEST_REDIS give services (tests delete their topics and keys); CROSSMARGIN_REQUIRE=1
turns a skip for want of a service or of data into a failure.
"""

import contextlib
import gc
import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka.admin import AdminClient

from streams.embedded import LOOPBACK, embedded_redis, free_port, redis_binary
from streams.settings import UserError

ROOT: Final = Path(__file__).parents[1]
KAFKA_IMAGE: Final = "apache/kafka:4.3.1"
REDIS_IMAGE: Final = "valkey/valkey:9.1"
START_SECONDS: Final = 120.0


def require(condition: object, reason: str) -> None:
    """Go on where the condition holds; else skip the test, or fail it where CROSSMARGIN_REQUIRE is set."""
    if not condition:
        if os.environ.get("CROSSMARGIN_REQUIRE", "0") not in ("", "0"):
            pytest.fail(f"CROSSMARGIN_REQUIRE is set, and {reason}", pytrace=False)
        pytest.skip(reason)


def shared(path: str) -> Path:
    """A file or folder of ../shared beside the project; the test is skipped, or fails, where it is absent."""
    found = ROOT.parent / "shared" / path
    require(found.exists(), f"../shared/{path} is absent")
    return found


def wait_until(condition: Callable[[], object], seconds: float = 30, what: str = "the condition") -> None:
    """Poll until the condition holds; AssertionError when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come in {seconds} s"
        time.sleep(0.05)


@contextmanager
def kafka_broker(folder: Path) -> Iterator[str]:
    """The bootstrap servers of a real Kafka, started where none is given and ended with the context."""
    if given := os.environ.get("CROSSMARGIN_TEST_KAFKA"):
        yield given
    elif _docker_answers():
        with _kafka_container() as address:
            yield address
    else:
        missing = [name for name in ("java", "mvn") if not shutil.which(name)]
        require(
            not missing,
            f"no Kafka: CROSSMARGIN_TEST_KAFKA is not set, no Docker daemon answers, and {' and '.join(missing)} not found",
        )
        with local_kafka(folder) as address:
            yield address


@contextmanager
def local_kafka(folder: Path) -> Iterator[str]:
    """Apache Kafka by Maven on free ports, with its data in the folder."""
    script = str(ROOT / "deploy" / "kafka" / "kafka.sh")
    command = [script, "start", str(folder), str(free_port()), str(free_port())]
    started = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert started.returncode == 0, started.stderr
    try:
        yield started.stdout.strip()
    finally:
        subprocess.run([script, "stop", str(folder)], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a real Redis or Valkey, started where none is given and ended with the context."""
    if given := os.environ.get("CROSSMARGIN_TEST_REDIS"):
        yield given
    elif _docker_answers():
        with _redis_container() as url:
            yield url
    else:
        require_redis()
        with embedded_redis() as server:
            yield server.url


def require_redis() -> None:
    """Skip, or fail, where there is no server program to start."""
    reason = ""
    try:
        redis_binary()
    except UserError as error:
        reason = str(error)
    require(not reason, reason)


def delete_topics(bootstrap: str) -> None:
    """Delete every topic and idle consumer group of the broker, and wait until they are gone."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})

    def topics() -> list[str]:
        return [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]

    groups = [group.group_id for group in admin.list_consumer_groups().result().valid]
    if groups:
        for future in admin.delete_consumer_groups(groups).values():
            with contextlib.suppress(Exception):  # one that still has members is left to its own topics' end
                future.result()
    if names := topics():
        for future in admin.delete_topics(names).values():
            future.result()
        wait_until(lambda: not topics(), what="the end of the topics")


@cache
def _docker_answers() -> bool:
    """Whether a Docker daemon answers; asked first, because testcontainers' constructors raise without one."""
    import docker
    from docker.errors import DockerException

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client leaves its socket open when nobody answers
        try:
            with contextlib.closing(docker.from_env(timeout=5)) as client:
                return bool(client.ping())
        except DockerException:
            return False
        finally:
            gc.collect()


@contextmanager
def _kafka_container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    port = free_port()
    container = (
        DockerContainer(KAFKA_IMAGE)
        .with_bind_ports(port, port)
        .with_envs(
            KAFKA_NODE_ID="1",
            KAFKA_PROCESS_ROLES="broker,controller",
            KAFKA_LISTENERS=f"PLAINTEXT://:{port},CONTROLLER://:9093",
            KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://{LOOPBACK}:{port}",
            KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
            KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
            KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
            KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR="1",
            KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
        )
        .waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(int(START_SECONDS)))
    )
    with container:
        yield f"{LOOPBACK}:{port}"


@contextmanager
def _redis_container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    container = (
        DockerContainer(REDIS_IMAGE)
        .with_exposed_ports(6379)
        .waiting_for(LogMessageWaitStrategy("Ready to accept connections").with_startup_timeout(int(START_SECONDS)))
    )
    with container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"

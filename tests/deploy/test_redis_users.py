"""The sample of Redis users in a real server: each does its work through the project's own code, and nothing else."""

import asyncio
import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from engine.report import CallEvent, CallState, Said, Status
from monitors.keys import Keys
from streams import calls, top
from streams.desk import open_desk
from streams.embedded import LOOPBACK, free_port, redis_binary
from streams.settings import Settings, UserError
from streams.status import show
from tests.monitors.desk import running
from tests.monitors.fake_engine import FakeEngine
from tests.services import ROOT, require_redis, wait_until

pytestmark = pytest.mark.services
SAMPLE = ROOT / "deploy" / "redis" / "users.acl"
USERS = ("worker", "web", "desk")


def with_passwords(text: str) -> str:
    """The sample with the password NAME-secret for each user."""
    for user in USERS:
        text = text.replace(f"{user.upper()}_PASSWORD_SHA256", hashlib.sha256(f"{user}-secret".encode()).hexdigest())
    return text


def command(folder: Path, text: str, port: int) -> list[str]:
    (folder / "users.acl").write_text(text)
    options = f"--port {port} --bind {LOOPBACK} --appendonly no --maxmemory-policy noeviction --aclfile users.acl"
    return [str(redis_binary()), *options.split(), "--save", "", "--dir", str(folder)]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server with the sample's users."""
    require_redis()
    folder, port = tmp_path_factory.mktemp("acl"), free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(folder, with_passwords(SAMPLE.read_text()), port), cwd=folder, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: b"Ready to accept" in (folder / "log").read_bytes() or process.poll() is not None, 15)
        assert process.poll() is None, (folder / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(10)


def url(port: int, user: str) -> str:
    return f"redis://{user}:{user}-secret@{LOOPBACK}:{port}/0"


def test_the_sample_as_it_is_keeps_the_server_from_starting(tmp_path: Path) -> None:
    require_redis()
    done = subprocess.run(
        command(tmp_path, SAMPLE.read_text(), free_port()), cwd=tmp_path, capture_output=True, text=True, timeout=20
    )
    assert done.returncode != 0
    assert "Aborting" in done.stdout
    assert "users.acl:2" in done.stdout


def test_the_worker_writes_and_the_desk_reads(port: int) -> None:
    async def work() -> None:
        async with running(url(port, "worker")) as desk:
            engine = FakeEngine(0, 10)
            desk.attach(engine)
            desk.publish(engine, engine.step({3: Status.CALL}))
            desk.publish(engine, engine.call(3, CallEvent.ISSUED, CallState.ISSUED))
            said = Said("ann", "ack", "seen", engine.clock_ns)
            desk.publish(engine, engine.call(3, CallEvent.ACKNOWLEDGED, CallState.ISSUED, said=said))
            await desk.settle()
            assert desk.sink.resynchronizations == 1

    asyncio.run(work())
    settings = Settings(redis_url=url(port, "desk"))
    assert show(settings, None).data["by_status"]["CALL"] == 1
    (call,) = show(settings, "A0-3").data["calls"]
    assert call["acknowledged_by"] == "ann"
    assert [one["id"] for one in calls.show_calls(settings, None, None).data["calls"]] == [call["id"]]
    with open_desk(settings) as desk:
        assert len(top.read(desk).highest) == 10
        assert "redis_version" in desk.client.info("server")


@pytest.mark.parametrize("user", USERS)
def test_nobody_does_more(port: int, user: str) -> None:
    keys = Keys()
    with Redis.from_url(url(port, user)) as client:
        client.hgetall(keys.meta)
        denied: list[tuple[object, ...]] = [
            ("GET", "other"), ("SET", "other", "1"), ("DEL", "other"), ("KEYS", "*"), ("SCAN", "0"), ("RANDOMKEY",),
            ("FLUSHDB",), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("CONFIG", "SET", "maxmemory", "1"), ("ACL", "LIST"),
            ("SHUTDOWN",), ("SCRIPT", "FLUSH"), ("FUNCTION", "LIST"), ("CLIENT", "KILL", "TYPE", "normal"),
            ("REPLICAOF", "NO", "ONE"), ("SUBSCRIBE", "x"), ("MONITOR",), ("SWAPDB", "0", "1"),
            ("RENAME", keys.meta, "other"), ("COPY", keys.meta, "other"),
        ]  # fmt: skip
        if user != "worker":
            denied += [
                ("SET", f"{keys.prefix}x", "1"), ("DEL", keys.meta), ("HSET", keys.meta, "version", "2"),
                ("EXPIRE", keys.meta, "1"), ("XADD", keys.alerts, "*", "a", "b"), ("EVAL", "return 1", "0"),
                ("SCRIPT", "LOAD", "return 1"),
            ]  # fmt: skip
        for one in denied:
            with pytest.raises(NoPermissionError):
                client.execute_command(*one)


def test_the_page_reads_by_script_and_a_script_cannot_write(port: int) -> None:
    with Redis.from_url(url(port, "web")) as client:
        assert client.eval_ro("return redis.call('HGET', KEYS[1], 'none')", 1, Keys().meta) is None
        with pytest.raises(RedisError):
            client.eval_ro("return redis.call('HSET', KEYS[1], 'a', 'b')", 1, Keys().meta)
        with pytest.raises(RedisError):
            client.eval_ro("return redis.call('GET', 'other')", 0)


@pytest.mark.parametrize("user", ["", "default:guess@", "desk:wrong@"])
def test_without_a_password_there_is_one_line_and_no_data(port: int, user: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="does not answer") as caught:
        show(Settings(redis_url=f"redis://{user}{LOOPBACK}:{port}/0"), None)
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")
    assert time.monotonic() - began < 10

"""The notifier as a process on a real Kafka: killed between post and commit; webhooks that are down, fail or are slow."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams import kafka
from streams.embedded import LOOPBACK, free_port
from streams.notifier_figures import group_of
from streams.processes import Child, ready
from streams.settings import Settings, environment
from streams.topics import ALERTS, CALLS
from tests.services import ROOT
from tests.streams.test_notifier import SECRET, Receiver, call, dead_letters, fell, publish, receiving, until

pytestmark = pytest.mark.services
NOTHING: Final = {"letters": [], "sent": 0, "dropped": 0, "waiting": 0}


@pytest.fixture
def settings(fresh_kafka: str) -> Settings:
    settings = Settings(kafka=fresh_kafka, shards=4, notifier_metrics_port=free_port())
    kafka.ensure_topics(settings)
    return settings


def configure(folder: Path, more: str, **ports: int) -> None:
    """A file of webhooks by name, each with its port and what else is given as TOML; it is called under its name."""
    tables = [
        f'[routes.{name}]\nurl = "http://{LOOPBACK}:{port}/{name}"\nsecret = "{SECRET}"\n{more}\n'
        for name, port in ports.items()
    ]
    (folder / "notices.toml").write_text("".join(tables))


@asynccontextmanager
async def notifier(settings: Settings, folder: Path) -> AsyncIterator[Child]:
    """A notifier whose routes have their partitions."""
    with Child("notifier", settings, folder, {"PYTHONPATH": str(ROOT)}) as child:
        try:
            await until(lambda: not ready(LOOPBACK, settings.notifier_metrics_port) or child.check(), 60)
            yield child
        finally:
            await asyncio.to_thread(child.stop)  # the webhooks go on meanwhile


def figure(settings: Settings, name: str, route: str, **labels: str) -> float:
    """A figure of /metrics."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{settings.notifier_metrics_port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    wanted = {"route": route, **labels}.items()
    samples = [one for metric in families for one in metric.samples if one.name == f"crossmargin_notifier_{name}"]
    [value] = [sample.value for sample in samples if wanted <= sample.labels.items()]
    return value


async def resend(settings: Settings, folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit status and what `crossmargin notifier resend --json` prints."""
    run = partial(
        subprocess.run,
        [sys.executable, "-m", "streams", "notifier", "resend", "--json", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment(settings)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    done = await asyncio.to_thread(run)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_kill_between_post_and_commit_posts_again_under_the_same_key(settings: Settings, tmp_path: Path) -> None:
    async def run() -> None:
        async with receiving(Receiver()) as receiver:
            configure(tmp_path, 'statuses = ["*"]', desk=receiver.port)
            async with notifier(settings, tmp_path):
                pass  # the group has its place: what comes now is its own
            publish(settings, ALERTS, *[fell("A1", n) for n in (1, 2, 3)])
            receiver.delays["/desk"] = 1.0  # the three are read at once, so they take three seconds to their commit
            async with notifier(settings, tmp_path) as child:
                await until(lambda: "A1:1" in receiver.keys("/desk"))
                child.kill()
            receiver.delays.clear()
            async with notifier(settings, tmp_path) as child:
                await until(lambda: not sum(kafka.lags(settings, group_of(settings, "desk"), ALERTS).values()))
                assert await asyncio.to_thread(child.stop) == 0
            *before, first, second, third = receiver.keys("/desk")
            assert before in (["A1:1"], ["A1:1", "A1:2"])  # the second post was under way
            assert [first, second, third] == ["A1:1", "A1:2", "A1:3"]

    asyncio.run(run())


def test_webhooks_that_are_down_fail_or_are_slow_are_seen_and_their_letters_sent_again(
    settings: Settings, tmp_path: Path
) -> None:
    """Every post is signed: the receiver takes no other. Each key is taken once."""
    broken, port, seen = {"now": True}, free_port(), partial(figure, settings)

    def answers(path: str, count: int) -> tuple[int, dict[str, str]]:
        return (500 if path == "/fails" and broken["now"] else 204), {}

    async def run(receiver: Receiver) -> None:
        async with notifier(settings, tmp_path):
            publish(settings, CALLS, *[call("A1", n) for n in range(1, 11)])
            await until(lambda: seen("lag_messages", "slow") > 0)
            await until(lambda: len(dead_letters(settings)) == 20)
            await until(lambda: seen("dead_letters", "down") == seen("dead_letters", "fails") == 10)
            await until(lambda: len(receiver.keys("/slow")) == 10)
            await until(lambda: seen("lag_messages", "slow") == 0)
            for route, outcome, retries in (("down", "dead", 10), ("fails", "dead", 10), ("slow", "delivered", 0)):
                assert seen("notices_total", route, topic=CALLS, outcome=outcome) == 10
                assert seen("retries_total", route, topic=CALLS) == retries
            assert seen("delivery_seconds_count", "slow") == 10
            assert seen("delivery_seconds_count", "fails") == 0

            status, listed = await resend(settings, tmp_path, "--dry-run")
            assert (status, listed["waiting"]) == (0, 20)
            reasons = {"HTTP 500: said <so>, 2 tries", "ClientConnectorError, 2 tries"}
            assert {one["reason"] for one in listed["letters"]} == reasons
            assert all(0 < one["age_seconds"] < 100 for one in listed["letters"])
            broken["now"] = False
            status, sent = await resend(settings, tmp_path)
            assert (status, sent["sent"], sent["waiting"]) == (1, 10, 10)
            assert {one["route"] for one in sent["letters"] if one["result"] == "sent"} == {"fails"}
            await until(lambda: (seen("dead_letters", "down"), seen("dead_letters", "fails")) == (10, 0))
            async with receiving(Receiver(port=port)) as back:
                status, sent = await resend(settings, tmp_path, "--route", "down")
                assert (status, sent["sent"], sent["waiting"]) == (0, 10, 0)
                assert await resend(settings, tmp_path) == (0, NOTHING)
            await until(lambda: seen("dead_letters", "down") == 0)
            keys = [f"A1:{n}" for n in range(1, 11)]
            assert back.keys("/down") == receiver.keys("/fails") == receiver.keys("/slow") == keys

    async def with_receiver() -> None:
        async with receiving(Receiver(answers, delays={"/slow": 0.8})) as receiver:
            configure(tmp_path, 'calls = ["*"]\ntries = 2', down=port, fails=receiver.port, slow=receiver.port)
            await run(receiver)

    asyncio.run(with_receiver())

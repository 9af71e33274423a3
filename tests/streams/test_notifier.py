"""The notifier against real local webhooks and a broker: signed, retried, given up, resumed, each route by itself."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

from monitors.alerts import Alert, Call
from monitors.metrics import TABLE
from monitors.notices import Route, parse_notices
from streams import kafka, notifier, notifier_figures
from streams.dead_notices import DeadNotice
from streams.embedded import LOOPBACK, free_port
from streams.notifier import Hook, read_routes, serve
from streams.notifier_figures import REMOVED, Figures, Tally
from streams.processes import Child, answers, ready
from streams.settings import ConfigError, Settings
from streams.topics import ALERTS, CALLS, DEAD_NOTICES
from tests.monitors.test_metrics import samples
from tests.services import ROOT, wait_until

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()


@dataclass
class Receiver:
    """A webhook: answers(path, how often this key came) is (status, headers), after its delay in seconds."""

    answers: Callable[[str, int], tuple[int, dict[str, str]]] = lambda path, count: (204, {})
    delays: dict[str, float] = field(default_factory=dict)
    got: list[tuple[str, str]] = field(default_factory=list)  # path, Idempotency-Key
    taken: list[tuple[str, str]] = field(default_factory=list)
    bodies: dict[str, Any] = field(default_factory=dict)
    port: int = 0  # a free one

    async def answer(self, request: web.Request) -> web.Response:
        body, key = await request.read(), request.headers["Idempotency-Key"]
        signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(b"0123456789abcdef", signed, hashlib.sha256)).decode()
        if request.headers["webhook-signature"] != f"v1,{expected}":
            return web.Response(status=401)
        self.got.append((request.path, key))
        await asyncio.sleep(self.delays.get(request.path, 0))
        status, headers = self.answers(request.path, Counter(self.got)[request.path, key])
        if status < 300:
            self.taken.append((request.path, key))
            self.bodies[key] = json.loads(body)
        return web.Response(status=status, headers=headers, text="said <so>")

    def keys(self, path: str) -> list[str]:
        return [key for at, key in self.taken if at == path]


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[Receiver]:
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, receiver.port)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


def routes(receiver: Receiver, **fields: dict[str, Any]) -> dict[str, Route]:
    """Routes by name, each posting to /NAME."""
    common = {"secret": SECRET, "tries": 4}
    named = {name: {"url": f"http://{LOOPBACK}:{receiver.port}/{name}", **common, **more} for name, more in fields.items()}
    return parse_notices({"routes": named}, {})


def call(account: str, change: int, event: str = "issued") -> Alert:
    life = Call(id=f"{account}:P:1", event=event, customer="C", pool="P", received="0.00", issued_ns=1, due_ns=2)
    return Alert(
        id=f"{account}:{change}", kind="call", account=account, before="NONE", after="ISSUED", amount="5.00",
        currency="USD", pool="P", ts_ns=3, shard=0, offset=change, call=life,
    )  # fmt: skip


def fell(account: str, change: int) -> Alert:
    return Alert(
        id=f"{account}:{change}", kind="status", account=account, before="OK", after="CALL", amount="5.00",
        currency="USD", pool="P", ts_ns=3, shard=0, offset=change,
    )  # fmt: skip


def publish(settings: Settings, topic: str, *alerts: Alert | bytes) -> None:
    """As the worker does: all alerts of an account on one partition."""
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    for alert in alerts:
        name = alert.account if isinstance(alert, Alert) else ""
        raw = msgspec.json.encode(alert) if isinstance(alert, Alert) else alert
        delivery.send(topic, sum(name.encode()) % 4, raw, name.encode())
    assert delivery.wait(10)


def dead_letters(settings: Settings) -> list[DeadNotice]:
    """Every letter ever written."""
    raws = [message.value() for message in kafka.read_partition(settings, DEAD_NOTICES, 0)]
    return [msgspec.json.decode(raw, type=DeadNotice) for raw in raws if raw is not None]


@asynccontextmanager
async def serving(settings: Settings, named: dict[str, Route]) -> AsyncIterator[Figures]:
    """A running notifier whose routes have their partitions, with its figures; drained at the end."""
    stop, figures = asyncio.Event(), Figures(named)
    async with aiohttp.ClientSession() as session:
        assert figures.not_ready() == f"routes without their place in their group: {', '.join(named)}"
        task = asyncio.create_task(serve(settings, named, session, stop, figures))
        await until(lambda: not figures.not_ready() or task.done())
        try:
            yield figures
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)


def places(settings: Settings, name: str, topic: str) -> dict[int, int]:
    return kafka.committed(settings, f"{settings.notifier_group}-{name}", topic, [0, 1, 2, 3])


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


@pytest.fixture
def settings(mock_kafka: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(notifier, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(notifier, "SESSION_MS", 5000)  # the mock cluster does not notice that a member leaves
    return Settings(kafka=mock_kafka, mock_kafka=True, shards=4)


@pytest.mark.services
def test_alerts_arrive_signed_in_order_once_and_a_restart_goes_on(settings: Settings) -> None:
    """Also: nothing from before the first start; 503 and 429 are tried again; nothing twice after a clean end."""
    first_time = {"A1:2": (503, {}), "B1:2": (429, {"Retry-After": "0"})}

    async def work(receiver: Receiver) -> None:
        named = routes(receiver, desk={"calls": ["issued", "met"], "statuses": ["CALL"]}, calls={"calls": ["met"]})
        async with serving(settings, named):
            alerts = [
                fell("A1", 1),
                call("A1", 2),
                fell("B1", 1),
                call("B1", 2, "met"),
                fell("A1", 3),
                call("A1", 4, "noted"),
            ]
            publish(settings, ALERTS, *alerts)
            publish(settings, CALLS, *[alert for alert in alerts if alert.call])
            await until(lambda: len(receiver.keys("/desk")) == 5 and receiver.keys("/calls"))
        async with serving(settings, named):
            publish(settings, ALERTS, fell("A1", 5))
            await until(lambda: len(receiver.keys("/desk")) > 5)

    publish(settings, ALERTS, fell("A1", 0))

    async def run() -> Receiver:
        async with receiving(Receiver()) as receiver:
            receiver.answers = lambda path, count: first_time[receiver.got[-1][1]] if _first(receiver, count) else (204, {})
            await work(receiver)
            return receiver

    def _first(receiver: Receiver, count: int) -> bool:
        return count == 1 and receiver.got[-1][1] in first_time

    receiver = asyncio.run(run())
    assert [key for key in receiver.keys("/desk") if key.startswith("A1")] == ["A1:1", "A1:2", "A1:3", "A1:5"]
    assert [key for key in receiver.keys("/desk") if key.startswith("B1")] == ["B1:1", "B1:2"]
    assert receiver.keys("/calls") == ["B1:2"]
    assert Counter(receiver.got)["/desk", "A1:2"] == Counter(receiver.got)["/desk", "B1:2"] == 2
    assert receiver.bodies["A1:2"] == msgspec.to_builtins(call("A1", 2))
    assert dead_letters(settings) == []


@pytest.mark.services
def test_what_is_refused_or_never_taken_becomes_a_dead_letter_and_the_rest_goes_on(settings: Settings) -> None:
    refused = {"A1:1": 400, "A1:2": 500, "A1:3": 302}

    async def run() -> Receiver:
        async with receiving(Receiver()) as receiver:
            receiver.answers = lambda path, count: (refused.get(receiver.got[-1][1], 204), {"Location": "/elsewhere"})
            async with serving(settings, routes(receiver, desk={"statuses": ["*"], "connections": 1})) as figures:
                publish(settings, ALERTS, *[fell("A1", n) for n in (1, 2, 3, 4)], call("B1", 1))
                publish(settings, ALERTS, b"\xffno alert")
                await until(lambda: receiver.keys("/desk") and len(dead_letters(settings)) == 4)
                await until(lambda: sum(places(settings, "desk", ALERTS).values()) == 6)
                assert figures.tallies["desk"].outcomes == {"delivered": 1, "unwanted": 1, "dead": 4}
                assert figures.tallies["desk"].retries == 3
            return receiver

    receiver = asyncio.run(run())
    assert Counter(receiver.got) == {("/desk", "A1:1"): 1, ("/desk", "A1:2"): 4, ("/desk", "A1:3"): 1, ("/desk", "A1:4"): 1}
    by_id = {letter.id: letter for letter in dead_letters(settings)}
    assert by_id["A1:1"].reason == "HTTP 400: said <so>"
    assert by_id["A1:2"].reason == "HTTP 500: said <so>, 4 tries"
    assert by_id["A1:3"].reason == "HTTP 302: said <so>"
    assert by_id["margin.alerts:0:0"].reason.startswith("not an alert of crossmargin")
    assert {letter.id for letter in by_id.values() if not letter.is_post} == {"margin.alerts:0:0"}
    assert msgspec.json.decode(by_id["A1:1"].body, type=Alert) == fell("A1", 1)


@pytest.mark.services
def test_a_slow_webhook_holds_nobody_back_and_an_end_leaves_the_rest_for_the_next_start(settings: Settings) -> None:
    """What was posted and not committed when the notifier ended comes again under the same id, everything else once."""

    async def run() -> Receiver:
        async with receiving(Receiver(delays={"/slow": 0.3})) as receiver:
            named = routes(receiver, slow={"statuses": ["*"], "connections": 1}, fast={"statuses": ["*"]})
            async with serving(settings, named):
                publish(settings, ALERTS, *[fell("A1", n) for n in range(1, 11)], *[fell("B1", n) for n in range(1, 11)])
                await until(lambda: len(receiver.keys("/fast")) == 20)
                assert len(receiver.keys("/slow")) < 20
                await until(lambda: receiver.keys("/slow"))
            held = len(receiver.keys("/slow"))
            assert 0 < held < 20
            receiver.delays.clear()
            async with serving(settings, {"slow": named["slow"]}):
                await until(lambda: len(set(receiver.keys("/slow"))) == 20)
            return receiver

    receiver = asyncio.run(run())
    assert sorted(receiver.keys("/fast")) == sorted(set(receiver.keys("/slow")))
    for account in ("A1", "B1"):
        assert list(dict.fromkeys(key for key in receiver.keys("/slow") if key.startswith(account))) == [
            f"{account}:{n}" for n in range(1, 11)
        ]
    assert dead_letters(settings) == []


@pytest.mark.services
def test_after_a_crash_before_the_commit_the_same_ids_come_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> Receiver:
        async with receiving(Receiver()) as receiver:
            named = routes(receiver, desk={"statuses": ["*"]})
            with monkeypatch.context() as patch:
                patch.setattr(notifier.Queue, "settle", lambda *_: None)  # as if it ended just before
                async with serving(settings, named):
                    publish(settings, ALERTS, fell("A1", 1), fell("A1", 2))
                    await until(lambda: len(receiver.taken) == 2)
            async with serving(settings, named):
                await until(lambda: len(receiver.taken) == 4)
            return receiver

    assert asyncio.run(run()).keys("/desk") == ["A1:1", "A1:2", "A1:1", "A1:2"]


@pytest.mark.services
def test_the_process_says_what_it_does_and_ends_by_sigterm(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "notices.toml").write_text('[routes.desk]\nurl = "http://127.0.0.1:1/"\nsecret = "hidden"\ncalls = ["*"]\n')
    port = free_port()
    with Child("notifier", msgspec.structs.replace(settings, notifier_metrics_port=port), tmp_path) as child:
        wait_until(lambda: not ready(LOOPBACK, port) or child.check(), 30)
        assert answers(LOOPBACK, port, "/healthz")
        assert answers(LOOPBACK, port, "/metrics")
        assert child.stop() == 0, child.last_lines()
    said = child.log.read_text()
    assert "route desk: json of margin.calls" in said
    assert "Traceback" not in said
    assert "hidden" not in said


def test_a_webhook_that_does_not_answer_is_given_up_and_nothing_secret_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifier, "FIRST_WAIT", 0.01)
    caplog.set_level(logging.INFO)

    async def run() -> tuple[str | None, str | None]:
        async with receiving(Receiver(delays={"/late": 5})) as receiver, aiohttp.ClientSession() as session:
            named = routes(receiver, late={"calls": ["*"], "timeout_seconds": 0.1, "tries": 2})
            late = await Hook("late", named["late"], session, asyncio.Event(), Tally()).deliver("A1:1", b"{}")
            gone = msgspec.structs.replace(named["late"], url="http://user:pass@127.0.0.1:1/token-in-path")
            return late, await Hook("gone", gone, session, asyncio.Event(), Tally()).deliver("A1:1", b"{}")

    late, gone = asyncio.run(run())
    assert late == "no answer in 0.1 s, 2 tries"
    assert gone == "ClientConnectorError, 2 tries"
    assert "is given up" in caplog.text
    for secret in (SECRET, "token-in-path", "pass@"):
        assert secret not in caplog.text


def test_figures_are_the_rest_of_the_table_and_say_when_kafka_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    named = routes(Receiver(port=1), desk={"calls": ["met"]}, all={"statuses": ["*"]})
    figures, registry = Figures(named), CollectorRegistry()
    registry.register(figures)
    figures.tallies["desk"].delivered(time.time_ns() - 2_000_000_000)
    scraped = samples(registry)
    emitted = {metric.name + ("_total" if metric.type == "counter" else "") for metric in registry.collect()}
    assert emitted == {name for name in TABLE if name.startswith("crossmargin_notifier_")} | {"crossmargin_build_info"}
    desk = ("outcome", "delivered"), ("route", "desk"), ("topic", CALLS)
    assert scraped["crossmargin_notifier_notices_total", desk] == 1
    assert scraped["crossmargin_notifier_delivery_seconds_count", (("route", "desk"),)] == 1
    assert scraped["crossmargin_notifier_delivery_seconds_sum", (("route", "desk"),)] == pytest.approx(2, abs=1)
    assert scraped["crossmargin_notifier_lag_messages", (("route", "all"), ("topic", ALERTS))] == 0
    assert scraped["crossmargin_notifier_dead_letters", (("route", REMOVED),)] == 0
    for tally in figures.tallies.values():
        tally.is_placed = True
    assert figures.not_ready() == ""
    monkeypatch.setattr(notifier_figures, "SILENT_SECONDS", -1.0)
    assert figures.not_ready() == "Kafka has not answered for 0 s"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("900", 120),
        ("Sun, 22 Nov 2026 23:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 22:00:00 GMT", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float) -> None:
    assert notifier._retry_after(text, 1_795_388_400) == seconds


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("routes = [", "not a readable TOML file"), ("routes = {}", "routes")]
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "notices.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_routes(file, {})
    assert "CROSSMARGIN_NOTICES" in str(caught.value)


def test_the_example_is_a_good_configuration() -> None:
    secrets = dict.fromkeys(("MARGIN_DESK_SECRET", "CLIENTS_SECRET", "DATA_QUALITY_SECRET"), SECRET)
    found = read_routes(ROOT / "deploy" / "example" / "notices.toml", secrets)
    assert list(found) == [
        "margin-desk",
        "clients",
        "data-quality",
    ]

"""Margin calls on the terminal: the list, a call's life, what a user does to one, and the live screen."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from threading import Event, Thread

import msgspec
import pytest
from confluent_kafka import Producer
from redis import Redis
from rich.console import Console

from engine.report import Quality, Status
from monitors.alerts import Origin, RejectMessage
from monitors.keys import Keys
from monitors.view import open_client, read_account_calls
from streams import calls, cli, kafka
from streams import top as live
from streams.desk import open_desk
from streams.settings import Settings
from streams.topics import CALLS, REJECTS
from tests.streams.test_notifier import call as alert_of_call

pytestmark = pytest.mark.services
NS = 10**9


@pytest.fixture
def settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A database with three open calls and one that is over, under a prefix of its own."""
    for name in [name for name in os.environ if name.startswith("CROSSMARGIN_")]:
        monkeypatch.delenv(name)
    chosen = Settings(redis_url=redis_url, redis_prefix=f"calls-{os.getpid()}-{time.monotonic_ns()}:", mock_kafka=True)
    keys, now_ns = Keys(chosen.redis_prefix), time.time_ns()
    with open_client(redis_url) as client:
        client.hset(
            keys.meta, mapping={"version": 1, "log_id": "ab" * 16, "shards": 1, "started": 1, "shard:0:ts_ns": now_ns}
        )
        for account, pool, state, hours in (
            ("A1", "FICC", "ISSUED", 5),
            ("A2", "FUTURES", "OVERDUE", -2),
            ("A1:X", "FICC", "PART_MET", 1),
            ("A3", "FICC", "MET", 1),
        ):
            call_id, due_ns = f"{account}:{pool}:1", now_ns + hours * 3600 * NS + 30 * NS
            fields = {
                "id": call_id, "account": account, "customer": "C", "pool": pool, "currency": "USD", "state": state,
                "amount": "123456789012345678.91", "received": "0.02", "issued_ns": now_ns, "due_ns": due_ns,
                "ts_ns": now_ns, "change": 1, "shard": 0, "offset": 1,
            }  # fmt: skip
            client.hset(keys.call(call_id), mapping=fields)
            if state == "MET":
                client.hset(keys.call(call_id), "life", f"issued {now_ns} 2.00 0.00\nmet {now_ns} 2.00 2.00")
                client.zadd(keys.closed_calls, {call_id: now_ns // NS, "expired:FICC:1": 1})
            else:
                client.zadd(keys.open_calls, {call_id: due_ns // NS})
            row = {"status": "CALL", "quality": "FRESH", "excess": "-1.50", "equity": "-1.50", "utilization": ""}
            client.hset(keys.account(account), mapping=row)
            client.zadd(keys.by_excess, {account: -7.25})
            client.zadd(keys.by_utilization, {account: float("inf")})
            client.sadd(keys.status(Status.CALL), account)
            client.sadd(keys.quality(Quality.FRESH), account)
        yield chosen
        for key in client.scan_iter(f"{chosen.redis_prefix}*"):
            client.delete(key)


def said(
    capsys: pytest.CaptureFixture[str], settings: Settings, *arguments: str, kafka: bool = False
) -> tuple[int, str, str]:
    flags = ["--redis-url", settings.redis_url, "--redis-prefix", settings.redis_prefix]
    if kafka:
        flags += ["--kafka", settings.kafka]
    status = cli.run([*arguments, *flags])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_open_calls_are_listed_by_due_time_and_chosen(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    def ids(*options: str) -> list[str]:
        return [call["id"] for call in json.loads(said(capsys, settings, "calls", "--json", *options)[1])["calls"]]

    assert ids() == ["A2:FUTURES:1", "A1:X:FICC:1", "A1:FICC:1"]
    assert ids("--pool", "FICC") == ["A1:X:FICC:1", "A1:FICC:1"]
    assert ids("--state", "overdue") == ["A2:FUTURES:1"]
    assert ids("--pool", "none") == []
    first = json.loads(said(capsys, settings, "calls", "--json")[1])["calls"][0]
    assert first["outstanding"] == "123456789012345678.89"
    assert -7200 < first["seconds_left"] < -7100
    table = said(capsys, settings, "calls")[1]
    assert "3 of 3 open calls" in table
    assert "123,456,789,012,345,678.89" in table
    assert "in 5 h 0 min" in table
    assert "1 h 59 min ago" in table
    assert re.fullmatch(r"0 of 3 open calls, as of \d+\.\d s ago\n", said(capsys, settings, "calls", "--pool", "none")[1])
    status, _, err = said(capsys, settings, "calls", "--state", "late")
    assert status == 2
    assert "found 'late'; allowed: ISSUED, PART_MET, OVERDUE" in err


def test_calls_that_are_over_are_listed(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    (call,) = json.loads(said(capsys, settings, "calls", "--closed", "--json")[1])["calls"]
    assert (call["id"], [step["event"] for step in call["life"]]) == ("A3:FICC:1", ["issued", "met"])
    table = said(capsys, settings, "calls", "--closed", "--state", "met")[1]
    assert "1 of 1 calls that are over" in table
    assert "ended (UTC)" in table
    assert said(capsys, settings, "calls", "--closed", "--state", "CANCELLED")[1].startswith("0 of 1 calls that are over")
    status, _, err = said(capsys, settings, "calls", "--closed", "--state", "ISSUED")
    assert status == 2
    assert "found 'ISSUED'; allowed: MET, COVERED, CANCELLED, OVER" in err


def test_an_account_is_shown_with_its_calls(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    shown = json.loads(said(capsys, settings, "status", "A1", "--json")[1])
    assert [call["id"] for call in shown["calls"]] == ["A1:FICC:1"]
    assert "A1:FICC:1" in said(capsys, settings, "status", "A1")[1]
    with open_client(settings.redis_url) as client:
        assert read_account_calls(client, Keys(settings.redis_prefix), "A3") == []


def unknown(call_id: str, where: str) -> str:
    """What verbs say of a call that is not where they looked."""
    return (
        f"crossmargin: found no call '{call_id}' in {where}; crossmargin calls lists open ones, with --closed those over\n"
    )


def test_the_life_of_a_call(capsys: pytest.CaptureFixture[str], mock_kafka: str) -> None:
    settings = Settings(kafka=mock_kafka, mock_kafka=True, shards=4)
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    issued, noted, other = alert_of_call("A1", 3), alert_of_call("A1", 4, "noted"), alert_of_call("B1", 1)
    assert noted.call is not None
    noted = msgspec.structs.replace(noted, call=msgspec.structs.replace(noted.call, user="ann", text="wire is on its way"))
    for alert in (issued, other, noted, issued):  # a worker that repeats its work repeats what it sent
        assert alert.call is not None
        delivery.send(CALLS, 1, msgspec.json.encode(alert), alert.call.id.encode())
    delivery.wait()

    def show(call_id: str, *options: str) -> tuple[int, str, str]:
        status = cli.run(["calls", "show", call_id, "--kafka", mock_kafka, *options])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    life = json.loads(show("A1:P:1", "--json")[1])["life"]
    assert [(one["id"], one["call"]["event"]) for one in life] == [("A1:3", "issued"), ("A1:4", "noted")]
    assert "wire is on its way" in show("A1:P:1")[1]
    status, _, err = show("A1:P:2")
    assert (status, err) == (1, unknown("A1:P:2", f"topic margin.calls of Kafka at {mock_kafka}"))


@contextmanager
def chain(settings: Settings, answer: Callable[[Redis, Keys, dict[str, str]], None]) -> Iterator[list[dict[str, str]]]:
    """What sequencer and worker do with actions, played: each new one is answered once."""
    got: list[dict[str, str]] = []
    end = Event()

    def play() -> None:
        seen = 0
        with open_client(settings.redis_url) as client:
            while not end.wait(0.05):
                values = [m.value() for p in range(4) for m in kafka.read_partition(settings, calls.ACTIONS, p)]
                for value in values[seen:]:
                    got.append(json.loads(value or b""))
                    answer(client, Keys(settings.redis_prefix), got[-1])
                seen = len(values)

    thread = Thread(target=play)
    thread.start()
    try:
        yield got
    finally:
        end.set()
        thread.join()


def show_note(client: Redis, keys: Keys, action: dict[str, str]) -> None:
    """The call's notes have it, as calls.lua and accounts.lua write them."""
    note = {"user": action["user"], "kind": action["kind"], "text": action["text"], "ts_ns": str(action["ts"])}
    client.hset(keys.call(action["call"]), "notes", json.dumps([{**note, "user": "before"}, note]))


def test_what_a_user_does_is_done_when_redis_shows_it(
    capsys: pytest.CaptureFixture[str], settings: Settings, mock_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = msgspec.structs.replace(settings, kafka=mock_kafka)
    with chain(settings, show_note) as got:
        status, out, err = said(capsys, settings, "calls", "ack", "A1:FICC:1", "--user", "ann", kafka=True)
        assert (status, out, err) == (0, "call A1:FICC:1: acknowledged by ann\n", "")
        monkeypatch.setenv("CROSSMARGIN_USER", "bob")
        done = json.loads(said(capsys, settings, "calls", "note", "A1:FICC:1", "--text", "so", "--json", kafka=True)[1])
        monkeypatch.setenv("CROSSMARGIN_USER", "")
        monkeypatch.setenv("LOGNAME", "carl")
        assert said(capsys, settings, "calls", "cancel", "A2:FUTURES:1", "--text", "x", kafka=True)[1].endswith("by carl\n")
    assert done == {"call": "A1:FICC:1", "done": "note", "user": "bob", "id": got[1]["id"]}
    assert [(one["kind"], one["user"], one["account"], one["call"], one["text"]) for one in got] == [
        ("ack", "ann", "A1", "A1:FICC:1", ""),
        ("note", "bob", "A1", "A1:FICC:1", "so"),
        ("cancel", "carl", "A2", "A2:FUTURES:1", "x"),
    ]


def test_a_rejected_action_is_told_with_its_reason(
    capsys: pytest.CaptureFixture[str], settings: Settings, mock_kafka: str
) -> None:
    settings = msgspec.structs.replace(settings, kafka=mock_kafka)
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))

    def reject(client: Redis, keys: Keys, action: dict[str, str]) -> None:
        for raw in (b"{}", json.dumps(action).encode()):
            origin = Origin(calls.ACTIONS, 0, 0, 0 if raw == b"{}" else 1)
            message = RejectMessage(reason="unknown_call", origin=origin, ts=1, detail="no such call", raw=raw.decode())
            delivery.send(REJECTS, 0, msgspec.json.encode(message))
        delivery.wait()

    with chain(settings, reject):
        status, out, err = said(capsys, settings, "calls", "ack", "A1:FICC:1", "--user", "ann", kafka=True)
    assert (status, out) == (1, "")
    assert err == "crossmargin: ack of call A1:FICC:1 by ann was rejected: unknown_call: no such call\n"


def test_what_cannot_be_done_is_one_line(
    capsys: pytest.CaptureFixture[str], settings: Settings, mock_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SEEN_SECONDS", 0.3)
    settings = msgspec.structs.replace(settings, kafka=mock_kafka)
    nobody = unknown("A9:FICC:1", f"Redis at {settings.redis_url} (setting redis_url, CROSSMARGIN_REDIS_URL)")
    for expected, status, arguments in (
        *((nobody, 1, [verb, "A9:FICC:1", "--text", "x"]) for verb in ("ack", "note", "cancel")),
        ("found it MET; allowed: a call that is open", 1, ["ack", "A3:FICC:1"]),
        ("was sent and is not seen in Redis", 1, ["ack", "A1:FICC:1"]),
        ("text", 2, ["note", "A1:FICC:1", "--text", "x" * 1025]),
        ("flag --user: found 'é'; allowed: printable ASCII, up to 64 characters", 2, ["ack", "A1:FICC:1", "--user", "é"]),
        ("--text", 2, ["cancel", "A1:FICC:1"]),
        ("found redis_url before ack; allowed: behind ack", 2, ["--redis-url", "redis://x", "ack", "A1:FICC:1"]),
    ):
        found, out, err = said(capsys, settings, "calls", *arguments, kafka=True)
        assert (found, out, err.count("\n")) == (status, "", 1), err
        assert expected in err


def test_top_fits_small_terminals_and_says_how_old_it_is(settings: Settings) -> None:
    with open_desk(settings) as desk:
        picture = live.read(desk)
    assert picture.missing == []
    for columns, lines in ((80, 24), (200, 60)):
        output = StringIO()
        Console(width=columns, file=output).print(live.render(picture, lines, time.time_ns()))
        text = output.getvalue()
        assert len(text.splitlines()) <= lines
        assert max(map(len, text.splitlines())) <= columns
        for expected in ("A1:FICC:1", "OVERDUE", "open calls: 3", "CALL 4", "-7.25", "s ago", "1 h 59 min ago"):
            assert expected in text, expected


def test_top_once_prints_a_frame_and_without_a_terminal_the_rest_is_refused(
    capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    status, out, _ = said(capsys, settings, "top", "--once")
    assert status == 0
    assert "lowest excess" in out
    status, _, err = said(capsys, settings, "top")
    assert status == 2
    assert err == "crossmargin: top: found no terminal; allowed: a terminal, or --once for a single frame\n"


@pytest.mark.parametrize(("key", "status"), [(b"q", 0), (b"\x03", 130)])
def test_top_ends_by_q_or_ctrl_c_and_leaves_the_terminal_as_it_was(settings: Settings, key: bytes, status: int) -> None:
    outer, inner = pty.openpty()
    flags = ["--redis-url", settings.redis_url, "--redis-prefix", settings.redis_prefix, "--refresh", "0.2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "streams", "top", *flags], stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}, preexec_fn=_own_terminal,
    )  # fmt: skip
    os.close(inner)
    shown = b""
    try:
        end = time.monotonic() + 60
        while b"A1:FICC:1" not in shown and time.monotonic() < end:
            if select.select([outer], [], [], 0.2)[0]:
                shown += os.read(outer, 65536)
        os.write(outer, key)
        while process.poll() is None and time.monotonic() < end:
            if select.select([outer], [], [], 0.2)[0]:
                try:
                    shown += os.read(outer, 65536)
                except OSError:
                    break
        assert process.wait(20) == status
    finally:
        process.kill()
        process.wait()
        os.close(outer)
    assert b"A1:FICC:1" in shown
    assert b"\x1b[?1049l" in shown  # the other screen was left
    assert b"Traceback" not in shown


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

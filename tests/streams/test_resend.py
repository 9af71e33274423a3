"""Dead letters sent again, against real local webhooks and a broker: once, under their ids, and nothing lost or looped."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from streams import cli, kafka, notifier
from streams.dead_notices import DeadNotice, Waiting, keep, settle
from streams.resend import Resent, send_again
from streams.settings import Settings
from streams.topics import DEAD_NOTICES
from tests.streams.test_notifier import Receiver, receiving, routes

pytestmark = pytest.mark.services


@pytest.fixture
def settings(mock_kafka: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(notifier, "FIRST_WAIT", 0.02)
    return Settings(kafka=mock_kafka, mock_kafka=True, shards=4)


def letter(notice_id: str, route: str = "desk", *, is_post: bool = True) -> DeadNotice:
    body = json.dumps({"of": notice_id})
    return DeadNotice(route=route, id=notice_id, reason="HTTP 500", ts_ns=1, body=body, is_post=is_post)


def write(settings: Settings, *records: DeadNotice | bytes) -> None:
    """Letters, and keys of letters that are settled, in this order."""
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    for record in records:
        if isinstance(record, bytes):
            settle(delivery, record)
        else:
            keep(delivery, record)
    assert delivery.wait(10)


def waiting(settings: Settings) -> list[str]:
    """Keys of the letters that wait."""
    found = Waiting()
    found.read(settings)
    return [key.decode() for key in found.offsets]


def with_receiver(work: Callable[[Receiver], Awaitable[list[Resent]]]) -> tuple[Receiver, list[Resent]]:
    async def run() -> tuple[Receiver, list[Resent]]:
        async with receiving(Receiver()) as receiver:
            return receiver, await work(receiver)

    return asyncio.run(run())


def results(done: list[Resent]) -> dict[str, str]:
    return {f"{one.route}:{one.id}": one.result for one in done}


def test_what_waits_is_what_nothing_settled(settings: Settings) -> None:
    """Also: a letter written twice is one, at its last place; and who follows the topic sees the same."""
    follower = Waiting()
    follower.read(settings)
    assert follower.offsets == {}
    write(settings, letter("A:1"), letter("B:1"), letter("A:2"), letter("A:1"), b"desk:B:1", letter("C:1", "mail"))
    follower.read(settings)
    assert list(follower.offsets) == [b"desk:A:2", b"desk:A:1", b"mail:C:1"]
    assert follower.by_route() == {"desk": 2, "mail": 1}
    write(settings, b"desk:A:1", b"desk:A:2", letter("A:1"))
    follower.read(settings)
    assert [f"{one.route}:{one.id}" for _, one in follower.letters(settings)] == ["mail:C:1", "desk:A:1"]
    assert waiting(settings) == ["mail:C:1", "desk:A:1"]


def test_each_goes_once_under_its_id_and_what_fails_again_waits(settings: Settings) -> None:
    write(settings, *[letter(f"A:{n}") for n in range(1, 70)], letter("B:1", "down"), letter("B:2", "down"), letter("C:9"))

    async def work(receiver: Receiver) -> list[Resent]:
        named = routes(receiver, desk={"calls": ["*"]}, down={"calls": ["*"], "tries": 2, "url": "http://127.0.0.1:1/"})
        receiver.answers = lambda path, count: (500 if receiver.got[-1][1] == "A:3" else 204, {})
        done = await send_again(settings, named, None, False, asyncio.Event())
        assert waiting(settings) == ["desk:A:3", "down:B:1", "down:B:2"]
        receiver.answers = lambda path, count: (204, {})
        named["down"] = msgspec.structs.replace(named["down"], url=f"http://127.0.0.1:{receiver.port}/down")
        later = await send_again(settings, named, None, False, asyncio.Event())
        assert results(later) == {"desk:A:3": "sent", "down:B:1": "sent", "down:B:2": "sent"}
        assert await send_again(settings, named, None, False, asyncio.Event()) == []
        return done

    receiver, done = with_receiver(work)
    assert len(done) == 72
    by_id = {one.id: one for one in done}
    assert {one.id for one in done if one.result != "sent"} == {"A:3", "B:1", "B:2"}
    assert by_id["A:3"].reason == "HTTP 500: said <so>, 3 tries"
    assert by_id["B:1"].reason == "ClientConnectorError, 2 tries"
    assert by_id["A:1"].reason == "HTTP 500"
    assert by_id["A:1"].age_seconds > 1e9
    sent = [key for key in receiver.keys("/desk") if key.startswith("A")]
    assert sent == [*[f"A:{n}" for n in range(1, 70) if n != 3], "A:3"]
    assert receiver.keys("/down") == ["B:1", "B:2"]
    assert receiver.bodies["A:7"] == {"of": "A:7"}
    assert waiting(settings) == []


def test_one_route_alone_and_what_cannot_be_sent(settings: Settings) -> None:
    """A route that is gone, an alert that could not be read, a message that is no letter: not posted, and can be dropped."""
    write(settings, letter("A:1"), letter("B:1", "mail"), letter("C:1", "gone"), letter("x:0:7", is_post=False))
    foreign = kafka.Delivery(Producer(kafka.producer_config(settings)))
    foreign.send(DEAD_NOTICES, 0, b"\xff", b"desk:D:1")
    assert foreign.wait(10)

    async def work(receiver: Receiver) -> list[Resent]:
        named = routes(receiver, desk={"calls": ["*"]}, mail={"calls": ["*"]})
        only = await send_again(settings, named, "mail", False, asyncio.Event())
        assert results(only) == {"mail:B:1": "sent"}
        done = await send_again(settings, named, None, False, asyncio.Event())
        assert waiting(settings) == ["gone:C:1", "desk:x:0:7", "desk:D:1"]
        dropped = await send_again(settings, named, None, True, asyncio.Event())
        assert results(dropped) == dict.fromkeys(("gone:C:1", "desk:x:0:7", "desk:D:1"), "dropped")
        return done

    receiver, done = with_receiver(work)
    reasons = {one.id: one.reason for one in done}
    assert reasons["C:1"] == "no route gone is configured"
    assert reasons["D:1"].startswith("not a dead letter of crossmargin")
    assert receiver.taken == [("/mail", "B:1"), ("/desk", "A:1")]
    assert waiting(settings) == []


def test_an_end_or_a_crash_loses_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not come to waits; what was taken and not settled comes again under the same id."""
    write(settings, *[letter(f"A:{n}") for n in range(1, 6)])

    async def work(receiver: Receiver) -> list[Resent]:
        named, stop = routes(receiver, desk={"calls": ["*"]}), asyncio.Event()

        def answers(path: str, count: int) -> tuple[int, dict[str, str]]:
            if len(receiver.got) == 2:
                stop.set()
            return 204, {}

        receiver.answers = answers
        done = await send_again(settings, named, None, False, stop)
        assert waiting(settings) == ["desk:A:3", "desk:A:4", "desk:A:5"]
        with monkeypatch.context() as patch:
            patch.setattr(kafka.Delivery, "send", lambda *_: None)  # as if it ended just before
            await send_again(settings, named, None, False, asyncio.Event())
        await send_again(settings, named, None, False, asyncio.Event())
        return done

    receiver, done = with_receiver(work)
    assert results(done) == {"desk:A:1": "sent", "desk:A:2": "sent"}
    assert receiver.keys("/desk") == ["A:1", "A:2", *["A:3", "A:4", "A:5"] * 2]
    assert waiting(settings) == []


def test_the_verb_lists_and_sends(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notices.toml").write_text(
        '[routes.desk]\nurl = "http://127.0.0.1:1/"\nsecret = "s"\ncalls = ["*"]\ntries = 1\n'
    )
    write(settings, letter("A:1"), letter("B:1", "gone"))

    def said(*words: str) -> tuple[int, str, str]:
        status = cli.run(["notifier", "resend", "--kafka", settings.kafka, *words])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    status, out, _ = said("--dry-run", "--json")
    listed = json.loads(out)
    assert (status, listed["sent"], listed["dropped"], listed["waiting"]) == (0, 0, 0, 2)
    assert [(one["id"], one["reason"]) for one in listed["letters"]] == [("A:1", "HTTP 500"), ("B:1", "HTTP 500")]
    assert waiting(settings) == ["desk:A:1", "gone:B:1"]
    status, out, err = said()
    assert (status, out.splitlines()[-1]) == (1, "0 sent, 0 dropped, 2 waiting")
    assert "ClientConnectorError, 1 tries" in out
    assert err.splitlines()[-1].startswith("crossmargin: 2 dead letters failed again and wait")
    status, _, err = said("--route", "desc")
    assert (status, err.splitlines()[-1]) == (2, "crossmargin: --route: found 'desc'; allowed: desk, gone")
    status, out, _ = said("--drop", "--route", "gone")
    assert (status, out.splitlines()[-1]) == (0, "0 sent, 1 dropped, 0 waiting")
    assert waiting(settings) == ["desk:A:1"]

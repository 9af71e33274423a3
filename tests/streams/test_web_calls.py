"""Margin calls of the web server on a real Valkey: lists, filters, pages, a call's life, and the table behind them."""

import time
from collections.abc import Iterator

import pytest

from monitors.keys import Keys
from monitors.live_calls import CallTable, Choice
from monitors.view import open_client
from tests.services import wait_until
from tests.streams.web_server import Running, web_server

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with web_server(redis_url, tmp_path_factory.mktemp("web"), 400) as running:
        yield running


def test_calls_are_listed_by_due_time(server: Running) -> None:
    found = server.get("/api/calls?limit=1000")
    assert found["open"] == len(found["calls"]) > 0
    due = [call["due_ns"] for call in found["calls"]]
    assert due == sorted(due)
    call = found["calls"][0]
    assert server.get(f"/api/calls/{call['id']}") == call
    assert server.ask("GET", "/api/calls/nobody:x:1")[0] == 404
    issued = {"event": "issued", "ts_ns": call["issued_ns"], "amount": call["amount"], "received": "0.00"}
    overdue = [{**issued, "event": "overdue"}] if call["state"] == "OVERDUE" else []
    assert call["life"] == [issued, *overdue]


def listed(server: Running, query: str) -> list[str]:
    """The ids of all calls that fit, page by page; each page says how many there are."""
    ids, count = list[str](), 1
    while len(ids) < count:
        found = server.get(f"/api/calls?{query}&limit=7&offset={len(ids)}")
        ids, count = ids + [call["id"] for call in found["calls"]], found["count"]
    return ids


def test_calls_are_filtered_and_those_over_are_listed(server: Running) -> None:
    world = server.world
    everything = server.get("/api/calls?limit=1000")["calls"]
    for query, fits in (
        ("pool=cash", lambda call: call["pool"] == "cash"),
        ("state=OVERDUE", lambda call: call["state"] == "OVERDUE"),
        (f"account={everything[3]['account']}", lambda call: call["account"] == everything[3]["account"]),
        ("text=UND-0001", lambda call: "fund-0001" in call["account"]),
        ("text=Digital&state=ISSUED", lambda call: (call["pool"], call["state"]) == ("digital", "ISSUED")),
        ("acknowledged=true", lambda call: False),
    ):
        assert listed(server, query) == [call["id"] for call in everything if fits(call)], query
    seen, other = (call["id"] for call in everything[:2])
    slots = [world.ids.index(call["account"]) for call in everything[-2:]]
    poor = [world.equity[slot] for slot in slots]
    try:
        world.say(seen, "acknowledged_by", "ann")
        for slot in slots:  # the market covers one after the other
            world.equity[slot] *= 10
            world.write([slot])
            time.sleep(0.01)
        ended = [call["id"] for call in (everything[-1], everything[-2])]
        wait_until(lambda: listed(server, "state=closed") == ended, what="calls that are over")
        assert listed(server, "state=COVERED") == ended
        assert listed(server, "state=MET") == listed(server, "state=closed&acknowledged=true") == []
        assert listed(server, "acknowledged=true") == [seen]
        assert other in listed(server, "acknowledged=false")
        assert server.get("/api/calls")["open"] == len(everything) - 2 == len(listed(server, "state=open"))
        assert [step["event"] for step in server.get(f"/api/calls/{ended[0]}")["life"]][-1] == "covered"
    finally:
        world.say(seen, "acknowledged_by", "")
        for slot, equity in zip(slots, poor, strict=True):
            world.equity[slot] = equity
        world.write(slots)


def test_thirty_thousand_calls_are_found_and_a_poll_reads_what_changed(redis_url: str) -> None:
    count, keys = 30_000, Keys("many:")
    with open_client(redis_url) as client, open_client(redis_url, text=False) as raw:
        pipe = client.pipeline(transaction=False)
        pipe.hset(keys.meta, "epoch", "e")
        for n in range(count):
            row = {"state": "ISSUED", "account": f"A{n:05d}", "customer": f"C{n // 2}", "pool": "p", "due_ns": n, "ts_ns": 1}
            pipe.hset(keys.call(f"A{n:05d}:p:1"), mapping=row)
            pipe.zadd(keys.changed_calls, {f"A{n:05d}:p:1": n + 1})
        pipe.execute()
        table = CallTable(raw, keys)
        table.poll()
        assert table.select(Choice(), count - 1, 10) == ([f"A{count - 1:05d}:p:1"], count)
        reads = client.info("commandstats")["cmdstat_hmget"]["calls"]
        client.zadd(keys.changed_calls, {"A00007:p:1": count + 1})
        client.hset(keys.call("A00007:p:1"), "state", "MET")
        table.poll()
        assert client.info("commandstats")["cmdstat_hmget"]["calls"] - reads == 1
        assert table.select(Choice(is_open=False), 0, 10) == (["A00007:p:1"], 1)
        assert table.select(Choice(text="a2999"), 2, 3) == ([f"A2999{n}:p:1" for n in (2, 3, 4)], 10)
        client.hset(keys.meta, "epoch", "another")
        client.delete(keys.changed_calls)
        table.poll()
        assert table.select(Choice(), 0, 10) == ([], 0)
        client.delete(keys.meta, *(keys.call(f"A{n:05d}:p:1") for n in range(count)))

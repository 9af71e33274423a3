"""The web server on a real Valkey: what it answers, the live table, what-ifs, and who is let in."""

import asyncio
import io
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from threading import Event, Thread
from typing import Any

import aiohttp
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry

from engine.events import NS
from engine.warning import RUNGS
from monitors.keys import shard_field
from monitors.metrics import TABLE
from streams import web_figures
from streams.web_live import savings
from tests.monitors.test_metrics import samples, value
from tests.services import wait_until
from tests.streams.web_server import Running, web_server
from tests.web_world import BROKEN, SHARDS

pytestmark = pytest.mark.services
ACCOUNTS = 400
NAMED = ("currency", "alone", "after")  # what is known of a leg
NAMES = {"customer": "fund-00000", "futures": "fund-00000-0", "cash": "fund-00000-1"}


@pytest.fixture(scope="module")
def server(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with web_server(redis_url, tmp_path_factory.mktemp("web"), ACCOUNTS) as running:
        yield running


@pytest.fixture
def desk(server: Running) -> Running:
    """The server once it has a market and its kernels."""
    wait_until(lambda: not server.get("/api/health", role=None)["what_if"], seconds=400, what="the market")
    return server


# --- what it answers


def test_summary_counts_and_sums_all_accounts(server: Running) -> None:
    found, world = server.get("/api/summary"), server.world
    assert sum(found["by_status"].values()) == sum(found["by_quality"].values()) == ACCOUNTS
    assert found["by_status"] == {name: world.status.count(name) for name in found["by_status"]}
    assert found["calls_open"] == world.status.count("CALL")
    assert sum(pool["accounts"] for pool in found["pools"]) == ACCOUNTS
    assert sum(pool["equity"] for pool in found["pools"]) == pytest.approx(sum(world.equity) / 100)
    assert (found["state"]["connected"], found["state"]["missing"]) == (True, [])
    wait_until(lambda: [one["instrument"] for one in server.get("/api/summary")["stale"]] == ["SOL-USD", "ZN"])


def test_figures_are_the_rest_of_the_table(server: Running) -> None:
    registry, figures = CollectorRegistry(), server.server.figures
    registry.register(figures)
    emitted = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    assert {name for name in TABLE if name.startswith("crossmargin_web_")} <= emitted <= set(TABLE)
    assert figures.not_ready() == ""
    before = samples(registry)
    for path, role in (("/api/summary", "viewer"), ("/api/summary", None), ("/", None), ("/nothing", None)):
        server.ask("GET", path, role=role)
    server.ask("POST", "/api/session", {"token": server.tokens["viewer"]}, role=None)
    wait_until(lambda: value(samples(registry), "web_poll_seconds_count") > value(before, "web_poll_seconds_count"))
    after = samples(registry)
    for name, labels, more in (
        ("requests_total", {"code": "2xx"}, 3), ("requests_total", {"code": "4xx"}, 2),
        ("requests_total", {"code": "5xx"}, 0), ("sessions", {}, 1), ("sockets", {}, 0),
    ):  # fmt: skip
        assert value(after, f"web_{name}", **labels) - value(before, f"web_{name}", **labels) == more, (name, labels)
    server.world.client.hset(server.world.keys.meta, shard_field(0, "ts_ns"), time.time_ns() - 60 * NS)
    wait_until(lambda: 60 <= value(samples(registry), "web_data_age_seconds") < 90, what="old data")
    assert figures.not_ready() == "", "old data is not the server's fault"
    server.world.write(())


def test_a_server_that_does_not_read_redis_is_not_ready(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    figures, live = server.server.figures, server.server._live
    monkeypatch.setattr(web_figures, "SILENT_SECONDS", -1.0)
    assert figures.not_ready() == "Redis was not read for 0 s"
    monkeypatch.setattr(live, "problem", "Redis does not answer")
    assert figures.not_ready() == "Redis does not answer"


def test_pages_of_accounts_hold_each_once_in_order(server: Running) -> None:
    for sort, sign, name in (("excess", 1, "excess"), ("utilization", -1, "utilization")):
        rows, cursor = [], ""
        while cursor is not None:
            page = server.get(f"/api/accounts?sort={sort}&limit=90{cursor and f'&cursor={cursor}'}")
            rows += page["accounts"]
            cursor = page["next"]
        assert len({row["account"] for row in rows}) == len(rows) == ACCOUNTS
        rates = [Decimal("1.08") if row["currency"] == "EUR" and sort == "excess" else 1 for row in rows]
        rounded = [round(sign * rate * Decimal(row[name]), 2) for rate, row in zip(rates, rows, strict=True)]
        assert rounded == sorted(rounded)


def test_accounts_are_filtered(server: Running) -> None:
    for name, wanted in (("status", "CALL"), ("pool", "cash"), ("customer", NAMES["customer"]), ("quality", "STALE")):
        rows = server.get(f"/api/accounts?{name}={wanted}&limit=500")["accounts"]
        assert rows
        assert {row[name] for row in rows} == {wanted}
    assert server.get("/api/accounts?pool=nobody") == {"accounts": [], "next": None}


def test_an_account_is_explained_from_its_book_and_the_market(desk: Running) -> None:
    found = desk.get(f"/api/accounts/{NAMES['futures']}")
    assert found["problem"] == ""
    assert found["figures"]["account"] == found["explain"]["account"] == NAMES["futures"]
    assert [one["instrument"] for one in found["positions"]] == ["ZN"]
    assert found["positions"][0]["quantity"] == "-100"
    assert found["holdings"] == [{"asset": "USD", "quantity": "5000000.00"}]
    assert {one["factor"] for one in found["exposures"]} == {"dv01:USD:10Y", "notional:USD"}
    assert found["explain"]["cross_margin"]["in_force"] is True
    assert [view["view"] for view in found["explain"]["views"]] == ["silo", "cross", "unified"]
    lines = found["explain"]["requirement"]["portfolios"][0]
    assert sum(map(Decimal, lines["lines"].values())) == Decimal(lines["maintenance"])


def test_history_is_what_was_seen_since_somebody_looked(server: Running) -> None:
    name = server.world.ids[7]
    first = server.get(f"/api/accounts/{name}/history")
    assert len(first["points"]) == 1
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        server.world.change(ACCOUNTS)
        time.sleep(0.1)
    wait_until(lambda: len(server.get(f"/api/accounts/{name}/history")["points"]) > 1, what="another point")


def test_what_lies_ahead_and_what_is_stated_are_those_of_all_shards(server: Running) -> None:
    client, keys = server.world.client, server.world.keys
    ahead, stated = server.get("/api/ladder")["data"], server.get("/api/reconciliation")["data"]
    assert [step["shock"] for step in ahead["steps"]] == list(RUNGS)
    assert ahead["steps"][0]["accounts"] > ahead["steps"][1]["accounts"] > 0
    assert ahead["short"] == 3 * SHARDS
    assert [(one["instrument"], one["quality"]) for one in ahead["stale"]] == [("SOL-USD", "UNPRICED"), ("ZN", "STALE")]
    assert len(stated["breaks"]) == SHARDS * BROKEN == sum(stated["counts"].values()) - SHARDS * 900
    kept = {key: client.get(key) for n in range(SHARDS) for key in (keys.ladder(n), keys.reconciliation(n))}
    client.delete(*kept)
    assert server.get("/api/ladder") == server.get("/api/reconciliation") == {"data": None}
    client.mset(kept)


def test_agreements_and_what_they_save(server: Running) -> None:
    wait_until(lambda: server.get("/api/summary")["agreements"] > 0, what="agreements")
    everything, world = server.get("/api/agreements?limit=1000"), server.world
    rows = everything["agreements"]
    assert everything["count"] == len(rows) == ACCOUNTS // 4 == sum(everything["by_state"].values())
    stand = [row for row in rows if row["state"] == "in force"]
    assert everything["by_state"] == {"in force": len(stand), "fallback": 0, "not in force": len(rows) - len(stand)}
    assert server.get("/api/agreements?state=not in force".replace(" ", "%20"))["agreements"] == [
        row for row in rows if row["state"] == "not in force"
    ]
    assert server.get("/api/agreements?offset=3&limit=2")["agreements"] == rows[3:5]
    legs = [(Decimal(row[f"{leg}_alone"]), Decimal(row[f"{leg}_after"])) for row in stand for leg in ("futures", "treasury")]
    alone, after = (sum(amounts) for amounts in zip(*legs, strict=True))
    (saving,) = server.get("/api/summary")["savings"]
    assert saving == {
        "currency": "USD", "agreements": len(stand), "alone": str(alone), "after": str(after), "saved": str(alone - after),
    }  # fmt: skip
    assert alone > after > 0
    assert world.client.scard(world.keys.agreements) == len(rows)


def test_savings_are_summed_by_currency_over_legs_that_are_known() -> None:
    def row(name: str, state: str, futures: tuple[str, str, str], treasury: tuple[str, str, str]) -> dict[str, str]:
        legs = {"futures": futures, "treasury": treasury}
        fields = {f"{leg}_{name}": text for leg, t in legs.items() for name, text in zip(NAMED, t, strict=True)}
        return {"agreement": name, "state": state, **fields}

    found = savings([
        row("a", "in force", ("USD", "10.10", "4.05"), ("JPY", "700", "500")),
        row("b", "fallback", ("USD", "0.20", "0.20"), ("USD", "1.00", "0.50")),
        row("c", "not in force", ("USD", "99.00", "9.00"), ("EUR", "9.00", "1.00")),
        row("d", "in force", ("USD", "", ""), ("GBP", "", "")),
    ])  # fmt: skip
    assert [(one.currency, one.agreements, one.alone, one.after, one.saved) for one in found] == [
        ("JPY", 1, "700", "500", "200"), ("USD", 2, "11.30", "4.75", "6.55"),
    ]  # fmt: skip


def test_a_stopped_feed_is_said(server: Running) -> None:
    server.world.change(1)
    wait_until(lambda: not server.get("/api/summary")["state"]["stale"], what="new data")
    wait_until(lambda: server.get("/api/summary")["state"]["stale"], what="its age")


# --- what-if


def what_if(server: Running, *scenarios: dict[str, Any], account: str = NAMES["futures"]) -> dict[str, Any]:
    status, found, _ = server.ask("POST", "/api/what-if", {"account": account, "scenarios": list(scenarios)})
    assert status == 200, found
    answer: dict[str, Any] = found
    return answer


def test_what_if_says_figures_before_and_after(desk: Running) -> None:
    found = what_if(
        desk,
        {"name": "nothing"},
        {"name": "more", "trades": [{"instrument": "ZN", "qty": "-50"}]},
        {"name": "order", "orders": [{"instrument": "ZN", "qty": "-50", "price": "110.5"}]},
        {"name": "flat", "trades": [{"instrument": "ZN", "qty": "100"}]},
        {"name": "poor", "collateral": [{"asset": "USD", "qty": "-4999000"}]},
    )
    nothing, more, order, flat, poor = (one["after"] for one in found["scenarios"])
    explained = desk.get(f"/api/accounts/{NAMES['futures']}")["explain"]
    assert nothing == found["before"]
    assert found["before"]["maintenance"] == explained["requirement"]["now"]["maintenance"]
    assert Decimal(more["initial"]) > Decimal(nothing["initial"])
    assert order == more
    assert [one["filled"] for one in found["scenarios"]] == [None, None, "sells", None, None]
    assert [one["prices"] for one in found["scenarios"]] == [[], ["110.5"], ["110.5"], ["110.5"], []]
    assert (flat["initial"], flat["status"]) == ("0.00", "OK")
    assert (poor["equity"], poor["status"]) == ("1000.00", "CALL")
    assert Decimal(poor["call"]) == Decimal(poor["initial"]) - 1000


def test_a_leg_of_an_agreement_is_margined_with_the_other(desk: Running) -> None:
    sold = {"trades": [{"instrument": "UST-10Y", "qty": "-10000000"}]}
    (after,) = (one["after"] for one in what_if(desk, sold, account=NAMES["cash"])["scenarios"])
    apart = desk.get(f"/api/accounts/{NAMES['cash']}")["explain"]["views"][0]["pools"]
    assert apart
    assert Decimal(after["maintenance"]) < Decimal(apart[0]["requirement"])


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"instrument": "ZN", "qty": "0.5"}, "item 2: the quantity is not a whole number of lots"),
        ({"instrument": "nobody", "qty": "1"}, "item 2: the instrument is not defined"),
        ({"instrument": "ZN", "qty": "1.000000001"}, "item 2: '1.000000001' has more than 8 decimals"),
        ({"instrument": "ZN", "qty": "1", "price": "100000"}, "item 2: the price is outside"),
        ({"instrument": "ZN", "qty": "99999999999999"}, "item 2: '99999999999999' is outside the range"),
    ],
)  # fmt: skip
def test_an_item_that_is_not_possible_spoils_its_scenario_only(desk: Running, item: dict[str, str], said: str) -> None:
    good = {"instrument": "ZN", "qty": "1"}
    found = what_if(desk, {"trades": [good, item]}, {"trades": [good]})
    wrong, right = found["scenarios"]
    assert wrong["after"] is None
    assert wrong["problem"].startswith(said)
    assert right["problem"] == ""
    assert right["after"] == what_if(desk, {"trades": [good]})["scenarios"][0]["after"]


def test_a_book_that_is_not_published_is_said(desk: Running) -> None:
    world, name = desk.world, desk.world.ids[12]
    world.client.delete(world.keys.book(name))
    status, found, _ = desk.ask("POST", "/api/what-if", {"account": name, "scenarios": [{}]})
    assert (status, found["error"]) == (409, f"the positions of account {name} are not published")
    account = desk.get(f"/api/accounts/{name}")
    assert (account["explain"], account["problem"]) == (None, found["error"])
    world.publish()


# --- the live table


async def updates(server: Running, seconds: float) -> tuple[list[tuple[str, int]], dict[str, dict[str, Any]]]:
    """What a page gets: (kind of message, rows or alerts) in order; and its table at the end."""
    seen, table = list[tuple[str, int]](), dict[str, dict[str, Any]]()
    headers = {"Authorization": f"Bearer {server.tokens['viewer']}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"{server.url}/api/live", max_msg_size=0) as socket,
    ):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                message = await socket.receive(timeout=left)
            except TimeoutError:
                break
            if message.type is aiohttp.WSMsgType.BINARY:
                rows = pa.ipc.open_stream(io.BytesIO(message.data)).read_all().to_pylist()
                table |= {row["account"]: row for row in rows}
                seen.append(("rows", len(rows)))
            else:
                found = json.loads(message.data)
                if found["kind"] == "reset":
                    table.clear()
                seen.append((found["kind"], len(found.get("alerts", ()))))
    return seen, table


def test_the_live_table_begins_with_all_rows_and_goes_on_with_those_that_changed(server: Running) -> None:
    async def work() -> tuple[list[tuple[str, int]], dict[str, dict[str, Any]]]:
        page = asyncio.create_task(updates(server, 3))
        await asyncio.sleep(1)
        await asyncio.to_thread(server.world.change, 30)
        return await page

    seen, table = asyncio.run(work())
    assert seen[0] == ("reset", 0)
    assert seen[1] == ("rows", ACCOUNTS)
    assert sum(count for kind, count in seen[2:] if kind == "rows") == 30
    assert "state" in {kind for kind, _ in seen}
    world = server.world
    for slot, name in enumerate(world.ids):
        assert round(100 * table[name]["equity"]) == world.equity[slot]
        assert table[name]["status"] == world.status[slot]


def test_a_wiped_and_refilled_redis_is_a_new_table(server: Running) -> None:
    async def work() -> tuple[list[tuple[str, int]], dict[str, dict[str, Any]]]:
        page = asyncio.create_task(updates(server, 4))
        await asyncio.sleep(1)
        server.world.client.flushdb()
        await asyncio.sleep(0.5)
        server.world.status = [""] * ACCOUNTS
        await asyncio.to_thread(server.world.fill)
        return await page

    seen, table = asyncio.run(work())
    assert [kind for kind, _ in seen].count("reset") == 2
    assert set(table) == set(server.world.ids)
    assert server.get("/api/summary")["state"]["accounts"] == ACCOUNTS


def test_a_table_that_is_not_whole_is_stale(server: Running) -> None:
    """Whenever one asks, also between what a poll reads first and last."""
    world, ended = server.world, Event()

    def refill() -> None:
        for is_noticed in (False, True) * 3:
            world.client.flushdb()
            if is_noticed:
                wait_until(lambda: server.get("/api/summary")["state"]["stale"])
            world.status = [""] * ACCOUNTS
            world.fill(books=False)
            time.sleep(0.4)  # longer than from one poll to the next
            wait_until(lambda: not server.get("/api/summary")["state"]["stale"])
        ended.set()

    thread = Thread(target=refill)
    thread.start()
    answers = []
    while not ended.is_set():
        found = server.get("/api/summary")
        answers.append((found["state"]["stale"], found["state"]["accounts"], sum(found["by_status"].values())))
    thread.join()
    world.publish()
    assert {answer for answer in answers if not answer[0]} == {(False, ACCOUNTS, ACCOUNTS)}


def test_alerts_that_pass_others_of_their_shard_hide_none(server: Running) -> None:
    world, now = server.world, str(time.time_ns())
    row = {
        "kind": "status",
        "account": world.ids[1],
        "from": "OK",
        "to": "CALL",
        "amount": "1",
        "currency": "USD",
        "ts_ns": now,
    }

    async def work() -> list[tuple[str, int]]:
        page = asyncio.create_task(updates(server, 3))
        await asyncio.sleep(1)
        for number in (9, 7, 8):
            more = {"id": f"{world.ids[1]}:{10**5 + number}", "shard": "0", "offset": str(10**5 + number)}
            world.client.xadd(world.keys.alerts, {**row, **more})
            await asyncio.sleep(0.4)  # one poll each
        return (await page)[0]

    before = len(server.server._live._alerts)
    assert sum(count for kind, count in asyncio.run(work()) if kind == "alerts") == before + 3


def test_alerts_that_a_wiped_redis_is_given_again_are_shown_once(server: Running) -> None:
    world, now = server.world, str(time.time_ns())
    row = {
        "kind": "status",
        "account": world.ids[0],
        "from": "OK",
        "to": "CALL",
        "amount": "1",
        "currency": "USD",
        "ts_ns": now,
    }
    alerts = [{**row, "id": f"{world.ids[0]}:{10**6 + n}", "shard": str(n % 2), "offset": str(10**6 + n)} for n in range(5)]

    def add(count: int) -> None:
        for alert in alerts[:count]:
            world.client.xadd(world.keys.alerts, alert)

    def wipe() -> None:
        world.client.flushdb()
        add(5)
        world.status = [""] * ACCOUNTS
        world.fill()

    async def work() -> list[tuple[str, int]]:
        add(3)
        page = asyncio.create_task(updates(server, 4))
        await asyncio.sleep(1.5)
        await asyncio.to_thread(wipe)
        return (await page)[0]

    seen = asyncio.run(work())
    again = max(place for place, (kind, _) in enumerate(seen) if kind == "reset")
    assert sum(count for kind, count in seen[again:] if kind == "alerts") == 2
    assert sum(count for kind, count in seen[:again] if kind == "alerts") >= 3

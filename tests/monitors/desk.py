"""A worker without Kafka: fake engines, a list as topic margin.alerts, a sink, and a check of Redis against the engines."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import numpy as np
from redis import Redis

from engine.report import OPEN_CALLS, Quality, Report, Status
from monitors.alerts import Alert, Alerts, encode_alert
from monitors.keys import ACCOUNT_FIELDS, ALERT_FIELDS, CALL_WRITES_FIELD, OVER, Keys
from monitors.outlook import Outlook, encode_ladder, encode_reconciliation
from monitors.redis_sink import RedisSink
from monitors.view import open_client
from tests.monitors.fake_engine import FakeEngine

LOG_ID = "5f" * 16
SHARDS = 2


class Topic:
    """margin.alerts: messages by shard, in order, repeats included."""

    def __init__(self) -> None:
        self.messages: dict[int, list[bytes]] = {}
        self.reads = 0
        self.failing = False

    def read(self, shard: int, limit: int) -> list[bytes]:
        self.reads += 1
        if self.failing:
            raise OSError("no broker")
        return self.messages.get(shard, [])[-limit:]

    def append(self, shard: int, alerts: Iterable[Alert]) -> None:
        self.messages.setdefault(shard, []).extend(map(encode_alert, alerts))


class Desk:
    """A sink on the database at url, with the engines attached to it."""

    def __init__(self, url: str, topic: Topic | None = None, **options: Any) -> None:
        self.url, self.topic, self.keys = url, topic or Topic(), Keys()
        self.latencies: list[float] = []
        options = {"log_id": LOG_ID, "shards": SHARDS, "now": lambda: 10**9 * 5_000, **options}
        self.sink = RedisSink(url, read_alerts=self.topic.read, observe=self.latencies.append, **options)
        self.engines: dict[int, FakeEngine] = {}
        self.outlooks: dict[int, Outlook] = {}

    def attach(self, engine: FakeEngine) -> None:
        self.engines[engine.shard] = engine
        self.sink.attach(engine.shard, engine)

    def publish(self, engine: FakeEngine, report: Report, *, in_topic: bool = True) -> None:
        """What the worker does after a step."""
        alerts = Alerts(engine.shard, engine, report)
        if in_topic:
            self.topic.append(engine.shard, alerts)
        self.sink.publish(engine.shard, engine, report, alerts)

    def look_ahead(self, engine: FakeEngine, outlook: Outlook) -> None:
        """What the worker does every few seconds."""
        self.outlooks[engine.shard] = outlook
        self.sink.look_ahead(engine.shard, outlook)

    async def settle(self) -> None:
        """Everything that is due is in Redis."""
        assert await self.sink.drain(20)

    def check(self) -> None:
        """Redis holds exactly the engines' figures, and every alert of the topic once, in each account's order."""
        with open_client(self.url) as client:
            assert_figures(client, self.keys, self.engines.values(), self.outlooks)
            assert_outlooks(client, self.keys, self.outlooks)
            assert_alerts(client, self.keys, self.topic)
            assert_calls(client, self.keys, self.engines.values())
            assert_lives(client, self.keys, self.topic)


@asynccontextmanager
async def running(url: str, topic: Topic | None = None, **options: Any) -> AsyncIterator[Desk]:
    """A desk whose sink is started, and closed at the end."""
    desk = Desk(url, topic, **options)
    await desk.sink.start()
    try:
        yield desk
    finally:
        await desk.sink.close()


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Poll until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def flush(url: str) -> None:
    """Empty the database."""
    with open_client(url) as client:
        client.flushdb()


def money(minor: int, decimals: int) -> str:
    """Major units, by Decimal."""
    return f"{Decimal(minor).scaleb(-decimals):.{decimals}f}"


def expected_distance(outlook: Outlook | None, slot: int, is_below: bool) -> dict[str, str]:
    """Distance and factor of an account as the last look ahead has them, but 0 just where it is below maintenance now."""
    if outlook is None or np.isnan(outlook.warnings.distance[slot]):
        return {"distance": "", "distance_factor": ""}
    if is_below != (outlook.warnings.distance[slot] == 0):
        return {"distance": "0.00" if is_below else "", "distance_factor": ""}
    place = int(outlook.warnings.nearest[slot])
    factor = outlook.warnings.factors[place] if place >= 0 else ""
    return {"distance": f"{outlook.warnings.distance[slot]:.2f}", "distance_factor": factor}


def expected_row(engine: FakeEngine, slot: int, outlook: Outlook | None = None) -> dict[str, str]:
    """An account's hash, but for the moment it was written at."""
    info, row = engine.account_info(slot), engine.rows[slot]
    equity, initial, maintenance = (int(row[name]) for name in ("equity", "initial", "maintenance"))
    fields = {
        "status": Status(row["status"]).name,
        "quality": Quality(row["quality"]).name,
        "equity": money(equity, info.decimals),
        "initial": money(initial, info.decimals),
        "maintenance": money(maintenance, info.decimals),
        "excess": money(equity - initial, info.decimals),
        "utilization": f"{maintenance / equity:.6f}" if equity > 0 else "",
        "call": money(int(row["call"]), info.decimals),
        **expected_distance(outlook, slot, equity < maintenance),
        "currency": info.currency,
        "pool": info.pool,
        "customer": info.customer,
        "shard": str(engine.shard),
        "change": str(row["change"]),
        "rule_set": engine.rule_set,
    }
    return fields


def assert_figures(client: Redis, keys: Keys, engines: Iterable[FakeEngine], outlooks: Mapping[int, Outlook]) -> None:
    excess, used, by_state, customers = {}, {}, {}, {}
    for engine in engines:
        for customer, agreement_id, body in engine.signed:
            customers.setdefault(customer, {})[f"agreement:{agreement_id}"] = body.decode()
        for slot, account_id in enumerate(engine.account_ids):
            (book,) = engine.books(np.array([slot], np.int32))
            assert client.get(keys.book(account_id)) == book.decode()
            customers.setdefault(engine.account_info(slot).customer, {})[f"account:{account_id}"] = ""
            row = client.hgetall(keys.account(account_id))
            assert set(row) == set(ACCOUNT_FIELDS), (account_id, row)
            assert 0 < int(row.pop("offset")) <= engine.offset
            assert int(row.pop("ts_ns")) <= engine.clock_ns
            assert row == expected_row(engine, slot, outlooks.get(engine.shard))
            excess[account_id] = float(engine.rows["excess_usd"][slot]) / 100
            used[account_id] = float(row["utilization"] or "inf")
            by_state.setdefault(keys.status_prefix + row["status"], set()).add(account_id)
            by_state.setdefault(keys.quality_prefix + row["quality"], set()).add(account_id)
        assert client.hget(keys.meta, f"shard:{engine.shard}:offset") == str(engine.offset)
        assert client.hget(keys.meta, f"shard:{engine.shard}:ts_ns") == str(engine.clock_ns)
    assert dict(client.zrange(keys.by_excess, 0, -1, withscores=True)) == excess
    assert dict(client.zrange(keys.by_utilization, 0, -1, withscores=True)) == used
    assert {name: client.hgetall(keys.customer(name)) for name in customers} == customers
    numbers = client.zrange(keys.changed, 0, -1, withscores=True)
    assert {account_id for account_id, _ in numbers} == set(excess)
    assert len({number for _, number in numbers}) == len(numbers)
    assert max(number for _, number in numbers) == int(client.hget(keys.meta, "writes") or 0)
    for state in [keys.status(status) for status in Status] + [keys.quality(quality) for quality in Quality]:
        assert client.smembers(state) == by_state.get(state, set())


def assert_outlooks(client: Redis, keys: Keys, outlooks: Mapping[int, Outlook]) -> None:
    for shard, outlook in outlooks.items():
        assert client.get(keys.ladder(shard)) == encode_ladder(outlook.warnings).decode()
        assert client.get(keys.reconciliation(shard)) == encode_reconciliation(outlook.reconciliation).decode()


def assert_alerts(client: Redis, keys: Keys, topic: Topic) -> None:
    entries = [fields for _, fields in client.xrange(keys.alerts)]
    assert all(tuple(fields) == ALERT_FIELDS for fields in entries)
    messages = {message["id"]: message for shard in topic.messages.values() for message in map(json.loads, shard)}
    assert sorted(fields["id"] for fields in entries) == sorted(messages)
    for fields in entries:
        assert fields == {name: str(messages[fields["id"]][name]) for name in ALERT_FIELDS}
    last: dict[str, int] = {}
    for fields in entries:
        change = int(fields["id"].rpartition(":")[2])
        assert change > last.get(fields["account"], 0)
        last[fields["account"]] = change


def assert_calls(client: Redis, keys: Keys, engines: Iterable[FakeEngine]) -> None:
    """Redis holds the engines' open calls, as they are now, and has no other open."""
    due = {}
    for engine in engines:
        for call in engine.open_calls():
            info = engine.account_info(call.account)
            call_id = info.call_id(call.sequence)
            row = client.hgetall(keys.call_prefix + call_id)
            assert (row["id"], row["account"], row["customer"]) == (call_id, info.id, info.customer)
            assert (row["state"], row["shard"]) == (call.state.name, str(engine.shard))
            assert (row["amount"], row["received"]) == (
                money(call.called, info.decimals),
                money(call.received, info.decimals),
            )
            assert (int(row["issued_ns"]), int(row["due_ns"])) == (call.issued_ns, call.due_ns)
            notes = json.loads(row.get("notes", "[]"))
            assert [(one["user"], one["kind"], one["text"]) for one in notes] == [
                (s.user, s.kind, s.text) for s in call.said
            ]
            acks = [said for said in call.said if said.kind == "ack"]
            assert row.get("acknowledged_by") == (acks[-1].user if acks else None)
            assert client.ttl(keys.call_prefix + call_id) == -1
            due[call_id] = call.due_ns // 10**9
    assert dict(client.zrange(keys.open_calls, 0, -1, withscores=True)) == due


def assert_lives(client: Redis, keys: Keys, topic: Topic) -> None:
    """Each call of the topic is in the list it belongs to, its life says all that the topic does, and how it was missed."""
    lives = dict[str, dict[str, str]]()  # lines of its life, by call and alert
    for alert in (json.loads(message) for messages in topic.messages.values() for message in messages):
        if call := alert.get("call"):
            line = f"{call['event']} {alert['ts_ns']} {alert['amount']} {call['received']}"
            lives.setdefault(call["id"], {})[alert["id"]] = line
    closed = {}
    for call_id, lines in lives.items():
        row = client.hgetall(keys.call(call_id))
        missed = [f"over {row['ts_ns']} {row['amount']} {row['received']}"] if row["state"] == OVER else []
        assert row["life"].split("\n") == [*lines.values(), *missed]
        if row["state"] not in {state.name for state in OPEN_CALLS}:
            closed[call_id] = int(row["ts_ns"]) // 10**9
            assert client.ttl(keys.call(call_id)) > 0
    assert dict(client.zrange(keys.closed_calls, 0, -1, withscores=True)) == closed
    written = dict(client.zrange(keys.changed_calls, 0, -1, withscores=True))
    assert set(written) == set(lives)
    assert len(set(written.values())) == len(written)
    assert max(written.values(), default=0) <= int(client.hget(keys.meta, CALL_WRITES_FIELD) or 0)

"""A desk whose inputs are known, so that sums tell what was applied; and margin.log replayed in process, undisturbed."""

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from confluent_kafka import Producer

from engine.core import MarginEngine
from engine.documents import document_key, parse_document
from engine.events import NS, Kind
from engine.frames import Frame, decode_frame
from engine.numbers import decimal_text
from engine.report import Quality, Status
from monitors.alerts import Alerts, encode_alert, encode_rejects
from monitors.keys import Keys
from streams import kafka
from streams.processes import Child
from streams.settings import Settings
from streams.topics import ALERTS, INPUTS, LOG, REJECTS

ACCOUNTS = 120
TICKS = {"ZN": 11_000, "ES": 500_000, "XBTUSD": 60_000}  # price in ticks
TICK = {"ZN": "0.01", "ES": "0.01", "XBTUSD": "1"}
PER_TICK = {"ZN": 10 * 100 * 10**6, "ES": 1 * 100 * 10**6}  # micros (1e-6 cents) of one lot, one tick
INVERSE = 10_000 * 10 ** (8 + 6)  # micros (1e-6 satoshi) of one inverse contract, times its price
DOCUMENTS: list[dict[str, Any]] = [
    {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
    {"kind": "instrument", "id": "BTC-USD", "type": "index", "currency": "USD", "tick": "1", "band": ["1", "1000000"]},
    {"kind": "asset", "id": "BTC", "type": "crypto", "currency": "USD", "decimals": 8, "instrument": "BTC-USD"},
    {"kind": "pool", "id": "futures", "regime": "futures", "currency": "USD"},
    {
        "kind": "rule", "id": "bonds", "model": "flat", "effective": "2020-01-01T00:00:00Z",
        "parameters": {"initial": "1650", "maintenance": "1500"},
    },
    {
        "kind": "rule", "id": "crypto", "model": "tiered", "effective": "2020-01-01T00:00:00Z",
        "parameters": {"tiers": [{"from": "0", "initial": "0.1", "maintenance": "0.08"}]},
    },
    {
        "kind": "instrument", "id": "ZN", "type": "treasury_future", "currency": "USD", "tick": "0.01", "multiplier": "1000",
        "band": ["50", "200"], "rule": "bonds", "dv01": "0.06", "bucket": "10Y",
    },
    {
        "kind": "instrument", "id": "ES", "type": "rate_future", "currency": "USD", "tick": "0.01", "multiplier": "100",
        "band": ["1000", "9000"], "rule": "bonds", "stale_after": 60,
    },
    {
        "kind": "instrument", "id": "XBTUSD", "type": "perpetual", "currency": "BTC", "tick": "1", "multiplier": "10000",
        "band": ["1000", "900000"], "inverse": True, "underlying": "BTC-USD", "rule": "crypto",
    },
    *({"kind": "customer", "id": f"c{n}"} for n in range(ACCOUNTS // 3)),
    *(
        {"kind": "account", "id": f"a{n}", "customer": f"c{n // 3}", "pool": "futures", "currency": "USD"}
        for n in range(ACCOUNTS)
    ),
]  # fmt: skip


@dataclass
class Expected:
    """What the inputs come to when each is applied once; a position as lots and cost minus realized profit, in micros."""

    lots: Counter[tuple[str, str]] = field(default_factory=Counter)
    net_cost: Counter[tuple[str, str]] = field(default_factory=Counter)
    holdings: Counter[tuple[str, str]] = field(default_factory=Counter)
    prices: dict[str, int] = field(default_factory=dict)
    sent: Counter[Kind] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)


class Desk:
    """Sends random events: most are good, some are repeated under their id, some are rejected. Everything is recorded."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.expected = Expected()
        self._random = random.Random(seed)
        self._settings = settings
        self._out = kafka.Delivery(Producer(kafka.producer_config(settings)))
        self._number = 0
        self._ticks = dict(TICKS)

    def define(self, documents: Sequence[dict[str, Any]] = DOCUMENTS) -> None:
        """Publish the reference documents, a starting price each, and start-of-day positions and cash."""
        for document in documents:
            body = json.dumps(document)
            self._send(Kind.REFERENCE, "reference", 0, body, document_key(parse_document(body.encode())))
        self.flush()  # only what a broker acknowledged is sure to stand before what is sent next to other topics
        for name in TICKS:
            self.price(name)
        for n in range(ACCOUNTS):
            self.collateral(f"a{n}", 40_000 + 4_000 * (n % 20))
            if n % 4 == 0:
                self.position(f"a{n}", "ZN", (n % 5 - 2) * 3 or 1)
        self.flush()

    def events(self, count: int, prices: bool = True) -> None:
        """Send so many events of all kinds, or trades in place of prices."""
        for _ in range(count):
            choice, account = self._random.random(), f"a{self._random.randrange(ACCOUNTS)}"
            name = self._random.choice(list(TICKS))
            if choice < 0.7 or (choice < 0.85 and not prices):
                self.trade(account, name, self._random.choice((-3, -2, -1, 1, 2, 3)))
            elif choice < 0.85:
                self._ticks[name] += round(self._random.gauss(0, self._ticks[name] * 0.0015))
                self.price(name)
            elif choice < 0.97:
                self.collateral(account, self._random.randrange(-4_000, 4_001, 50) or 50)
            elif choice < 0.985:
                self.trade(account, name, 1, times=2)
            else:
                self.trade("nobody", name, 1)

    def trade(self, account: str, name: str, lots: int, times: int = 1) -> None:
        """One trade, sent so often."""
        ticks = self._ticks[name] + self._random.randrange(-5, 6)
        price = decimal_text(ticks * (1 if TICK[name] == "0.01" else 100), 2)
        event = {"id": self._id(), "account": account, "instrument": name, "qty": lots, "price": price, "source": "desk"}
        body = json.dumps({"ts": time.time_ns(), **event})
        for _ in range(times):
            self._send(Kind.TRADE, "trades", self._partition(), body)
        if account == "nobody":
            self.expected.rejects["unknown_account"] += times
            return
        self.expected.rejects["duplicate"] += times - 1
        self.expected.lots[account, name] += lots
        self.expected.net_cost[account, name] += lots * lot_value(name, ticks)

    def position(self, account: str, name: str, lots: int) -> None:
        """One start-of-day position."""
        ticks = self._ticks[name]
        event = {"id": self._id(), "account": account, "instrument": name, "qty": lots, "price": decimal_text(ticks, 2)}
        self._send(Kind.POSITION, "positions", self._partition(), json.dumps({"ts": time.time_ns(), **event}))
        self.expected.lots[account, name] += lots
        self.expected.net_cost[account, name] += lots * lot_value(name, ticks)

    def price(self, name: str) -> None:
        """One mark; those of one instrument keep their order."""
        ticks = self._ticks[name]
        text = decimal_text(ticks * (1 if TICK[name] == "0.01" else 100), 2)
        for instrument in (name, "BTC-USD") if name == "XBTUSD" else (name,):
            event = {"ts": time.time_ns(), "instrument": instrument, "price": text}
            self._send(Kind.PRICE, "prices", 0, json.dumps(event))
            self.expected.prices[instrument] = 1000 * ticks

    def collateral(self, account: str, usd: int) -> None:
        """Cash in or out."""
        event = {"id": self._id(), "account": account, "asset": "USD", "qty": usd, "source": "desk"}
        self._send(Kind.COLLATERAL, "collateral", self._partition(), json.dumps({"ts": time.time_ns(), **event}))
        self.expected.holdings[account, "USD"] += 100 * usd

    def flush(self) -> None:
        """Wait until Kafka has everything."""
        assert self._out.wait(30)

    def _id(self) -> str:
        self._number += 1
        return f"e{self._number}"

    def _partition(self) -> int:
        return self._random.randrange(self._settings.input_partitions)

    def _send(self, kind: Kind, topic: str, partition: int, body: str, key: str | None = None) -> None:
        self.expected.sent[kind] += 1
        self._out.send(topic, partition, body.encode(), key.encode() if key else None)


def lot_value(name: str, ticks: int) -> int:
    """The value of one lot in micros at a price on the tick."""
    if name in PER_TICK:
        return ticks * PER_TICK[name]
    whole, rest = divmod(INVERSE, ticks)
    return -(whole + (2 * rest > ticks or (2 * rest == ticks and whole % 2)))


def alive(*children: Child) -> bool:
    """True; raises ChildEnded when one has ended by itself."""
    for child in children:
        child.check()
    return True


def inputs_are_read(settings: Settings) -> bool:
    """Whether the sequencer has committed everything that the inputs hold."""
    genesis = kafka.read_genesis(settings)
    group = f"crossmargin-sequencer-{genesis.log_id if genesis is not None else ''}"
    return not any(sum(kafka.lags(settings, group, topic).values()) for topic in INPUTS)


def redis_offsets(settings: Settings) -> list[int]:
    """How far Redis is, by shard."""
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        meta = client.hgetall(f"{settings.redis_prefix}meta")
        return [int(meta.get(f"shard:{shard}:offset", -1)) for shard in range(settings.shards)]


@dataclass
class Replayed:
    """margin.log of every shard, run through fresh engines: their alerts and rejects in order, and counts by kind."""

    engines: list[MarginEngine]
    alerts: list[list[tuple[bytes, bytes]]]
    rejects: dict[bytes, bytes]
    applied: Counter[Kind]
    superseded: Counter[Kind]


def replay(settings: Settings, edit: Callable[[Frame], Frame] = lambda frame: frame) -> Replayed:
    """Replay the log as it is now, in one go; edit may leave things out of its frames."""
    result = Replayed([], [], {}, Counter(), Counter())
    for shard in range(settings.shards):
        engine, alerts = MarginEngine(shard), []
        for message in kafka.read_partition(settings, LOG, shard):
            report = engine.step(edit(decode_frame(message.value() or b"")), engine.offset)
            alerts += [(alert.account.encode(), encode_alert(alert)) for alert in Alerts(shard, engine, report)]
            result.rejects.update(encode_rejects(report.rejects))
            for kind in Kind:
                result.applied[kind] += int(report.applied[kind])
                result.superseded[kind] += int(report.superseded[kind])
        result.engines.append(engine)
        result.alerts.append(alerts)
    return result


def check_inputs_applied_once(replayed: Replayed, expected: Expected) -> None:
    """Positions, money and marks are what the inputs sum up to; each input has one verdict."""
    lots: Counter[tuple[str, str]] = Counter()
    net_cost: Counter[tuple[str, str]] = Counter()
    holdings: Counter[tuple[str, str]] = Counter()
    for engine in replayed.engines:
        stored = engine.stored()
        for place, (held, cost, realized) in stored["positions"].items():
            lots[place] += held
            net_cost[place] += cost - realized
        holdings.update(stored["holdings"])
        assert {name: mark for name, (mark, _) in stored["marks"].items()} == expected.prices
    assert +lots == +expected.lots
    assert -lots == -expected.lots
    assert {k: v for k, v in net_cost.items() if v} == {k: v for k, v in expected.net_cost.items() if v}
    assert {k: v for k, v in holdings.items() if v} == {k: v for k, v in expected.holdings.items() if v}


def check_verdicts(settings: Settings, replayed: Replayed, expected: Expected) -> None:
    """sent = applied + superseded + rejected; repeats of a reject are identical, the engine's are the replay's."""
    rejects = {}
    for message in kafka.read_partition(settings, REJECTS, 0):
        key, value = message.key() or b"", message.value() or b""
        assert rejects.setdefault(key, value) == value
    reasons = Counter(json.loads(value)["reason"] for value in rejects.values())
    assert dict(reasons) == dict(+expected.rejects)
    engine_rejects = {key: value for key, value in rejects.items() if json.loads(value)["reason"] == "duplicate"}
    assert engine_rejects == replayed.rejects
    rejected = Counter(Kind.TRADE for _ in rejects)
    for kind, count in expected.sent.items():
        assert replayed.applied[kind] + replayed.superseded[kind] + rejected[kind] == count, kind


def check_alerts(settings: Settings, replayed: Replayed) -> int:
    """margin.alerts holds exactly the replay's alerts, repeats byte-identical; returns how many messages were repeats."""
    repeats = 0
    for shard, alerts in enumerate(replayed.alerts):
        seen: dict[bytes, tuple[bytes, bytes]] = {}
        for message in kafka.read_partition(settings, ALERTS, shard):
            alert = message.key() or b"", message.value() or b""
            name = json.loads(alert[1])["id"].encode()
            repeats += name in seen
            assert seen.setdefault(name, alert) == alert
        assert list(seen.values()) == alerts
    return repeats


def check_redis(settings: Settings, replayed: Replayed) -> None:
    """Accounts' hashes, the sets, the lists of calls and the alerts window say what the engines say, each alert once."""
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        prefix = settings.redis_prefix
        by_status: dict[str, set[str]] = defaultdict(set)
        by_quality: dict[str, set[str]] = defaultdict(set)
        excess: dict[str, float] = {}
        due: dict[str, float] = {}
        for engine in replayed.engines:
            slots = [engine.find_account(name) for name in engine.account_ids]
            for name, row in zip(engine.account_ids, engine.figures(slots), strict=True):
                found = client.hgetall(f"{prefix}account:{name}")
                expected = {
                    "status": Status(row["status"]).name,
                    "quality": Quality(row["quality"]).name,
                    "equity": decimal_text(int(row["equity"]), 2),
                    "initial": decimal_text(int(row["initial"]), 2),
                    "maintenance": decimal_text(int(row["maintenance"]), 2),
                    "call": decimal_text(int(row["call"]), 2),
                    "change": str(row["change"]),
                    "shard": str(engine.shard),
                }
                assert {key: found.get(key) for key in expected} == expected, name
                by_status[expected["status"]].add(name)
                by_quality[expected["quality"]].add(name)
                excess[name] = int(row["excess_usd"]) / 100
            for call in engine.open_calls():
                due[engine.account_info(call.account).call_id(call.sequence)] = call.due_ns // NS
            assert client.hget(f"{prefix}meta", f"shard:{engine.shard}:offset") == str(engine.offset)
        for status in Status:
            assert client.smembers(f"{prefix}status:{status.name}") == by_status[status.name]
        for quality in Quality:
            assert client.smembers(f"{prefix}quality:{quality.name}") == by_quality[quality.name]
        assert dict(client.zrange(f"{prefix}by_excess", 0, -1, withscores=True)) == excess
        assert dict(client.zrange(f"{prefix}calls:open", 0, -1, withscores=True)) == due
        told = [json.loads(body) for alerts in replayed.alerts for _, body in alerts]
        over = {alert["call"]["id"] for alert in told if "call" in alert} - due.keys()
        assert set(client.zrange(f"{prefix}calls:closed", 0, -1)) == over
        window = [entry["id"] for _, entry in client.xrange(f"{prefix}alerts")]
        assert sorted(window) == sorted(json.loads(value)["id"] for alerts in replayed.alerts for _, value in alerts)


def check_calls(settings: Settings, replayed: Replayed) -> None:
    """Redis has the engines' open margin calls and no other open, each with all that was said of it, once."""
    keys = Keys(settings.redis_prefix)
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        is_due = {}
        for engine in replayed.engines:
            for call in engine.open_calls():
                info = engine.account_info(call.account)
                name = info.call_id(call.sequence)
                found = client.hgetall(keys.call(name))
                amounts = decimal_text(call.called, info.decimals), decimal_text(call.received, info.decimals)
                assert (found["state"], found["amount"], found["received"]) == (call.state.name, *amounts), name
                assert (int(found["issued_ns"]), int(found["due_ns"])) == (call.issued_ns, call.due_ns)
                notes = [(one["user"], one["kind"], one["text"]) for one in json.loads(found.get("notes", "[]"))]
                assert notes == [(said.user, said.kind, said.text) for said in call.said], name
                is_due[name] = call.due_ns // NS
        assert dict(client.zrange(keys.open_calls, 0, -1, withscores=True)) == is_due

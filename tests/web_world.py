"""A Redis as workers leave it, without workers: synthetic accounts, calls and alerts, some of which change all the time.

Every account has one of four books, and there is a market, so that drill-downs and what-ifs work; their figures are not
those of the table, which are random.

`python -m tests.web_world [--accounts N] [--changing N] [--port N]` starts a Valkey with them and the web server on top, and
prints an address with a token of an operator for one login.
"""

import contextlib
import random
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
import numpy as np
from redis import Redis

from engine.core import MarginEngine
from engine.events import HOUR_NS, NS, QUANTITY_ONE
from engine.numbers import decimal_text
from engine.reconciliation import Break, BreakKind, Reconciliation
from engine.report import Quality
from engine.shadow import market_of
from engine.staleness import Stale
from engine.warning import FIRST, LATER, RUNGS, UNCHANGED, WINDOWS, Rung, Warnings
from monitors.keys import (
    AGREEMENT_FIELDS,
    AGREEMENT_PREFIX,
    ALERTS_WINDOW,
    CALL_WRITES_FIELD,
    LAYOUT,
    OWNED_PREFIX,
    WRITES_FIELD,
    Keys,
    shard_field,
)
from monitors.outlook import encode_ladder, encode_reconciliation
from monitors.published import MARKET_ACCOUNTS, MARKET_POSITIONS, publish_market
from streams.embedded import embedded_kafka, embedded_redis, free_port
from streams.processes import Child
from streams.settings import Settings
from streams.web_access import TokenFile
from tests.engine import explain_world
from tests.engine.explain_world import FIRM

SHARDS: Final = 4
POOLS: Final = {
    "futures": ("USD", "f"),
    "cash": ("USD", "t"),
    "digital": ("USD", "k"),
    "other": ("EUR", "n"),
}  # with whose book
EUR_USD: Final = 1.08
WRITES: Final = 500  # accounts a pipeline
CALLED: Final = ("CALL", "DEBIT")
CHANGES_PER_SECOND: Final = 4
MOVING: Final = (  # where the status stays
    "equity", "excess", "utilization", "call", "distance", "distance_factor", "ts_ns", "offset",
)  # fmt: skip
NOT_NEAR: Final = {"distance": "", "distance_factor": ""}
SCRIPT: Final = """
local prefix, rows = ARGV[1], cmsgpack.unpack(ARGV[2])
local first = redis.call('HINCRBY', KEYS[1], ARGV[3], #rows) - #rows
for number, row in ipairs(rows) do
  local id, excess, used, fields = unpack(row)
  redis.call('HSET', prefix .. id, unpack(fields))
  redis.call('ZADD', KEYS[2], first + number, id)
  redis.call('ZADD', KEYS[3], excess, id)
  redis.call('ZADD', KEYS[4], used, id)
end
"""
FACTORS: Final = ("rates:USD", "delta:BTC-USD")
MOVES: Final = (UNCHANGED, "rates:USD -6.1 bp", "delta:BTC-USD -2.9 %")
BROKEN: Final = 12  # breaks a shard
OLD: Final = "OLD-FUND"  # has had no price for longer than its limit; in the last pool's book


class World:
    """Accounts in Redis at url: `fill` writes them, `change` moves some, each in the layout of monitors/keys.py."""

    def __init__(self, client: Redis, accounts: int, seed: int = 1, prefix: str = Keys().prefix) -> None:
        self.client, self.keys, self.random = client, Keys(prefix), random.Random(seed)
        self.ids = [f"fund-{at // 2:05d}-{at % 2}" for at in range(accounts)]
        self.equity = [self.random.randrange(1_000_000, 500_000_000) for _ in self.ids]
        self.maintenance = [int(equity * min(1.3, self.random.betavariate(2, 3) * 1.35)) for equity in self.equity]
        self.status = ["" for _ in self.ids]
        self.changes = [0 for _ in self.ids]
        self.offset = 1000
        self.called = Counter[int]()  # by slot: how many calls it had
        self.lives = dict[str, list[str]]()  # by call
        self.call_writes = 0
        self.members = defaultdict[str, list[str]](list)  # by set: accounts that the next write puts into it

    def fill(self, books: bool = True) -> None:
        """Write everything, as of now; books and the market, which only drill-downs and what-ifs need, where asked for."""
        meta = {
            "version": LAYOUT,
            "log_id": "5f" * 16,
            "shards": SHARDS,
            "started": time.time_ns(),
            "epoch": uuid.uuid4().hex,
        }
        self.client.hset(self.keys.meta, mapping=meta)
        self.write(range(len(self.ids)))
        for shard in range(SHARDS):
            self.client.set(self.keys.ladder(shard), encode_ladder(self._warnings(shard)))
            self.client.set(self.keys.reconciliation(shard), encode_reconciliation(self._reconciliation(shard)))
        if books:
            self.publish()

    def _warnings(self, shard: int) -> Warnings:
        """Early warning of a shard: the further the move, the more fall."""
        ids, hour_ns = self.ids[shard::SHARDS], time.time_ns() // HOUR_NS * HOUR_NS
        ladder = {}
        for name in RUNGS:
            fallen = ids[: abs(int(name.split()[1])) // (shard + 1)]
            calls = tuple((account, 2_500_000 - 31_000 * place) for place, account in enumerate(fallen[:FIRST]))
            ladder[name] = Rung(len(fallen), 1_200_000 * len(fallen), calls)
        forecast = {pool: {move: 7_000_000 * (3 * at + shard) for at, move in enumerate(MOVES)} for pool in POOLS}
        old = (
            Stale("SOL-USD", "index", Quality.UNPRICED, 0),
            Stale("ZN", "treasury_future", Quality.STALE, time.time_ns() - 90 * NS),
        )
        return Warnings(
            ts_ns=time.time_ns(), short=3, unpriced=shard, ladder=ladder, forecast=forecast,
            forecast_first={pool: dict.fromkeys(MOVES, tuple((one, 900_000 - shard) for one in ids[:4])) for pool in POOLS},
            close_hours=dict.fromkeys(POOLS, 7),
            due={("USD", name): 90_000_000 * at for at, name in enumerate((*WINDOWS, LATER))} | {("EUR", LATER): 5_000_000},
            due_hours={("USD", hour_ns + hours * HOUR_NS): "450000.00" for hours in (1, 2, 20)},
            regimes={"btc": "above", "rates": "inside"}, unvalued=("delta:SOL-USD",), stale=old, factors=FACTORS,
            distance=np.empty(0), nearest=np.empty(0, np.int32),
        )  # fmt: skip

    def _reconciliation(self, shard: int) -> Reconciliation:
        """Statements of a shard: some match, and some break in each way."""
        kinds, now_ns = tuple(BreakKind)[1:], time.time_ns()
        breaks = []
        for at, account in enumerate(self.ids[shard::SHARDS][:BROKEN]):
            kind = kinds[at % len(kinds)]
            held = 0 if kind is BreakKind.MISSING_HERE else 10 * QUANTITY_ONE
            stated = 0 if kind is BreakKind.MISSING_THERE else 7 * QUANTITY_ONE
            since_ns = now_ns - (BROKEN - at) * HOUR_NS
            breaks.append(Break(account, "cme", "ZN", False, kind, held, stated, since_ns, since_ns if stated else 0))
        counts = {kind.name: sum(one.kind is kind for one in breaks) for kind in kinds}
        return Reconciliation(now_ns, {BreakKind.MATCHED.name: 900, **counts}, breaks[0].since_ns, tuple(breaks))

    def publish(self) -> None:
        """Write the market, and by account a book; every other customer has a cross-margin agreement."""
        engine, books, keys = market_world(), dict[str, bytes](), self.keys
        for name in ("f", "t", "k", "n"):
            slot = engine.find_account(name)
            (books[name],) = engine.books(np.array([slot], np.int32))
        publish_market(self.client, keys, market_of(engine, MARKET_ACCOUNTS, MARKET_POSITIONS), engine.clock_ns)
        held, customers, agreements = dict[str, bytes](), dict[str, dict[str, str | bytes]](), list[str]()
        pipe = self.client.pipeline(transaction=False)
        for slot, account_id in enumerate(self.ids):
            customer, (pool, (_, name)) = account_id.rpartition("-")[0], list(POOLS.items())[slot % 4]
            held[keys.book(account_id)] = books[name]
            owned = customers.setdefault(customer, {})
            owned[f"{OWNED_PREFIX}{account_id}"] = ""
            if pool == "cash":
                agreement = {
                    "kind": "agreement", "id": f"xm-{customer}", "customer": customer, "rule": "XM-2",
                    "futures_account": self.ids[slot - 1], "treasury_account": account_id,
                    "signed": True, "designated": True, "futures_entity": "X", "treasury_entity": "X", "firm": FIRM,
                }  # fmt: skip
                owned[f"{AGREEMENT_PREFIX}xm-{customer}"] = msgspec.json.encode(agreement)
                agreements.append(f"xm-{customer}")
                self._agree(pipe, slot, agreements[-1], customer)
        names = list(held)
        for first in range(0, len(names), WRITES):
            pipe.mset({name: held[name] for name in names[first : first + WRITES]})
        for customer, fields in customers.items():
            pipe.hset(keys.customer(customer), mapping=fields)
        if agreements:
            pipe.sadd(keys.agreements, *agreements)
        pipe.execute()

    def _agree(self, pipe: Redis, slot: int, name: str, customer: str) -> None:
        """How the agreement of an account and the one before it stands: one in four is not in force."""
        stands = slot // 2 % 4 != 0
        said = ("in force", "[]", "AGREED") if stands else ("not in force", '["not signed"]', "")
        row = dict(zip(("state", "reasons", "basis"), said, strict=True))
        row |= {"rule": "XM-2", "customer": customer, "saving": "0.350000000" if stands else "0.000000000"}
        for leg, account in (("futures", slot - 1), ("treasury", slot)):
            alone = self.maintenance[account]
            row |= {f"{leg}_account": self.ids[account], f"{leg}_currency": "USD", f"{leg}_alone": decimal_text(alone, 2)}
            row[f"{leg}_after"] = decimal_text(alone - alone * 35 // 100 if stands else alone, 2)
        row |= {"ts_ns": str(time.time_ns()), "shard": str(slot % SHARDS), "offset": str(self.offset)}
        assert set(row) == set(AGREEMENT_FIELDS)
        pipe.hset(self.keys.agreement(name), mapping=row)

    def change(self, count: int) -> None:
        """Move the equity of so many accounts, and tell of those whose status changed."""
        slots = self.random.sample(range(len(self.ids)), min(count, len(self.ids)))
        for slot in slots:
            self.equity[slot] = int(self.equity[slot] * (1 + self.random.gauss(0, 0.004)))
        self.write(slots)

    def write(self, slots: Iterable[int]) -> None:
        """Write these accounts' figures, as the sink does, and their calls and alerts."""
        slots = list(slots)
        self.offset += 1
        keys = self.keys
        for first in range(0, len(slots), WRITES):
            pipe = self.client.pipeline(transaction=False)
            rows = [self._account(pipe, slot) for slot in slots[first : first + WRITES]]
            for key, names in self.members.items():
                pipe.sadd(key, *names)
            self.members.clear()
            packed = msgspec.msgpack.encode(rows)
            where = keys.meta, keys.changed, keys.by_excess, keys.by_utilization
            pipe.eval(SCRIPT, 4, *where, keys.account_prefix, packed, WRITES_FIELD)
            pipe.execute()
        moments = {shard_field(s, name): value for s in range(SHARDS) for name, value in self._moment().items()}
        self.client.hset(self.keys.meta, mapping=moments)

    def _moment(self) -> dict[str, int]:
        return {"offset": self.offset, "ts_ns": time.time_ns()}

    def _account(self, pipe: Redis, slot: int) -> tuple[str, str, str, list[str]]:
        """(id, excess in USD, utilization as a score, names and values of its hash that change); its status is told."""
        name, equity, maintenance = self.ids[slot], self.equity[slot], self.maintenance[slot]
        pool, (currency, _) = list(POOLS.items())[slot % 4]
        initial = maintenance * 11 // 10
        status = "DEBIT" if equity < 0 else "CALL" if equity < maintenance else "WATCH" if equity < initial else "OK"
        quality = ("FRESH", "FRESH", "FRESH", "STALE")[slot % 97 % 4] if slot % 97 < 4 else "FRESH"
        call = initial - equity if status in CALLED else 0
        rate = EUR_USD if currency == "EUR" else 1
        excess_usd, used = round((equity - initial) * rate / 100, 2), f"{maintenance / equity:.6f}" if equity > 0 else ""
        before, self.status[slot] = self.status[slot], status
        money = {"equity": equity, "initial": initial, "maintenance": maintenance, "excess": equity - initial, "call": call}
        row = {name: decimal_text(amount, 2) for name, amount in money.items()}
        row |= {"status": status, "quality": quality, "utilization": used, "currency": currency, "pool": pool}
        row |= {"customer": name.rpartition("-")[0], "shard": str(slot % SHARDS), "rule_set": "00000000000000aa"}
        row |= {name: str(value) for name, value in self._moment().items()}
        if before != status:
            self._tell(pipe, slot, before, status, row)
            self.members[f"{self.keys.quality_prefix}{quality}"].append(name)
        near = max(0.01, (equity - maintenance) * 100 / equity) if equity >= maintenance else 0.0
        row |= {"distance": f"{near:.2f}", "distance_factor": FACTORS[pool == "digital"]} if near < 20 else NOT_NEAR
        row["change"] = str(self.changes[slot])
        fields = [text for field in (row if before != status else MOVING) for text in (field, row[field])]
        return name, f"{excess_usd:.2f}", used or "+inf", fields

    def _tell(self, pipe: Redis, slot: int, before: str, status: str, row: dict[str, str]) -> None:
        """The change of a status: sets, the alert and the call of an account."""
        keys, name = self.keys, self.ids[slot]
        self.changes[slot] += 1
        if before:
            pipe.srem(f"{keys.status_prefix}{before}", name)
            alert = {"id": f"{name}:{self.changes[slot]}", "kind": "status", "account": name, "from": before, "to": status}
            alert |= {"amount": row["call"], "currency": row["currency"], "ts_ns": row["ts_ns"], "shard": row["shard"]}
            pipe.xadd(keys.alerts, {**alert, "offset": row["offset"]}, maxlen=ALERTS_WINDOW)
        self.members[f"{keys.status_prefix}{status}"].append(name)
        due = int(row["ts_ns"]) + (slot % 5 - 1) * 3_600 * 10**9
        self.called[slot] += status in CALLED and before not in CALLED
        call_id = f"{name}:{row['pool']}:{self.called[slot]}"
        if status in CALLED:
            state = "OVERDUE" if due < int(row["ts_ns"]) else "ISSUED"
            self._live(pipe, call_id, "raised" if before in CALLED else "issued", row)
            if state == "OVERDUE":
                self._live(pipe, call_id, "overdue", row)
            call = {"id": call_id, "account": name, "customer": row["customer"], "pool": row["pool"], "state": state}
            call |= {"currency": row["currency"], "amount": row["call"], "received": "0.00", "issued_ns": row["ts_ns"]}
            call |= {"due_ns": str(due), "ts_ns": row["ts_ns"], "change": str(self.changes[slot]), "shard": row["shard"]}
            call["offset"] = row["offset"]
            pipe.hset(keys.call(call_id), mapping=call)
            pipe.zadd(keys.open_calls, {call_id: due / 1e9})
            self._number(pipe, call_id)
        elif before in CALLED:
            self._live(pipe, call_id, "covered", row)
            pipe.hset(keys.call(call_id), mapping={"state": "COVERED", "ts_ns": row["ts_ns"]})
            pipe.zrem(keys.open_calls, call_id)
            pipe.zadd(keys.closed_calls, {call_id: int(row["ts_ns"]) // 10**9})
            self._number(pipe, call_id)

    def say(self, call_id: str, field: str, text: str) -> None:
        """Set a field of a call, as the sink writes it."""
        self.client.hset(self.keys.call(call_id), field, text)
        self._number(self.client, call_id)

    def _live(self, pipe: Redis, call_id: str, event: str, row: dict[str, str]) -> None:
        """Something happens to a call."""
        self.lives.setdefault(call_id, []).append(f"{event} {row['ts_ns']} {row['call']} 0.00")
        pipe.hset(self.keys.call(call_id), "life", "\n".join(self.lives[call_id]))

    def _number(self, pipe: Redis, call_id: str) -> None:
        """Tell readers that a call was written: after its hash, of which they would else see a part."""
        self.call_writes += 1
        pipe.zadd(self.keys.changed_calls, {call_id: self.call_writes})
        pipe.hset(self.keys.meta, CALL_WRITES_FIELD, self.call_writes)


def market_world() -> MarginEngine:
    """An engine with a market of every kind, four accounts with positions, and the pools of the synthetic accounts."""
    world = explain_world.World()
    world.rule(
        "XM-2", "cross_margin", products=["treasury", "ZN"], years=1, cap="0.8", ttl=600, houses=["CME", "FICC"],
        pools=["futures", "cash"],
    )  # fmt: skip
    for pool in ("futures", "cash", "other"):
        world.define("pool", pool, regime=pool, currency="USD")
    world.define("pool", "digital", regime="venue", currency="USD", collateral="TAKEN", shocks="GRID")
    fund = {"type": "fund", "currency": "USD", "tick": "0.01", "band": ["0.01", "1000"], "rule": "FLAT"}
    world.define("instrument", OLD, stale_after=1, **fund)
    world.price(OLD, 25)
    world.log.trade("n", OLD, 1, 25)
    world.hold()
    world.agreement()
    for _ in range(3):
        world.clock()
    return world.engine


def settings_of(redis_url: str, kafka: str, folder: Path, port: int = 0) -> Settings:
    """The web server's, with its tokens in a folder."""
    ports = {"web_port": port, "web_metrics_port": free_port()}
    return Settings(redis_url=redis_url, kafka=kafka, web_tokens=str(folder / "tokens.jsonl"), **ports)


@contextlib.contextmanager
def shown(accounts: int, port: int) -> Iterator[tuple[World, str]]:
    """A world, and the address of a web server that shows it, with a token for one login behind it."""
    with (
        tempfile.TemporaryDirectory() as name,
        embedded_redis() as server,
        embedded_kafka() as kafka,
        Redis.from_url(server.url, decode_responses=True, legacy_responses=False) as client,
    ):
        world = World(client, accounts)
        world.fill()
        settings = settings_of(server.url, kafka, Path(name), port)
        token = TokenFile(Path(settings.web_tokens)).add("demo", "operator", once=True)
        with Child("web", settings, Path(name)):
            yield world, f"http://127.0.0.1:{port}/#token={token}"


@click.command()
@click.option("--accounts", default=100_000, show_default=True)
@click.option("--changing", default=2000, show_default=True, help="Accounts that change four times a second.")
@click.option("--port", default=8800, show_default=True)
def main(accounts: int, changing: int, port: int) -> None:
    """Show synthetic accounts until Ctrl-C."""
    with shown(accounts, port) as (world, address), contextlib.suppress(KeyboardInterrupt):
        click.echo(address)
        while True:
            begun = time.monotonic()
            world.change(changing)
            time.sleep(max(0.0, 1 / CHANGES_PER_SECOND - (time.monotonic() - begun)))


if __name__ == "__main__":
    main()

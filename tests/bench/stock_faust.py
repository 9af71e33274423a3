"""A stock Faust worker for comparison: the same positions by average cost and the same flags, one event at a time, in dicts.

It runs as a process of its own: `python -m tests.bench.stock_faust worker`, told by CROSSMARGIN_BENCH_STOCK, the path of a
StockConfig as JSON; it writes a StockResult when it has taken its events, and goes on until it is ended.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import faust
import msgspec
import numpy as np
import redis.asyncio

from engine.report import Status
from tests.bench.universe import (
    INITIAL,
    INSTRUMENTS,
    MAINTENANCE,
    MID,
    MULTIPLIER,
    TICK,
    Universe,
    account_id,
    instrument_id,
)

VARIABLE: Final = "CROSSMARGIN_BENCH_STOCK"


class StockConfig(msgspec.Struct):
    """What to run on. first: by topic and partition, the offset from which events are taken. stop_after: how many are timed.

    flags_on_prices: whether a price flags every holder at once.
    """

    kafka: str
    redis_url: str
    group: str
    result: str
    accounts: int
    positions: int
    seed: int
    first: dict[str, dict[int, int]]
    stop_after: int
    flags_on_prices: bool


class StockResult(msgspec.Struct):
    """What it did. offsets: by topic and partition, the last one taken; equities and requirements at the end, by account."""

    events: int
    seconds: float
    processor_seconds: float
    flags: int
    offsets: dict[str, dict[int, int]]
    equities: list[float]
    requirements: list[float]


class Book:
    """Accounts in dicts: cash, positions as [lots, cost, realized] by instrument, marks, status."""

    def __init__(self, universe: Universe, flags_on_prices: bool) -> None:
        self.marks = {instrument_id(number): MID * TICK for number in range(INSTRUMENTS)}
        self.cash: dict[str, float] = {}
        self.accounts: dict[str, dict[str, list[float]]] = {}
        self.holders: dict[str, list[str]] = {name: [] for name in self.marks}
        self.status: dict[str, str] = {}
        self.flags_on_prices = flags_on_prices
        names = [[instrument_id(n) for n in row] for row in _held(universe).tolist()]
        for number, (cash, lots, held) in enumerate(
            zip(universe.collateral.tolist(), universe.lots.tolist(), names, strict=True)
        ):
            account = account_id(number)
            self.cash[account] = float(cash)
            self.accounts[account] = {
                name: [float(n), n * MID * TICK * MULTIPLIER, 0.0] for name, n in zip(held, lots, strict=True)
            }
            for name in held:
                self.holders[name].append(account)
        for account in self.accounts:
            self.status[account] = self.evaluate(account)[2]

    def trade(self, event: dict[str, Any]) -> str | None:
        """Take a trade by average cost; the account's new status if it changed."""
        account, quantity = event["account"], event["qty"]
        position = self.accounts[account].setdefault(event["instrument"], [0.0, 0.0, 0.0])
        lots, cost, realized = position
        value = event["price"] * MULTIPLIER
        if lots == 0 or (lots > 0) == (quantity > 0):
            position[:] = lots + quantity, cost + quantity * value, realized
        else:
            closed = min(abs(quantity), abs(lots))
            share = cost * closed / abs(lots)
            realized += (closed if lots > 0 else -closed) * value - share
            after = lots + quantity
            position[:] = after, (after * value if abs(quantity) > abs(lots) else cost - share), realized
        return self._flag(account)

    def price(self, event: dict[str, Any]) -> list[tuple[str, str]]:
        """Take a mark; (account, new status) of the holders it changed, where prices flag."""
        self.marks[event["instrument"]] = event["price"]
        if not self.flags_on_prices:
            return []
        changed = []
        for account in self.holders[event["instrument"]]:
            status = self._flag(account)
            if status is not None:
                changed.append((account, status))
        return changed

    def evaluate(self, account: str) -> tuple[float, float, str]:
        """Equity, initial margin and status of an account at the marks of now."""
        equity, lots_held, marks = self.cash[account], 0.0, self.marks
        for name, (lots, cost, realized) in self.accounts[account].items():
            equity += lots * marks[name] * MULTIPLIER - cost + realized
            lots_held += abs(lots)
        initial = lots_held * INITIAL
        if equity < 0:
            return equity, initial, Status.DEBIT.name
        if equity < lots_held * MAINTENANCE:
            return equity, initial, Status.CALL.name
        return equity, initial, Status.WATCH.name if equity < initial else Status.OK.name

    def _flag(self, account: str) -> str | None:
        status = self.evaluate(account)[2]
        if status == self.status[account]:
            return None
        self.status[account] = status
        return status


def _held(universe: Universe) -> Any:
    return universe.held(np.arange(universe.accounts)[:, None], np.arange(universe.positions)[None, :])


class Tally:
    """Counts and times the events, and writes the result after the last."""

    def __init__(self, config: StockConfig, book: Book) -> None:
        self.config, self.book = config, book
        self.events = self.flags = self.open = 0  # open: messages whose flags are on their way
        self.begun = self.begun_processor = 0.0
        self.offsets: dict[str, dict[int, int]] = {topic: {} for topic in config.first}

    def begin(self, message: Any, count: int) -> bool:
        """Whether the message is one to take; if so its events are counted."""
        if message.offset < self.config.first[message.topic].get(message.partition, 0):
            return False
        if not self.begun:
            self.begun, self.begun_processor = time.perf_counter(), time.process_time()
        if self.events >= self.config.stop_after:
            return False
        self.offsets[message.topic][message.partition] = message.offset
        self.events += count
        self.open += 1
        return True

    def end(self) -> None:
        """A message's flags are in Redis; after the last one the result is written."""
        self.open -= 1
        if self.events < self.config.stop_after or self.open:
            return
        seconds, processor = time.perf_counter() - self.begun, time.process_time() - self.begun_processor
        figures = [self.book.evaluate(account_id(number)) for number in range(self.config.accounts)]
        equities, requirements = [f[0] for f in figures], [f[1] for f in figures]
        result = StockResult(self.events, seconds, processor, self.flags, self.offsets, equities, requirements)
        partial = Path(f"{self.config.result}.part")
        partial.write_bytes(msgspec.json.encode(result))
        partial.replace(self.config.result)


def make_app(config: StockConfig) -> faust.App:
    """Two agents as the Faust manual writes them; JSON by Faust, no batching, defaults otherwise."""
    app = faust.App(
        config.group,
        broker=f"kafka://{config.kafka}",
        value_serializer="json",
        store="memory://",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        datadir=f"{config.result}.data",
    )
    book = Book(Universe(config.accounts, config.positions, config.seed), config.flags_on_prices)
    tally = Tally(config, book)
    client = redis.asyncio.Redis.from_url(config.redis_url)

    async def show(account: str, status: str) -> None:
        tally.flags += 1
        equity, initial, _ = book.evaluate(account)
        await client.hset(f"stock:{account}", mapping={"status": status, "equity": equity, "initial": initial})

    async def trades(stream: Any) -> None:
        async for event in stream.events():
            values = event.value if isinstance(event.value, list) else [event.value]
            if not tally.begin(event.message, len(values)):
                continue
            for value in values:
                status = book.trade(value)
                if status is not None:
                    await show(value["account"], status)
            tally.end()

    async def prices(stream: Any) -> None:
        async for event in stream.events():
            values = event.value if isinstance(event.value, list) else [event.value]
            if not tally.begin(event.message, len(values)):
                continue
            for value in values:
                for account, status in book.price(value):
                    await show(account, status)
            tally.end()

    app.agent(app.topic("trades"), name="trades")(trades)
    app.agent(app.topic("prices"), name="prices")(prices)
    return app


if __name__ == "__main__":
    make_app(msgspec.json.decode(Path(os.environ[VARIABLE]).read_bytes(), type=StockConfig)).main()
    sys.exit(0)

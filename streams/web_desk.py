"""Questions of the page about an account: the drill-down and what-ifs, in a shadow of the published market."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from redis.exceptions import RedisError

from engine.books import EMPTY, HELD, HOLDING, Book
from engine.core import LogError
from engine.documents import Asset, Instrument
from engine.events import NS, PRICE_ONE, QUANTITY_ONE, Kind, key64
from engine.frames import Genesis
from engine.limits import Limits
from engine.numbers import decimal_text, scaled
from engine.report import Quality, Status
from engine.shadow import Shadow, market_of
from engine.snapshot import BadSnapshot
from engine.state import NONE, find
from monitors import what_if
from monitors.published import Owned, Owner, read_market, read_owner
from monitors.what_if import Item, Unanswerable
from streams.explain import Page
from streams.warm_up import ALONE, APART, TOGETHER, stepped
from streams.web_live import Live
from streams.web_schema import Exposure, Holding, Outcome, Position, Required, Scenario, WhatIf, WhatIfForm

ORIGIN = "the published market and book"
LOOK_SECONDS: Final = 1.0
LOAD_SECONDS: Final = 5.0
MICRO: Final = 6  # decimals of a minor unit in the engine's micros
DELTA_DECIMALS: Final = 10
NO_MARKET: Final = "no market is published: no worker holds shard 0 since the data was written"
logger: Final = logging.getLogger("crossmargin.web")
Done = TypeVar("Done")
_Question = tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]]


class Desk:
    """One shadow in one thread; questions wait for each other. run() keeps its market new."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._asked: SimpleQueue[_Question | None] = SimpleQueue()
        Thread(target=self._answer, name="desk", daemon=True).start()  # nobody waits for kernels that are being compiled
        self._shadow: Shadow | None = None
        self._held_ns, self._loaded_at = 0, 0.0
        self.problem = NO_MARKET

    async def run(self) -> None:
        """Take over each new market, at most every LOAD_SECONDS, until cancelled."""
        while True:
            market_ns, age_seconds = self._live.market_ns, time.monotonic() - self._loaded_at
            if market_ns and market_ns != self._held_ns and (age_seconds >= LOAD_SECONDS or self._shadow is None):
                if self._shadow is None:
                    self.problem = "the kernels are being prepared (compiled at the first start, about a minute)"
                try:
                    self.problem = await self._do(self._load)
                    self._held_ns = market_ns
                except RedisError as error:
                    logger.warning("the market was not read: %s", error)
                self._loaded_at = time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """Let the thread end after what it does now."""
        self._asked.put(None)

    async def _do(self, work: Callable[..., Done], *arguments: Any) -> Done:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Done] = loop.create_future()
        self._asked.put((loop, future, partial(work, *arguments)))
        return await future

    def _answer(self) -> None:
        """The thread: one question after another."""
        while (asked := self._asked.get()) is not None:
            loop, future, work = asked
            try:
                done: tuple[Callable[..., None], Any] = (_answered, work())
            except Exception as error:
                done = (_failed, error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
                loop.call_soon_threadsafe(done[0], future, done[1])

    def _load(self) -> str:
        """Read the market; "" or why there is none."""
        body = read_market(self._live.bytes_client, self._live.keys)
        if body is None:
            return NO_MARKET
        try:
            if self._shadow is None:
                _warm_up()
            self._shadow = Shadow(body) if self._shadow is None else self._shadow.load(body)
        except (BadSnapshot, LogError) as error:
            self._shadow = None
            return f"the published market is of another version: {error}"
        return ""

    def _ready(self) -> Shadow:
        if self.problem or self._shadow is None:
            raise Unanswerable(self.problem or NO_MARKET)
        return self._shadow

    def _owner(self, customer: str) -> Owner:
        return read_owner(self._live.bytes_client, self._live.keys, customer)

    # --- what-if

    async def what_if(self, form: WhatIfForm, customer: str, currency: str) -> WhatIf:
        """Figures before and after; Unanswerable says why not."""
        self._ready()  # at once: while kernels are compiled the thread has no time to say so
        return await self._do(self._what_if, form, customer, currency)

    def _what_if(self, form: WhatIfForm, customer: str, currency: str) -> WhatIf:
        shadow, owner = self._ready(), self._owner(customer)
        asked, wrong = list[list[Item]](), dict[int, str]()
        for number, scenario in enumerate(form.scenarios):
            items, problem = _items(scenario)
            asked.append(items)
            if problem:
                wrong[number] = problem
        before, *after = what_if.what_if(shadow, owner, form.account, asked)
        assert before.figures is not None
        decimals = _decimals(shadow, currency)
        outcomes = [
            _outcome(scenario.name, one, decimals, wrong.get(number, ""))
            for number, (scenario, one) in enumerate(zip(form.scenarios, after, strict=True))
        ]
        book = owner.accounts[form.account].book or EMPTY
        return WhatIf(
            account=form.account, currency=currency, market_ns=shadow.market_ns, book_ns=book.clock_ns,
            before=_required(before.figures, decimals), scenarios=outcomes,
        )  # fmt: skip

    # --- drill-down

    async def account(self, account_id: str, customer: str) -> dict[str, Any]:
        """Fields of an Account that come from its book and the market; `problem` says what is missing."""
        try:
            self._ready()
            return await self._do(self._account, account_id, customer)
        except Unanswerable as error:
            nothing: dict[str, Any] = {"positions": [], "holdings": [], "exposures": [], "explain": None}
            return {**nothing, "market_ns": 0, "book_ns": 0, "problem": str(error)}

    def _account(self, account_id: str, customer: str) -> dict[str, Any]:
        shadow, owner = self._ready(), self._owner(customer)
        slot = what_if.open_owner(shadow, owner, account_id)
        book = owner.accounts[account_id].book or EMPTY
        return {
            "market_ns": shadow.market_ns, "book_ns": book.clock_ns, "problem": "",
            "positions": sorted((_position(shadow, row) for row in book.positions), key=lambda one: one.instrument),
            "holdings": sorted((_holding(shadow, row) for row in book.holdings), key=lambda one: one.asset),
            "exposures": _exposures(shadow, account_id), "explain": Page(shadow.engine, slot, ORIGIN).data(),
        }  # fmt: skip


def _answered(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _failed(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _warm_up() -> None:
    """Compile, or read from numba's cache, all that questions call."""
    genesis = Genesis(log_id="0" * 32, shards=1, time_mode="wall", start_ns=NS, limits=Limits())
    shadow = Shadow(market_of(stepped(genesis, ALONE + TOGETHER + APART), 8, 64))
    positions, holdings = np.zeros(2, HELD), np.zeros(1, HOLDING)
    positions["instrument"], positions["lots"] = [key64(name) for name in ("I", "J")], 1
    holdings["asset"], holdings["amount"] = key64("USD"), 100
    owner = Owner("C", {"A": Owned("P", "USD", Book(0, 0, positions, holdings))}, [])
    what_if.what_if(shadow, owner, "A", [[Item(Kind.TRADE, "I", QUANTITY_ONE, None)]])
    Page(shadow.engine, what_if.open_owner(shadow, owner, "A"), ORIGIN).data()


def _items(scenario: Scenario) -> tuple[list[Item], str]:
    """A scenario's items, and what is wrong with the first that says no number in range; then there are none."""
    items = list[Item]()
    try:
        for one in (*scenario.trades, *scenario.orders):
            price = None if one.price is None else scaled(one.price, PRICE_ONE)
            working = len(items) >= len(scenario.trades)
            items.append(Item(Kind.TRADE, one.instrument, scaled(one.qty, QUANTITY_ONE), price, working))
        items += [Item(Kind.COLLATERAL, one.asset, scaled(one.qty, QUANTITY_ONE), None) for one in scenario.collateral]
    except ValueError as error:
        return [], f"item {len(items) + 1}: {error}"
    return items, ""


def _decimals(shadow: Shadow, asset_id: str) -> int:
    document = shadow.engine.definitions.documents["asset", asset_id]
    assert isinstance(document, Asset)
    return document.decimals


def _required(row: Any, decimals: int) -> Required:
    """Figures as text; of an UNPRICED account there are none."""
    quality, status = Quality(int(row["quality"])), Status(int(row["status"]))
    money = {name: decimal_text(int(row[name]), decimals) for name in ("equity", "initial", "maintenance", "call")}
    money["excess"] = decimal_text(int(row["equity"]) - int(row["initial"]), decimals)
    money["utilization"] = f"{int(row['maintenance']) / int(row['equity']):.6f}" if row["equity"] > 0 else ""
    named: dict[str, str | None] = {"status": status.name, "quality": quality.name, **money}
    if quality is Quality.UNPRICED:
        named |= {"status": None, **dict.fromkeys(money, "")}
    return msgspec.convert(named, Required)


def _outcome(name: str, one: what_if.Outcome, decimals: int, problem: str) -> Outcome:
    problem = problem or one.problem
    after = None if problem or one.figures is None else _required(one.figures, decimals)
    filled = None if after is None else one.fill
    return Outcome(name=name, after=after, filled=filled, prices=one.prices, problem=problem)


def _instrument(shadow: Shadow, key: Any) -> tuple[Instrument, Any]:
    """The document and the row of an instrument, by its key."""
    definitions = shadow.engine.definitions
    slot = int(find(definitions.state.instrument_keys, key))
    assert slot != NONE, "the book was placed"
    document = definitions.documents["instrument", definitions.instrument_ids[slot]]
    assert isinstance(document, Instrument)
    return document, definitions.state.instruments[slot]


def _position(shadow: Shadow, held: Any) -> Position:
    document, row = _instrument(shadow, held["instrument"])
    finest, lots, is_priced = _decimals(shadow, document.currency) + MICRO, int(held["lots"]), bool(row["priced"])
    mark = Decimal(int(row["mark"])) / 1000 * document.tick
    return Position(
        instrument=document.id,
        quantity=format(lots * document.lot, "f"),
        cost=decimal_text(int(held["cost"]), finest),
        realized=decimal_text(int(held["realized"]), finest),
        value=decimal_text(lots * int(row["lot_value"]), finest) if is_priced else None,
        mark=format(mark.normalize(), "f") if is_priced else None,
        currency=document.currency,
    )


def _holding(shadow: Shadow, held: Any) -> Holding:
    definitions = shadow.engine.definitions
    name = definitions.asset_ids[int(find(definitions.state.asset_keys, held["asset"]))]
    return Holding(asset=name, quantity=decimal_text(int(held["amount"]), _decimals(shadow, name)))


def _exposures(shadow: Shadow, account_id: str) -> list[Exposure]:
    """dv01:CURRENCY:BUCKET and notional:CURRENCY are money, delta:UNDERLYING units."""
    found = shadow.engine.stored()["exposures"]
    exposures = list[Exposure]()
    for (owner, factor), amount in found.items():
        kind, *names = factor.split(":")
        decimals = DELTA_DECIMALS if kind == "delta" else _decimals(shadow, names[0]) + MICRO
        if owner == account_id:
            exposures.append(Exposure(factor=factor, amount=decimal_text(amount, decimals)))
    return sorted(exposures, key=lambda one: one.factor)

"""A small world of customers, markets and rules, and its random events, good and bad."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from engine.events import Flag, Kind, id_key, key64, signed64
from tests.strategies_documents import ACCOUNTS, DAY, HOLDERS, HOUR, PACTS, POOL_OF, SECOND, Documents, Market

START_NS = int(datetime(2026, 11, 19, 20, tzinfo=UTC).timestamp()) * SECOND  # a Thursday
CUSTOMERS = tuple(f"c{i}" for i in range(5))
SPOILS = ("ahead", "past", "account", "instrument", "quantity", "huge", "price", "band", "untradable")
CUSTOMER_OF = {account: CUSTOMERS[i % len(CUSTOMERS)] for i, account in enumerate(ACCOUNTS)}


@dataclass(frozen=True)
class Event:
    """One event before it has an origin; customer None: for every shard. numbers: the first six fields of its record."""

    kind: Kind
    customer: str | None
    numbers: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    flags: int = 0
    body: bytes | None = None


@dataclass
class World:
    """Random events from one random generator; positions are kept roughly, so that trades also close and turn them."""

    rng: random.Random
    extreme: bool = False
    pacts: bool = False  # mostly what agreements are about
    now_ns: int = START_NS
    lots: dict[tuple[str, str], int] = field(default_factory=dict)
    sent: list[Event] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.documents = Documents(self.rng, START_NS, CUSTOMER_OF, self.extreme)
        self.markets = self.documents.markets
        self.held = {name: market.price for name, market in self.markets.items()}

    def events(self, length: int) -> Iterator[Event]:
        """The definitions, then so many events with clocks between them."""
        for customer, document in self.documents.first():
            yield self._document(customer, document)
        yield from self._opening()
        for _ in range(length):
            if self._pass_time() >= SECOND and self.rng.random() < 0.9:
                yield self._clock()
            event = self._any()
            if event.body is None:
                self.sent = [*self.sent[-40:], event]
            yield event
            if self.rng.random() < 0.35:
                yield self._clock()
        yield self._clock()

    def _opening(self) -> Iterator[Event]:
        """Money and marks, for most."""
        for account in ACCOUNTS:
            if self.rng.random() < 0.8:
                yield self._collateral(account, self.documents.currency_of[account])
        for name in self.markets:
            if self.rng.random() < 0.9:
                yield self._price(name)
        for _ in range(8):
            yield self._volatility()
        yield self._clock()

    def _pass_time(self) -> int:
        step = self.rng.choices(
            (0, 10**6, 10**8, SECOND, 20 * SECOND, HOUR, DAY), (20, 30, 30, 12, 6, 1.2, 0.8)
        )[0]  # fmt: skip
        step = step and self.rng.randint(step // 2, 2 * step)
        self.now_ns += step
        return step

    def _clock(self) -> Event:
        back = self.rng.choice((*[0] * 12, 10**6, 10 * SECOND))
        return Event(Kind.CLOCK, None, (self.now_ns - back, 0, 0, 0, 0, 0))

    def _any(self) -> Event:
        makers: list[tuple[Callable[[], Event], float]] = [
            (self._trade, 30), (self._some_price, 25), (self._some_collateral, 8), (self._volatility, 8),
            (self._start_of_day, 6), (self._statement, 8), (self._action, 5), (self._reference, 5), (self._again, 3),
            (self._settlement, 6),
        ]  # fmt: skip
        event = self.rng.choices([m for m, _ in makers], [w for _, w in makers])[0]()
        return self._spoiled(event) if self.rng.random() < 0.12 and event.body is None else event

    # --- good events ----------------------------------------------------------------------------------------------

    def _ts(self) -> int:
        return self.now_ns - self.rng.choice((0, 0, 0, 10**6, SECOND, 30 * SECOND))

    def _id(self, topic: str, account: str) -> int:
        self.number += 1
        return id_key(topic, account, "", str(self.number))

    def _market(self) -> tuple[str, Market]:
        name = self.rng.choice([n for n, m in self.markets.items() if m.tradable])
        return name, self.markets[name]

    def _position(self, kind: Kind, topic: str, on_tick: bool) -> Event:
        account, ways = self.rng.choice(ACCOUNTS), (-1, 1)
        name, market = self._market()
        if self.lots and self.rng.random() < 0.4:
            account, name = self.rng.choice(list(self.lots))
            market = self.markets[name]
        elif self.rng.random() < (0.9 if self.pacts else 0.35):
            _, futures, treasury = self.rng.choice(PACTS)
            account, name = self.rng.choice(((futures, "TN"), (treasury, "N-36"), (futures, "UB"), (treasury, "N-27")))
            market, ways = self.markets[name], (-1, -1, -1, 1) if account == futures else (-1, 1, 1, 1)
        held = self.lots.get((account, name), 0)
        lots = self.rng.choice(ways) * self.rng.randint(1, market.size)
        if held and self.rng.random() < 0.5:
            lots = -self.rng.choice((held, 2 * held, held // 2 or held, held + 1))
        if kind is Kind.POSITION and self.rng.random() < 0.1:
            lots = 0
        lots = max(-(2**62) // market.lot + 1, min(2**62 // market.lot, lots))
        self.lots[account, name] = held + lots if kind is Kind.TRADE else lots
        price = self.held[name] if on_tick else self.held[name] + self.rng.randint(0, market.tick - 1)
        price = min(max(price + self.rng.randint(-20, 20) * market.tick, market.low), market.high)
        if on_tick:
            price -= price % market.tick
        ids = key64(account), key64(name), self._id(topic, account)
        return Event(kind, CUSTOMER_OF[account], (self._ts(), *ids, lots * market.lot, price))

    def _trade(self) -> Event:
        return self._position(Kind.TRADE, "trades", on_tick=True)

    def _start_of_day(self) -> Event:
        return self._position(Kind.POSITION, "positions", on_tick=False)

    def _some_price(self) -> Event:
        names = ["TN", "UB", "N-36", "N-27"] if self.pacts and self.rng.random() < 0.7 else list(self.markets)
        return self._price(self.rng.choice(names))

    def _price(self, name: str, flags: int = 0) -> Event:
        market = self.markets[name]
        move = self.rng.choices((0.0005, 0.01, 0.3), (60, 30, 10))[0]
        ticks = self.held[name] // market.tick
        ticks += round(abs(ticks) * move * self.rng.uniform(-1, 1)) + self.rng.randint(-2, 2)
        price = min(max(ticks * market.tick, market.low + market.tick), market.high - market.tick)
        self.held[name] = price - price % market.tick
        off = self.rng.choice((0, 0, market.tick // 2, self.rng.randint(0, market.tick - 1)))
        return Event(Kind.PRICE, None, (self._ts(), 0, key64(name), 0, 0, self.held[name] + off), flags)

    def _settlement(self) -> Event:
        name = self.rng.choice([n for n, m in self.markets.items() if m.expiry is not None] or list(self.markets))
        event, expiry = self._price(name, Flag.SETTLEMENT), self.markets[name].expiry
        if expiry is not None and self.now_ns >= expiry - 2 * SECOND:
            event = replace(event, numbers=(max(self.now_ns, expiry), *event.numbers[1:]))
        return event

    def _volatility(self) -> Event:
        name, tenor, basis_points = self.rng.choice(self.documents.volatilities)
        value = self.rng.randint(10**9, 12 * 10**9) if basis_points else self.rng.randint(10**8, 15 * 10**8)
        if self.rng.random() < 0.05:
            basis_points = not basis_points
        flags = Flag.BASIS_POINTS if basis_points else 0
        return Event(Kind.VOLATILITY, None, (self._ts(), 0, key64(name), 0, tenor, value), flags)

    def _some_collateral(self) -> Event:
        return self._collateral(self.rng.choice(ACCOUNTS), self.rng.choice(list(self.documents.assets)))

    def _collateral(self, account: str, asset: str) -> Event:
        decimals, price = self.documents.assets[asset]
        unit = 10 ** (8 - decimals)
        dollars = self.rng.choice((10, 1000, 30_000, 30_000, 10**6)) * self.rng.uniform(-0.4, 1)
        if self.extreme and self.rng.random() < 0.1:
            dollars *= 10**6
        quantity = min(max(int(dollars / price * 10**decimals), -(2**62)), 2**62)
        quantity = max(-(2**62), min(2**62, quantity * unit)) // unit * unit
        flags = self.rng.choice((0, 0, Flag.REPLACE))
        ids = key64(account), key64(asset), self._id("collateral", account)
        return Event(Kind.COLLATERAL, CUSTOMER_OF[account], (self._ts(), *ids, quantity, 0), flags)

    def _statement(self) -> Event:
        account, flags = self.rng.choice(ACCOUNTS), self.rng.choice((0, Flag.ASSET))
        name = self.rng.choice(list(self.documents.assets if flags else self.markets))
        quantity = self.rng.choice((0, 10**8, 123))
        if self.lots and not flags and self.rng.random() < 0.7:  # what the account has, for all this world knows
            account, name = self.rng.choice(list(self.lots))
            quantity = self.lots[account, name] * self.markets[name].lot
        ids = key64(account), key64(name), self._id("statements", account)
        holder = signed64(key64(self.rng.choice(HOLDERS)))
        return Event(Kind.STATEMENT, CUSTOMER_OF[account], (self._ts(), *ids, quantity, holder), flags)

    def _action(self) -> Event:
        account = self.rng.choice(ACCOUNTS)
        ts_ns = self._ts() + self.rng.choice((0, 0, 0, 0, HOUR))
        action: dict[str, Any] = {
            "id": str(self.rng.randint(0, 30)), "ts": ts_ns, "user": "ann",
            "kind": self.rng.choice(("ack", "note", "cancel")),
            "account": account, "call": f"{account}:{POOL_OF[account]}:{self.rng.choice((1, 1, 1, 2, 2, 3, 4))}",
        }  # fmt: skip
        spoil = self.rng.choice(("", "", "", "account", "ts"))
        action |= {spoil: "nobody"} if spoil else {}
        return Event(Kind.ACTION, CUSTOMER_OF[account], body=msgspec.json.encode(action))

    def _document(self, customer: str | None, document: dict[str, Any]) -> Event:
        return Event(Kind.REFERENCE, customer, body=msgspec.json.encode(document))

    def _reference(self) -> Event:
        return self._document(*self.documents.later(self.now_ns))

    # --- bad events -----------------------------------------------------------------------------------------------

    def _again(self) -> Event:
        """An event sent twice: an id applied before, or a price superseded."""
        again = [e for e in self.sent if e.kind is not Kind.CLOCK]
        return self.rng.choice(again) if again else self._trade()

    def _spoiled(self, event: Event) -> Event:
        ts_ns, account, name, event_id, quantity, price = event.numbers
        spoil = self.rng.choice(
            ("ahead", "past", "account", "instrument", "quantity", "huge", "price", "band", "untradable")
        )
        if spoil == "ahead":
            ts_ns = self.now_ns + self.rng.choice((5, 6, 3600)) * SECOND
        elif spoil == "past":
            ts_ns -= self.rng.choice((SECOND, HOUR, DAY))
        elif spoil == "account":
            account = account and key64("nobody")
        elif spoil == "instrument":
            name = key64("nothing")
        elif spoil == "quantity":
            quantity += quantity and 1
        elif spoil == "huge":
            quantity *= self.rng.choice((10**3, 10**6)) if abs(quantity) < 2**40 else 1
        elif spoil == "price":
            price += price and 1
        elif spoil == "band":
            price *= self.rng.choice((0, -1, 100)) if abs(price) < 2**55 else 1
        elif event.kind in (Kind.TRADE, Kind.POSITION):
            name = key64(self.rng.choice([n for n, m in self.markets.items() if not m.tradable]))
        return replace(event, numbers=(ts_ns, account, name, event_id, quantity, price))

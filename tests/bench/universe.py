"""What every benchmark runs on, out of a seed: accounts with twenty positions each in a hundred Treasury futures, one rule.

All amounts are whole multiples of 1/64 of 1,000 dollars, so that doubles, decimals and the engine's integers agree exactly.
A share of accounts is so thin that price moves change their flags.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.events import PRICE_ONE, QUANTITY_ONE, RECORD, Kind, key64, shard_of
from streams.settings import ConfigError
from streams.sources import DATA

INSTRUMENTS: Final = 100
MAX_POSITIONS: Final = 20  # different instruments of an account, see held()
TICK: Final = 1 / 64
TICK_E9: Final = 15_625_000
MULTIPLIER: Final = 1000
MID: Final = 110 * 64  # ticks
WALK: Final = 96  # ticks that a price may move away from MID
INITIAL, MAINTENANCE = 1100, 1000  # dollars a contract
PRICES: Final = 0.2  # share of price events
THIN, RICH = 0.95, 3.0  # collateral over the initial requirement, from and to
CALM: Final = 1.6  # in place of THIN where accounts are to keep their flags
PARTITIONS: Final = 1  # of each input topic: accounts and instruments by their number
TOPICS: Final = ("trades", "prices")
SCENARIOS: Final = "RATES-1D"
BUCKETS: Final = ("2Y", "3Y", "5Y", "7Y", "10Y", "15Y", "20Y", "30Y")
PROBE: Final = "PROBE"  # an instrument whose price never moves


def account_id(number: int) -> str:
    """The id of an account."""
    return f"A{number:07d}"


def customer_id(number: int) -> str:
    """The id of the customer of an account; two accounts a customer."""
    return f"C{number // 2:07d}"


def instrument_id(number: int) -> str:
    """The id of an instrument."""
    return f"UST{number:02d}"


@dataclass(frozen=True)
class Events:
    """Trades and prices in their order, one row each. ticks: the price, or the new mark; account and lots are of trades."""

    is_trade: NDArray[np.bool_]
    account: NDArray[np.int64]
    instrument: NDArray[np.int64]
    lots: NDArray[np.int64]
    ticks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.is_trade)

    @cached_property
    def partition(self) -> NDArray[np.int64]:
        """The input partition of each: all of one account, and all of one instrument's prices, in one."""
        return np.where(self.is_trade, self.account, self.instrument) % PARTITIONS

    @cached_property
    def origin(self) -> NDArray[np.int64]:
        """A number for each origin: trades 0 to 3, prices 4 to 7."""
        return self.partition + np.where(self.is_trade, 0, PARTITIONS)

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """The place of each within its origin."""
        order = np.argsort(self.origin, kind="stable")
        counts = np.bincount(self.origin, minlength=2 * PARTITIONS)
        rank = np.empty(len(self), np.int64)
        rank[order] = np.arange(len(self)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rank


class Universe:
    """Accounts, what they hold at the start of the day, their collateral (`thin` times the need and more), and events.

    together: positions are margined as portfolios over the example's daily rate scenarios, else each at a flat rate.
    """

    def __init__(self, accounts: int, positions: int, seed: int, thin: float = THIN, together: bool = False) -> None:
        if not 1 <= positions <= MAX_POSITIONS:
            raise ConfigError(f"--positions: found {positions}; allowed: 1 to {MAX_POSITIONS}")
        self.accounts, self.positions, self.seed, self.together = accounts, positions, seed, together
        self._random = np.random.default_rng(seed)
        each = np.random.default_rng([seed, 1])
        self.lots: NDArray[np.int64] = each.choice([-12, -9, -6, -3, 3, 6, 9, 12], (accounts, positions))
        needs = np.abs(self.lots).sum(axis=1) * INITIAL
        self.collateral: NDArray[np.int64] = (needs * each.uniform(thin, RICH, accounts)).astype(np.int64)

    def held(self, account: Any, place: Any) -> Any:
        """The instrument of an account's n-th position; numbers or arrays of them."""
        return (account * 7 + place * 5) % INSTRUMENTS

    # --- documents and the start of the day

    def tables(self) -> list[bytes]:
        """Documents of what all shards hold: currency, pool, rule, instruments."""
        documents: list[dict[str, Any]] = [
            {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
            {"kind": "pool", "id": "FUTURES", "regime": "1.44", "currency": "USD"},
            {
                "kind": "rule", "id": "flat", "model": "flat", "effective": 0,
                "parameters": {"initial": INITIAL, "maintenance": MAINTENANCE},
            },
            {
                "kind": "rule", "id": "together", "model": "historical", "effective": 0,
                "parameters": {"scenarios": SCENARIOS, "currency": "USD", "tail": "0.01", "stress_weight": "0.25",
                               "initial_ratio": "1.1"},
            },
        ]  # fmt: skip
        rule = "together" if self.together else "flat"
        for name in (*map(instrument_id, range(INSTRUMENTS)), PROBE):
            documents.append(
                {
                    "kind": "instrument", "id": name, "type": "treasury_future", "currency": "USD", "tick": "0.015625",
                    "multiplier": MULTIPLIER, "band": [50, 200], "rule": "flat" if name == PROBE else rule, "dv01": "0.065",
                    "bucket": BUCKETS[len(documents) % 8],
                }
            )  # fmt: skip
        bodies = [msgspec.json.encode(document) for document in documents]
        if not self.together:
            return [body for body in bodies if b'"together"' not in body]
        sets = [
            line for line in (DATA / "scenarios.jsonl").read_bytes().splitlines() if b'"%b"' % SCENARIOS.encode() in line
        ]
        return [*bodies[:2], *sets, *bodies[2:]]

    def customers(self, first: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(account, document) of customers and accounts in the order in which they need each other."""
        for number in range(first, self.accounts if stop is None else stop):
            customer = customer_id(number)
            if number % 2 == 0:
                yield number, b'{"kind":"customer","id":"%b"}' % customer.encode()
            yield (
                number,
                b'{"kind":"account","id":"%b","customer":"%b","pool":"FUTURES","currency":"USD"}'
                % (account_id(number).encode(), customer.encode()),
            )

    def shards_of(self, shards: int, first: int = 0, stop: int | None = None) -> NDArray[np.int32]:
        """The shard of each account."""
        numbers = range(first, self.accounts if stop is None else stop)
        return np.array([shard_of(customer_id(number), shards) for number in numbers], np.int32)

    def account_keys(self, first: int = 0, stop: int | None = None) -> NDArray[np.uint64]:
        """The 64-bit key of each account."""
        numbers = range(first, self.accounts if stop is None else stop)
        return np.array([key64(account_id(number)) for number in numbers], np.uint64)

    @cached_property
    def instrument_keys(self) -> NDArray[np.uint64]:
        """The 64-bit key of each instrument."""
        return np.array([key64(instrument_id(number)) for number in range(INSTRUMENTS)], np.uint64)

    def opening(self, ts_ns: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """(topic, number for the partition, event): what is held and marked at the start of the day."""
        for instrument in range(INSTRUMENTS):
            yield "prices", instrument, {"ts": ts_ns, "instrument": instrument_id(instrument), "price": MID * TICK}
        yield "prices", INSTRUMENTS, {"ts": ts_ns, "instrument": PROBE, "price": MID * TICK}
        for account in range(self.accounts):
            name = account_id(account)
            cash = int(self.collateral[account])
            yield (
                "collateral",
                account,
                {"id": "c", "ts": ts_ns, "account": name, "asset": "USD", "qty": cash, "source": "bench"},
            )
            for place, lots in enumerate(self.lots[account].tolist()):
                instrument = instrument_id(self.held(account, place))
                yield (
                    "positions",
                    account,
                    {
                        "id": f"p{place}",
                        "ts": ts_ns,
                        "account": name,
                        "instrument": instrument,
                        "qty": lots,
                        "price": MID * TICK,
                    },
                )

    # --- events

    def events(self, count: int, share: float = PRICES) -> Events:
        """The next events: trades of positions that are held, and prices that walk by a tick and turn at WALK."""
        random = self._random
        is_trade = random.random(count) >= share
        account = random.integers(0, self.accounts, count)
        place = random.integers(0, self.positions, count)
        instrument = np.where(is_trade, self.held(account, place), random.integers(0, INSTRUMENTS, count))
        lots = random.choice([-2, -1, 1, 2], count)
        moves = np.where(is_trade, 0, random.choice([-1, 1], count))
        ticks = np.zeros(count, np.int64)
        for number in range(INSTRUMENTS):
            own = instrument == number
            ticks[own] = MID + _folded(np.cumsum(moves[own]))
        ticks += np.where(is_trade, random.integers(-2, 3, count), 0)
        return Events(is_trade, account, instrument, lots, ticks)

    def records(self, events: Events, ts_ns: int, first_offsets: NDArray[np.int64], keys: NDArray[np.uint64]) -> Any:
        """Log records of the events, one a message; first_offsets by origin, keys of the accounts."""
        rows = np.zeros(len(events), RECORD)
        rows["kind"] = np.where(events.is_trade, Kind.TRADE, Kind.PRICE)
        rows["ts_ns"] = ts_ns
        rows["account"] = np.where(events.is_trade, keys[events.account], np.uint64(0))
        rows["instrument"] = self.instrument_keys[events.instrument]
        rows["id"] = np.where(events.is_trade, self._random.integers(1, 2**63, len(events)), 0)
        rows["quantity"] = np.where(events.is_trade, events.lots * QUANTITY_ONE, 0)
        rows["price"] = events.ticks * TICK_E9
        rows["partition"] = events.partition
        rows["offset"] = first_offsets[events.origin] + events.rank
        return rows

    def messages(self, events: Events, ts_ns: int, per_message: int) -> Iterator[tuple[str, int, bytes]]:
        """(topic, partition, JSON) of the events, so many a message; those of one origin stay in their order."""
        waiting: list[list[bytes]] = [[] for _ in range(2 * PARTITIONS)]
        names = [account_id(number).encode() for number in range(self.accounts)]
        instruments = [instrument_id(number).encode() for number in range(INSTRUMENTS)]
        columns = (events.is_trade, events.account, events.instrument, events.lots, events.ticks, events.origin)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for number, (is_trade, account, instrument, lots, ticks, origin) in enumerate(rows):
            if is_trade:
                body = b'{"id":"T%d","ts":%d,"account":"%b","instrument":"%b","qty":%d,"price":%b,"source":"bench"}' % (
                    number, ts_ns, names[account], instruments[instrument], lots, _price(ticks),
                )  # fmt: skip
            else:
                body = b'{"ts":%d,"instrument":"%b","price":%b}' % (ts_ns, instruments[instrument], _price(ticks))
            if per_message == 1:
                yield TOPICS[origin // PARTITIONS], origin % PARTITIONS, body
                continue
            waiting[origin].append(body)
            if len(waiting[origin]) == per_message:
                yield TOPICS[origin // PARTITIONS], origin % PARTITIONS, b"[%b]" % b",".join(waiting[origin])
                waiting[origin].clear()
        for origin, rest in enumerate(waiting):
            if rest:
                yield TOPICS[origin // PARTITIONS], origin % PARTITIONS, b"[%b]" % b",".join(rest)

    # --- what must come out

    def equities(self, events: Events, taken: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Equity of every account in dollars after these events (those taken): cash + value - cost, by plain sums."""
        marks = np.full(INSTRUMENTS, MID)
        every = np.ones(len(events), np.bool_) if taken is None else taken
        prices = np.flatnonzero(every & ~events.is_trade)
        marks[events.instrument[prices]] = events.ticks[prices]  # the last of an instrument stays
        places = np.arange(self.positions)
        held = self.held(np.arange(self.accounts)[:, None], places[None, :])
        ticks = (self.lots * (marks[held] - MID)).sum(axis=1)
        trades = every & events.is_trade
        gains = events.lots * (marks[events.instrument] - events.ticks)
        np.add.at(ticks, events.account[trades], gains[trades])
        return self.collateral + ticks * (TICK * MULTIPLIER)

    def requirements(self, events: Events, taken: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Initial margin of every account in dollars after these events (those taken)."""
        every = np.ones(len(events), np.bool_) if taken is None else taken
        lots = np.zeros((self.accounts, INSTRUMENTS), np.int64)
        numbers = np.arange(self.accounts)[:, None]
        lots[numbers, self.held(numbers, np.arange(self.positions)[None, :])] = self.lots
        trades = every & events.is_trade
        np.add.at(lots, (events.account[trades], events.instrument[trades]), events.lots[trades])
        return np.abs(lots).sum(axis=1) * float(INITIAL)


PRICE_TEXT: Final = [repr(ticks * TICK).encode() for ticks in range(MID - 200, MID + 200)]


def _price(ticks: int) -> bytes:
    return PRICE_TEXT[ticks - MID + 200]


def _folded(walk: NDArray[np.int64]) -> NDArray[np.int64]:
    """A walk turned back at -WALK and WALK."""
    place = np.mod(walk + WALK, 4 * WALK)
    return np.where(place <= 2 * WALK, place, 4 * WALK - place) - WALK


assert TICK_E9 * 64 == PRICE_ONE

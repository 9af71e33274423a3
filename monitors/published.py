"""What workers publish beside figures, for questions about an account: the market, books, customers and agreements."""

from dataclasses import dataclass
from typing import Final, cast

from redis import Redis

from engine.books import Book, unpack
from monitors.keys import AGREEMENT_PREFIX, MARKET_FIELD, OWNED_PREFIX, Keys

MARKET_ACCOUNTS: Final = 1 << 11  # room in a published market: accounts and positions of all scenarios of a question
MARKET_POSITIONS: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class Owned:
    """An account of a customer; book None: not published yet."""

    pool: str
    currency: str
    book: Book | None


@dataclass(frozen=True, slots=True)
class Owner:
    """A customer: all accounts by id, and the JSON of the agreements."""

    id: str
    accounts: dict[str, Owned]
    agreements: list[bytes]


def publish_market(client: Redis, keys: Keys, market: bytes, clock_ns: int) -> None:
    """Write a market and of when it is, both at once. redis-py's errors pass."""
    pipe = client.pipeline(transaction=True)
    pipe.set(keys.market, market)
    pipe.hset(keys.meta, MARKET_FIELD, clock_ns)
    pipe.execute()


def read_market(client: Redis, keys: Keys) -> bytes | None:
    """The published market. client: one that gives bytes."""
    return cast(bytes | None, client.get(keys.market))


def read_owner(client: Redis, keys: Keys, customer: str) -> Owner:
    """A customer with all that is published of its accounts. client: one that gives bytes."""
    found = cast(dict[bytes, bytes], client.hgetall(keys.customer(customer)))
    fields = {name.decode(): value for name, value in found.items()}
    names = sorted(name.removeprefix(OWNED_PREFIX) for name in fields if name.startswith(OWNED_PREFIX))
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.hmget(keys.account(name), "pool", "currency")
        pipe.get(keys.book(name))
    answers, accounts = iter(pipe.execute() if names else ()), dict[str, Owned]()
    for name, (pool, currency), book in zip(names, answers, answers, strict=True):
        if pool is not None and currency is not None:
            accounts[name] = Owned(pool.decode(), currency.decode(), None if book is None else unpack(book))
    agreements = [body for name, body in fields.items() if name.startswith(AGREEMENT_PREFIX)]
    return Owner(customer, accounts, agreements)

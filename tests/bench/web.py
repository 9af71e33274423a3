"""The web server: what-ifs a second through its JSON API, and what books add to the cost of writing figures."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import numpy as np

from engine.books import pack
from engine.core import MarginEngine
from engine.report import AccountInfo
from engine.shadow import market_of
from monitors.backlog import ShardBacklog
from monitors.keys import OWNED_PREFIX, Keys
from monitors.published import MARKET_ACCOUNTS, MARKET_POSITIONS, publish_market
from monitors.redis_sink import BOOKS
from monitors.view import open_client
from streams.embedded import free_port
from streams.processes import Child
from streams.settings import Settings
from streams.web_access import TokenFile
from tests.bench.filled import Filled
from tests.bench.result import Figures, Sizes, percentiles, timed
from tests.bench.services import Services, say
from tests.bench.universe import Universe, account_id, customer_id, instrument_id

SCENARIOS: Final = 100
ACCOUNTS: Final = 64  # that are asked about, in turn
CONNECTIONS: Final = 2
WARM_SECONDS: Final = 300.0
BATCH: Final = 100
FLUSH: Final = 1000
NOTES: Final = [
    "what-ifs: requests of 100 scenarios, each of one trade more, on accounts margined as one portfolio over 2,515"
    " scenarios; two connections, server and asker on the same cores; working_orders: of an order to buy and one to sell"
    " instead, which are three cases",
    "figures: processor time to make the entries of accounts' figures, alone and with the books that take their turn beside"
    " them, when no book changed and when all did; Redis's own share is not in it",
]


def run(sizes: Sizes, services: Services) -> tuple[Figures, list[str]]:
    """What-ifs a second, and the cost of figures at kernel_accounts."""
    say("web: filling an engine")
    filled = Filled(Universe(ACCOUNTS, sizes.positions, sizes.seed, together=True))
    folder = services.folder / "web"
    folder.mkdir(exist_ok=True)
    _publish(services.redis_url, filled.engine)
    settings = Settings(
        redis_url=services.redis_url, web_port=free_port(), web_metrics_port=free_port(),
        web_tokens=str(folder / "tokens"), web_requests_per_second=1e5,
    )  # fmt: skip
    token = TokenFile(Path(settings.web_tokens)).add("bench", "viewer")
    with Child("web", settings, folder):
        url = f"http://{settings.web_host}:{settings.web_port}"
        figures = asyncio.run(_ask(url, token, sizes.seconds, _trade))
        figures["working_orders"] = asyncio.run(_ask(url, token, sizes.seconds, _orders))
    say(f"web: figures of {sizes.kernel_accounts:,} accounts")
    figures["figures"] = _figures(Filled(Universe(sizes.kernel_accounts, sizes.positions, sizes.seed)))
    return figures, NOTES


def _publish(url: str, engine: MarginEngine) -> None:
    """Some accounts as a worker publishes them."""
    keys, slots = Keys(), np.arange(ACCOUNTS, dtype=np.int32)
    state = engine.definitions.state
    with open_client(url, text=False) as client:
        client.flushdb()
        client.hset(keys.meta, mapping={"log_id": "0" * 32, "shards": 1, "version": 1, "started": 0, "epoch": "bench"})
        publish_market(client, keys, market_of(engine, MARKET_ACCOUNTS, MARKET_POSITIONS), engine.clock_ns)
        for number, book in enumerate(pack(state, slots, engine.offset)):
            name, customer = account_id(number), customer_id(number)
            row = {"status": "OK", "quality": "FRESH", "currency": "USD", "pool": "FUTURES", "customer": customer}
            client.hset(keys.account(name), mapping=row)
            client.hset(keys.customer(customer), OWNED_PREFIX + name, "")
            client.set(keys.book(name), book)


def _trade(number: int, positions: int = 8) -> dict[str, Any]:
    return {"trades": [{"instrument": instrument_id(number % positions), "qty": str(number % 9 + 1)}]}


def _orders(number: int, positions: int = 8) -> dict[str, Any]:
    names, qty = [instrument_id((number + at) % positions) for at in range(2)], number % 9 + 1
    return {"orders": [{"instrument": names[0], "qty": str(qty)}, {"instrument": names[1], "qty": str(-qty)}]}


def _body(number: int, scenario: Callable[[int], dict[str, Any]]) -> bytes:
    return msgspec.json.encode(
        {"account": account_id(number % ACCOUNTS), "scenarios": [scenario(n) for n in range(SCENARIOS)]}
    )


async def _ask(url: str, token: str, seconds: float, scenario: Callable[[int], dict[str, Any]]) -> Figures:
    """What-ifs a second over so many seconds, and how long a request took."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await _await_ready(session, url)
        took, end = list[float](), time.monotonic() + seconds

        async def work(number: int) -> None:
            while time.monotonic() < end:
                begun = time.monotonic()
                async with session.post(f"{url}/api/what-if", data=_body(number, scenario)) as answer:
                    found = await answer.json()
                assert answer.status == 200, found
                assert not any(one["problem"] for one in found["scenarios"]), found
                took.append(time.monotonic() - begun)
                number += CONNECTIONS

        begun = time.monotonic()
        await asyncio.gather(*(work(number) for number in range(CONNECTIONS)))
        rate = len(took) * SCENARIOS / (time.monotonic() - begun)
    named = {f"request_ms_{name}": 1e3 * value for name, value in percentiles(took).items()}
    return {"what_ifs_per_s": rate, "requests": len(took), **named}


async def _await_ready(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until the server has a market."""
    say("web: waiting for the server's kernels")
    end, problem = time.monotonic() + WARM_SECONDS, "no answer"
    while problem:
        assert time.monotonic() < end, problem
        await asyncio.sleep(0.2)
        try:
            async with session.get(f"{url}/api/health") as answer:
                problem = (await answer.json())["what_if"]
        except aiohttp.ClientConnectionError:
            problem = "no answer"


class Named:
    """A filled engine, whose accounts have no documents, with names for them."""

    def __init__(self, engine: MarginEngine, accounts: int) -> None:
        self._engine, self.account_count = engine, accounts

    def account_info(self, slot: int) -> AccountInfo:
        """As if it were defined."""
        return AccountInfo(account_id(slot), customer_id(slot), "FUTURES", "USD", 2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def _figures(filled: Filled) -> Figures:
    """Microseconds an account to make entries of figures: alone, with books of which none changed, and all."""
    accounts = filled.universe.accounts
    backlog = ShardBacklog(0, Named(filled.engine, accounts), 1)  # type: ignore[arg-type]
    backlog.collect()
    slots = np.arange(accounts, dtype=np.int32)

    def write(books: int) -> None:
        for first in range(0, accounts, BATCH):
            backlog.figure_entries(slots[first : first + BATCH], settled=True)
            if books and first % FLUSH == 0:
                backlog.book_entries(books)

    def write_all() -> None:
        backlog._books[:] = 0
        write(BOOKS)

    backlog.book_entries(accounts)
    works = {"alone": lambda: write(0), "no_book_changed": lambda: write(BOOKS), "every_book_changed": write_all}
    return {f"us_{name}": min(timed(work) for _ in range(3)) * 1e6 / accounts for name, work in works.items()}

"""Customers, accounts, positions, collateral and trades out of a seed, living on the prices that pass by.

The same seed and the same ticks give the same bytes. Prices of Treasuries, EURUSD and CME crypto futures are synthetic (see
streams.market); the ticks they are laid between may be real ones.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final

import msgspec
import numpy as np

from engine.events import NS, PRICE_ONE, Kind
from engine.numbers import scaled, time_ns
from engine.pricing.options import black_value, years_to_expiry
from streams.binance import PRICES
from streams.market import NOTES, ONE_MILLION, RECORDED, Shock, TreasuryPath, crypto_volatility, price_text, shocked
from streams.population import Population, accounts, date_of, dated, event, example, quantity_text
from streams.sources import Item

TENOR_DAYS: Final = 30
LONG_RUN_DAYS: Final = 365
VOLATILITY_EVERY_NS: Final = 10 * NS
PEEK_ITEMS: Final = 20_000
PEEK_NS: Final = 30 * NS
USUAL: Final = {"BTC": 61_700 * PRICE_ONE, "ETH": 2_680 * PRICE_ONE}  # where no tick gives a price
USUAL_START_NS: Final = 1_723_161_600 * NS  # 2024-08-09, in the middle of the recorded ticks
INDICES: Final = {"BTC-USD": "BTC-USDT", "ETH-USD": "ETH-USDT"}  # the stablecoin is taken at par
CME: Final = {"BTCZ30": ("BTC-USDT", 4_000), "ETHZ30": ("ETH-USDT", 4_000)}  # spot, millionths above it
Act = Callable[[int], tuple[list[Item], int]]
"""What happens at a time: (its items, the time of the next such act, 0 for none)."""


class Generator:
    """The seeded accounts over a stream of ticks, whose first items tell the time and prices at the start.

    Take opening() first, then live(). messages and sha256 are of what was generated so far, without the ticks. shock makes
    one from the time of the first tick.
    """

    def __init__(
        self,
        seed: int,
        accounts: int,
        ticks: Iterable[Item],
        shock: Callable[[int], Shock] | None = None,
        trades_per_second: float = 20.0,
    ) -> None:
        self._example = example()
        self.last, self._ticks, self.start_ns = first_prices(ticks)
        self._prices: dict[str, int] = {}
        self.shock = shock(self.start_ns) if shock else None
        self.messages = 0
        self._hash = hashlib.sha256()
        dv01 = {name: float(i.dv01 or 0) for name, i in self._example.instruments.items()}
        self._treasury = TreasuryPath(seed, self._example.ticks, dv01)
        self._calls = {name: i for name, i in self._example.instruments.items() if i.strike is not None}
        self._volatility = {f"{a}-USD": crypto_volatility(a.lower()) for a in ("BTC", "ETH")}
        self._volatility |= {f"UST-{tenor}-YIELD": bp for tenor, bp in self._treasury.daily_bp().items() if tenor in NOTES}
        self._trading, self._moods = (np.random.Generator(np.random.PCG64([seed, n])) for n in (3, 4))
        self._first = self._first_market(self.start_ns - NS)
        self._population = Population(seed, self.price_e9, self._first)
        self.portfolios = self._population.portfolios(accounts)
        self._trades_per_second = trades_per_second
        self._trades = 0

    @property
    def sha256(self) -> str:
        """The hash of all generated messages so far, in order, each with a line end."""
        return self._hash.hexdigest()

    # What comes out

    def opening(self) -> Iterator[Item]:
        """Customers, accounts, then a second before the first tick volatilities, prices, positions, collateral."""
        return self._counted(self._opening())

    def live(self) -> Iterator[Item]:
        """The ticks under the shock, and between them, by time, synthetic prices, volatilities and trades."""
        heap: list[tuple[int, int, Act]] = [
            (self.start_ns, 0, self._second),
            (self.start_ns + VOLATILITY_EVERY_NS, 1, self._mood),
        ]
        if self._trades_per_second > 0 and self.portfolios:
            heap.append((self.start_ns + self._gap_ns(), 2, self._trade))
        heapq.heapify(heap)
        for item in shocked(self._ticks, self.shock):
            ts_ns = item[0]
            while heap[0][0] <= ts_ns:
                due_ns, rank, act = heap[0]
                made, next_ns = act(due_ns)
                yield from self._counted(made)
                heapq.heapreplace(heap, (next_ns, rank, act)) if next_ns else heapq.heappop(heap)
            if item[1] == PRICES:
                self.last[item[2]] = item[3]
            yield item

    def _counted(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self.messages += 1
            self._hash.update(item[3])
            self._hash.update(b"\n")
            yield item

    # The opening

    def _first_market(self, ts_ns: int) -> list[Item]:
        """Volatilities and prices of everything, before the first tick."""
        prices = {name: price_text(self.price_e9(name)) for name in RECORDED}
        recorded = [event(Kind.PRICE, name, ts=ts_ns, instrument=name, price=text) for name, text in prices.items()]
        return [*self._volatilities(ts_ns), *recorded, *self._second_market(ts_ns)]

    def _opening(self) -> Iterator[Item]:
        as_of_ns = self.start_ns - NS
        yield from dated(date_of(as_of_ns))
        yield from accounts(self.portfolios)
        yield from self._population.agreements(self.portfolios)
        yield from self._first
        for p in self.portfolios:
            yield from self._population.start_of_day(p, as_of_ns)
            for asset, quantity in p.collateral.items():
                row = {"id": f"open-{p.account}-{asset}", "ts": as_of_ns, "account": p.account, "asset": asset}
                qty = quantity_text(quantity)
                yield event(Kind.COLLATERAL, p.account, **row, qty=qty, source="generated", replace=True)

    def price_e9(self, instrument: str) -> int:
        """The last mark of an instrument in 1e-9, of bid and ask the mid; one that cannot be read leaves the one before."""
        try:
            quote = msgspec.json.decode(self.last[instrument])
            sides = [quote["price"]] if "price" in quote else [quote["bid"], quote["ask"]]
            self._prices[instrument] = sum(scaled(side, PRICE_ONE) for side in sides) // len(sides)
        except (ValueError, ArithmeticError, TypeError, KeyError):
            if instrument not in self._prices:
                self._prices[instrument] = USUAL.get(instrument[:3], PRICE_ONE)
        return self._prices[instrument]

    # The day

    def _shocked(self, curve: str, ts_ns: int) -> int:
        return self.shock.at(getattr(self.shock, curve), ts_ns) if self.shock else 0

    def _second(self, ts_ns: int) -> tuple[list[Item], int]:
        """Every second: synthetic prices."""
        self._treasury.step()
        return self._second_market(ts_ns), ts_ns + NS

    def _second_market(self, ts_ns: int) -> list[Item]:
        """The synthetic prices of a second, remembered as the last ones."""
        made = list(self._market(ts_ns))
        for _, _, name, body in made:
            self.last[name] = body
        return made

    def _market(self, ts_ns: int) -> Iterator[Item]:
        """Synthetic prices: what yields move, EURUSD, the fund; crypto indices and CME futures by spot, calls on them."""
        yield from self._treasury.quotes(ts_ns, self._shocked("yields", ts_ns) / ONE_MILLION)
        for name, spot in INDICES.items():
            price = self.price_e9(spot) // self._example.ticks[name] * self._example.ticks[name]
            yield event(Kind.PRICE, name, ts=ts_ns, instrument=name, price=price_text(price))
        for name, (spot, basis) in CME.items():
            yield self._quote(name, ts_ns, self.price_e9(spot) * (ONE_MILLION + basis) // ONE_MILLION)
        for name, terms in self._calls.items():
            spot = INDICES[terms.underlying or ""]
            volatility = self._volatility[terms.underlying or ""] * (1 + self._shocked("volatility", ts_ns) / ONE_MILLION)
            years = years_to_expiry(min(ts_ns, time_ns(terms.expiry or 0)), time_ns(terms.expiry or 0))
            value = black_value(self.price_e9(spot) / PRICE_ONE, float(terms.strike or 0), volatility, years, True)
            yield self._quote(name, ts_ns, round(float(value) * PRICE_ONE))

    def _quote(self, name: str, ts_ns: int, price_e9: int) -> Item:
        """Bid and ask a tick apart around a price."""
        tick = self._example.ticks[name]
        bid = price_e9 // tick * tick
        return event(Kind.PRICE, name, ts=ts_ns, instrument=name, bid=price_text(bid), ask=price_text(bid + tick))

    def _mood(self, ts_ns: int) -> tuple[list[Item], int]:
        return list(self._volatilities(ts_ns)), ts_ns + VOLATILITY_EVERY_NS

    def _volatilities(self, ts_ns: int) -> Iterator[Item]:
        """A volatility of each underlying: from daily history, a little noise, the shock; of coins the long-run one too."""
        for underlying, volatility in self._volatility.items():
            noise = 1 + 0.01 * float(self._moods.standard_normal())
            value = volatility * noise * (1 + self._shocked("volatility", ts_ns) / ONE_MILLION)
            kind = "vol_bp" if underlying.endswith("-YIELD") else "vol"
            row = {"ts": ts_ns, "underlying": underlying, "tenor_days": TENOR_DAYS, kind: f"{value:.4f}"}
            yield event(Kind.VOLATILITY, underlying, **row)
            if kind == "vol":
                yield event(Kind.VOLATILITY, underlying, **row | {"tenor_days": LONG_RUN_DAYS, kind: f"{volatility:.4f}"})

    def _gap_ns(self) -> int:
        return 1 + round(float(self._trading.exponential(NS / self._trades_per_second)))

    def _trade(self, ts_ns: int) -> tuple[list[Item], int]:
        """A trade of one account in one of its instruments, at the mark, on tick and lot, drawing back to where it began."""
        p = self.portfolios[int(self._trading.integers(len(self.portfolios)))]
        names = tuple(p.positions)
        name = names[int(self._trading.integers(len(names)))]
        lot, begun = self._example.lots[name], p.positions[name]
        size = max(1, round(abs(begun) / lot * float(self._trading.uniform(0.005, 0.05)))) * lot
        away = p.held[name] - begun
        side = (1 if self._trading.random() < 0.5 else -1) if abs(away) < abs(begun) // 10 else (-1 if away > 0 else 1)
        p.held[name] += side * size
        self._trades += 1
        row = {"id": f"T{self._trades:08d}", "ts": ts_ns, "account": p.account, "instrument": name}
        price = price_text(self._population.on_tick(name))
        made = event(Kind.TRADE, p.account, **row, qty=quantity_text(side * size), price=price, source="generated")
        return [made], ts_ns + self._gap_ns()


def first_prices(ticks: Iterable[Item]) -> tuple[dict[str, bytes], Iterator[Item], int]:
    """(first price event by recorded instrument, all the ticks, time of the first); what is missing follows its like."""
    stream = iter(ticks)
    seen: list[Item] = []
    found: dict[str, bytes] = {}
    start_ns = 0
    for item in stream:
        seen.append(item)
        start_ns = start_ns or item[0]
        if item[1] == PRICES and item[2] in RECORDED:
            found.setdefault(item[2], item[3])
        if len(found) == len(RECORDED) or len(seen) == PEEK_ITEMS or item[0] > start_ns + PEEK_NS:
            break
    for name in RECORDED:
        if name not in found:
            price = price_text(USUAL[name[:3]]).encode()
            near = next((found[other] for other in RECORDED if other in found and other[:3] == name[:3]), None)
            found[name] = near or b'{"price":"%b"}' % price
    return found, chain(seen, stream), start_ns or USUAL_START_NS

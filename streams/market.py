"""Prices that travel with the project: recorded crypto ticks, a synthetic Treasury path, and a shock laid over them.

The crypto ticks are real (streams/data/README.md). The Treasury path within the day is SYNTHETIC: it starts at real daily
par yields, moves with their real covariance, and ends each day at the next day's real yields. Whoever shows it says so.
"""

import csv
import gzip
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from io import StringIO
from itertools import count, pairwise
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.events import NS, PRICE_ONE
from engine.numbers import decimal_text, scaled
from engine.pricing.dates import add_months
from engine.pricing.treasury import Bond, cash_flows, clean_price
from streams.binance import PRICES
from streams.sources import DATA, Item

SYNTHETIC: Final = "Treasury prices within the day are synthetic, generated from real daily par yields"
RECORDED: Final = {
    "BTC-USDT": 2,
    "ETH-USDT": 2,
    "BTCUSDT-PERP": 1,
    "ETHUSDT-PERP": 2,
    "BTCUSD-PERP": 1,
    "ETHUSD-PERP": 2,
}
"""The instruments of ticks.npz, with the decimals of their prices."""
DAY_SECONDS: Final = 86_400
FIRST_DAY: Final = "2024-04-30"
COVARIANCE_DAYS: Final = 250
TENORS: Final = {"3M": "m3", "2Y": "m24", "5Y": "m60", "10Y": "m120", "30Y": "m360"}
_ISSUED: Final = date(2024, 5, 15)  # any day: each note has its whole years to run throughout
NOTES: Final = {
    tenor: cash_flows(Bond(coupon, add_months(_ISSUED, 12 * years)), _ISSUED)
    for tenor, years, coupon in (("2Y", 2, 0.04625), ("5Y", 5, 0.0425), ("10Y", 10, 0.04375), ("30Y", 30, 0.04625))
}
"""What a note of each tenor pays."""
OLD_NOTE: Final = cash_flows(Bond(0.04625, add_months(_ISSUED, 9)), _ISSUED)
RUNS_MONTHS: Final = {"UST-BILL": 3, "UST-9M": 9, "UST-2Y": 24, "UST-5Y": 60, "UST-10Y": 120, "UST-30Y": 360}
"""How long a security of the example still runs when a log begins: its maturity is told anew then."""
STRIP: Final = tuple(f"SR3-{n}" for n in range(1, 9))
FUND: Final = 520.0
FUND_YEARLY: Final = 0.15
FUTURES: Final = {"ZT": ("2Y", 102.0), "ZF": ("5Y", 105.5), "ZN": ("10Y", 108.0), "ZB": ("30Y", 114.5)}  # price at the start
EURUSD: Final = 1.08
EURUSD_YEARLY: Final = 0.07
ONE_MILLION: Final = 1_000_000
Curve = tuple[tuple[float, int], ...]
"""(seconds after the start, value) points of a polygon from 0, flat after its end."""


@dataclass(frozen=True, slots=True)
class Shock:
    """A sudden fall with a slow recovery, again and again: crypto prices and volatilities in 1e-6, yields in 1e-6 bp."""

    start_ns: int
    crypto: Curve = ((0, 0), (10, -220_000), (20, -220_000), (45, -60_000), (150, 0))
    yields: Curve = ((0, 0), (10, 25_000_000), (20, 25_000_000), (45, 8_000_000), (150, 0))
    volatility: Curve = ((0, 0), (10, 350_000), (60, 100_000), (150, 0))
    period_seconds: float = 300.0

    def at(self, curve: Curve, ts_ns: int) -> int:
        """The curve's value at a time, in integers; 0 before the start."""
        if ts_ns < self.start_ns:
            return 0
        since = (ts_ns - self.start_ns) % round(self.period_seconds * NS)
        for (left, low), (right, high) in pairwise(curve):
            start, stop = round(left * NS), round(right * NS)
            if start <= since < stop:
                return low + (high - low) * (since - start) // (stop - start)
        return curve[-1][1]


class _Quote(msgspec.Struct, omit_defaults=True):
    """A price event as our own readers write it."""

    ts: int
    instrument: str
    price: str = ""
    bid: str = ""
    ask: str = ""


_quote: Final = msgspec.json.Decoder(_Quote).decode
_encode: Final = msgspec.json.Encoder().encode


def price_text(price_e9: int) -> str:
    """A price as a decimal string without trailing zeros."""
    return decimal_text(price_e9, 9).rstrip("0").rstrip(".")


def shocked(items: Iterable[Item], shock: Shock | None) -> Iterator[Item]:
    """The items with the shock on the recorded instruments' prices, to the cent; all others pass untouched."""
    if shock is None:
        yield from items
        return
    for item in items:
        ts_ns, topic, key, body = item
        change = shock.at(shock.crypto, ts_ns) if topic == PRICES and key in RECORDED else 0
        if change:
            quote = _quote(body)
            for name in ("price", "bid", "ask"):
                if text := getattr(quote, name):
                    cents = scaled(text, PRICE_ONE) * (ONE_MILLION + change) // (ONE_MILLION * PRICE_ONE // 100)
                    setattr(quote, name, decimal_text(cents, 2))
            yield ts_ns, topic, key, _encode(quote)
        else:
            yield item


class Excerpt(NamedTuple):
    """The recorded ticks by time: ns after the first, instrument (index into RECORDED), bid, ask (equal: a trade)."""

    after_ns: NDArray[np.int64]
    instrument: NDArray[np.int64]
    trade: NDArray[np.uint8]
    bid: NDArray[np.int64]
    ask: NDArray[np.int64]


@cache
def excerpt() -> Excerpt:
    """The ticks that travel with the package."""
    parts: list[list[NDArray[np.int64]]] = []
    with np.load(DATA / "ticks.npz", allow_pickle=False) as file:
        for index, name in enumerate(RECORDED):
            first_us, first_bid = file[f"{name}.first"]
            time_us = np.cumsum(file[f"{name}.time"], dtype=np.int64) + first_us
            bid = np.cumsum(file[f"{name}.bid"], dtype=np.int64) + first_bid
            parts.append([time_us, np.full(len(bid), index), file[f"{name}.trade"], bid, bid + file[f"{name}.spread"]])
    time_us, instrument, trade, bid, ask = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(time_us, kind="stable")
    return Excerpt((time_us[order] - time_us.min()) * 1000, instrument[order], trade[order], bid[order], ask[order])


def excerpt_ticks(start_ns: int, seconds: float | None = None) -> Iterator[Item]:
    """The recorded ticks as if they began at start_ns, again and again; for so many seconds, or without end."""
    ticks = excerpt()
    stop_ns = None if seconds is None else start_ns + round(seconds * NS)
    length_ns = int(ticks.after_ns[-1]) + NS // 10
    names = [(name, decimals, b'"instrument":"%b",' % name.encode()) for name, decimals in RECORDED.items()]
    columns = [column.tolist() for column in ticks]
    for start in count(start_ns, length_ns):
        for after_ns, index, trade, bid, ask in zip(*columns, strict=True):
            ts_ns = start + after_ns
            if stop_ns is not None and ts_ns >= stop_ns:
                return
            name, decimals, field = names[index]
            low = decimal_text(bid, decimals).encode()
            if trade:
                yield ts_ns, PRICES, name, b'{"ts":%d,%b"price":"%b"}' % (ts_ns, field, low)
            else:
                high = decimal_text(ask, decimals).encode()
                yield ts_ns, PRICES, name, b'{"ts":%d,%b"bid":"%b","ask":"%b"}' % (ts_ns, field, low, high)


def _table(name: str) -> list[dict[str, str]]:
    """The rows of a compressed CSV file of the package."""
    text = gzip.decompress((DATA / name).read_bytes()).decode()
    return list(csv.DictReader(StringIO(text)))


@cache
def daily_yields() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """(days, yields in per cent by day and tenor of TENORS), of the days that have all of them."""
    rows = [row for row in _table("par_yields.csv.gz") if all(row[column] for column in TENORS.values())]
    values = [[float(row[column]) for column in TENORS.values()] for row in rows]
    return tuple(row["DATE"] for row in rows), np.array(values)


@cache
def crypto_volatility(asset: str) -> float:
    """The yearly volatility of btc or eth, from its daily closes."""
    closes = np.array([float(row[asset]) for row in _table("crypto_closes.csv.gz")])
    return float(np.diff(np.log(closes)).std(ddof=1) * math.sqrt(365))


def _forward(short: float, long: float, quarter: int) -> float:
    """The rate of a quarter to come (0: the next one), per cent, between yields of 3 months and 2 years: a straight line."""
    begin, end = 0.25 * quarter, 0.25 * (quarter + 1)
    at_begin, at_end = (short + (long - short) * max(0.0, years - 0.25) / 1.75 for years in (begin, end))
    return (at_end * end - at_begin * begin) / 0.25


class TreasuryPath:
    """Synthetic Treasury prices second by second: a Brownian bridge from one day's real par yields to the next day's.

    ticks: 1e-9 units of price by instrument id; dv01: points per basis point of the futures.
    """

    def __init__(self, seed: int, ticks: Mapping[str, int], dv01: Mapping[str, float], first_day: str = FIRST_DAY) -> None:
        days, yields = daily_yields()
        self._day = days.index(first_day)
        self._yields = yields
        changes = np.diff(yields[max(0, self._day - COVARIANCE_DAYS) : self._day + 1], axis=0)
        self._spread = np.linalg.cholesky(np.cov(changes, rowvar=False)) / math.sqrt(DAY_SECONDS)
        self._random = np.random.Generator(np.random.PCG64([seed, 1]))
        self._second = 0
        self._level = yields[self._day].copy()
        self._start = self._level.copy()
        self._euro, self._fund = EURUSD, FUND
        self._ticks = ticks
        self._dv01 = dv01

    def daily_bp(self) -> dict[str, float]:
        """Basis points a day by tenor: the standard deviation that the path moves with."""
        deviations = np.sqrt((self._spread**2).sum(axis=1)) * math.sqrt(DAY_SECONDS) * 100
        return dict(zip(TENORS, deviations.tolist(), strict=True))

    def step(self) -> None:
        """Move on by one second."""
        left = DAY_SECONDS - self._second % DAY_SECONDS
        target = self._day + 1 + self._second // DAY_SECONDS
        drift: Any = (self._yields[target] - self._level) / left if target < len(self._yields) else 0.0
        noise = self._random.standard_normal(len(TENORS) + 2)
        self._level += drift + self._spread @ noise[:-2] * math.sqrt((left - 1) / left)
        self._euro *= 1 + EURUSD_YEARLY / math.sqrt(365 * DAY_SECONDS) * float(noise[-2])
        self._fund *= 1 + FUND_YEARLY / math.sqrt(365 * DAY_SECONDS) * float(noise[-1])
        self._second += 1

    def prices(self, shift_bp: float = 0.0) -> dict[str, float]:
        """Prices by instrument, all yields shifted by so many basis points."""
        level = dict(zip(TENORS, (self._level + shift_bp / 100).tolist(), strict=True))
        change_bp = dict(zip(TENORS, ((self._level - self._start) * 100 + shift_bp).tolist(), strict=True))
        prices = {f"UST-{tenor}-YIELD": level[tenor] for tenor in NOTES}
        prices |= {f"UST-{tenor}": float(clean_price(flows, level[tenor] / 100)) for tenor, flows in NOTES.items()}
        prices |= {name: base - self._dv01[name] * change_bp[tenor] for name, (tenor, base) in FUTURES.items()}
        short, long = level["3M"], level["2Y"]
        prices["UST-9M"] = float(clean_price(OLD_NOTE, (short + (long - short) * 0.5 / 1.75) / 100))
        prices |= {name: 100 - _forward(short, long, quarter) for quarter, name in enumerate(STRIP)}
        return prices | {"UST-BILL": 100 - short / 4, "EURUSD": self._euro, "INDEX-FUND": self._fund}

    def quotes(self, ts_ns: int, shift_bp: float = 0.0) -> Iterator[Item]:
        """Price events of all instruments: bid and ask one tick apart, yields as a single number."""
        for name, price in self.prices(shift_bp).items():
            tick = self._ticks[name]
            bid = math.floor(price * PRICE_ONE / tick) * tick
            if name.endswith("-YIELD"):
                quote = _Quote(ts_ns, name, price=price_text(bid))
            else:
                quote = _Quote(ts_ns, name, bid=price_text(bid), ask=price_text(bid + tick))
            yield ts_ns, PRICES, name, _encode(quote)

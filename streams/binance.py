"""Recorded exchange messages: lines `<local ns> <websocket JSON>` of Binance spot, USD-margined and coin-margined futures.

A `trade` becomes a price event, a `bookTicker` one with bid and ask, at the line's local time; all else is counted by kind.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Raw

from engine.events import TOPIC_OF, Kind
from streams.settings import UserError
from streams.sources import Item, Source

Market = Literal["spot", "usdm", "cm"]
MARKETS: Final[tuple[Market, ...]] = ("spot", "usdm", "cm")
PRICES: Final = TOPIC_OF[Kind.PRICE]
QUOTES: Final = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "BTC", "ETH", "BNB")
_NONE: Final = Raw(b"")


class _Data(msgspec.Struct, gc=False):
    """The fields of a message that matter; prices stay as they are written. Spot's bookTicker has no `e`."""

    e: str = ""
    s: str = ""
    p: Raw = _NONE
    b: Raw = _NONE
    a: Raw = _NONE


class _Line(msgspec.Struct, gc=False, rename={"snapshot": "lastUpdateId"}):
    """A combined-stream message, or a depth snapshot as the REST API answers it (which names no stream)."""

    data: _Data | None = None
    snapshot: int = 0


def market_of(path: Path) -> Market:
    """The market of a recording, from its folder (spot, usdm or cm); UserError where the path does not say."""
    for part in reversed(path.resolve().parts[:-1]):
        if part in MARKETS:
            return part
    raise UserError(f"{path}: a recording's market is told by its folder; none here is named {', '.join(MARKETS)}")


def instrument_id(market: Market, symbol: str) -> str:
    """Our id of a symbol: BTC-USDT on spot, BTCUSDT-PERP for USD-margined, BTCUSD-PERP for coin-margined perpetuals."""
    if market == "spot":
        quote = next((q for q in QUOTES if symbol.endswith(q) and symbol != q), "")
        return f"{symbol.removesuffix(quote)}-{quote}" if quote else symbol
    name, _, delivery = symbol.partition("_")
    return f"{name}-{delivery or 'PERP'}"


class BinanceFile(Source):
    """One recording; its events go to topic prices, keyed by instrument."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.market = market_of(path)
        self._prefixes: dict[str, tuple[str, bytes]] = {}

    def __iter__(self) -> Iterator[Item]:
        decode = msgspec.json.Decoder(_Line).decode
        with self.open() as lines:
            for line in lines:
                head, _, body = line.partition(b" ")
                try:
                    ts_ns = int(head)
                    message = decode(body)
                except (ValueError, msgspec.MsgspecError) as error:
                    raise self.failure(f"not a recorded message `<ns> <JSON>`: {error}") from error
                self.messages += 1
                data = message.data
                if data is not None and data.e == "trade":
                    key, prefix = self._prefix(data.s)
                    yield ts_ns, PRICES, key, b'{"ts":%d,%b"price":%b}' % (ts_ns, prefix, data.p)
                elif data is not None and (data.e == "bookTicker" or (not data.e and data.b and data.a)):
                    key, prefix = self._prefix(data.s)
                    yield ts_ns, PRICES, key, b'{"ts":%d,%b"bid":%b,"ask":%b}' % (ts_ns, prefix, data.b, data.a)
                elif data is not None:
                    self.ignored[data.e or "other"] += 1
                else:
                    self.ignored["depthSnapshot" if message.snapshot else "other"] += 1

    def _prefix(self, symbol: str) -> tuple[str, bytes]:
        """(instrument id, its JSON field) of a symbol, made once."""
        found = self._prefixes.get(symbol)
        if found is None:
            key = instrument_id(self.market, symbol)
            found = self._prefixes[symbol] = key, b'"instrument":%b,' % msgspec.json.encode(key)
        return found

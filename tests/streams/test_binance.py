"""Recorded exchange messages: each line becomes a price event or is counted by kind; none is lost."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from streams.binance import BinanceFile, instrument_id
from streams.files import open_sources
from streams.settings import UserError
from streams.sources import merged
from tests.services import shared

SPOT_QUOTE = '{"stream":"x","data":{"u":1,"s":"BTCUSDT","b":"61837.63000000","B":"3.7","a":"61837.64000000","A":"1"}}'
FUTURES_QUOTE = (
    '{"stream":"x","data":{"e":"bookTicker","u":5,"s":"BTCUSDT","b":"61800.20","B":"2","a":"61800.30","A":"2","T":1}}'
)
TRADE = (
    '{"stream":"x","data":{"e":"trade","E":1,"T":2,"s":"BTCUSD_PERP","t":8,"p":"61804.8","q":"4","X":"MARKET","m":false}}'
)
DEPTH = '{"stream":"x","data":{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,"b":[["1","2"]],"a":[]}}'
SNAPSHOT = '{"lastUpdateId":1007198635033,"E":1,"symbol":"BTCUSD_PERP","bids":[["61804.7","35"]],"asks":[]}'
FUNDING = '{"stream":"x","data":{"e":"markPriceUpdate","s":"BTCUSDT","p":"1"}}'


def recording(folder: Path, market: str, *bodies: str) -> Path:
    path = folder / market / "any_20240808.gz"
    path.parent.mkdir(exist_ok=True)
    lines = "".join(f"{1723161256172216566 + n} {body}\n" for n, body in enumerate(bodies))
    path.write_bytes(gzip.compress(lines.encode()))
    return path


def test_each_kind_of_message(tmp_path: Path) -> None:
    path = recording(tmp_path, "cm", DEPTH, TRADE, SNAPSHOT, FUNDING, TRADE)
    (source,) = open_sources([path])
    items = list(source)
    assert [(ts, topic, key) for ts, topic, key, _ in items] == [
        (1723161256172216567, "prices", "BTCUSD-PERP"),
        (1723161256172216570, "prices", "BTCUSD-PERP"),
    ]
    assert json.loads(items[0][3]) == {"ts": 1723161256172216567, "instrument": "BTCUSD-PERP", "price": "61804.8"}
    assert source.ignored == {"depthUpdate": 1, "depthSnapshot": 1, "markPriceUpdate": 1}
    assert source.messages == 5


@pytest.mark.parametrize(
    ("market", "quote", "instrument", "bid", "ask"),
    [
        ("spot", SPOT_QUOTE, "BTC-USDT", "61837.63000000", "61837.64000000"),
        ("usdm", FUTURES_QUOTE, "BTCUSDT-PERP", "61800.20", "61800.30"),
    ],
)
def test_quotes_keep_their_digits(tmp_path: Path, market: str, quote: str, instrument: str, bid: str, ask: str) -> None:
    ((ts_ns, _, key, body),) = BinanceFile(recording(tmp_path, market, quote))
    assert key == instrument
    assert json.loads(body) == {"ts": ts_ns, "instrument": instrument, "bid": bid, "ask": ask}


def test_instrument_ids() -> None:
    assert [instrument_id("spot", s) for s in ("BTCUSDT", "ETHBTC", "USDT")] == ["BTC-USDT", "ETH-BTC", "USDT"]
    assert instrument_id("usdm", "ETHUSDT") == "ETHUSDT-PERP"
    assert [instrument_id("cm", s) for s in ("ETHUSD_PERP", "BTCUSD_240927")] == ["ETHUSD-PERP", "BTCUSD-240927"]


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2: not a recorded message"):
        list(BinanceFile(recording(tmp_path, "usdm", DEPTH, '{"stream":')))
    with pytest.raises(UserError, match="named spot, usdm, cm"):
        BinanceFile(recording(tmp_path, "elsewhere", DEPTH))


def test_every_recorded_message_is_accounted_for() -> None:
    sources = open_sources([shared("data/binance")])
    counts: Counter[str] = Counter()
    last_ns = 0
    for ts_ns, _, key, _ in merged(sources):
        assert ts_ns >= last_ns
        last_ns = ts_ns
        counts[key] += 1
    ignored = sum((source.ignored for source in sources), Counter[str]())
    assert ignored == {"depthUpdate": 110_052, "depthSnapshot": 6}
    assert counts == {
        "BTC-USDT": 93_078, "BTCUSDT-PERP": 87_402, "BTCUSD-PERP": 53_590,
        "ETH-USDT": 73_273, "ETHUSDT-PERP": 68_068, "ETHUSD-PERP": 39_158,
    }  # fmt: skip
    assert sum(source.messages for source in sources) == counts.total() + ignored.total() == 524_627

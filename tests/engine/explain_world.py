"""A small log of one customer with every kind of rule, without the slow twin: what explain reads."""

from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple

import msgspec
import numpy as np

from engine.core import MarginEngine
from engine.frames import Frame, encode_frame
from engine.report import Report
from engine.scenarios.sets import DERIBIT, ScenarioSet, encode, grid_set, points_set, span_set
from tests.engine.small_log import START_NS, SmallLog

LOOK_BACK, STRESS = 150, 20
FACTORS = {"m24": 5.0, "m60": 6.0, "m120": 6.5, "BTC-USD": 0.03, "SPX": 0.012}
FIRM = {"broker_dealer": True, "futures_commission_merchant": True, "cme_member": True, "ficc_member": True}
MARKS = {
    "BTC-USD": "100000", "SPX": "5000", "UST-10Y": "99.5", "UST-2Y": "100.25", "ZN": "110.5", "PERP": "100000",
    "CALL": "1576.6", "FUT": "100500", "FUND": "25", "INDEX": "5001", "SLOPE": "40",
    "ETH-USD": "4000", "NDX": "20000", "ETH-PERP": "4001", "ETH-FUT": "4050", "INDEX-2": "20010",
    "EURUSD": "1.0873", "EURO": "12",
}  # fmt: skip


class Only(NamedTuple):
    """The engine where a SmallLog has engine and twin; frames: all of them, as they travel."""

    engine: MarginEngine
    frames: list[bytes]

    def step(self, frame: Frame) -> tuple[Report, None]:
        """Apply a frame."""
        self.frames.append(encode_frame(frame))
        return self.engine.step(frame, self.engine.offset), None


def historical(name: str, scale: float, seed: int) -> ScenarioSet:
    """Random moves of all factors, and a stress part three times as wild."""
    random = np.random.Generator(np.random.PCG64(seed))
    moves = random.normal(size=(LOOK_BACK + STRESS, len(FACTORS))) * np.array(list(FACTORS.values())) * scale
    moves[LOOK_BACK:] *= 3
    kinds = tuple("bp" if name.startswith("m") else "log" for name in FACTORS)
    labels = tuple(f"day {i}" if i < LOOK_BACK else f"stress {i}" for i in range(len(moves)))
    return ScenarioSet(name, "1", tuple(FACTORS), kinds, labels, np.round(moves, 6), {"look_back": LOOK_BACK})


@cache
def sets() -> dict[str, bytes]:
    """Documents of the scenario sets by name."""
    made = [historical("H1", 1.0, 1), historical("H3", 1.7, 2), span_set(), grid_set(DERIBIT["BTC"])]
    return {one.name: encode(one) for one in [*made, points_set("high_cap_broad_index")]}


def empty_log() -> SmallLog:
    """A log without documents, and without a twin."""
    log = SmallLog.__new__(SmallLog)
    log.limits = {"scenarios": 4096, "sets": 8, "portfolios": 24}
    log.start_ns, log.now_ns, log.number, log.offsets = START_NS, START_NS, 0, defaultdict(int)
    log.pair = Only(MarginEngine(0), [])  # type: ignore[assignment]
    log.__post_init__()
    return log


class World:
    """Accounts f (futures), t (Treasuries), k (crypto, its collateral shocked) and n (alone) of customer c; marks set."""

    def __init__(self) -> None:
        self.log = empty_log()
        self.engine: MarginEngine = self.log.pair.engine
        self.rules()
        self.instruments()
        for name, price in MARKS.items():
            self.price(name, price)
        self.clock()

    def define(self, kind: str, name: str, **fields: Any) -> None:
        """A document that is taken."""
        self.raw(msgspec.json.encode({"kind": kind, "id": name} | fields))

    def raw(self, body: bytes) -> None:
        """A document that is taken, as it is."""
        report = self.log.raw(body)
        assert report.rejects == [], body[:200]

    def rule(self, name: str, model: str, effective: int = 0, **parameters: Any) -> None:
        """A rule version."""
        self.define("rule", name, model=model, effective=effective, parameters=parameters)

    def rules(self) -> None:
        """Currencies, sets, rules, pools."""
        self.define("asset", "USD", type="currency", currency="USD")
        euro = {"type": "fx", "currency": "USD", "tick": "0.0001", "band": ["0.5", "2"]}
        self.define("instrument", "EURUSD", **euro)
        self.define("asset", "EUR", type="currency", currency="USD", instrument="EURUSD")
        for body in sets().values():
            self.raw(body)
        usd = {"currency": "USD", "initial_ratio": "1.1"}
        self.rule("CME", "historical", scenarios="H1", tail="0.01", stress_weight="0.25", **usd)
        self.rule("FICC", "historical", scenarios="H3", tail="0.01", stress_weight="0.25", floor="0.001", **usd)
        shock = {"delta_threshold": "100000", "delta_step": "0.0001", "delta_cap": "0.5"}
        gain = {"gain_share": "0.9", "gain_cap": "1000000", "dampener": "25000"}
        self.rule("GRID", "grid", scenarios="grid", roll_minimum="0.01", roll_rate="0.05", **shock, **gain, **usd)
        ranges = {name: {"price": "0.1", "fraction": True} for name in ("BTC-USD", "ETH-USD")}
        self.rule("SCAN", "scan", scenarios="span", ranges=ranges, **usd)
        self.rule("POINTS", "points", scenarios="points high_cap_broad_index", offset="0.5", minimum="0.1", **usd)
        self.rule("FLAT", "flat", initial="2", maintenance="1.5")
        self.rule("VOL", "volatility", multiple="3", days="2", tenor_days="30", floor="0.1", initial_ratio="1.25")
        houses = {"houses": ["CME", "FICC"], "pools": ["F", "T"]}
        self.rule("XM", "cross_margin", products=["treasury", "ZN"], years=1, cap="0.8", ttl=600, **houses)
        terms = {"USD": {"haircut": "0"}, "crypto": {"haircut": "0.05", "cap": "90000", "shocked": True}}
        self.rule("TAKEN", "collateral", assets=terms, currency="USD")
        for name in "FTN":
            self.define("pool", name, regime=name, currency="USD")
        self.define("pool", "K", regime="venue", currency="USD", collateral="TAKEN", shocks="GRID")

    def instruments(self) -> None:
        """One of each kind, the assets that they price, and the accounts."""

        def one(name: str, tick: str, high: str, **fields: Any) -> None:
            self.define("instrument", name, currency="USD", tick=tick, band=["0.01", high], **fields)

        coin = {"underlying": "BTC-USD"}
        one("BTC-USD", "0.01", "1000000", type="index")
        one("SPX", "0.01", "100000", type="index")
        note = {"type": "treasury", "multiplier": "0.01", "lot": "100", "rule": "FICC"}
        one("UST-10Y", "0.001", "200", dv01="0.08", bucket="10Y", maturity="2036-11-15", coupon="4.25", **note)
        one("UST-2Y", "0.001", "200", dv01="0.02", bucket="2Y", maturity="2027-06-30", coupon="4", **note)
        future = {"multiplier": "1000", "dv01": "0.065", "bucket": "10Y"}
        one("ZN", "0.015625", "200", type="treasury_future", rule="CME", product="ZN", **future)
        one("PERP", "0.1", "1000000", type="perpetual", lot="0.001", rule="GRID", **coin)
        option = {"strike": "110000", "right": "call", "expiry": "2027-02-01T08:00:00Z"}
        one("CALL", "0.1", "1000000", type="option", lot="0.1", rule="GRID", **coin, **option)
        one("FUT", "5", "1000000", type="crypto_future", multiplier="5", rule="SCAN", expiry="2027-03-26T16:00:00Z", **coin)
        one("FUND", "0.01", "1000", type="fund", rule="FLAT")
        one("INDEX", "0.01", "100000", type="fund", rule="POINTS", underlying="SPX")
        one("SLOPE", "0.01", "1000", type="fund", rule="VOL", underlying="BTC-USD")
        one("ETH-USD", "0.01", "100000", type="index")
        one("NDX", "0.01", "100000", type="index")
        one("ETH-PERP", "0.1", "100000", type="perpetual", lot="0.01", rule="GRID", underlying="ETH-USD")
        one("ETH-FUT", "0.5", "100000", type="crypto_future", multiplier="50", rule="SCAN", underlying="ETH-USD")
        one("INDEX-2", "0.01", "100000", type="fund", rule="POINTS", underlying="NDX")
        euro = {"tick": "0.01", "band": ["0", "1000"], "lot": "0.1"}
        self.define("instrument", "EURO", type="fund", currency="EUR", rule="FLAT", **euro)
        self.define("asset", "BTC", type="crypto", currency="USD", decimals=8, instrument="BTC-USD")
        self.define("customer", "c")
        for name, pool in {"f": "F", "t": "T", "k": "K", "n": "N"}.items():
            self.define("account", name, customer="c", pool=pool, currency="USD")
            self.log.collateral(name, "USD", 5_000_000)
        self.log.volatility("BTC-USD", 30, "0.6")

    def agreement(self, **fields: Any) -> None:
        """The cross-margin agreement of f and t, in force unless fields say otherwise."""
        accounts = {"futures_account": "f", "treasury_account": "t", "futures_entity": "X", "treasury_entity": "X"}
        terms = {"customer": "c", "rule": "XM", "firm": FIRM, "signed": True, "designated": True}
        self.define("agreement", "ag", **(terms | accounts | fields))

    def hold(self) -> None:
        """Positions in every account, collateral in k, and a clock."""
        self.trade("f", "ZN", -100)
        self.trade("t", "UST-10Y", 10_000_000)
        self.trade("t", "UST-2Y", -3_000_000)
        self.trade("k", "PERP", "-2.5")
        self.trade("k", "CALL", "-3")
        self.log.collateral("k", "BTC", "0.5")
        for name, quantity in {"FUT": 4, "FUND": -70, "INDEX": 120, "SLOPE": 30}.items():
            self.trade("n", name, quantity)
        self.clock()

    def trade(self, account: str, name: str, quantity: Any) -> None:
        """A trade at the price of MARKS."""
        report = self.log.trade(account, name, quantity, MARKS[name])
        assert report.rejects == []

    def price(self, name: str, price: Any) -> None:
        """A mark."""
        assert self.log.price(name, price).rejects == []

    def clock(self, seconds: float = 1) -> None:
        """A clock so much later."""
        self.log.clock(seconds)

    def slot(self, account: str) -> int:
        """The slot of an account."""
        found = self.engine.find_account(account)
        assert found is not None
        return found

    def copy(self) -> MarginEngine:
        """The engine out of its snapshot."""
        return MarginEngine.from_bytes(self.engine.to_bytes())

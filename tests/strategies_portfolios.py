"""What the random world margins together: small scenario sets, rules of all portfolio models, agreements, more pools."""

import random
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from engine.models.grid import Shocks
from engine.models.scan import LATER_CME
from engine.scenarios.sets import ScenarioSet, encode, grid_set, points_set, span_set

Document = dict[str, Any]
SECOND = 10**9
POOLS = ("futures", "securities", "coins")
HISTORY = {
    "UST-10Y": ("bp", 9.0),
    "m3": ("bp", 6.0),
    "m360": ("bp", 8.0),
    "BTC-USD": ("log", 0.05),
    "SH": ("relative", 0.03),
}
GRIDS = (
    Shocks(0.16, 0.5, 0.25, 0.5, 0.3, 0.13, 1.0, buckets=2, extended=(-0.5, 1.0)),
    Shocks(0.2, 0.4, 0.2, 0.6, 0.3, 0.1, 0.5, buckets=1, extended=(-0.66, 0.5, 3.0)),
)
SETS = ("HIST", "HIST-3D", "span", "grid", "points")


def historical(rng: random.Random, name: str, days: int, stress: int) -> ScenarioSet:
    """Random moves of so many days and stress days; now and then a factor lacks one."""
    count = days + stress
    columns = [[rng.gauss(0, size) for _ in range(count)] for _, size in HISTORY.values()]
    if rng.random() < 0.15:
        columns[rng.randrange(len(columns))][rng.randrange(count)] = float("nan")
    labels = tuple(f"day {i}" for i in range(days)) + tuple(f"stress {i}" for i in range(stress))
    kinds = tuple(kind for kind, _ in HISTORY.values())
    matrix = np.round(np.array(columns).T, 9)
    return ScenarioSet(name, str(rng.random()), tuple(HISTORY), kinds, labels, matrix, {"look_back": days})


def scenarios(rng: random.Random, name: str) -> Document:
    """A set, or another version of it."""
    if name == "HIST":
        made = historical(rng, name, rng.choice((10, 17, 24)), rng.choice((4, 9)))
    elif name == "HIST-3D":
        made = historical(rng, name, rng.choice((12, 20)), rng.choice((0, 5)))
    elif name == "span":
        made = span_set() if rng.random() < 0.5 else span_set(LATER_CME)
    elif name == "grid":
        made = grid_set(rng.choice(GRIDS))
    else:
        made = replace(points_set(rng.choice(("equity", "broad_index"))), name=name)
    document: Document = msgspec.json.decode(encode(made))
    return document


def _common(name: str, **parameters: Any) -> Document:
    return {"scenarios": name, "currency": "USD", "initial_ratio": "1.1"} | parameters


def _range(price: str, volatility: str = "0", fraction: bool = True) -> Document:
    return {"price": price, "volatility": volatility, "fraction": fraction}


SPREADS = [
    {"legs": [{"underlying": "BTC-USD", "ratio": "1", "side": 1}, {"underlying": "ETH-BTC", "ratio": "20.5", "side": -1}],
     "credit": "2500.01"},
    {"legs": [{"underlying": "ETH-BTC", "ratio": "1.5", "side": 1}, {"underlying": "BTC-USD", "ratio": "0.1", "side": -1}],
     "credit": "3"},
]  # fmt: skip
RANGES = {"BTC-USD": _range("0.1", "0.2"), "UST-10Y": _range("1.5", fraction=False), "ETH-BTC": _range("0.07", "0.1")}
TAKEN: dict[str, list[Document]] = {  # collateral schedules by rule id
    "TAKEN": [
        {
            "currency": "USD",
            "assets": {
                "currency": {"haircut": "0", "fx_haircut": "0.045"},
                "BILL": {"bands": [[1, "0.01"], [5, "0.03"]]},
                "crypto": {"haircut": "0.05", "cap": "40000.25", "share": "0.75", "shocked": True},
                "stablecoin": {"haircut": "0.02", "cap": "5000"},
            },
        },
        {
            "currency": "USD",
            "assets": {
                "currency": {"haircut": "0.001"},
                "BTC": {"haircut": "0.25", "shocked": True, "digital": "bitcoin"},
                "USDC": {"haircut": "0.01", "shocked": True, "cap": "0"},
                "ETH": {"eligible": False, "reason": "too small"},
                "treasury": {"haircut": "0.02", "shocked": True},
                "stablecoin": {"haircut": "0.03", "share": "0.123456789"},
            },
            "pilot": {
                "commencement": "2026-11-20", "months": 3, "floor": "0.2", "first": ["bitcoin"], "own_capital": {},
                "residual_interest": [],
            },
        },
    ],
}  # fmt: skip
REGIME = {"underlying": "BTC-USD", "short_days": "7.5", "long_days": "30", "low": "0.5", "high": "1.1", "charge": "0.1"}
ADDONS = [
    {"liquidity": {"participation": "0.1", "horizon_days": 2}, "regime": REGIME | {"buffer": "0.25"},
     "funding": {"interval_hours": 8, "first_hour": 3, "ahead_hours": 24},
     "depeg": {"asset": "USDT", "threshold": "0.0005", "share": "0.3"}},
    {"gap": {"calendar": "week", "ahead_hours": 30, "least_hours": 3, "multiplier": "1.25"},
     "regime": REGIME | {"charge": "0", "buffer": "0.3"}, "depeg": {"asset": "USDC", "threshold": "0", "share": "0.2"}},
]  # fmt: skip
FIRM = {"broker_dealer": True, "futures_commission_merchant": True, "cme_member": True, "ficc_member": True}
RULES: dict[str, tuple[str, list[Document]]] = {
    "CME": (
        "historical",
        [_common("HIST", tail="0.05"), _common("HIST", tail="0.1", stress_weight="0.25", multiplier="1.1", addons=ADDONS[1]),
         _common("HIST-3D", tail="0", floor="0.0001")],
    ),
    "FICC": (
        "historical",
        [_common("HIST-3D", tail="0.08", floor="0.004", initial_ratio="1"), _common("HIST", tail="0.1", floor="0.02"),
         _common("HIST-3D", currency="EUR", tail="0.1", minimum="2500.5"),
         _common("HIST-3D", tail="0.1", bands=[[1, "0.001"], [9, "0.004"], [None, "0.006"]], minimum="900.5")],
    ),
    "SCAN": (
        "scan",
        [_common("span", ranges=RANGES, calendar_charge="100.5", minimum="50.123", spreads=SPREADS),
         _common("span", ranges=RANGES | {"BTC-USD": _range("3000", "0.3", False)}, calendar_charge="7"),
         _common("span", ranges={"BTC-USD": _range("0.1")}, minimum="0.5", multiplier="1.333333333")],
    ),
    "GRID": (
        "grid",
        [_common("grid", dampener="2500", gain_share="0.9", gain_cap="100000", roll_rate="0.05", roll_minimum="0.01",
                 delta_threshold="20000", delta_step="0.0001", delta_cap="0.1", multiplier="1.05", addons=ADDONS[0]),
         _common("grid", gain_share="1", gain_cap="1000000000"),
         _common("grid", currency="BTC", gain_share="0.5", gain_cap="3", delta_step="0.001", delta_cap="1")],
    ),
    "POINTS": (
        "points",
        [_common("points", minimum="0.375", offset="0.9"),
         _common("points", minimum="30", future_minimum="0.25"),
         _common("points", offset="1", initial_ratio="1.000000001",
                 addons=ADDONS[1])],
    ),
}  # fmt: skip
CROSS: dict[str, list[Document]] = {
    "XM": [
        {"houses": ["CME", "FICC"], "products": ["treasury", "TN"], "years": 1, "pools": ["futures", "securities"],
         "cap": "0.8", "ttl": 600, "precision": "0.001"},
        {"houses": ["CME", "FICC"], "products": ["treasury", "treasury_future", "rate_future", "TN"], "years": 0,
         "pools": ["futures", "securities", "coins"]},
        {"houses": ["CME", "FICC"], "products": ["treasury", "treasury_future", "TN"], "years": 0,
         "pools": ["futures", "securities", "coins"],
         "pairs": [{"futures": "TN", "treasury": "treasury", "rate": "0.75"},
                   {"futures": "treasury_future", "treasury": "x", "rate": "0.333333333"}]},
        {"houses": ["CME", "FICC"], "products": ["treasury", "treasury_future", "TN"], "years": 0,
         "pools": ["futures", "securities", "coins"],
         "pairs": [{"futures": "treasury_future", "treasury": "treasury", "rate": "1"}]},
    ],
}  # fmt: skip


def instruments(start_ns: int) -> list[tuple[Document, int, int]]:
    """What is held under portfolio rules: document, start price in ticks, usual lots of a trade."""
    month = start_ns + 30 * 86_400 * SECOND

    def one(name: str, kind: str, tick: str, band: tuple[str, str], **fields: Any) -> Document:
        common = {"kind": "instrument", "id": name, "type": kind, "currency": "USD", "tick": tick, "band": band}
        return common | fields

    rates = {"underlying": "UST-10Y", "bucket": "10Y"}
    note = {"lot": "100", "multiplier": "0.01", "rule": "FICC"} | rates
    option = {"underlying": "BTC-USD", "strike": "60000", "stale_after": 4000}
    return [
        (one("N-36", "treasury", "0.0078125", ("50", "150"), maturity="2036-11-15", coupon="4.25", dv01="0.08", **note),
         12_900, 1500),
        (one("N-27", "treasury", "0.0078125", ("50", "150"), maturity="2027-11-19", coupon="3.5", dv01="0.01", **note),
         12_800, 900),
        (one("TN", "treasury_future", "0.015625", ("50", "150"), multiplier="1000", dv01="0.07", rule="CME", product="TN",
             calendar="day", stale_after=600, **rates), 7_200, 20),
        (one("UB", "treasury_future", "0.03125", ("50", "150"), multiplier="1000", rule="CME",
             deliverables=[{"instrument": "N-36", "factor": "0.87"}, {"instrument": "N-27", "factor": "0.97"}]), 3_300, 9),
        (one("SR1", "rate_future", "0.005", ("-10", "100"), multiplier="4167", dv01="0.01", bucket="3M", rule="CME"),
         19_200, 25),
        (one("BTC-FUNDING", "funding_rate", "0.0001", ("-1", "1")), 100, 0),
        (one("XBT", "perpetual", "0.1", ("1000", "900000"), lot="0.001", currency="USDT", underlying="BTC-USD", rule="GRID",
             daily_volume="3", funding="BTC-FUNDING"),
         600_000, 900),
        (one("XBT-INV", "perpetual", "0.5", ("1000", "900000"), currency="BTC", multiplier="100", inverse=True,
             underlying="BTC-USD", rule="GRID", daily_volume="900"), 120_000, 300),
        (one("XC", "option", "5", ("0", "300000"), lot="0.1", right="call", rule="GRID", expiry=month, daily_volume="40",
             **option), 830, 20),
        (one("XP", "option", "5", ("0", "300000"), lot="0.1", right="put", rule="SCAN", expiry=start_ns + 300 * SECOND,
             **option), 240, 20),
        (one("XF", "crypto_future", "5", ("1000", "900000"), multiplier="5", underlying="BTC-USD", rule="SCAN",
             expiry=month), 12_100, 4),
        (one("XF-2", "crypto_future", "5", ("1000", "900000"), multiplier="0.1", underlying="BTC-USD", rule="SCAN",
             expiry=2 * month - start_ns), 12_200, 60),
        (one("XE", "crypto_future", "0.0001", ("0.001", "1"), currency="BTC", multiplier="50", underlying="ETH-BTC",
             rule="SCAN"), 510, 8),
        (one("SH", "fund", "0.01", ("1", "1000"), rule="POINTS", stale_after=60), 5_000, 900),
        (one("SHP", "option", "0.01", ("0", "1000"), multiplier="100", underlying="SH", strike="50", right="put",
             expiry=month, rule="POINTS"), 297, 10),
    ]  # fmt: skip


FREE = ("SCAN", "GRID", "POINTS", "CME", "FICC")  # rules that a redefinition may move an instrument to


def agreement(rng: random.Random, name: str, customer: str, futures: str, treasury: str) -> Document:
    """An agreement of two accounts, mostly in force."""
    document = {
        "kind": "agreement", "id": name, "customer": customer, "rule": "XM", "futures_account": futures,
        "treasury_account": treasury, "futures_entity": "LLC", "treasury_entity": rng.choice(("LLC", "LLC", "LLC", "Inc")),
        "firm": FIRM | {rng.choice(list(FIRM)): rng.random() < 0.9},
        "signed": rng.random() < 0.85, "designated": rng.random() < 0.95,
    }  # fmt: skip
    return document


SHOCKS: dict[str, tuple[Any, ...]] = {  # no agreement is in force while a house is among them
    "coins": ("GRID", ["SCAN", "GRID"]),
    "securities": ("SCAN", "SCAN", ["FICC", "CME"]),
}


def pool(rng: random.Random, name: str) -> Document:
    """A pool: that for futures takes assets at their own haircuts, others by a schedule."""
    document = {"kind": "pool", "id": name, "regime": "cftc", "currency": "USD"}
    if name != "futures":
        document |= {"collateral": "TAKEN", "shocks": rng.choice(SHOCKS[name])}
        if rng.random() < 0.2:
            del document["shocks"]
    if rng.random() < 0.7:
        document["calendar"] = rng.choice(("week", "day"))
    if rng.random() < 0.6:
        document |= {"minimum_transfer": rng.choice(("0", "100", "5000")), "rounding": rng.choice(("0", "0.01", "1000"))}
    if rng.random() < 0.4:
        document["transfers"] = {"BTC": {"minimum_transfer": rng.choice(("0.00000001", "0.5")), "rounding": "0.001"}}
    if rng.random() < 0.6:
        document["calls"] = {
            "issue_after": rng.choice((0, 0, 0.05, 3)), "cover_after": rng.choice((0, 0, 0.1, 30)),
            "raise_share": rng.choice(("0", "0.1", "1")), "escalate_days": 1, "restrict_days": rng.choice((1, 2)),
        }  # fmt: skip
    return document


WRONG: list[Document] = [
    {"kind": "scenarios", "id": "bare", "format": "crossmargin-scenarios-1", "version": "1", "hash": "0", "parameters": {},
     "factors": ["price"], "moves": ["relative"], "labels": ["a"], "matrix": [[0.1]]},
    {"kind": "rule", "id": "bad", "model": "historical", "effective": 0, "parameters": _common("span", tail="0.01")},
    {"kind": "rule", "id": "bad", "model": "historical", "effective": 0, "parameters": _common("HIST", tail="1")},
    {"kind": "rule", "id": "bad", "model": "historical", "effective": 0, "parameters": _common("HIST", tail="0.00001")},
    {"kind": "rule", "id": "bad", "model": "historical", "effective": 0, "parameters": _common(
        "HIST", tail="0", floor="0", bands=[[None, "0"]])},
    {"kind": "rule", "id": "bad", "model": "historical", "effective": 0, "parameters": _common(
        "HIST", tail="0", minimum="0.001")},
    {"kind": "rule", "id": "bad", "model": "points", "effective": 0, "parameters": _common("points", tail="0.01")},
    {"kind": "rule", "id": "bad", "model": "points", "effective": 0, "parameters": _common("points", multiplier="0.9")},
    {"kind": "rule", "id": "bad", "model": "grid", "effective": 0, "parameters": _common("grid", delta_threshold="0.001")},
    {"kind": "rule", "id": "bad", "model": "scan", "effective": 0, "parameters": _common("span", ranges={}, spreads=[
        {"legs": [{"underlying": "BTC-USD", "ratio": "1", "side": 1}] * 2, "credit": "1"}])},
    {"kind": "rule", "id": "bad", "model": "points", "effective": 0, "parameters": _common("points", addons={
        "depeg": {"asset": "BTC", "threshold": "0.01", "share": "0.5"}})},
    {"kind": "rule", "id": "bad", "model": "points", "effective": 0, "parameters": _common("points", addons={
        "depeg": {"asset": "USDT", "threshold": "1.01", "share": "0.5"}})},
    {"kind": "rule", "id": "bad", "model": "cross_margin", "effective": 0, "parameters": {"houses": ["CME", "FICC"]}},
    {"kind": "rule", "id": "bad", "model": "cross_margin", "effective": 0, "parameters": {
        "houses": ["CME", "FICC"], "products": [], "years": 0, "pools": [],
        "pairs": [{"futures": "a", "treasury": "b", "rate": "1.5"}]}},
    {"kind": "rule", "id": "bad", "model": "collateral", "effective": 0, "parameters": {
        "currency": "USD", "assets": {"BTC": {"haircut": "1.5"}}}},
    {"kind": "pool", "id": "new", "regime": "x", "currency": "USD", "shocks": "GRID"},
    {"kind": "pool", "id": "newer", "regime": "x", "currency": "USD", "collateral": "GRID"},
    {"kind": "pool", "id": "futures", "regime": "x", "currency": "EUR"},
    {"kind": "pool", "id": "futures", "regime": "x", "currency": "USD", "rounding": "0.001"},
    {"kind": "pool", "id": "futures", "regime": "x", "currency": "USD", "minimum_transfer": "-1"},
    {"kind": "pool", "id": "futures", "regime": "x", "currency": "USD", "transfers": {"USD": {"rounding": "1"}}},
    {"kind": "pool", "id": "futures", "regime": "x", "currency": "USD", "transfers": {"JPY": {"rounding": "0.1"}}},
    {"kind": "pool", "id": "futures", "regime": "x", "currency": "USD", "transfers": {"XXX": {}}},
    {"kind": "pool", "id": "futures", "regime": "x", "currency": "USD", "calls": {"raise_share": "2"}},
    {"kind": "pool", "id": "futures", "regime": "x", "currency": "USD", "calls": {"escalate_days": 3, "restrict_days": 2}},
    {"kind": "calendar", "id": "week", "sessions": [["Sun 23:00", "Fri 22:00"]], "holidays": ["2026-02-30"]},
    {"kind": "calendar", "id": "week", "sessions": [["Sun 23:00", "Fri 22:00"]], "cutoffs": {"USD": {"at": "25:00"}}},
    {"kind": "calendar", "id": "week", "sessions": [["Sun 23:00", "Fri 22:00"]],
     "cutoffs": {"USD": {"at": "18:00", "zone": "America/Denver"}}},
]  # fmt: skip

"""The random world's reference documents: assets chained to USD, instruments of every mechanics, dated rules, bad ones."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

from engine.zones import Zone
from tests import strategies_portfolios as portfolios

SECOND = 10**9
HOUR = 3600 * SECOND
DAY = 24 * HOUR
ACCOUNTS = tuple(f"a{i}" for i in range(7))
POOL_OF = dict(zip(ACCOUNTS, ("futures", "coins", "coins", "futures", "securities", "securities", "futures"), strict=True))
PACTS = (("AG-0", "a0", "a5"), ("AG-1", "a6", "a1"))  # agreements: futures account, Treasury account of one customer
HOLDERS = ("cme", "bank", "h0")  # the last is never defined
Document = dict[str, Any]
Sent = tuple[str | None, Document]  # the customer whose shard gets it (None: all), the document


@dataclass(frozen=True)
class Market:
    """What events need of an instrument: units of 1e-8 and 1e-9, size in lots of a usual trade."""

    lot: int
    tick: int
    low: int
    high: int
    price: int
    size: int
    tradable: bool
    expiry: int | None


def instrument(name: str, kind: str, currency: str, tick: str, band: tuple[str, str], **fields: Any) -> Document:
    """An instrument's document."""
    return {"kind": "instrument", "id": name, "type": kind, "currency": currency, "tick": tick, "band": band} | fields


# document, start price in ticks, usual lots of a trade
PLAIN: list[tuple[Document, int, int]] = [
    (instrument("EUR-USD", "fx", "USD", "0.00001", ("0.5", "2"), stale_after=30), 108_000, 0),
    (instrument("JPY-USD", "fx", "USD", "0.000001", ("0.001", "0.1"), stale_after=3600), 6_700, 0),
    (instrument("USDT-USD", "index", "USD", "0.0001", ("0.5", "1.5"), stale_after=600), 10_000, 0),
    (
        instrument("BTC-USD", "spot", "USD", "0.01", ("1000", "900000"), lot="0.001", stale_after=60, rule="vol"),
        6_000_000, 900,
    ),
    (instrument("BILL", "treasury", "USD", "0.001", ("90", "100"), lot="100", multiplier="0.01"), 98_500, 500),
    (
        instrument(
            "T-27", "treasury", "USD", "0.001", ("50", "150"), lot="100", multiplier="0.01", rule="mature",
            maturity="2027-11-20",
        ), 99_500, 2000,
    ),
    (
        instrument(
            "T-26", "treasury", "USD", "0.001", ("50", "150"), lot="100", multiplier="0.01", rule="mature",
            maturity="2026-11-20",
        ), 99_900, 2000,
    ),
    (instrument("UST-10Y", "yield", "USD", "0.001", ("-5", "25")), 4_200, 0),
    (
        instrument(
            "T-10Y", "treasury", "USD", "0.0078125", ("50", "150"), lot="100", multiplier="0.01", dv01="0.085", bucket="10Y",
            underlying="UST-10Y", rule="vol-bp", calendar="week", stale_after=5,
        ), 12_700, 2000,
    ),
    (
        instrument(
            "ZN", "treasury_future", "USD", "0.015625", ("50", "150"), multiplier="1000", dv01="0.065", bucket="10Y",
            rule="flat", calendar="day", stale_after=2.5,
        ), 7_100, 20,
    ),
    (
        instrument("SR3", "rate_future", "USD", "0.0025", ("-10", "100"), multiplier="2500", dv01="0.01", bucket="3M"),
        38_300, 30,
    ),
    (instrument("FESX", "option", "EUR", "1", ("0", "90000"), multiplier="10", rule="flat"), 5_000, 12),
    (instrument("SPREAD", "future_option", "EUR", "0.5", ("-100", "100"), multiplier="25", rule="tiers"), 3, 40),
    (instrument("NKD", "fund", "JPY", "5", ("1000", "99000"), multiplier="500", rule="flat-jpy"), 8_000, 3),
    (
        instrument(
            "BTC-PERP", "perpetual", "BTC", "0.5", ("1000", "900000"), multiplier="100", inverse=True, underlying="BTC-USD",
            rule="tiers", stale_after=600,
        ), 120_000, 300,
    ),
    (
        instrument(
            "BTCUSDT", "perpetual", "USDT", "0.1", ("1000", "900000"), lot="0.001", underlying="BTC-USD", rule="vol",
        ), 600_000, 900,
    ),
    (instrument("OPT", "option", "USD", "5", ("0", "100000"), lot="0.1", underlying="BTC-USD", rule="flat"), 200, 20),
]  # fmt: skip
CRYPTO: list[tuple[Document, int, int]] = [  # in BTC and ETH, which need their marks defined first
    (instrument("ETH-BTC", "spot", "BTC", "0.00001", ("0.001", "1"), lot="0.01", rule="vol"), 5_000, 900),
    (
        instrument(
            "ETH-FUT", "crypto_future", "ETH", "0.01", ("10", "50000"), multiplier="10", inverse=True, underlying="ETH-BTC",
            rule="flat-eth",
        ), 300_000, 400,
    ),
]  # fmt: skip
HUGE: list[tuple[Document, int, int]] = [
    (instrument("HUGE", "fund", "USD", "1", ("-1000", "1000"), multiplier="1e6", lot="100", rule="flat"), 500, 2_000_000),
    (instrument("HUGE-2", "fund", "USD", "1", ("-1000", "1000"), multiplier="1e6", lot="100", rule="tiers"), 500, 2_000_000),
    (instrument("WIDE", "spot", "JPY", "0.000001", ("0", "1"), lot="10000000"), 10, 2_000_000_000),
    (
        instrument(
            "HUGE-INV", "perpetual", "BTC", "0.01", ("0.01", "1000"), multiplier="10000", inverse=True, underlying="BTC-USD",
            rule="flat-eth",
        ), 100, 20_000_000,
    ),
]  # fmt: skip


def version(name: str, model: str, effective: int, **parameters: Any) -> Document:
    """A rule version's document."""
    return {"kind": "rule", "id": name, "model": model, "effective": effective, "parameters": parameters}


def flat(initial: str, maintenance: str) -> Document:
    """Parameters of a flat rule."""
    return {"initial": initial, "maintenance": maintenance}


def tiers(*rows: tuple[str, str, str]) -> Document:
    """Parameters of a tiered rule: from, initial, maintenance."""
    return {"tiers": [{"from": a, "initial": i, "maintenance": m} for a, i, m in rows]}


RULES: dict[str, tuple[str, list[Document]]] = {
    "flat": ("flat", [flat("500", "450.001"), flat("900.5", "700"), flat("20", "0")]),
    "flat-jpy": ("flat", [flat("120000", "100000.5"), flat("100001", "100000")]),
    "flat-eth": ("flat", [flat("0.0004", "0.0003"), flat("0.000123456789123", "0.0001")]),
    "tiers": (
        "tiered",
        [
            tiers(("0", "0.04", "0.02")),
            tiers(("0", "0.01", "0.005"), ("0.05", "0.02", "0.01"), ("1.5", "0.1", "0.05")),
            tiers(("0", "0.123456789", "0.1"), ("100000", "1", "0.5")),
        ],
    ),
    "vol": (
        "volatility",
        [
            {"multiple": "3", "days": "2", "tenor_days": "30", "floor": "10", "initial_ratio": "1.25", "stale_after": 600},
            {
                "multiple": "2.33",
                "days": "1",
                "tenor_days": "30",
                "floor": "0",
                "initial_ratio": "1",
                "days_per_year": "252",
            },
            {"multiple": "1", "days": "1", "tenor_days": "7.5", "floor": "0.001", "initial_ratio": "1.1"},
        ],
    ),
    "mature": (
        "maturity",
        [
            {"bands": [[1, "0.01"], [2, "0.02"], [9, "0.03"], [None, "0.06"]], "initial_ratio": "1", "through": False},
            {"bands": [[10, "0.012345678"], [None, "0"]], "initial_ratio": "1.333333333"},
        ],
    ),
    "vol-bp": (
        "volatility",
        [
            {"multiple": "3", "days": "2", "tenor_days": "30", "floor": "0.001", "initial_ratio": "1.1", "stale_after": 1.5},
            {"multiple": "4.5", "days": "5", "tenor_days": "30", "floor": "0.02", "initial_ratio": "1.333333333"},
        ],
    ),
}
ASSETS: dict[str, tuple[Document, float]] = {  # document, dollars of one unit
    "USD": ({"type": "currency", "currency": "USD"}, 1),
    "EUR": ({"type": "currency", "currency": "USD", "instrument": "EUR-USD", "haircut": "0.02"}, 1.08),
    "JPY": ({"type": "currency", "currency": "USD", "instrument": "JPY-USD", "decimals": 0, "haircut": "0.03"}, 0.0067),
    "USDT": ({"type": "stablecoin", "currency": "USD", "instrument": "USDT-USD", "decimals": 6, "haircut": "0.05"}, 1),
    "USDC": ({"type": "stablecoin", "currency": "USD", "decimals": 4, "haircut": "0.000000001"}, 1),
    "BILL": ({"type": "treasury", "currency": "USD", "instrument": "BILL", "haircut": "0.005"}, 0.98),
    "BTC": ({"type": "crypto", "currency": "USD", "instrument": "BTC-USD", "decimals": 8, "haircut": "0.2"}, 60_000),
    "ETH": ({"type": "crypto", "currency": "BTC", "instrument": "ETH-BTC", "decimals": 6, "haircut": "0.333333333"}, 3000),
}
SESSIONS = (
    [("Sun 23:00", "Fri 22:00")],
    [(f"{day} 14:30", f"{day} 21:00") for day in ("Mon", "Tue", "Wed", "Thu", "Fri")],
    [("Thu 12:00", "Thu 20:30"), ("Wed 23:00", "Thu 13:00"), ("Sat 10:00", "Mon 10:00")],
)
WRONG: list[Document] = [
    {"kind": "pool", "id": "no", "regime": "x", "currency": "XXX"},
    {"kind": "customer"},
    {"kind": "secret", "id": "x"},
    {"kind": "account", "id": "a0", "customer": "c0", "pool": "futures", "currency": "USDC"},
    {"kind": "account", "id": "stable", "customer": "c0", "pool": "futures", "currency": "USDT"},
    {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD", "decimals": 3},
    {"kind": "asset", "id": "GBP", "type": "currency", "currency": "GBP"},
    {"kind": "asset", "id": "GBP", "type": "currency", "currency": "USD", "instrument": "BTC-PERP"},
    {"kind": "asset", "id": "USDC", "type": "stablecoin", "currency": "USD", "decimals": 4, "haircut": "1.1"},
    {"kind": "calendar", "id": "week", "sessions": [["Sun 23:00", "Someday 22:00"]]},
    instrument("ZN", "treasury_future", "USD", "0.03125", ("50", "150"), multiplier="1000", dv01="0.065", bucket="10Y"),
    instrument("BAD-1", "fund", "USD", "0.0000001", ("0", "1"), lot="0.01"),
    instrument("BAD-2", "fund", "USD", "1", ("5", "1")),
    instrument("BAD-3", "perpetual", "USD", "0.0000005", ("1", "2"), inverse=True),
    instrument("BAD-4", "perpetual", "USD", "1", ("0", "2"), inverse=True),
    instrument("BAD-5", "fund", "USD", "1", ("0", "1"), dv01="0.1"),
    instrument("BAD-6", "fund", "USD", "1", ("0", "1000000000"), multiplier="1000000000", lot="10000000000"),
    instrument("UST-10Y", "yield", "USD", "0.001", ("20", "25")),
    version("bad", "flat", 0, initial="1", maintenance="2"),
    version("bad", "flat", 0, initial="1"),
    version("bad", "tiered", 0, **tiers(("1", "0.1", "0.1"))),
    version("bad", "maturity", 0, bands=[[1, "0.1"]], initial_ratio="1"),
    version("bad", "maturity", 0, bands=[[2, "0.1"], [1, "0.2"], [None, "1"]], initial_ratio="1"),
    version("bad", "maturity", 0, bands=[[None, "1.1"]], initial_ratio="1"),
    version("bad", "maturity", 0, bands=[[None, "1"]], initial_ratio="1.0000000001"),
    version("flat", "flat", 0, initial="1", maintenance="0"),
    version("flat", "flat", 0, initial="2", maintenance="0"),
]


@dataclass
class Documents:
    """The documents of one random world, in an order in which they may be defined."""

    rng: random.Random
    start_ns: int
    customer_of: dict[str, str]
    extreme: bool
    instruments: dict[str, Document] = field(default_factory=dict)
    markets: dict[str, Market] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = self.rng
        self.rows = [*PLAIN, *CRYPTO, *portfolios.instruments(self.start_ns), *(HUGE if self.extreme else ())]
        for document, ticks, size in self.rows:
            expires = size and rng.random() < 0.3 and document["id"] not in ("BTC-USD", "ETH-BTC", "BILL")
            expiry = self.start_ns + rng.choice((30, 300, 86_400)) * SECOND if expires else None
            expiry = document.get("expiry", expiry)
            self.instruments[document["id"]] = document | ({"expiry": expiry} if expiry else {})
            tick = _units(document["tick"], 9)
            low, high = (_units(price, 9) for price in document["band"])
            lot = _units(document.get("lot", "1"), 8)
            self.markets[document["id"]] = Market(lot, tick, low, high, ticks * tick, size, size > 0, expiry)
        self.assets = {name: (document.get("decimals", 2), price) for name, (document, price) in ASSETS.items()}
        self.currency_of = {a: rng.choice(("USD", "USD", "EUR", "JPY", "BTC", "ETH")) for a in ACCOUNTS}
        self.volatilities = [
            ("UST-10Y", 30 * 10**8, True), ("BTC-USD", 30 * 10**8, False), ("BTC-USD", 75 * 10**7, False),
            ("ETH-BTC", 30 * 10**8, False), ("ETH-BTC", 75 * 10**7, False),
        ]  # fmt: skip

    def first(self) -> Iterator[Sent]:
        """Everything once, what others name before them; a few are left for later or out."""
        yield None, self._asset("USD")
        yield from ((None, {"kind": "holder", "id": name}) for name in HOLDERS[:2])
        for name in ("week", "day"):
            yield None, self._calendar(name)
        for name, (model, parameters) in RULES.items():
            yield None, version(name, model, self.start_ns - DAY, **self.rng.choice(parameters))
            if self.rng.random() < 0.5:
                yield None, self._rule(name, self.start_ns)
        for name in ("EUR", "JPY", "USDT", "BTC", "ETH", "USDC", "BILL"):
            mark = ASSETS[name][0].get("instrument")
            if mark is not None:
                yield None, self.instruments[mark]
            yield None, self._asset(name)
        yield from self._portfolios()
        for document in self.instruments.values():
            if self.rng.random() < 0.95:
                yield None, document
        yield from self._holders()

    def _holders(self) -> Iterator[Sent]:
        """Pools, customers, accounts and agreements."""
        for name in portfolios.POOLS:
            yield None, portfolios.pool(self.rng, name)
        for customer in sorted(set(self.customer_of.values())):
            yield customer, {"kind": "customer", "id": customer}
        for account in ACCOUNTS:
            if self.rng.random() < 0.9:
                yield self._account(account)
        for pact in PACTS:
            if self.rng.random() < 0.9:
                yield self._agreement(*pact)

    def _portfolios(self) -> Iterator[Sent]:
        """Scenario sets, and the rules that use them or name such a rule."""
        yield None, self.instruments["UST-10Y"]
        for name in portfolios.SETS:
            if self.rng.random() < 0.97:
                yield None, portfolios.scenarios(self.rng, name)
        for name in (*portfolios.RULES, *portfolios.CROSS, *portfolios.TAKEN):
            if self.rng.random() < 0.97:
                yield None, self._portfolio_rule(name, self.start_ns - DAY) | {"effective": self.start_ns - DAY}

    def _portfolio_rule(self, name: str, now_ns: int) -> Document:
        model, versions = portfolios.RULES.get(name) or ("cross_margin", portfolios.CROSS.get(name, []))
        if name in portfolios.TAKEN:
            model, versions = "collateral", portfolios.TAKEN[name]
        effective = now_ns + self.rng.choice((-HOUR, 0, SECOND, 10 * SECOND))
        return version(name, model, effective, **self.rng.choice(versions))

    def _agreement(self, name: str, futures: str, treasury: str) -> Sent:
        customer = self.customer_of[futures]
        return customer, portfolios.agreement(self.rng, name, customer, futures, treasury)

    def later(self, now_ns: int) -> Sent:
        """A document in the middle of a stream: a repetition, a redefinition, a new version, or a wrong one."""
        rng = self.rng
        choice = rng.choice(
            (
                "account", "same", "rule", "rule", "haircut", "calendar", "redefine", "redefine", "wrong", "wrong", "set",
                "together", "together", "pact", "pact", "pool",
            )
        )  # fmt: skip
        if choice in ("set", "together", "pact", "pool"):
            return self._later_together(choice, now_ns)
        if choice == "account":
            return self._account(rng.choice(ACCOUNTS))
        if choice == "same":
            return None, rng.choice(list(self.instruments.values()))
        if choice == "rule":
            return None, self._rule(rng.choice(list(RULES)), now_ns)
        if choice == "haircut":
            return None, self._asset(rng.choice(list(ASSETS))) | {"haircut": rng.choice(("0", "0.1", "0.5", "1"))}
        if choice == "calendar":
            return None, self._calendar(rng.choice(("week", "day")))
        if choice == "redefine":
            return None, self._redefined(rng.choice(list(self.instruments)))
        wrong = rng.choice((*WRONG, *portfolios.WRONG))
        if wrong["kind"] == "account":
            return wrong["customer"], wrong
        return (rng.choice(sorted(set(self.customer_of.values()))) if wrong["kind"] == "customer" else None), wrong

    def _later_together(self, choice: str, now_ns: int) -> Sent:
        """A document of what is margined together: a set, a rule's version, an agreement or a pool anew."""
        rng = self.rng
        if choice == "set":
            return None, portfolios.scenarios(rng, rng.choice(portfolios.SETS))
        if choice == "together":
            names = [*portfolios.RULES, *portfolios.CROSS, *portfolios.TAKEN]
            return None, self._portfolio_rule(rng.choice(names), now_ns)
        if choice == "pact":
            name, futures, treasury = rng.choice(PACTS)
            if rng.random() < 0.15:
                name, treasury = "AG-2", rng.choice((futures, treasury))
            return self._agreement(name, futures, treasury)
        return None, portfolios.pool(rng, rng.choice(portfolios.POOLS))

    def _redefined(self, name: str) -> Document:
        rng, document = self.rng, dict(self.instruments[name])
        change = rng.choice(("rule", "stale_after", "calendar", "dv01", "name", "product", "strike", "coupon", "maturity"))
        if change in ("dv01", "strike", "coupon", "maturity") and change not in document:
            change = "name"
        document[change] = {
            "rule": rng.choice([n for n in (*RULES, *portfolios.FREE) if n != "flat-jpy"]),
            "stale_after": rng.choice((1, 7.25, 4000)), "product": rng.choice(("TN", "x")),
            "strike": rng.choice(("50", "60000", "58000")), "coupon": rng.choice(("4.25", "0", "7")),
            "maturity": rng.choice(("2036-11-15", "2027-11-19", "2027-05-01", "2026-11-20")),
            "calendar": rng.choice(("week", "day")),
            "dv01": rng.choice(("0.05", "0.0851", "-0.02", "0")), "name": rng.choice("abc"),
        }[change]  # fmt: skip
        if change == "rule" and rng.random() < 0.3:
            del document["rule"]
        self.instruments[name] = document
        return document

    def _rule(self, name: str, now_ns: int) -> Document:
        model, parameters = RULES[name]
        effective = now_ns + self.rng.choice((-HOUR, 0, SECOND, 10 * SECOND, HOUR))
        return version(name, model, effective, **self.rng.choice(parameters))

    def _asset(self, name: str) -> Document:
        return {"kind": "asset", "id": name} | ASSETS[name][0]

    def _account(self, name: str) -> Sent:
        customer = self.customer_of[name]
        currency = self.currency_of[name]
        return customer, {"kind": "account", "id": name, "customer": customer, "pool": POOL_OF[name], "currency": currency}

    def _calendar(self, name: str) -> Document:
        rng, document = self.rng, {"kind": "calendar", "id": name, "sessions": self.rng.choice(SESSIONS)}
        cutoff = {"at": rng.choice(("20:05", "21:00", "23:00", "06:30")), "notice_hours": rng.choice((0, 0, 1, 24))}
        if rng.random() < 0.5:
            cutoff["zone"] = rng.choice(get_args(Zone))
        if rng.random() < 0.8:
            document["cutoffs"] = {rng.choice(("USD", "BTC", "*", "*")): cutoff}
        if rng.random() < 0.3:
            document["holidays"] = ["2026-11-20", "2026-11-26"]
        if rng.random() < 0.3:
            document["business_days"] = ["Mon", "Thu", "Sat", "Sun"]
        return document


def _units(text: str, decimals: int) -> int:
    whole, _, fraction = text.lstrip("-").partition(".")
    value = int(whole + fraction.ljust(decimals, "0"))
    return -value if text.startswith("-") else value

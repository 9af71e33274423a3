"""Accounts out of a seed: who they are, what they hold at the start of the day, and the collateral behind it.

Basis traders, steepeners and strips (notes at FICC against futures at CME, most with a cross-margin agreement), crypto carry
(spot against perpetual), covered calls, holders of inverse contracts, directional accounts; from thin to rich in collateral.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, Final, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.documents import Asset, Day, Instrument, parse_document
from engine.events import NS, PRICE_ONE, QUANTITY_ONE, TOPIC_OF, Kind
from engine.limits import Limits
from engine.numbers import decimal_text, scaled
from engine.pricing.dates import add_months
from engine.report import Quality
from streams.files import EXAMPLE, REFERENCE, open_sources
from streams.in_process import Replay
from streams.load import in_order
from streams.market import RUNS_MONTHS, STRIP, price_text
from streams.settings import UserError
from streams.sources import Item

PERPETUALS: Final = {"BTC": "BTCUSDT-PERP", "ETH": "ETHUSDT-PERP"}
INVERSE: Final = {"BTC": "BTCUSD-PERP", "ETH": "ETHUSD-PERP"}
FUTURES: Final = {"2Y": "ZT", "5Y": "ZF", "10Y": "ZN", "30Y": "ZB"}
CALLS: Final = ("BTC-Z30-80000-C", "BTC-Z30-120000-C")
COLLATERAL: Final = {
    "FICC": {"USD": 0.6, "UST-BILL": 0.4},
    "FUTURES": {"USD": 0.5, "UST-BILL": 0.4, "EUR": 0.1},
    "SECURITIES": {"USD": 0.4, "UST-10Y": 0.6},
    "CRYPTO": {"USDT": 0.5, "USDC": 0.2, "BTC": 0.2, "ETH": 0.1},
}
THIN: Final = 1.5
RICHNESS: Final = ((0.45, 1.03, THIN), (0.8, THIN, 2.5), (1.0, 2.5, 6.0))  # up to this share: collateral / initial from, to
HEDGED: Final = 0.2  # of what its first position alone requires, an account with offsetting ones keeps at least so much
CROSS_RULE: Final = "XM-CME-FICC"
FIRM: Final = {"broker_dealer": True, "futures_commission_merchant": True, "cme_member": True, "ficc_member": True}
ENTITY: Final = "Example Clearing LLC"
FLAWS: Final[tuple[dict[str, Any], ...]] = (
    {"signed": False},
    {"designated": False},
    {"treasury_entity": "Example Securities Inc."},
    {"firm": {**FIRM, "ficc_member": False}},
)
"""Why an agreement is not in force, one at a time."""
FLAWED: Final = 0.15  # share of the agreements
PROBE_UNITS: Final = 10_000
Positions = dict[str, int]
"""Quantities in 1e-8 by instrument."""
Legs = list[tuple[str, Positions]]
"""What a customer holds by pool, an account each."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Portfolio:
    """One account: its start-of-day positions and collateral in 1e-8, and what it needs at first in US dollars.

    initial_usd is without cross-margin.
    """

    account: str
    customer: str
    pool: str
    positions: Positions
    collateral: dict[str, int] = field(default_factory=dict)
    initial_usd: float = 0.0
    richness: float = 0.0  # collateral after haircut / initial requirement
    held: Positions = field(default_factory=dict)  # now, as trades come


@dataclass(frozen=True)
class Example:
    """The example's reference documents, in order of dependence; ticks in 1e-9 and lots in 1e-8 by instrument."""

    documents: tuple[Item, ...]
    instruments: dict[str, Instrument]
    assets: dict[str, Asset]
    ticks: dict[str, int]
    lots: dict[str, int]


@cache
def example() -> Example:
    """The example that travels with the package."""
    items = tuple(in_order([item for source in open_sources(EXAMPLE) for item in source]))
    documents = [parse_document(body) for *_, body in items]
    instruments = {d.id: d for d in documents if isinstance(d, Instrument)}
    return Example(
        documents=items,
        instruments=instruments,
        assets={d.id: d for d in documents if isinstance(d, Asset)},
        ticks={name: scaled(i.tick, PRICE_ONE) for name, i in instruments.items()},
        lots={name: scaled(i.lot, QUANTITY_ONE) for name, i in instruments.items()},
    )


def dated(day: date) -> Iterator[Item]:
    """The example's securities again, with the maturities that their prices are made for: so long after this day."""
    for _, _, key, body in example().documents:
        kind, _, name = key.partition(":")
        if kind == "instrument" and name in RUNS_MONTHS:
            maturity = add_months(day, RUNS_MONTHS[name]).isoformat()
            yield document({**msgspec.json.decode(body), "maturity": maturity})


def due_soon(ts_ns: int) -> Iterator[Item]:
    """The example's calendars again, every day a business day, and called money due at the first minute after this time."""
    minutes = -(-ts_ns // (60 * NS)) % 1440
    cutoff = {"at": f"{minutes // 60:02}:{minutes % 60:02}", "notice_hours": 0}
    for _, _, key, body in example().documents:
        if key.startswith("calendar:"):
            every_day = {"business_days": list(get_args(Day)), "holidays": [], "cutoffs": {"*": cutoff}}
            yield document({**msgspec.json.decode(body), **every_day})


def document(fields: dict[str, Any]) -> Item:
    """A reference document as an item."""
    return 0, REFERENCE, f"{fields['kind']}:{fields['id']}", _encode(fields)


def event(kind: Kind, key: str, **fields: Any) -> Item:
    """An event as an item."""
    return fields["ts"], TOPIC_OF[kind], key, _encode({"ts": fields.pop("ts"), **fields})


def quantity_text(quantity_e8: int) -> str:
    """A quantity as a decimal string."""
    return decimal_text(quantity_e8, 8).rstrip("0").rstrip(".")


def accounts(portfolios: Sequence[Portfolio]) -> Iterator[Item]:
    """Documents of the customers and their accounts."""
    for customer in dict.fromkeys(p.customer for p in portfolios):
        yield document({"kind": "customer", "id": customer, "name": f"Example customer {customer}"})
    for p in portfolios:
        yield document({"kind": "account", "id": p.account, "customer": p.customer, "pool": p.pool, "currency": "USD"})


class Population:
    """Portfolios from a seed, given the prices in 1e-9 by instrument; market: the events that say these, at one moment."""

    def __init__(self, seed: int, price_e9: Callable[[str], int], market: Sequence[Item]) -> None:
        self._random = np.random.Generator(np.random.PCG64([seed, 2]))
        self._agreements = np.random.Generator(np.random.PCG64([seed, 5]))
        self._example = example()
        self._price_e9 = price_e9
        self._market = market

    def portfolios(self, count: int) -> list[Portfolio]:
        """So many accounts of customers with one or two each."""
        strategies = (
            *(self._basis, self._curve, self._strip, self._carry, self._covered),
            *(self._inverse, self._directional, self._rates, self._fund),
        )
        shares = (0.17, 0.08, 0.07, 0.13, 0.08, 0.12, 0.22, 0.09, 0.04)
        portfolios: list[Portfolio] = []
        for number, choice in enumerate(self._random.choice(len(strategies), size=count, p=shares).tolist(), 1):
            notional = math.exp(self._random.uniform(math.log(3e5), math.log(2e7)))
            for pool, positions in strategies[choice](notional):
                if len(portfolios) < count:
                    account = f"A{len(portfolios) + 1:06d}"
                    portfolios.append(Portfolio(account, f"C{number:06d}", pool, positions, held=dict(positions)))
        initials, worths = self._required(portfolios)
        for p, initial in zip(portfolios, initials, strict=True):
            self._fund_account(p, initial, worths)
        return portfolios

    def agreements(self, portfolios: Iterable[Portfolio]) -> Iterator[Item]:
        """A cross-margin agreement of every customer with accounts at both houses; a few are not in force for a reason."""
        legs: dict[str, dict[str, str]] = {}
        for p in portfolios:
            legs.setdefault(p.customer, {})[p.pool] = p.account
        for customer, by_pool in legs.items():
            if not {"FUTURES", "FICC"} <= by_pool.keys():
                continue
            terms: dict[str, Any] = {
                "kind": "agreement",
                "id": f"XM-{customer}",
                "customer": customer,
                "rule": CROSS_RULE,
                "futures_account": by_pool["FUTURES"],
                "treasury_account": by_pool["FICC"],
                "futures_entity": ENTITY,
                "treasury_entity": ENTITY,
                "firm": FIRM,
                "signed": True,
                "designated": True,
            }
            if self._agreements.random() < FLAWED:
                terms |= FLAWS[int(self._agreements.integers(len(FLAWS)))]
            yield document(terms)

    def start_of_day(self, p: Portfolio, as_of_ns: int) -> Iterator[Item]:
        """The account's positions, at the marks rounded to a whole tick."""
        for name, quantity in p.positions.items():
            row = {"id": f"open-{p.account}-{name}", "ts": as_of_ns, "account": p.account, "instrument": name}
            price = price_text(self.on_tick(name))
            yield event(Kind.POSITION, p.account, **row, qty=quantity_text(quantity), price=price)

    def on_tick(self, instrument: str) -> int:
        """The last mark rounded to a whole tick, in 1e-9."""
        tick = self._example.ticks[instrument]
        return (self._price_e9(instrument) + tick // 2) // tick * tick

    # What strategies hold

    def _basis(self, notional: float) -> Legs:
        """Notes against futures of their tenor, now and then notes too old for cross-margin."""
        tenor = self._one_of(tuple(FUTURES))
        note = "UST-9M" if self._random.random() < 0.1 else f"UST-{tenor}"
        face = self._face(notional)
        return [("FICC", {note: face}), ("FUTURES", self._against({note: face}, {FUTURES[tenor]: 1.0}))]

    def _curve(self, notional: float) -> Legs:
        """A steepener: short notes and the 5Y against futures on the long end."""
        notes = {"UST-2Y": 2 * self._face(notional), "UST-5Y": self._face(notional / 2)}
        return [("FICC", notes), ("FUTURES", self._against(notes, {"ZN": 0.6, "ZB": 0.4}))]

    def _strip(self, notional: float) -> Legs:
        """Notes against two years of SOFR futures, as a swap would be hedged."""
        notes = {"UST-2Y": self._face(notional)}
        return [("FICC", notes), ("FUTURES", self._against(notes, dict.fromkeys(STRIP, 1 / len(STRIP))))]

    def _carry(self, notional: float) -> Legs:
        asset = self._one_of(("BTC", "ETH"))
        spot, perpetual = f"{asset}-USDT", PERPETUALS[asset]
        quantity = self._lots(perpetual, notional / (self._price(spot)))
        return [("CRYPTO", {spot: quantity, perpetual: -quantity})]

    def _covered(self, notional: float) -> Legs:
        """Bitcoin, or the CME future, against a short call on as much of it."""
        if self._random.random() < 0.4:
            contracts = self._contracts("BTCZ30", notional)
            return [("FUTURES", {"BTCZ30": contracts, "BTCZ30-80000-C": -contracts})]
        call = self._one_of(CALLS)
        quantity = self._lots(call, notional / self._price("BTC-USDT"))
        return [("CRYPTO", {"BTC-USDT": quantity, call: -quantity})]

    def _inverse(self, notional: float) -> Legs:
        name = INVERSE[self._one_of(("BTC", "ETH"))]
        contracts = self._lots(name, min(notional, 5e6) / float(self._example.instruments[name].multiplier))
        return [("CRYPTO", {name: -contracts if self._random.random() < 0.6 else contracts})]

    def _directional(self, notional: float) -> Legs:
        side = 1 if self._random.random() < 0.7 else -1
        asset = self._one_of(("BTC", "ETH"))
        if self._random.random() < 0.25:
            return [("FUTURES", {f"{asset}Z30": side * self._contracts(f"{asset}Z30", notional)})]
        name = PERPETUALS[asset]
        return [("CRYPTO", {name: side * self._lots(name, notional / (self._price(name)))})]

    def _rates(self, notional: float) -> Legs:
        tenor, side = self._one_of(tuple(FUTURES)), 1 if self._random.random() < 0.7 else -1
        if self._random.random() < 0.4:
            return [("SECURITIES", {f"UST-{tenor}": side * self._face(notional)})]
        return [("FUTURES", {FUTURES[tenor]: side * max(1, round(notional / 1e5)) * QUANTITY_ONE})]

    def _fund(self, notional: float) -> Legs:
        return [("SECURITIES", {"INDEX-FUND": self._lots("INDEX-FUND", notional / self._price("INDEX-FUND"))})]

    def _one_of(self, choices: tuple[str, ...]) -> str:
        return choices[int(self._random.integers(len(choices)))]

    def _face(self, notional: float) -> int:
        """A face amount in whole millions, in 1e-8."""
        return max(1, round(notional / 1e6)) * 1_000_000 * QUANTITY_ONE

    def _lots(self, instrument: str, quantity: float) -> int:
        """A quantity as a whole number of lots, at least ten, in 1e-8."""
        lot = self._example.lots[instrument]
        return max(10, round(quantity * QUANTITY_ONE / lot)) * lot

    def _contracts(self, future: str, notional: float) -> int:
        value = self._price(future) * float(self._example.instruments[future].multiplier)
        return max(1, round(notional / value)) * QUANTITY_ONE

    def _per_bp(self, instrument: str) -> float:
        """US dollars that one unit loses when its yield rises by a basis point."""
        terms = self._example.instruments[instrument]
        return float(terms.dv01 or 0) * float(terms.multiplier)

    def _against(self, notes: Positions, futures: dict[str, float]) -> Positions:
        """Short futures with the notes' DV01, in these shares of it."""
        dv01 = sum(self._per_bp(name) * quantity / QUANTITY_ONE for name, quantity in notes.items())
        return {name: -max(1, round(dv01 * share / self._per_bp(name))) * QUANTITY_ONE for name, share in futures.items()}

    def _price(self, instrument: str) -> float:
        return self._price_e9(instrument) / PRICE_ONE

    # What that requires

    def _required(self, portfolios: Sequence[Portfolio]) -> tuple[list[float], dict[tuple[str, str], float]]:
        """(initial margin of each portfolio without agreements, what a unit of an asset covers in a pool), US dollars.

        The engine itself says so, at the start prices: of the accounts, of their first positions alone, and of one with each
        asset in each pool.
        """
        kinds = [(pool, asset) for pool, shares in COLLATERAL.items() for asset in shares]
        first = [(p, dict([next(iter(p.positions.items()))])) for p in portfolios]
        alone = [Portfolio(f"first-{p.account}", p.customer, p.pool, positions) for p, positions in first]
        probes = [Portfolio(f"probe-{pool}-{asset}", "probe", pool, {}) for pool, asset in kinds]
        as_of_ns = self._market[0][0]
        measured = [*portfolios, *alone, *probes]
        items = [*self._example.documents, *dated(date_of(as_of_ns)), *accounts(measured), *self._market]
        for p in measured:
            items += self.start_of_day(p, as_of_ns)
        for probe, (_, asset) in zip(probes, kinds, strict=True):
            row = {"id": probe.account, "ts": as_of_ns, "account": probe.account, "asset": asset, "source": "probe"}
            items.append(event(Kind.COLLATERAL, probe.account, **row, qty=str(PROBE_UNITS), replace=True))
        rows = _figures(items, [p.account for p in measured])
        initial, net = rows["initial"] / 100, (rows["equity"] - rows["initial"]) / 100
        own, first_alone, _ = np.split(initial, [len(portfolios), 2 * len(portfolios)])
        covers = {kind: float(amount) / PROBE_UNITS for kind, amount in zip(kinds, net[2 * len(portfolios) :], strict=True)}
        return np.maximum(own, HEDGED * first_alone).tolist(), covers

    def _fund_account(self, p: Portfolio, initial_usd: float, covers: dict[tuple[str, str], float]) -> None:
        """Give a portfolio collateral: some multiple of its requirement, in one asset of its pool or in all."""
        draw = self._random.random()
        low, high = next((low, high) for share, low, high in RICHNESS if draw < share)
        p.richness, p.initial_usd = float(self._random.uniform(low, high)), initial_usd
        shares = COLLATERAL[p.pool]
        inverse = next((asset for asset, name in INVERSE.items() if name in p.positions), None)
        if inverse:
            shares = {inverse: 1.0}
        elif self._random.random() < 0.5:
            shares = {next(iter(shares)): 1.0}
        for asset, share in shares.items():
            unit = 10 ** (8 - self._example.assets[asset].decimals)
            wanted = p.initial_usd * p.richness * share / covers[p.pool, asset]
            p.collateral[asset] = math.ceil(wanted * QUANTITY_ONE / unit) * unit


def _figures(items: Sequence[Item], names: Sequence[str]) -> NDArray[np.void]:
    """FIGURES of these accounts after the items; UserError where one is refused (an expired contract), or one UNPRICED."""
    count = len(names)
    replay = Replay(1, 1024, Limits(accounts=count, positions=16 * count, ids=32 * count))
    replay.run(items)
    (engine,) = replay.shards.engines
    slots = [slot for name in names if (slot := engine.find_account(name)) is not None]
    rows = engine.figures(np.array(slots, np.int32))
    refused, poor = replay.rejects + replay.shards.rejects, np.flatnonzero(rows["quality"] == Quality.UNPRICED)
    if refused or len(rows) < count or len(poor):
        raise UserError(
            f"the example has no margin at this time: refused {dict(refused)}, unpriced {[names[i] for i in poor[:3]]};"
            " allowed: log times before its contracts expire in December 2030"
        )
    return rows


def date_of(ts_ns: int) -> date:
    """The UTC day of a time."""
    return date.fromordinal(date(1970, 1, 1).toordinal() + ts_ns // (86_400 * 10**9))

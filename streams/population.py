"""Accounts out of a seed: who they are, what they hold at the start of the day, and the collateral behind it.

Basis traders (long notes in one account, short futures in another), crypto carry (long spot, short perpetual), holders of
inverse contracts, directional crypto and rates accounts; from thin to rich in collateral.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np

from engine.documents import Asset, Instrument, Rule, parse_document
from engine.events import PRICE_ONE, QUANTITY_ONE
from engine.numbers import scaled
from streams.files import EXAMPLE

PERPETUALS: Final = {"BTC": "BTCUSDT-PERP", "ETH": "ETHUSDT-PERP"}
INVERSE: Final = {"BTC": "BTCUSD-PERP", "ETH": "ETHUSD-PERP"}
FUTURES: Final = {"2Y": "ZT", "5Y": "ZF", "10Y": "ZN", "30Y": "ZB"}
COLLATERAL: Final = {
    "FICC": {"USD": 0.6, "UST-BILL": 0.4},
    "FUTURES": {"USD": 0.5, "UST-BILL": 0.4, "EUR": 0.1},
    "SECURITIES": {"USD": 0.4, "UST-10Y": 0.6},
    "CRYPTO": {"USDT": 0.5, "USDC": 0.2, "BTC": 0.2, "ETH": 0.1},
}
THIN: Final = 1.5
RICHNESS: Final = ((0.45, 1.03, THIN), (0.8, THIN, 2.5), (1.0, 2.5, 6.0))  # up to this share: collateral / initial from, to
Positions = dict[str, int]
"""Quantities in 1e-8 by instrument."""


@dataclass(slots=True)
class Portfolio:
    """One account: its start-of-day positions and collateral in 1e-8, and what it needs at first in US dollars."""

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
    """The example's reference documents, of rules the newest version; ticks in 1e-9 and lots in 1e-8 by instrument."""

    instruments: dict[str, Instrument]
    rules: dict[str, Rule]
    assets: dict[str, Asset]
    ticks: dict[str, int]
    lots: dict[str, int]


@cache
def example() -> Example:
    """The example that travels with the package."""
    documents = [parse_document(line) for file in EXAMPLE for line in file.read_bytes().splitlines()]
    instruments = {d.id: d for d in documents if isinstance(d, Instrument)}
    return Example(
        instruments=instruments,
        rules={d.id: d for d in documents if isinstance(d, Rule)},
        assets={d.id: d for d in documents if isinstance(d, Asset)},
        ticks={name: scaled(i.tick, PRICE_ONE) for name, i in instruments.items()},
        lots={name: scaled(i.lot, QUANTITY_ONE) for name, i in instruments.items()},
    )


class Population:
    """Portfolios from a seed, given the prices in 1e-9 (by instrument) and volatilities (by underlying) at the start."""

    def __init__(self, seed: int, price_e9: Callable[[str], int], volatility: Mapping[str, float]) -> None:
        self._random = np.random.Generator(np.random.PCG64([seed, 2]))
        self._example = example()
        self._price_e9 = price_e9
        self._volatility = volatility

    def portfolios(self, accounts: int) -> list[Portfolio]:
        """So many accounts of customers with one or two each."""
        strategies = (self._basis, self._carry, self._inverse, self._directional, self._rates)
        chosen = self._random.choice(len(strategies), size=accounts, p=(0.2, 0.15, 0.15, 0.35, 0.15))
        portfolios: list[Portfolio] = []
        for number, choice in enumerate(chosen.tolist(), 1):
            notional = math.exp(self._random.uniform(math.log(3e5), math.log(2e7)))
            for pool, positions in strategies[choice](notional):
                if len(portfolios) < accounts:
                    account = f"A{len(portfolios) + 1:06d}"
                    portfolios.append(self._funded(Portfolio(account, f"C{number:06d}", pool, positions)))
        return portfolios

    def _basis(self, notional: float) -> list[tuple[str, Positions]]:
        tenor = self._one_of(tuple(FUTURES))
        face = max(1, round(notional / 1e6)) * 1_000_000
        note, future = self._example.instruments[f"UST-{tenor}"], self._example.instruments[FUTURES[tenor]]
        contracts = face * float(note.dv01 or 0) / 100 / (float(future.dv01 or 1) * float(future.multiplier))
        short = -max(1, round(contracts)) * QUANTITY_ONE
        return [("FICC", {note.id: face * QUANTITY_ONE}), ("FUTURES", {future.id: short})]

    def _carry(self, notional: float) -> list[tuple[str, Positions]]:
        asset = self._one_of(("BTC", "ETH"))
        spot, perpetual = f"{asset}-USDT", PERPETUALS[asset]
        quantity = self._lots(perpetual, notional / (self._price(spot)))
        return [("CRYPTO", {spot: quantity, perpetual: -quantity})]

    def _inverse(self, notional: float) -> list[tuple[str, Positions]]:
        name = INVERSE[self._one_of(("BTC", "ETH"))]
        contracts = self._lots(name, min(notional, 5e6) / float(self._example.instruments[name].multiplier))
        return [("CRYPTO", {name: -contracts if self._random.random() < 0.6 else contracts})]

    def _directional(self, notional: float) -> list[tuple[str, Positions]]:
        side = 1 if self._random.random() < 0.7 else -1
        asset = self._one_of(("BTC", "ETH"))
        if self._random.random() < 0.25:
            name = f"{asset}Z30"
            contract = self._price(name) * float(self._example.instruments[name].multiplier)
            return [("FUTURES", {name: side * max(1, round(notional / contract)) * QUANTITY_ONE})]
        name = PERPETUALS[asset]
        return [("CRYPTO", {name: side * self._lots(name, notional / (self._price(name)))})]

    def _rates(self, notional: float) -> list[tuple[str, Positions]]:
        tenor, side = self._one_of(tuple(FUTURES)), 1 if self._random.random() < 0.7 else -1
        if self._random.random() < 0.4:
            return [("SECURITIES", {f"UST-{tenor}": side * max(1, round(notional / 1e6)) * 1_000_000 * QUANTITY_ONE})]
        return [("FUTURES", {FUTURES[tenor]: side * max(1, round(notional / 1e5)) * QUANTITY_ONE})]

    def _one_of(self, choices: tuple[str, ...]) -> str:
        return choices[int(self._random.integers(len(choices)))]

    def _lots(self, instrument: str, quantity: float) -> int:
        """A quantity as a whole number of lots, at least ten, in 1e-8."""
        lot = self._example.lots[instrument]
        return max(10, round(quantity * QUANTITY_ONE / lot)) * lot

    def _funded(self, p: Portfolio) -> Portfolio:
        """The portfolio with collateral: some multiple of its requirement, in one asset of its pool or in all."""
        draw = self._random.random()
        low, high = next((low, high) for share, low, high in RICHNESS if draw < share)
        p.richness = float(self._random.uniform(low, high))
        p.initial_usd = sum(self.initial_usd(name, quantity) for name, quantity in p.positions.items())
        shares = COLLATERAL[p.pool]
        inverse = next((asset for asset, name in INVERSE.items() if name in p.positions), None)
        if inverse:
            shares = {inverse: 1.0}
        elif self._random.random() < 0.5:
            shares = {next(iter(shares)): 1.0}
        for asset, share in shares.items():
            value, unit = self._asset_value(asset)
            wanted = p.initial_usd * p.richness * share / (value * (1 - float(self._example.assets[asset].haircut)))
            p.collateral[asset] = math.ceil(wanted * QUANTITY_ONE / unit) * unit
        p.held = dict(p.positions)
        return p

    def _asset_value(self, asset: str) -> tuple[float, int]:
        """(US dollars of one unit, smallest unit held in 1e-8)."""
        terms, value = self._example.assets[asset], 1.0
        if terms.instrument:
            value = self._price(terms.instrument) * float(self._example.instruments[terms.instrument].multiplier)
        return value, 10 ** (8 - terms.decimals)

    def initial_usd(self, instrument: str, quantity: int) -> float:
        """About what a position requires at first, by the newest version of its rule: only to size the collateral."""
        terms, units = self._example.instruments[instrument], abs(quantity) / QUANTITY_ONE
        price = self._price(instrument)
        notional = units * float(terms.multiplier) * (1 if terms.inverse else price)
        rule = self._example.rules[terms.rule or ""]
        p = rule.parameters
        if rule.model == "flat":
            return units * float(p.initial or 0)
        if rule.model == "tiered":
            tiers = [(float(t.above), float(t.initial)) for t in p.tiers or []]
            ends = [above for above, _ in tiers[1:]] + [math.inf]
            return sum(max(0.0, min(notional, end) - above) * rate for (above, rate), end in zip(tiers, ends, strict=True))
        volatility = self._volatility[terms.underlying or ""]
        moves = float(p.multiple or 0) * volatility * math.sqrt(float(p.days or 0))
        if terms.dv01 is not None:
            loss = moves * units * float(terms.dv01) * float(terms.multiplier)
        else:
            loss = moves / math.sqrt(float(p.days_per_year)) * notional
        floor = float(p.floor or 0) * units * (price if terms.inverse else 1)
        return max(floor, loss) * float(p.initial_ratio or 1)

    def _price(self, instrument: str) -> float:
        return self._price_e9(instrument) / PRICE_ONE

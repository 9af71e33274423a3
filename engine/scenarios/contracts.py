"""Contracts whose history is made out of factors: Treasury futures by a par bond, securities, bitcoin futures by spot."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Final

import numpy as np

from engine.pricing.dates import add_months
from engine.pricing.treasury import FACE, Bond, cash_flows, clean_price
from engine.pricing.treasury_futures import CONTRACTS as TREASURY_FUTURES
from engine.pricing.treasury_futures import FuturesTerms, conversion_factor, point_value
from engine.scenarios.moves import Floats, Move, apply_move

TENORS: Final[Mapping[str, int]] = {f"m{months}": months for months in (3, 6, 12, 24, 36, 60, 84, 120, 240, 360)}
"""Months of each tenor of the par yield curve, under the column names of its file."""
BITCOIN_UNITS: Final = 5.0
SECURITY: Final = "UST"
SECURITY_FACE: Final = 100
"""USD of face value of one lot of a Treasury security: the smallest there is (31 CFR 356.30) [R]."""
_SECURITY: Final = re.compile(rf"{SECURITY}:(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)")
_ISSUE: Final = date(2000, 1, 1)  # any first of a month: terms count in whole months from it


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract and what moves it: its level is the sum of weight x factor, a par yield in per cent or a price.

    gain: profit in USD of one long contract from a level to each of new levels, in their shape.
    """

    symbol: str
    weights: Mapping[str, float]
    kind: Move
    gain: Callable[[float, Floats], Floats]

    def profit(self, level: float, moves: Floats) -> Floats:
        """Profit in USD of one long contract when its level moves by each of `moves` (finite), in their shape."""
        return self.gain(level, np.asarray(apply_move(level, moves, self.kind)))


def price_profit(units: float, price: float, new_prices: Floats) -> Floats:
    """Profit of a contract on so many units of an asset: units x change of the price."""
    return np.asarray(units * (new_prices - price))


def futures_profit(terms: FuturesTerms, yield_percent: float, new_percent: Floats) -> Floats:
    """Profit of a long Treasury future: the shortest deliverable par bond, repriced at the new yields, over its factor.

    Futures move = move of the cheapest to deliver / conversion factor, and below 6 % the shortest deliverable is about the
    cheapest (reference/rates.md 2). The coupon is the yield, or 0 where that is negative. No repo, no delivery options.
    """
    years, months = divmod(terms.remaining_min, 12)
    coupon = max(yield_percent, 0.0) / 100.0
    flows = cash_flows(Bond(coupon, add_months(_ISSUE, terms.remaining_min)), _ISSUE)
    change = clean_price(flows, new_percent / 100.0) - clean_price(flows, yield_percent / 100.0)
    return np.asarray(point_value(terms) * change / conversion_factor(terms, coupon, years, months))


def security_profit(coupon: float, months: int, yield_percent: float, new_percent: Floats) -> Floats:
    """Profit of SECURITY_FACE of a note or bond with a coupon (a fraction) and so many months to run, at new yields.

    It is as old every day: its yield is the par yield of its term, whatever its coupon.
    """
    flows = cash_flows(Bond(coupon, add_months(_ISSUE, months)), _ISSUE)
    change = clean_price(flows, new_percent / 100.0) - clean_price(flows, yield_percent / 100.0)
    return np.asarray(SECURITY_FACE / FACE * change)


def tenor_weights(months: int) -> dict[str, float]:
    """Weights of the two tenors round a maturity, for linear interpolation; ValueError outside the curve's tenors."""
    names, ends = list(TENORS), list(TENORS.values())
    if not ends[0] <= months <= ends[-1]:
        raise ValueError(f"maturity: found {months} months; allowed: {ends[0]} to {ends[-1]}")
    right = next(i for i, end in enumerate(ends) if end >= months)
    if ends[right] == months:
        return {names[right]: 1.0}
    share = (months - ends[right - 1]) / (ends[right] - ends[right - 1])
    return {names[right - 1]: 1.0 - share, names[right]: share}


def _treasury(symbol: str) -> Contract:
    terms = TREASURY_FUTURES[symbol]
    return Contract(symbol, tenor_weights(terms.remaining_min), Move.BP, partial(futures_profit, terms))


CONTRACTS: Final[Mapping[str, Contract]] = {
    **{symbol: _treasury(symbol) for symbol in ("ZT", "ZF", "ZN", "ZB")},
    "BTC": Contract("BTC", {"btc": 1.0}, Move.LOG, partial(price_profit, BITCOIN_UNITS)),
}
"""The contracts of the backtest. BTC: 5 bitcoin at spot, no basis (reference/crypto.md 2, [P])."""


def contract_of(name: str) -> Contract:
    """A contract by its symbol, or a security by coupon in per cent and years to run, such as UST:4.25:10.

    ValueError for another name, a coupon that no Treasury had, or a term that is not of whole months of the curve.
    """
    if name in CONTRACTS:
        return CONTRACTS[name]
    form = _SECURITY.fullmatch(name)
    if not form:
        raise ValueError(
            f"instrument: found '{name}'; allowed: {', '.join(CONTRACTS)}, {SECURITY}:COUPON:YEARS such as "
            f"{SECURITY}:4.25:10"
        )
    coupon, years = Decimal(form[1]) / 100, Decimal(form[2])
    months = 12 * years
    if months != int(months):
        raise ValueError(f"instrument {name}: found {years} years; allowed: whole months")
    try:
        weights = tenor_weights(int(months))
        Bond(float(coupon), add_months(_ISSUE, int(months)))
    except ValueError as error:
        raise ValueError(f"instrument {name}: {error}") from error
    return Contract(name, weights, Move.BP, partial(security_profit, float(coupon), int(months)))

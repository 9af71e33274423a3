"""Contracts whose history is made out of factors: Treasury futures by a par bond, bitcoin futures by spot."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from engine.pricing.dates import add_months
from engine.pricing.treasury import Bond, cash_flows, clean_price
from engine.pricing.treasury_futures import CONTRACTS as TREASURY_FUTURES
from engine.pricing.treasury_futures import FuturesTerms, conversion_factor, point_value
from engine.scenarios.moves import Floats, Move, apply_move

TENORS: Final[Mapping[str, int]] = {f"m{months}": months for months in (3, 6, 12, 24, 36, 60, 84, 120, 240, 360)}
"""Months of each tenor of the par yield curve, under the column names of its file."""
BITCOIN_UNITS: Final = 5.0
_ISSUE: Final = date(2000, 1, 1)  # any first of a month: terms count in whole months from it


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract and what moves it: its level is the sum of weight x factor, a par yield in per cent or a price.

    units: of the asset, for a contract on a price; terms: of a Treasury future.
    """

    symbol: str
    weights: Mapping[str, float]
    kind: Move
    units: float = 0.0
    terms: FuturesTerms | None = None

    def profit(self, level: float, moves: Floats) -> Floats:
        """Profit in USD of one long contract when its level moves by each of `moves` (finite), in their shape."""
        if self.terms is None:
            return np.asarray(self.units * (apply_move(level, moves, self.kind) - level))
        return futures_profit(self.terms, level, np.asarray(apply_move(level, moves, self.kind)))


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
    return Contract(symbol, tenor_weights(terms.remaining_min), Move.BP, terms=terms)


CONTRACTS: Final[Mapping[str, Contract]] = {
    **{symbol: _treasury(symbol) for symbol in ("ZT", "ZF", "ZN", "ZB")},
    "BTC": Contract("BTC", {"btc": 1.0}, Move.LOG, units=BITCOIN_UNITS),
}
"""The contracts of the backtest. BTC: 5 bitcoin at spot, no basis (reference/crypto.md 2, [P])."""

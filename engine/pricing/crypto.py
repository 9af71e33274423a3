"""Crypto futures and perpetuals: profit and loss, funding, liquidation price. Rates are fractions, moves of 5 % are 0.05.

Linear contracts are margined and paid in the quote currency, inverse ones in the coin. Quanto contracts are not priced: the
reference names none.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from engine.pricing.checks import Array, above, finite

HOURS_OF_RATE: Final = 8  # premium, interest and clamp are stated for eight hours


@dataclass(frozen=True, slots=True)
class CoinFuture:
    """Terms of a cash-settled CME future: coins a contract, tick in dollars per coin."""

    product: str
    coins: float
    tick: float
    source: str


CME_FUTURES: Final = {
    terms.product: terms
    for terms in (
        CoinFuture("BTC", 5.0, 5.0, "[P] CME Bitcoin futures FAQ"),
        CoinFuture("MBT", 0.1, 5.0, "[P] CME Micro Bitcoin futures"),
        CoinFuture("ETH", 50.0, 0.5, "[M] unit and tick to be checked with CME ch. 349"),
        CoinFuture("MET", 0.1, 0.5, "[P] unit, CME Micro Ether futures; [M] tick"),
    )
}


@dataclass(frozen=True, slots=True)
class FundingRule:
    """A clamped funding rule: the interval in hours, interest and clamp for eight hours."""

    venue: str
    hours: int
    interest: float
    clamp: float
    source: str


FUNDING_RULES: Final = {
    rule.venue: rule
    for rule in (
        FundingRule("bitnomial", 8, 0.0001, 0.0005, "[P] Bitnomial rulebook, product PBUC: 1,920 samples of 15 s"),
        FundingRule("binance", 8, 0.0001, 0.0005, "[S] Binance FAQ 360033525031; other intervals scale by hours / 8"),
    )
}


def funding_rule(venue: str) -> FundingRule:
    """The clamped rule of a venue; ValueError for one whose formula is not known: feed its published rate."""
    if venue not in FUNDING_RULES:
        raise ValueError(f"no funding formula is known for {venue!r}, only for {', '.join(FUNDING_RULES)}")
    return FUNDING_RULES[venue]


def linear_pnl(coins: ArrayLike, entry: ArrayLike, price: ArrayLike) -> Array:
    """Quote currency won by signed coins between two prices: q (P1 - P0)."""
    return finite("coins", coins) * (finite("price", price) - finite("entry price", entry))


def inverse_pnl(quote_notional: ArrayLike, entry: ArrayLike, price: ArrayLike) -> Array:
    """Coins won by a signed notional in the quote currency between two prices: Q (1/P0 - 1/P1)."""
    return finite("notional", quote_notional) * (1 / above("entry price", entry, 0.0) - 1 / above("price", price, 0.0))


def inverse_move_pnl(coins: ArrayLike, move: ArrayLike) -> Array:
    """Coins won by signed coins (notional over the present price) when the price moves by a fraction: q m / (1 + m)."""
    by = above("price move", move, -1.0)
    return finite("coins", coins) * by / (1 + by)


def premium_index(impact_bid: ArrayLike, impact_ask: ArrayLike, index: ArrayLike) -> Array:
    """How far impact prices lie outside the index: (max(0, bid - S) - max(0, S - ask)) / S (Bitnomial, dYdX [P])."""
    spot = above("index", index, 0.0)
    over = np.maximum(0.0, finite("impact bid", impact_bid) - spot)
    under = np.maximum(0.0, spot - finite("impact ask", impact_ask))
    result: Array = (over - under) / spot
    return result


def premium_weights(count: int) -> Array:
    """The weights 1 to count of a funding interval's samples, in their order."""
    return np.arange(1.0, count + 1)


def average_premium(premiums: ArrayLike) -> Array:
    """The average over samples (..., n) with weight i for the i-th: the latest counts most (Bitnomial [P], Binance [S])."""
    samples = finite("premium", premiums)
    if samples.ndim == 0 or samples.shape[-1] == 0:
        raise ValueError("an average premium needs one sample or more")
    weights = premium_weights(samples.shape[-1])
    result: Array = samples @ weights / weights.sum()
    return result


def clamped_funding_rate(rule: FundingRule, premium: ArrayLike) -> Array:
    """Funding of one interval from the average premium: (P + clamp(I - P, -c, +c)) hours / 8."""
    average = finite("premium", premium)
    rate = average + np.clip(rule.interest - average, -rule.clamp, rule.clamp)
    result: Array = rate * rule.hours / HOURS_OF_RATE
    return result


def dydx_funding_rate(premium: ArrayLike, interest: float, initial_ratio: float, maintenance_ratio: float) -> Array:
    """dYdX's rate of one hour: premium / 8 + hourly interest, capped by an eighth of dydx_funding_cap (dYdX docs [P])."""
    cap = dydx_funding_cap(initial_ratio, maintenance_ratio) / HOURS_OF_RATE
    result: Array = np.clip(finite("premium", premium) / HOURS_OF_RATE + interest, -cap, cap)
    return result


def dydx_funding_cap(initial_ratio: float, maintenance_ratio: float) -> float:
    """The largest eight-hour funding rate: 600 % of (IMF - MMF) (dYdX docs [P])."""
    return 6.0 * float(above("initial less maintenance ratio", initial_ratio - maintenance_ratio, 0.0))


def twap_funding_rate(mark_average: ArrayLike, index_average: ArrayLike) -> Array:
    """01.xyz's rate of one hour: (mark / index - 1) / 24 of time-weighted averages, the ratio in 0.95..1.05 (docs [P])."""
    ratio = finite("average mark", mark_average) / above("average index", index_average, 0.0)
    result: Array = (np.clip(ratio, 0.95, 1.05) - 1) / 24
    return result


def linear_funding(coins: ArrayLike, mark: ArrayLike, rate: ArrayLike) -> Array:
    """Quote currency received by signed coins: -q mark F; a long pays a positive rate."""
    return -finite("coins", coins) * finite("mark", mark) * finite("funding rate", rate)


def inverse_funding(quote_notional: ArrayLike, mark: ArrayLike, rate: ArrayLike) -> Array:
    """Coins received by a signed notional in the quote currency: -(Q / mark) F."""
    return -finite("notional", quote_notional) / above("mark", mark, 0.0) * finite("funding rate", rate)


def liquidation_price(
    equity: ArrayLike, size: ArrayLike, price: ArrayLike, maintenance_ratio: ArrayLike, other_maintenance: ArrayLike = 0.0
) -> Array:
    """The price at which equity falls to maintenance: (e - s p - other) / (|s| mmf - s) (dYdX docs, liquidations [P]).

    nan where no positive price liquidates (a long with more equity than value).
    """
    coins = finite("size", size)
    if (coins == 0).any():
        raise ValueError("a position of size 0 has no liquidation price")
    ratio = above("maintenance ratio", maintenance_ratio, 0.0)
    if (ratio >= 1).any():
        raise ValueError(f"maintenance ratio {ratio.max():g} must be below 1")
    left = finite("equity", equity) - coins * finite("price", price) - finite("other maintenance", other_maintenance)
    found: Array = left / (np.abs(coins) * ratio - coins)
    return np.where(found > 0, found, np.nan)

"""Add-ons to a requirement, each a line of its own: what it adds, in minor units, rounded up, never below 0.

Shares and rates are 1e-9, times nanoseconds. LIMIT where an input or the result is out of its range, so that the account is
UNPRICED and no number looks right. The kinds: DESIGN 4 and crypto.md 7 [D]; forms that are ours are marked [I]; every rate,
threshold and multiplier is a parameter of a dated rule file.
"""

import math
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E6, E9, LIMIT, callable_part, fits, mul_div_floor, mul_div_up, part
from engine.events import WEEK_NS

_E18: Final = E9 * E9
_DIVISOR_MAX: Final = 1 << 53  # divisors are below it


@callable_part
def share_up(amount_minor: int, share_ppb: int) -> int:
    """Amount x share, rounded up; LIMIT where one is not from 0 to below LIMIT, or the product is not below it."""
    if not (0 <= amount_minor < LIMIT and 0 <= share_ppb < LIMIT):
        return LIMIT
    return int(mul_div_up(amount_minor, share_ppb, E9))


@callable_part
def root_up(value: int) -> int:
    """The least integer whose square is not below the value, which is from 0 to LIMIT."""
    root = int(math.sqrt(float(value)))
    while root * root < value:
        root += 1
    return root


@callable_part
def liquidity(risk_minor: int, lots: int, daily_volume_lots: int, participation_ppm: int, horizon_days: int) -> int:
    """risk x (sqrt(d / horizon) - 1) where d > horizon, d = |lots| / (participation x volume a day) in days, else 0.

    d / horizon rounds up to 1e-12, its root to 1e-6, the charge to a minor unit: never too little, at most risk x (1e-6 +
    1e-12) + 1 too much. LIMIT: no volume, participation (1e-6) outside 0 to 1, horizon below 1 day, participation x volume x
    horizon of 2^53 and more. Root of time: [I]; that size is charged: SPAN 2 (rates.md 5.4 [P] 53).
    """
    if not 0 <= risk_minor < LIMIT or abs(lots) >= LIMIT:
        return LIMIT
    if daily_volume_lots <= 0 or not 0 < participation_ppm <= E6 or horizon_days < 1:
        return LIMIT
    if float(participation_ppm) * float(daily_volume_lots) * float(horizon_days) >= _DIVISOR_MAX:
        return LIMIT
    ratio = mul_div_up(abs(lots), _E18, participation_ppm * daily_volume_lots * horizon_days)
    if ratio >= LIMIT:
        return LIMIT
    return int(mul_div_up(risk_minor, max(0, root_up(ratio) - E6), E6))


class Regime(IntEnum):
    """Where short volatility stands against its long-run band: a side left is an early warning."""

    BELOW = -1
    INSIDE = 0
    ABOVE = 1


_BELOW, _INSIDE, _ABOVE = (int(regime) for regime in Regime)


@part
def _regime_of(short_volatility: int, long_volatility: int, low_ppb: int, high_ppb: int) -> int:
    """Regime of short over long-run volatility (one unit, long above 0) against [low, high], exactly; the bounds inside."""
    if fits(long_volatility, high_ppb, E9) and short_volatility > mul_div_floor(long_volatility, high_ppb, E9):
        return _ABOVE
    return _BELOW if short_volatility < mul_div_up(long_volatility, low_ppb, E9) else _INSIDE


@callable_part
def volatility_buffer(
    risk_minor: int, short_volatility: int, long_volatility: int, low_ppb: int, high_ppb: int, buffer_ppb: int
) -> tuple[int, int]:
    """(risk x buffer where the regime is ABOVE, else 0; the Regime) [I].

    (LIMIT, INSIDE) where the long-run volatility is not above 0, the short one below 0, or not 0 <= low <= high.
    """
    if long_volatility <= 0 or short_volatility < 0 or not 0 <= low_ppb <= high_ppb:
        return LIMIT, _INSIDE
    regime = _regime_of(short_volatility, long_volatility, low_ppb, high_ppb)
    charge = share_up(risk_minor, buffer_ppb)
    return charge if regime == _ABOVE or charge >= LIMIT else 0, regime


@callable_part
def buffer_used(short_volatility: int, long_volatility: int, buffer_ppb: int) -> int:
    """The share of an anti-procyclicality buffer b that a rise of volatility k = short / long has used up, 1e-9, down [I].

    (1 + b)(1 - 1 / k) / b, within 0 and 1: so that risk x (1 + b (1 - used)) of a risk that moves with volatility stays what
    it was until it has risen by b. 0, the whole buffer, where a volatility or b is not above 0 and below 2^53.
    """
    if not (0 < long_volatility < short_volatility < _DIVISOR_MAX and 0 < buffer_ppb < _DIVISOR_MAX):
        return 0
    rise = mul_div_floor(short_volatility - long_volatility, E9, short_volatility)
    return int(min(mul_div_floor(rise, E9 + buffer_ppb, buffer_ppb), E9))


@callable_part
def procyclicality_buffer(risk_minor: int, buffer_ppb: int, used_ppb: int) -> int:
    """risk x buffer x (1 - used): Regulation (EU) 153/2013, Article 28(1)(a) [M]: 25 % or more, used up when stressed.

    The article's other ways are parameters of the historical model: (b) its stress_weight, (c) its set's look-back.
    """
    if not (0 <= used_ppb <= E9 and 0 <= buffer_ppb < LIMIT):
        return LIMIT
    return share_up(risk_minor, mul_div_up(buffer_ppb, E9 - used_ppb, E9))


@callable_part
def fundings(now_ns: int, until_ns: int, interval_ns: int, first_ns: int) -> int:
    """How many funding times lie after now and up to a time; they are first, first + interval, ... (8 h or 1 h by venue).

    Bitnomial and Binance pay every 8 hours, dYdX and 01.xyz every hour (crypto.md 3.1 [P], [S]). -1: no interval above 0.
    """
    if interval_ns <= 0:
        return -1
    return max(0, (until_ns - first_ns) // interval_ns - (now_ns - first_ns) // interval_ns)


@callable_part
def funding(value_minor: int, rate_ppb: int, count: int) -> int:
    """What a perpetual's position expects to pay: max(0, value x rate) x count of fundings; longs pay a rate above 0.

    value: long above 0, short below; rate: per funding, of either sign. Linear form of crypto.md 3.1 [P]; what is received
    is not counted [I].
    """
    if abs(value_minor) >= LIMIT or abs(rate_ppb) >= LIMIT or count < 0:
        return LIMIT
    if value_minor == 0 or rate_ppb == 0 or (value_minor > 0) != (rate_ppb > 0):
        return 0
    if count > 0 and abs(rate_ppb) >= LIMIT // count:
        return LIMIT
    return share_up(abs(value_minor), abs(rate_ppb) * count)


@callable_part
def closure_ns(sessions: NDArray[np.int64], now_ns: int, ahead_ns: int) -> int:
    """How long the closure is, from close to next opening, that now lies in or that begins within a time ahead; 0: none.

    sessions: (n, 2) spans of nanoseconds within the week from Thursday 00:00 UTC, apart from one another, empty ones unused;
    one that crosses the week's end stands as two. ahead: below a week. Without any session: a week.
    """
    into = now_ns % WEEK_NS
    closes = into
    for i in range(len(sessions)):
        if sessions[i, 0] <= into < sessions[i, 1]:
            closes = sessions[i, 1]
    if closes == WEEK_NS:
        for i in range(len(sessions)):
            if sessions[i, 0] == 0 and sessions[i, 1] > 0:
                closes = WEEK_NS + sessions[i, 1]
    if closes - into > ahead_ns:
        return 0
    gap = WEEK_NS
    for i in range(len(sessions)):
        if sessions[i, 0] < sessions[i, 1]:
            gap = min(gap, (sessions[i, 0] - closes) % WEEK_NS)
    return gap


@callable_part
def closure_gap(risk_minor: int, closure: int, least_ns: int, multiplier_ppb: int) -> int:
    """risk x (multiplier - 1) over a closure (of closure_ns) of at least so long, such as a weekend, else 0 [I]."""
    charge = multiplied(risk_minor, multiplier_ppb)
    return charge if closure >= least_ns or charge >= LIMIT else 0


@callable_part
def multiplied(risk_minor: int, multiplier_ppb: int) -> int:
    """risk x (multiplier - 1), such as a house's multiplier on what a clearing house requires; LIMIT below 1 [I]."""
    return share_up(risk_minor, multiplier_ppb - E9)


@callable_part
def depeg(net_minor: int, share_ppb: int, charged_minor: int) -> int:
    """What a fall of a stablecoin by a share costs a net long exposure, less what its haircuts as collateral charge [I].

    net: positions and collateral in the coin at par, long above 0; net short gains from a fall and is charged nothing. That
    venues charge it: OKX MR9 (crypto.md 4.6 [P]; its tiers are not known).
    """
    if abs(net_minor) >= LIMIT or not 0 <= share_ppb <= E9 or not 0 <= charged_minor < LIMIT:
        return LIMIT
    return max(0, share_up(max(0, net_minor), share_ppb) - charged_minor)


@callable_part
def day_end(requirement_minor: int, limit_minor: int, buffer_ppb: int) -> tuple[int, int]:
    """(what a customer's day-end requirement is over its limit, the incremental capital buffer on that: over x share) [I].

    (LIMIT, LIMIT) where one is out of its range.
    """
    if not (0 <= requirement_minor < LIMIT and 0 <= limit_minor < LIMIT):
        return LIMIT, LIMIT
    over = max(0, requirement_minor - limit_minor)
    buffer = share_up(over, buffer_ppb)
    return (over, buffer) if buffer < LIMIT else (LIMIT, LIMIT)

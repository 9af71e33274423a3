"""Options on futures and on coins: Black 76 on the forward of the option's expiry, Bachelier where prices may be negative.

European values: CME's options on futures are American, which Black 76 without early exercise undervalues slightly when
discounted [I]. Volatility 0 or no time left gives the intrinsic value; an expired option (negative time) is a ValueError.
All arguments broadcast; `call` is +1.0 or True for calls, else a put. Volatilities and rates are fractions a year.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.pricing.checks import Array, above, at_least, finite
from engine.pricing.normal import cumulative, density

YEAR_NS: Final = 365 * 86_400 * 10**9  # actual/365 (Deribit, CME options [M])
MAX_DEVIATION: Final = 64.0  # volatility x sqrt(time) searched to; beyond it a call is worth its forward to the last bit
MAX_STEPS: Final = 200


class Greeks(NamedTuple):
    """Derivatives of a value: by the forward, twice by the forward, by the volatility (per 1.00)."""

    delta: Array
    gamma: Array
    vega: Array


def years_to_expiry(now_ns: int, expiry_ns: int) -> float:
    """Years (actual/365) from now to expiry; ValueError when the option has expired."""
    if now_ns > expiry_ns:
        raise ValueError(f"the option expired {(now_ns - expiry_ns) / 1e9:g} s ago")
    return (expiry_ns - now_ns) / YEAR_NS


def black_value(
    forward: ArrayLike,
    strike: ArrayLike,
    volatility: ArrayLike,
    years: ArrayLike,
    call: ArrayLike,
    discount: ArrayLike = 1.0,
) -> Array:
    """Value of options on a forward: discount s (F N(s d1) - K N(s d2)), s = +-1 (Black 1976, eq. 16).

    Forwards and strikes at or below 0 are a ValueError: where they may be, bachelier_value prices.
    """
    price, at, deviation, sign = _black_inputs(forward, strike, volatility, years, call)
    d1, d2 = _black_d(price, at, deviation)
    value = sign * (price * cumulative(sign * d1) - at * cumulative(sign * d2))
    result: Array = np.maximum(value, np.maximum(sign * (price - at), 0.0)) * above("discount factor", discount, 0.0)
    return result


def black_greeks(
    forward: ArrayLike,
    strike: ArrayLike,
    volatility: ArrayLike,
    years: ArrayLike,
    call: ArrayLike,
    discount: ArrayLike = 1.0,
) -> Greeks:
    """Delta, gamma, vega of black_value; ValueError where gamma is infinite (at the money, without time or volatility)."""
    price, at, deviation, sign = _black_inputs(forward, strike, volatility, years, call)
    factor = above("discount factor", discount, 0.0)
    if ((deviation == 0) & (price == at)).any():
        raise ValueError("an option at the money without time or volatility has no gamma")
    d1, _ = _black_d(price, at, deviation)
    width = np.where(deviation > 0, deviation, 1.0)  # the density beside it is 0 there
    peak = density(d1)
    return Greeks(
        delta=factor * sign * cumulative(sign * d1),
        gamma=factor * peak / (price * width),
        vega=factor * price * peak * np.sqrt(np.asarray(years, dtype=np.float64)),
    )


def bachelier_value(
    forward: ArrayLike,
    strike: ArrayLike,
    volatility: ArrayLike,
    years: ArrayLike,
    call: ArrayLike,
    discount: ArrayLike = 1.0,
) -> Array:
    """Value of options on a forward of either sign, volatility in price units: s (F - K) N(s d) + sd n(d) (Bachelier)."""
    price, at = finite("forward", forward), finite("strike", strike)
    deviation, sign = _deviation(volatility, years), _sign(call)
    gap = np.asarray(sign * (price - at))
    d = _ratio(gap, deviation)
    value = gap * cumulative(d) + deviation * density(d)
    result: Array = np.maximum(value, np.maximum(gap, 0.0)) * above("discount factor", discount, 0.0)
    return result


def inverse_value(forward: ArrayLike, strike: ArrayLike, volatility: ArrayLike, years: ArrayLike, call: ArrayLike) -> Array:
    """Coins a coin-settled option is worth: the Black value without discounting over the forward (Deribit, rate 0 [P])."""
    return black_value(forward, strike, volatility, years, call) / above("forward", forward, 0.0)


def inverse_delta(forward: ArrayLike, strike: ArrayLike, volatility: ArrayLike, years: ArrayLike, call: ArrayLike) -> Array:
    """Deribit's net transaction delta: the Black delta less the value in coins (docs of delta_total [P])."""
    price, at, deviation, sign = _black_inputs(forward, strike, volatility, years, call)
    d1, _ = _black_d(price, at, deviation)
    result: Array = sign * cumulative(sign * d1) - inverse_value(forward, strike, volatility, years, call)
    return result


def implied_volatility(
    value: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, call: ArrayLike, discount: ArrayLike = 1.0
) -> Array:
    """The Black volatility of values: Newton inside a shrinking bracket, on the out-of-the-money option of the same strike.

    ValueError where the value is below intrinsic or not below its limit (forward for calls, strike for puts), or no time is
    left; exactly intrinsic is volatility 0.
    """
    price, at, _, sign = _black_inputs(forward, strike, 0.0, above("years to expiry", years, 0.0), call)
    paid = finite("option value", value) / above("discount factor", discount, 0.0)
    intrinsic = np.maximum(sign * (price - at), 0.0)
    limit = np.where(sign > 0, price, at)
    paid, intrinsic, limit, price, at, time = np.broadcast_arrays(
        paid, intrinsic, limit, price, at, np.asarray(years, np.float64)
    )
    wrong = (paid < intrinsic) | (paid >= limit)
    if wrong.any():
        low, high, found = (float(bound[wrong].flat[0]) for bound in (intrinsic, limit, paid))
        raise ValueError(f"option value {found:g} has no volatility: it must be {low:g} or more and below {high:g}")
    result: Array = _solved_deviation(paid - intrinsic, price, at) / np.sqrt(time)
    return result


def _solved_deviation(target: Array, price: Array, at: Array) -> Array:
    """Volatility x sqrt(time) at which the out-of-the-money option is worth each target; 0 where that is 0."""
    out = np.where(at >= price, 1.0, -1.0)  # the call above the forward, the put below it
    low, high = np.zeros(target.shape), np.full(target.shape, MAX_DEVIATION)
    # The value bends from convex to concave here: Newton from there comes from one side (Manaster and Koehler 1982).
    deviation = np.clip(np.sqrt(2 * np.abs(np.log(price / at))), 0.1, MAX_DEVIATION / 2)
    for _ in range(MAX_STEPS):
        error = black_value(price, at, deviation, 1.0, out) - target
        low, high = np.where(error <= 0, deviation, low), np.where(error >= 0, deviation, high)
        slope = price * density(_black_d(price, at, deviation)[0])
        step = np.divide(error, slope, out=np.full(target.shape, np.inf), where=slope > 0)
        newton = deviation - step
        inside = (newton > low) & (newton < high)
        following = np.where(inside, newton, (low + high) / 2)
        if np.all(np.abs(following - deviation) <= 1e-15 * deviation):
            break
        deviation = following
    return np.where(target > 0, deviation, 0.0)


def _black_inputs(
    forward: ArrayLike, strike: ArrayLike, volatility: ArrayLike, years: ArrayLike, call: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """Forward, strike, volatility x sqrt(time) and +1 for calls, -1 for puts; checked."""
    price, at = above("forward", forward, 0.0), above("strike", strike, 0.0)
    return price, at, _deviation(volatility, years), _sign(call)


def _deviation(volatility: ArrayLike, years: ArrayLike) -> Array:
    time = at_least("years to expiry", years, 0.0)
    result: Array = at_least("volatility", volatility, 0.0) * np.sqrt(time)
    return result


def _sign(call: ArrayLike) -> Array:
    given: NDArray[np.bool_] = np.asarray(call, dtype=np.float64) > 0
    return np.where(given, 1.0, -1.0)


def _black_d(price: Array, at: Array, deviation: Array) -> tuple[Array, Array]:
    """d1 and d2; infinite of the sign of the moneyness, or 0 at the money, where the deviation is 0."""
    moneyness = _ratio(np.log(price / at), deviation)
    return moneyness + deviation / 2, moneyness - deviation / 2


def _ratio(above_line: Array, below_line: Array) -> Array:
    """above / below; infinite of the same sign, or 0, where below is 0."""
    top, bottom = np.broadcast_arrays(above_line, below_line)
    without = np.where(top == 0, 0.0, np.copysign(np.inf, top))
    with np.errstate(over="ignore"):  # infinite is right for the smallest deviations too
        result: Array = np.divide(top, bottom, out=without, where=bottom > 0)
    return result

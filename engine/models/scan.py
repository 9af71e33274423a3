"""The scan model: 16 SPAN scenarios, charges for calendar spreads, credits between commodities, short option minimum.

Scenarios, spread rules and the requirement: rates.md 5.1-5.2 ([S] 47, [P] 46, 48-51; the requirement's form [R]). Profit is
positive here; CME's files have loss positive, negate them first.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import LIMIT, add_up, callable_part, mul_div_floor, mul_div_up, part
from engine.models.rows import MINOR_MAX

MICRO: Final = 1_000_000
# The extreme move in scan ranges and its weight: McMillan, Options as a Strategic Investment, ch. 34 [S]; rates.md 5.1 [R].
CLASSIC: Final = (2.0, 0.35)
LATER_CME: Final = (3.0, 0.33)
_THIRDS: Final = (0, 1, -1, 2, -2, 3, -3)


class Scenario(NamedTuple):
    """A move in price scan ranges, a volatility up (+1), down (-1) or held (0), and what share of the result counts."""

    move: float
    volatility: int
    weight: float


def scenarios(extreme: tuple[float, float] = CLASSIC) -> list[Scenario]:
    """The 16 scenarios in the published order; extreme: the move of the last two in scan ranges, and their weight."""
    move, weight = extreme
    if not (0 < move < np.inf and 0 < weight <= 1):
        raise ValueError(f"extreme is {extreme}; allowed is a positive number of scan ranges and a weight above 0, up to 1")
    moves = [Scenario(thirds / 3, volatility, 1.0) for thirds in _THIRDS for volatility in (1, -1)]
    return [*moves, Scenario(move, 0, weight), Scenario(-move, 0, weight)]


def risk_array(
    value: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    price: float,
    price_scan: float,
    volatility: float,
    volatility_scan: float,
    extreme: tuple[float, float] = CLASSIC,
) -> NDArray[np.float64]:
    """(16,) profit or loss of one long unit; value takes prices and volatilities (16,), the volatility not below 0.

    ValueError: a scan range below 0, or an input or a value that is not finite.
    """
    if not (
        np.isfinite([price, volatility, price_scan, volatility_scan]).all() and price_scan >= 0 and volatility_scan >= 0
    ):
        raise ValueError(
            f"price {price}, volatility {volatility}, scan ranges {price_scan} and {volatility_scan}; allowed are finite"
            " numbers, scan ranges from 0"
        )
    moves, signs, weights = np.array(scenarios(extreme), np.float64).T
    shocked = value(price + moves * price_scan, np.maximum(volatility + signs * volatility_scan, 0.0))
    now = value(np.full(1, price), np.full(1, volatility))
    result: NDArray[np.float64] = weights * (shocked - now)
    if not np.isfinite(result).all():
        raise ValueError(f"the value is not finite in scenario {int(np.argmin(np.isfinite(result))) + 1}")
    return result


class Leg(NamedTuple):
    """One leg of a spread: a pool of deltas (a tier, or a commodity), how many deltas one spread takes, and its side."""

    pool: int
    ratio: int | Fraction
    side: int


class Spread(NamedTuple):
    """A recognised spread and what one of it charges or credits, minor units. Legs of side +1 oppose legs of side -1."""

    legs: tuple[Leg, ...]
    amount_minor: int | Fraction


class Spreads(NamedTuple):
    """Spreads in their order of priority: first (spreads + 1,) says where each one's legs begin."""

    first: NDArray[np.int64]
    pool: NDArray[np.int32]
    ratio_micros: NDArray[np.int64]
    side: NDArray[np.int64]
    amount_micros: NDArray[np.int64]


def inter_commodity(legs: Sequence[Leg], outright_minor: Sequence[int], rate: Fraction) -> Spread:
    """A spread between commodities: credit = rate x sum of outright x ratio (rates.md 5.2: [P] 49), rounded down to 1e-6.

    outright_minor: the margin of one unit of each leg alone. ValueError: a rate outside 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"credit rate is {rate}; allowed is 0 to 1")
    credit = sum(Fraction(rate) * outright * leg.ratio for outright, leg in zip(outright_minor, legs, strict=True))
    return Spread(tuple(legs), Fraction(int(credit * MICRO // 1), MICRO))


def spread_table(spreads: Sequence[Spread], pools: int) -> Spreads:
    """The table of spreads, highest priority first, over so many pools of deltas; amounts to 1e-6 minor units.

    ValueError: a spread without both sides, an unknown pool, a ratio or amount that is not positive, too large or finer than
    1e-6.
    """
    for at, spread in enumerate(spreads):
        if {leg.side for leg in spread.legs} != {1, -1}:
            raise ValueError(
                f"spread {at} has the sides {[leg.side for leg in spread.legs]}; allowed are +1 and -1, both of them"
            )
        if not all(0 <= leg.pool < pools for leg in spread.legs):
            raise ValueError(f"spread {at} has the pools {[leg.pool for leg in spread.legs]}; allowed is 0 to {pools - 1}")
        if len({(leg.pool, leg.side) for leg in spread.legs}) < len(spread.legs):
            raise ValueError(f"spread {at} has two legs in one pool on one side; allowed is one leg with their sum")
    legs = [leg for spread in spreads for leg in spread.legs]
    return Spreads(
        np.cumsum([0, *(len(spread.legs) for spread in spreads)], dtype=np.int64),
        np.array([leg.pool for leg in legs], np.int32),
        np.array([_micros(leg.ratio, "ratio", 1) for leg in legs], np.int64),
        np.array([leg.side for leg in legs], np.int64),
        np.array([_micros(spread.amount_minor, "amount", 0) for spread in spreads], np.int64),
    )


def _micros(value: int | Fraction, name: str, least: int) -> int:
    micros = Fraction(value) * MICRO
    if micros.denominator != 1 or not least <= micros < MINOR_MAX:
        raise ValueError(
            f"{name} {value} of a spread; allowed are multiples of 1e-6 from {least}e-6 to {MINOR_MAX // MICRO}"
        )
    return int(micros)


@callable_part
def tier_deltas(
    net_micros: NDArray[np.int64],
    tier_of: NDArray[np.int32],
    long_micros: NDArray[np.int64],
    short_micros: NDArray[np.int64],
) -> None:
    """Long and short deltas of each tier, from the net delta of each expiry; both (tiers,) int64 in 1e-6, overwritten."""
    for t in range(len(long_micros)):
        long_micros[t] = short_micros[t] = 0
    for m in range(len(net_micros)):
        long_micros[tier_of[m]] += max(net_micros[m], 0)
        short_micros[tier_of[m]] += max(-net_micros[m], 0)


@part
def _formable(spreads: Spreads, i: int, way: int, long_micros: NDArray[np.int64], short_micros: NDArray[np.int64]) -> int:
    """How many of a spread, in 1e-6, the deltas allow, its side +1 long (way 1) or short (way -1); rounded down."""
    count = LIMIT
    for leg in range(spreads.first[i], spreads.first[i + 1]):
        deltas = long_micros if spreads.side[leg] == way else short_micros
        held, ratio = deltas[spreads.pool[leg]], spreads.ratio_micros[leg]
        if float(held) / float(ratio) * 1e6 < float(count):
            count = min(count, mul_div_floor(held, MICRO, ratio))
    return count


@callable_part
def spread_amount(
    spreads: Spreads, start: int, stop: int, long_micros: NDArray[np.int64], short_micros: NDArray[np.int64], credit: bool
) -> int:
    """Minor units that the spreads from start to stop, formed in their order, charge (rounded up) or credit (rounded down).

    long, short: (pools,) int64 in 1e-6 deltas, and what each spread takes is taken off. Spreads are counted in 1e-6, down.
    LIMIT (as a credit: 0) where the amount is not below that.
    """
    total = 0
    for i in range(start, stop):
        for way in (1, -1):
            count = _formable(spreads, i, way, long_micros, short_micros)
            if count == 0:
                continue
            for leg in range(spreads.first[i], spreads.first[i + 1]):
                deltas = long_micros if spreads.side[leg] == way else short_micros
                deltas[spreads.pool[leg]] -= mul_div_floor(count, spreads.ratio_micros[leg], MICRO)
            amount = mul_div_up(count, spreads.amount_micros[i], MICRO)
            if credit and amount < LIMIT:
                amount = mul_div_floor(count, spreads.amount_micros[i], MICRO)
            total += amount
            if total >= LIMIT:
                return 0 if credit else LIMIT
    return total // MICRO if credit else -(-total // MICRO)


@callable_part
def short_option_minimum(lots: NDArray[np.int64], charge_micros: NDArray[np.int64]) -> int:
    """Minor units that short options require at least: short lots x charge in 1e-6 of them (0: no option); LIMIT at most.

    The charge per short call or put is a share of one future's outright margin (rates.md 5.2: [P] 51).
    """
    total = 0
    for p in range(len(lots)):
        if lots[p] < 0:
            total = add_up(total, mul_div_up(-lots[p], charge_micros[p], MICRO))
    return total


@callable_part
def requirement(scan_minor: int, calendar_minor: int, delivery_minor: int, credit_minor: int, minimum_minor: int) -> int:
    """max(scan + calendar + delivery - inter-commodity credit, short option minimum), never below 0 (rates.md 5.2 [R])."""
    return max(scan_minor + calendar_minor + delivery_minor - credit_minor, minimum_minor, 0)

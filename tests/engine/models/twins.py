"""Slow twins of the models' kernels in plain Python integers and Fractions: the obvious way, without limits of range."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor

Vector = list[int]


def vector(rows: Sequence[Sequence[int]], decimals: Sequence[int], positions: Sequence[tuple[int, int]]) -> Vector:
    """The sum of lots x row in units of 10^-K, K the largest of all decimals and 0; positions: (row, lots)."""
    common = max([0, *decimals])
    return [sum(lots * rows[r][s] * 10 ** (common - decimals[r]) for r, lots in positions) for s in range(len(rows[0]))]


def loss_at(pnl: Sequence[int], rank: int) -> int:
    return sorted((-value for value in pnl), reverse=True)[rank]


def historical(pnl: Sequence[int], lookback: int, tail_bps: int, stress: int, weight_bps: int) -> int:
    """Risk part in common units."""
    loss = Fraction(loss_at(pnl[:lookback], lookback * tail_bps // 10_000))
    if weight_bps:
        weight = Fraction(weight_bps, 10_000)
        loss = loss * (1 - weight) + weight * loss_at(pnl[lookback:], stress * tail_bps // 10_000)
    return max(0, ceil(loss))


def spreads(table: Sequence[tuple[Sequence[tuple[int, int, int]], int]], long: Vector, short: Vector, credit: bool) -> int:
    """Spreads of ([(pool, ratio micros, side)], amount micros) formed in order; the deltas (micros) are reduced."""
    total = 0
    for legs, amount in table:
        for way in (1, -1):
            held = [(long if side == way else short, pool, ratio) for pool, ratio, side in legs]
            count = min(deltas[pool] * 10**6 // ratio for deltas, pool, ratio in held)
            for deltas, pool, ratio in held:
                deltas[pool] -= count * ratio // 10**6
            exact = Fraction(count * amount, 10**6)
            total += floor(exact) if credit else ceil(exact)
    return total // 10**6 if credit else ceil(Fraction(total, 10**6))


def grid_total(pairs: Sequence[tuple[Vector, Vector, int, int]]) -> Vector:
    """Cells over currency pairs of (cells, dampeners, most that offsets, its share in 1e-9)."""
    total = [0] * len(pairs[0][0])
    for cells, dampeners, cap, share in pairs:
        for c, (value, damp) in enumerate(zip(cells, dampeners, strict=True)):
            size = max(0, abs(value) - damp)
            total[c] += -size if value < 0 else floor(Fraction(min(size, cap) * share, 10**9))
    return total


def delta_shock(options: int, other: int, price: int, coin: int, rule: tuple[int, int, int]) -> Fraction:
    """Money, unrounded."""
    threshold, m_inc, cap = rule
    net = min(max(options + other, other), 0) if other < 0 else max(min(options + other, other), 0)
    coins = Fraction(abs(net), coin)
    rate = min(Fraction(m_inc, 10**9) * max(coins - Fraction(threshold, price), 0), Fraction(cap, 10**9))
    return coins * price * rate


def points_loss(classes: Sequence[Vector], offset_ppb: Sequence[int]) -> int:
    def offset(value: int, ppb: int) -> int:
        return value if value < 0 else floor(Fraction(value * ppb, 10**9))

    return max(0, *(-sum(map(offset, column, offset_ppb)) for column in zip(*classes, strict=True)))


def saving(houses: Sequence[tuple[int, int, int]], cap: Fraction, precision: Fraction) -> Fraction:
    """The lesser saving of houses that all answered, each (Treasury leg, futures leg, combined)."""
    each = [Fraction(0) if a <= 0 or b <= 0 else max(Fraction(0), 1 - Fraction(c, a + b)) for a, b, c in houses]
    least = min(each)
    return min(least // precision * precision if precision else least, cap)

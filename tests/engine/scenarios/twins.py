"""Slow twins of the scenarios: one number at a time, in the words of the docstrings."""

import math
from collections.abc import Sequence


def volatility(moves: Sequence[float | None], decay: float, weight: float, warm_up: int) -> list[float | None]:
    """The volatility known before each move, and today's."""
    seen: list[float] = []
    recent = 0.0
    out: list[float | None] = [None]
    for move in moves:
        if move is not None:
            seen.append(move)
            long_run = sum(m * m for m in seen) / len(seen)
            recent = long_run if len(seen) <= warm_up else decay * recent + (1 - decay) * move * move
        if len(seen) < warm_up:
            out.append(None)
        else:
            long_run = sum(m * m for m in seen) / len(seen)
            out.append(math.sqrt((1 - weight) * recent + weight * long_run))
    return out


def filtered(moves: Sequence[float | None], before: Sequence[float | None]) -> list[float | None]:
    """Each move over its volatility then, times today's."""
    today = before[-1]
    assert today is not None
    return [None if m is None or not v else m / v * today for m, v in zip(moves, before, strict=False)]


def tail(losses: Sequence[float], tail_bps: int) -> float:
    """The (n tail // 10,000 + 1)-th largest."""
    return sorted(losses, reverse=True)[len(losses) * tail_bps // 10_000]

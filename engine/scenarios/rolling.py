"""The historical margin of a contract on every day of its history, each from what was known the day before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.models.rows import rank_of
from engine.scenarios.contracts import Contract
from engine.scenarios.moves import Days, Floats, daily_moves, ewma_volatility, standardised
from engine.scenarios.sets import STRESS_DAYS, Filter, years_before


@dataclass(frozen=True, slots=True)
class Rule:
    """margin = max((1 - stress_weight) x filtered + stress_weight x stressed, floor x stressed), rounded up to a dollar.

    filtered: the loss at tail_bps over the filtered moves of the look-back; stressed: the same over the stress set, which is
    the look-back's moves as they were and the stress days, however long ago (once more where the look-back holds them).
    tail_bps 100 is the 99 % loss. The weight on stressed observations and the floor are options (b) and (c) of Article 28,
    Regulation (EU) 153/2013 [M: check].
    """

    filter: Filter = field(default_factory=Filter)
    tail_bps: int = 100
    stress_weight: float = 0.25
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.tail_bps < 5_000:
            raise ValueError(f"tail_bps: found {self.tail_bps}; allowed: 1 to 4999")
        for name in ("stress_weight", "floor"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: found {getattr(self, name)}; allowed: 0 to 1")


@dataclass(frozen=True, slots=True)
class Losses:
    """A contract over history, one row a day, in USD: what a margin is made of, and the profit of one long contract.

    filtered and stressed hold one column for each tail asked for; scenarios counts the filtered ones of the day.
    """

    days: Days
    profit: Floats
    filtered: Floats
    stressed: Floats
    scenarios: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Path:
    """A contract's level and moves: moves[i] leads from days[i] to days[i + 1]; volatility[i] was known before it.

    Columns of moves, scaled (over its volatility) and volatility are the contract's factors.
    """

    days: Days
    level: Floats
    moves: Floats
    scaled: Floats
    volatility: Floats
    weights: Floats


def tail_losses(losses: Floats, tails_bps: Sequence[int]) -> list[float]:
    """The loss at each tail: the (n tail // 10,000 + 1)-th largest, never interpolated, as engine.models takes it."""
    if not len(losses):
        raise ValueError("losses: found none; allowed: one or more scenarios")
    places = [len(losses) - 1 - rank_of(len(losses), tail) for tail in tails_bps]
    ordered = np.partition(losses, sorted(set(places)))
    return [float(ordered[place]) for place in places]


def path_of(contract: Contract, factors: Sequence[str], days: Days, levels: Floats, how: Filter) -> Path:
    """The contract's own columns of a history, moved and filtered; days without all of them are left out.

    ValueError where the history lacks a factor. A gap in the days keeps the volatility as it was before.
    """
    missing = [name for name in contract.weights if name not in factors]
    if missing:
        raise ValueError(f"{contract.symbol}: found no factor {', '.join(missing)}; the history has {', '.join(factors)}")
    own = levels[:, [list(factors).index(name) for name in contract.weights]]
    whole = ~np.isnan(own).any(axis=1)
    days, own = days[whole].astype("M8[D]"), own[whole]
    moves = daily_moves(own, [contract.kind] * own.shape[1], days)
    volatility = ewma_volatility(moves, how.decay, how.long_run_weight, how.warm_up)
    weights = np.array(list(contract.weights.values()))
    return Path(days, own @ weights, moves, standardised(moves, volatility), volatility, weights)


def losses_over(
    contract: Contract,
    path: Path,
    how: Filter,
    span: tuple[str, str],
    tails_bps: Sequence[int],
    stress: Mapping[str, str] = STRESS_DAYS,
) -> Losses:
    """Tail losses for every move that ends within span (first, last); what a day uses ended before that day.

    One rate serves both sides: a scenario's loss is the larger of the long's and the short's. A day without a move, or
    before any volatility, is left out. ValueError where nothing is left.
    """
    if how.horizon_days != 1 or how.antithetic:
        raise ValueError("filter: found a horizon over a day or mirrored moves; allowed in a backtest: neither")
    ends = path.days[1:]
    own = path.moves @ path.weights
    named = np.isin(ends, np.array(sorted(stress), "M8[D]")) & ~np.isnan(own)
    inside = (ends >= np.datetime64(span[0])) & (ends <= np.datetime64(span[1])) & ~np.isnan(own)
    at = np.flatnonzero(inside & ~np.isnan(path.volatility[:-1]).any(axis=1))
    if not len(at):
        raise ValueError(f"{contract.symbol}: found no day with a volatility from {span[0]} to {span[1]}")
    filtered, stressed = np.empty((len(at), len(tails_bps))), np.empty((len(at), len(tails_bps)))
    profit, count = np.empty(len(at)), np.empty(len(at), np.int64)
    for k, i in enumerate(at):
        start = int(np.searchsorted(ends[:i], years_before(path.days[i], how.look_back_years), side="right"))
        scaled = (path.scaled[start:i] * path.volatility[i]) @ path.weights
        scaled = scaled[~np.isnan(scaled)]
        raw = np.concatenate([own[start:i][~np.isnan(own[start:i])], own[:i][named[:i]]])
        result = contract.profit(float(path.level[i]), np.concatenate([own[i : i + 1], scaled, raw]))
        profit[k], loss = result[0], np.abs(result[1:])
        filtered[k] = tail_losses(loss[: len(scaled)], tails_bps)
        stressed[k] = tail_losses(loss[len(scaled) :], tails_bps)
        count[k] = len(scaled)
    return Losses(ends[at], profit, filtered, stressed, count)


def margin_of(filtered: Floats, stressed: Floats, rule: Rule) -> Floats:
    """The margin by day out of the two losses, as Rule says."""
    mixed = (1.0 - rule.stress_weight) * filtered + rule.stress_weight * stressed
    return np.asarray(np.ceil(np.maximum(mixed, rule.floor * stressed)))

"""Did a margin cover what came? Breaches and their size, tests of their number and independence, and how steady it was."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.scenarios.moves import Floats

PEAK_TO_TROUGH_DAYS: Final = 30


def chi_square_tail(statistic: float, degrees: int) -> float:
    """Probability that a chi-square variable of 1 or 2 degrees of freedom exceeds the statistic, in closed form."""
    if degrees not in (1, 2):
        raise ValueError(f"degrees: found {degrees}; allowed: 1 or 2")
    half = max(statistic, 0.0) / 2.0
    return math.erfc(math.sqrt(half)) if degrees == 1 else math.exp(-half)


def _log_likelihood(misses: int, hits: int, probability: float) -> float:
    """misses ln(1 - p) + hits ln p, with 0 ln 0 = 0."""
    total = misses * math.log1p(-probability) if misses else 0.0
    return total + (hits * math.log(probability) if hits else 0.0)


def kupiec(days: int, breaches: int, expected_rate: float) -> tuple[float, float]:
    """(statistic, p-value) of the proportion of failures: LR = -2 ln[(1-p)^(n-x) p^x / ((1-x/n)^(n-x) (x/n)^x)], chi2(1).

    Kupiec (1995), Techniques for verifying the accuracy of risk measurement models, J. of Derivatives 3(2), 73-84.
    """
    if not 0 <= breaches <= days or days == 0 or not 0 < expected_rate < 1:
        raise ValueError(
            f"found {breaches} breaches in {days} days at {expected_rate}; allowed: 0 to days, rate within 0..1"
        )
    misses, rate = days - breaches, breaches / days
    null, alternative = _log_likelihood(misses, breaches, expected_rate), _log_likelihood(misses, breaches, rate)
    statistic = max(2.0 * (alternative - null), 0.0)
    return statistic, chi_square_tail(statistic, 1)


def christoffersen(breached: NDArray[np.bool_]) -> tuple[float, float]:
    """(statistic, p-value) of independence: a breach is as likely after a breach as after none; chi2(1).

    With n_ij days in state j after state i: LR = -2 ln[(1-q)^(n00+n10) q^(n01+n11) / ((1-q0)^n00 q0^n01 (1-q1)^n10 q1^n11)].
    Christoffersen (1998), Evaluating interval forecasts, International Economic Review 39(4), 841-862.
    """
    before, after = breached[:-1], breached[1:]
    n00, n01 = int((~before & ~after).sum()), int((~before & after).sum())
    n10, n11 = int((before & ~after).sum()), int((before & after).sum())
    total = n00 + n01 + n10 + n11
    if n00 + n01 == 0 or n10 + n11 == 0:  # only one state was ever left: nothing to compare
        return 0.0, 1.0
    together = _log_likelihood(n00 + n10, n01 + n11, (n01 + n11) / total)
    apart = _log_likelihood(n00, n01, n01 / (n00 + n01)) + _log_likelihood(n10, n11, n11 / (n10 + n11))
    statistic = max(2.0 * (apart - together), 0.0)
    return statistic, chi_square_tail(statistic, 1)


def peak_to_trough(margin: Floats, days: int = PEAK_TO_TROUGH_DAYS) -> Floats:
    """Highest over lowest margin within each window of so many rows (rows - days + 1); one window where rows are fewer."""
    if (margin <= 0).any() or not np.isfinite(margin).all():
        raise ValueError("margin: found a value that is not finite and above 0; allowed: only such")
    windows = np.lib.stride_tricks.sliding_window_view(margin, min(days, len(margin)))
    return np.asarray(windows.max(axis=1) / windows.min(axis=1))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a margin did over a span of days; money in USD per contract, ratios and p-values plain."""

    days: int
    breaches: int
    breaches_long: int
    breaches_short: int
    breach_mean: float
    breach_worst: float
    kupiec_p: float
    independence_p: float
    conditional_p: float
    average: float
    peak_to_trough_median: float
    peak_to_trough_p95: float
    peak_to_trough_worst: float


def judge(margin: Floats, profit: Floats, expected_rate: float = 0.01) -> Judgement:
    """Judge one margin rate for both sides: a day breaches where one side lost more than the margin.

    margin and profit (of one long contract) are (days,), finite, in USD; conditional_p is Kupiec's and Christoffersen's
    statistic together, chi2(2). ValueError for other shapes or values.
    """
    if margin.shape != profit.shape or margin.ndim != 1 or not len(margin):
        raise ValueError(f"found margin {margin.shape} and profit {profit.shape}; allowed: one of each a day")
    if not np.isfinite(profit).all():
        raise ValueError("profit: found a value that is not finite; allowed: finite numbers")
    excess = np.abs(profit) - margin
    breached = excess > 0
    count = int(breached.sum())
    coverage, coverage_p = kupiec(len(margin), count, expected_rate)
    independence, independence_p = christoffersen(breached)
    swings = peak_to_trough(margin)
    return Judgement(
        days=len(margin),
        breaches=count,
        breaches_long=int((breached & (profit < 0)).sum()),
        breaches_short=int((breached & (profit > 0)).sum()),
        breach_mean=float(excess[breached].mean()) if count else 0.0,
        breach_worst=float(excess[breached].max()) if count else 0.0,
        kupiec_p=coverage_p,
        independence_p=independence_p,
        conditional_p=chi_square_tail(coverage + independence, 2),
        average=float(margin.mean()),
        peak_to_trough_median=float(np.median(swings)),
        peak_to_trough_p95=float(np.quantile(swings, 0.95)),
        peak_to_trough_worst=float(swings.max()),
    )

"""The historical model: a quantile of the losses under historical scenarios, a stress set beside it, and a floor.

99 %, horizon in the scenarios, VaR Charge = max(VaR, floor) as at FICC's GSD (rates.md 4: [P] 36, 38; the floor's formula
[R]); CME's SPAN 2 blends historical and stress risk, x historical + (1 - x) stress (rates.md 5.4: [P] 53; x not known).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E9, LIMIT, add_up, callable_part, kernel, mul_div_up
from engine.models.rows import Rows, loss_at, portfolio_vector, rank_of

BPS = 10_000


class Historical(NamedTuple):
    """Parameters: of the scenarios the first `lookback` are the look-back, the `stress` ones after them the stress set.

    tail_bps: 100 is the 99 % loss; stress_weight_bps: the share of the stress set's loss (same tail), 0 without a set.
    """

    lookback: int
    stress: int = 0
    tail_bps: int = 100
    stress_weight_bps: int = 0


def check(rules: Historical, scenarios: int) -> Historical:
    """The parameters themselves; ValueError where they do not fit each other or so many scenarios."""
    if rules.lookback < 1 or rules.stress < 0 or rules.lookback + rules.stress != scenarios:
        raise ValueError(
            f"look-back {rules.lookback}, stress set {rules.stress}; allowed is a look-back from 1, together {scenarios}"
        )
    if not 0 <= rules.tail_bps < BPS:
        raise ValueError(f"tail_bps is {rules.tail_bps}; allowed is 0 to {BPS - 1}")
    if not 0 <= rules.stress_weight_bps <= (BPS if rules.stress else 0):
        raise ValueError(
            f"stress_weight_bps is {rules.stress_weight_bps}; allowed is 0 to {BPS}, and 0 without a stress set"
        )
    return rules


@callable_part
def blend(loss: int, stress: int, weight_bps: int) -> int:
    """loss x (1 - weight) + stress x weight, rounded up, exactly: split so that no product of int64 wraps."""
    rest = BPS - weight_bps
    whole = rest * (loss // BPS) + weight_bps * (stress // BPS)
    remainder = rest * (loss % BPS) + weight_bps * (stress % BPS)
    return whole - (-remainder // BPS)


@callable_part
def risk(vector: NDArray[np.int64], rules: Historical, scratch: NDArray[np.int64]) -> int:
    """The risk part in common units, never below 0. scratch: at least 2 x scenarios."""
    loss = loss_at(vector[: rules.lookback], rank_of(rules.lookback, rules.tail_bps), scratch)
    if rules.stress_weight_bps > 0:
        stressed = loss_at(vector[rules.lookback :], rank_of(rules.stress, rules.tail_bps), scratch)
        loss = blend(loss, stressed, rules.stress_weight_bps)
    return max(0, loss)


@callable_part
def requirement(risk_units: int, divisor: int, floor_minor: int) -> int:
    """Minor units: the risk part (common units, divisor of them a minor unit) rounded up, at least the floor."""
    return max(-(-risk_units // divisor), floor_minor)


@callable_part
def margin_floor(gross_minor: NDArray[np.int64], ppb: NDArray[np.int64]) -> int:
    """The VaR floor: gross market value of each bucket or position x its rate in 1e-9, each rounded up; LIMIT at most.

    Longs and shorts do not net (rates.md 4, "floor %" [R]).
    """
    total = 0
    for b in range(len(gross_minor)):
        total = add_up(total, mul_div_up(abs(gross_minor[b]), ppb[b], E9))
    return total


class Portfolios(NamedTuple):
    """Positions of many accounts, of each first its Treasury leg, then its futures leg.

    row_of: (positions,) int32; lots: (positions,) int64; start: (accounts + 1,) int64; split: (accounts,) int64, where each
    account's futures leg begins.
    """

    row_of: NDArray[np.int32]
    lots: NDArray[np.int64]
    start: NDArray[np.int64]
    split: NDArray[np.int64]


@kernel
def leg_requirements(
    rows: Rows,
    rules: Historical,
    portfolios: Portfolios,
    floors: NDArray[np.int64],
    vectors: NDArray[np.int64],
    scratch: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """One house's requirements of each account, minor units: out[:, 0] Treasury leg, 1 futures leg, 2 both together.

    floors: the same shape as out, (accounts, 3); vectors: (3, scenarios); scratch: (2 x scenarios,). Out of range: LIMIT.
    """
    first, second, both = vectors[0], vectors[1], vectors[2]
    for a in range(len(portfolios.split)):
        start, split, end = portfolios.start[a], portfolios.split[a], portfolios.start[a + 1]
        cash = portfolio_vector(rows, portfolios.row_of, portfolios.lots, start, split, first)
        futures = portfolio_vector(rows, portfolios.row_of, portfolios.lots, split, end, second)
        if cash and futures:
            for s in range(len(both)):
                both[s] = first[s] + second[s]
        for leg in range(3):
            out[a, leg] = LIMIT
            if (cash or leg == 1) and (futures or leg == 0):
                out[a, leg] = requirement(risk(vectors[leg], rules, scratch), rows.divisor, floors[a, leg])

"""The spread-based form of cross-margin: of each recognised spread a share of the lesser of both houses' outright margins.

The older form of CME's agreements (rates.md 1.2: [P-type] 19). A spread has one product at each house, held in opposite
directions by their net market value; both legs are reduced by the sum over spreads.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import xxhash

from engine.arithmetic import E6, E9, add_up, inlined, mul_div_up, part
from engine.models.cross_margin import Position, spread_reduction
from engine.numbers import scaled
from engine.parameters import Pair
from engine.state import MAX_SPREADS, MarginState, Risk, State
from engine.vectors import historical_part, vector_of


def pairs_key(pairs: Sequence[Pair] | None) -> int:
    """What identifies a rule's spreads in an agreement's row: 0 for none."""
    numbers = [(one.futures, one.treasury, scaled(one.rate, E9)) for one in pairs or ()]
    return xxhash.xxh3_64_intdigest(msgspec.json.encode(numbers)) >> 1 | 1 if numbers else 0


def pair_of(pairs: Sequence[Pair], position: Position) -> int:
    """1 + the index of the spread that a position's product belongs to; 0: none."""
    products = [one.treasury if position.is_treasury else one.futures for one in pairs]
    return products.index(position.product) + 1 if position.product in products else 0


def bind_pairs(state: State, risk: Risk, rules: Sequence[Sequence[Pair]], positions: Sequence[Position]) -> None:
    """Fill in the spreads of all cross-margin rules in force; who holds an instrument whose spread changed is margined anew.

    positions: of every instrument, by slot.
    """
    for slot, pairs in enumerate(rules):
        risk.pair_rates[slot] = 0
        risk.pair_rates[slot, : len(pairs)] = [scaled(one.rate, E9) for one in pairs]
        found = np.array([pair_of(pairs, position) for position in positions], np.int64)
        held = risk.pairs[slot, : len(positions)]
        state.instruments["switched"][: len(positions)][held != found] = 1
        held[:] = found


@part
def _outright(state: MarginState, portfolio: int, rule: int, pair: int, start: int, end: int) -> int:
    """Minor units that a house requires of the selected positions of one spread, below 0 where they are net short.

    0 where they are neither, or out of range. The positions are brought to the front.
    """
    risk, stop, long, short = state.risk, start, 0, 0
    for i in range(start, end):
        row, lots = risk.mine_row[i], risk.mine_lots[i]
        if risk.pairs[rule, row] == pair:
            value = mul_div_up(abs(lots), state.instruments[row].gross, E6)
            long, short = add_up(long, value if lots > 0 else 0), add_up(short, value if lots < 0 else 0)
            risk.mine_row[i], risk.mine_lots[i] = risk.mine_row[stop], risk.mine_lots[stop]
            risk.mine_row[stop], risk.mine_lots[stop] = row, lots
            stop += 1
    vector = risk.vectors[3][: state.portfolios[portfolio].scenarios]
    if long == short or not vector_of(state, state.portfolios[portfolio].set, start, stop, vector):
        return 0
    required = historical_part(state, portfolio, vector, start, stop)
    return required if long > short else -required


@inlined
def of_pair(state: MarginState, agreement: Any, pair: int, split: int, end: int) -> tuple[int, int, int]:
    """Of one spread: what the houses require of its Treasuries and of its futures alone, and minor units off each leg.

    Selected are Treasuries up to split, futures from there; what is required is below 0 where they are net short.
    """
    treasury = _outright(state, agreement.ficc, agreement.rule, pair + 1, 0, split)
    futures = _outright(state, agreement.cme, agreement.rule, pair + 1, split, end)
    if (treasury < 0 < futures) or (futures < 0 < treasury):
        rate = state.risk.pair_rates[agreement.rule, pair]
        return treasury, futures, spread_reduction(rate, abs(treasury), abs(futures))
    return treasury, futures, 0


@inlined
def paired_saving(state: MarginState, agreement: Any, split: int, end: int) -> int:
    """Minor units that an agreement's spreads take off each leg; selected are Treasuries up to split, futures from there."""
    total = 0
    for pair in range(MAX_SPREADS):
        if state.risk.pair_rates[agreement.rule, pair] > 0:
            total = add_up(total, of_pair(state, agreement, pair, split, end)[2])
    return total

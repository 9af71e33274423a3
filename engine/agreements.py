"""Cross-margin in force: both houses answer for a customer's Treasury and futures positions, and agree on a saving.

The formula is that of engine/models/cross_margin.py. The two accounts stay in their pools; each is margined less for its own
positions only, and both are margined at the same clock.
"""

from typing import Any

from engine.arithmetic import LIMIT, inlined, kernel, part
from engine.models.cross_margin import ABSENT, Agreement, Basis, House, after_saving, answer_fits, saving_of
from engine.pairs import of_pair, paired_saving
from engine.state import MARGIN_DUE, POSITIONS_DIRTY, MarginState, set_flags
from engine.vectors import are_built, gather, historical_part, select, vector_of

_AGREED, _NONE = int(Basis.AGREED), int(Basis.NONE)
_DUE = POSITIONS_DIRTY | MARGIN_DUE


@part
def pair_flags(state: MarginState) -> None:
    """Let both accounts of an agreement be margined when one is, and when no input is stale any more.

    One that waits for a price waits alone.
    """
    accounts = state.accounts
    for g in range(state.now[0].agreements):
        row, flags, stale = state.agreements[g], 0, 0
        if row.active:
            for account in (row.futures, row.treasury):
                stale += accounts.figures[account].stale
                if accounts.figures[account].unpriced == 0:
                    flags |= int(accounts.flags[account]) & _DUE
            if row.held and stale == 0:
                flags = _DUE
            if flags != 0:
                row.done = 0
                set_flags(accounts, row.futures, flags)
                set_flags(accounts, row.treasury, flags)


@inlined
def _answer(state: MarginState, portfolio: int, split: int, end: int) -> House:
    """A house's model on the selected Treasury positions (up to split), the futures (from there), and both."""
    row, vectors = state.portfolios[portfolio], state.risk.vectors
    if row.scenarios == 0 or not are_built(state, row.set, 0, end):
        return ABSENT
    treasury, futures, both = vectors[0][: row.scenarios], vectors[1][: row.scenarios], vectors[2][: row.scenarios]
    if not (vector_of(state, row.set, 0, split, treasury) and vector_of(state, row.set, split, end, futures)):
        return ABSENT
    for s in range(row.scenarios):
        both[s] = treasury[s] + futures[s]
    return House(
        True,
        historical_part(state, portfolio, treasury, 0, split),
        historical_part(state, portfolio, futures, split, end),
        historical_part(state, portfolio, both, 0, end),
    )


@inlined
def _legs(state: MarginState, row: Any) -> tuple[int, int]:
    """Select an agreement's eligible Treasury positions, then its eligible futures: (where the first end, where both do)."""
    bit = 1 << row.rule
    count, _ = gather(state, row.treasury)
    split = select(state, row.ficc, count, bit, True, 0)
    count, _ = gather(state, row.futures)
    return split, select(state, row.cme, count, bit, True, split)


@kernel
def explain_house(state: MarginState, agreement: int, portfolio: int) -> House:
    """What a house's rule asks now for an agreement's positions."""
    split, end = _legs(state, state.agreements[agreement])
    return _answer(state, portfolio, split, end)


@kernel
def explain_pair(state: MarginState, agreement: int, pair: int) -> tuple[int, int, int]:
    """What the houses require now of a spread's Treasuries and of its futures, and what it takes off each leg."""
    split, end = _legs(state, state.agreements[agreement])
    return of_pair(state, state.agreements[agreement], pair, split, end)


@inlined
def _rest(state: MarginState, portfolio: int, account: int, bit: int) -> int:
    """Minor units of the account's positions in a portfolio that are not eligible, margined apart; LIMIT out of range."""
    count, _ = gather(state, account)
    row, end = state.portfolios[portfolio], select(state, portfolio, count, bit, False, 0)
    if end == 0:
        return 0
    vector = state.risk.vectors[0][: row.scenarios]
    if not vector_of(state, row.set, 0, end, vector):
        return LIMIT
    return historical_part(state, portfolio, vector, 0, end)


@inlined
def agree(state: MarginState, agreement: int) -> None:
    """Work out an agreement's saving from what its accounts hold now, and what each leg's portfolio requires with it.

    While an input of either account is stale the saving does not rise above the last agreed one.
    """
    row, clock_ns, figures = state.agreements[agreement], state.now[0].clock_ns, state.accounts.figures
    bit, cme, ficc = 1 << row.rule, ABSENT, ABSENT
    split, end = _legs(state, row)
    for house in (row.cme, row.ficc):
        answer = _answer(state, house, split, end)
        if house == row.cme:
            cme = answer
        if house == row.ficc:
            ficc = answer
    if row.pairs == 0:
        terms = Agreement(row.cap, row.precision, row.ttl_ns)
        saving, basis = saving_of(cme, ficc, terms, row.saving, clock_ns - row.agreed_ns)
    elif answer_fits(cme) and answer_fits(ficc):
        saving, basis = paired_saving(state, row, split, end), _AGREED
    else:
        saving, basis = 0, _NONE
    stale = figures[row.futures].stale + figures[row.treasury].stale > 0
    if stale:
        saving = min(saving, max(row.saving, 0))
    elif basis == _AGREED:
        row.saving, row.agreed_ns = saving, clock_ns
    row.applied, row.basis, row.held, row.done = saving, basis, int(stale), 1
    row.after_futures = row.after_treasury = LIMIT
    if saving > 0:
        for house, account in ((row.cme, row.futures), (row.ficc, row.treasury)):
            answer = cme if account == row.futures else ficc
            if answer.answered:
                alone = answer.futures if account == row.futures else answer.treasury
                reduced = after_saving(alone, saving) if row.pairs == 0 else max(0, alone - saving)
                after = max(reduced + _rest(state, house, account, bit), state.portfolios[house].minimum)
                if account == row.futures:
                    row.after_futures = after
                else:
                    row.after_treasury = after

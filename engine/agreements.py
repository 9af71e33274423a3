"""Cross-margin in force: both houses answer for a customer's Treasury and futures positions, and agree on a saving.

The formula is that of engine/models/cross_margin.py. The two accounts stay in their pools; each is margined less for its own
positions only, and both are margined at the same clock.
"""

from engine.arithmetic import LIMIT, part
from engine.models.cross_margin import ABSENT, Agreement, Basis, House, after_saving, saving_of
from engine.state import MARGIN_DUE, POSITIONS_DIRTY, State, set_flags
from engine.vectors import are_built, gather, historical_loss, select, value_floor, vector_of

_AGREED = int(Basis.AGREED)
_DUE = POSITIONS_DIRTY | MARGIN_DUE


@part
def pair_flags(state: State) -> None:
    """Let both accounts of an agreement be margined when one is; one that waits for a price waits alone."""
    accounts = state.accounts
    for g in range(state.now[0].agreements):
        row, flags = state.agreements[g], 0
        if row.active:
            for account in (row.futures, row.treasury):
                if accounts.figures[account].unpriced == 0:
                    flags |= int(accounts.flags[account]) & _DUE
            if flags != 0:
                row.done = 0
                set_flags(accounts, row.futures, flags)
                set_flags(accounts, row.treasury, flags)


@part
def _answer(state: State, portfolio: int, split: int, end: int) -> House:
    """A house's model on the selected Treasury positions (up to split), the futures (from there), and both."""
    row, vectors = state.portfolios[portfolio], state.risk.vectors
    if row.scenarios == 0 or not are_built(state, row.set, 0, end):
        return ABSENT
    asked = state.risk.deltas[0]  # scratch: the three requirements
    for which in range(3):
        start, stop = (split if which == 1 else 0), (split if which == 0 else end)
        vector = vectors[which][: row.scenarios]
        if which == 2:
            for s in range(row.scenarios):
                vector[s] = vectors[0][s] + vectors[1][s]
        elif not vector_of(state, row.set, start, stop, vector):
            return ABSENT
        asked[which] = max(historical_loss(state, row, vector), value_floor(state, row, start, stop))
    return House(True, asked[0], asked[1], asked[2])


@part
def _required(state: State, portfolio: int, end: int) -> int:
    """Minor units of the selected positions, up to end, under a portfolio's rule; LIMIT out of range."""
    row = state.portfolios[portfolio]
    vector = state.risk.vectors[0][: row.scenarios]
    if not vector_of(state, row.set, 0, end, vector):
        return LIMIT
    return max(historical_loss(state, row, vector), value_floor(state, row, 0, end))


@part
def _apart(state: State, portfolio: int, account: int, eligible: int, answered: bool, leg: int) -> tuple[int, int]:
    """Minor units of an account's positions in a portfolio: those that are not eligible, margined apart, and all together.

    leg: what the eligible ones require, if the house answered: all of it where every position is eligible.
    """
    count, _ = gather(state, account)
    end = select(state, portfolio, count, eligible, False, 0)
    if end == 0 and answered:
        return 0, leg
    found = state.risk.deltas[1]  # scratch
    for which in range(2):
        if which == 1:
            end = select(state, portfolio, count, 0, False, 0)
        found[which] = _required(state, portfolio, end)
    return found[0], found[1]


@part
def agree(state: State, agreement: int) -> None:
    """Work out an agreement's saving from what its accounts hold now, and each leg's requirement with it and without.

    While an input of either account is stale the saving does not rise above the last agreed one.
    """
    row, clock_ns, figures = state.agreements[agreement], state.now[0].clock_ns, state.accounts.figures
    bit, cme, ficc = 1 << row.rule, ABSENT, ABSENT
    count, _ = gather(state, row.treasury)
    split = select(state, row.ficc, count, bit, True, 0)
    count, _ = gather(state, row.futures)
    end = select(state, row.cme, count, bit, True, split)
    for house in (row.cme, row.ficc):
        answer = _answer(state, house, split, end)
        if house == row.cme:
            cme = answer
        if house == row.ficc:
            ficc = answer
    terms = Agreement(row.cap, row.precision, row.ttl_ns)
    saving, basis = saving_of(cme, ficc, terms, row.saving, clock_ns - row.agreed_ns)
    stale = figures[row.futures].stale + figures[row.treasury].stale > 0
    if stale:
        saving = min(saving, max(row.saving, 0))
    elif basis == _AGREED:
        row.saving, row.agreed_ns = saving, clock_ns
    row.applied, row.basis, row.done = saving, basis, 1
    for house, account in ((row.cme, row.futures), (row.ficc, row.treasury)):
        is_futures = account == row.futures
        answer = cme if is_futures else ficc
        leg = answer.futures if is_futures else answer.treasury
        rest, alone = _apart(state, house, account, bit, answer.answered, leg)
        after = after_saving(leg, saving) + rest if saving > 0 and answer.answered else LIMIT
        if is_futures:
            row.after_futures, row.alone_futures = after, alone
        else:
            row.after_treasury, row.alone_treasury = after, alone

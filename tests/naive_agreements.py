"""The slow twin of cross-margin in force: both houses answer for two accounts, which are margined together."""

from fractions import Fraction
from math import floor

from engine.documents import Rule
from engine.report import Quality
from tests.naive_portfolio import LIMIT, Held, held_of, historical_loss, value_floor, vector
from tests.naive_rules import row_set
from tests.naive_state import E9, Account, OutOfRange, Pact, PactTerms, State

Answer = tuple[int, int, int]  # Treasuries alone, futures alone, both, minor units
MOST = 2**52  # figures of a house from there on are no answer


def waits(state: State, account: Account) -> bool:
    """Whether an account holds something without a price, and so is not margined."""
    return any(p.lots and state.instruments[i].quality is Quality.UNPRICED for i, p in account.positions.items())


def legs_of(state: State, pact: Pact) -> tuple[Account, Account]:
    """The futures account and the Treasury account."""
    return state.accounts[pact.document.futures_account], state.accounts[pact.document.treasury_account]


def pair(state: State) -> None:
    """When one account of an agreement is to be margined, so is the other; one that waits for a price waits alone."""
    for pact in state.pacts.values():
        if pact.is_active:
            legs = legs_of(state, pact)
            ready = [account for account in legs if not waits(state, account)]
            dirty, due = any(a.positions_dirty for a in ready), any(a.due for a in ready)
            if pact.held and not any(_is_stale(state, account) for account in legs):
                dirty = due = True
            if dirty or due:
                pact.done = False
            for account in legs:
                account.positions_dirty |= dirty
                account.due |= due


def _split(state: State, account: Account, house: str, rule: str) -> tuple[Held, Held]:
    held = held_of(state, account, house)
    return [one for one in held if rule in one[0].eligible], [one for one in held if rule not in one[0].eligible]


def _loss(state: State, rule: Rule, held: Held, pnl: list[int]) -> int:
    return min(max(historical_loss(state, rule, pnl), value_floor(rule, held)), LIMIT)


def _answer(state: State, house: str, treasury: Held, futures: Held) -> Answer | None:
    rule = state.in_force(house)
    assert rule is not None
    one, count = row_set(rule), len(state.sets[rule.parameters.scenarios or ""].labels)
    if any(one not in (instrument.rows or {}) for instrument, _ in treasury + futures):
        return None
    try:
        first, second = vector(treasury, one, count), vector(futures, one, count)
    except OutOfRange:
        return None
    both = [a + b for a, b in zip(first, second, strict=True)]
    return (
        _loss(state, rule, treasury, first), _loss(state, rule, futures, second),
        _loss(state, rule, treasury + futures, both),
    )  # fmt: skip


def _saving(answer: Answer) -> int:
    treasury, futures, both = answer
    return 0 if min(treasury, futures) <= 0 else max(0, floor(Fraction(treasury + futures - both, treasury + futures) * E9))


def _agreed(saving: int, terms: PactTerms) -> int:
    if terms.precision > 1:
        saving -= saving % terms.precision
    return min(saving, terms.cap)


def agree(state: State, pact: Pact) -> None:
    """The lesser of the houses' savings; what of it each account's leg takes off its own requirement."""
    assert pact.terms is not None
    terms, legs, now = pact.terms, legs_of(state, pact), state.clock_ns
    futures, rest_futures = _split(state, legs[0], terms.cme, terms.rule)
    treasury, rest_treasury = _split(state, legs[1], terms.ficc, terms.rule)
    answers = [_answer(state, house, treasury, futures) for house in (terms.cme, terms.ficc)]
    good = [_saving(answer) for answer in answers if answer is not None and max(answer) < MOST]
    saving = 0
    if len(good) == 2:
        saving = _agreed(min(good), terms)
    elif len(good) == 1 and pact.saving >= 0 and 0 <= now - pact.agreed_ns <= terms.ttl_ns:
        saving = _agreed(min(pact.saving, *good), terms)
    pact.held = any(_is_stale(state, account) for account in legs)
    if pact.held:
        saving = min(saving, max(pact.saving, 0))
    elif len(good) == 2:
        pact.saving, pact.agreed_ns = saving, now
    pact.applied, pact.done, pact.after = saving, True, {}
    rests = (terms.cme, rest_futures, 1), (terms.ficc, rest_treasury, 0)
    for account, answer, (house, rest, leg) in zip(legs, answers, rests, strict=True):
        needed = None if saving == 0 or answer is None else _rest(state, house, rest)
        if answer is not None and needed is not None:
            pact.after[account.document.id] = answer[leg] - answer[leg] * saving // E9 + needed


def _rest(state: State, house: str, held: Held) -> int | None:
    """What positions that are not eligible require apart."""
    rule = state.in_force(house)
    assert rule is not None
    one = row_set(rule)
    if not held or any(one not in (instrument.rows or {}) for instrument, _ in held):
        return 0 if not held else None
    try:
        return _loss(state, rule, held, vector(held, one, len(state.sets[one.scenarios].labels)))
    except OutOfRange:
        return None


def _is_stale(state: State, account: Account) -> bool:
    return any(p.lots and state.instruments[i].quality is Quality.STALE for i, p in account.positions.items())

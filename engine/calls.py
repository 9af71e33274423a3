"""Margin calls and their life, from log time alone: issued, raised, met, covered, overdue, escalated, restricted.

A call asks for what is missing to the initial requirement. Its amount stays; money that comes in meets the oldest call
first, and only money does. The market closes a call by bringing equity back to initial (COVERED). What is missing beyond the
calls that are open is called again: it raises the newest call while that would be due at the same time, else it is a call of
its own, so that none is due earlier than its notice and each has its own age. A cancelled call is not asked for again before
its due time.
"""

from typing import Any

from engine.arithmetic import E9, INT64_MAX, LIMIT, add_up, kernel, mul_div_up, part
from engine.report import CallEvent, CallState, ChangeKind, Quality, Status
from engine.state import NONE, VALUE_DIRTY, State, set_flags

_PENDING, _ISSUED, _PART_MET = int(CallState.PENDING), int(CallState.ISSUED), int(CallState.PART_MET)
_OVERDUE, _ESCALATED, _RESTRICTED = int(CallState.OVERDUE), int(CallState.ESCALATED), int(CallState.RESTRICTED)
_MET, _COVERED, _CANCELLED = int(CallState.MET), int(CallState.COVERED), int(CallState.CANCELLED)
_NOT_YET = int(CallState.NONE)
_RAISE, _RECEIVE = int(CallEvent.RAISED), int(CallEvent.RECEIVED)
_CALL, _STATUS = int(ChangeKind.CALL), int(ChangeKind.STATUS)
_UNPRICED, _FRESH = int(Quality.UNPRICED), int(Quality.FRESH)
_EVENTS = (
    0, 0, int(CallEvent.ISSUED), _RECEIVE, int(CallEvent.OVERDUE), int(CallEvent.ESCALATED), int(CallEvent.RESTRICTED),
    int(CallEvent.MET), int(CallEvent.COVERED), int(CallEvent.CANCELLED),
)  # fmt: skip  # by the state that a call came to
_LEVELS = (
    0, 0, int(Status.CALL), int(Status.CALL), int(Status.OVERDUE), int(Status.OVERDUE), int(Status.RESTRICTED), 0, 0, 0,
)  # fmt: skip  # status of an account with a call in that state


@part
def write_change(state: State, changes: Any, at: int, account: int, kind: int, before: int, after: int) -> int:
    """A change of status or quality: the account's next number, its figures and the moment; returns the next place."""
    row, figures = changes[at], state.accounts.figures[account]
    figures.change += 1
    row.account, row.kind, row.before, row.after = account, kind, before, after
    row.change, row.amount, row.equity = figures.change, figures.call, figures.equity
    row.initial, row.maintenance = figures.initial, figures.maintenance
    row.ts_ns = state.now[0].clock_ns
    row.event = 0
    row.sequence = row.called = row.received = row.issued_ns = row.due_ns = 0
    return at + 1


@part
def write_call(state: State, changes: Any, at: int, i: int, before: int, event: int) -> int:
    """A change of call i from a state to what it is now; returns the next place."""
    call = state.calls[i]
    write_change(state, changes, at, call.account, _CALL, before, int(call.state))
    row = changes[at]
    row.event, row.sequence, row.called, row.received = event, call.sequence, call.amount, call.received
    row.issued_ns, row.due_ns = call.issued_ns, call.due_ns
    return at + 1


@kernel
def say_call(state: State, changes: Any, i: int, event: int, after: int) -> None:
    """What a user did to call i, at changes[0]; a call that is cancelled is evaluated at the next clock."""
    call = state.calls[i]
    before, call.state = int(call.state), after
    write_call(state, changes, 0, i, before, event)
    state.accounts.touched[call.account] = 1
    set_flags(state.accounts, call.account, VALUE_DIRTY)


@part
def take_money(state: State, account: int, amount: int) -> None:
    """Money (minor units of the account's currency, below 0: withdrawn) that counts for calls at the next evaluation."""
    total = state.accounts.money[account] + amount
    state.accounts.money[account] = min(max(total, 1 - LIMIT), LIMIT - 1)


@part
def _is_open(call: Any) -> bool:
    return bool(_ISSUED <= call.state <= _RESTRICTED)


@part
def _move(state: State, i: int, after: int, changes: Any, at: int) -> int:
    """Bring a call to another state, and say so."""
    before = int(state.calls[i].state)
    state.calls[i].state = after
    return write_call(state, changes, at, i, before, _EVENTS[after])


@part
def _receive(state: State, account: int, changes: Any, at: int) -> int:
    """Money since the last evaluation meets open calls, the oldest first; what is withdrawn is missing there again."""
    money, i = state.accounts.money[account], state.accounts.first_call[account]
    state.accounts.money[account] = 0
    while i != NONE and money != 0:
        call = state.calls[i]
        if _is_open(call):
            part_of = min(money, call.amount - call.received) if money > 0 else max(money, -call.received)
            money = max(0, money - part_of)
            call.received += part_of
            if call.received == call.amount:
                at = _move(state, i, _MET, changes, at)
            elif part_of != 0:
                before = int(call.state)
                if before <= _PART_MET:
                    call.state = _PART_MET if call.received > 0 else _ISSUED
                at = write_call(state, changes, at, i, before, _RECEIVE)
        i = call.next
    return at


@part
def _age(call: Any, clock_ns: int) -> int:
    """The state that time alone brings an open call to; NONE before it is due."""
    if clock_ns >= call.restrict_ns:
        return _RESTRICTED
    if clock_ns >= call.escalate_ns:
        return _ESCALATED
    return _OVERDUE if clock_ns >= call.due_ns else _NOT_YET


@part
def _follow(state: State, account: int, covered: bool, changes: Any, at: int) -> int:
    """Close the calls of an account that is back at initial for long enough; let the others age."""
    clock_ns, i = state.now[0].clock_ns, state.accounts.first_call[account]
    after_ns = state.call_terms[state.accounts.pool[account], state.accounts.figures[account].asset].cover_after_ns
    while i != NONE:
        call = state.calls[i]
        if call.state == _CANCELLED or _is_open(call):
            if not covered:
                call.since_ns = 0
            elif call.since_ns == 0:
                call.since_ns = clock_ns
            if covered and clock_ns - call.since_ns >= after_ns:
                if call.state != _CANCELLED:
                    at = _move(state, i, _COVERED, changes, at)
                else:
                    call.state = _NOT_YET
            elif call.state == _CANCELLED:
                if clock_ns >= call.due_ns:
                    call.state = _NOT_YET
            else:
                age = _age(call, clock_ns)
                if age > call.state:
                    at = _move(state, i, age, changes, at)
        i = call.next
    return at


@part
def _free_closed(state: State, account: int) -> None:
    """Take the account's calls that are over from its list, and their rows back."""
    now, accounts = state.now[0], state.accounts
    before, i = NONE, accounts.first_call[account]
    while i != NONE:
        call = state.calls[i]
        after = call.next
        if call.state in (_NOT_YET, _MET, _COVERED):
            if before == NONE:
                accounts.first_call[account] = after
            else:
                state.calls[before].next = after
            call.account, call.next, now.free_call = NONE, now.free_call, i
        else:
            before = i
        i = after


@part
def _new(state: State, account: int) -> int:
    """A pending call behind the account's others; NONE where no row is left."""
    now, accounts = state.now[0], state.accounts
    i = now.free_call
    if i != NONE:
        now.free_call = state.calls[i].next
    elif now.calls < len(state.calls):
        i = now.calls
        now.calls += 1
    else:
        return NONE
    call = state.calls[i]
    call.account, call.next, call.state = account, NONE, _PENDING
    call.sequence = call.amount = call.received = call.issued_ns = call.due_ns = call.escalate_ns = call.restrict_ns = 0
    call.since_ns = now.clock_ns
    last = accounts.first_call[account]
    if last == NONE:
        accounts.first_call[account] = i
        return int(i)
    while state.calls[last].next != NONE:
        last = state.calls[last].next
    state.calls[last].next = i
    return int(i)


@part
def _issue(state: State, account: int, changes: Any, at: int) -> int:
    """Call for what is missing to initial beyond the calls there are, once that is enough and has lasted."""
    clock_ns, figures = state.now[0].clock_ns, state.accounts.figures[account]
    terms = state.call_terms[state.accounts.pool[account], figures.asset]
    pending = newest = NONE
    asked, i = 0, state.accounts.first_call[account]
    while i != NONE:
        call = state.calls[i]
        if call.state == _PENDING:
            pending = i
        else:
            asked = add_up(asked, call.amount - call.received)
            newest = i if _is_open(call) else newest
        i = call.next
    missing = figures.initial - figures.equity - asked if figures.equity < figures.maintenance else 0
    raises = newest != NONE and state.calls[newest].due_ns == terms.due_ns and state.calls[newest].state <= _PART_MET
    least = max(terms.minimum, mul_div_up(state.calls[newest].amount, terms.raise_share, E9)) if raises else terms.minimum
    if missing < least:
        if pending != NONE:
            state.calls[pending].state = _NOT_YET
        return at
    if pending == NONE:
        pending = _new(state, account)
    if pending == NONE:
        set_flags(state.accounts, account, VALUE_DIRTY)  # tried again at every clock, until a row is free
        return at
    call = state.calls[pending]
    if clock_ns - call.since_ns < terms.issue_after_ns:
        return at
    amount = min(mul_div_up(missing, 1, terms.rounding), (LIMIT - 1) // terms.rounding) * terms.rounding
    if raises:
        call.state = _NOT_YET
        raised = state.calls[newest]
        raised.amount = min(raised.amount + amount, LIMIT - 1)
        return write_call(state, changes, at, newest, int(raised.state), _RAISE)
    state.accounts.calls_made[account] += 1
    call.sequence, call.amount, call.issued_ns, call.since_ns = state.accounts.calls_made[account], amount, clock_ns, 0
    call.due_ns, call.escalate_ns, call.restrict_ns = terms.due_ns, terms.escalate_ns, terms.restrict_ns
    call.state = _ISSUED
    return write_call(state, changes, at, pending, _NOT_YET, _EVENTS[_ISSUED])


@part
def _set_alarms(state: State, account: int, quality: int) -> None:
    """Work out when time alone may next change each of the account's calls."""
    now, i = state.now[0], state.accounts.first_call[account]
    terms = state.call_terms[state.accounts.pool[account], state.accounts.figures[account].asset]
    while i != NONE:
        call = state.calls[i]
        wake = INT64_MAX
        if call.state == _PENDING:
            if quality != _UNPRICED:
                wake = call.since_ns + terms.issue_after_ns
        else:
            if call.state < _OVERDUE or call.state == _CANCELLED:
                wake = call.due_ns
            elif call.state == _OVERDUE:
                wake = call.escalate_ns
            elif call.state == _ESCALATED:
                wake = call.restrict_ns
            if call.since_ns != 0:
                wake = min(wake, call.since_ns + terms.cover_after_ns)
        call.wake_ns = wake
        now.next_deadline_ns = min(now.next_deadline_ns, wake)
        i = call.next


@part
def follow_calls(state: State, account: int, quality: int, changes: Any, at: int) -> int:
    """Bring an account's calls up to its figures and the clock; returns the next place of changes.

    While UNPRICED only money and time act on them; only FRESH figures close a call without money.
    """
    accounts, row = state.accounts, state.accounts.figures[account]
    if accounts.first_call[account] == NONE and (quality == _UNPRICED or row.equity >= row.maintenance):
        return at
    at = _receive(state, account, changes, at)
    at = _follow(state, account, quality == _FRESH and row.equity >= row.initial, changes, at)
    _free_closed(state, account)
    if quality != _UNPRICED:
        at = _issue(state, account, changes, at)
        _free_closed(state, account)
    _set_alarms(state, account, quality)
    return at


@part
def call_level(state: State, account: int) -> int:
    """The status that the age of an account's calls makes it at least."""
    level, i = 0, state.accounts.first_call[account]
    while i != NONE:
        level = max(level, _LEVELS[state.calls[i].state])
        i = state.calls[i].next
    return level


@part
def wake_calls(state: State) -> None:
    """Let the accounts be evaluated at this clock that have a call which time alone may change now."""
    now = state.now[0]
    if now.clock_ns < now.next_deadline_ns:
        return
    now.next_deadline_ns = INT64_MAX
    for i in range(now.calls):
        call = state.calls[i]
        if call.account != NONE:
            if call.wake_ns <= now.clock_ns:
                set_flags(state.accounts, call.account, VALUE_DIRTY)
            else:
                now.next_deadline_ns = min(now.next_deadline_ns, call.wake_ns)

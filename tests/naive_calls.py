"""Margin calls in the slow twin: a list of dicts an account, walked at every CLOCK, and cut-offs found day by day."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil
from zoneinfo import ZoneInfo

from engine.documents import Action, Cutoff
from engine.report import CallEvent, CallState, ChangeKind, Quality, Status
from tests.naive_state import E9, Account, Call, State

SECOND = 10**9
ROOM = 2  # calls an account of the limit
ALIVE = (CallState.ISSUED, CallState.PART_MET, CallState.OVERDUE, CallState.ESCALATED, CallState.RESTRICTED)
AGES = {CallState.OVERDUE: Status.OVERDUE, CallState.ESCALATED: Status.OVERDUE, CallState.RESTRICTED: Status.RESTRICTED}
UNNAMED = Cutoff(at="18:00", zone="America/New_York")
SAID = {"ack": CallEvent.ACKNOWLEDGED, "note": CallEvent.NOTED, "cancel": CallEvent.CANCELLED}
Said = tuple[CallState, CallState, CallEvent, Call]  # before, after, what happened, the call as it is now


@dataclass(frozen=True)
class _Terms:
    """What the account's pool says of calls; times: of a call issued now."""

    minimum: int
    rounding: int
    issue_after: int
    cover_after: int
    raise_share: Fraction
    times: tuple[int, int, int]


def _terms(state: State, account: Account) -> _Terms:
    pool = state.pools[account.document.pool]
    currency = account.document.currency
    one = pool if currency == pool.currency else pool.transfers.get(currency)
    minor = 10 ** state.assets[currency].document.decimals
    minimum, rounding = (0, 0) if one is None else (Fraction(x) * minor for x in (one.minimum_transfer, one.rounding))
    return _Terms(
        max(1, int(minimum)), max(1, int(rounding)),
        round(pool.calls.issue_after * E9), round(pool.calls.cover_after * E9), Fraction(pool.calls.raise_share),
        cutoffs(state, account),
    )  # fmt: skip


def cutoffs(state: State, account: Account) -> tuple[int, int, int]:
    """When a call issued now is due, escalated and restricted: walks the days from the earliest moment allowed."""
    pool = state.pools[account.document.pool]
    calendar = None if pool.calendar is None else state.calendars[pool.calendar]
    by_currency = {} if calendar is None else calendar.cutoffs
    cutoff = by_currency.get(account.document.currency, by_currency.get("*", UNNAMED))
    days = ["Mon", "Tue", "Wed", "Thu", "Fri"] if calendar is None else calendar.business_days
    holidays = [] if calendar is None else calendar.holidays
    earliest = state.clock_ns + cutoff.notice_hours * 3600 * SECOND
    day, found = datetime.fromtimestamp(earliest // SECOND, ZoneInfo(cutoff.zone)), list[int]()
    while len(found) <= max(pool.calls.escalate_days, pool.calls.restrict_days):
        moment = day.replace(hour=int(cutoff.at[:2]), minute=int(cutoff.at[3:]), second=0, fold=0)
        at = int(moment.timestamp()) * SECOND
        if f"{day:%a}" in days and f"{day:%Y-%m-%d}" not in holidays and at >= earliest:
            found.append(at)
        day += timedelta(days=1)
    return found[0], found[pool.calls.escalate_days], found[pool.calls.restrict_days]


def follow(state: State, account: Account, quality: Quality) -> list[Said]:
    """What happens to the account's calls at a clock, its figures being what they are."""
    said: list[Said] = []
    terms, now = _terms(state, account), state.clock_ns
    _receive(account, said)
    is_back = quality is Quality.FRESH and account.equity >= account.initial
    for call in account.calls:
        if call.state is CallState.PENDING or call.is_over:
            continue
        call.since_ns = (call.since_ns or now) if is_back else 0
        if is_back and now - call.since_ns >= terms.cover_after:
            _end(call, CallState.COVERED, CallEvent.COVERED, said)
        elif call.state is CallState.CANCELLED:
            call.is_over = now >= call.times[0]
        elif call.state in ALIVE:
            for at, age in zip(call.times, AGES, strict=True):
                if now >= at:
                    latest = age
            if now >= call.times[0] and latest > call.state:
                before, call.state = call.state, latest
                said.append((before, latest, CallEvent[latest.name], call.copy()))
    account.calls = [call for call in account.calls if not call.is_over]
    if quality is not Quality.UNPRICED:
        _issue(state, account, terms, said)
        account.calls = [call for call in account.calls if not call.is_over]
    return said


def _end(call: Call, state: CallState, event: CallEvent, said: list[Said]) -> None:
    """Ends a call; one that a user cancelled has ended for everyone else."""
    call.is_over = True
    before, waived = call.state, call.state is CallState.CANCELLED
    call.state = state
    if not waived:
        said.append((before, state, event, call.copy()))


def _receive(account: Account, said: list[Said]) -> None:
    money, account.money = account.money, 0
    for call in account.calls:
        if call.state not in ALIVE or money == 0:
            continue
        before, was = call.state, call.received
        call.received = max(0, min(call.amount, call.received + money))
        money = max(0, money - (call.received - was)) if money > 0 else 0
        if call.received == call.amount:
            _end(call, CallState.MET, CallEvent.MET, said)
        elif call.received != was:
            if before in (CallState.ISSUED, CallState.PART_MET):
                call.state = CallState.PART_MET if call.received else CallState.ISSUED
            said.append((before, call.state, CallEvent.RECEIVED, call.copy()))


def _issue(state: State, account: Account, terms: _Terms, said: list[Said]) -> None:
    now = state.clock_ns
    pending = next((call for call in account.calls if call.state is CallState.PENDING), None)
    alive = [call for call in account.calls if call.state in ALIVE and not call.is_over]
    asked = sum(call.amount - call.received for call in account.calls if call is not pending and not call.is_over)
    missing = account.initial - account.equity - min(asked, 2**62) if account.equity < account.maintenance else 0
    newest = alive[-1] if alive else None
    raises = newest is not None and newest.times[0] == terms.times[0] and newest.state <= CallState.PART_MET
    least = max(terms.minimum, ceil(newest.amount * terms.raise_share)) if raises else terms.minimum
    if missing < least:
        if pending is not None:
            pending.is_over = True
        return
    if pending is None:
        if sum(len(other.calls) for other in state.accounts.values()) >= ROOM * state.genesis.limits.accounts:
            return
        pending = Call(since_ns=now)
        account.calls.append(pending)
    if now - pending.since_ns < terms.issue_after:
        return
    amount = min(ceil(Fraction(missing, terms.rounding)), (2**62 - 1) // terms.rounding) * terms.rounding
    if raises:
        pending.is_over = True
        newest.amount = min(newest.amount + amount, 2**62 - 1)
        said.append((newest.state, newest.state, CallEvent.RAISED, newest.copy()))
        return
    account.calls_made += 1
    pending.state, pending.sequence, pending.amount = CallState.ISSUED, account.calls_made, amount
    pending.issued_ns, pending.times, pending.since_ns = now, terms.times, 0
    said.append((CallState.NONE, CallState.ISSUED, CallEvent.ISSUED, pending.copy()))


def level(account: Account) -> Status:
    """The status that the account's calls make it at least."""
    return max((AGES.get(call.state, Status.CALL) for call in account.calls if call.state in ALIVE), default=Status.OK)


def find(account: Account, call_id: str) -> Call | None:
    """The account's call of that id which is not over."""
    document = account.document
    mine = (c for c in account.calls if c.state in ALIVE and f"{document.id}:{document.pool}:{c.sequence}" == call_id)
    return next(mine, None)


def change(account: Account, said: Said, now: int) -> tuple[object, ...]:
    """A change of a call as the report has it."""
    before, after, event, call = said
    account.change += 1
    money = account.call, account.equity, account.initial, account.maintenance
    about = event, call.sequence, call.amount, call.received, call.issued_ns, call.times[0]
    return account.document.id, ChangeKind.CALL, int(before), int(after), account.change, *money, now, *about


def say(account: Account, call: Call, action: Action, now: int) -> tuple[object, ...]:
    """What a user does to a call."""
    before = call.state
    if action.kind == "cancel":
        call.state = CallState.CANCELLED
    return change(account, (before, call.state, SAID[action.kind], call.copy()), now)

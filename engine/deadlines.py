"""When called money is due: cut-offs on the business days of a pool's calendar, by currency."""

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

import numpy as np

from engine.documents import Asset, Calendar, CallTerms, Cutoff, Pool
from engine.events import DAY_NS, HOUR_NS, NS
from engine.numbers import INT64_MAX, scaled
from engine.pools import Documents
from engine.state import LINE, VALUE_DIRTY, State
from engine.zones import EPOCH_DAY, moment_ns

_DAYS = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")  # 1970-01-01 was a Thursday
UNNAMED = Cutoff(at="18:00", zone="America/New_York")  # without a cut-off: residual interest, 17 CFR 1.22 (rates.md 6 [P])


class Deadlines(NamedTuple):
    """Of a call issued now: when it is due, escalated and restricted; and until when a call has these times."""

    due_ns: int
    escalate_ns: int
    restrict_ns: int
    until_ns: int


def holidays_of(calendar: Calendar) -> frozenset[int]:
    """The calendar's holidays as days since 1970; ValueError names one that is no day."""
    return frozenset(date.fromisoformat(text).toordinal() - EPOCH_DAY for text in calendar.holidays)


def deadlines(calendar: Calendar | None, currency: str, terms: CallTerms, now_ns: int) -> Deadlines:
    """Deadlines of a call issued now in a currency; without a calendar, or a cut-off in it, by UNNAMED."""
    cutoffs = {} if calendar is None else calendar.cutoffs
    cutoff = cutoffs.get(currency) or cutoffs.get("*") or UNNAMED
    notice_ns = cutoff.notice_hours * HOUR_NS
    coming = _cutoffs(calendar, cutoff, now_ns + notice_ns)
    ahead = [next(coming) for _ in range(max(terms.escalate_days, terms.restrict_days) + 1)]
    return Deadlines(ahead[0], ahead[terms.escalate_days], ahead[terms.restrict_days], ahead[0] - notice_ns + 1)


def _cutoffs(calendar: Calendar | None, cutoff: Cutoff, from_ns: int) -> Iterator[int]:
    """The cut-offs of business days from a moment on; days are those of the cut-off's zone."""
    days = ("Mon", "Tue", "Wed", "Thu", "Fri") if calendar is None else calendar.business_days
    holidays = frozenset[int]() if calendar is None else holidays_of(calendar)
    hours, minutes = (int(part) for part in cutoff.at.split(":"))
    at_ns = (60 * hours + minutes) * 60 * NS
    day = from_ns // DAY_NS - 1  # by UTC the day may be the next already
    while True:
        moment = moment_ns(cutoff.zone, day, at_ns)
        if _DAYS[day % 7] in days and day not in holidays and moment >= from_ns:
            yield moment
        day += 1


def bind_calls(state: State, documents: Documents, pool_ids: list[str], asset_ids: list[str], clock_ns: int) -> int:
    """Fill the call terms of all pools for accounts in each asset; returns until when they hold."""
    assets = [asset for name in asset_ids if isinstance(asset := documents["asset", name], Asset)]
    until = [INT64_MAX]
    for slot, name in enumerate(pool_ids):
        pool = documents["pool", name]
        assert isinstance(pool, Pool)
        calendar = None if pool.calendar is None else documents["calendar", pool.calendar]
        assert calendar is None or isinstance(calendar, Calendar)
        until.append(_bind(state, slot, pool, calendar, assets, clock_ns))
    return min(until)


def _bind(state: State, slot: int, pool: Pool, calendar: Calendar | None, assets: list[Asset], clock_ns: int) -> int:
    """Fill a pool's call terms for accounts in each asset; returns until when they hold.

    Accounts whose terms changed are looked at at this clock: a call may be due for them without any event.
    """
    terms, until = pool.calls, []
    for j, asset in enumerate(assets):
        transfer = pool.transfer(asset.id)
        one = deadlines(calendar, asset.id, terms, clock_ns)
        until.append(one.until_ns)
        row = (
            max(1, scaled(transfer.minimum_transfer, 10**asset.decimals)),
            max(1, scaled(transfer.rounding, 10**asset.decimals)),
            round(terms.issue_after * NS), round(terms.cover_after * NS), scaled(terms.raise_share, NS),
            *one[:3],
        )  # fmt: skip
        if tuple(state.call_terms[slot, j].tolist()) != row:
            state.call_terms[slot, j] = row
            count = int(state.now[0]["accounts"])
            mine = (state.accounts.pool[:count] == slot) & (state.accounts.figures["asset"][:count] == j)
            accounts = np.flatnonzero(mine)
            state.accounts.flags[accounts] |= VALUE_DIRTY
            state.accounts.changed[accounts // LINE] = 1
    return min(until)

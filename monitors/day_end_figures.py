"""Sections of a day-end pack with figures: what accounts require and have, by line, asset and limit.

What customers lack is summed account by account: nobody's excess covers anybody else's deficit (17 CFR 1.22; rates.md 6
[P]), and the firm's own accounts stand apart.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction

from engine.arithmetic import E9
from engine.models.addons import day_end
from engine.models.pilot import phase_of, residual_interest_reason
from engine.numbers import date_of, decimal_text, scaled
from engine.reconciliation import BreakKind
from engine.report import OPEN_CALLS, Quality, Status
from monitors.day_rows import BEHIND, added
from monitors.holdings import AccountRow, Held
from monitors.pilot_report import own_capital
from monitors.pool_day import NOT_KNOWN, PoolDay, Row, Section, lacking, time_zone, usd


def summary(day: PoolDay) -> Section:
    """The pool at a glance: counts, and what to know before its figures are used."""
    statuses, qualities = (Counter(map(of, day.accounts)) for of in (lambda one: one.status, lambda one: one.quality))
    calls = Counter(call.state for shard in day.shards for call in shard.calls if call.account in day.by_id)
    clocks = sorted({shard.rows.clock_ns for shard in day.shards})
    zone = time_zone(day.shards, day.pool.id)
    known = zone if day.zone is not None else f"UTC, as {zone} is not known on this machine" if zone else "UTC"
    rows = [
        ("regime", day.pool.regime),
        *(("moment, UTC" if at == clocks[-1] else "its oldest shard, UTC", day.times(at)[0]) for at in clocks[::-1][:2]),
        *([("moment there", day.times(clocks[-1])[1])] if day.zone is not None else []),
        ("time zone", known),
        ("accounts of customers", f"{len(day.customers)}"),
        ("accounts of the firm", f"{len(day.house)}"),
        *((f"accounts {status.name}", f"{statuses[status.name]}") for status in Status if statuses[status.name]),
        *((f"accounts {quality.name}", f"{qualities[quality.name]}") for quality in Quality),
        ("open calls", f"{calls.total()}"),
        *((f"calls {state.name}", f"{calls[state.name]}") for state in OPEN_CALLS if calls[state.name]),
        *((f"statements {kind.name}", f"{sum(one.counts[kind.name] for one in day.statements)}") for kind in BreakKind),
    ]
    return Section("summary", "The pool at a glance", ("figure", "value"), 2, rows, _warnings(qualities))


def _warnings(qualities: Counter[str]) -> str:
    """How far the figures can be trusted."""
    unpriced, stale = qualities[Quality.UNPRICED.name], qualities[Quality.STALE.name]
    said = [f"Accounts that are UNPRICED: {unpriced}; their figures are the last known, or none."] if unpriced else []
    said += [f"Accounts that are STALE: {stale}; an input of theirs is older than its limit."] if stale else []
    return " ".join(said) or "All accounts are FRESH: no input is missing or older than its limit."


def totals(day: PoolDay) -> Section:
    """Money of all accounts in US dollars: customers', the firm's, both."""

    def held(accounts: Sequence[AccountRow], value: Callable[[Held], int | None]) -> int | None:
        return added(value(one) for account in accounts for one in account.held if one.amount > 0)

    both = day.customers, day.house, day.accounts
    calls = [call for shard in day.shards for call in shard.calls if call.account in day.by_id]
    house = [call for call in calls if day.by_id[call.account].house]
    open_calls = [call for call in calls if not day.by_id[call.account].house], house, calls
    called = [added(call.called_usd for call in some) for some in open_calls]
    received = [added(call.received_usd for call in some) for some in open_calls]
    left = [None if a is None or b is None else a - b for a, b in zip(called, received, strict=True)]
    figures = [
        ("initial requirement", [added(one.initial_usd for one in some) for some in both]),
        ("maintenance requirement", [added(one.maintenance_usd for one in some) for some in both]),
        ("equity", [added(one.equity_usd for one in some) for some in both]),
        ("undermargined", [lacking(some) for some in both]),
        ("collateral, market value", [held(some, lambda one: one.value_usd) for some in both]),
        ("collateral, as margin", [held(some, lambda one: one.margin_usd) for some in both]),
        ("called by open calls", called),
        ("received for them", received),
        ("still asked for", left),
    ]
    note = "US dollars. Undermargined is summed account by account: no excess covers another account's deficit."
    columns = ("figure", "customers", "firm", "both")
    return Section(
        "totals", "What do all accounts come to?", columns, 1, [(name, *map(usd, row)) for name, row in figures], note
    )


def requirements(day: PoolDay) -> Section:
    """A row an account, the one that lacks most first."""
    found = sorted(day.accounts, key=lambda one: (-(one.undermargined_usd or 0), one.id))
    rows = [
        (
            one.id, one.customer, "firm" if one.house else "customer", one.status, one.quality, one.currency,
            *(decimal_text(amount, one.decimals) for amount in (
                one.initial, one.maintenance, one.equity, one.equity - one.initial, max(0, one.maintenance - one.equity)
            )),
            *map(usd, (one.initial_usd, one.maintenance_usd, one.equity_usd, one.undermargined_usd)),
        )
        for one in found
    ]  # fmt: skip
    columns = (
        "account", "customer", "owner", "status", "quality", "currency", "initial", "maintenance", "equity", "excess",
        "undermargined", "initial_usd", "maintenance_usd", "equity_usd", "undermargined_usd",
    )  # fmt: skip
    note = "Excess is equity less initial margin; undermargined is what is missing to maintenance margin, 17 CFR 1.44(a)."
    return Section("requirements", "What does each account require, and what has it?", columns, 6, rows, note)


def lines(day: PoolDay) -> Section:
    """A row a line of a maintenance requirement."""
    rows = [
        (
            one.account, one.rule, one.model, one.line, one.quantity, one.why, one.currency,
            NOT_KNOWN if one.maintenance is None else decimal_text(one.maintenance, one.decimals),
        )
        for shard in day.shards for one in shard.lines if one.account in day.by_id
    ]  # fmt: skip
    columns = ("account", "rule", "model", "line", "quantity", "why", "currency", "maintenance")
    note = (
        "Lines of maintenance, in the currency of their rule; they sum to the maintenance of the account. Where it is due to"
        f" be margined again, '{BEHIND}' is the rest of what it is held to."
    )
    return Section("lines", "What do the requirements consist of?", columns, 7, rows, note)


def collateral(day: PoolDay) -> Section:
    """A row an asset, of customers and of the firm; what accounts owe of it stands apart."""
    found: dict[tuple[bool, str], list[Held]] = {}
    for account in day.accounts:
        for held in account.held:
            found.setdefault((account.house, held.asset), []).append(held)
    rows = [_asset(asset, house, held) for (house, asset), held in sorted(found.items())]
    columns = (
        "asset", "owner", "not_eligible_because", "accounts", "quantity", "haircut", "over_limits", "margin_quantity",
        "value_usd", "margin_usd", "owed",
    )  # fmt: skip
    note = (
        "Quantity = haircut + over limits + margin quantity, in units of the asset; owed is what accounts are short of it."
    )
    return Section("collateral", "What collateral is held, and what does it count?", columns, 3, rows, note)


def _asset(asset: str, house: bool, every: Sequence[Held]) -> Row:
    held, decimals = [one for one in every if one.amount > 0], every[0].decimals
    owed = -sum(one.amount for one in every if one.amount < 0)
    amounts = (sum(getattr(one, name) for one in held) for name in ("amount", "haircut", "over", "margin"))
    worth = (added(getattr(one, name) for one in held) for name in ("value_usd", "margin_usd"))
    why = "; ".join(sorted({one.reason for one in held} - {""}))
    return (
        asset, "firm" if house else "customers", why, f"{len(held)}", *(decimal_text(one, decimals) for one in amounts),
        *map(usd, worth), decimal_text(owed, decimals),
    )  # fmt: skip


def caps(day: PoolDay) -> Section:
    """A row an account and entry of the collateral rule with a limit, the fullest first."""
    used = [(one, _percent(one.used_usd, one.limit_usd)) for s in day.shards for one in s.limits if one.account in day.by_id]
    used.sort(key=lambda item: (-(item[0].over_usd or 0), -item[1], item[0].account))
    rows = [
        (
            one.account, day.by_id[one.account].customer, one.entry, *map(usd, (one.limit_usd, one.used_usd)),
            f"{float(share):.1f}", usd(one.over_usd),
        )
        for one, share in used
    ]  # fmt: skip
    columns = ("account", "customer", "entry", "limit_usd", "used_usd", "used_percent", "over_usd")
    note = (
        "The limit of an entry of the pool's collateral rule: its cap, or its share of maintenance where that is less. What"
        " is over counts nothing."
    )
    return Section("caps", "Which limits of collateral are used, and how far?", columns, 3, rows, note)


def _percent(used: int | None, limit: int | None) -> Fraction:
    return Fraction(100 * (used or 0), limit) if limit else Fraction(0)


def limits(day: PoolDay) -> Section:
    """A row a customer with a day-end limit: what is used, what is over, the incremental capital buffer on that."""
    rows: list[Row] = []
    every = {name: one for shard in day.shards for name, one in shard.rows.customers.items()}
    terms = {name: one for name, one in every.items() if one.day_end_limit is not None}
    initial = _initial_by_customer(day.customers), _initial_by_customer(day.elsewhere)
    for name in sorted(initial[0].keys() & terms.keys()):
        here, other = initial[0][name], initial[1].get(name, 0)
        whole, limit = added((here, other)), scaled(terms[name].day_end_limit or Decimal(0), 100)
        if whole is None:
            rows.append((name, usd(here), NOT_KNOWN, usd(limit), *[NOT_KNOWN] * 3))
            continue
        over, buffer = (int(one) for one in day_end(whole, limit, scaled(terms[name].capital_buffer, E9)))
        used = f"{float(_percent(whole, limit)):.1f}" if limit else "no limit left" if whole else "0.0"
        rows.append((name, usd(here), usd(whole), usd(limit), used, usd(over), usd(buffer)))
    columns = (
        "customer", "initial_here_usd", "initial_all_pools_usd", "limit_usd", "used_percent", "over_usd",
        "capital_buffer_usd",
    )  # fmt: skip
    note = "The limit is on initial margin in all pools; customers without one are not listed."
    return Section("limits", "Which customers use how much of their limit?", columns, 1, rows, note)


def _initial_by_customer(accounts: Sequence[AccountRow]) -> dict[str, int | None]:
    """US cents by customer."""
    found: dict[str, list[int | None]] = {}
    for one in accounts:
        found.setdefault(one.customer, []).append(one.initial_usd)
    return {name: added(amounts) for name, amounts in found.items()}


def firm(day: PoolDay) -> Section:
    """What the firm must leave in a pool of futures customers, what it has there, and its own capital charge."""
    needed, there = lacking(day.customers), added(one.margin_usd for account in day.house for one in account.held)
    missing = None if needed is None or there is None else max(0, needed - there)
    rows, note = list[Row](), "The pool names no account class of the CFTC: residual interest is not asked for."
    if day.pool.account_class is not None:
        note = f"Account class {day.pool.account_class}."
        rows += [
            ("residual interest needed, USD", usd(needed), "the sum that customers lack, 17 CFR 1.22"),
            ("residual interest there, USD", usd(there), "margin value of what the firm's accounts hold in the pool"),
            ("residual interest missing, USD", usd(missing), ""),
        ]
    rule = day.pool.collateral or ""
    pilot = next((shard.rows.pilots[rule] for shard in day.shards if rule in shard.rows.pilots), None)
    if pilot is not None:
        own = [held for account in day.house for held in account.held if held.digital is not None]
        charge, why = own_capital(pilot, own)
        rows += [
            ("pilot phase", phase_of(pilot, date_of(day.clock_ns)).name.lower(), f"rule {rule}, accepts digital assets from"
             f" {pilot.commencement or 'no day named yet'}"),
            ("own capital charge, USD", usd(charge), why or "on the firm's own digital assets in the pool"),
        ]  # fmt: skip
        for held in own:
            if held.digital is not None and (reason := residual_interest_reason(pilot, held.digital)):
                rows.append((f"own {held.asset}", decimal_text(held.amount, held.decimals), reason))
    return Section("firm", "What must the firm itself put up?", ("figure", "value", "why"), 3, rows, note)

"""The day-end pack of a pool, section by section, as tables that become CSV files and one HTML page.

Amounts are exact decimals of the currency beside them. What customers lack is summed account by account: nobody's excess
covers anybody else's deficit (17 CFR 1.22; rates.md 6 [P]), and the firm's own accounts stand apart.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from html import escape
from typing import Final, NamedTuple

from engine.arithmetic import E9
from engine.documents import Pool
from engine.models.addons import day_end
from engine.models.pilot import phase_of, residual_interest_reason
from engine.numbers import date_of, decimal_text, scaled, time_text
from engine.report import Quality, Status
from monitors.holdings import AccountRow, Held, RuleRow, ShardRows
from monitors.pilot_report import own_capital
from monitors.report_page import page, table

SHOWN: Final = 200  # rows of a table in the page; the files have all
NOT_KNOWN: Final = "not known"
_NUMBER: Final = re.compile(r"(-?)(\d{1,20})(\.\d+)")
Row = tuple[str, ...]


class Section(NamedTuple):
    """A table of a pack: file name without ending, title, columns, how many of them from the left are words, rows."""

    name: str
    title: str
    columns: Row
    words: int
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True, slots=True)
class PoolDay:
    """A pool at a moment: its accounts of all shards, and all accounts of customers who have one in it."""

    pool: Pool
    shards: tuple[ShardRows, ...]
    accounts: tuple[AccountRow, ...]
    elsewhere: tuple[AccountRow, ...]

    @property
    def customers(self) -> list[AccountRow]:
        """The accounts that are not the firm's."""
        return [one for one in self.accounts if not one.house]

    @property
    def house(self) -> list[AccountRow]:
        """The firm's own accounts."""
        return [one for one in self.accounts if one.house]


@dataclass(frozen=True, slots=True)
class Pack:
    """A pool's sections, and what customers lack in sum, US cents (None: a currency has no rate)."""

    pool: str
    sections: tuple[Section, ...]
    undermargined_usd: int | None


def pool_ids(shards: Sequence[ShardRows]) -> list[str]:
    """All pools, in the order of definition."""
    return list(dict.fromkeys(name for shard in shards for name in shard.pools))


def pack(shards: Sequence[ShardRows], pool_id: str) -> Pack:
    """The pack of a pool."""
    every = [account for shard in shards for account in shard.accounts]
    accounts = [one for one in every if one.pool == pool_id]
    owners = {one.customer for one in accounts}
    pool = next(shard.pools[pool_id] for shard in shards if pool_id in shard.pools)
    day = PoolDay(
        pool, tuple(shards), tuple(accounts), tuple(one for one in every if one.customer in owners and one.pool != pool_id)
    )
    return Pack(pool_id, tuple(section(day) for section in SECTIONS), undermargined(day))


def undermargined(day: PoolDay) -> int | None:
    """US cents that customers' accounts lack to maintenance, summed without any offset: 17 CFR 1.22, 1.44(a)."""
    return _sum(one.undermargined_usd for one in day.customers)


def _sum(amounts: Iterable[int | None]) -> int | None:
    """Their sum, None where one is not known."""
    total = 0
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


def _usd(cents: int | None) -> str:
    return NOT_KNOWN if cents is None else decimal_text(cents, 2)


# Sections


def summary(day: PoolDay) -> Section:
    """The pool at a glance."""
    statuses, qualities = (Counter(map(of, day.customers)) for of in (lambda one: one.status, lambda one: one.quality))
    unpriced = qualities[Quality.UNPRICED.name]
    clocks = [shard.clock_ns for shard in day.shards]
    rows = [
        ("regime", day.pool.regime),
        ("moment", " to ".join(dict.fromkeys((time_text(min(clocks)), time_text(max(clocks)))))),
        ("accounts of customers", f"{len(day.customers)}"),
        *((f"of them {status.name}", f"{statuses[status.name]}") for status in Status if statuses[status.name]),
        *((f"of them {quality.name}", f"{qualities[quality.name]}") for quality in Quality if qualities[quality.name]),
        ("initial requirement, USD", _usd(_sum(one.initial_usd for one in day.customers))),
        ("equity, USD", _usd(_sum(one.equity_usd for one in day.customers))),
        ("undermargined, USD", _usd(undermargined(day))),
        ("the firm's own equity in the pool, USD", _usd(_sum(one.equity_usd for one in day.house))),
    ]
    note = f"{unpriced} accounts are UNPRICED: their figures are the last known, or none." if unpriced else ""
    return Section("summary", "The pool at a glance", ("figure", "value"), 1, rows, note)


def requirements(day: PoolDay) -> Section:
    """A row an account, the one that lacks most first."""
    found = sorted(day.accounts, key=lambda one: (-(one.undermargined_usd or 0), one.id))
    rows = [
        (
            one.id, one.customer, "firm" if one.house else "customer", one.status, one.quality, one.currency,
            *(decimal_text(amount, one.decimals) for amount in (
                one.initial, one.maintenance, one.equity, one.equity - one.initial, max(0, one.maintenance - one.equity)
            )),
            _usd(one.undermargined_usd),
        )
        for one in found
    ]  # fmt: skip
    columns = (
        "account", "customer", "owner", "status", "quality", "currency", "initial", "maintenance", "equity", "excess",
        "undermargined", "undermargined_usd",
    )  # fmt: skip
    note = "Excess is equity less initial margin; undermargined is what is missing to maintenance margin, 17 CFR 1.44(a)."
    return Section("requirements", "What does each account require, and what has it?", columns, 6, rows, note)


def calls(day: PoolDay) -> Section:
    """A row an account that is called, the largest first."""
    called = sorted((one for one in day.accounts if one.call), key=lambda one: (-one.call, one.id))
    rows = [(one.id, one.customer, one.status, one.currency, decimal_text(one.call, one.decimals)) for one in called]
    columns = ("account", "customer", "status", "currency", "called")
    return Section("calls", "Who is called for how much?", columns, 4, rows, "A call restores initial margin.")


def collateral(day: PoolDay) -> Section:
    """A row an asset, of customers and of the firm."""
    found: dict[tuple[bool, str], list[Held]] = {}
    for account in day.accounts:
        for held in account.held:
            found.setdefault((account.house, held.asset), []).append(held)
    rows = [
        (
            asset, "firm" if house else "customers", "; ".join(sorted({one.reason for one in held} - {""})),
            f"{len(held)}",
            *(decimal_text(sum(getattr(one, name) for one in held), held[0].decimals)
              for name in ("amount", "haircut", "over", "margin")),
            *(_usd(_sum(getattr(one, name) for one in held)) for name in ("value_usd", "margin_usd")),
        )
        for (house, asset), held in sorted(found.items())
    ]  # fmt: skip
    columns = (
        "asset", "owner", "not_eligible_because", "accounts", "quantity", "haircut", "over_limits", "margin_quantity",
        "value_usd", "margin_usd",
    )  # fmt: skip
    note = "Quantity = haircut + over limits + margin quantity, in units of the asset."
    return Section("collateral", "What collateral is held, and what does it count?", columns, 3, rows, note)


def limits(day: PoolDay) -> Section:
    """A row a customer with a day-end limit: what is used, what is over, the incremental capital buffer on that."""
    rows: list[Row] = []
    terms = {name: one for shard in day.shards for name, one in shard.customers.items() if one.day_end_limit is not None}
    for name in sorted({one.customer for one in day.customers} & terms.keys()):
        here = _sum(one.initial_usd for one in day.customers if one.customer == name)
        other = _sum(one.initial_usd for one in day.elsewhere if one.customer == name)
        whole, limit = _sum((here, other)), scaled(terms[name].day_end_limit or Decimal(0), 100)
        if whole is None:
            rows.append((name, _usd(here), NOT_KNOWN, _usd(limit), *[NOT_KNOWN] * 3))
            continue
        over, buffer = (int(one) for one in day_end(whole, limit, scaled(terms[name].capital_buffer, E9)))
        used = f"{float(Fraction(100 * whole, limit)):.1f}" if limit else "no limit left" if whole else "0.0"
        rows.append((name, _usd(here), _usd(whole), _usd(limit), used, _usd(over), _usd(buffer)))
    columns = (
        "customer", "initial_here_usd", "initial_all_pools_usd", "limit_usd", "used_percent", "over_usd",
        "capital_buffer_usd",
    )  # fmt: skip
    note = "The limit is on initial margin in all pools; customers without one are not listed."
    return Section("limits", "Which customers use how much of their limit?", columns, 1, rows, note)


def firm(day: PoolDay) -> Section:
    """What the firm must leave in a pool of futures customers, what it has there, and its own capital charge."""
    needed, there = undermargined(day), _sum(one.margin_usd for account in day.house for one in account.held)
    lacking = None if needed is None or there is None else max(0, needed - there)
    rows, note = list[Row](), "The pool names no account class of the CFTC: residual interest is not asked for."
    if day.pool.account_class is not None:
        note = f"Account class {day.pool.account_class}."
        rows += [
            ("residual interest needed, USD", _usd(needed), "the sum that customers lack, 17 CFR 1.22"),
            ("residual interest there, USD", _usd(there), "margin value of what the firm's accounts hold in the pool"),
            ("residual interest missing, USD", _usd(lacking), ""),
        ]
    rule = day.pool.collateral or ""
    pilot = next((shard.pilots[rule] for shard in day.shards if rule in shard.pilots), None)
    if pilot is not None:
        own = [held for account in day.house for held in account.held if held.digital is not None]
        today = date_of(max(shard.clock_ns for shard in day.shards))
        charge, why = own_capital(pilot, own)
        rows += [
            ("pilot phase", phase_of(pilot, today).name.lower(), f"rule {rule}, accepts digital assets from"
             f" {pilot.commencement or 'no day named yet'}"),
            ("own capital charge, USD", _usd(charge), why or "on the firm's own digital assets in the pool"),
        ]  # fmt: skip
        for held in own:
            if held.digital is not None and (reason := residual_interest_reason(pilot, held.digital)):
                rows.append((f"own {held.asset}", decimal_text(held.amount, held.decimals), reason))
    return Section("firm", "What must the firm itself put up?", ("figure", "value", "why"), 3, rows, note)


def rules(day: PoolDay) -> Section:
    """The rules and scenario sets in force."""
    found: dict[RuleRow, None] = dict.fromkeys(rule for shard in day.shards for rule in shard.rules)
    rows = [(one.id, one.model, "" if one.effective_ns is None else time_text(one.effective_ns), one.hash) for one in found]
    return Section("rules", "Which rules were in force?", ("rule", "model", "effective", "hash"), 4, rows)


def moments(day: PoolDay) -> Section:
    """Where in the log each shard stood."""
    rows = [(f"{s.shard}", f"{s.offset}", time_text(s.clock_ns), s.rule_set, s.log_id) for s in day.shards]
    columns = ("shard", "log_offset", "clock", "rule_set", "log")
    return Section("moments", "At which place of the log?", columns, 5, rows)


SECTIONS: Final[tuple[Callable[[PoolDay], Section], ...]] = (
    summary, firm, requirements, calls, collateral, limits, rules, moments,
)  # fmt: skip


# Output


def csv_text(section: Section) -> str:
    """The section as CSV, with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(section.columns)
    writer.writerows(section.rows)
    return text.getvalue()


def html(found: Pack, day: str) -> str:
    """The pack as a page; of long tables the first rows, the files hold all."""
    title = f"{found.pool}, day end {day}"
    body = "".join(_section(section) for section in found.sections)
    return page(f"crossmargin: {title}", f"<h1>{escape(title)}</h1>{body}")


def _cell(text: str) -> str:
    """Numbers with their thousands apart, anything else as text."""
    found = _NUMBER.fullmatch(text)
    return f"{found[1]}{int(found[2]):,}{found[3]}" if found else escape(text)


def _section(section: Section) -> str:
    shown = [[_cell(cell) for cell in row] for row in section.rows[:SHOWN]]
    heads = [escape(column.replace("_", " ").replace(" usd", ", USD")) for column in section.columns]
    notes = [section.note] if section.note else []
    if len(section.rows) > SHOWN:
        notes.append(f"The first {SHOWN} of {len(section.rows)} rows; {section.name}.csv has all.")
    said = "".join(f"<p class='note'>{escape(note)}</p>" for note in notes)
    body = table(heads, shown, section.words) if shown else "<p>None.</p>"
    return f"<h2>{escape(section.title)}</h2>{said}{body}"

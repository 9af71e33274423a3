"""The weekly report of the CFTC's digital-asset pilot: customers' digital assets by account class, and the firm's own.

CFTC Letters 25-40 and 26-05 as reported (crypto.md 1.1 [S]); the sums are engine.models.pilot's.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple

from engine.models.pilot import (
    QUANTITY_DECIMALS,
    AccountClass,
    CustomerHolding,
    OwnHolding,
    Pilot,
    ReportRow,
    class_totals,
    own_capital_charge,
    phase_of,
    report_csv,
    report_due,
    residual_interest_reason,
    weekly_report,
)
from engine.numbers import decimal_text, time_text
from monitors.holdings import AccountRow, Held, ShardRows


class Week(NamedTuple):
    """The report as data and as CSV."""

    data: dict[str, Any]
    csv: str


def report(shards: Sequence[ShardRows], week_ending: date) -> Week:
    """The report of a week from the rows at its end (or so far).

    A holding that is unpriced, or below 0, is left out of the sums and listed. The firm's own capital charge is by the pilot
    that charges most, where several collateral rules have one.
    """
    holdings, left_out = list[CustomerHolding](), list[dict[str, str]]()
    for account, held, of in _customers(shards):
        if held.value_usd is None or held.amount < 0:
            why = "its value is not known" if held.value_usd is None else "the account owes it"
            left_out.append({"account": account.id, "asset": held.asset, "reason": why})
        else:
            holdings.append(CustomerHolding(of, held.asset, _e8(held), held.value_usd))
    rows = weekly_report(holdings, week_ending)
    pilots = {rule: pilot for shard in shards for rule, pilot in shard.pilots.items()}
    own = [(account, held) for account, held in _digital(shards) if account.house]
    data = {
        "week_ending": str(week_ending),
        "as_of": {str(shard.shard): {"offset": shard.offset, "clock": time_text(shard.clock_ns)} for shard in shards},
        "rule_set": shards[0].rule_set,
        "rules": {
            rule: {"phase": phase_of(pilot, week_ending).name.lower(), "report_due": report_due(pilot, week_ending)}
            for rule, pilot in sorted(pilots.items())
        },
        "rows": [_row(row) for row in rows],
        "totals_usd": {str(of): decimal_text(total, 2) for of, total in class_totals(rows).items()},
        "left_out": left_out,
        "own_capital": _own_capital(pilots, [held for _, held in own]),
        "residual_interest": [_residual(shards, pilots, account, held) for account, held in own if _class(shards, account)],
    }  # fmt: skip
    return Week(data, report_csv(rows, week_ending))


def own_capital(pilot: Pilot, own: Iterable[Held]) -> tuple[int | None, str]:
    """(US cents that the firm's own digital assets cost it in capital, ""), or (None, why that is not known)."""
    found = list[OwnHolding]()
    for held in own:
        if held.value_usd is None:
            return None, f"{held.asset} has no price"
        if held.digital is not None:
            found.append(OwnHolding(held.asset, held.digital, held.value_usd))
    try:
        return own_capital_charge(pilot, found), ""
    except ValueError as error:
        return None, str(error)


def _digital(shards: Sequence[ShardRows]) -> Iterator[tuple[AccountRow, Held]]:
    accounts = (account for shard in shards for account in shard.accounts)
    return ((account, held) for account in accounts for held in account.held if held.digital is not None)


def _class(shards: Sequence[ShardRows], account: AccountRow) -> AccountClass | None:
    return next((shard.pools[account.pool].account_class for shard in shards if account.pool in shard.pools), None)


def _customers(shards: Sequence[ShardRows]) -> Iterator[tuple[AccountRow, Held, AccountClass]]:
    for account, held in _digital(shards):
        of = _class(shards, account)
        if of is not None and not account.house:
            yield account, held, of


def _e8(held: Held) -> int:
    return held.amount * int(10 ** (QUANTITY_DECIMALS - held.decimals))


def _row(row: ReportRow) -> dict[str, str]:
    return {
        "account_class": str(row.account_class),
        "asset": row.asset,
        "quantity": decimal_text(row.quantity_e8, QUANTITY_DECIMALS),
        "value_usd": decimal_text(row.value_usd_minor, 2),
    }


def _own_capital(pilots: dict[str, Pilot], own: Sequence[Held]) -> dict[str, str | None]:
    charges = {rule: own_capital(pilot, own) for rule, pilot in pilots.items()}
    unknown = next((why for _, why in charges.values() if why), "")
    known = {rule: charge for rule, (charge, _) in charges.items() if charge is not None}
    rule = max(known, key=lambda name: known[name], default="")
    return {
        "rule": rule,
        "charge_usd": None if unknown or not rule else decimal_text(known[rule], 2),
        "not_known_because": unknown,
    }


def _residual(shards: Sequence[ShardRows], pilots: dict[str, Pilot], account: AccountRow, held: Held) -> dict[str, str]:
    """A digital asset of the firm in a pool of customers, and why it may not be there."""
    rule = next(shard.pools[account.pool].collateral or "" for shard in shards if account.pool in shard.pools)
    assert held.digital is not None
    reason = residual_interest_reason(pilots[rule], held.digital) if rule in pilots else f"rule {rule} has no pilot"
    quantity = decimal_text(held.amount, held.decimals)
    return {
        "account": account.id,
        "pool": account.pool,
        "asset": held.asset,
        "quantity": quantity,
        "not_allowed_because": reason,
    }

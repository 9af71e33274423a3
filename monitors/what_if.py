"""Questions about an account, answered by the engine's own functions in a shadow that holds its published book.

Nothing is read or kept here: the shadow is cleared before each question.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E9
from engine.books import EMPTY
from engine.codes import EXPLANATION, Code
from engine.documents import Agreement, parse_document
from engine.events import RECORD, Kind, key64
from engine.numbers import divide_half_even
from engine.shadow import Shadow
from engine.state import NONE
from engine.terms import Refused
from monitors.published import Owner

_CUSTOMER: Final = "q"  # whose the copies are


class Unanswerable(Exception):
    """A question that cannot be answered: what of what is published is missing or does not fit."""


class Item(NamedTuple):
    """A hypothetical trade or change of collateral: of an instrument or asset, 1e-8 units, 1e-9 price (None: the mark)."""

    kind: Kind
    name: str
    quantity: int
    price: int | None


class Outcome(NamedTuple):
    """A FIGURES row, or why there is none: the place of the item that is not possible, and the reason. prices: of trades."""

    figures: Any
    prices: list[str]
    problem: str


class _Copy(NamedTuple):
    """An account, and the other leg of its agreement if it is in one, under other names."""

    legs: list[str]  # ids as published, the account's own first
    agreement: dict[str, Any] | None


def open_owner(shadow: Shadow, owner: Owner, account_id: str) -> int:
    """Put a customer with all accounts under their own ids into the shadow, and margin them: the slot of one of them."""
    shadow.clear()
    shadow.define(kind="customer", id=owner.id)
    _check(owner, [account_id, *(name for name in owner.accounts if name != account_id)], shadow)
    for name in owner.accounts:
        _open(shadow, owner, name, owner.id, [name])
    try:
        shadow.documents(owner.agreements)
    except Refused as refused:
        raise Unanswerable(f"an agreement of customer {owner.id}: {refused}") from refused
    shadow.step(np.empty(0, RECORD))
    slot = shadow.engine.find_account(account_id)
    assert slot is not None
    return slot


def what_if(shadow: Shadow, owner: Owner, account_id: str, scenarios: Sequence[Sequence[Item]]) -> list[Outcome]:
    """The account's figures as it is, then with the items of each scenario, each apart from the others."""
    copied = _copy(owner, account_id)
    _check(owner, copied.legs, shadow)
    asked, outcomes = [(), *scenarios], list[Outcome]()
    held = sum(len(book.positions) for name in copied.legs if (book := owner.accounts[name].book) is not None)
    accounts, positions = shadow.room
    each = max(len(items) for items in asked) + held
    fits = min(accounts // len(copied.legs), positions // max(1, each))
    for first in range(0, len(asked), fits):
        outcomes += _answer(shadow, owner, copied, asked[first : first + fits])
    return outcomes


def _copy(owner: Owner, account_id: str) -> _Copy:
    for body in owner.agreements:
        document = parse_document(body)
        assert isinstance(document, Agreement)
        legs = [document.futures_account, document.treasury_account]
        if account_id in legs:
            legs.remove(account_id)
            return _Copy([account_id, *legs], msgspec.json.decode(body))
    return _Copy([account_id], None)


def _check(owner: Owner, names: Sequence[str], shadow: Shadow) -> None:
    """Unanswerable where a book is missing, or there are more accounts or positions than there is room for."""
    for name in names:
        if name not in owner.accounts or owner.accounts[name].book is None:
            raise Unanswerable(f"the positions of account {name} are not published")
    held = sum(len((owner.accounts[name].book or EMPTY).positions) for name in names)
    accounts, positions = shadow.room
    if len(names) > accounts or 2 * held > positions:
        raise Unanswerable(f"{len(names)} accounts with {held} positions are more than fit ({accounts}, {positions // 2})")


def _answer(shadow: Shadow, owner: Owner, copied: _Copy, asked: Sequence[Sequence[Item]]) -> list[Outcome]:
    """As many scenarios as there is room for, at one clock."""
    shadow.clear()
    shadow.define(kind="customer", id=_CUSTOMER)
    slots = [
        _open(shadow, owner, name, _CUSTOMER, [f"{number}.{leg}" for number in range(len(asked))])
        for leg, name in enumerate(copied.legs)
    ]
    for number in range(len(asked) if copied.agreement is not None else 0):
        _agree(shadow, copied, number)
    records, prices = _records(shadow, asked)
    first = shadow.origins
    report = shadow.step(records)
    problems = _problems(report.rejects, first, [len(items) for items in asked])
    figures = shadow.engine.figures(np.array(slots[0], np.int32))
    return [Outcome(figures[n] if n not in problems else None, prices[n], problems.get(n, "")) for n in range(len(asked))]


def _agree(shadow: Shadow, copied: _Copy, number: int) -> None:
    """The agreement of a copy's two accounts."""
    assert copied.agreement is not None
    legs = {leg: f"{number}.{copied.legs.index(copied.agreement[leg])}" for leg in ("futures_account", "treasury_account")}
    try:
        shadow.define(**{**copied.agreement, "id": str(number), "customer": _CUSTOMER, **legs})
    except Refused as refused:
        raise Unanswerable(f"agreement {copied.agreement['id']}: {refused}; the market is older") from refused


def _open(shadow: Shadow, owner: Owner, name: str, customer: str, new: Sequence[str]) -> list[int]:
    """Copies of an account under new names; Unanswerable where it or its book is of a newer market."""
    account = owner.accounts[name]
    try:
        slots, code = shadow.open(customer, new, account.pool, account.currency, account.book or EMPTY)
    except Refused as refused:
        raise Unanswerable(f"account {name}: {refused}; the market is older") from refused
    if code is not Code.OK:
        raise Unanswerable(f"the book of account {name}: {EXPLANATION[code]}; the market is older")
    return slots


def _records(shadow: Shadow, asked: Sequence[Sequence[Item]]) -> tuple[NDArray[np.void], list[list[str]]]:
    """RECORD rows of all items, each for its scenario's account; and the prices that trades are filled at."""
    items = [(f"{number}.0", item) for number, some in enumerate(asked) for item in some]
    records, prices = np.zeros(len(items), RECORD), list[list[str]]()
    marks = {item.name: _mark(shadow, item.name) for _, item in items if item.kind is Kind.TRADE and item.price is None}
    for some in asked:
        taken = [marks[item.name] if item.price is None else item.price for item in some if item.kind is Kind.TRADE]
        prices.append([_text(price) for price in taken])
    for row, (account, item) in zip(records, items, strict=True):
        row["kind"], row["account"], row["instrument"] = item.kind, key64(account), key64(item.name)
        row["quantity"] = item.quantity
        row["price"] = (marks[item.name] if item.price is None else item.price) if item.kind is Kind.TRADE else 0
    records["id"] = np.arange(shadow.origins + 1, shadow.origins + 1 + len(records), dtype=np.uint64)
    return records, prices


def _mark(shadow: Shadow, name: str) -> int:
    """An instrument's mark on its tick, 1e-9 points, half to even; 0 where it is unknown or has none."""
    definitions = shadow.engine.definitions
    slot = definitions.instrument_slot(name)
    if slot == NONE:
        return 0
    row = definitions.state.instruments[slot]
    return divide_half_even(int(row["mark"]), 1000) * int(row["tick"]) if row["priced"] else 0


def _text(price: int) -> str:
    """A price of 1e-9 points without needless zeros."""
    whole, fraction = divmod(abs(price), E9)
    text = f"{whole}.{fraction:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if price < 0 else text


def _problems(rejects: Sequence[Any], first: int, sizes: Sequence[int]) -> dict[int, str]:
    """By scenario, its first item that was not possible."""
    ends, problems = np.cumsum(sizes).tolist(), dict[int, str]()
    for reject in rejects:
        place = reject.offset - first
        number = int(np.searchsorted(ends, place, side="right"))
        item = place - (ends[number] - sizes[number])
        problems.setdefault(number, f"item {item + 1}: {EXPLANATION[reject.code]}")
    return problems

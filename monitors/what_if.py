"""Questions about an account, answered by the engine's own functions in a shadow that holds its published book.

Nothing is read or kept here: the shadow is cleared before each question. Working orders may fill or not, so a scenario is
margined with none of them filled, with its buys and with its sells, each side whole: the one that leaves the least equity
over the initial requirement counts, one that is UNPRICED before all. That bounds the work; single orders are not combined.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
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
from engine.report import Quality
from engine.shadow import Shadow
from engine.state import NONE
from engine.terms import Refused
from monitors.published import Owner

_CUSTOMER: Final = "q"  # whose the copies are


class Unanswerable(Exception):
    """A question that cannot be answered: what of what is published is missing or does not fit."""


class Item(NamedTuple):
    """A hypothetical trade or change of collateral: of an instrument or asset, 1e-8 units, 1e-9 price (None: the mark).

    working: an order, which may fill or not.
    """

    kind: Kind
    name: str
    quantity: int
    price: int | None
    working: bool = False


class Fill(StrEnum):
    """Which of a scenario's working orders are filled."""

    NONE = "none"
    BUYS = "buys"
    SELLS = "sells"


class Outcome(NamedTuple):
    """A FIGURES row, or why there is none: the place of the item that is not possible, and the reason.

    prices: of trades and orders. fill: with which the figures are, the worst; None without orders.
    """

    figures: Any
    prices: list[str]
    problem: str
    fill: Fill | None


class _Case(NamedTuple):
    """A scenario's items with one side's orders filled, by their place in it."""

    scenario: int
    fill: Fill
    items: list[tuple[int, Item]]


class _Answer(NamedTuple):
    """A case's FIGURES row, and the place of its first item that is not possible with the reason."""

    fill: Fill
    figures: Any
    problem: tuple[int, str] | None


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
    asked: list[Sequence[Item]] = [(), *scenarios]
    cases = [case for number, items in enumerate(asked) for case in _cases(number, items)]
    held = sum(len(book.positions) for name in copied.legs if (book := owner.accounts[name].book) is not None)
    accounts, positions = shadow.room
    each = max(len(case.items) for case in cases) + held
    fits = min(accounts // len(copied.legs), positions // max(1, each))
    marks = {item.name: _mark(shadow, item.name) for items in asked for item in items if _is_at_mark(item)}
    found: list[list[_Answer]] = [[] for _ in asked]
    for first in range(0, len(cases), fits):
        some = cases[first : first + fits]
        for case, answer in zip(some, _answer(shadow, owner, copied, some, marks), strict=True):
            found[case.scenario].append(answer)
    return [_outcome(items, answers, marks) for items, answers in zip(asked, found, strict=True)]


def _cases(number: int, items: Sequence[Item]) -> Iterator[_Case]:
    """No order filled, and each side of which there are some."""
    sides = [_side(item) for item in items]
    for fill in Fill:
        if fill is Fill.NONE or fill in sides:
            yield _Case(number, fill, [(n, item) for n, item in enumerate(items) if sides[n] in (None, fill)])


def _side(item: Item) -> Fill | None:
    """The fill that an order belongs to; None of what is not an order."""
    if not item.working:
        return None
    return Fill.BUYS if item.quantity > 0 else Fill.SELLS


def _outcome(items: Sequence[Item], answers: Sequence[_Answer], marks: dict[str, int]) -> Outcome:
    """The worst of a scenario's cases, or the first item in any of them that is not possible."""
    prices = [_text(_price(item, marks)) for item in items if item.kind is Kind.TRADE]
    problems = [answer.problem for answer in answers if answer.problem is not None]
    if problems:
        place, why = min(problems)
        return Outcome(None, prices, f"item {place + 1}: {why}", None)
    worst = min(answers, key=lambda answer: _excess(answer.figures))
    return Outcome(worst.figures, prices, "", worst.fill if any(item.working for item in items) else None)


def _excess(row: Any) -> tuple[bool, int]:
    """Equity over the initial requirement, after what has no figures."""
    return bool(row["quality"] != Quality.UNPRICED), int(row["equity"]) - int(row["initial"])


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


def _answer(shadow: Shadow, owner: Owner, copied: _Copy, cases: Sequence[_Case], marks: dict[str, int]) -> list[_Answer]:
    """As many cases as there is room for, at one clock."""
    shadow.clear()
    shadow.define(kind="customer", id=_CUSTOMER)
    slots = [
        _open(shadow, owner, name, _CUSTOMER, [f"{number}.{leg}" for number in range(len(cases))])
        for leg, name in enumerate(copied.legs)
    ]
    for number in range(len(cases) if copied.agreement is not None else 0):
        _agree(shadow, copied, number)
    first = shadow.origins
    report = shadow.step(_records(shadow, cases, marks))
    problems = _problems(report.rejects, first, cases)
    figures = shadow.engine.figures(np.array(slots[0], np.int32))
    return [_Answer(case.fill, figures[n], problems.get(n)) for n, case in enumerate(cases)]


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


def _records(shadow: Shadow, cases: Sequence[_Case], marks: dict[str, int]) -> NDArray[np.void]:
    """RECORD rows of all items, each for its case's account."""
    items = [(f"{number}.0", item) for number, case in enumerate(cases) for _, item in case.items]
    records = np.zeros(len(items), RECORD)
    for row, (account, item) in zip(records, items, strict=True):
        row["kind"], row["account"], row["instrument"] = item.kind, key64(account), key64(item.name)
        row["quantity"] = item.quantity
        row["price"] = _price(item, marks) if item.kind is Kind.TRADE else 0
    records["id"] = np.arange(shadow.origins + 1, shadow.origins + 1 + len(records), dtype=np.uint64)
    return records


def _is_at_mark(item: Item) -> bool:
    return item.kind is Kind.TRADE and item.price is None


def _price(item: Item, marks: dict[str, int]) -> int:
    """What a trade or order is filled at, 1e-9 points."""
    return marks[item.name] if item.price is None else item.price


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


def _problems(rejects: Sequence[Any], first: int, cases: Sequence[_Case]) -> dict[int, tuple[int, str]]:
    """By case, the place in its scenario of its first item that was not possible, and why not."""
    places = [(number, place) for number, case in enumerate(cases) for place, _ in case.items]
    problems = dict[int, tuple[int, str]]()
    for reject in rejects:
        number, place = places[reject.offset - first]
        problems.setdefault(number, (place, EXPLANATION[reject.code]))
    return problems

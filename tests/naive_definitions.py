"""The slow twin's reading of reference documents: what may be defined, what may change, and what is refused."""

from datetime import date

import msgspec

from engine.codes import Code
from engine.documents import Account as AccountDocument
from engine.documents import (
    Agreement,
    AnyDocument,
    Calendar,
    Customer,
    Holder,
    Pool,
    Rule,
    Scenarios,
    names_used,
    parse_document,
)  # fmt: skip
from engine.documents import Asset as AssetDocument
from engine.documents import Instrument as InstrumentDocument
from engine.events import key64
from engine.numbers import time_ns
from tests.naive_rules import is_sound, take_agreement, take_rule, take_set
from tests.naive_state import E9, Account, Asset, Instrument, Refused, State, exact

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEK_NS = 7 * 86_400 * E9
PRICED_BY = ("coupon", "maturity", "strike", "right", "deliverables", "daily_volume", "funding")
MONDAY_NS = 4 * 86_400 * E9  # 1970-01-05 was a Monday


def define(state: State, body: bytes) -> Code:
    """Takes one document: OK, or why not."""
    try:
        document = parse_document(body)
    except msgspec.MsgspecError:
        return Code.BAD_FIELD
    try:
        if not all(_known(state, kind, name) for kind, name in names_used(document)):
            return Code.UNKNOWN_NAME
        _take(state, document)
    except Refused as refused:
        return refused.code
    except (ValueError, ArithmeticError):  # a number that is not finite, a time that is none
        return Code.REFUSED_DEFINITION
    return Code.OK


def is_for_all(body: bytes) -> bool:
    """Whether every shard gets such a document: all but customers, accounts and agreements."""
    document = msgspec.json.decode(body)
    return not isinstance(document, dict) or document.get("kind") not in ("customer", "account", "agreement")


def _known(state: State, kind: str, name: str) -> bool:
    tables = {
        "customer": state.customers, "pool": state.pools, "calendar": state.calendars, "asset": state.assets,
        "instrument": state.instruments, "rule": state.rules, "account": state.accounts, "scenarios": state.sets,
    }  # fmt: skip
    return name in tables[kind]


def _take(state: State, document: AnyDocument) -> None:
    if isinstance(document, Customer):
        state.customers[document.id] = document
    elif isinstance(document, Pool):
        _pool(state, document)
    elif isinstance(document, Calendar):
        _limit(document.id not in state.calendars, len(state.calendars), state.genesis.limits.calendars, Code.FULL_CALENDARS)
        sessions_of(document)
        sorted(map(date.fromisoformat, document.holidays))
        state.calendars[document.id] = document
    elif isinstance(document, Rule):
        _rule(state, document)
    elif isinstance(document, AssetDocument):
        _asset(state, document)
    elif isinstance(document, InstrumentDocument):
        _instrument(state, document)
    elif isinstance(document, Scenarios):
        take_set(state, document)
    elif isinstance(document, Agreement):
        take_agreement(state, document)
    elif isinstance(document, Holder):
        state.holder_ids[key64(document.id)] = document.id
    else:
        _account(state, document)


def _pool(state: State, document: Pool) -> None:
    _unchanged(state.pools.get(document.id), document, "currency")
    decimals, calls = state.assets[document.currency].document.decimals, document.calls
    amounts = (exact(amount, 10**decimals) for amount in (document.minimum_transfer, document.rounding))
    if not all(0 <= amount <= 10 ** (7 + decimals) for amount in amounts):
        raise Refused(Code.REFUSED_DEFINITION)
    if not 0 <= exact(calls.raise_share, E9) <= E9 or calls.escalate_days > calls.restrict_days:
        raise Refused(Code.REFUSED_DEFINITION)
    _limit(document.id not in state.pools, len(state.pools), state.genesis.limits.pools, Code.FULL_POOLS)
    state.pools[document.id] = document


def _unchanged(old: AnyDocument | None, new: AnyDocument, *fields: str) -> None:
    if old is not None and old != new and any(getattr(old, name) != getattr(new, name) for name in fields):
        raise Refused(Code.CHANGED_DEFINITION)


def _limit(is_new: bool, used: int, limit: int, code: Code) -> None:
    if is_new and used >= limit:
        raise Refused(code)


def sessions_of(calendar: Calendar) -> list[tuple[int, int]]:
    """A week's sessions as disjoint, ascending (start, stop) in nanoseconds from Monday 00:00 UTC."""
    week: list[tuple[int, int]] = []
    for opening, closing in calendar.sessions:
        start, stop = _moment(opening), _moment(closing)
        week += [(start, stop)] if start < stop else [(start, WEEK_NS), (0, stop)]
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(week):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


def _moment(text: str) -> int:
    day, _, clock = text.partition(" ")
    hours, colon, minutes = clock.partition(":")
    if day not in DAYS or not colon or not hours.isdigit() or not minutes.isdigit() or int(hours) > 23 or int(minutes) > 59:
        raise Refused(Code.REFUSED_DEFINITION)
    return ((DAYS.index(day) * 24 + int(hours)) * 60 + int(minutes)) * 60 * E9


def _rule(state: State, rule: Rule) -> None:
    versions = state.rules.get(rule.id, {})
    old = versions.get(rule.effective_ns)
    if old is not None:
        if (old.model, old.parameters) != (rule.model, rule.parameters):
            raise Refused(Code.CHANGED_DEFINITION)
        return
    _limit(True, sum(map(len, state.rules.values())), state.genesis.limits.rules, Code.FULL_RULES)
    if not is_sound(rule):
        raise Refused(Code.REFUSED_DEFINITION)
    take_rule(state, rule)
    state.rules.setdefault(rule.id, {})[rule.effective_ns] = rule


def _asset(state: State, document: AssetDocument) -> None:
    old = state.assets.get(document.id)
    _unchanged(old and old.document, document, "type", "currency", "decimals", "instrument")
    limits = state.genesis.limits
    _limit(old is None, len(state.assets), limits.assets, Code.FULL_ASSETS)
    is_base = document.id == "USD"
    haircut = exact(document.haircut, E9)
    if (document.currency == document.id) != is_base or not 0 <= haircut <= E9:
        raise Refused(Code.REFUSED_DEFINITION)
    if document.instrument is not None:
        priced_by = state.instruments[document.instrument].document
        if priced_by.inverse or priced_by.currency != document.currency:
            raise Refused(Code.REFUSED_DEFINITION)
    if old is None:
        state.assets[document.id] = Asset(document, haircut)
    else:
        old.document, old.haircut = document, haircut


def _instrument(state: State, document: InstrumentDocument) -> None:
    if any(rule.model in ("cross_margin", "collateral") for rule in state.rules.get(document.rule or "", {}).values()):
        raise Refused(Code.REFUSED_DEFINITION)
    old = state.instruments.get(document.id)
    if old is not None:
        _unchanged(
            old.document, document,
            "type", "currency", "multiplier", "lot", "tick", "inverse", "underlying", "bucket",
        )  # fmt: skip
        if old.expiry_ns != (None if document.expiry is None else time_ns(document.expiry)):
            raise Refused(Code.CHANGED_DEFINITION)
        before = old.document
        old.read(document)
        old.forced = old.forced or before.dv01 != document.dv01
        if any(getattr(before, name) != getattr(document, name) for name in PRICED_BY):
            for other in state.instruments.values():
                basket = [one.instrument for one in other.document.deliverables or ()]
                other.forced = other.forced or other is old or document.id in basket
        return
    limits = state.genesis.limits
    _limit(True, len(state.instruments), limits.instruments, Code.FULL_INSTRUMENTS)
    new = Instrument(document, state.assets[document.currency].document.decimals)
    is_new_factor = new.factor is not None and new.factor not in state.factors
    _limit(is_new_factor, len(state.factors), limits.factors, Code.FULL_FACTORS)
    _limit(document.currency not in state.currencies, len(state.currencies), limits.currencies, Code.FULL_CURRENCIES)
    if new.factor is not None:
        state.factors.add(new.factor)
    state.currencies.add(document.currency)
    state.instruments[document.id] = new


def _account(state: State, document: AccountDocument) -> None:
    old = state.accounts.get(document.id)
    _unchanged(old and old.document, document, "customer", "pool", "currency")
    if old is not None:
        return
    _limit(True, len(state.accounts), state.genesis.limits.accounts, Code.FULL_ACCOUNTS)
    if state.assets[document.currency].document.type not in ("currency", "crypto"):
        raise Refused(Code.REFUSED_DEFINITION)
    state.accounts[document.id] = Account(document, key64(document.id))

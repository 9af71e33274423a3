"""The slow twin's reading of reference documents: what may be defined, what may change, and what is refused."""

import msgspec

from engine.codes import Code
from engine.documents import Account as AccountDocument
from engine.documents import AnyDocument, Calendar, Customer, Pool, Rule, names_used, parse_document
from engine.documents import Asset as AssetDocument
from engine.documents import Instrument as InstrumentDocument
from engine.events import key64
from engine.numbers import time_ns
from tests.naive_state import E9, Account, Asset, Instrument, Refused, State, exact

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEK_NS = 7 * 86_400 * E9
MONDAY_NS = 4 * 86_400 * E9  # 1970-01-05 was a Monday
NEEDS = {
    "flat": ("initial", "maintenance"),
    "tiered": ("tiers",),
    "volatility": ("multiple", "days", "tenor_days", "floor", "initial_ratio"),
}


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
    """Whether every shard gets such a document: all but customers and accounts."""
    document = msgspec.json.decode(body)
    return not isinstance(document, dict) or document.get("kind") not in ("customer", "account")


def _known(state: State, kind: str, name: str) -> bool:
    tables = {
        "customer": state.customers, "pool": state.pools, "calendar": state.calendars, "asset": state.assets,
        "instrument": state.instruments, "rule": state.rules,
    }  # fmt: skip
    return name in tables[kind]


def _take(state: State, document: AnyDocument) -> None:
    if isinstance(document, Customer):
        state.customers[document.id] = document
    elif isinstance(document, Pool):
        _unchanged(state.pools.get(document.id), document, "currency")
        state.pools[document.id] = document
    elif isinstance(document, Calendar):
        _limit(document.id not in state.calendars, len(state.calendars), state.genesis.limits.calendars, Code.FULL_CALENDARS)
        sessions_of(document)
        state.calendars[document.id] = document
    elif isinstance(document, Rule):
        _rule(state, document)
    elif isinstance(document, AssetDocument):
        _asset(state, document)
    elif isinstance(document, InstrumentDocument):
        _instrument(state, document)
    else:
        _account(state, document)


def _unchanged(old: AnyDocument | None, new: AnyDocument, *fields: str) -> None:
    if old is not None and any(getattr(old, name) != getattr(new, name) for name in fields):
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
    if not _is_sound(rule):
        raise Refused(Code.REFUSED_DEFINITION)
    state.rules.setdefault(rule.id, {})[rule.effective_ns] = rule


def _is_sound(rule: Rule) -> bool:
    p = rule.parameters
    given = {name for names in NEEDS.values() for name in names if getattr(p, name) is not None}
    if given != set(NEEDS[rule.model]):
        return False
    if any(not 0 <= getattr(p, name) <= E9 for name in given - {"tiers"}) or (p.stale_after or 0) * E9 >= 2**63:
        return False
    if rule.model == "flat":
        return p.initial >= p.maintenance
    if rule.model == "volatility":
        return p.initial_ratio >= 1 and exact(p.tenor_days, 10**8) > 0 and p.days_per_year > 0
    starts = [tier.above for tier in p.tiers]
    rates = [(exact(tier.initial, E9), exact(tier.maintenance, E9)) for tier in p.tiers]
    return starts[0] == 0 and starts == sorted(set(starts)) and all(0 <= m <= i <= 10 * E9 for i, m in rates)


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
    old = state.instruments.get(document.id)
    if old is not None:
        _unchanged(
            old.document, document,
            "type", "currency", "multiplier", "lot", "tick", "inverse", "underlying", "bucket",
        )  # fmt: skip
        if old.expiry_ns != (None if document.expiry is None else time_ns(document.expiry)):
            raise Refused(Code.CHANGED_DEFINITION)
        dv01 = old.document.dv01
        old.read(document)
        old.forced = old.forced or old.document.dv01 != dv01
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

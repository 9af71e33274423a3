"""Statements in plain lists: what the slow twin keeps of them, and how they compare with what accounts hold."""

from engine.codes import Code
from engine.reconciliation import BreakKind
from tests.naive_state import Account, State, Statement

DAY_NS = 86_400 * 10**9
RUN_NS = 600 * 10**9


def held(state: State, account: Account, item: tuple[bool, str]) -> int:
    """What an account has of an item, 1e-8 units."""
    is_asset, name = item
    if is_asset:
        return account.holdings.get(name, 0) * 10 ** (8 - state.assets[name].document.decimals)
    position = account.positions.get(name)
    return position.lots * state.instruments[name].lot if position else 0


def take(state: State, account: Account, item: tuple[bool, str], holder: int, quantity: int, ts_ns: int) -> Code | None:
    """Keeps a statement: OK, None where it is superseded, FULL_STATEMENTS."""
    now, limit = max(state.clock_ns, 1), state.genesis.limits.statements
    own = [one for one in account.statements if one.holder == holder and one.item[0] == item[0]]
    days = {one.ts_ns // DAY_NS for one in own}
    if any(one.item == item and ts_ns < one.ts_ns for one in own) or ts_ns // DAY_NS < max(days, default=-1):
        return None
    used = sum(len(other.statements) for other in state.accounts.values())
    if not any(one.item == item and one.holder in (holder, 0) for one in account.statements) and used >= limit:
        return Code.FULL_STATEMENTS
    if ts_ns // DAY_NS not in days:
        for one in account.statements:
            if one.item[0] == item[0] and one.holder in (holder, 0) and not (one.gone_ns and held(state, account, one.item)):
                one.gone_ns = now
        for missed in _items(state, account, item[0]):
            if used + 1 < limit and all(one.item != missed for one in account.statements):
                account.statements.append(Statement(missed, gone_ns=now))
                used += 1
    found = [one for one in account.statements if one.item == item and one.holder in (holder, 0)]
    if not found:
        found = [Statement(item)]
        account.statements += found
    (one,) = found
    since = 0 if held(state, account, item) == quantity else one.since_ns or now
    one.holder, one.quantity, one.ts_ns, one.since_ns, one.gone_ns = holder, quantity, ts_ns, since, 0
    return Code.OK


def _items(state: State, account: Account, is_asset: bool) -> list[tuple[bool, str]]:
    """All that an account holds, of one of both classes; positions the latest first, assets in order of definition."""
    names = list(state.assets) if is_asset else list(account.positions)[::-1]
    return [(is_asset, name) for name in names if held(state, account, (is_asset, name))]


def reconciliation(state: State) -> tuple[dict[str, int], int, list[tuple[object, ...]]]:
    """Statements by kind, since when the oldest break, and all breaks as sorted tuples (engine.reconciliation.Break)."""
    kinds: list[BreakKind] = []
    breaks: list[tuple[object, ...]] = []
    for name, account in state.accounts.items():
        for one in account.statements:
            has, stated = held(state, account, one.item), 0 if one.gone_ns else one.quantity
            if one.gone_ns and (has == 0 or state.clock_ns < one.gone_ns + RUN_NS):
                continue
            kind = BreakKind.MATCHED
            if one.gone_ns or (one.since_ns and has != stated):
                kind = BreakKind.QUANTITY if has and stated else BreakKind.MISSING_THERE if has else BreakKind.MISSING_HERE
            kinds.append(kind)
            if kind is not BreakKind.MATCHED:
                holder = state.holder_ids.get(one.holder % 2**64, f"{one.holder % 2**64:016x}") if one.holder else ""
                since = one.gone_ns or one.since_ns
                breaks.append((name, holder, one.item[1], one.item[0], kind, has, stated, since, one.ts_ns))
    oldest = min((one[-2] for one in breaks), default=0)
    return {kind.name: kinds.count(kind) for kind in BreakKind}, oldest, sorted(breaks)

"""Statements change nothing but the reconciliation: a log with random ones among its events ends as it does without them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import MarginEngine
from engine.events import DAY_NS, Flag, Kind, id_key, key64, signed64
from engine.reconciliation import BreakKind
from engine.report import Digest
from engine.state import NONE
from tests.engine.compare import figures_of, report_of
from tests.strategies import Cut, Item, frames, stream
from tests.strategies_documents import ACCOUNTS, HOLDERS
from tests.strategies_world import CUSTOMER_OF

NOWHERE = "nobody defined it"


class Stated(NamedTuple):
    """A statement at a place of a script (a share of its length): of an item that some event names, or of none."""

    place: float
    account: str
    item: int
    quantity: int
    holder: str
    days: int  # its time against that of the event before it


QUANTITIES = st.one_of(st.sampled_from((0, 1, 10**8, -(10**8))), st.integers(-(2**62), 2**62))
DAYS = st.sampled_from((0, 0, 0, 0, -1, -3, 2))
WHO = st.sampled_from((*HOLDERS, "new"))
STATED = st.builds(Stated, st.floats(0, 1), st.sampled_from(ACCOUNTS), st.integers(0, 10**6), QUANTITIES, WHO, DAYS)


def with_statements(items: Sequence[Item], stated: Sequence[Stated]) -> list[Item]:
    """The script with the statements in it, each about what an earlier or later event names."""
    named = [
        (item.record[2], Flag.ASSET if item.kind is Kind.COLLATERAL else 0)
        for item in items if item.record is not None and item.kind in (Kind.TRADE, Kind.POSITION, Kind.COLLATERAL)
    ]  # fmt: skip
    named.append((key64(NOWHERE), 0))
    found, times = list(items), [item.record[0] if item.record else 0 for item in items]
    ordered = sorted(stated, key=lambda one: one.place)
    for number, one in enumerate(ordered):
        at = round(one.place * len(items))
        ts_ns = max([*times[:at], 0]) + one.days * DAY_NS
        name, flags = named[one.item % len(named)]
        ids = key64(one.account), name, id_key("statements", one.account, one.holder, str(number))
        fields = (
            max(ts_ns, 0),
            *ids,
            one.quantity,
            signed64(key64(one.holder)),
            number,
            0,
            0,
            int(Kind.STATEMENT),
            int(flags),
        )
        found.insert(at + number, Item(Kind.STATEMENT, CUSTOMER_OF[one.account], 0, number, 0, fields))
    return found


class Played(NamedTuple):
    """What a log came to, but for statements; and how these compare."""

    stored: dict[str, Any]
    figures: dict[str, Any]
    changes: list[Any]
    rejects: list[Any]
    applied: list[int]
    calls: list[Any]
    digest: Digest
    compared: dict[str, int]


def played(seed: int, items: list[Item]) -> Played:
    source = replace(stream(seed, 150, "plain"), items=items)
    engine, log = MarginEngine(0), frames(source, 1, Cut(frame=16, batch=40, seed=seed))[0]
    reports = [report_of(engine, engine.step(frame, engine.offset)) for frame in log]
    compared = engine.reconciliation().counts
    return Played(
        stored=engine.stored(),
        figures=figures_of(engine),
        changes=[change for report in reports for change in report["changes"]],
        rejects=[reject for report in reports for reject in report["rejects"] if reject[1] is not Kind.STATEMENT],
        applied=[
            sum(n) for kind, n in enumerate(zip(*(r["applied"] for r in reports), strict=True)) if kind != Kind.STATEMENT
        ],
        calls=engine.open_calls(),
        digest=without_statements(engine).digest(),
        compared=compared,
    )


def without_statements(engine: MarginEngine) -> MarginEngine:
    """A copy that was never told a statement."""
    copy = MarginEngine.from_bytes(engine.to_bytes())
    state = copy.definitions.state
    state.now[0]["statements"] = 0
    state.accounts.first_statement[:] = NONE
    return copy


@settings(max_examples=40, deadline=None, print_blob=True)
@given(st.integers(0, 2**32 - 1), st.lists(STATED, min_size=1, max_size=80))
def test_random_statements_change_nothing_but_the_reconciliation(seed: int, stated: list[Stated]) -> None:
    plain = [item for item in stream(seed, 150, "plain").items if item.kind is not Kind.STATEMENT]
    without, told = played(seed, plain), played(seed, with_statements(plain, stated))
    assert told._replace(compared=without.compared) == without
    assert without.compared == dict.fromkeys((kind.name for kind in BreakKind), 0)


def test_the_law_sees_statements_of_every_kind() -> None:
    """What it is about happens in it: each way in which a statement and what is held compare."""
    rng, seen = np.random.Generator(np.random.PCG64(1)), dict.fromkeys((kind.name for kind in BreakKind), 0)
    for seed in range(3):
        plain = [item for item in stream(seed, 150, "plain").items if item.kind is not Kind.STATEMENT]
        stated = [
            Stated(
                float(rng.random()), ACCOUNTS[int(rng.integers(len(ACCOUNTS)))], int(rng.integers(10**6)),
                int(rng.integers(3)) * 10**8, HOLDERS[0], 0,
            )
            for _ in range(150)
        ]  # fmt: skip
        for kind, count in played(seed, with_statements(plain, stated)).compared.items():
            seen[kind] += count
    assert min(seen.values()) > 0, seen

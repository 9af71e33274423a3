"""What monitors read of the engine: sums, usage, accounts, rule set; compared with the twin where it has them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import MarginEngine
from engine.events import NS, RECORD, Kind
from engine.frames import Frame, FrameKind, decode_frame, encode_frame
from engine.report import CALL_AGES, OLDER, OPEN_CALLS, TOP, UTILIZATION_BOUNDS, Digest, Quality, Status, combine
from tests.engine.compare import Pair
from tests.engine.small_log import START_NS, SmallLog
from tests.naive_state import Account
from tests.strategies import LOG_ID, Cut, frames, stream


def played(seed: int, profile: str = "mixed") -> Pair:
    """A pair after a whole stream, not compared on the way."""
    pair = Pair()
    for frame in frames(stream(seed, 250, profile), 1, Cut(frame=50, batch=100, seed=seed))[0]:
        pair.engine.step(decode_frame(encode_frame(frame)), pair.engine.offset)
        pair.naive.step(frame, pair.naive.offset)
    return pair


@settings(max_examples=15, deadline=None, print_blob=True)
@given(st.integers(0, 2**32 - 1))
def test_the_population_is_the_sum_of_its_accounts(seed: int) -> None:
    pair = played(seed)
    state, population = pair.naive.state, pair.engine.population()
    accounts = list(state.accounts.values())
    assert population.by_status == {s.name: sum(a.status is s for a in accounts) for s in Status}
    assert population.by_quality == {q.name: sum(a.quality is q for a in accounts) for q in Quality}
    calls = [(a, call) for a in accounts for call in a.calls if call.state.name in population.calls]
    assert population.calls == {s.name: sum(call.state is s for _, call in calls) for s in OPEN_CALLS}
    asked, aged = dict.fromkeys(state.pools, 0), dict.fromkeys((*CALL_AGES, OLDER), 0)
    for account, call in calls:
        aged[next((n for n, up_to in CALL_AGES.items() if state.clock_ns - call.issued_ns <= up_to), OLDER)] += 1
        missing = (call.amount - call.received) * state.assets[account.document.currency].rate // 10**12
        asked[account.document.pool] += missing
    assert (population.called_usd, population.call_ages) == (asked, aged)
    told = [(c.account, c.sequence, c.state, c.called, c.received) for c in pair.engine.open_calls()]
    slots = {name: slot for slot, name in enumerate(pair.engine.account_ids)}
    assert told == [(slots[a.document.id], c.sequence, c.state, c.amount, c.received) for a, c in calls]
    for name in ("equity", "initial", "maintenance", "deficit"):
        totals = dict.fromkeys(state.pools, 0)
        for account in accounts:
            amount = max(0, account.maintenance - account.equity) if name == "deficit" else getattr(account, name)
            totals[account.document.pool] += amount * state.assets[account.document.currency].rate // 10**12
        assert getattr(population, f"{name}_usd") == totals
    used = [a for a in accounts if a.maintenance > 0]
    ratios = [a.maintenance / a.equity if a.equity > 0 else float("inf") for a in used]
    buckets = [sum(r <= b for r in ratios) for b in (*UTILIZATION_BOUNDS, float("inf"))]
    assert np.cumsum(population.utilization_counts).tolist() == buckets
    assert population.utilization_sum == pytest.approx(sum(r for r in ratios if r != float("inf")))
    marks = [i.mark_ns for i in state.instruments.values() if i.mark is not None and not i.closed]
    assert population.price_age_seconds_max == max(0, max((state.clock_ns - m) / NS for m in marks)) if marks else True


@settings(max_examples=15, deadline=None, print_blob=True)
@given(st.integers(0, 2**32 - 1))
def test_the_population_names_the_largest_deficits_and_sums_exposures(seed: int) -> None:
    pair = played(seed)
    state, population = pair.naive.state, pair.engine.population()

    def deficit(account: Account) -> int:
        return max(0, account.maintenance - account.equity) * state.assets[account.document.currency].rate // 10**12

    deficits = {name: cents for name, account in state.accounts.items() if (cents := deficit(account))}
    assert population.deficit_accounts == len(deficits)
    assert list(population.top_deficits_usd.values()) == sorted(deficits.values(), reverse=True)[:TOP]
    assert population.top_deficits_usd.items() <= deficits.items()
    sides: dict[Any, list[float]] = {}
    for instrument in state.instruments.values():
        if instrument.factor is not None:
            held = [state.exposure(account, instrument.factor) for account in state.accounts.values()]
            both = [sum(e for e in held if e > 0), -sum(e for e in held if e < 0)]
            if instrument.factor.startswith("dv01:"):
                usd = state.assets[instrument.currency].rate / 1e20
                sides[instrument.currency, instrument.document.bucket] = [usd * e for e in both]
            else:
                sides[instrument.factor.removeprefix("delta:")] = [e / 1e10 for e in both]
    found = population.dv01_usd | population.delta_units
    assert found.keys() == sides.keys()
    assert all(found[name] == pytest.approx(sides[name]) for name in sides)


def test_collateral_is_summed_after_haircut_by_pool_and_asset() -> None:
    log = SmallLog()
    log.money()
    log.document("pool", "q", regime="cftc", currency="USD")
    log.instrument("F")
    log.document("asset", "BOND", type="security", currency="USD", haircut="0.1", decimals=0, instrument="F")
    for name, pool in (("a", "p"), ("b", "p"), ("d", "q"), ("owes", "q")):
        log.account(name, pool=pool)
    log.price("F", 20)
    for name in ("a", "b", "d"):
        log.collateral(name, "USD", 5)
        log.collateral(name, "BOND", 100)
    log.collateral("owes", "USD", -3)
    log.clock()
    assert log.figures("owes")["equity"] == -300
    expected = {("p", "USD"): 1000, ("p", "BOND"): 2 * 180_000, ("q", "USD"): 500, ("q", "BOND"): 180_000}
    assert log.pair.engine.population().collateral_usd == expected


@settings(max_examples=15, deadline=None, print_blob=True)
@given(st.integers(0, 2**32 - 1))
def test_usage_counts_what_is_defined(seed: int) -> None:
    pair = played(seed, "tiny")
    state, limits = pair.naive.state, pair.engine.genesis.limits
    used = {
        "accounts": len(state.accounts), "instruments": len(state.instruments), "assets": len(state.assets),
        "currencies": len(state.currencies), "factors": len(state.factors), "volatilities": len(state.volatilities),
        "rules": sum(map(len, state.rules.values())), "calendars": len(state.calendars),
        "positions": sum(len(a.positions) for a in state.accounts.values()), "pools": len(state.pools),
        "portfolios": len(state.portfolio_ids), "sets": len(state.row_sets),
    }  # fmt: skip
    usage = pair.engine.usage()
    assert {name: usage[name] for name in used} == {name: (n, getattr(limits, name)) for name, n in used.items()}


def test_accounts_are_found_and_described() -> None:
    log = SmallLog()
    log.money()
    log.document("asset", "JPY", type="currency", currency="USD", decimals=0)
    log.account("a")
    log.account("b", "JPY")
    engine = log.pair.engine
    assert engine.account_ids == ["a", "b"]
    assert (engine.find_account("b"), engine.find_account("x")) == (1, None)
    info = engine.account_info(1)
    assert (info.id, info.customer, info.pool, info.currency, info.decimals) == ("b", "c", "p", "JPY", 0)
    assert len(engine.figures(np.array([1, 0, 1], np.int32))) == 3


def test_touched_accounts_are_taken_once() -> None:
    log = SmallLog()
    log.money()
    log.account("a")
    log.account("b")
    log.clock()
    engine = log.pair.engine
    clock = Frame(FrameKind.RECORDS, 0, 1, LOG_ID, 1, log.number, records=np.zeros(1, RECORD))
    engine.step(clock, engine.offset)
    assert engine.take_touched().tolist() == []
    log.number += 1
    log.pair.naive.step(clock, log.pair.naive.offset)
    collateral = log.collateral("b", "USD", 1)
    assert collateral.applied[Kind.COLLATERAL] == 1
    engine.step(replace(clock, number=log.number), engine.offset)
    assert engine.take_touched().tolist() == [1]
    restored = MarginEngine.from_bytes(engine.to_bytes())
    assert restored.take_touched().tolist() == [0, 1]
    assert restored.take_touched().tolist() == []


def test_the_rule_set_follows_the_versions_in_force() -> None:
    log = SmallLog()
    log.money()
    engine = log.pair.engine
    empty = engine.rule_set
    log.rule("r", "flat", initial="2", maintenance="1")
    log.clock()
    first = engine.rule_set
    log.rule("r", "flat", effective=START_NS + 10 * NS, initial="3", maintenance="1")
    log.clock()
    assert len({empty, first}) == 2
    assert engine.rule_set == first
    log.clock(10)
    second = engine.rule_set
    assert second not in (empty, first)
    assert len(second) == 16
    assert int(second, 16) >= 0


def test_a_rule_switches_at_its_time() -> None:
    log = SmallLog()
    log.money()
    log.account("a")
    log.rule("r", "flat", initial="2", maintenance="1")
    log.rule("r", "flat", effective=START_NS + 10 * NS, initial="4", maintenance="3")
    log.instrument("F", rule="r")
    log.price("F", 5)
    log.trade("a", "F", 100, 5)
    log.clock()
    assert log.figures("a")["initial"] == 100 * 200
    log.clock(9)
    log.clock(2)
    assert log.figures("a")["initial"] == 100 * 400


def test_digests_of_shards_combine_only_with_equal_tables() -> None:
    assert combine([Digest(2**63, 5), Digest(2**63, 5)]) == 5
    with pytest.raises(ValueError, match="tables"):
        combine([Digest(1, 5), Digest(1, 6)])

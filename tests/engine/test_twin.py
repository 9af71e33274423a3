"""The engine and its slow twin agree bit for bit after every frame, on random streams of all kinds, however they are cut."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.codes import Code
from engine.events import Kind
from engine.report import CallEvent, ChangeKind, Quality, Status
from tests.engine.compare import Pair
from tests.naive_portfolio import rules_of
from tests.naive_state import PORTFOLIO_MODELS, State
from tests.strategies import Cut, Stream, cuts, frames, stream

SEEDS = (*range(30, 70), 77, 104, 130)  # the last ones fill positions, and save by agreements


def run(
    source: Stream, shards: int, cut: Cut, margined: Counter[str] | None = None, events: set[CallEvent] | None = None
) -> tuple[Counter[Code], set[int], set[int], Counter[Kind]]:
    """Compares every frame on every shard; gives the codes, statuses, qualities and applied kinds that occurred.

    margined: how often which portfolio models required something, and agreements saved, is added to it; events: what
    happened to margin calls.
    """
    codes: Counter[Code] = Counter()
    reached: dict[int, set[int]] = {kind: set() for kind in ChangeKind}
    applied: Counter[Kind] = Counter()
    for shard, log in enumerate(frames(source, shards, cut)):
        pair = Pair(shard)
        for frame in log:
            _, report = pair.step(frame)
            codes.update(reject[0] for reject in report.rejects)
            applied.update({Kind(k): n for k, n in enumerate(report.applied)})
            for change in report.changes:
                reached[change[1]].add(change[3])
                if events is not None:
                    events.add(CallEvent(change[10]))
            if margined is not None:
                margined.update(_margined(pair.naive.state))
    return codes, reached[ChangeKind.STATUS], reached[ChangeKind.QUALITY], applied


def _margined(state: State) -> Iterator[str]:
    for account in state.accounts.values():
        if any(maintenance for _, maintenance in account.together.values()):
            yield from {rule.model for rule_id in rules_of(state, account) if (rule := state.portfolio_rule(rule_id))}
    yield from ("saving" for pact in state.pacts.values() if pact.is_active and pact.applied > 0)


def test_fixed_seeds_agree_and_reach_every_code_status_and_quality() -> None:
    codes: Counter[Code] = Counter()
    statuses, qualities, applied, margined, events = set(), set(), Counter(), Counter[str](), set[CallEvent]()
    for seed in SEEDS:
        more, status, quality, kinds = run(
            stream(seed), 1, Cut(frame=25, batch=100, takeovers=2, seed=seed), margined, events
        )
        codes += more
        applied += kinds
        statuses |= status
        qualities |= quality
    assert {code for code in Code if code >= Code.DUPLICATE} <= set(codes)
    assert statuses == set(Status)
    assert qualities == set(Quality)
    assert events == set(CallEvent)
    assert all(applied[kind] for kind in Kind)
    assert min(margined[name] for name in (*PORTFOLIO_MODELS, "saving")) >= 20


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_agree_with_their_twins(shards: int) -> None:
    for seed in range(100, 106):
        run(stream(seed), shards, Cut(frame=7, batch=20, seed=seed))


@settings(max_examples=50, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), cuts(takeovers=3), st.sampled_from((1, 2)))
def test_any_stream_agrees(seed: int, length: int, cut: Cut, shards: int) -> None:
    run(stream(seed, length), shards, cut)

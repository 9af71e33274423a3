"""The demo's statements: what they state of generated accounts, and how the engine compares it."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from engine.limits import Limits
from engine.reconciliation import BreakKind, Reconciliation
from streams.generate import Generator
from streams.holders import NAMES, RIGHT_SECONDS, STATED, Holders
from streams.in_process import Replay
from streams.population import example
from streams.sources import Item

NS = 10**9


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(7, 40, iter(()))


def compared(replay: Replay) -> Reconciliation:
    (engine,) = replay.shards.engines
    assert not replay.rejects + replay.shards.rejects
    return engine.reconciliation()


def test_all_kinds_of_difference_and_one_is_put_right(generator: Generator) -> None:
    """What is not wrong is as the accounts have it, at any time of the day after."""
    replay, holders = Replay(1, 64, Limits(accounts=64, positions=512, ids=1 << 12)), Holders(generator.portfolios)
    replay.run([*example().documents, *holders.documents(), *generator.opening()])
    began_ns = generator.start_ns
    stated = list(holders.state(began_ns))
    replay.run(stated)
    first = compared(replay)
    items = sum(len(p.positions) + len(p.collateral) for p in generator.portfolios)
    assert first.counts == {"MATCHED": items - 3, "QUANTITY": 2, "MISSING_HERE": 1, "MISSING_THERE": 1}
    assert len({one.account for one in first.breaks}) == 4
    assert {one.holder for one in first.breaks} <= NAMES.keys()
    assert list(holders.put_right(began_ns + round((RIGHT_SECONDS - 1) * NS))) == []
    later_ns = began_ns + round(RIGHT_SECONDS * NS)
    replay.run(holders.put_right(later_ns))
    second = compared(replay)
    assert second.counts == {"MATCHED": items - 2, "QUANTITY": 1, "MISSING_HERE": 1, "MISSING_THERE": 1}
    (ended,) = set(first.breaks) - set(second.breaks)
    assert (ended.kind, ended.is_asset, ended.holder) == (BreakKind.QUANTITY, True, "CUSTODIAN")
    assert list(holders.put_right(later_ns + NS)) == []
    assert second.ts_ns - second.oldest_ns >= RIGHT_SECONDS * NS


def test_few_accounts_have_fewer_differences_and_of_many_the_first_are_stated(generator: Generator) -> None:
    def bodies(holders: Holders) -> Iterator[dict[str, str]]:
        return (json.loads(body) for _, _, _, body in holders.state(NS))

    assert list(Holders([]).state(NS)) == []
    assert list(Holders([]).put_right(10**18)) == []
    (one,) = generator.portfolios[:1]
    assert len(list(bodies(Holders([one])))) == len(one.positions) + len(one.collateral)
    many = Counter(row["account"] for row in bodies(Holders(generator.portfolios * STATED)))
    assert len(many) == len(generator.portfolios)
    row: Item = next(Holders([one]).state(NS))
    assert (row[0], row[1], row[2]) == (NS, "statements", one.account)

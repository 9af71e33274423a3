"""What lies ahead and what is stated: JSON of a shard, sums of several, and all of it in Redis, also after a wipe."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from engine.reconciliation import MOST_SHOWN, Break, BreakKind, Reconciliation
from engine.report import Quality
from engine.staleness import Stale
from engine.warning import FIRST, FIRST_AT_CLOSE, RUNGS, UNCHANGED, Rung, Warnings
from monitors.keys import Keys
from monitors.outlook import (
    Outlook,
    StaleInstrument,
    encode_ladder,
    encode_reconciliation,
    sum_differences,
    sum_ladders,
    worst_moves,
)
from monitors.view import open_client, read_ladder, read_reconciliation
from tests.monitors.desk import flush, running
from tests.monitors.fake_engine import FakeEngine

SHOCK = next(iter(RUNGS))


def warnings(shard: int = 0, accounts: int = 3) -> Warnings:
    """Early warning of a shard, with figures of its own."""
    first = tuple((f"A{shard}-{i}", 1000 * (FIRST - i) + shard) for i in range(FIRST))
    ladder = {name: Rung(0, 0, ()) for name in RUNGS} | {SHOCK: Rung(30 + shard, 12_345, first)}
    distance = np.resize([np.nan, 0.0, -12.345, 3.0], accounts)
    return Warnings(
        ts_ns=10**18 + shard, short=2, unpriced=shard, ladder=ladder,
        forecast={"P": {UNCHANGED: 100, "up": 300 - 200 * shard, "down": 250}},
        forecast_first={"P": {"up": tuple((f"A{shard}-{i}", 10 * (9 - i) + shard) for i in range(FIRST_AT_CLOSE))}},
        close_hours={"P": 7 + shard},
        due={("USD", "1h"): 5_000, ("EUR", "later"): 70}, due_hours={("USD", 3600 * 10**9): "50.00"},
        regimes={"R": "above"}, unvalued=(f"delta:X{shard}",), stale=stale(shard), factors=("rates:USD", "delta:BTC-USD"),
        distance=distance, nearest=np.resize(np.array([-1, -1, 1, 0], np.int32), accounts),
    )  # fmt: skip


def stale(shard: int) -> tuple[Stale, ...]:
    """More instruments than are shown; those of the other shard are a few others, one of each is older."""
    own = Stale(f"OLDEST{shard}", "index", Quality.UNPRICED, shard)
    return (own, *(Stale(f"I{i:02}", "fund", Quality.STALE, 10 + i) for i in range(5 * shard, FIRST + 5 * shard)))


def stated(shard: int = 0, count: int = 1) -> Reconciliation:
    """Breaks of a shard."""
    one = Break("A", "cme", "F", False, BreakKind.QUANTITY, 5 * 10**8, -25 * 10**7, 7, 9)
    breaks = tuple(replace(one, since_ns=2 * i + shard + 1) for i in range(count))
    counts = {"MATCHED": 4, "QUANTITY": count, "MISSING_HERE": 0, "MISSING_THERE": 0}
    return Reconciliation(10**18, counts, 1 + shard if count else 0, breaks)


def outlook(shard: int = 0, accounts: int = 3) -> Outlook:
    """Both."""
    return Outlook(5, warnings(shard, accounts), stated(shard))


def test_ladders_of_shards_are_summed() -> None:
    assert sum_ladders([]) is None
    found = sum_ladders([encode_ladder(warnings(shard)) for shard in (0, 1)])
    assert found is not None
    step = found.steps[0]
    assert (step.shock, step.accounts, step.call_usd) == (SHOCK, 61, "246.90")
    assert [(one.account, one.call_usd) for one in step.first[:3]] == [
        ("A1-0", "200.01"), ("A0-0", "200.00"), ("A1-1", "190.01"),
    ]  # fmt: skip
    assert (len(step.first), found.ts_ns, found.short, found.unpriced) == (FIRST, str(10**18), 4, 1)
    assert found.forecast == {"P": {UNCHANGED: "2.00", "up": "4.00", "down": "5.00"}}
    assert [(one.account, one.call_usd) for one in found.forecast_first["P"].pop("up")] == [
        ("A1-0", "0.91"), ("A0-0", "0.90"), ("A1-1", "0.81"), ("A0-1", "0.80"), ("A1-2", "0.71"),
    ]  # fmt: skip
    assert found.forecast_first == {"P": {UNCHANGED: [], "down": []}}
    assert found.close_hours == {"P": 8}
    assert found.due_usd == {"USD": {"1h": "100.00"}, "EUR": {"later": "1.40"}}
    assert found.due == {"USD": {"3600000000000": "100.00"}}
    assert [one.instrument for one in found.stale] == ["OLDEST0", "OLDEST1", *(f"I{i:02}" for i in range(FIRST - 2))]
    assert found.stale[1] == StaleInstrument("OLDEST1", "index", "UNPRICED", "1")
    assert (found.regimes, found.unvalued) == ({"R": "above"}, ["delta:X0", "delta:X1"])


def test_the_worst_move_is_that_of_all_shards() -> None:
    forecasts = [warnings(shard).forecast for shard in (0, 1)]
    assert worst_moves(forecasts) == {"P": ("down", 500)}
    assert worst_moves([{"P": {UNCHANGED: 0, "up": 0}}]) == {"P": (UNCHANGED, 0)}


def test_differences_of_shards_are_summed_the_oldest_first() -> None:
    assert sum_differences([]) is None
    found = sum_differences([encode_reconciliation(stated(shard, MOST_SHOWN - 1)) for shard in (0, 1)])
    assert found is not None
    assert found.counts == {"MATCHED": 8, "QUANTITY": 2 * MOST_SHOWN - 2, "MISSING_HERE": 0, "MISSING_THERE": 0}
    assert [int(one.since_ns) for one in found.breaks] == list(range(1, MOST_SHOWN + 1))
    one = found.breaks[0]
    assert (one.held, one.stated, one.type, one.kind, one.holder) == ("5", "-2.5", "instrument", "QUANTITY", "cme")


@pytest.mark.services
def test_all_of_it_is_in_redis_and_comes_back_after_a_wipe(redis_url: str) -> None:
    async def work() -> None:
        async with running(redis_url) as desk:
            engines = [FakeEngine(shard, 40) for shard in (0, 1)]
            for engine in engines:
                desk.attach(engine)
            await desk.settle()
            desk.check()
            for engine in engines:
                desk.look_ahead(engine, outlook(engine.shard, 40))
            await desk.settle()
            desk.check()
            flush(redis_url)
            desk.publish(engines[0], engines[0].step(equity={3: 5}))
            await desk.settle()
            desk.check()
            moved = outlook(1, 40)
            moved.warnings.distance[7] += 0.25
            desk.look_ahead(engines[1], moved)
            assert desk.sink.backlog().accounts == 1
            await desk.settle()
            desk.check()

    flush(redis_url)
    asyncio.run(work())
    with open_client(redis_url) as client:
        ladder, found = read_ladder(client, Keys()), read_reconciliation(client, Keys())
        assert (ladder and ladder.short, found and len(found.breaks)) == (4, 2)
        assert read_ladder(client, Keys("none:")) is None

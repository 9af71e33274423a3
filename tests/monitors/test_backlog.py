"""What a shard still has to show, without a server: order, bounds, acknowledgement, turns."""

import numpy as np

from engine.report import Status
from monitors.alerts import alerts_of
from monitors.backlog import ShardBacklog
from tests.monitors.fake_engine import FakeEngine


def queue(backlog: ShardBacklog, engine: FakeEngine, slots: range, status: Status, oldest_ns: int = 0) -> None:
    report = engine.flip(slots, status)
    report.oldest_ns = oldest_ns
    backlog.add_alerts(alerts_of(0, engine, report), report)


def test_taken_and_restored_alerts_keep_their_order() -> None:
    engine = FakeEngine(0, 10)
    backlog = ShardBacklog(0, engine, 100)
    queue(backlog, engine, range(10), Status.CALL)
    first, second = backlog.take_alerts(4), backlog.take_alerts(4)
    queue(backlog, engine, range(10), Status.OK)
    for taken in (second, first):
        backlog.restore(taken)
    assert [number for number, *_ in backlog.take_alerts(100)] == list(range(1, 21))


def test_what_was_dropped_is_not_restored() -> None:
    engine = FakeEngine(0, 10)
    backlog = ShardBacklog(0, engine, 12)
    queue(backlog, engine, range(10), Status.CALL)
    taken = backlog.take_alerts(4)
    queue(backlog, engine, range(10), Status.OK)
    assert (list(backlog.alerts), backlog.live, backlog.reread) == ([], False, engine.offset - 1)
    queue(backlog, engine, range(2), Status.CALL)
    backlog.restore(taken)
    assert [number for number, *_ in backlog.alerts] == [21, 22]


def test_a_batch_is_observed_when_its_last_alert_is_through() -> None:
    engine = FakeEngine(0, 10)
    backlog = ShardBacklog(0, engine, 100)
    queue(backlog, engine, range(6), Status.CALL, oldest_ns=11)
    queue(backlog, engine, range(6), Status.OK)
    queue(backlog, engine, range(1), Status.CALL, oldest_ns=22)
    seen: list[int] = []
    for count, expected in ((5, []), (5, [11]), (5, [11, 22])):
        backlog.acknowledge(backlog.take_alerts(count), 1, seen.append)
        assert seen == expected


def test_repeats_are_not_observed() -> None:
    engine = FakeEngine(0, 10)
    backlog = ShardBacklog(0, engine, 100)
    queue(backlog, engine, range(6), Status.CALL, oldest_ns=11)
    seen: list[int] = []
    backlog.acknowledge(backlog.take_alerts(6), 0, seen.append)
    assert seen == []


def test_every_account_has_its_turn() -> None:
    engine = FakeEngine(0, 25)
    backlog = ShardBacklog(0, engine, 100)
    backlog.collect()
    written: list[int] = []
    for _ in range(5):
        slots = backlog.take_slots(10)
        backlog.figure_entries(slots, settled=True)
        written += slots.tolist()
        engine.step(touched=np.arange(5))  # some accounts change all the time
        backlog.collect()
    assert sorted(set(written)) == list(range(25))
    assert written[:25] == list(range(25))


def test_accounts_defined_later_are_pending() -> None:
    engine = FakeEngine(0, 3)
    backlog = ShardBacklog(0, engine, 100)
    for more in (1, 5, 40):
        backlog.collect()
        backlog.figure_entries(backlog.take_slots(100), settled=True)
        assert backlog.pending_accounts() == 0
        engine.define(more)
        engine.take_touched()
        backlog.collect()
        assert backlog.pending_accounts() == more


def test_a_definition_beside_an_alert_leaves_the_change_number_to_the_alert() -> None:
    engine = FakeEngine(0, 3)
    backlog = ShardBacklog(0, engine, 100)
    backlog.collect()
    queue(backlog, engine, range(1), Status.CALL)
    queue(backlog, engine, range(1), Status.OK)
    ((_, (alert,), figures, definition, _book),) = backlog.change_entries(backlog.take_alerts(1))
    assert alert[0] == "1"
    assert figures[2][0] == "OK"
    assert definition[0] == "0"

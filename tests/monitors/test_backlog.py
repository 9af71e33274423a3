"""What a shard still has to show, without a server: order, bounds, acknowledgement, turns."""

import numpy as np

from engine.report import Status
from monitors.alerts import Alerts
from monitors.backlog import ShardBacklog
from monitors.lanes import BURST
from tests.monitors.fake_engine import FakeEngine


def queue(backlog: ShardBacklog, engine: FakeEngine, slots: range, status: Status, oldest_ns: int = 0) -> None:
    report = engine.flip(slots, status)
    backlog.add_alerts(Alerts(0, engine, report), oldest_ns)


def test_too_many_alerts_are_dropped_and_read_from_the_topic() -> None:
    engine = FakeEngine(0, 10)
    backlog = ShardBacklog(0, engine, 12)
    queue(backlog, engine, range(10), Status.CALL)
    queue(backlog, engine, range(10), Status.OK)
    assert backlog.reread is not None
    assert (len(backlog.alerts), backlog.live, backlog.reread.id) == (0, False, "A0-9:2")


def test_of_a_burst_states_come_first_then_alerts_then_figures() -> None:
    engine = FakeEngine(0, 2 * BURST)
    backlog = ShardBacklog(0, engine, 10_000)
    backlog.collect()
    backlog.figure_entries(backlog.take_slots(2 * BURST), settled=True)
    queue(backlog, engine, range(BURST + 1), Status.CALL)
    queue(backlog, engine, range(BURST, BURST + 2), Status.DEBIT)
    quick = backlog.quick_part(10)  # an account of the burst that goes on comes with all that waits of it
    assert [(entry[0], entry[1][2::8]) for entry in quick.entries] == [
        (f"A0-{BURST}", ["1", "2"]),
        (f"A0-{BURST + 1}", ["1"]),
    ]
    assert [entry[2][2][0] for entry in quick.entries] == ["DEBIT", "DEBIT"]
    first, last = backlog.states_part(BURST), backlog.states_part(BURST)
    assert (first.entries, first.states) == ([], [("CALL", "FRESH", [f"A0-{slot}" for slot in range(BURST)])])
    assert (last.states, backlog.flipped) == ([("DEBIT", "FRESH", [f"A0-{BURST}"])], 0), "as it is now"
    burst = backlog.burst_part(10_000)
    assert [entry[0] for entry in burst.entries] == [f"A0-{slot}" for slot in range(BURST)]
    assert {entry[2:] for entry in burst.entries} == {(False, False, False)}
    assert backlog.flagged == BURST
    figures = backlog.figures_part(10_000)
    assert [(entry[0], entry[1], entry[2][2][0]) for entry in figures.entries] == [
        (f"A0-{slot}", False, "CALL") for slot in range(BURST)
    ]
    assert (backlog.flagged, backlog.alerts.quick, backlog.alerts.burst) == (0, 0, 0)


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
    ((_, (_, _, number, *_), figures, definition, *_),) = backlog.quick_part(1).entries
    assert number == "1"
    assert figures[2][0] == "OK"
    assert definition[0] == "0"

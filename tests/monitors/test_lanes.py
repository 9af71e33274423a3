"""Lanes of alerts in random histories: nothing lost or doubled, each account in its order, the few before the many."""

from collections import defaultdict, deque

import hypothesis.strategies as st
import pytest
from hypothesis import given

from monitors import lanes
from monitors.alerts import Alert
from monitors.lanes import Lanes, Queued

ACCOUNTS = 12


def alert(slot: int, number: int) -> Alert:
    """The account's alert of that number."""
    return Alert(
        id=f"A{slot}:{number}", kind="status", account=f"A{slot}", before="OK", after="CALL", amount="0", currency="USD",
        ts_ns=0, shard=0, offset=0,
    )  # fmt: skip


class History:
    """Lanes beside what goes in and comes out: by account the numbers written, in their order."""

    def __init__(self) -> None:
        self.lanes = Lanes()
        self.numbers: defaultdict[int, int] = defaultdict(int)
        self.written: defaultdict[int, list[int]] = defaultdict(list)
        self.sent: deque[list[Queued]] = deque()
        self.observed: list[int] = []
        self.added: list[int] = []

    def add(self, slots: list[int]) -> None:
        """A step with a change of each of these accounts."""
        alerts = []
        for slot in slots:
            self.numbers[slot] += 1
            alerts.append(alert(slot, self.numbers[slot]))
        self.added.append(len(self.added) + 1)
        self.lanes.add(slots, alerts, oldest_ns=self.added[-1])

    def take(self, count: int) -> None:
        """Send what is most urgent."""
        if taken := self.lanes.take_quick(count) or self.lanes.take_burst(count):
            self.sent.append(taken)

    def acknowledge(self) -> None:
        """The oldest that is on its way is written."""
        if self.sent:
            taken = self.sent.popleft()
            for _, slot, one in taken:
                self.written[slot].append(one.change)
            self.lanes.wrote(taken, len(taken), self.observed.append)

    def fail(self) -> None:
        """The connection breaks: what is on its way comes back."""
        while self.sent:
            self.lanes.restore(self.sent.pop())


STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(st.integers(0, ACCOUNTS - 1), min_size=1, max_size=9).map(sorted)),
    st.tuples(st.just("take"), st.integers(1, 5)),
    st.tuples(st.sampled_from(["acknowledge", "fail"])),
)


@given(st.lists(STEPS, max_size=60))
def test_every_alert_is_written_once_in_its_accounts_order(steps: list[tuple[str, object]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "BURST", 4)
        history = History()
        for name, *arguments in steps:
            getattr(history, name)(*arguments)
            written = sum(map(len, history.written.values()))
            assert len(history.lanes) + written == sum(history.numbers.values())
        while len(history.lanes):
            history.take(3)
            history.acknowledge()
    assert history.written == {slot: list(range(1, count + 1)) for slot, count in history.numbers.items()}
    assert sorted(history.observed) == history.added, "each step is observed once, when its last alert is written"


def test_few_alerts_pass_a_burst_and_take_their_account_along() -> None:
    history = History()
    history.add(list(range(lanes.BURST + 1)))
    history.add([7, 9_999])
    assert [one.id for *_, one in history.lanes.take_quick(10)] == ["A7:1", "A7:2", "A9999:1"]
    assert (history.lanes.quick, history.lanes.burst) == (0, lanes.BURST)


def test_repeats_are_not_observed() -> None:
    history = History()
    history.add([1, 2])
    taken = history.lanes.take_quick(2)
    history.lanes.wrote(taken, 0, history.observed.append)
    assert history.observed == []


def test_what_was_dropped_is_gone() -> None:
    history = History()
    history.add([1])
    history.add(list(range(lanes.BURST + 1)))
    history.lanes.drop()
    assert (len(history.lanes), history.lanes.take_quick(9), history.lanes.take_burst(9)) == (0, [], [])

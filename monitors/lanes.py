"""Alerts of one shard that wait for Redis: those of a burst do not hold up the few that come meanwhile."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

from monitors.alerts import Alert, Alerts

BURST: Final = 500  # alerts of one step: more than Redis takes in a few milliseconds


class Step:
    """How many alerts of a step of the engine are not written yet; oldest_ns: when its oldest event came, 0: unknown."""

    __slots__ = "left", "oldest_ns"

    def __init__(self, left: int, oldest_ns: int) -> None:
        self.left, self.oldest_ns = left, oldest_ns


Queued = tuple[Step, int, Alert]  # an alert with its step and the slot of its account
_Waiting = tuple[Step, int, Alerts | Sequence[Alert], int]  # the same with the alert's place among those of its step


def _queued(waiting: Sequence[_Waiting]) -> list[Queued]:
    return [(step, slot, alerts[place]) for step, slot, alerts, place in waiting]


class Lanes:
    """Two lanes, each account's alerts in their order: the quick one goes first, a burst waits in the other.

    An account of the burst to which something happens again comes into the quick lane with all its alerts.
    """

    def __init__(self) -> None:
        self._quick: deque[Queued] = deque()
        self._burst: OrderedDict[int, list[_Waiting]] = OrderedDict()  # by slot
        self._bursting = self._taken = 0

    def __len__(self) -> int:
        """How many are not written yet, with those that were taken."""
        return len(self._quick) + self._bursting + self._taken

    @property
    def quick(self) -> int:
        """How many wait in the quick lane."""
        return len(self._quick)

    @property
    def burst(self) -> int:
        """How many wait in the other."""
        return self._bursting

    def add(self, slots: Sequence[int], alerts: Alerts | Sequence[Alert], oldest_ns: int) -> bool:
        """Queue the alerts of one step, each with the slot of its account; whether they are a burst."""
        step = Step(len(alerts), oldest_ns)
        if len(alerts) > BURST:
            for place, slot in enumerate(slots):
                self._burst.setdefault(slot, []).append((step, slot, alerts, place))
            self._bursting += len(alerts)
            return True
        for slot in self._burst.keys() & slots:
            earlier = self._burst.pop(slot)
            self._bursting -= len(earlier)
            self._quick.extend(_queued(earlier))
        self._quick.extend((step, slot, alerts[place]) for place, slot in enumerate(slots))
        return False

    def take_quick(self, count: int) -> list[Queued]:
        """Remove and return the oldest of the quick lane, at most count."""
        taken = [self._quick.popleft() for _ in range(min(count, len(self._quick)))]
        self._taken += len(taken)
        return taken

    def take_burst(self, count: int) -> list[Queued]:
        """The same of the burst, account by account: as many accounts as make count or more."""
        taken: list[Queued] = []
        while self._burst and len(taken) < count:
            taken += _queued(self._burst.popitem(last=False)[1])
        self._bursting -= len(taken)
        self._taken += len(taken)
        return taken

    def restore(self, taken: Sequence[Queued]) -> None:
        """Put back what was taken last and perhaps not written: before all others."""
        self._taken -= len(taken)
        self._quick.extendleft(reversed(taken))

    def drop(self) -> None:
        """Forget all that waits; what was taken is on its way."""
        self._quick.clear()
        self._burst.clear()
        self._bursting = 0

    def wrote(self, taken: Sequence[Queued], new: int, observe: Callable[[int], None]) -> None:
        """These are in Redis, `new` of them since now: observe the oldest timestamp of each step that is through."""
        self._taken -= len(taken)
        for step, _, _ in taken:
            step.left -= 1
            if not step.left and step.oldest_ns and new:
                observe(step.oldest_ns)

"""What a worker publishes to Kafka: a burst of alerts in slices, so that neither Redis nor the next frame waits for it."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from monitors.alerts import Alert, encode_alert
from streams.kafka import Delivery
from streams.topics import ALERTS, CALLS, REJECTS

SLICE: Final = 100  # alerts: half a millisecond
Place = tuple[str, int]  # topic and partition


class Outbox:
    """Messages in the order in which they were put, by a producer. Raises UserError once a delivery failed."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._waiting: deque[tuple[int, Alert]] = deque()  # with the shard
        self._promised: Counter[Place] = Counter()  # messages of those that wait
        self._more = asyncio.Event()

    def put(self, shard: int, alerts: Sequence[Alert]) -> None:
        """Alerts of a shard, in their order: at once where they are few and none waits."""
        if not self._waiting and len(alerts) <= SLICE:
            for alert in alerts:
                self._send(shard, alert)
            return
        self._waiting.extend((shard, alert) for alert in alerts)
        self._promised[ALERTS, shard] += len(alerts)
        self._promised[CALLS, shard] += sum(alert.call is not None for alert in alerts)
        self._more.set()

    def reject(self, key: bytes, value: bytes) -> None:
        """A message of `rejects`."""
        self._delivery.send(REJECTS, 0, value, key)

    async def run(self) -> None:
        """Send what waits, a slice whenever the loop is free, until cancelled."""
        while True:
            await self._more.wait()
            for _ in range(min(SLICE, len(self._waiting))):
                shard, alert = self._waiting.popleft()
                self._promised[ALERTS, shard] -= 1
                self._promised[CALLS, shard] -= alert.call is not None
                self._send(shard, alert)
            if not self._waiting:
                self._more.clear()
            await asyncio.sleep(0)

    def _send(self, shard: int, alert: Alert) -> None:
        value = encode_alert(alert)
        self._delivery.send(ALERTS, shard, value, alert.account.encode())
        if alert.call is not None:
            self._delivery.send(CALLS, shard, value, alert.call.id.encode())

    def mark(self) -> dict[Place, int]:
        """How many were put so far, to be given to `arrived` later."""
        marks = Counter(self._delivery.mark())
        marks.update(self._promised)
        return dict(marks)

    def arrived(self, mark: dict[Place, int]) -> bool:
        """Whether all messages put before the mark are acknowledged."""
        return self._delivery.arrived(mark)

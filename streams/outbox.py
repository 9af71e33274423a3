"""What a worker publishes to Kafka: a burst of alerts in slices, so that neither Redis nor the next frame waits for it."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice, repeat
from typing import Final

from monitors.alerts import Alert, Alerts, encode_alert
from streams.kafka import Delivery
from streams.topics import ALERTS, CALLS, REJECTS

SLICE: Final = 100  # alerts: half a millisecond
Place = tuple[str, int]  # topic and partition


class Outbox:
    """Messages in the order in which they were put, by a producer. Raises UserError once a delivery failed."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._waiting: deque[Iterator[tuple[int, Alert]]] = deque()  # alerts of a step with their shard
        self._promised: Counter[Place] = Counter()  # messages of those that wait
        self._more = asyncio.Event()

    def put(self, shard: int, alerts: Alerts) -> None:
        """Alerts of a shard, in their order: at once where they are few and none waits."""
        if not len(alerts) or (not self._waiting and len(alerts) <= SLICE):
            for alert in alerts:
                self._send(shard, alert)
            return
        self._waiting.append(zip(repeat(shard), alerts, strict=False))
        self._promised[ALERTS, shard] += len(alerts)
        self._promised[CALLS, shard] += alerts.calls
        self._more.set()

    def reject(self, key: bytes, value: bytes) -> None:
        """A message of `rejects`."""
        self._delivery.send(REJECTS, 0, value, key)

    async def run(self) -> None:
        """Send what waits, a slice whenever the loop is free, until cancelled."""
        while True:
            await self._more.wait()
            part = list(islice(self._waiting[0], SLICE))
            for shard, alert in part:
                self._promised[ALERTS, shard] -= 1
                self._promised[CALLS, shard] -= alert.call is not None
                self._send(shard, alert)
            if len(part) < SLICE:
                self._waiting.popleft()
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

"""The worker's outbox on a producer that only notes: order, calls beside alerts, and what a snapshot must wait for."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from monitors.alerts import Alert, Call, decode_alert
from streams.kafka import Delivery
from streams.outbox import SLICE, Outbox
from streams.settings import UserError
from streams.topics import ALERTS, CALLS


class Noting:
    """A producer that acknowledges when it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, str]] = []
        self._reports: list[Callable[[Any, Any], None]] = []

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, on_delivery: Callable[[Any, Any], None]) -> None:
        alert = decode_alert(value)
        assert key.decode() == (alert.account if topic == ALERTS or alert.call is None else alert.call.id)
        self.sent.append((topic, partition, alert.id))
        self._reports.append(on_delivery)

    def poll(self, seconds: float) -> None:
        """Nothing is reported meanwhile."""

    def acknowledge(self, error: Any = None) -> None:
        """All that was sent so far has arrived, or failed."""
        for report in self._reports:
            report(error, None)
        self._reports.clear()


class Some(list[Alert]):
    """Alerts of a step."""

    @property
    def calls(self) -> int:
        """How many are of kind call."""
        return sum(alert.call is not None for alert in self)


def alerts(first: int, count: int, is_call: bool = False) -> Some:
    """Alerts with these numbers."""
    call = Call(id="c", event="issued", customer="C", pool="P", received="0", issued_ns=1, due_ns=2) if is_call else None
    kind = "call" if is_call else "status"
    return Some(
        Alert(
            id=f"A{number}:1", kind=kind, account=f"A{number}", before="OK", after="CALL", amount="0", currency="USD",
            ts_ns=0, shard=0, offset=0, call=call,
        )
        for number in range(first, first + count)
    )  # fmt: skip


def test_few_alerts_are_sent_at_once() -> None:
    producer = Noting()
    Outbox(Delivery(producer)).put(3, alerts(0, 2, is_call=True))
    assert producer.sent == [(topic, 3, f"A{number}:1") for number in (0, 1) for topic in (ALERTS, CALLS)]


def test_a_burst_is_sent_in_slices_in_its_order_and_waited_for() -> None:
    producer, count = Noting(), 3 * SLICE
    outbox = Outbox(Delivery(producer))

    async def work() -> None:
        outbox.put(0, alerts(0, count))
        outbox.put(1, alerts(count, 1, is_call=True))
        mark = outbox.mark()
        assert mark == {(ALERTS, 0): count, (ALERTS, 1): 1, (CALLS, 0): 0, (CALLS, 1): 1}
        assert (producer.sent, outbox.arrived(mark)) == ([], False)
        sending = asyncio.create_task(outbox.run())
        turns = 0
        while len(producer.sent) < count + 2:
            turns += 1
            await asyncio.sleep(0)
        assert turns > 3, "others on the loop had their turns"
        assert not outbox.arrived(mark)
        producer.acknowledge()
        assert outbox.arrived(mark)
        assert outbox.mark() == mark
        sending.cancel()

    asyncio.run(work())
    assert producer.sent == [
        *((ALERTS, 0, f"A{number}:1") for number in range(count)),
        *((topic, 1, f"A{count}:1") for topic in (ALERTS, CALLS)),
    ]


def test_what_kafka_did_not_take_ends_the_process() -> None:
    class Refusal:
        def str(self) -> str:
            return "too large"

    producer = Noting()
    outbox = Outbox(Delivery(producer))
    outbox.put(0, alerts(0, 1))
    producer.acknowledge(Refusal())
    with pytest.raises(UserError, match="Kafka did not take a message: too large"):
        outbox.arrived(outbox.mark())

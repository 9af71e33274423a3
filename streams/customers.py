"""Customers of the demo answer margin calls: most pay, some a part, some never; by seed and call, after some seconds."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Final

import numpy as np

from engine.events import NS, Kind
from monitors.view import Row
from monitors.wording import outstanding
from streams.population import event
from streams.sources import Item

PAY_ALL, PAY_PART = 0.6, 0.25  # of the calls; the rest is never answered
DELAY_SECONDS: Final = (4.0, 30.0)  # from when a call is seen, and between two payments
CENT: Final = Decimal("0.01")


@dataclass(slots=True)
class _Answer:
    """What a customer does about a call. share: of what is outstanding that is paid; again: also what comes on top."""

    share: float
    again: bool
    at_ns: int
    random: np.random.Generator
    payments: int = 0


class Customers:
    """Answers calls as they are seen; the same calls at the same times get the same answers from a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._answers: dict[str, _Answer] = {}

    def answer(self, calls: Iterable[Row], now_ns: int) -> Iterator[Item]:
        """The deposits, in US dollars, that are due by now for the open calls."""
        for call in calls:
            answer = self._answers.get(call["id"])
            if answer is None:
                self._answers[call["id"]] = self._decide(call["id"], now_ns)
            elif answer.share and now_ns >= answer.at_ns and (answer.again or not answer.payments):
                answer.payments += 1
                answer.at_ns = now_ns + self._delay_ns(answer.random)
                missing = Decimal(outstanding(call["amount"], call["received"]))
                qty = (missing * Decimal(str(answer.share))).quantize(CENT, ROUND_UP)
                row = {"id": f"pay-{call['id']}-{answer.payments}", "ts": now_ns, "account": call["account"], "asset": "USD"}
                yield event(Kind.COLLATERAL, call["account"], **row, qty=f"{qty:f}", source="generated")

    def _decide(self, call_id: str, now_ns: int) -> _Answer:
        random = np.random.Generator(np.random.PCG64([self._seed, 6, zlib.crc32(call_id.encode())]))
        draw, part = random.random(), round(float(random.uniform(0.2, 0.8)), 2)
        share = 1.0 if draw < PAY_ALL else part if draw < PAY_ALL + PAY_PART else 0.0
        return _Answer(share, share == 1.0, now_ns + self._delay_ns(random), random)

    @staticmethod
    def _delay_ns(random: np.random.Generator) -> int:
        return round(float(random.uniform(*DELAY_SECONDS)) * NS)

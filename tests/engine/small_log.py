"""Writes small logs by hand: one call is one event, sent to the engine and its slow twin at once."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from engine.codes import Code
from engine.events import NS, RECORD, Flag, Kind, id_key, key64, signed64
from engine.frames import Entry, Frame, FrameKind, Genesis
from engine.numbers import scaled
from engine.report import Quality, Report, Status
from engine.scenarios.sets import ScenarioSet, encode
from tests.engine.compare import Pair, Solo, figures_of
from tests.strategies import LOG_ID, ROOMY, replace_limits

START_NS = 1_800_000_000 * NS  # 2027-01-15, a Friday


@dataclass
class SmallLog:
    """A log of one shard; every call gives the report of its frame, after engine and twin were found equal."""

    limits: dict[str, int] = field(default_factory=dict)
    start_ns: int = START_NS
    pair: Pair | Solo = field(default_factory=Pair)
    now_ns: int = START_NS
    number: int = 0
    writer: int = 1
    offsets: dict[Kind, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        limits = replace_limits(ROOMY, self.limits)
        genesis = Genesis(log_id=LOG_ID.hex(), shards=1, time_mode="wall", start_ns=self.start_ns, limits=limits)
        self.frame(kind=FrameKind.GENESIS, genesis=genesis)

    def frame(self, **content: Any) -> Report:
        """One frame with this content."""
        header = {"shard": 0, "shards": 1, "log_id": LOG_ID, "writer": self.writer, "number": self.number}
        report, _ = self.pair.step(Frame(**(header | content)))
        self.number += 1
        return report

    def document(self, kind: str, name: str, topic: Kind = Kind.REFERENCE, /, **fields: Any) -> Report:
        """A reference document (or, of topic ACTION, an action)."""
        named = {"id": name} | ({"kind": kind} if topic is Kind.REFERENCE else {}) | fields
        return self.raw(msgspec.json.encode(named), topic)

    def raw(self, body: bytes, topic: Kind = Kind.REFERENCE) -> Report:
        """A document as it is."""
        entry = Entry(int(topic), 0, self._offset(topic), 0, msgspec.Raw(body))
        return self.frame(kind=FrameKind.DOCUMENTS, documents=[entry])

    def _offset(self, kind: Kind) -> int:
        self.offsets[kind] += 1
        return self.offsets[kind] - 1

    def record(
        self, kind: Kind, account: str = "", name: str = "", quantity: Any = 0, price: Any = 0, flags: int = 0,
        event_id: str = "", ts_ns: int | None = None,
    ) -> Report:  # fmt: skip
        """One record; quantity and price as decimals."""
        offset = self._offset(kind)
        row = (
            self.now_ns if ts_ns is None else ts_ns, key64(account) if account else 0, key64(name) if name else 0,
            id_key(kind.name, account, "", event_id or str(offset)), scaled(quantity, 10**8), scaled(price, NS), offset,
            0, 0, int(kind), int(flags),
        )  # fmt: skip
        return self.frame(kind=FrameKind.RECORDS, records=np.array([row], RECORD))

    def trade(self, account: str, name: str, quantity: Any, price: Any, **more: Any) -> Report:
        """A trade."""
        return self.record(Kind.TRADE, account, name, quantity, price, **more)

    def start_of_day(self, account: str, name: str, quantity: Any, price: Any, **more: Any) -> Report:
        """A start-of-day position."""
        return self.record(Kind.POSITION, account, name, quantity, price, **more)

    def price(self, name: str, price: Any, **more: Any) -> Report:
        """A mark."""
        return self.record(Kind.PRICE, "", name, 0, price, **more)

    def volatility(self, name: str, tenor_days: Any, value: Any, **more: Any) -> Report:
        """A volatility."""
        return self.record(Kind.VOLATILITY, "", name, tenor_days, value, **more)

    def collateral(self, account: str, asset: str, quantity: Any, replace: bool = False, **more: Any) -> Report:
        """A change, or the new total, of an asset."""
        return self.record(Kind.COLLATERAL, account, asset, quantity, flags=Flag.REPLACE if replace else 0, **more)

    def statement(self, holder: str, account: str, name: str, quantity: Any, is_asset: bool = False, **more: Any) -> Report:
        """What a holder says an account has."""
        key, flags = Decimal(signed64(key64(holder))).scaleb(-9), Flag.ASSET if is_asset else 0
        return self.record(Kind.STATEMENT, account, name, quantity, key, flags, **more)

    def clock(self, seconds: float = 1) -> Report:
        """A clock so much later."""
        self.now_ns += round(seconds * NS)
        return self.record(Kind.CLOCK)

    def scenarios(self, made: ScenarioSet) -> Report:
        """A scenario set."""
        return self.raw(encode(made))

    def money(self) -> None:
        """USD, one pool and one customer: what every small log begins with."""
        self.document("asset", "USD", type="currency", currency="USD")
        self.document("pool", "p", regime="cftc", currency="USD")
        self.document("customer", "c")

    def account(self, name: str, currency: str = "USD", customer: str = "c", pool: str = "p") -> Report:
        """An account."""
        return self.document("account", name, customer=customer, pool=pool, currency=currency)

    def instrument(self, name: str, /, **fields: Any) -> Report:
        """An instrument; without fields a fund in USD, tick 0.01, band 0 to 100,000."""
        return self.document(
            "instrument", name, **({"type": "fund", "currency": "USD", "tick": "0.01", "band": ["0", "100000"]} | fields)
        )  # fmt: skip

    def rule(self, name: str, model: str, effective: int = 0, **parameters: Any) -> Report:
        """A rule version."""
        return self.document("rule", name, model=model, effective=effective, parameters=parameters)

    def figures(self, account: str) -> dict[str, Any]:
        """The figures of one account, by name."""
        names = ("status", "quality", "equity", "initial", "maintenance", "call", "excess_usd", "change")
        figures = dict(zip(names, figures_of(self.pair.engine)[account], strict=True))
        return figures | {"status": Status(figures["status"]).name, "quality": Quality(figures["quality"]).name}


def codes(report: Report) -> list[Code]:
    """The codes of a report's rejects."""
    return [reject.code for reject in report.rejects]

"""The messages of margin.alerts, margin.calls and the engine's part of `rejects`: pure functions of report and engine."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from engine.codes import EXPLANATION
from engine.events import TOPIC_OF
from engine.numbers import decimal_text
from engine.report import AccountInfo, CallEvent, CallState, ChangeKind, Quality, Reject, Report, Said, Status
from monitors.surface import EngineView


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What an alert of kind `call` says of the call after it; received: what came in for it. Times in ns since 1970.

    event: issued, raised, received, met, covered, overdue, escalated, restricted, acknowledged, noted or cancelled. user,
    text, said_ns: of the last three.
    """

    id: str
    event: str
    customer: str
    pool: str
    received: str
    issued_ns: int
    due_ns: int
    user: str = ""
    text: str = ""
    said_ns: int = 0


class Alert(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, rename={"before": "from", "after": "to"}
):
    """One change of an account, as JSON in margin.alerts; the number in `id` orders the changes of the account.

    amount: what is missing to the initial requirement (0 unless below maintenance), of a call what it asks for: decimal
    string in major units of currency. ts_ns: engine time. offset: of the frame in margin.log that made the change. call:
    where kind is `call`; these alerts are in margin.calls too, under the id of the call.
    """

    id: str
    kind: str
    account: str
    before: str
    after: str
    amount: str
    currency: str
    pool: str = ""
    ts_ns: int
    shard: int
    offset: int
    call: Call | None = None

    @property
    def change(self) -> int:
        """The account's change number."""
        return int(self.number)

    @property
    def number(self) -> str:
        """The same as text."""
        return self.id[len(self.account) + 1 :]


class Origin(msgspec.Struct, frozen=True):
    """Where an input event came from; index is its place in the message."""

    topic: str
    partition: int
    offset: int
    index: int


class RejectMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was not applied, as JSON in `rejects`. raw: its bytes as text, else as base64; null from the engine."""

    reason: str
    origin: Origin
    ts: int
    detail: str
    raw: str | None = None
    raw_base64: str | None = None


_encode = msgspec.json.Encoder().encode
_alert = msgspec.json.Decoder(Alert)
_COLUMNS: Final = [
    "account", "kind", "before", "after", "change", "amount", "ts_ns",
    "event", "sequence", "called", "received", "issued_ns", "due_ns",
]  # fmt: skip
_BLOCK: Final = 256  # changes that are unpacked at once
_CALLED: Final = 2  # its place among the columns of a call
_STATES: Final = {
    int(ChangeKind.STATUS): {int(status): status.name for status in Status},
    int(ChangeKind.QUALITY): {int(quality): quality.name for quality in Quality},
    int(ChangeKind.CALL): {int(state): state.name for state in CallState},
}
_KINDS: Final = {int(kind): kind.name.lower() for kind in ChangeKind}
_EVENTS: Final = {int(event): event.name.lower() for event in CallEvent}
_CALL: Final = int(ChangeKind.CALL)
_NOTHING_SAID: Final = Said("", "", "", 0)


class Alerts:
    """Every change in a report as an alert, in its order, made when it is first asked for: a shock has ten thousands.

    slots: of their accounts; calls: how many are of kind `call`.
    """

    def __init__(self, shard: int, engine: EngineView, report: Report) -> None:
        self.slots: list[int] = report.changes["account"].tolist()
        self.calls = int(np.count_nonzero(report.changes["kind"] == _CALL))
        self._shard, self._offset, self._said = shard, report.offset, report.said
        self._changes, self._account_info = report.changes[_COLUMNS], engine.account_info  # who an account is never changes
        self._rows: dict[int, list[tuple[int, ...]]] = {}  # of the changes by block
        self._made: list[Alert | None] = [None] * len(self.slots)

    def __len__(self) -> int:
        return len(self.slots)

    def __iter__(self) -> Iterator[Alert]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> Alert:
        made = self._made[place]
        if made is None:
            made = self._made[place] = self._make(place)
        return made

    def _make(self, place: int) -> Alert:
        block, at = divmod(place, _BLOCK)
        if block not in self._rows:
            self._rows[block] = self._changes[block * _BLOCK : (block + 1) * _BLOCK].tolist()
        slot, kind, before, after, change, amount, ts_ns, *of_call = self._rows[block][at]
        info = self._account_info(slot)
        call = _call(info, of_call, self._said.get(place, _NOTHING_SAID)) if kind == _CALL else None
        return Alert(
            id=f"{info.id}:{change}",
            kind=_KINDS[kind],
            account=info.id,
            before=_STATES[kind][before],
            after=_STATES[kind][after],
            amount=decimal_text(of_call[_CALLED] if call else amount, info.decimals),
            currency=info.currency,
            pool=info.pool,
            ts_ns=ts_ns,
            shard=self._shard,
            offset=self._offset,
            call=call,
        )


def _call(info: AccountInfo, row: Sequence[int], said: Said) -> Call:
    event, sequence, _, received, issued_ns, due_ns = row
    return Call(
        id=info.call_id(sequence),
        event=_EVENTS[event],
        customer=info.customer,
        pool=info.pool,
        received=decimal_text(received, info.decimals),
        issued_ns=issued_ns,
        due_ns=due_ns,
        user=said.user,
        text=said.text,
        said_ns=said.ts_ns,
    )


def encode_alert(alert: Alert) -> bytes:
    """The alert as a message of margin.alerts; of a call also of margin.calls."""
    return _encode(alert)


def decode_alert(data: bytes) -> Alert:
    """The alert in a message of margin.alerts; msgspec.DecodeError when it is none."""
    return _alert.decode(data)


def encode_rejects(rejects: Iterable[Reject]) -> list[tuple[bytes, bytes]]:
    """Key and JSON of the engine's rejects; they name the origin, whose message has the bytes."""
    messages = []
    for reject in rejects:
        origin = Origin(TOPIC_OF[reject.kind], reject.partition, reject.offset, reject.index)
        key = f"{origin.topic}:{origin.partition}:{origin.offset}:{origin.index}"
        message = RejectMessage(reason=reject.code.reason, origin=origin, ts=reject.ts_ns, detail=EXPLANATION[reject.code])
        messages.append((key.encode(), _encode(message)))
    return messages

"""The messages of margin.alerts, margin.calls and the engine's part of `rejects`: pure functions of report and engine."""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from engine.codes import EXPLANATION
from engine.events import TOPIC_OF
from engine.numbers import decimal_text
from engine.report import CallEvent, CallState, ChangeKind, Quality, Reject, Report, Said, Status
from monitors.surface import EngineView


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"before": "from", "after": "to"}):
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
        return int(self.id.rpartition(":")[2])


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
_COLUMNS = ["account", "kind", "before", "after", "change", "amount", "ts_ns"]
_CALL_COLUMNS = ["event", "sequence", "called", "received", "issued_ns", "due_ns"]
_STATES = {
    ChangeKind.STATUS: {int(status): status.name for status in Status},
    ChangeKind.QUALITY: {int(quality): quality.name for quality in Quality},
    ChangeKind.CALL: {int(state): state.name for state in CallState},
}
_CALL = int(ChangeKind.CALL)


def encode_alerts(shard: int, engine: EngineView, report: Report) -> list[tuple[bytes, bytes]]:
    """Key and JSON of every change in the report, in its order; call it before the engine's next step."""
    alerts = []
    for place, (slot, kind, before, after, change, amount, ts_ns) in enumerate(report.changes[_COLUMNS].tolist()):
        info = engine.account_info(slot)
        call = None
        if kind == _CALL:
            event, sequence, amount, received, issued_ns, due_ns = report.changes[_CALL_COLUMNS][place].tolist()
            said = report.said.get(place, Said("", "", "", 0))
            call = Call(
                id=info.call_id(sequence),
                event=CallEvent(event).name.lower(),
                customer=info.customer,
                pool=info.pool,
                received=decimal_text(received, info.decimals),
                issued_ns=issued_ns,
                due_ns=due_ns,
                user=said.user,
                text=said.text,
                said_ns=said.ts_ns,
            )
        alert = Alert(
            id=f"{info.id}:{change}",
            kind=ChangeKind(kind).name.lower(),
            account=info.id,
            before=_STATES[kind][before],
            after=_STATES[kind][after],
            amount=decimal_text(amount, info.decimals),
            currency=info.currency,
            pool=info.pool,
            ts_ns=ts_ns,
            shard=shard,
            offset=report.offset,
            call=call,
        )
        alerts.append((info.id.encode(), _encode(alert)))
    return alerts


def call_messages(engine: EngineView, report: Report, alerts: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Of a report's alerts those of margin calls, by call id: the messages of margin.calls."""
    messages = []
    for place in np.flatnonzero(report.changes["kind"] == _CALL).tolist():
        slot, sequence = report.changes[["account", "sequence"]][place].tolist()
        messages.append((engine.account_info(slot).call_id(sequence).encode(), alerts[place][1]))
    return messages


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

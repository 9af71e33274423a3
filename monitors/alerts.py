"""The messages of margin.alerts and the engine's part of `rejects`: pure functions of report and engine, no wall time."""

from collections.abc import Iterable

import msgspec

from engine.codes import EXPLANATION
from engine.events import TOPIC_OF
from engine.numbers import decimal_text
from engine.report import ChangeKind, Quality, Reject, Report, Status
from monitors.surface import EngineView


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """One change of an account, as JSON in margin.alerts; the number in `id` orders the changes of the account.

    amount: the call (0 when there is none), decimal string in major units of currency. ts_ns: engine time. offset: of the
    frame in margin.log that made the change.
    """

    id: str
    kind: str
    account: str
    before: str
    after: str
    amount: str
    currency: str
    ts_ns: int
    shard: int
    offset: int

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
_NAMES = {
    ChangeKind.STATUS: ("status", {int(status): status.name for status in Status}),
    ChangeKind.QUALITY: ("quality", {int(quality): quality.name for quality in Quality}),
}


def encode_alerts(shard: int, engine: EngineView, report: Report) -> list[tuple[bytes, bytes]]:
    """Key and JSON of every change in the report, in its order; call it before the engine's next step."""
    alerts = []
    for slot, kind, before, after, change, amount, ts_ns in report.changes[_COLUMNS].tolist():
        info = engine.account_info(slot)
        name, names = _NAMES[kind]
        alert = Alert(
            id=f"{info.id}:{change}",
            kind=name,
            account=info.id,
            before=names[before],
            after=names[after],
            amount=decimal_text(amount, info.decimals),
            currency=info.currency,
            ts_ns=ts_ns,
            shard=shard,
            offset=report.offset,
        )
        alerts.append((info.id.encode(), _encode(alert)))
    return alerts


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

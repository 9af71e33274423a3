"""The audit trail of margin calls, as margin.calls gets it: whole, with what users said, and the same again from the log."""

import json
from typing import Any

from engine.core import MarginEngine
from engine.events import NS, Kind
from engine.frames import decode_frame
from monitors.alerts import Alerts, encode_alert
from tests.engine.explain_world import empty_log

DAY = 86_400.0
TRAIL = [  # a call that is worked, paid late and met; the next one is cancelled
    ("a:p:1", "issued", "NONE", "ISSUED", "20.00", "0.00", ""),
    ("a:p:1", "acknowledged", "ISSUED", "ISSUED", "20.00", "0.00", "ann: will wire"),
    ("a:p:1", "raised", "ISSUED", "ISSUED", "30.00", "0.00", ""),
    ("a:p:1", "received", "ISSUED", "PART_MET", "30.00", "5.00", ""),
    ("a:p:1", "noted", "PART_MET", "PART_MET", "30.00", "5.00", 'bob: "no answer" \u20ac'),
    ("a:p:1", "overdue", "PART_MET", "OVERDUE", "30.00", "5.00", ""),
    ("a:p:1", "escalated", "OVERDUE", "ESCALATED", "30.00", "5.00", ""),
    ("a:p:1", "met", "ESCALATED", "MET", "30.00", "30.00", ""),
    ("a:p:2", "issued", "NONE", "ISSUED", "12.00", "0.00", ""),
    ("a:p:2", "cancelled", "ISSUED", "CANCELLED", "12.00", "0.00", "ann: wrong price"),
]


def life() -> list[bytes]:
    """The frames of a log in which all that happens: an account that needs 110 dollars, 100 to maintain."""
    log = empty_log()

    def say(user: str, kind: str, call: str, text: str) -> None:
        action: dict[str, Any] = {"ts": log.now_ns, "user": user, "kind": kind, "account": "a", "call": call, "text": text}
        log.document("", f"{kind}-{log.number}", Kind.ACTION, **action)

    log.money()
    log.account("a")
    log.rule("flat", "flat", initial="110", maintenance="100")
    log.instrument("F", rule="flat")
    log.price("F", 50)
    log.trade("a", "F", 1, 50)
    log.collateral("a", "USD", 90)
    log.clock()
    say("ann", "ack", "a:p:1", "will wire")
    log.price("F", 40)
    log.clock()
    log.collateral("a", "USD", 5)
    log.clock()
    say("bob", "note", "a:p:1", '"no answer" \u20ac')
    (call,) = log.pair.engine.open_calls()
    log.clock((call.due_ns - log.now_ns) / NS)
    log.clock(DAY)
    log.collateral("a", "USD", 25)
    log.clock()
    log.price("F", 28)
    log.clock()
    say("ann", "cancel", "a:p:2", "wrong price")
    log.clock()
    return list(log.pair.frames)  # type: ignore[attr-defined]


def sent(engine: MarginEngine, frames: list[bytes]) -> list[list[bytes]]:
    """The messages of margin.calls that each frame makes."""
    found = []
    for frame in frames:
        report = engine.step(decode_frame(frame), engine.offset)
        found.append([encode_alert(alert) for alert in Alerts(0, engine, report) if alert.call])
    return found


def test_the_trail_is_whole_and_the_same_from_any_snapshot() -> None:
    frames = life()
    engine = MarginEngine(0)
    whole, snapshots = list[list[bytes]](), list[bytes]()
    for frame in frames:
        whole += sent(engine, [frame])
        snapshots.append(engine.to_bytes())
    told = [json.loads(body) for messages in whole for body in messages]
    assert [
        (one["call"]["id"], one["call"]["event"], one["from"], one["to"], one["amount"], one["call"]["received"],
         ": ".join(text for name in ("user", "text") if (text := one["call"].get(name, ""))))
        for one in told
    ] == TRAIL  # fmt: skip
    assert len({one["id"] for one in told}) == len(told)
    assert sent(MarginEngine(0), frames) == whole
    for place, snapshot in enumerate(snapshots):
        assert sent(MarginEngine.from_bytes(snapshot), frames[place + 1 :]) == whole[place + 1 :]

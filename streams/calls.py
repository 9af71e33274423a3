"""`crossmargin calls`: margin calls in Redis, open or over, the life of one in margin.calls, what a user does to one."""

import getpass
import time
import uuid
import zlib
from typing import Any, Final, Literal

import msgspec
from confluent_kafka import Producer

from engine.documents import Action, parse_action
from engine.report import OPEN_CALLS
from monitors.alerts import Alert, decode_alert
from monitors.keys import CLOSED_STATES
from monitors.view import Row, life_of, read_call, read_calls, read_closed_calls
from monitors.wording import money, outstanding, time_left
from streams import kafka
from streams.desk import Shown, open_desk
from streams.settings import ConfigError, Settings, UserError
from streams.topics import CALLS, REJECTS

COLUMNS: Final = (
    "call", "account", "state", "amount", "received", "outstanding", "currency", "issued (UTC)", "due (UTC)", "left",
    "acknowledged by",
)  # fmt: skip
CLOSED_COLUMNS: Final = (
    "call", "account", "state", "amount", "received", "currency", "issued (UTC)", "ended (UTC)", "acknowledged by",
)  # fmt: skip
LIFE: Final = ("at (UTC)", "event", "state", "amount", "received", "currency", "due (UTC)", "by", "text", "alert")
PAGE: Final = 1000
ACTIONS: Final = "actions"
SEEN_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.1  # between two looks at Redis
REJECTS_EVERY: Final = 10  # looks at Redis between two at the rejects
_encode: Final = msgspec.json.Encoder().encode
Kind = Literal["ack", "note", "cancel"]


def _unknown_call(where: str, call_id: str) -> UserError:
    """What every verb says of a call that is not where it looked."""
    return UserError(f"found no call '{call_id}' in {where}; crossmargin calls lists open ones, with --closed those over")


def call_data(call: Row, now_ns: int) -> dict[str, Any]:
    """A call's hash for programs: its fields as text, with what is outstanding, while it is open the seconds left."""
    notes = msgspec.json.decode(call.get("notes", "[]"))
    data = {**call, "outstanding": outstanding(call["amount"], call["received"]), "notes": notes, "life": life_of(call)}
    if call["state"] not in CLOSED_STATES:
        data["seconds_left"] = round((int(call["due_ns"]) - now_ns) / 1e9, 3)
    return data


def call_cells(call: Row, now_ns: int) -> tuple[str, ...]:
    """A call's hash as the row of a table, as COLUMNS names it."""
    left = outstanding(call["amount"], call["received"])
    amounts = tuple(money(text) for text in (call["amount"], call["received"], left))
    times = tuple(short_moment(int(call[name])) for name in ("issued_ns", "due_ns"))
    until = time_left(int(call["due_ns"]), now_ns)
    return (
        call["id"], call["account"], call["state"], *amounts, call["currency"], *times, until,
        call.get("acknowledged_by", ""),
    )  # fmt: skip


def _closed_cells(call: Row) -> tuple[str, ...]:
    """The hash of a call that is over as CLOSED_COLUMNS names it."""
    amounts, times = (money(call[name]) for name in ("amount", "received")), ("issued_ns", "ts_ns")
    moments = (short_moment(int(call[name])) for name in times)
    return call["id"], call["account"], call["state"], *amounts, call["currency"], *moments, call.get("acknowledged_by", "")


def short_moment(ts_ns: int) -> str:
    """A time in UTC to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ts_ns // 10**9))


def show_calls(settings: Settings, pool: str | None, state: str | None, closed: bool = False) -> Shown:
    """The calls of a pool, in a state, or all: open ones, the first due first, or those over, the last to end first."""
    states = CLOSED_STATES if closed else tuple(one.name for one in OPEN_CALLS)
    if state is not None and state.upper() not in states:
        raise ConfigError(f"--state: found '{state}'; allowed: {', '.join(states)}")
    calls: list[Row] = []
    with open_desk(settings) as desk:
        first, total = 0, 1
        while first < total:
            page, total = (read_closed_calls if closed else read_calls)(desk.client, desk.keys, first, PAGE)
            calls += page
            first += PAGE
        age_seconds = desk.meta.age_seconds(time.time_ns())
    now_ns = time.time_ns()
    found = [c for c in calls if pool in (None, c["pool"]) and (state is None or c["state"] == state.upper())]
    kind = "calls that are over" if closed else "open calls"
    title = f"{len(found):,} of {len(calls):,} {kind}, as of {age_seconds:.1f} s ago"
    rows = [_closed_cells(call) if closed else call_cells(call, now_ns) for call in found]
    return Shown(
        {"age_seconds": round(age_seconds, 3), "calls": [call_data(call, now_ns) for call in found]},
        [(title, CLOSED_COLUMNS if closed else COLUMNS, rows)],
    )


# The life of one


def show_life(settings: Settings, call_id: str) -> Shown:
    """Everything that happened to a call, oldest first, out of margin.calls; UserError where nothing ever did."""
    life = _life(settings, call_id)
    if not life:
        raise _unknown_call(f"topic {CALLS} of Kafka at {settings.kafka}", call_id)
    last = life[-1]
    title = f"call {call_id}: {last.after}, account {last.account}, pool {last.pool}"
    return Shown({"id": call_id, "life": life}, [(title, LIFE, [_life_cells(alert) for alert in life])])


def _life(settings: Settings, call_id: str) -> list[Alert]:
    """The alerts of a call, each once: a worker that repeats its work repeats them."""
    key, alerts = call_id.encode(), dict[str, Alert]()
    for partition, (first, end) in kafka.log_range(settings, CALLS).items():
        for message in kafka.read_partition(settings, CALLS, partition, first, end):
            if message.key() == key:
                alert = decode_alert(message.value() or b"")
                alerts.setdefault(alert.id, alert)
    return sorted(alerts.values(), key=lambda alert: alert.change)


def _life_cells(alert: Alert) -> tuple[str, ...]:
    call = alert.call
    assert call is not None
    change = alert.after if alert.before == alert.after else f"{alert.before} to {alert.after}"
    return (
        short_moment(alert.ts_ns), call.event, change, money(alert.amount), money(call.received), alert.currency,
        short_moment(call.due_ns), call.user, call.text, alert.id,
    )  # fmt: skip


# What a user does


def act(settings: Settings, kind: Kind, call_id: str, text: str) -> dict[str, str]:
    """Publish an action on an open call and wait until Redis shows it; what was done, by whom.

    UserError where the call is not open, where the action is rejected (with the reason), or where it is not seen in time.
    """
    user = settings.user or getpass.getuser()
    with open_desk(settings) as desk:
        call = read_call(desk.client, desk.keys, call_id)
        if call is None:
            raise _unknown_call(desk.where, call_id)
        if call["state"] not in (state.name for state in OPEN_CALLS):
            raise UserError(f"call {call_id}: found it {call['state']}; allowed: a call that is open")
        action = Action(
            id=uuid.uuid4().hex, ts=time.time_ns(), user=user, kind=kind, account=call["account"], call=call_id, text=text
        )
        since = {p: end for p, (_, end) in kafka.log_range(settings, REJECTS).items()}
        _publish(settings, action)
        for look in range(round(SEEN_SECONDS / LOOK_SECONDS)):
            if _is_seen(read_call(desk.client, desk.keys, call_id), action):
                return {"call": call_id, "done": kind, "user": user, "id": action.id}
            if look % REJECTS_EVERY == REJECTS_EVERY - 1:
                _check_rejects(settings, since, action)
            time.sleep(LOOK_SECONDS)
    raise UserError(
        f"{kind} of call {call_id} by {user} was sent and is not seen in Redis after {SEEN_SECONDS:.0f} s (action"
        f" {action.id}): crossmargin doctor tells whether sequencer and worker run"
    )


def _publish(settings: Settings, action: Action) -> None:
    """Send it, and wait until Kafka has it; UserError where it does not take it."""
    body, key = _encode(action), action.account.encode()
    try:
        parse_action(body)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{action.kind} by '{action.user}': {error}") from error
    partitions = kafka.log_range(settings, ACTIONS)
    if not partitions:
        raise UserError(f"Kafka at {settings.kafka} has no topic {ACTIONS}: no sequencer has run there yet")
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    delivery.send(ACTIONS, zlib.crc32(key) % len(partitions), body, key)
    if not delivery.wait(kafka.REQUEST_SECONDS):
        raise UserError(f"Kafka at {settings.kafka} did not acknowledge the action in {kafka.REQUEST_SECONDS:.0f} s")


def _is_seen(call: Row | None, action: Action) -> bool:
    """Whether the call's notes have the action."""
    if call is None:
        return False
    notes: list[dict[str, str]] = msgspec.json.decode(call.get("notes", "[]"))
    return any((n["user"], n["kind"], n["ts_ns"]) == (action.user, action.kind, str(action.ts)) for n in notes)


def _check_rejects(settings: Settings, since: dict[int, int], action: Action) -> None:
    from streams.rejects import raw_bytes, read_rejects

    for reject in read_rejects(settings, since=since):
        if reject.origin.topic == ACTIONS and action.id.encode() in (raw_bytes(reject) or b""):
            raise UserError(
                f"{action.kind} of call {action.call} by {action.user} was rejected: {reject.reason}: {reject.detail}"
            )

"""What one shard still has to show: alerts in their order, and which accounts' figures changed; bounded by state."""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from math import inf, isnan
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.events import NS
from engine.numbers import decimal_text
from engine.report import OPEN_CALLS, AgreedLeg, AgreementInfo, CallEvent, OpenCall, Quality, Said, Status
from monitors.alerts import Alert, Alerts, Call, decode_alert
from monitors.keys import DEFINITION_FIELDS
from monitors.lanes import Lanes, Queued
from monitors.outlook import Outlook
from monitors.surface import EngineView

_STATUS: Final = tuple(status.name for status in Status)
_QUALITY: Final = tuple(quality.name for quality in Quality)
_OPEN: Final = frozenset(state.name for state in OPEN_CALLS)
_ISSUED: Final = CallEvent.ISSUED.name.lower()
_SAID: Final = {"acknowledged": "ack", "noted": "note", "cancelled": "cancel"}
DISTANCE_STEP: Final = 0.01  # of the distances shown, basis points or per cent
Entry = tuple[Any, Any, Any, Any, Any]
State = tuple[str, str, list[str]]  # status, quality, ids of accounts
Moment = tuple[int, int, str]  # engine time in ns, log offset, rules in force
AgreementEntry = tuple[str, str, tuple[str, ...]]


def alerts_entry(alerts: Sequence[Alert]) -> Entry:
    """The script's entry for alerts of one account, oldest first, without figures."""
    first = alerts[0]
    return first.account, [first.currency, str(first.shard), *chain.from_iterable(map(_alert, alerts))], False, False, False


def _alert(alert: Alert) -> tuple[Any, ...]:
    """An alert as the script takes it beside account, currency and shard."""
    call = False if alert.call is None else _call(alert, alert.call)
    return (
        alert.number, alert.kind, alert.before, alert.after, alert.amount, str(alert.ts_ns), str(alert.offset), call,
    )  # fmt: skip


def _call(alert: Alert, call: Call) -> tuple[Any, ...]:
    """What an alert says of a call, as the script takes it beside the alert."""
    due, ended = (call.due_ns // NS, False) if alert.after in _OPEN else (False, alert.ts_ns // NS)
    known = (
        call.id, call.customer, call.pool, call.received, str(call.issued_ns), str(call.due_ns), call.event, due, ended,
        call.event == _ISSUED,
    )  # fmt: skip
    if not call.user:
        return *known, False, False
    said = Said(call.user, _SAID[call.event], call.text, call.said_ns)
    return *known, _flat(_acknowledgement([said])) or False, msgspec.json.encode(_note(said)).decode()


def _note(said: Said) -> dict[str, str]:
    return {"user": said.user, "kind": said.kind, "text": said.text, "ts_ns": str(said.ts_ns)}


def _acknowledgement(said: Sequence[Said]) -> dict[str, str]:
    """Who acknowledged a call last, and when; nothing where nobody did."""
    acks = [one for one in said if one.kind == "ack"]
    return {"acknowledged_by": acks[-1].user, "acknowledged_ns": str(acks[-1].ts_ns)} if acks else {}


def _flat(fields: dict[str, str]) -> tuple[str, ...]:
    return tuple(text for pair in fields.items() for text in pair)


def open_call_entry(shard: int, engine: EngineView, call: OpenCall) -> tuple[str, int, tuple[str, ...]]:
    """An open call as the script for a whole shard takes it; its offset: of the last frame that the engine has."""
    info = engine.account_info(call.account)
    change = int(engine.figures(np.array([call.account], np.int32))["change"][0])
    amount, received = decimal_text(call.called, info.decimals), decimal_text(call.received, info.decimals)
    fields = {
        "id": info.call_id(call.sequence), "account": info.id, "customer": info.customer, "pool": info.pool,
        "currency": info.currency, "state": call.state.name, "amount": amount, "received": received,
        "issued_ns": str(call.issued_ns), "due_ns": str(call.due_ns), "ts_ns": str(engine.clock_ns), "change": str(change),
        "shard": str(shard), "offset": str(engine.offset - 1),
        "notes": msgspec.json.encode([_note(said) for said in call.said]).decode(),
    }  # fmt: skip
    return fields["id"], call.due_ns // NS, _flat(fields | _acknowledgement(call.said))


def _leg(leg: AgreedLeg) -> tuple[str, str, str, str]:
    """Account, currency, and what is required alone and after the saving."""
    alone, after = ("" if amount is None else decimal_text(amount, leg.decimals) for amount in (leg.alone, leg.after))
    return leg.account, leg.currency, alone, after


def unique_alerts(messages: Iterable[bytes]) -> list[Alert]:
    """The alerts of a topic, oldest first, each once: repeats carry the same id."""
    alerts: dict[str, Alert] = {}
    for message in messages:
        alert = decode_alert(message)
        alerts.setdefault(alert.id, alert)
    return list(alerts.values())


def _bytes(body: bytes) -> msgspec.Raw:
    """Bytes as a msgpack string: the server's reader knows no other form of them."""
    return msgspec.Raw(b"\xdb" + len(body).to_bytes(4, "big") + body)


class Part(NamedTuple):
    """What is on its way of a shard: alerts, and as of a moment (see ShardBacklog.moment) entries and states of accounts."""

    alerts: list[Queued]
    moment: Moment
    entries: list[Entry]
    states: Sequence[State] = ()


class ShardBacklog:
    """Pending alerts and figures of one shard. Figures are read from the engine when they are written: latest only.

    Alerts are written with their accounts' figures; of a burst first status and quality of all accounts, then the alerts,
    and then those accounts' figures before any others.

    A shard is live once the alerts window was refilled from the topic, which must have come to the alert `reread`: the last
    one published. When more than max_alerts wait, all are dropped and come from the topic too. published_offset: log
    offset of the engine when its last alerts were queued; figures beyond it wait for theirs. Readers are told how new the
    shard is only once all its accounts and open calls are there.
    """

    def __init__(self, shard: int, engine: EngineView, max_alerts: int) -> None:
        self.shard, self.engine = shard, engine
        self.alerts = Lanes()
        self.live = False
        self.window: list[Alert] | None = None  # read from the topic, to be written before anything else
        self.reread: Alert | None = None
        self.published_offset = engine.offset
        self.tries = 0
        self.retry_at = 0.0
        self.written_offset = -1  # log offset up to which meta was written
        self.calls_written = False  # all open calls, since the shard became live
        self.is_whole = False  # all accounts and calls were written since the last outage
        self.outlook: Outlook | None = None  # the latest
        self.outlook_written = False
        self._max_alerts = max_alerts
        self._newest: Alert | None = None  # the last alert queued
        self._flipped: deque[int] = deque()  # slots of a burst whose status and quality are shown before all else
        self._flagged: deque[int] = deque()  # slots whose alerts of a burst were taken without figures
        self._accounts: list[tuple[str, int]] = []  # by slot: id, decimals
        self._pending = np.zeros(0, np.bool_)
        self._defined = np.zeros(0, np.bool_)  # by slot: who the account is has been written
        self._books = np.zeros(0, np.uint64)  # by slot: hash of the book that was written, 0: none
        self._unchecked = np.zeros(0, np.bool_)  # by slot: figures changed since the book was looked at
        self._book_queue = np.zeros(0, np.int32)
        self._collected_offset = -1  # log offset of the engine at the last collect
        self.agreements: list[tuple[str, str, bytes]] = []  # to be written
        self._documents = 0  # how many were looked through for them
        self._queue = np.zeros(0, np.int64)
        self._rule_set = engine.rule_set
        self._agreements: dict[str, tuple[AgreementInfo, int, int]] = {}  # by id, with engine time and offset of then
        self._changed: dict[str, None] = {}  # ids of agreements that wait, in their order

    def resynchronize(self) -> None:
        """Mark everything to be written again: the alerts window, then all accounts."""
        self._read_again()
        self.reread, self.written_offset = self._newest, -1
        self.outlook_written = self.is_whole = False
        self._defined[:] = False
        self._books[:] = 0
        self._unchecked[: len(self._accounts)] = True
        self._documents, self.agreements = 0, []
        self._pending[: len(self._accounts)] = True
        self._changed = dict.fromkeys(self._agreements)
        self._flipped.clear()
        self._flagged.clear()

    def _read_again(self) -> None:
        self.calls_written = False
        self.live, self.window, self.tries, self.retry_at = False, None, 0, 0.0

    def add_alerts(self, alerts: Alerts, oldest_ns: int) -> None:
        """Queue the alerts of a step, whose oldest event came at oldest_ns."""
        self._newest = alerts[len(alerts) - 1]
        if self.alerts.add(alerts.slots, alerts, oldest_ns):
            self._flipped.extend(dict.fromkeys(alerts.slots))
        if len(self.alerts) > self._max_alerts:
            self.alerts.drop()
            self.reread = self._newest
            self._read_again()

    def take_outlook(self, outlook: Outlook) -> None:
        """Replace what lies ahead, and mark the accounts whose distance changed as it is shown."""
        before, self.outlook, self.outlook_written = self.outlook, outlook, False
        count = len(self._accounts)  # those defined since are pending anyway
        now = outlook.warnings
        if before is None or before.warnings.factors != now.factors:
            self._pending[:count] = True
            return
        was = before.warnings
        same = min(count, len(was.distance), len(now.distance))
        moved = ~np.isclose(was.distance[:same], now.distance[:same], rtol=0, atol=DISTANCE_STEP / 2, equal_nan=True)
        self._pending[:same] |= moved | (was.nearest[:same] != now.nearest[:same])

    def _distance(self, slot: int, is_below: bool) -> tuple[str, str]:
        """An account's distance to a call and its factor as text; both empty where no move is near.

        The look ahead is some seconds old: whether the account is below maintenance, where it is 0, is known better.
        """
        if self.outlook is None or slot >= len(self.outlook.warnings.distance):
            return "", ""
        warnings = self.outlook.warnings
        distance, place = float(warnings.distance[slot]), int(warnings.nearest[slot])
        if isnan(distance):
            return "", ""
        if (distance == 0) is not is_below:
            return ("0.00", "") if is_below else ("", "")
        return f"{distance:.2f}", warnings.factors[place] if place >= 0 else ""

    def section(self, part: Part) -> tuple[int, Moment, Sequence[State], list[Entry]]:
        """What the script takes: of no shard (-1), so that meta stays as it is, until these make the shard whole."""
        if not self.is_whole:
            count = self.engine.account_count
            self.is_whole = self.calls_written and count == len(self._accounts) and bool(self._defined[:count].all())
        return self.shard if self.is_whole else -1, part.moment, part.states, part.entries

    def wrote(self, offset: int) -> None:
        """Figures as of this log offset are in Redis, and meta says so once the shard is whole."""
        if self.is_whole:
            self.written_offset = max(self.written_offset, offset)

    def collect(self) -> None:
        """Take over the engine's marks of touched accounts, its agreements and rules in force; make room for new ones."""
        known, count = len(self._accounts), self.engine.account_count
        if count > len(self._pending):
            room = np.zeros(max(count, 2 * known) - len(self._pending), np.bool_)
            self._pending = np.concatenate([self._pending, room])
            self._defined = np.concatenate([self._defined, room])
            self._unchecked = np.concatenate([self._unchecked, room])
            self._books = np.concatenate([self._books, room.astype(np.uint64)])
        for slot in range(known, count):
            info = self.engine.account_info(slot)
            self._accounts.append((info.id, info.decimals))
        self._documents, agreements = self.engine.agreements(self._documents)
        self.agreements += agreements
        self._pending[known:count] = True
        self._pending[self.engine.take_touched()] = True
        self._rule_set, self._collected_offset = self.engine.rule_set, self.engine.offset
        for agreement in self.engine.take_agreements():
            held = self._agreements.get(agreement.id)
            if held is None or held[0] != agreement:
                self._agreements[agreement.id] = agreement, self.engine.clock_ns, self.engine.offset
                self._changed[agreement.id] = None

    def pending_accounts(self) -> int:
        """How many accounts' figures wait, as of the last collect."""
        return int(np.count_nonzero(self._pending))

    def has_figures(self) -> bool:
        """Whether figures or agreements wait, as of the last collect."""
        return bool(self._changed) or bool(self._pending.any())

    def unchecked_books(self) -> int:
        """How many accounts' books may have changed since they were looked at."""
        return int(np.count_nonzero(self._unchecked))

    def is_written(self) -> bool:
        """Whether all that was collected is in Redis, as of the engine's offset."""
        offset, late = self.engine.offset, len(self.alerts) or self.flipped or self.flagged or self.agreements
        waits = late or self.unchecked_books() or not self.live or not self.calls_written
        waits = waits or self.written_offset != offset or self._collected_offset != offset
        ahead = self.outlook is not None and not self.outlook_written
        return not waits and not ahead and not self.has_figures()

    def take_slots(self, count: int) -> NDArray[np.int32]:
        """The next accounts to write, at most count; round by round, so that none starves."""
        while True:
            if not len(self._queue):
                self._queue = np.flatnonzero(self._pending)
            slots, self._queue = self._queue[:count], self._queue[count:]
            slots = slots[self._pending[slots]]
            if len(slots) or not len(self._queue):
                return slots.astype(np.int32)

    def take_agreements(self, count: int) -> list[AgreementEntry]:
        """The next agreements to write, at most count: id, log offset, fields in the order of AGREEMENT_FIELDS."""
        taken = list(self._changed)[:count]
        for agreement_id in taken:
            del self._changed[agreement_id]
        return [self._agreement(*self._agreements[agreement_id]) for agreement_id in taken]

    def _agreement(self, one: AgreementInfo, ts_ns: int, offset: int) -> AgreementEntry:
        legs = [_leg(leg) for leg in (one.futures, one.treasury)]
        reasons, saving = msgspec.json.encode(one.reasons).decode(), decimal_text(one.saving_ppb, 9)
        known = one.state.value, reasons, one.rule, one.customer, saving, one.basis, *legs[0], *legs[1]
        return one.id, str(offset), (*known, str(ts_ns), str(self.shard), str(offset))

    def quick_part(self, count: int) -> Part:
        """The next alerts of the quick lane: an account's that stand together in one entry, figures beside the last."""
        moment, taken = self.moment, self.alerts.take_quick(count)
        groups = [(slot, [alert for *_, alert in group]) for slot, group in groupby(taken, itemgetter(1))]
        last = {slot: place for place, (slot, _) in enumerate(groups)}
        figures = dict(zip(last.values(), self.figure_entries(np.array(list(last), np.int32), settled=False), strict=True))
        entries = []
        for place, (_, alerts) in enumerate(groups):
            account_id, changes, *nothing = alerts_entry(alerts)
            entries.append((account_id, changes, *(figures[place][2:] if place in figures else nothing)))
        return Part(taken, moment, entries)

    def states_part(self, count: int) -> Part:
        """Status and quality of the next accounts of a burst, as of now."""
        slots = np.array([self._flipped.popleft() for _ in range(min(count, len(self._flipped)))], np.int32)
        if self.engine.account_count > len(self._accounts):
            self.collect()
        alike: dict[tuple[int, int], list[str]] = {}
        for slot, state in zip(slots.tolist(), self.engine.figures(slots)[["status", "quality"]].tolist(), strict=True):
            alike.setdefault(state, []).append(self._accounts[slot][0])
        states = [(_STATUS[status], _QUALITY[quality], ids) for (status, quality), ids in alike.items()]
        return Part([], self.moment, [], states)

    def burst_part(self, count: int) -> Part:
        """The next alerts of a burst: an entry an account; its figures follow."""
        moment, taken = self.moment, self.alerts.take_burst(count)
        groups = {slot: [alert for *_, alert in group] for slot, group in groupby(taken, itemgetter(1))}
        self._flagged.extend(groups)
        return Part(taken, moment, [alerts_entry(alerts) for alerts in groups.values()])

    def figures_part(self, count: int) -> Part:
        """Figures of the next accounts whose alerts went ahead."""
        slots = sorted({self._flagged.popleft() for _ in range(min(count, len(self._flagged)))})
        return Part([], self.moment, self.figure_entries(np.array(slots, np.int32), settled=False))

    @property
    def flipped(self) -> int:
        """Of how many accounts of a burst not even the status is shown."""
        return len(self._flipped)

    @property
    def flagged(self) -> int:
        """How many accounts' figures are behind their alerts."""
        return len(self._flagged)

    def figure_entries(self, slots: NDArray[np.int32], settled: bool) -> list[Entry]:
        """Entries of these accounts' figures as of now, with the definition of accounts not yet written; no longer pending.

        settled: no alert of the shard is waiting, so an account's change number may be written with its definition.
        """
        if self.engine.account_count > len(self._accounts):
            self.collect()
        self._pending[slots] = False
        self._unchecked[slots] = True
        entries: list[Entry] = []
        for slot, row in zip(slots.tolist(), self.engine.figures(slots).tolist(), strict=True):
            account_id, decimals = self._accounts[slot]
            status, quality, equity, initial, maintenance, call, excess_usd, change = row
            used, score = (f"{maintenance / equity:.6f}",) * 2 if equity > 0 else ("", str(inf))
            values = (
                _STATUS[status], _QUALITY[quality],
                decimal_text(equity, decimals), decimal_text(initial, decimals), decimal_text(maintenance, decimals),
                decimal_text(equity - initial, decimals), used, decimal_text(call, decimals),
                *self._distance(slot, equity < maintenance),
            )  # fmt: skip
            definition = False if self._defined[slot] else self._definition(slot, change if settled else 0)
            figures = decimal_text(excess_usd, 2), score, values
            entries.append((account_id, False, figures, definition, False))
        return entries

    def book_entries(self, count: int) -> list[Entry]:
        """Look at the next books that may have changed, at most count, in turn: entries of those that did."""
        if not count:
            return []
        if not len(self._book_queue):
            self._book_queue = np.flatnonzero(self._unchecked).astype(np.int32)
        slots, self._book_queue = self._book_queue[:count], self._book_queue[count:]
        slots = slots[self._unchecked[slots]]
        if not len(slots):
            return []
        self._unchecked[slots] = False
        hashes = self.engine.book_hashes(slots)
        changed = slots[hashes != self._books[slots]]
        self._books[slots] = hashes
        books = zip(changed.tolist(), self.engine.books(changed), strict=True)
        return [(self._accounts[slot][0], False, False, False, _bytes(body)) for slot, body in books]

    @property
    def moment(self) -> Moment:
        """Engine time in ns and log offset of figures read now, and the rules in force at the last collect."""
        return self.engine.clock_ns, self.engine.offset, self._rule_set

    def _definition(self, slot: int, change: int) -> tuple[str, tuple[str, ...], str]:
        self._defined[slot] = True
        info = self.engine.account_info(slot)
        values = (info.currency, info.pool, info.customer, str(self.shard))
        named = zip(DEFINITION_FIELDS, values, strict=True)
        return str(change), tuple(text for pair in named for text in pair), info.customer

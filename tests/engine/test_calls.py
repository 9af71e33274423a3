"""Margin calls: their life walked in full, when they are due, what is said of them, and laws over random histories."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.codes import Code
from engine.core import MarginEngine
from engine.deadlines import UNNAMED, deadlines
from engine.documents import Calendar, CallTerms, Cutoff
from engine.events import NS, RECORD, Kind, id_key, key64
from engine.frames import Frame, FrameKind, decode_frame, encode_frame
from engine.report import CALL_AGES, OLDER, OPEN_CALLS, CallEvent, CallState, ChangeKind, Report
from tests.engine.compare import Solo
from tests.engine.small_log import SmallLog, codes

CALL = "a:p:1"


def at(text: str) -> int:
    """Nanoseconds of a moment in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


DUE, ESCALATED, RESTRICTED = at("2027-01-18T23:00"), at("2027-01-19T23:00"), at("2027-01-22T23:00")  # called on a Friday
WHEN = {CallState.OVERDUE: DUE, CallState.ESCALATED: ESCALATED, CallState.RESTRICTED: RESTRICTED}
Happened = tuple[str, int, str, int, int]  # event, number of the call, state after it, amount, received


def happened(report: Report) -> list[Happened]:
    """What a report says of calls; money in dollars."""
    rows = report.changes[report.changes["kind"] == ChangeKind.CALL]
    names = ["event", "sequence", "after", "called", "received"]
    return [
        (CallEvent(event).name, number, CallState(after).name, called // 100, received // 100)
        for event, number, after, called, received in rows[names].tolist()
    ]


def called(state: CallState = CallState.ISSUED, **terms: Any) -> SmallLog:
    """An account that needs 110 dollars (100 to maintain), has 90, and whose call of 20 came to a state."""
    log = SmallLog()
    log.money()
    log.document("pool", "p", regime="cftc", currency="USD", **terms)
    log.account("a")
    log.rule("flat", "flat", initial="110", maintenance="100")
    log.instrument("F", rule="flat")
    log.price("F", "50")
    log.trade("a", "F", 1, 50)
    log.collateral("a", "USD", 90)
    assert happened(log.clock()) == [("ISSUED", 1, "ISSUED", 20, 0)]
    if state is CallState.PART_MET:
        log.collateral("a", "USD", 5)
        assert happened(log.clock()) == [("RECEIVED", 1, "PART_MET", 20, 5)]
    for age, moment in WHEN.items():
        if age <= state:
            to(log, moment)
    assert [call.state for call in log.pair.engine.open_calls()] == [state]
    return log


def to(log: SmallLog, moment: int) -> Report:
    """A clock at a moment."""
    return log.clock((moment - log.now_ns) / NS)


def act(log: SmallLog, kind: str, **more: Any) -> Report:
    """What Ann does to the call."""
    action = {"ts": log.now_ns, "user": "ann", "kind": kind, "account": "a", "call": CALL, "text": f"{kind} it"}
    return log.document("", str(log.number), Kind.ACTION, **(action | more))


def cause(log: SmallLog, name: str) -> list[Happened]:
    """Let something happen, and give what it did to calls at the next clock."""
    if name in ("ack", "note", "cancel"):
        said = happened(act(log, name))
        return said + happened(log.clock())
    if name in ("due", "escalate", "restrict"):
        moment = {"due": DUE, "escalate": ESCALATED, "restrict": RESTRICTED}[name]
        return happened(to(log, max(moment, log.now_ns + 1)))
    if name in ("up", "down"):
        log.price("F", {"up": 70, "down": 40}[name])
    else:
        log.collateral("a", "USD", {"some": 4, "all": 20, "back": -4}[name])
    return happened(log.clock())


# by state (of a call of 20; PART_MET: 5 came in) and cause: what happens; R: received so far
LIFE: dict[str, dict[str, list[Happened]]] = {
    "ISSUED": {
        "some": [("RECEIVED", 1, "PART_MET", 20, 4)],
        "all": [("MET", 1, "MET", 20, 20)],
        "back": [("RAISED", 1, "ISSUED", 24, 0)],
        "up": [("COVERED", 1, "COVERED", 20, 0)],
        "down": [("RAISED", 1, "ISSUED", 30, 0)],
        "due": [("OVERDUE", 1, "OVERDUE", 20, 0)],
        "escalate": [("ESCALATED", 1, "ESCALATED", 20, 0)],
        "restrict": [("RESTRICTED", 1, "RESTRICTED", 20, 0)],
        "ack": [("ACKNOWLEDGED", 1, "ISSUED", 20, 0)],
        "note": [("NOTED", 1, "ISSUED", 20, 0)],
        "cancel": [("CANCELLED", 1, "CANCELLED", 20, 0)],
    },
    "PART_MET": {
        "some": [("RECEIVED", 1, "PART_MET", 20, 9)],
        "all": [("MET", 1, "MET", 20, 20)],
        "back": [("RECEIVED", 1, "PART_MET", 20, 1)],
        "up": [("COVERED", 1, "COVERED", 20, 5)],
        "down": [("RAISED", 1, "PART_MET", 30, 5)],
        "due": [("OVERDUE", 1, "OVERDUE", 20, 5)],
        "escalate": [("ESCALATED", 1, "ESCALATED", 20, 5)],
        "restrict": [("RESTRICTED", 1, "RESTRICTED", 20, 5)],
        "ack": [("ACKNOWLEDGED", 1, "PART_MET", 20, 5)],
        "note": [("NOTED", 1, "PART_MET", 20, 5)],
        "cancel": [("CANCELLED", 1, "CANCELLED", 20, 5)],
    },
} | {
    state: {
        "some": [("RECEIVED", 1, state, 20, 4)],
        "all": [("MET", 1, "MET", 20, 20)],
        "back": [("ISSUED", 2, "ISSUED", 4, 0)],
        "up": [("COVERED", 1, "COVERED", 20, 0)],
        "down": [("ISSUED", 2, "ISSUED", 10, 0)],
        "due": [],
        "escalate": [("ESCALATED", 1, "ESCALATED", 20, 0)] if state == "OVERDUE" else [],
        "restrict": [("RESTRICTED", 1, "RESTRICTED", 20, 0)] if state != "RESTRICTED" else [],
        "ack": [("ACKNOWLEDGED", 1, state, 20, 0)],
        "note": [("NOTED", 1, state, 20, 0)],
        "cancel": [("CANCELLED", 1, "CANCELLED", 20, 0)],
    }
    for state in ("OVERDUE", "ESCALATED", "RESTRICTED")
}  # fmt: skip
STATUS = {"ISSUED": "CALL", "PART_MET": "CALL", "OVERDUE": "OVERDUE", "ESCALATED": "OVERDUE", "RESTRICTED": "RESTRICTED"}


@pytest.mark.parametrize("state", OPEN_CALLS, ids=lambda state: state.name)
def test_the_life_of_a_call(state: CallState) -> None:
    for name, expected in LIFE[state.name].items():
        log = called(state)
        assert log.figures("a")["status"] == STATUS[state.name]
        found = cause(log, name)
        if state.name == "ESCALATED" and name == "cancel":
            expected = [*expected, ("ISSUED", 2, "ISSUED", 20, 0)]
        if state.name in ("OVERDUE", "RESTRICTED") and name == "cancel":
            expected = [*expected, ("ISSUED", 2, "ISSUED", 20, 0)]  # its time is over: what is missing is called anew
        assert found == expected, (state.name, name)


def test_a_cancelled_call_is_not_asked_for_again_before_its_due_time() -> None:
    log = called()
    act(log, "cancel")
    assert happened(log.clock()) == []
    assert log.figures("a")["status"] == "CALL"  # equity is below maintenance all the same
    assert codes(act(log, "ack")) == [Code.UNKNOWN_CALL]
    assert happened(to(log, DUE)) == [("ISSUED", 2, "ISSUED", 20, 0)]


def test_money_meets_the_oldest_call_first() -> None:
    log = called(CallState.OVERDUE)
    log.price("F", 40)
    assert happened(log.clock()) == [("ISSUED", 2, "ISSUED", 10, 0)]
    log.collateral("a", "USD", 23)
    assert happened(log.clock()) == [("MET", 1, "MET", 20, 20), ("RECEIVED", 2, "PART_MET", 10, 3)]
    log.price("F", 60)
    assert happened(log.clock()) == [("COVERED", 2, "COVERED", 10, 3)]
    assert log.figures("a")["status"] == "OK"


def test_a_stale_price_never_closes_a_call_but_money_does() -> None:
    log = called()
    log.instrument("F", rule="flat", stale_after=5)
    log.price("F", 70)
    log.now_ns += 6 * NS
    assert happened(log.clock()) == []
    assert log.figures("a")["quality"] == "STALE"
    log.collateral("a", "USD", 20)
    assert happened(log.clock()) == [("MET", 1, "MET", 20, 20)]


def test_money_counts_after_haircut_in_the_accounts_currency() -> None:
    log = called()
    log.instrument("EURUSD", type="fx")
    log.document("asset", "EUR", type="currency", currency="USD", instrument="EURUSD", haircut="0.1")
    log.price("EURUSD", "1.25")
    log.clock()
    log.collateral("a", "EUR", 8)
    assert happened(log.clock()) == [("RECEIVED", 1, "PART_MET", 20, 9)]  # 8 x 0.9 x 1.25


def test_small_amounts_are_not_called_and_others_are_rounded_up() -> None:
    log = SmallLog()
    log.money()
    log.document("pool", "p", regime="cftc", currency="USD", minimum_transfer="15", rounding="25")
    log.account("a")
    log.rule("flat", "flat", initial="110", maintenance="100")
    log.instrument("F", rule="flat")
    log.price("F", "50")
    log.trade("a", "F", 1, 50)
    log.collateral("a", "USD", 96)
    assert happened(log.clock()) == []
    assert log.figures("a")["status"] == "CALL"
    log.collateral("a", "USD", -1)
    assert happened(log.clock()) == [("ISSUED", 1, "ISSUED", 25, 0)]


@pytest.mark.parametrize(
    ("transfers", "amount"),
    [
        ({}, 16_27),
        ({"EUR": {"rounding": "5"}}, 20_00),
        ({"EUR": {"minimum_transfer": "16.27", "rounding": "0.1"}}, 16_30),
        ({"EUR": {"minimum_transfer": "16.28"}}, None),
    ],
)
def test_each_currency_has_its_own_minimum_and_rounding(transfers: dict[str, Any], amount: int | None) -> None:
    log = SmallLog()
    log.money()
    log.instrument("E")
    log.document("asset", "EUR", type="currency", currency="USD", instrument="E")
    log.document("pool", "p", regime="cftc", currency="USD", minimum_transfer="1000", rounding="100", transfers=transfers)
    log.account("a", currency="EUR")
    log.rule("flat", "flat", initial="110", maintenance="100")
    log.instrument("F", rule="flat", currency="EUR")
    for name, price in (("E", "1.25"), ("F", "50")):
        log.price(name, price)
    log.trade("a", "F", 1, 50)
    log.collateral("a", "EUR", "93.73")
    called = [row["called"] for row in log.clock().changes if row["kind"] == ChangeKind.CALL]
    assert called == ([] if amount is None else [amount])
    assert log.figures("a")["status"] == "CALL"


def test_the_pools_own_currency_has_one_place() -> None:
    log = SmallLog()
    log.money()
    for transfers in ({"USD": {"rounding": "5"}}, {"USD": {}}):
        refused = log.document("pool", "p", regime="cftc", currency="USD", transfers=transfers)
        assert codes(refused) == [Code.REFUSED_DEFINITION]


def test_neither_a_short_dip_nor_a_short_recovery_counts() -> None:
    log = called(calls={"cover_after": 60})
    log.price("F", 70)
    assert happened(log.clock()) == []
    log.price("F", 50)
    log.clock(30)
    log.price("F", 70)
    log.clock(1)
    assert happened(log.clock(59)) == []
    assert happened(log.clock(1)) == [("COVERED", 1, "COVERED", 20, 0)]
    log.document("pool", "p", regime="cftc", currency="USD", calls={"issue_after": 10})
    for price, seconds, expected in ((50, 9, []), (70, 1, []), (50, 1, []), (49, 9, []), (49, 1, ["ISSUED"])):
        log.price("F", price)
        assert [event for event, *_ in happened(log.clock(seconds))] == expected


@pytest.mark.parametrize(
    ("now", "cutoff", "due"),
    [
        ("2027-01-14T22:59", Cutoff(at="23:00", notice_hours=0), "2027-01-14T23:00"),
        ("2027-01-14T23:00:01", Cutoff(at="23:00", notice_hours=0), "2027-01-15T23:00"),
        ("2027-01-14T15:00", Cutoff(at="23:00"), "2027-01-15T23:00"),
        ("2027-01-15T23:00", Cutoff(at="23:00"), "2027-01-19T23:00"),  # a Friday; Monday is Martin Luther King Day
        ("2027-01-15T14:30", Cutoff(at="14:30", notice_hours=1), "2027-01-19T14:30"),
        ("2027-01-14T15:00", UNNAMED, "2027-01-15T23:00"),
        ("2027-03-12T22:30", UNNAMED, "2027-03-15T22:00"),  # a Friday: 18:00 in New York is an hour earlier from Sunday on
        ("2027-11-05T21:59", UNNAMED, "2027-11-08T23:00"),
        ("2027-01-19T00:30", Cutoff(at="19:00", zone="America/Chicago", notice_hours=0), "2027-01-20T01:00"),  # still Monday
        ("2027-01-23T00:30", Cutoff(at="19:00", zone="America/Chicago", notice_hours=0), "2027-01-23T01:00"),  # still Friday
    ],
)
def test_a_call_is_due_at_a_cut_off_of_a_business_day(now: str, cutoff: Cutoff, due: str) -> None:
    calendar = Calendar(id="c", sessions=[("Sun 23:00", "Fri 22:00")], holidays=("2027-01-18",), cutoffs={"USD": cutoff})
    found = deadlines(calendar, "USD", CallTerms(), at(now))
    assert found.due_ns == at(due)
    assert found.due_ns - found.until_ns < cutoff.notice_hours * 3600 * NS <= found.due_ns - at(now)
    assert deadlines(calendar, "USD", CallTerms(), found.until_ns).due_ns > found.due_ns
    assert deadlines(calendar, "USD", CallTerms(), found.until_ns - 1).due_ns == found.due_ns


def test_open_calls_are_counted_by_age() -> None:
    log = called()
    for minutes, age in ((60, "1h"), (1, "4h"), (179, "4h"), (1, "24h"), (1199, "24h"), (1, OLDER)):
        log.clock(60 * minutes)
        assert log.pair.engine.population().call_ages == dict.fromkeys((*CALL_AGES, OLDER), 0) | {age: 1}


def test_what_users_said_is_reported_kept_and_told_once() -> None:
    log = called()
    report = act(log, "ack")
    assert [(said.user, said.kind, said.text) for said in report.said.values()] == [("ann", "ack", "ack it")]
    again = {"ts": log.now_ns, "user": "ann", "kind": "ack", "account": "a", "call": CALL}
    assert codes(log.document("", str(log.number - 1), Kind.ACTION, **again)) == [Code.DUPLICATE]
    act(log, "note", user="bob")
    engine = MarginEngine.from_bytes(log.pair.engine.to_bytes())
    (call,) = engine.open_calls()
    assert [(said.user, said.kind) for said in call.said] == [("ann", "ack"), ("bob", "note")]
    assert engine.open_calls() == log.pair.engine.open_calls()
    assert engine.shard_digest() == log.pair.engine.shard_digest()
    log.collateral("a", "USD", 20)
    log.clock()
    assert codes(act(log, "note")) == [Code.UNKNOWN_CALL]
    assert log.pair.engine.open_calls() == []


def test_calls_live_on_from_a_snapshot() -> None:
    log = called(CallState.PART_MET, calls={"cover_after": 60})
    log.price("F", 80)
    log.clock()
    engine = MarginEngine.from_bytes(log.pair.engine.to_bytes())
    for seconds in (59, 1):
        report = log.clock(seconds)
        row = np.array([(log.now_ns, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)], RECORD)
        header = {"shard": 0, "shards": 1, "log_id": bytes(range(16)), "writer": 1, "number": log.number - 1}
        other = engine.step(decode_frame(encode_frame(frame_of(header, row))), engine.offset)
        assert happened(other) == happened(report)
        assert engine.digest() == log.pair.engine.digest()
    assert happened(report) == [("COVERED", 1, "COVERED", 20, 5)]


def frame_of(header: dict[str, Any], records: Any) -> Any:
    """A frame of records."""
    return Frame(kind=FrameKind.RECORDS, records=records, **header)


# --- laws over random histories -----------------------------------------------------------------------------------------

ACCOUNTS, STEPS = 250, 40
SEEN: set[CallEvent] = set()  # in all histories
POOLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "coarse": {"minimum_transfer": "50", "rounding": "100", "calls": {"raise_share": "0.5"}},
    "quick": {"calendar": "days", "calls": {"raise_share": "0", "restrict_days": 1}},
}
LEAST = {"plain": (1, 0.1), "coarse": (5000, 0.5), "quick": (1, 0.0)}  # minimum in cents, raise_share
PRICE = 5000  # cents


class History:
    """Two hundred and fifty accounts, each with money and a position of its own, and what happened to their calls."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.log = SmallLog(limits={"accounts": 256, "positions": 1024}, pair=Solo())
        log = self.log
        log.money()
        log.document(
            "calendar", "days", sessions=[["Sun 23:00", "Fri 22:00"]], holidays=["2027-01-18"],
            cutoffs={"*": {"at": "15:00", "notice_hours": 1}},
        )  # fmt: skip
        for name, terms in POOLS.items():
            log.document("pool", name, regime="cftc", currency="USD", **terms)
        log.rule("flat", "flat", initial="11", maintenance="10")
        for i in range(5):
            log.instrument(f"F{i}", rule="flat")
        self.pool = [list(POOLS)[i % 3] for i in range(ACCOUNTS)]
        for i in range(ACCOUNTS):
            log.account(f"a{i}", pool=self.pool[i])
        self.records(Kind.PRICE, [("", f"F{i}", 0, PRICE) for i in range(5)])
        lots = self.rng.integers(1, 20, ACCOUNTS)
        self.records(Kind.TRADE, [(f"a{i}", f"F{i % 5}", int(lots[i]), PRICE) for i in range(ACCOUNTS)])
        money = lots * 1100 + self.rng.integers(-300, 2000, ACCOUNTS)
        self.records(Kind.COLLATERAL, [(f"a{i}", "USD", int(money[i]), 0) for i in range(ACCOUNTS)], cents=True)
        self.calls: dict[tuple[int, int], list[Any]] = defaultdict(list)
        self.forgotten: set[tuple[int, int]] = set()  # cancelled calls of accounts that were back at initial
        self.paid: dict[int, list[tuple[int, int]]] = defaultdict(list)  # by account: when, cents in

    def records(self, kind: Kind, events: list[tuple[str, str, int, int]], cents: bool = False) -> Report:
        """A frame of records: account, name, quantity (or cents), price in cents."""
        rows = []
        for account, name, quantity, price in events:
            offset = self.log._offset(kind)
            event_id = id_key(kind.name, account, "", str(offset))
            keys = key64(account) if account else 0, key64(name)
            rows.append((self.log.now_ns, *keys, event_id, quantity * (10**6 if cents else 10**8), price * 10**7,
                         offset, 0, 0, int(kind), 0))  # fmt: skip
        return self.log.frame(kind=FrameKind.RECORDS, records=np.array(rows, RECORD))

    def step(self) -> None:
        """Prices move, some money comes or goes, a call is cancelled now and then; then a clock, perhaps days later."""
        rng, log = self.rng, self.log
        prices = np.maximum(100, PRICE + rng.integers(-1500, 1500, 5))
        self.records(Kind.PRICE, [("", f"F{i}", 0, int(prices[i])) for i in range(5)])
        some = np.flatnonzero(rng.random(ACCOUNTS) < 0.2)
        money = [int(rng.choice((-500, -100, 20, 500, 3000, 20_000))) for _ in some]
        self.records(Kind.COLLATERAL, [(f"a{i}", "USD", m, 0) for i, m in zip(some, money, strict=True)], cents=True)
        for i, m in zip(some.tolist(), money, strict=True):
            self.paid[i].append((log.now_ns, m))
        for call in log.pair.engine.open_calls()[: int(rng.integers(0, 2))]:
            name = f"a{call.account}:{self.pool[call.account]}:{call.sequence}"
            said = {"ts": log.now_ns, "user": "u", "kind": "cancel", "account": f"a{call.account}", "call": name}
            self.note(log.document("", str(log.number), Kind.ACTION, **said), set())
        seconds = float(rng.choice((1, 60, 3600, 20_000, 90_000)))
        grew: set[int] = set()
        self.note(log.clock(seconds), grew)
        self.check(grew)

    def note(self, report: Report, grew: set[int]) -> None:
        """Every change of a call, held against its life so far."""
        for row in report.changes[report.changes["kind"] == ChangeKind.CALL]:
            account, event = int(row["account"]), CallEvent(int(row["event"]))
            life = self.calls[account, int(row["sequence"])]
            assert (event is CallEvent.ISSUED) == (not life), "issued once, before anything else"
            assert all(CallState(int(before["after"])) in OPEN_CALLS for before in life), "nothing after its end"
            assert life == [] or int(life[-1]["after"]) == int(row["before"]), "no change is missing"
            now = int(row["ts_ns"])
            if event in (CallEvent.OVERDUE, CallEvent.ESCALATED, CallEvent.RESTRICTED):
                assert now >= int(row["due_ns"]), "overdue early"
            if event is CallEvent.ISSUED:
                notice = 1 if self.pool[account] == "quick" else 24
                assert int(row["due_ns"]) - now >= notice * 3600 * NS, "due before its notice"
                assert int(row["sequence"]) == 1 or self.calls[account, int(row["sequence"]) - 1], "a number left out"
            received = int(row["received"])
            came = sum(m for when, m in self.paid[account] if m > 0 and (life or [row])[0]["issued_ns"] <= when)
            assert 0 <= received <= min(int(row["called"]), came), "money that did not come"
            assert (event is CallEvent.MET) == (received == int(row["called"]))
            if event in (CallEvent.ISSUED, CallEvent.RAISED):
                grew.add(account)
            life.append(row.copy())

    def check(self, grew: set[int]) -> None:
        """The calls there are, against what is missing."""
        engine = self.log.pair.engine
        figures = engine.figures(np.arange(ACCOUNTS, dtype=np.int32))
        now = engine.clock_ns
        mine: dict[int, list[Any]] = defaultdict(list)
        for (account, _), life in self.calls.items():
            last = life[-1]
            if last["event"] == CallEvent.CANCELLED and figures["equity"][account] >= figures["initial"][account]:
                self.forgotten.add((account, int(last["sequence"])))  # what is missing later is called anew
            waived = last["event"] == CallEvent.CANCELLED and now < int(last["due_ns"])
            waived = waived and (account, int(last["sequence"])) not in self.forgotten
            if CallState(int(last["after"])) in OPEN_CALLS or waived:
                mine[account].append(last)
        opened = [(call.account, call.sequence) for call in engine.open_calls()]
        known = [(a, int(c["sequence"])) for a, own in sorted(mine.items()) for c in own if c["after"] <= max(OPEN_CALLS)]
        assert opened == known, "a call is lost, or there is one that nobody heard of"
        for account, row in enumerate(figures):
            missing = int(row["initial"]) - int(row["equity"])
            asked = sum(int(call["called"]) - int(call["received"]) for call in mine[account])
            least, share = LEAST[self.pool[account]]
            still = [call for call in mine[account] if call["after"] <= max(OPEN_CALLS)]
            if row["equity"] < row["maintenance"]:
                room = max([least, *(int(call["called"]) * share + 1 for call in still)])
                assert missing - asked < room, "money is missing that no call asks for"
            if row["equity"] >= row["initial"]:
                assert not still, "a call that the market covered is open"
            if account in grew:
                waste = 10_000 if self.pool[account] == "coarse" else 1
                assert asked < missing + waste, "asked for twice"
            for call in still:
                assert (now >= int(call["due_ns"])) == (call["after"] >= CallState.OVERDUE), "overdue late"


@settings(max_examples=40, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1))
def test_in_ten_thousand_histories_no_call_is_lost_doubled_met_without_money_or_overdue_early(seed: int) -> None:
    history = History(seed)  # 40 times 250 accounts
    history.note(history.log.clock(), set())
    for _ in range(STEPS):
        history.step()
    SEEN.update(CallEvent(int(row["event"])) for life in history.calls.values() for row in life)


def test_the_histories_reached_what_can_happen() -> None:
    assert SEEN >= {
        CallEvent.ISSUED, CallEvent.RAISED, CallEvent.RECEIVED, CallEvent.MET, CallEvent.COVERED, CallEvent.OVERDUE,
        CallEvent.ESCALATED, CallEvent.RESTRICTED, CallEvent.CANCELLED,
    }  # fmt: skip

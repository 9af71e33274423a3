"""What the JSON API takes and gives: a struct for each form.

Money is an exact decimal string in major units where it is text.
The OpenAPI document is made from these structs and the table of routes (streams/web_openapi.py).
"""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from engine.report import OPEN_CALLS, AgreementState, Quality, Status
from monitors.keys import CLOSED_STATES
from monitors.outlook import Differences, Ladder, StaleInstrument
from monitors.view import PoolSum
from monitors.what_if import Fill

StatusName = Literal["OK", "WATCH", "CALL", "OVERDUE", "RESTRICTED", "DEBIT"]
QualityName = Literal["FRESH", "STALE", "UNPRICED"]
AgreementStateName = Literal["in force", "fallback", "not in force"]
CallStateName = Literal[
    "ISSUED", "PART_MET", "OVERDUE", "ESCALATED", "RESTRICTED", "MET", "COVERED", "CANCELLED", "OVER"
]  # fmt: skip
Role = Literal["viewer", "operator"]
ID_PATTERN = "^[\\x20-\\x7e]+$"
Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=ID_PATTERN)]
CallId = Annotated[str, Meta(min_length=1, max_length=160, pattern=ID_PATTERN)]
Exact = Annotated[str, Meta(max_length=40, pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$", description="an exact decimal")]
MAX_SCENARIOS = 100
MAX_ITEMS = 100
assert get_args(StatusName) == tuple(one.name for one in Status)
assert get_args(QualityName) == tuple(one.name for one in Quality)
assert get_args(CallStateName) == (*(one.name for one in OPEN_CALLS), *CLOSED_STATES)
assert get_args(AgreementStateName) == tuple(one.value for one in AgreementState)


class Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request says; unknown fields are refused."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says."""


class Problem(Answer, frozen=True, kw_only=True):
    """Why a request was not answered: what was found, where, what is allowed."""

    error: str


# Process and session


class Health(Answer, frozen=True, kw_only=True):
    """Whether the process answers, reads Redis, and has a market for what-ifs ("" or why not)."""

    redis: str
    what_if: str


class Login(Form, frozen=True, kw_only=True):
    """A token, as `crossmargin web-token add` or the demo prints it."""

    token: Annotated[str, Meta(min_length=1, max_length=128)]


class Session(Answer, frozen=True, kw_only=True):
    """Who is logged in."""

    user: str
    role: Role


# Accounts


class State(Answer, frozen=True, kw_only=True):
    """How new the data is: engine time of the shard furthest behind, its age, and whether that is too old to act upon.

    missing: shards of which not everything is written yet. market_ns: engine time of the market that what-ifs use, 0: none.
    """

    connected: bool
    log_id: str
    clock_ns: int
    age_seconds: float
    stale: bool
    missing: list[int]
    accounts: int
    market_ns: int


class Saving(Answer, frozen=True, kw_only=True):
    """What the portfolios of agreements in force require without them (alone) and with them, in one currency, exact.

    agreements: in force or on their fallback, with a leg in that currency whose requirement is known.
    """

    currency: str
    agreements: int
    alone: str
    after: str
    saved: str


class Summary(Answer, frozen=True, kw_only=True):
    """All accounts at a glance; agreements: how many there are, in force or not.

    stale: instruments that make accounts STALE or UNPRICED, the oldest price first, not all of very many.
    """

    state: State
    by_status: dict[str, int]
    by_quality: dict[str, int]
    pools: list[PoolSum]
    calls_open: int
    agreements: int
    savings: list[Saving]
    stale: list[StaleInstrument]


class AccountsQuery(Form, frozen=True, kw_only=True):
    """Which accounts, in which order: lowest excess in USD first, or highest utilization first."""

    status: StatusName | None = None
    quality: QualityName | None = None
    pool: Id | None = None
    customer: Id | None = None
    sort: Literal["excess", "utilization"] = "excess"
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class Figures(Answer, frozen=True, kw_only=True):
    """An account's latest figures; utilization is a fraction, "" where equity is not above 0.

    distance: the smallest move of distance_factor (bp of rates:, per cent of others) that takes equity to maintenance; 0
    where it is there already, "" where no move is near.
    """

    account: str
    status: StatusName
    quality: QualityName
    equity: str
    initial: str
    maintenance: str
    excess: str
    utilization: str
    call: str
    distance: str
    distance_factor: str
    currency: str
    pool: str
    customer: str
    shard: str
    ts_ns: str
    offset: str
    rule_set: str
    change: str


class Accounts(Answer, frozen=True, kw_only=True):
    """A page of accounts; next: the cursor of the next page, null at the end."""

    accounts: list[Figures]
    next: str | None


class Position(Answer, frozen=True, kw_only=True):
    """A position: quantity in units, cost and realized profit in `currency`; mark is the price in the market snapshot."""

    instrument: str
    quantity: str
    cost: str
    realized: str
    value: str | None
    mark: str | None
    currency: str


class Holding(Answer, frozen=True, kw_only=True):
    """What is held of an asset."""

    asset: str
    quantity: str


class Exposure(Answer, frozen=True, kw_only=True):
    """A net exposure: dv01 in money a basis point, delta in units of the underlying, notional in money."""

    factor: str
    amount: str


class Account(Answer, frozen=True, kw_only=True):
    """An account's figures, and what they come from, worked out on the market snapshot (market_ns) from its published book.

    explain: as `crossmargin explain --json` without what changed (requirement, equity, cross_margin, views); null, and
    `problem` says why, where the market or the book is not published.
    """

    figures: Figures
    market_ns: int
    book_ns: int
    positions: list[Position]
    holdings: list[Holding]
    exposures: list[Exposure]
    explain: dict[str, Any] | None
    problem: str


class Point(Answer, frozen=True, kw_only=True):
    """Figures at a moment."""

    ts_ns: int
    equity: float
    initial: float
    maintenance: float


class History(Answer, frozen=True, kw_only=True):
    """What this server saw of an account since somebody first looked at it: at most a point a second, the newest hour."""

    account: str
    currency: str
    points: list[Point]


# Calls and what others publish


class Note(Answer, frozen=True, kw_only=True):
    """What a user said about a call."""

    user: str
    ts_ns: int
    kind: str
    text: str


class Step(Answer, frozen=True, kw_only=True):
    """Something that happened to a call, with its amount and what came in for it after that."""

    event: str
    ts_ns: int
    amount: str
    received: str


class Call(Answer, frozen=True, kw_only=True):
    """A margin call and its life, oldest first; ts_ns: of its last change, of a call that is over its end.

    state OVER: it ended while Redis was away, how is in topic margin.calls only. A life that does not begin with `issued`
    has lost its beginning, which that topic has too.
    """

    id: str
    account: str
    customer: str
    pool: str
    currency: str
    state: str
    amount: str
    received: str
    issued_ns: int
    due_ns: int
    ts_ns: int
    acknowledged_by: str
    acknowledged_ns: int
    notes: list[Note]
    life: list[Step]


class Paged(Form, frozen=True, kw_only=True):
    """Which part of a list: so many from the offset on."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 200
    offset: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class CallsQuery(Paged, frozen=True, kw_only=True):
    """Which calls: open ones, the first due first, or those over, the last to end first; a state's name: of that state only.

    text: part of account, customer or pool, in any case.
    """

    state: Literal["open", "closed"] | CallStateName = "open"
    account: Id | None = None
    pool: Id | None = None
    text: Annotated[str, Meta(max_length=64)] = ""
    acknowledged: bool | None = None


class Calls(Answer, frozen=True, kw_only=True):
    """A page of calls, how many fit in all, and how many calls are open."""

    calls: list[Call]
    count: int
    open: int


class ActionForm(Form, frozen=True, kw_only=True):
    """What to say about a call: acknowledge it, note something, or cancel it."""

    kind: Literal["ack", "note", "cancel"]
    text: Annotated[str, Meta(max_length=1024)] = ""


class Accepted(Answer, frozen=True, kw_only=True):
    """The action was published under this id; it takes effect when the log has it."""

    id: str


class EarlyWarning(Answer, frozen=True, kw_only=True):
    """Who falls at which shock, and what will be called and fall due; null before a worker has looked ahead."""

    data: Ladder | None


class Reconciliation(Answer, frozen=True, kw_only=True):
    """Own books against statements; null before a worker has compared them."""

    data: Differences | None


class Agreement(Answer, frozen=True, kw_only=True):
    """A cross-margin agreement: how it stands, why it is not in force, and what each leg requires without and with it.

    saving is a fraction; alone and after are "" where they are not known.
    """

    agreement: str
    state: str
    reasons: list[str]
    rule: str
    customer: str
    saving: str
    basis: str
    futures_account: str
    futures_currency: str
    futures_alone: str
    futures_after: str
    treasury_account: str
    treasury_currency: str
    treasury_alone: str
    treasury_after: str
    ts_ns: int


class AgreementsQuery(Paged, frozen=True, kw_only=True):
    """Which agreements, by id."""

    state: AgreementStateName | None = None


class Agreements(Answer, frozen=True, kw_only=True):
    """Agreements, how many fit in all, and how many there are by state."""

    agreements: list[Agreement]
    count: int
    by_state: dict[str, int]


# What-if


class Trade(Form, frozen=True, kw_only=True):
    """A hypothetical fill or working order: qty signed, + bought; price null: the mark, on the tick."""

    instrument: Id
    qty: Exact
    price: Exact | None = None


class Collateral(Form, frozen=True, kw_only=True):
    """A hypothetical change of what is held of an asset."""

    asset: Id
    qty: Exact


class Scenario(Form, frozen=True, kw_only=True):
    """What is added to an account. Of orders the worst counts: none of them filled, all that buy, or all that sell."""

    name: Annotated[str, Meta(max_length=64)] = ""
    trades: Annotated[list[Trade], Meta(max_length=MAX_ITEMS)] = []
    orders: Annotated[list[Trade], Meta(max_length=MAX_ITEMS)] = []
    collateral: Annotated[list[Collateral], Meta(max_length=MAX_ITEMS)] = []


class WhatIfForm(Form, frozen=True, kw_only=True):
    """Scenarios for an account, each apart from the others."""

    account: Id
    scenarios: Annotated[list[Scenario], Meta(min_length=1, max_length=MAX_SCENARIOS)]


class Required(Answer, frozen=True, kw_only=True):
    """An account's figures in the market snapshot; status is by level, without the age of calls.

    Of an UNPRICED account status is null and the rest "".
    """

    status: StatusName | None
    quality: QualityName
    equity: str
    initial: str
    maintenance: str
    excess: str
    utilization: str
    call: str


class Outcome(Answer, frozen=True, kw_only=True):
    """A scenario's figures; problem, where one of its items is not possible, says which and why, and `after` is null.

    filled: which orders are filled in `after`, that with the least excess; null without orders. prices: what trades and
    orders are filled at, in their order.
    """

    name: str
    after: Required | None
    filled: Fill | None
    prices: list[str]
    problem: str


class WhatIf(Answer, frozen=True, kw_only=True):
    """Figures of the account as it is (before) and in each scenario, at the marks of one market snapshot."""

    account: str
    currency: str
    market_ns: int
    book_ns: int
    before: Required
    scenarios: list[Outcome]

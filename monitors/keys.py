"""The Redis layout, declared once: key names, hash fields, stream fields. The number in the prefix is the layout's version.

| key                   | type       | content                                                               |
|-----------------------|------------|-----------------------------------------------------------------------|
| account:{id}          | hash       | ACCOUNT_FIELDS: an account's latest figures                             |
| by_excess             | sorted set | account ids by excess in USD                                          |
| by_utilization        | sorted set | account ids by maintenance / equity; +inf where equity <= 0           |
| status:{STATUS}       | set        | ids of the accounts now in that status                                |
| quality:{QUALITY}     | set        | ids of the accounts now of that quality                               |
| call:{id}             | hash       | CALL_FIELDS: a margin call; one that is over stays CALL_KEEP_SECONDS  |
| calls:open            | sorted set | ids of open calls by due time in seconds                              |
| calls:closed          | sorted set | ids of calls over by when they ended, in seconds, CALL_KEEP_SECONDS   |
| calls:changed         | sorted set | ids of both by the number of the write of their hashes                |
| ladder:{shard}        | string     | JSON, monitors/outlook.py: a shard's early warning; readers sum       |
| reconciliation:{shard}| string     | JSON, monitors/outlook.py: a shard's statements against what it holds |
| alerts                | stream     | ALERT_FIELDS: a window of margin.alerts, about ALERTS_WINDOW entries  |
| agreement:{id}        | hash       | AGREEMENT_FIELDS: how a cross-margin agreement stands, as of ts_ns    |
| agreements            | set        | ids of all agreements                                                 |
| meta                  | hash       | META_FIELDS, per shard n shard:{n}:offset and shard:{n}:ts_ns, writes |
|                       |            | (of figures, counted), call_writes (of calls), market:clock_ns (of    |
|                       |            | the market's snapshot)                                                |
| changed               | sorted set | account ids by the number of the write of their latest figures        |
| book:{id}             | string     | an account's positions and holdings, as engine/books.py packs them    |
| customer:{id}         | hash       | account:{id} of each account, "", and agreement:{id}, its document    |
| market                | string     | a snapshot without accounts: documents, marks, volatilities, rows     |

Of an account: in a burst status and quality are ahead of its alerts, and those (with change) of figures, ts_ns and offset.

Of a call: state is that of engine/report.py, or OVER where it ended while Redis was away for long and how is in margin.calls
only. life is a line for each event, oldest first, at most LIFE_BYTES: event, ts_ns, and amount and received after it; one
that does not begin with `issued` has lost its beginning, which margin.calls has.

Of an agreement: state is `in force`, `not in force`, or `fallback` where a house does not answer; reasons is a JSON array of
why it is not in force; basis is AGREED, LAST_AGREED, NONE, or empty before the first clock in force; saving is a fraction.
Of each leg alone and after are what its portfolio requires without and with the saving, before a house's multiplier; empty
where that is not known.
"""

from dataclasses import dataclass
from typing import Final

from engine.report import CallState, Quality, Status

LAYOUT: Final = 1
PREFIX: Final = f"cm:{LAYOUT}:"
ALERTS_WINDOW: Final = 100_000

DEFINITION_FIELDS: Final = ("currency", "pool", "customer", "shard")
FIGURE_FIELDS: Final = (
    "status", "quality", "equity", "initial", "maintenance", "excess", "utilization", "call", "distance", "distance_factor",
)  # fmt: skip  # distance: bp of a factor rates:..., per cent of delta:...; 0 below maintenance, empty where none is near
MOMENT_FIELDS: Final = ("ts_ns", "offset", "rule_set")
ACCOUNT_FIELDS: Final = (*FIGURE_FIELDS, *DEFINITION_FIELDS, *MOMENT_FIELDS, "change")
AGREEMENT_FIELDS: Final = (
    "state", "reasons", "rule", "customer", "saving", "basis",
    "futures_account", "futures_currency", "futures_alone", "futures_after",
    "treasury_account", "treasury_currency", "treasury_alone", "treasury_after", "ts_ns", "shard", "offset",
)  # fmt: skip
META_FIELDS: Final = ("version", "log_id", "shards", "started", "epoch")
CALL_FIELDS: Final = (
    "id", "account", "customer", "pool", "currency", "state", "amount", "received", "issued_ns", "due_ns", "ts_ns", "change",
    "shard", "offset", "life", "acknowledged_by", "acknowledged_ns", "notes",
)  # fmt: skip  # notes: JSON list of {user, kind, text, ts_ns}, ts_ns as text
CALL_KEEP_SECONDS: Final = 7 * 86_400
OVER: Final = "OVER"  # state of a call whose end was missed
CLOSED_STATES: Final = (CallState.MET.name, CallState.COVERED.name, CallState.CANCELLED.name, OVER)
LIFE_BYTES: Final = 8192  # of a call: some 150 events
ALERT_FIELDS: Final = ("id", "kind", "account", "from", "to", "amount", "currency", "ts_ns", "shard", "offset")


@dataclass(frozen=True, slots=True)
class Keys:
    """The key names under one prefix."""

    prefix: str = PREFIX

    @property
    def account_prefix(self) -> str:
        """What an account's key is before its id."""
        return f"{self.prefix}account:"

    @property
    def status_prefix(self) -> str:
        """What a status set's key is before the status."""
        return f"{self.prefix}status:"

    @property
    def quality_prefix(self) -> str:
        """What a quality set's key is before the quality."""
        return f"{self.prefix}quality:"

    @property
    def by_excess(self) -> str:
        """The sorted set of accounts by excess in USD."""
        return f"{self.prefix}by_excess"

    @property
    def by_utilization(self) -> str:
        """The sorted set of accounts by utilization."""
        return f"{self.prefix}by_utilization"

    @property
    def alerts(self) -> str:
        """The stream that is a window of margin.alerts."""
        return f"{self.prefix}alerts"

    @property
    def call_prefix(self) -> str:
        """What a margin call's key is before its id."""
        return f"{self.prefix}call:"

    @property
    def open_calls(self) -> str:
        """The sorted set of open margin calls by due time."""
        return f"{self.prefix}calls:open"

    @property
    def closed_calls(self) -> str:
        """The sorted set of margin calls that are over by when they ended."""
        return f"{self.prefix}calls:closed"

    @property
    def changed_calls(self) -> str:
        """The sorted set of margin calls by when they were last written."""
        return f"{self.prefix}calls:changed"

    def ladder(self, shard: int) -> str:
        """The early warning of a shard."""
        return f"{self.prefix}ladder:{shard}"

    def reconciliation(self, shard: int) -> str:
        """The statements of a shard against what its accounts hold."""
        return f"{self.prefix}reconciliation:{shard}"

    @property
    def meta(self) -> str:
        """The hash that says whose data this is and how new."""
        return f"{self.prefix}meta"

    def agreement(self, agreement_id: str) -> str:
        """The hash of how an agreement stands."""
        return f"{self.prefix}agreement:{agreement_id}"

    @property
    def agreements(self) -> str:
        """The set of the ids of agreements."""
        return f"{self.prefix}agreements"

    @property
    def changed(self) -> str:
        """The sorted set of accounts by when their figures were last written."""
        return f"{self.prefix}changed"

    @property
    def market(self) -> str:
        """The market's snapshot."""
        return f"{self.prefix}market"

    @property
    def book_prefix(self) -> str:
        """What a book's key is before the account's id."""
        return f"{self.prefix}book:"

    @property
    def customer_prefix(self) -> str:
        """What a customer's key is before the customer's id."""
        return f"{self.prefix}customer:"

    def book(self, account_id: str) -> str:
        """What an account holds."""
        return self.book_prefix + account_id

    def customer(self, customer_id: str) -> str:
        """The hash of a customer's accounts and agreements."""
        return self.customer_prefix + customer_id

    def account(self, account_id: str) -> str:
        """The hash of an account's figures."""
        return self.account_prefix + account_id

    def call(self, call_id: str) -> str:
        """The hash of a margin call."""
        return self.call_prefix + call_id

    def status(self, status: Status) -> str:
        """The set of accounts in a status."""
        return self.status_prefix + status.name

    def quality(self, quality: Quality) -> str:
        """The set of accounts of a quality."""
        return self.quality_prefix + quality.name


OWNED_PREFIX: Final = "account:"  # of the fields of a customer's hash that name its accounts
AGREEMENT_PREFIX: Final = "agreement:"  # and of those that hold its agreements
WRITES_FIELD: Final = "writes"
CALL_WRITES_FIELD: Final = "call_writes"
MARKET_FIELD: Final = "market:clock_ns"


def shard_field(shard: int, name: str) -> str:
    """The meta field of a shard's `offset` or `ts_ns`."""
    return f"shard:{shard}:{name}"

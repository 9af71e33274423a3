"""What a step reports: counts, rejects, changes of status and quality; and the views that monitors read."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.codes import Code
from engine.events import HOUR_NS, KINDS, Kind


class Status(IntEnum):
    """An account's margin status, from best to worst; the numbers are part of the snapshot format."""

    OK = 0
    WATCH = 1
    CALL = 2
    OVERDUE = 3
    RESTRICTED = 4
    DEBIT = 5


class Quality(IntEnum):
    """How good the inputs of an account's figures are; a state, never a number."""

    FRESH = 0
    STALE = 1
    UNPRICED = 2


class CallState(IntEnum):
    """Where a margin call is in its life; the numbers are part of the snapshot format, and ascend with age while it is open.

    PENDING is not yet issued (CallTerms.issue_after); NONE is what was before it.
    """

    NONE = 0
    PENDING = 1
    ISSUED = 2
    PART_MET = 3
    OVERDUE = 4
    ESCALATED = 5
    RESTRICTED = 6
    MET = 7  # the money came
    COVERED = 8  # the account is back at its initial requirement without it
    CANCELLED = 9  # by a named user


class CallEvent(IntEnum):
    """What happened to a margin call."""

    NONE = 0  # the change is not of a call
    ISSUED = 1
    RAISED = 2
    RECEIVED = 3  # money that came or went, the call not met by it
    MET = 4
    COVERED = 5
    OVERDUE = 6
    ESCALATED = 7
    RESTRICTED = 8
    ACKNOWLEDGED = 9
    NOTED = 10
    CANCELLED = 11


OPEN_CALLS: Final = (CallState.ISSUED, CallState.PART_MET, CallState.OVERDUE, CallState.ESCALATED, CallState.RESTRICTED)


class ChangeKind(IntEnum):
    """What changed about an account."""

    STATUS = 1
    QUALITY = 2
    CALL = 3


CHANGE: Final = np.dtype(
    [
        ("account", "<i4"),  # slot
        ("kind", "u1"),
        ("before", "u1"),  # Status, Quality or CallState, as kind says
        ("after", "u1"),
        ("change", "<i8"),  # the account's change number
        ("amount", "<i8"),  # what is missing to initial; this and all money in minor units of the account's currency
        ("equity", "<i8"),
        ("initial", "<i8"),
        ("maintenance", "<i8"),
        ("ts_ns", "<i8"),
        # of a call, else 0
        ("event", "u1"),
        ("sequence", "<i8"),  # of the account's calls, from 1
        ("called", "<i8"),
        ("received", "<i8"),
        ("issued_ns", "<i8"),
        ("due_ns", "<i8"),
    ]
)
FIGURES: Final = np.dtype(
    [
        ("status", "u1"),
        ("quality", "u1"),
        ("equity", "<i8"),  # minor units of the account's currency
        ("initial", "<i8"),
        ("maintenance", "<i8"),
        ("call", "<i8"),
        ("excess_usd", "<i8"),  # US cents
        ("change", "<i8"),
    ]
)
TOP: Final = 20  # accounts with the largest deficits that a Population names
CALL_AGES: Final = {"1h": HOUR_NS, "4h": 4 * HOUR_NS, "24h": 24 * HOUR_NS}  # up to that long; beyond them: OLDER
OLDER: Final = "older"
UTILIZATION_BOUNDS: Final = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Reject:
    """One event that was not applied: why, and where it came from."""

    code: Code
    kind: Kind
    partition: int
    offset: int
    index: int
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Said:
    """What a named user did to a call: ack, note or cancel, with a text."""

    user: str
    kind: str
    text: str
    ts_ns: int


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A margin call that is open: amounts in minor units of the account's currency, times in ns, said oldest first."""

    account: int  # slot
    sequence: int
    state: CallState
    called: int
    received: int
    issued_ns: int
    due_ns: int
    said: tuple[Said, ...]


def _counts() -> NDArray[np.int64]:
    return np.zeros(KINDS, np.int64)


@dataclass(slots=True)
class Report:
    """What one frame did. Counts are by Kind; what every shard sees is counted by shard 0 only.

    oldest_ns: the batch's oldest Kafka timestamp, 0 when the frame does not end a batch. said: by the row of `changes` that
    a user's action made.
    """

    offset: int
    clock_ns: int
    oldest_ns: int = 0
    applied: NDArray[np.int64] = field(default_factory=_counts)
    superseded: NDArray[np.int64] = field(default_factory=_counts)
    redelivered: NDArray[np.int64] = field(default_factory=_counts)
    rejects: list[Reject] = field(default_factory=list)
    changes: NDArray[np.void] = field(default_factory=lambda: np.empty(0, CHANGE))
    said: dict[int, Said] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """Who an account is; decimals of its currency's minor unit."""

    id: str
    customer: str
    pool: str
    currency: str
    decimals: int

    def call_id(self, sequence: int) -> str:
        """The id of the account's call of that number."""
        return f"{self.id}:{self.pool}:{sequence}"


class AgreementState(StrEnum):
    """How a cross-margin agreement stands."""

    IN_FORCE = "in force"
    FALLBACK = "fallback"  # in force, but one house or both did not answer
    NOT_IN_FORCE = "not in force"


@dataclass(frozen=True, slots=True)
class AgreedLeg:
    """An account's part of an agreement: what its portfolio requires alone and after the saving, before the multiplier.

    Minor units of the currency, which has so many decimals; None where that is not known.
    """

    account: str
    currency: str
    decimals: int
    alone: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class AgreementInfo:
    """An agreement as last worked out: reasons why it is not in force, the saving in 1e-9 and its Basis ("": not yet)."""

    id: str
    customer: str
    rule: str
    state: AgreementState
    reasons: tuple[str, ...]
    saving_ppb: int
    basis: str
    futures: AgreedLeg
    treasury: AgreedLeg


@dataclass(frozen=True, slots=True)
class Population:
    """One shard's accounts in sum: by status and quality, money per pool in US cents, utilization as a histogram.

    utilization_counts has one bucket per bound of UTILIZATION_BOUNDS and one above them all. cross_alone_usd: what the
    portfolios of agreements in force would require without them (maintenance before a house's multiplier), as last margined;
    cross_saved_usd: what they require less. collateral_usd: by pool and asset, after haircut and cap. dv01_usd (US dollars,
    by currency and bucket), delta_units (by underlying): sums of the long and of the short accounts, both above 0.
    top_deficits_usd: the TOP largest by account; deficit_accounts: how many accounts have one.
    """

    by_status: dict[str, int]
    by_quality: dict[str, int]
    equity_usd: dict[str, int]
    initial_usd: dict[str, int]
    maintenance_usd: dict[str, int]
    deficit_usd: dict[str, int]
    utilization_counts: NDArray[np.int64]
    utilization_sum: float
    price_age_seconds_max: float
    calls: dict[str, int]  # open ones by state
    call_ages: dict[str, int]  # and by time since they were issued (CALL_AGES, OLDER)
    called_usd: dict[str, int]  # by pool: what open calls still ask for
    agreements_in_force: int
    agreements: int
    cross_alone_usd: int
    cross_saved_usd: int
    collateral_usd: dict[tuple[str, str], int]
    dv01_usd: dict[tuple[str, str], list[float]]
    delta_units: dict[str, list[float]]
    top_deficits_usd: dict[str, int]
    deficit_accounts: int


@dataclass(frozen=True, slots=True)
class Digest:
    """Hashes of the state by ids: a sum over accounts, and one of the tables that every shard holds alike."""

    accounts: int
    tables: int


def combine(digests: list[Digest]) -> int:
    """One number for a whole log, the same for any number of shards and any cut; ValueError when the tables differ."""
    if len({d.tables for d in digests}) != 1:
        raise ValueError("the shards hold different tables: marks, volatilities or definitions are not the same")
    return (sum(d.accounts for d in digests) + digests[0].tables) % 2**64

"""The reading side of Redis: what `crossmargin status` and screens show, as plain values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from redis import Redis

from engine.report import Quality, Status
from monitors.keys import Keys, shard_field
from monitors.outlook import Differences, Ladder, sum_differences, sum_ladders

TIMEOUT_SECONDS: Final = 5
Row = dict[str, str]  # a hash or stream entry: field -> text, as monitors/keys.py declares them


@dataclass(frozen=True, slots=True)
class Meta:
    """Whose data this is, and how new. clocks_ns, offsets: by shard, of those of which everything was written once."""

    version: int
    log_id: str
    shards: int
    started_ns: int
    clocks_ns: dict[int, int]
    offsets: dict[int, int]

    def age_seconds(self, now_ns: int) -> float:
        """Wall time minus the engine time of the shard furthest behind: large when a worker or feed is dead; 0 with none."""
        return max(((now_ns - clock_ns) / 1e9 for clock_ns in self.clocks_ns.values()), default=0.0)

    @property
    def missing(self) -> list[int]:
        """Shards of which not everything was written yet."""
        return [shard for shard in range(self.shards) if shard not in self.clocks_ns]


@dataclass(frozen=True, slots=True)
class Summary:
    """All accounts at a glance.

    worst: accounts by excess in USD, the lowest first; alerts: the newest first; calls: open ones, the first due first, of
    open_calls in all.
    """

    by_status: dict[str, int]
    by_quality: dict[str, int]
    worst: list[Row]
    alerts: list[Row]
    calls: list[Row] = field(default_factory=list)
    open_calls: int = 0


class PoolSum(msgspec.Struct, frozen=True):
    """The accounts of a pool in one currency, in sum: doubles for display, in that currency but for excess_usd."""

    pool: str
    currency: str
    accounts: int
    equity: float
    initial: float
    maintenance: float
    call: float
    excess_usd: float


def open_client(url: str, *, text: bool = True) -> Redis:
    """A client for the functions here, which raise redis-py's errors; close() it. text=False: it gives bytes."""
    return Redis.from_url(
        url,
        decode_responses=text,
        legacy_responses=False,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
    )


def read_meta(client: Redis, keys: Keys) -> Meta | None:
    """Whose data Redis holds; None when there is none."""
    return parse_meta(_row(client.hgetall(keys.meta)))


def parse_meta(found: Row) -> Meta | None:
    """What a meta hash says; None when it says nothing."""
    if "log_id" not in found:
        return None
    shards = int(found["shards"])
    clocks, offsets = (
        {shard: int(found[field]) for shard in range(shards) if (field := shard_field(shard, name)) in found}
        for name in ("ts_ns", "offset")
    )
    return Meta(int(found["version"]), found["log_id"], shards, int(found["started"]), clocks, offsets)


def read_summary(client: Redis, keys: Keys, worst: int = 10, alerts: int = 10, calls: int = 10) -> Summary:
    """Counts by status and quality, so many accounts (with `account`, `excess_usd`), alerts and open calls."""
    pipe = client.pipeline(transaction=False)
    for status in Status:
        pipe.scard(keys.status(status))
    for quality in Quality:
        pipe.scard(keys.quality(quality))
    pipe.zrange(keys.by_excess, 0, worst - 1, withscores=True)
    pipe.xrevrange(keys.alerts, count=alerts)
    *counts, lowest, newest = pipe.execute()
    for account_id, _ in lowest:
        pipe.hgetall(keys.account(account_id))
    rows = [
        {"account": account_id, "excess_usd": f"{excess:.2f}", **row}
        for (account_id, excess), row in zip(lowest, pipe.execute(), strict=True)
    ]
    first_due, open_calls = read_calls(client, keys, 0, calls)
    return Summary(
        by_status=dict(zip((status.name for status in Status), counts, strict=False)),
        by_quality=dict(zip((quality.name for quality in Quality), counts[len(Status) :], strict=True)),
        worst=rows,
        alerts=[dict(fields) for _, fields in newest],
        calls=first_due,
        open_calls=open_calls,
    )


def read_highest(client: Redis, keys: Keys, count: int) -> list[Row]:
    """The accounts of the highest utilization (with `account`, `excess_usd`); those without equity first."""
    highest = [str(account_id) for account_id in client.zrevrange(keys.by_utilization, 0, count - 1)]
    pipe = client.pipeline(transaction=False)
    for account_id in highest:
        pipe.zscore(keys.by_excess, account_id)
        pipe.hgetall(keys.account(account_id))
    found = pipe.execute()
    return [
        {"account": account_id, "excess_usd": f"{excess or 0:.2f}", **row}
        for account_id, excess, row in zip(highest, found[::2], found[1::2], strict=True)
    ]


def read_account(client: Redis, keys: Keys, account_id: str) -> Row | None:
    """An account's hash with `account`; None when it is unknown or not written yet."""
    row = _row(client.hgetall(keys.account(account_id)))
    return {"account": account_id, **row} if "status" in row else None


def read_accounts(client: Redis, keys: Keys, account_ids: Sequence[str]) -> list[Row]:
    """The hashes of accounts with `account`; those that are not written are left out."""
    pipe = client.pipeline(transaction=False)
    for account_id in account_ids:
        pipe.hgetall(keys.account(account_id))
    found = zip(account_ids, pipe.execute(), strict=True)
    return [{"account": account_id, **row} for account_id, row in found if "status" in row]


def read_calls(client: Redis, keys: Keys, first: int, count: int) -> tuple[list[Row], int]:
    """Open calls from the `first` on, the first due first, and how many are open in all."""
    pipe = client.pipeline(transaction=False)
    pipe.zrange(keys.open_calls, first, first + count - 1)
    pipe.zcard(keys.open_calls)
    ids, total = pipe.execute()
    return read_these_calls(client, keys, ids), total


def read_closed_calls(client: Redis, keys: Keys, first: int, count: int) -> tuple[list[Row], int]:
    """Calls that are over from the `first` on, the last to end first, and how many are kept in all."""
    pipe = client.pipeline(transaction=False)
    pipe.zrange(keys.closed_calls, first, first + count - 1, desc=True)
    pipe.zcard(keys.closed_calls)
    ids, total = pipe.execute()
    return read_these_calls(client, keys, ids), total


def read_these_calls(client: Redis, keys: Keys, ids: Sequence[str]) -> list[Row]:
    """The hashes of calls; those that are no more are left out."""
    pipe = client.pipeline(transaction=False)
    for call_id in ids:
        pipe.hgetall(keys.call(call_id))
    return [row for row in pipe.execute() if "state" in row]


def read_account_calls(client: Redis, keys: Keys, account_id: str) -> list[Row]:
    """An account's open calls, the first due first."""
    ids = [str(call_id) for call_id in client.zrange(keys.open_calls, 0, -1)]
    near = [call_id for call_id in ids if call_id.startswith(f"{account_id}:")]
    return [row for row in read_these_calls(client, keys, near) if row["account"] == account_id]


def read_call(client: Redis, keys: Keys, call_id: str) -> Row | None:
    """A margin call's hash; None when it is unknown, or over for long."""
    row = _row(client.hgetall(keys.call(call_id)))
    return row if "state" in row else None


def life_of(call: Row) -> list[dict[str, str]]:
    """What happened to a call out of its hash, oldest first: event, ts_ns, and amount and received after it."""
    lines = call.get("life", "").split("\n")
    return [dict(zip(("event", "ts_ns", "amount", "received"), line.split(" "), strict=True)) for line in lines if line]


def read_agreements(client: Redis, keys: Keys) -> list[Row]:
    """The hashes of all agreements with `agreement`, by id."""
    ids = sorted(str(agreement_id) for agreement_id in client.smembers(keys.agreements))
    pipe = client.pipeline(transaction=False)
    for agreement_id in ids:
        pipe.hgetall(keys.agreement(agreement_id))
    found = zip(ids, pipe.execute(), strict=True)
    return [{"agreement": agreement_id, **row} for agreement_id, row in found if "state" in row]


def read_ladder(client: Redis, keys: Keys) -> Ladder | None:
    """Early warning of all shards written so far; None before any was."""
    return sum_ladders(_of_shards(client, keys, keys.ladder))


def read_reconciliation(client: Redis, keys: Keys) -> Differences | None:
    """Statements of all shards written so far; None before any was."""
    return sum_differences(_of_shards(client, keys, keys.reconciliation))


def _of_shards(client: Redis, keys: Keys, key: Callable[[int], str]) -> list[bytes]:
    """The strings of a key that each shard has, of those written so far."""
    shards = int(client.hget(keys.meta, "shards") or 0)
    found = client.mget([key(n) for n in range(shards)]) if shards else []
    return [str(text).encode() for text in found if text is not None]


def _row(found: Mapping[Any, Any]) -> Row:
    return {str(field): str(value) for field, value in found.items()}

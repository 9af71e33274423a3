"""The reading side of Redis: what `crossmargin status` and screens show, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis

from engine.report import Quality, Status
from monitors.keys import Keys, shard_field

TIMEOUT_SECONDS: Final = 5
Row = dict[str, str]  # a hash or stream entry: field -> text, as monitors/keys.py declares them


@dataclass(frozen=True, slots=True)
class Meta:
    """Whose data this is, and how new. clocks_ns, offsets: by shard, of the shards that were ever written."""

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
        """Shards never written."""
        return [shard for shard in range(self.shards) if shard not in self.clocks_ns]


@dataclass(frozen=True, slots=True)
class Summary:
    """All accounts at a glance. worst: accounts by excess in USD, the lowest first; alerts: the newest first."""

    by_status: dict[str, int]
    by_quality: dict[str, int]
    worst: list[Row]
    alerts: list[Row]


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


def read_summary(client: Redis, keys: Keys, worst: int = 10, alerts: int = 10) -> Summary:
    """Counts by status and quality, the accounts of the lowest excess (with `account`, `excess_usd`), newest alerts."""
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
    return Summary(
        by_status=dict(zip((status.name for status in Status), counts, strict=False)),
        by_quality=dict(zip((quality.name for quality in Quality), counts[len(Status) :], strict=True)),
        worst=rows,
        alerts=[dict(fields) for _, fields in newest],
    )


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
    pipe.zrange(keys.calls_open, first, first + count - 1)
    pipe.zcard(keys.calls_open)
    ids, total = pipe.execute()
    for call_id in ids:
        pipe.hgetall(keys.call(call_id))
    return [row for row in pipe.execute() if "state" in row] if ids else [], total


def read_calls_of(client: Redis, keys: Keys, account_id: str) -> list[Row]:
    """Open calls of an account, the first due first; their ids begin with its own."""
    pipe = client.pipeline(transaction=False)
    pipe.zrange(keys.calls_open, 0, -1)
    (ids,) = pipe.execute()
    for call_id in ids:
        if call_id.startswith(f"{account_id}:"):
            pipe.hgetall(keys.call(call_id))
    return [row for row in pipe.execute() if row.get("account") == account_id]


def read_call(client: Redis, keys: Keys, call_id: str) -> Row | None:
    """A margin call's hash; None when it is unknown."""
    row = _row(client.hgetall(keys.call(call_id)))
    return row if "state" in row else None


def _row(found: Mapping[Any, Any]) -> Row:
    return {str(field): str(value) for field, value in found.items()}

"""A pool at a moment, and the tables that its day-end pack consists of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.documents import Pool
from engine.events import DAY_NS, NS
from engine.numbers import decimal_text, time_text
from engine.reconciliation import Reconciliation
from monitors.day_rows import Lives, ShardDay, added
from monitors.holdings import AccountRow

NOT_KNOWN: Final = "not known"
UTC_TIME, LOCAL = "_utc", "_local"  # how the columns of a time end, in UTC and in the pool's time zone
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Row = tuple[str, ...]


class Section(NamedTuple):
    """A table of a pack: file name without ending, title, columns, how many of them from the left are words, rows."""

    name: str
    title: str
    columns: Row
    words: int
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True, slots=True)
class PoolDay:
    """A pool at a moment: its accounts of all shards, and all accounts of customers who have one in it.

    zone: in which times stand beside UTC, None for UTC alone. lives: of the calls of all pools.
    """

    pool: Pool
    shards: tuple[ShardDay, ...]
    accounts: tuple[AccountRow, ...]
    by_id: dict[str, AccountRow]
    elsewhere: tuple[AccountRow, ...]
    lives: Lives
    zone: ZoneInfo | None

    @property
    def customers(self) -> list[AccountRow]:
        """The accounts that are not the firm's."""
        return [one for one in self.accounts if not one.house]

    @property
    def house(self) -> list[AccountRow]:
        """The firm's own accounts."""
        return [one for one in self.accounts if one.house]

    @property
    def statements(self) -> list[Reconciliation]:
        """What is stated of the accounts, by shard."""
        return [shard.statements[self.pool.id] for shard in self.shards if self.pool.id in shard.statements]

    @property
    def clock_ns(self) -> int:
        """The latest clock of its shards."""
        return max(shard.rows.clock_ns for shard in self.shards)

    @property
    def begin_ns(self) -> int:
        """When the UTC day of the moment began."""
        return self.clock_ns // DAY_NS * DAY_NS

    def time_columns(self, name: str) -> Row:
        """The columns of a time: in UTC, and in the pool's time zone if it has one."""
        return (name + UTC_TIME,) if self.zone is None else (name + UTC_TIME, name + LOCAL)

    def times(self, ts_ns: int) -> Row:
        """A time as these columns have it, empty for 0."""
        if self.zone is None:
            return (time_text(ts_ns) if ts_ns else "",)
        local = (_EPOCH + timedelta(seconds=ts_ns // NS)).astimezone(self.zone)
        return (time_text(ts_ns), f"{local:%Y-%m-%d %H:%M:%S %Z}") if ts_ns else ("", "")


def pool_day(shards: Sequence[ShardDay], pool_id: str, lives: Lives) -> PoolDay:
    """A pool, of which at least one shard knows."""
    every = [account for shard in shards for account in shard.rows.accounts]
    accounts = tuple(one for one in every if one.pool == pool_id)
    owners = {one.customer for one in accounts}
    elsewhere = tuple(one for one in every if one.customer in owners and one.pool != pool_id)
    pool = next(shard.rows.pools[pool_id] for shard in shards if pool_id in shard.rows.pools)
    by_id = {one.id: one for one in accounts}
    return PoolDay(pool, tuple(shards), accounts, by_id, elsewhere, lives, _zone(time_zone(shards, pool_id)))


def time_zone(shards: Sequence[ShardDay], pool_id: str) -> str:
    """The name of a pool's time zone, "" where its calendar names none."""
    return next((shard.time_zones[pool_id] for shard in shards if pool_id in shard.time_zones), "")


def _zone(name: str) -> ZoneInfo | None:
    """The time zone of that name; None where there is none, or this machine does not know it."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def usd(cents: int | None) -> str:
    """US cents as a decimal."""
    return NOT_KNOWN if cents is None else decimal_text(cents, 2)


def lacking(accounts: Sequence[AccountRow]) -> int | None:
    """US cents that accounts lack to maintenance, summed without any offset: 17 CFR 1.22, 1.44(a)."""
    return added(one.undermargined_usd for one in accounts)

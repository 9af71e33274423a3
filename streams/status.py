"""`crossmargin status` and `reconciliation`: what Redis says about accounts and statements, as data and as tables."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from redis import Redis
from redis.exceptions import RedisError

from monitors.keys import ACCOUNT_FIELDS, Keys
from monitors.view import Meta, open_client, read_account, read_meta, read_reconciliation, read_summary
from streams.settings import Settings, UserError, masked_url

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""Title, column names, rows."""
WORST: Final = ("account", "status", "quality", "excess_usd", "equity", "initial", "maintenance", "currency")
DIFFERENCES: Final = ("account", "holder", "name", "kind", "held", "stated")
ALERTS: Final = ("id", "kind", "from", "to", "amount", "currency")


@dataclass(frozen=True, slots=True)
class Shown:
    """The same figures for programs and for people."""

    data: dict[str, Any]
    tables: list[Table]


def show(settings: Settings, account: str | None) -> Shown:
    """All accounts at a glance, or one; UserError where Redis does not answer or knows nothing of it."""
    return _read(settings, partial(_accounts, account))


def show_reconciliation(settings: Settings) -> Shown:
    """Statements beside what accounts hold; UserError where Redis does not answer or no worker has compared yet."""
    return _read(settings, _reconciliation)


def _read(settings: Settings, show_from: Callable[[Redis, Keys, Meta, str], Shown]) -> Shown:
    """What a function shows of Redis, where there is something."""
    where = f"Redis at {masked_url(settings.redis_url)} (setting redis_url, CROSSMARGIN_REDIS_URL)"
    try:
        client = open_client(settings.redis_url)
        try:
            keys = Keys(settings.redis_prefix)
            meta = read_meta(client, keys)
            if meta is None:
                raise UserError(f"{where} has no accounts under {keys.prefix}: no worker has written there yet")
            return show_from(client, keys, meta, where)
        finally:
            client.close()
    except (RedisError, ValueError) as error:
        raise UserError(f"{where} does not answer: {error}") from error


def _reconciliation(client: Redis, keys: Keys, meta: Meta, where: str) -> Shown:
    found = read_reconciliation(client, keys)
    if found is None:
        raise UserError(f"{where} has no reconciliation under {keys.prefix}: a worker writes it every few seconds")
    rows = [
        (*(getattr(one, name) for name in DIFFERENCES), f"{(int(found.ts_ns) - int(one.since_ns)) / 3600e9:.1f} h")
        for one in found.breaks
    ]
    counts: list[tuple[str, ...]] = [(name, f"{count:,}") for name, count in found.counts.items()]
    tables: list[Table] = [("", ("statements", "count"), counts), ("breaks, the oldest first", (*DIFFERENCES, "age"), rows)]
    return Shown(msgspec.to_builtins(found), tables)


def _accounts(account: str | None, client: Redis, keys: Keys, meta: Meta, where: str) -> Shown:
    if account is None:
        return _summary(client, keys, meta)
    row = read_account(client, keys, account)
    if row is None:
        raise UserError(f"{where}: found no account '{account}' under {keys.prefix}")
    return Shown(
        dict(row), [("", ("figure", "value"), [(name, row.get(name, "")) for name in ("account", *ACCOUNT_FIELDS)])]
    )


def _summary(client: Redis, keys: Keys, meta: Meta) -> Shown:
    summary = read_summary(client, keys)
    age_seconds = meta.age_seconds(time.time_ns())
    data = {
        "log_id": meta.log_id,
        "shards": meta.shards,
        "missing_shards": meta.missing,
        "age_seconds": round(age_seconds, 3),
        "by_status": summary.by_status,
        "by_quality": summary.by_quality,
        "worst": summary.worst,
        "alerts": summary.alerts,
    }
    missing = f", never written: {', '.join(map(str, meta.missing))}" if meta.missing else ""
    about = f"log {meta.log_id}, {meta.shards} shards{missing}, as of {age_seconds:.1f} s ago"
    counts: list[tuple[str, ...]] = [
        (name, f"{count:,}") for name, count in (summary.by_status | summary.by_quality).items()
    ]
    worst = [tuple(row.get(name, "") for name in WORST) for row in summary.worst]
    alerts = [tuple(row.get(name, "") for name in ALERTS) for row in summary.alerts]
    return Shown(
        data,
        [
            (about, ("accounts", "count"), counts),
            ("lowest excess", WORST, worst),
            ("latest alerts", ALERTS, alerts),
        ],
    )

"""What the verbs that read Redis share: the connection with its errors in one line, and figures as data and as tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from monitors.keys import Keys
from monitors.view import Meta, open_client, read_meta
from monitors.wording import money
from streams.settings import Settings, UserError, masked_url

AMOUNTS: Final = frozenset(  # figures and columns of amounts, whatever their currency or asset
    (
        "amount both call deficit equity excess excess_usd futures haircut held initial loss maintenance margin over_limit"
        " saving stated taken treasury worth"
    ).split()
) | {"trapped excess"}
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""Title, column names, rows."""


def figure_cell(name: str, text: str) -> str:
    """What a table shows of a figure: an amount with its thousands apart."""
    return money(text) if name in AMOUNTS else text


@dataclass(frozen=True, slots=True)
class Shown:
    """The same figures for programs and for people."""

    data: dict[str, Any]
    tables: list[Table]


@dataclass(frozen=True, slots=True)
class Desk:
    """An open connection. where: the server in words, for errors."""

    client: Redis
    keys: Keys
    meta: Meta
    where: str


@contextmanager
def open_desk(settings: Settings) -> Iterator[Desk]:
    """The data of a log in Redis; UserError where the server does not answer, also later, or has none."""
    where = f"Redis at {masked_url(settings.redis_url)} (setting redis_url, CROSSMARGIN_REDIS_URL)"
    keys = Keys(settings.redis_prefix)
    try:
        client = open_client(settings.redis_url)
        try:
            meta = read_meta(client, keys)
            if meta is None:
                raise UserError(f"{where} has no accounts under {keys.prefix}: no worker has written there yet")
            yield Desk(client, keys, meta, where)
        finally:
            client.close()
    except (RedisError, ValueError) as error:
        raise UserError(f"{where} does not answer: {error}") from error

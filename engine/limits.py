"""How much one shard holds, and the parameters results depend on: written into the log's genesis, they stay with it."""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=1 << 28)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Capacities per shard (what is full rejects with a code of its own) and evaluation parameters.

    ids: event ids remembered per generation (two are kept). ahead_ms: how far an event may be ahead of log time.
    rebuild_bps, rebuild_ms: a margin rate is rebuilt when the mark or volatility moved so far, or after so long.
    sets, scenarios: scenario sets, and scenarios of one; portfolios: rules that margin positions together.
    statements: what holders state of an account, by holder and instrument or asset.
    spread_ms: the window over which the accounts of a rebuilt instrument are margined again, each at its own phase.
    """

    accounts: Count = 1 << 17
    positions: Count = 1 << 21
    instruments: Count = 4096
    assets: Count = 32
    currencies: Annotated[int, Meta(ge=1, le=16)] = 8
    factors: Count = 64
    volatilities: Count = 1024
    statements: Count = 1 << 20
    rules: Count = 1024
    calendars: Count = 64
    sets: Annotated[int, Meta(ge=1, le=16)] = 8
    scenarios: Annotated[int, Meta(ge=1, le=1 << 14)] = 4096
    portfolios: Annotated[int, Meta(ge=1, le=48)] = 24
    pools: Annotated[int, Meta(ge=1, le=1024)] = 64
    partitions: Annotated[int, Meta(ge=1, le=1024)] = 64
    ids: Count = 1 << 19
    ahead_ms: Annotated[int, Meta(ge=0)] = 5000
    rebuild_bps: Annotated[int, Meta(ge=0)] = 10
    rebuild_ms: Annotated[int, Meta(ge=1)] = 10_000
    spread_ms: Annotated[int, Meta(ge=1, le=2000)] = 1000

"""What the accounts of a shard stand at, as plain rows: figures, collateral, rules in force. Reports are made of them.

Amounts are minor units of the currency or asset beside them; those in US cents are rounded against the customer (what is
required up, what is there down) and None where a currency has no rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import xxhash

from engine.core import MarginEngine
from engine.documents import Asset, Customer, Pool
from engine.explain import converted, day_of, prepare
from engine.explain_views import equity
from engine.models.pilot import Digital, Pilot
from engine.pools import treatment_of
from engine.report import Quality, Status


@dataclass(frozen=True, slots=True)
class Held:
    """A holding: amount = haircut + over (past its limits) + margin, minor units of the asset; reason: why not eligible.

    entry: that of the pool's collateral rule in whose limits it counts, "" for none.
    """

    asset: str
    decimals: int
    amount: int
    haircut: int
    over: int
    margin: int
    entry: str
    value_usd: int | None
    margin_usd: int | None
    over_usd: int | None
    digital: Digital | None
    reason: str


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as the last clock left it; house: it is the firm's own."""

    id: str
    customer: str
    house: bool
    pool: str
    currency: str
    decimals: int
    status: str
    quality: str
    initial: int
    maintenance: int
    equity: int
    call: int
    initial_usd: int | None
    maintenance_usd: int | None
    equity_usd: int | None
    undermargined_usd: int | None
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule's version in force, with a hash of its document, or a scenario set with its own."""

    id: str
    model: str
    effective_ns: int | None
    hash: str


@dataclass(frozen=True, slots=True)
class ShardRows:
    """A shard at a moment. pilots: by collateral rule in force that has one."""

    shard: int
    offset: int
    clock_ns: int
    log_id: str
    rule_set: str
    accounts: tuple[AccountRow, ...]
    rules: tuple[RuleRow, ...]
    pools: dict[str, Pool]
    customers: dict[str, Customer]
    pilots: dict[str, Pilot]


def rows_of(engine: MarginEngine) -> ShardRows:
    """The rows of an engine, which is brought to the rules in force at its clock."""
    prepare(engine)
    d = engine.definitions
    in_force = [rule for rule in map(d.rule_now, sorted(d.rules)) if rule is not None]
    rules = [RuleRow(r.id, r.model, r.effective_ns, xxhash.xxh3_64_hexdigest(msgspec.json.encode(r))) for r in in_force]
    rules += [RuleRow(name, "scenarios", None, made.hash) for name, made in sorted(d.portfolios.sets.items())]
    documents = d.documents.values()
    return ShardRows(
        shard=engine.shard,
        offset=engine.offset,
        clock_ns=engine.clock_ns,
        log_id=engine.genesis.log_id,
        rule_set=engine.rule_set,
        accounts=tuple(_account(engine, slot) for slot in range(engine.account_count)),
        rules=tuple(rules),
        pools={one.id: one for one in documents if isinstance(one, Pool)},
        customers={one.id: one for one in documents if isinstance(one, Customer)},
        pilots={rule.id: rule.parameters.pilot for rule in in_force if rule.parameters.pilot is not None},
    )


def _account(engine: MarginEngine, slot: int) -> AccountRow:
    d, who = engine.definitions, engine.account_info(slot)
    row, customer = d.state.accounts.figures[slot], d.documents["customer", who.customer]
    assert isinstance(customer, Customer)
    money = {name: int(row[name]) for name in ("initial", "maintenance", "equity", "call")}
    own, usd = int(row["asset"]), d.asset_slot("USD")
    return AccountRow(
        id=who.id,
        customer=who.customer,
        house=customer.house,
        pool=who.pool,
        currency=who.currency,
        decimals=who.decimals,
        status=Status(int(row["status"])).name,
        quality=Quality(int(row["quality"])).name,
        initial_usd=converted(engine, money["initial"], own, usd, up=True),
        maintenance_usd=converted(engine, money["maintenance"], own, usd, up=True),
        equity_usd=converted(engine, money["equity"], own, usd, up=False),
        undermargined_usd=converted(engine, max(0, money["maintenance"] - money["equity"]), own, usd, up=True),
        held=tuple(_held(engine, slot, who.pool)),
        **money,
    )


def _held(engine: MarginEngine, slot: int, pool_id: str) -> Iterator[Held]:
    d, usd = engine.definitions, engine.definitions.asset_slot("USD")
    pool = d.documents["pool", pool_id]
    assert isinstance(pool, Pool)
    for one in equity(engine, slot).collateral:
        asset, at = d.documents["asset", one.asset], d.asset_slot(one.asset)
        assert isinstance(asset, Asset)
        treated = treatment_of(pool, asset, d.documents, d.rule_now, day_of(engine))
        entry = None if treated is None else treated[0].assets.get(treated[1].key)
        yield Held(
            asset=asset.id,
            decimals=asset.decimals,
            amount=one.amount,
            haircut=one.haircut,
            over=one.over,
            margin=one.margin,
            entry=one.entry,
            value_usd=converted(engine, one.amount, at, usd, up=False),
            margin_usd=converted(engine, one.margin, at, usd, up=False),
            over_usd=converted(engine, one.over, at, usd, up=True),
            digital=None if entry is None else entry.digital,
            reason=one.reason,
        )

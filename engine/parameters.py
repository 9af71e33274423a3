"""The parameters of margin rules, as msgspec structs: what each model and each add-on may say.

Numbers are decimals, taken exactly as written; engine/rules.py says which of them a model needs.
"""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.models.collateral import Terms
from engine.models.pilot import Pilot

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^(?![\x20-\x7e]*\n)[\x20-\x7e]+$")]


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"above": "from"}):
    """The rates of the part of a notional from `from` (major units of the instrument's currency) to the next tier's."""

    above: Decimal
    initial: Decimal
    maintenance: Decimal


class SpreadLeg(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many deltas of an underlying one spread takes; legs of side 1 stand against legs of side -1."""

    underlying: Id
    ratio: Decimal
    side: Literal[1, -1]


class Spread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recognised spread between commodities and the money that one of it takes off."""

    legs: Annotated[list[SpreadLeg], Meta(min_length=2, max_length=8)]
    credit: Decimal


class Pair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recognised spread of a futures product at one house and a Treasury product at the other, and its credit rate."""

    futures: Id
    treasury: Id
    rate: Decimal


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scan ranges of an underlying: of its price in points (a share of the price where `fraction`), of its volatility."""

    price: Decimal
    volatility: Decimal = Decimal(0)
    fraction: bool = False


class Liquidity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Positions that take longer than horizon_days to close at this share (participation) of a day's volume are charged."""

    participation: Decimal
    horizon_days: Annotated[int, Meta(ge=1, le=1000)]


class Regime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Short over long-run volatility of an underlying: above `high` the share `charge` is added.

    They are looked at each hour, and when one that was missing comes. buffer: the share that is added at
    other times, and used up as volatility rises (anti-procyclicality).
    """

    underlying: Id
    short_days: Decimal
    long_days: Decimal
    low: Decimal
    high: Decimal
    charge: Decimal = Decimal(0)
    buffer: Decimal = Decimal(0)


class Gap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """While a closure of the calendar of at least least_hours lasts, and for ahead_hours before it, all is multiplied."""

    calendar: Id
    ahead_hours: Annotated[int, Meta(ge=0, le=100)]
    least_hours: Annotated[int, Meta(ge=1, le=168)]
    multiplier: Decimal


class Funding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Funding every interval_hours from first_hour (UTC) on; what is due within ahead_hours and would be paid is charged."""

    interval_hours: Annotated[int, Meta(ge=1, le=24)]
    first_hour: Annotated[int, Meta(ge=0, le=23)]
    ahead_hours: Annotated[int, Meta(ge=1, le=168)]


class Depeg(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """While a stablecoin of USD is at or below 1 - threshold, a share of what an account holds of it, less its haircut."""

    asset: Id
    threshold: Decimal
    share: Decimal


class AddOns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Charges on top of what a portfolio model asks for, each its own line."""

    liquidity: Liquidity | None = None
    regime: Regime | None = None
    gap: Gap | None = None
    funding: Funding | None = None
    depeg: Depeg | None = None


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule's parameters; which are needed depends on the model (engine/rules.py has the table).

    flat: initial and maintenance, money per unit of quantity. tiered: tiers. volatility: per unit, the larger of floor and
    multiple x volatility x sqrt(days) x price, with the volatility of the underlying at tenor_days (a fraction a year of
    days_per_year days; one in basis points a day is multiplied by the DV01 instead of the price); initial is maintenance x
    initial_ratio. stale_after: seconds after which the volatility is stale. maturity (FINRA 4210(e)(2)(A)): bands are shares
    of market value by the security's remaining maturity, [years up to, share] ascending, the last one null: any; through:
    whether a band holds on the day its years end. They are maintenance; x initial_ratio initial.

    Portfolio models (historical, scan, grid, points) margin all positions of an account under the rule as one, in
    `currency`, over the scenario set `scenarios`: the requirement x multiplier is maintenance, x initial_ratio initial.
    Shares are fractions, money is in major units. tail: share of losses beyond the quantile; stress_weight: of the stress
    set; floor: share of the market value held, or bands of it by remaining maturity (none for what has no maturity).
    calendar_charge: money per delta of a spread between expiries; minimum: money of the portfolio (historical), per short
    option (scan), or x multiplier per option contract (points; future_minimum: per future). dampener: money off each pair's
    tail cells; gain_share, gain_cap: what of a pair's gain counts; roll_rate (a year), roll_minimum: shares of the net
    delta's value of an expiry; delta_threshold, delta_step, delta_cap: the delta shock. offset: share of a class's gain that
    counts against others.

    cross_margin: houses are the two rules (futures, Treasuries) whose models answer; cap, precision, ttl (seconds) of the
    saving; products and years of eligible positions; pools of the accounts; pairs: the spread-based form, which takes rate x
    the lesser outright margin of each spread off both legs, instead of the lesser saving. collateral: assets, through, pilot
    and currency are a Schedule of engine/models/collateral.py.
    """

    initial: Decimal | None = None
    maintenance: Decimal | None = None
    tiers: Annotated[list[Tier], Meta(min_length=1, max_length=16)] | None = None
    bands: Annotated[list[tuple[int | None, Decimal]], Meta(min_length=1, max_length=64)] | None = None
    multiple: Decimal | None = None
    days: Decimal | None = None
    tenor_days: Decimal | None = None
    floor: Decimal | None = None
    initial_ratio: Decimal | None = None
    days_per_year: Decimal = Decimal(365)
    stale_after: Annotated[float, Meta(gt=0)] | None = None
    scenarios: Id | None = None
    currency: Id | None = None
    multiplier: Decimal | None = None
    addons: AddOns | None = None
    tail: Decimal | None = None
    stress_weight: Decimal | None = None
    ranges: dict[Id, Range] | None = None
    calendar_charge: Decimal | None = None
    spreads: Annotated[list[Spread], Meta(max_length=32)] | None = None
    minimum: Decimal | None = None
    future_minimum: Decimal | None = None
    dampener: Decimal | None = None
    gain_share: Decimal | None = None
    gain_cap: Decimal | None = None
    roll_rate: Decimal | None = None
    roll_minimum: Decimal | None = None
    delta_threshold: Decimal | None = None
    delta_step: Decimal | None = None
    delta_cap: Decimal | None = None
    offset: Decimal | None = None
    houses: tuple[Id, Id] | None = None
    cap: Decimal | None = None
    precision: Decimal | None = None
    ttl: Annotated[float, Meta(ge=0)] | None = None
    products: list[Id] | None = None
    years: Annotated[int, Meta(ge=0, le=100)] | None = None
    pools: list[Id] | None = None
    pairs: Annotated[list[Pair], Meta(min_length=1, max_length=32)] | None = None
    assets: Annotated[dict[Id, Terms], Meta(min_length=1, max_length=1024)] | None = None
    through: bool = True
    pilot: Pilot | None = None

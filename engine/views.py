"""Read-only views of the state: sums for metrics, and everything stored by ids for comparison."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E12, LIMIT, fits, kernel, mul_div_floor
from engine.definitions import Definitions
from engine.evaluate import margin_amount
from engine.report import TOP, UTILIZATION_BOUNDS, Population, Quality, Status
from engine.state import CHUNK, NONE, State


@kernel
def _sum_pools(state: State, pools: NDArray[np.int64], sums: NDArray[np.int64], deficits: NDArray[np.int64]) -> None:
    """sums[pool] += equity, initial, maintenance and deficit of each account, in US cents; deficits: by account.

    A deficit is what equity lacks to maintenance.
    """
    for account in range(len(pools)):
        row = state.accounts.figures[account]
        rate, at = state.assets[row.asset].rate, pools[account]
        short = row.maintenance - row.equity
        sums[at, 0] += mul_div_floor(row.equity, rate, E12)
        sums[at, 1] += mul_div_floor(row.initial, rate, E12)
        sums[at, 2] += mul_div_floor(row.maintenance, rate, E12)
        deficits[account] = mul_div_floor(max(0, short), rate, E12)
        sums[at, 3] += deficits[account]


@kernel
def _sum_collateral(state: State, pools: NDArray[np.int64], sums: NDArray[np.int64]) -> None:
    """sums[pool, asset] += what holdings count after haircut and cap, in US cents; what is owed is no collateral."""
    for asset in range(state.now[0].assets):
        rate = state.assets[asset].rate
        for account in range(len(pools)):
            held = state.accounts.holding[asset, account]
            if held > 0:
                amount = margin_amount(state, pools[account], asset, held)
                if fits(amount, rate, E12):
                    sums[pools[account], asset] += mul_div_floor(amount, rate, E12)


@kernel
def _sum_exposures(state: State, accounts: int, sums: NDArray[np.float64]) -> None:
    """sums[factor] = exposures of the accounts that are long, and of those that are short (as a number above 0)."""
    for factor in range(len(sums)):
        row = state.accounts.exposure[factor]
        for account in range(accounts):
            held = float(row[account])
            sums[factor, 0] += max(held, 0.0)
            sums[factor, 1] += max(-held, 0.0)


@kernel
def _sum_agreements(state: State, sums: NDArray[np.int64]) -> None:
    """sums += agreements in force, what their legs require alone, and what they save, in US cents."""
    for g in range(state.now[0].agreements):
        row = state.agreements[g]
        if row.active:
            sums[0] += 1
            futures, treasury = state.portfolios[row.cme].asset, state.portfolios[row.ficc].asset
            for asset, alone, after in (
                (futures, row.alone_futures, row.after_futures),
                (treasury, row.alone_treasury, row.after_treasury),
            ):
                rate = state.assets[asset].rate
                if alone < LIMIT and fits(alone, rate, E12):
                    sums[1] += mul_div_floor(alone, rate, E12)
                    sums[2] += mul_div_floor(max(0, alone - after), rate, E12)


def population(state: State, definitions: Definitions) -> Population:
    """The accounts of a shard in sum."""
    count = len(definitions.account_ids)
    figures = state.accounts.figures[:count]
    status, quality = figures["status"].copy(), figures["quality"].copy()
    pool_ids, pools = definitions.pool_ids, np.array(definitions.account_pools, np.int64)
    sums = np.zeros((len(pool_ids), 4), np.int64)
    deficits = np.zeros(count, np.int64)
    _sum_pools(state, pools, sums, deficits)
    largest = np.argsort(-deficits, kind="stable")[:TOP]
    crossed = np.zeros(3, np.int64)
    _sum_agreements(state, crossed)
    equity, maintenance = figures["equity"].astype(float), figures["maintenance"].astype(float)
    used = maintenance > 0
    ratio = np.full(count, np.inf)
    np.divide(maintenance, equity, out=ratio, where=equity > 0)
    ratio = ratio[used]
    bounds = np.array(UTILIZATION_BOUNDS)
    marks = state.instruments[: len(definitions.instrument_ids)]
    open_marks = marks["mark_ts_ns"][(marks["priced"] == 1) & (marks["closed"] == 0)]
    age = int(state.now[0]["clock_ns"]) - int(open_marks.min()) if len(open_marks) else 0

    def per_pool(column: int) -> dict[str, int]:
        return {pool: int(sums[i, column]) for i, pool in enumerate(pool_ids)}

    return Population(
        by_status={s.name: int((status == s).sum()) for s in Status},
        by_quality={q.name: int((quality == q).sum()) for q in Quality},
        equity_usd=per_pool(0),
        initial_usd=per_pool(1),
        maintenance_usd=per_pool(2),
        deficit_usd=per_pool(3),
        utilization_counts=np.bincount(np.searchsorted(bounds, ratio), minlength=len(bounds) + 1).astype(np.int64),
        utilization_sum=float(ratio[np.isfinite(ratio)].sum()),
        price_age_seconds_max=max(0.0, age / 1e9),
        open_calls=int((status >= Status.CALL).sum()),
        agreements_in_force=int(crossed[0]),
        agreements=int(state.now[0]["agreements"]),
        cross_alone_usd=int(crossed[1]),
        cross_saved_usd=int(crossed[2]),
        collateral_usd=_collateral(state, definitions, pools),
        **_exposures(state, definitions),
        top_deficits_usd={definitions.account_ids[a]: int(deficits[a]) for a in largest if deficits[a] > 0},
        deficit_accounts=int(np.count_nonzero(deficits)),
    )


def _collateral(state: State, definitions: Definitions, pools: NDArray[np.int64]) -> dict[tuple[str, str], int]:
    """US cents by pool and asset, without what nobody holds."""
    sums = np.zeros((len(definitions.pool_ids), len(definitions.asset_ids)), np.int64)
    _sum_collateral(state, pools, sums)
    held = zip(*np.nonzero(sums), strict=True)
    return {(definitions.pool_ids[pool], definitions.asset_ids[asset]): int(sums[pool, asset]) for pool, asset in held}


def _exposures(state: State, definitions: Definitions) -> dict[str, Any]:
    """dv01_usd and delta_units of a Population, from the names of the risk factors (engine/definitions.py)."""
    names = definitions.factor_names
    sums = np.zeros((len(names), 2))
    _sum_exposures(state, len(definitions.account_ids), sums)
    instruments = state.instruments[: len(definitions.instrument_ids)]
    factors, firsts = np.unique(instruments["dv01_factor"], return_index=True)
    dv01, delta = {}, {}
    for factor, asset in zip(factors.tolist(), instruments["asset"][firsts].tolist(), strict=True):
        if factor != NONE:
            currency = definitions.asset_ids[asset]
            usd = float(state.assets[asset]["rate"]) / 1e20  # of 1e-6 minor units
            dv01[currency, names[factor].removeprefix(f"dv01:{currency}:")] = (sums[factor] * usd).tolist()
    for factor in np.unique(instruments["delta_factor"]).tolist():
        if factor != NONE:
            delta[names[factor].removeprefix("delta:")] = (sums[factor] / 1e10).tolist()
    return {"dv01_usd": dv01, "delta_units": delta}


def stored(state: State, definitions: Definitions) -> dict[str, dict[Any, Any]]:
    """What the engine stores, by ids: exact integers, in the units of the state; zero entries are left out.

    positions: (lots, cost, realized) micros; holdings: minor units; exposures: dv01 and notional in micros, delta in 1e-10
    units of the underlying; marks: (thousandths of a tick, ts_ns); volatilities: (1e-9, basis points or not, ts_ns).
    """
    names, accounts = definitions.account_ids, state.accounts
    count = len(names)
    positions = {}
    for chunk in range(int(state.now[0]["chunks"])):
        row = state.instruments[state.book.chunk_instrument[chunk]]
        instrument = definitions.instrument_ids[int(state.book.chunk_instrument[chunk])]
        is_last = chunk == row["last_chunk"]
        for slot in range(chunk * CHUNK, chunk * CHUNK + (int(row["last_used"]) if is_last else CHUNK)):
            held = state.book.position[slot]
            key = names[state.book.account[slot]], instrument
            positions[key] = int(state.book.lots[slot]), int(held["cost"]), int(held["realized"])

    def nonzero(array: NDArray[np.int64], labels: list[str]) -> dict[tuple[str, str], int]:
        part = array[: len(labels), :count]
        return {(names[a], labels[r]): int(part[r, a]) for r, a in zip(*np.nonzero(part), strict=True)}

    currencies = [definitions.asset_ids[a] for a in state.currencies[: int(state.now[0]["currencies"])]]
    marks = {
        name: (int(state.instruments[i]["mark"]), int(state.instruments[i]["mark_ts_ns"]))
        for i, name in enumerate(definitions.instrument_ids)
        if state.instruments[i]["priced"]
    }
    volatilities = {
        (definitions.instrument_ids[int(v["underlying"])], int(v["tenor"])): (
            int(v["value"]),
            bool(v["basis_points"]),
            int(v["ts_ns"]),
        )
        for v in state.volatilities[: int(state.now[0]["volatilities"])]
    }
    return {
        "positions": positions,
        "holdings": nonzero(accounts.holding, definitions.asset_ids),
        "exposures": nonzero(accounts.exposure, definitions.factor_names)
        | nonzero(accounts.value, [f"notional:{currency}" for currency in currencies]),
        "marks": marks,
        "volatilities": volatilities,
    }

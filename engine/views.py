"""Read-only views of the state: sums for metrics, and everything stored by ids for comparison."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E12, LIMIT, fits, kernel, mul_div_floor
from engine.definitions import Definitions
from engine.documents import Agreement, Asset
from engine.equity import margin_amount
from engine.models.cross_margin import Basis
from engine.report import (
    CALL_AGES,
    OLDER,
    OPEN_CALLS,
    TOP,
    UTILIZATION_BOUNDS,
    AccountInfo,
    AgreedLeg,
    AgreementInfo,
    AgreementState,
    CallState,
    OpenCall,
    Population,
    Quality,
    Said,
    Status,
)  # fmt: skip
from engine.state import CHUNK, NONE, State

_FIRST_OPEN: Final = int(min(OPEN_CALLS))
_LAST_OPEN: Final = int(max(OPEN_CALLS))


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
            if state.accounts.holding[asset, account] > 0:
                amount = margin_amount(state, account, asset, state.accounts.figures[account].maintenance)
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
def _sum_calls(
    state: State, sums: NDArray[np.int64], by_state: NDArray[np.int64], ages_ns: NDArray[np.int64], by_age: NDArray[np.int64]
) -> None:
    """sums[pool, 4] += what open calls still ask for, in US cents; by_state[state], by_age[up to ages_ns] += calls."""
    for i in range(state.now[0].calls):
        call = state.calls[i]
        if call.account != NONE and _FIRST_OPEN <= call.state <= _LAST_OPEN:
            rate = state.assets[state.accounts.figures[call.account].asset].rate
            sums[state.accounts.pool[call.account], 4] += mul_div_floor(call.amount - call.received, rate, E12)
            by_state[call.state] += 1
            by_age[np.searchsorted(ages_ns, state.now[0].clock_ns - call.issued_ns)] += 1


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


def _calls_of(state: State, slot: int) -> list[int]:
    """The rows of an account's open calls, the oldest first."""
    found, i = [], int(state.accounts.first_call[slot])
    while i != NONE:
        if _FIRST_OPEN <= state.calls[i]["state"] <= _LAST_OPEN:
            found.append(i)
        i = int(state.calls[i]["next"])
    return found


def find_call(state: State, who: AccountInfo, slot: int, call_id: str) -> int:
    """The row of the account's open call of that id, or NONE."""
    rows = _calls_of(state, slot)
    return next((i for i in rows if who.call_id(int(state.calls[i]["sequence"])) == call_id), NONE)


def open_calls(state: State, who: Callable[[int], AccountInfo], said: dict[str, list[Said]]) -> list[OpenCall]:
    """All open calls by account slot, the oldest first; said: by call id."""
    calls = []
    for slot in np.flatnonzero(state.accounts.first_call[: int(state.now[0]["accounts"])] != NONE).tolist():
        for i in _calls_of(state, slot):
            row = state.calls[i]
            sequence, called, received = int(row["sequence"]), int(row["amount"]), int(row["received"])
            words = tuple(said.get(who(slot).call_id(sequence), ()))
            times = int(row["issued_ns"]), int(row["due_ns"])
            calls.append(OpenCall(slot, sequence, CallState(int(row["state"])), called, received, *times, words))
    return calls


def population(state: State, definitions: Definitions) -> Population:
    """The accounts of a shard in sum."""
    count = len(definitions.account_ids)
    figures = state.accounts.figures[:count]
    status, quality = figures["status"].copy(), figures["quality"].copy()
    pool_ids, pools = definitions.pool_ids, np.array(definitions.account_pools, np.int64)
    sums = np.zeros((len(pool_ids), 5), np.int64)
    deficits = np.zeros(count, np.int64)
    _sum_pools(state, pools, sums, deficits)
    largest = _largest(deficits, TOP)
    by_state = np.zeros(max(CallState) + 1, np.int64)
    by_age = np.zeros(len(CALL_AGES) + 1, np.int64)
    _sum_calls(state, sums, by_state, np.array(list(CALL_AGES.values())), by_age)
    calls = {one.name: int(by_state[one]) for one in OPEN_CALLS}
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
        calls=calls,
        call_ages=dict(zip((*CALL_AGES, OLDER), by_age.tolist(), strict=True)),
        called_usd=per_pool(4),
        agreements_in_force=int(crossed[0]),
        agreements=int(state.now[0]["agreements"]),
        cross_alone_usd=int(crossed[1]),
        cross_saved_usd=int(crossed[2]),
        collateral_usd=_collateral(state, definitions, pools),
        **_exposures(state, definitions),
        top_deficits_usd={definitions.account_ids[slot]: int(deficits[slot]) for slot in largest.tolist()},
        deficit_accounts=int(np.count_nonzero(deficits)),
    )


def _largest(amounts: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Places of the largest amounts above 0, at most count, the largest first, of equal ones the first first."""
    least = max(1, np.partition(amounts, -count)[-count]) if len(amounts) > count else 1
    places = np.flatnonzero(amounts >= least)
    return places[np.argsort(-amounts[places], kind="stable")[:count]]


def agreement(state: State, definitions: Definitions, at: int) -> AgreementInfo:
    """How the agreement in a row stands."""
    row, agreement_id = state.agreements[at], definitions.portfolios.agreement_ids[at]
    document, reasons = definitions.documents["agreement", agreement_id], definitions.portfolios.not_in_force
    assert isinstance(document, Agreement)
    known = bool(row["active"] and row["done"])
    basis = Basis(int(row["basis"])).name if known else ""
    standing = AgreementState.IN_FORCE if row["active"] else AgreementState.NOT_IN_FORCE
    if known and basis != Basis.AGREED.name:
        standing = AgreementState.FALLBACK

    def leg(name: str, account: str, house: str) -> AgreedLeg:
        slot = state.accounts.figures[row[name]]["asset"] if row[house] == NONE else state.portfolios[row[house]]["asset"]
        asset = definitions.documents["asset", definitions.asset_ids[int(slot)]]
        assert isinstance(asset, Asset)
        alone = int(row[f"alone_{name}"])
        if not known or alone >= LIMIT:
            return AgreedLeg(account, asset.id, asset.decimals, None, None)
        return AgreedLeg(account, asset.id, asset.decimals, alone, min(alone, int(row[f"after_{name}"])))

    return AgreementInfo(
        agreement_id, document.customer, document.rule, standing, tuple(reasons.get(agreement_id, ())),
        int(row["applied"]) if known and not row["pairs"] else 0, basis, leg("futures", document.futures_account, "cme"),
        leg("treasury", document.treasury_account, "ficc"),
    )  # fmt: skip


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

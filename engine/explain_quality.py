"""Why an account is not FRESH: the inputs of its figures that are old or missing."""

from collections.abc import Iterator
from typing import NamedTuple

from engine.core import MarginEngine
from engine.events import NS
from engine.explain import held
from engine.report import Quality
from engine.state import NONE


class Input(NamedTuple):
    """An instrument that is STALE or UNPRICED, when it had its last price (0: never), and why it is so."""

    instrument: str
    quality: Quality
    ts_ns: int
    why: str


def reasons(engine: MarginEngine, account: int) -> list[str]:
    """Each input that evaluate.account_quality finds STALE or UNPRICED, as of the last clock; none of a FRESH account."""
    return [f"{one.instrument}: {one.why}" for one in inputs(engine, account)]


def inputs(engine: MarginEngine, account: int) -> list[Input]:
    """The same with what there is to say of each."""
    state = engine.definitions.state
    mine = [instrument for instrument, _ in held(state, account)]
    marks = sorted({*mine, *_priced_by(engine, account)})
    found = [_input(engine, slot, "mark_quality", why) for slot in marks if (why := _mark(engine, slot))]
    for slot in mine:
        row = state.instruments[slot]
        if row["quality"] > row["mark_quality"]:
            missing = row["quality"] == Quality.UNPRICED
            found.append(_input(engine, slot, "quality", f"an input of its rule is {'missing' if missing else 'old'}"))
    return found


def _input(engine: MarginEngine, slot: int, quality: str, why: str) -> Input:
    row = engine.definitions.state.instruments[slot]
    ts_ns = int(row["mark_ts_ns"]) if row["priced"] else 0
    return Input(engine.definitions.instrument_ids[slot], Quality(int(row[quality])), ts_ns, why)


def _mark(engine: MarginEngine, slot: int) -> str:
    """What is wrong with an instrument's mark, "" where nothing is."""
    state = engine.definitions.state
    row = state.instruments[slot]
    if row["closed"] or row["mark_quality"] == Quality.FRESH:
        return ""
    if row["mark_quality"] == Quality.UNPRICED:
        return "no price has come"
    age, limit = (engine.clock_ns - int(row["mark_ts_ns"])) // NS, int(row["stale_ns"]) / NS
    return f"its price is {age:,} s old, its limit is {limit:,.15g} s{'' if row['calendar'] == NONE else ' of its sessions'}"


def _priced_by(engine: MarginEngine, account: int) -> Iterator[int]:
    """The instruments whose marks value what the account has of assets and currencies, and its own currency."""
    state = engine.definitions.state
    accounts = state.accounts
    for asset in range(len(engine.definitions.asset_ids)):
        row = state.assets[asset]
        used = accounts.holding[asset, account] != 0 or accounts.figures[account]["asset"] == asset
        if row["currency_slot"] != NONE:
            used = used or any(sums[row["currency_slot"], account] != 0 for sums in (accounts.value, accounts.book))
        at = asset
        while used:  # an asset's price is in another's currency, up to the base
            row = state.assets[at]
            if row["instrument"] != NONE:
                yield int(row["instrument"])
            used, at = row["currency"] != at, int(row["currency"])

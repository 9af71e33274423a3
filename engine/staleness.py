"""Which instruments keep accounts from being FRESH: what evaluate.account_quality finds of each account, of all in one."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.definitions import Definitions
from engine.documents import Instrument
from engine.report import Quality
from engine.state import CHUNK, NONE, State

_FRESH: Final = int(Quality.FRESH)


class Stale(NamedTuple):
    """An instrument that makes accounts STALE or UNPRICED, its type, and the time of its last price, 0: none has come."""

    instrument: str
    type: str
    quality: Quality
    mark_ns: int


def stale_instruments(state: State, definitions: Definitions) -> tuple[Stale, ...]:
    """Those that somebody holds and of which a price or another input of their rule is old or missing, and those whose old
    or missing price values an asset in use; the oldest price first.
    """
    rows = state.instruments[: len(definitions.instrument_ids)]
    quality = np.where(_are_held(state, len(rows)), rows["quality"], _FRESH)
    pricing = state.assets["instrument"][: len(definitions.asset_ids)][_are_used(state, definitions)]
    pricing = pricing[pricing != NONE]
    quality[pricing] = np.maximum(quality[pricing], rows["mark_quality"][pricing])
    found = []
    for slot in np.flatnonzero(quality != _FRESH).tolist():
        name, row = definitions.instrument_ids[slot], rows[slot]
        document = definitions.documents["instrument", name]
        assert isinstance(document, Instrument)
        mark_ns = int(row["mark_ts_ns"]) if row["priced"] else 0
        found.append(Stale(name, document.type, Quality(int(quality[slot])), mark_ns))
    return tuple(sorted(found, key=lambda one: (one.mark_ns, one.instrument)))


def _are_held(state: State, instruments: int) -> NDArray[np.bool_]:
    """By instrument: whether a position in it is open."""
    chunks, held = int(state.now[0]["chunks"]), np.zeros(instruments, np.bool_)
    is_open = state.book.lots[: chunks * CHUNK].reshape(chunks, CHUNK).any(axis=1)
    held[state.book.chunk_instrument[:chunks][is_open]] = True
    return held


def _are_used(state: State, definitions: Definitions) -> NDArray[np.bool_]:
    """By asset: whether an account holds or owes it or is kept in it, or an asset in use is priced in it."""
    accounts, count, assets = state.accounts, len(definitions.account_ids), len(definitions.asset_ids)
    used = accounts.holding[:assets, :count].any(axis=1)
    used |= np.bincount(accounts.figures["asset"][:count], minlength=assets) > 0
    for asset in reversed(range(assets)):  # one is defined before what is priced in it
        row = state.assets[asset]
        slot = int(row["currency_slot"])
        if slot != NONE:
            used[asset] |= accounts.value[slot, :count].any() or accounts.book[slot, :count].any()
        if used[asset]:
            used[row["currency"]] = True
    return used

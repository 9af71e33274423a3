"""Digests of the state by ids, not slots: equal for equal content, however the log was cut or sharded."""

from typing import Any

import numpy as np

from engine.arithmetic import kernel, mix, part, wrapping_add
from engine.state import CHUNK, NONE, Risk, State

_SEED = np.uint64(0x5EED)


@part
def _statements(state: State, account: int) -> Any:
    """The sum of a hash of each statement of an account."""
    total, i = np.uint64(0), state.accounts.first_statement[account]
    while i != NONE:
        row = state.statements[i]
        item = state.assets[row.slot].key if row.is_asset else state.instruments[row.slot].key
        h = mix(mix(mix(_SEED, item), int(row.is_asset)), row.holder)
        total = wrapping_add(total, mix(mix(mix(mix(h, row.quantity), row.ts_ns), row.since_ns), row.gone_ns))
        i = row.next
    return total


@part
def _account_hash(state: State, account: int) -> Any:
    accounts, book, figures = state.accounts, state.book, state.accounts.figures[account]
    h = mix(_SEED, accounts.key[account])
    for value in (
        figures.equity, figures.initial, figures.maintenance, figures.call, figures.excess_usd, figures.change,
    ):  # fmt: skip
        h = mix(h, value)
    h = mix(h, (int(figures.status) << 16) + (int(figures.quality) << 8) + int(accounts.flags[account]))
    parts = np.uint64(0)
    for j in range(state.now[0].assets):
        if accounts.holding[j, account] != 0:
            parts = wrapping_add(parts, mix(mix(_SEED, state.assets[j].key), accounts.holding[j, account]))
    for c in range(state.now[0].currencies):
        key = mix(_SEED, state.assets[state.currencies[c]].key)
        if accounts.value[c, account] != 0 or accounts.book[c, account] != 0:
            parts = wrapping_add(parts, mix(mix(key, accounts.value[c, account]), accounts.book[c, account]))
    for f in range(state.now[0].factors):
        if accounts.exposure[f, account] != 0:
            parts = wrapping_add(parts, mix(mix(_SEED, state.factor_keys[f]), accounts.exposure[f, account]))
    slot = accounts.first_position[account]
    while slot != NONE:
        row = book.position[slot]
        p = mix(_SEED, state.instruments[book.chunk_instrument[slot // CHUNK]].key)
        p = mix(mix(mix(p, book.lots[slot]), row.cost), row.realized)
        parts = wrapping_add(parts, mix(mix(p, row.as_of_ns), row.last_trade_ns))
        slot = book.next[slot]
    i = accounts.first_call[account]
    while i != NONE:
        call = state.calls[i]
        p = mix(mix(mix(mix(_SEED, call.sequence), int(call.state)), call.amount), call.received)
        parts = wrapping_add(parts, mix(mix(mix(p, call.issued_ns), call.due_ns), call.since_ns))
        i = call.next
    parts = wrapping_add(parts, _statements(state, account))
    return mix(mix(mix(h, parts), accounts.calls_made[account]), accounts.money[account])


@kernel
def accounts_digest(state: State) -> Any:
    """The sum, modulo 2^64, of one hash per account."""
    total = np.uint64(0)
    for account in range(state.now[0].accounts):
        total = wrapping_add(total, _account_hash(state, account))
    return total


@part
def _row_hash(state: State, risk: Risk, instrument: int, h: Any) -> Any:
    """The hash h of an instrument, and of its risk rows if it has any."""
    row = state.instruments[instrument]
    if row.sets == 0:
        return h
    h = mix(mix(mix(h, row.sets), row.built_forward), row.missing)
    if row.missing == row.sets:
        return h
    for s in range(len(risk.width)):
        if (row.sets & ~row.missing) >> s & 1:
            h = mix(mix(h, risk.scale[s, instrument]), risk.bound[s, instrument])
            values = risk.values[s][instrument]
            for k in range(risk.width[s]):
                h = mix(h, values[k])
    return mix(mix(mix(h, row.risk_delta), row.gross), row.roll)


@kernel
def tables_digest(state: State, risk: Risk) -> Any:
    """The sum, modulo 2^64, of hashes of what every shard holds alike: marks, margin rates, volatilities, asset rates."""
    total = mix(_SEED, state.now[0].clock_ns)
    for i in range(state.now[0].instruments):
        row = state.instruments[i]
        h = mix(mix(mix(_SEED, row.key), row.mark), row.mark_ts_ns)
        h = mix(mix(mix(h, row.settlement), row.lot_value), row.delta)
        h = mix(mix(mix(h, row.initial_rate), row.maintenance_rate), row.built_value)
        h = mix(mix(mix(h, row.built_mark), row.built_volatility), row.built_ns)
        bits = (int(row.priced) << 4) + (int(row.settled) << 3) + (int(row.closed) << 2) + int(row.quality)
        total = wrapping_add(total, mix(mix(_row_hash(state, risk, i, h), bits), row.rule_version))
    for v in range(state.now[0].volatilities):
        held = state.volatilities[v]
        h = mix(mix(_SEED, state.instruments[held.underlying].key), held.tenor)
        total = wrapping_add(total, mix(mix(mix(h, held.value), held.ts_ns), held.basis_points))
    for j in range(state.now[0].assets):
        asset = state.assets[j]
        total = wrapping_add(total, mix(mix(mix(_SEED, asset.key), asset.rate), int(asset.quality)))
    return total


@kernel
def origins_digest(state: State) -> Any:
    """A hash of what recovery needs beyond the digest: watermarks, covered ranges and the remembered ids."""
    total, now = np.uint64(0), state.now[0]
    for kind in range(state.covered.shape[0]):
        for partition in range(state.covered.shape[1]):
            h = mix(mix(_SEED, kind), partition)
            h = mix(mix(h, state.watermark_offset[kind, partition]), state.watermark_index[kind, partition])
            total = wrapping_add(total, mix(h, state.covered[kind, partition]))
    for at in range(len(state.ids)):
        for generation in range(2):
            for key in state.ids[at, generation]:
                if key != 0:
                    total = wrapping_add(total, mix(mix(_SEED, key), int(generation == now.generation)))
    return mix(total, now.ids)

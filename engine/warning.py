"""Early warning: what moves would bring accounts below maintenance, what would be called, and what falls due when.

A factor is the parallel move of all rates of a currency (in basis points, from its DV01 buckets), or the relative move of an
underlying or of the mark of an asset (in per cent, from net deltas and collateral). Everything is linear in what an account
holds now, with requirements as they are: exact for what is linear in its price, but for rounding, caps and what a currency's
move does to profits in it; options count with the delta their risk rows were built with, without gamma (without rows: as
their underlying). Figures are floating point in US cents: nothing here is stored.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arithmetic import E6, E9, E12, kernel, part
from engine.definitions import Definitions
from engine.documents import Instrument, Pool
from engine.equity import margin_amount
from engine.events import DAY_NS, HOUR_NS, WEEK_NS
from engine.models.addons import Regime, volatility_buffer
from engine.numbers import decimal_text
from engine.report import OPEN_CALLS, CallState, Quality
from engine.staleness import Stale, stale_instruments
from engine.state import CHUNK, NONE, PORTFOLIO, State

MOST_RATES: Final = 500  # basis points: no distance is given beyond it
MOST_RELATIVE: Final = 100  # per cent
FIRST: Final = 20  # accounts named on each step of the ladder
FIRST_AT_CLOSE: Final = 5  # accounts named for each move of the forecast
COIN: Final = "BTC"  # the asset whose underlying the ladder moves
RUNGS: Final[dict[str, tuple[str, float]]] = {
    **{f"rates {move:+d} bp": ("rates", move / MOST_RATES) for move in (-100, -50, -25, 25, 50, 100)},
    **{f"{COIN} {move:+d} %": (COIN, move / MOST_RELATIVE) for move in (-30, -20, -10, 10, 20, 30)},
}
UNCHANGED: Final = "unchanged"
WINDOWS: Final = {"1h": HOUR_NS, "4h": 4 * HOUR_NS, "24h": 24 * HOUR_NS}  # beyond them: LATER; overdue is in the first
LATER: Final = "later"
REGIMES: Final = tuple(regime.name.lower() for regime in Regime)
_DAYS_A_YEAR: Final = 365
_HOURS_A_DAY: Final = DAY_NS // HOUR_NS
_UNPRICED, _PENDING = int(Quality.UNPRICED), int(CallState.PENDING)
Floats = NDArray[np.float64]
Named = tuple[tuple[str, int], ...]  # accounts and US cents


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder: accounts not below maintenance now that it brings there, what would be called, US cents.

    first: the largest of those calls by account id.
    """

    accounts: int
    call_usd: int
    first: Named


@dataclass(frozen=True, slots=True)
class Warnings:
    """Early warning of one shard, as of its clock; money in US cents.

    short, unpriced: accounts below maintenance now, and those left out because they are UNPRICED. ladder: by the names in
    RUNGS. forecast: by pool and move, what would be called at the close beyond what is called: UNCHANGED if nothing moves,
    else after a move of one factor by its standard deviation until then; forecast_first: the largest of it by account id.
    close_hours: by pool, until the next close of its calendar's sessions, rounded up, at most a day. due: what open calls
    still ask for, by currency and window, and by currency and the hour at whose end it is due, in the currency. regimes: of
    rules with a volatility regime. unvalued: factors held that have no price. stale: engine/staleness.py. By account slot:
    distance, the smallest move of one factor, signed, that takes equity to maintenance (0: below it now, nan: none up to
    the most), and nearest, that factor's place in factors, NONE.
    """

    ts_ns: int
    short: int
    unpriced: int
    ladder: dict[str, Rung]
    forecast: dict[str, dict[str, int]]
    forecast_first: dict[str, dict[str, Named]]
    close_hours: dict[str, int]
    due: dict[tuple[str, str], int]
    due_hours: dict[tuple[str, int], str]
    regimes: dict[str, str]
    unvalued: tuple[str, ...]
    stale: tuple[Stale, ...]
    factors: tuple[str, ...]
    distance: Floats
    nearest: NDArray[np.int32]


class _Terms(NamedTuple):
    """What a kernel needs: gains in US cents at the most of a factor's move, upwards; (asset, factor) shares of value."""

    group: NDArray[np.int32]  # by exposure: its factor, NONE without a price
    scale: Floats  # by exposure: gain of one unit
    links: Floats
    linked: NDArray[np.int32]  # assets that move with some factor
    rates: NDArray[np.uint8]  # by factor
    options: Floats  # (factor, account): gain beyond that of their exposures; no accounts where no option has a delta
    target: NDArray[np.int32]  # by shock: a factor, one past them for all rates, NONE for nothing
    multiple: Floats  # of the most; by shock, of the forecast for a day
    pools: NDArray[np.int64]  # by account
    left: Floats  # by pool: what the forecast takes of the move of a day


class _Out(NamedTuple):
    gain: Floats  # scratch: by factor, and of all rates
    counts: NDArray[np.int64]  # short, unpriced
    share: Floats  # by account: of the most
    nearest: NDArray[np.int32]
    fallen: NDArray[np.int64]  # by rung
    called: Floats  # by rung
    largest: Floats  # (rung, FIRST), descending
    who: NDArray[np.int32]
    wanted: Floats  # (shock after the rungs, pool)
    largest_wanted: Floats  # (shock after the rungs, pool, FIRST_AT_CLOSE), descending
    who_wanted: NDArray[np.int32]


@part
def _gains(state: State, account: int, terms: _Terms, equity: float, gain: Floats) -> None:
    accounts, figures, count = state.accounts, state.accounts.figures[account], len(terms.rates)
    gain[:] = 0.0
    for f in range(len(terms.group)):
        held = accounts.exposure[f, account]
        if held != 0 and terms.group[f] != NONE:
            gain[terms.group[f]] += float(held) * terms.scale[f]
    for j in terms.linked:
        row = state.assets[j]
        amount = margin_amount(state, account, j, figures.maintenance)
        if row.currency_slot != NONE:
            amount += (accounts.value[row.currency_slot, account] - accounts.book[row.currency_slot, account]) // E6
        cents = float(amount) * float(row.rate) / E12
        if j == figures.asset:  # what is not in its own currency is worth less of it
            cents -= equity
        if cents != 0.0:
            for g in range(count):
                gain[g] += cents * terms.links[j, g]
    for g in range(count):
        if account < terms.options.shape[1]:
            gain[g] += terms.options[g, account]
        if terms.rates[g]:
            gain[count] += gain[g]


@part
def _asked(state: State, account: int) -> int:
    total, i = 0, state.accounts.first_call[account]
    while i != NONE:
        call = state.calls[i]
        if call.state != _PENDING:
            total += call.amount - call.received
        i = call.next
    return total


@part
def _keep_largest(largest: Floats, who: NDArray[np.int32], call: float, account: int) -> None:
    at = len(largest) - 1
    if call <= largest[at]:
        return
    while at > 0 and largest[at - 1] < call:
        largest[at], who[at] = largest[at - 1], who[at - 1]
        at -= 1
    largest[at], who[at] = call, account


@kernel
def _warn(state: State, terms: _Terms, out: _Out) -> None:
    """Every account's nearest factor, and what each shock does to it; the first shocks are the rungs."""
    for account in range(state.now[0].accounts):
        row, pool = state.accounts.figures[account], terms.pools[account]
        out.share[account], out.nearest[account] = np.nan, NONE
        if row.quality == _UNPRICED:
            out.counts[1] += 1
            continue
        cents = float(state.assets[row.asset].rate) / E12
        room, missing = float(row.equity - row.maintenance) * cents, float(row.initial - row.equity) * cents
        asked = _asked(state, account) * cents
        _gains(state, account, terms, row.equity * cents, out.gain)
        if room < 0.0:
            out.counts[0] += 1
            out.share[account] = 0.0
        else:
            for g in range(len(terms.rates)):
                gain = out.gain[g]
                if room <= abs(gain) and gain != 0.0:
                    share = -room / gain
                    if out.nearest[account] == NONE or abs(share) < abs(out.share[account]):
                        out.share[account], out.nearest[account] = share, g
        rungs = len(out.fallen)
        for s in range(len(terms.target)):
            move = terms.multiple[s] if s < rungs else terms.multiple[s] * terms.left[pool]
            gain = 0.0 if terms.target[s] == NONE else move * out.gain[terms.target[s]]
            if room + gain < 0.0:
                call = missing - gain
                if s >= rungs:
                    more = max(0.0, call - asked)
                    out.wanted[s - rungs, pool] += more
                    _keep_largest(out.largest_wanted[s - rungs, pool], out.who_wanted[s - rungs, pool], more, account)
                elif room >= 0.0:
                    out.fallen[s] += 1
                    out.called[s] += call
                    _keep_largest(out.largest[s], out.who[s], call, account)


@kernel
def _add_options(state: State, instruments: NDArray[np.int64], terms: _Terms) -> None:
    """terms.options += what these options gain by their own delta beyond that of their exposures."""
    for i in instruments:
        row, chunk = state.instruments[i], state.instruments[i].first_chunk
        factor = row.delta_factor
        each = float(row.risk_delta - row.delta) * terms.scale[factor]
        while chunk != NONE:
            first = chunk * CHUNK
            for slot in range(first, first + (row.last_used if chunk == row.last_chunk else CHUNK)):
                terms.options[terms.group[factor], state.book.account[slot]] += state.book.lots[slot] * each
            chunk = state.book.chunk_next[chunk]


class _Factors:
    """Factors in the order in which they are found, with what a full move up is worth."""

    def __init__(self, state: State, definitions: Definitions) -> None:
        self.state, self.definitions = state, definitions
        self.places: dict[tuple[str, int], int] = {}  # ("rates", currency's asset) or ("delta", instrument)
        self.rows = state.instruments[: len(definitions.instrument_ids)]
        self.rates = state.assets["rate"].astype(float) / E12
        count = len(definitions.factor_names)
        self.group, self.scale = np.full(count, NONE, np.int32), np.zeros(count)
        for kind in ("dv01", "delta"):
            factors, first = np.unique(self.rows[f"{kind}_factor"], return_index=True)
            for factor, i in zip(factors.tolist(), first.tolist(), strict=True):
                if factor != NONE:
                    self._value(factor, self.rows[i], kind == "dv01")
        self.links = [self._moves(j) for j in range(len(definitions.asset_ids))]

    def place(self, kind: str, slot: int) -> int:
        """A factor's number, a new one if it is not yet there."""
        return self.places.setdefault((kind, slot), len(self.places))

    @property
    def names(self) -> tuple[str, ...]:
        """rates:CURRENCY or delta:INSTRUMENT."""
        ids = {"rates": self.definitions.asset_ids, "delta": self.definitions.instrument_ids}
        return tuple(f"{kind}:{ids[kind][slot]}" for kind, slot in self.places)

    def _value(self, factor: int, row: Any, is_rates: bool) -> None:
        if is_rates:
            self.group[factor] = self.place("rates", int(row["asset"]))
            self.scale[factor] = -MOST_RATES / E6 * self.rates[row["asset"]]
            return
        slot = int(row["underlying"])
        of, name = self.rows[slot], self.definitions.instrument_ids[slot]
        document = self.definitions.documents["instrument", name]
        is_price = isinstance(document, Instrument) and document.type != "yield" and not document.inverse
        if is_price and of["priced"] and of["delta"] > 0:
            self.group[factor] = self.place("delta", slot)
            self.scale[factor] = float(of["lot_value"]) / float(of["delta"]) / E6 * self.rates[of["asset"]]

    def _moves(self, asset: int) -> dict[int, float]:
        """By factor: by what share an asset's rate changes with the most of its move, also through its currency."""
        row = self.state.assets[asset]
        moves = {} if row["currency"] == asset else dict(self._moves(int(row["currency"])))
        if row["instrument"] != NONE:
            mark = self.rows[int(row["instrument"])]
            if mark["dv01"] != 0 and mark["lot_value"] > 0:
                place, share = self.place("rates", int(mark["asset"])), -MOST_RATES * mark["dv01"] / mark["lot_value"]
            else:
                slot = int(row["instrument"] if mark["underlying"] == NONE else mark["underlying"])
                place, share = self.place("delta", slot), 1.0
            moves[place] = moves.get(place, 0.0) + float(share)
        return moves

    def coin(self) -> int:
        """The factor that the ladder's coin moves with; NONE without one."""
        if COIN not in self.definitions.asset_ids:
            return NONE
        asset = self.definitions.asset_ids.index(COIN)
        has_mark = self.state.assets[asset]["instrument"] != NONE
        return next(reversed(self.links[asset]), NONE) if has_mark else NONE

    def deviations(self) -> Iterator[tuple[int, float]]:
        """(factor, its standard deviation of a day as a share of the most), of those with a volatility.

        By the shortest tenor; of rates the largest in basis points among the currency's instruments.
        """
        shortest: dict[tuple[int, int], tuple[int, int]] = {}  # (instrument, in basis points) -> (tenor, value)
        for row in self.state.volatilities[: int(self.state.now[0]["volatilities"])]:
            key, one = (int(row["underlying"]), int(row["basis_points"])), (int(row["tenor"]), int(row["value"]))
            shortest[key] = min(shortest.get(key, one), one)
        for (kind, slot), place in self.places.items():
            if kind == "delta":
                found = [value / math.sqrt(_DAYS_A_YEAR) for (i, bp), (_, value) in shortest.items() if i == slot and not bp]
            else:
                found = [
                    value / MOST_RATES
                    for (i, bp), (_, value) in shortest.items()
                    if bp and self.rows[i]["asset"] == slot
                ]  # fmt: skip
            if found:
                yield place, max(found) / E9


def warnings(state: State, definitions: Definitions) -> Warnings:
    """Early warning from the state as it is; nothing in it changes."""
    factors = _Factors(state, definitions)
    names, count = factors.names, len(factors.places)
    shocks = [(factors.coin() if of == COIN else count, multiple) for of, multiple in RUNGS.values()]
    moves = [(NONE, 0.0)] + [(place, sign * share) for place, share in factors.deviations() for sign in (-1, 1)]
    hours = [_close_hours(state, definitions, pool) for pool in definitions.pool_ids]
    left = np.sqrt(np.array(hours, float) / _HOURS_A_DAY)
    terms = _terms(factors, [*shocks, *moves], left)
    accounts, pools, rungs = len(definitions.account_ids), len(definitions.pool_ids), len(RUNGS)
    out = _Out(
        gain=np.zeros(count + 1),
        counts=np.zeros(2, np.int64),
        share=np.zeros(accounts),
        nearest=np.zeros(accounts, np.int32),
        fallen=np.zeros(rungs, np.int64),
        called=np.zeros(rungs),
        largest=np.zeros((rungs, FIRST)),
        who=np.full((rungs, FIRST), NONE, np.int32),
        wanted=np.zeros((len(moves), pools)),
        largest_wanted=np.zeros((len(moves), pools, FIRST_AT_CLOSE)),
        who_wanted=np.full((len(moves), pools, FIRST_AT_CLOSE), NONE, np.int32),
    )
    _warn(state, terms, out)
    most = np.array([MOST_RATES if rates else MOST_RELATIVE for rates in terms.rates] + [0.0])
    exposed = state.accounts.exposure[: len(terms.group), :accounts]
    unvalued = [f for f in np.flatnonzero(terms.group == NONE).tolist() if exposed[f].any()]
    due, due_hours = _due(state, definitions)
    forecast, forecast_first = _forecast(out, definitions, names, moves, left)
    return Warnings(
        ts_ns=int(state.now[0]["clock_ns"]),
        short=int(out.counts[0]),
        unpriced=int(out.counts[1]),
        ladder={name: _rung(out, s, definitions.account_ids) for s, name in enumerate(RUNGS)},
        forecast=forecast,
        forecast_first=forecast_first,
        close_hours=dict(zip(definitions.pool_ids, hours, strict=True)),
        due=due,
        due_hours=due_hours,
        regimes=dict(_regimes(state, definitions)),
        unvalued=tuple(definitions.factor_names[f] for f in unvalued),
        stale=stale_instruments(state, definitions),
        factors=names,
        distance=out.share * most[out.nearest],
        nearest=out.nearest,
    )


def move_text(factor: str, share: float) -> str:
    """A move of a factor in words: rates:USD -5.25 bp, delta:BTC-USD +2.1 %."""
    most, unit = (MOST_RATES, "bp") if factor.startswith("rates:") else (MOST_RELATIVE, "%")
    return f"{factor} {share * most:+.4g} {unit}"


def _close_hours(state: State, definitions: Definitions, pool_id: str) -> int:
    """Hours until the next close of the sessions of a pool's calendar, rounded up; a day where none is within one.

    Whole hours, so that the shards of a log, whose clocks are apart, mostly speak of the same moves.
    """
    pool = definitions.documents["pool", pool_id]
    assert isinstance(pool, Pool)
    if pool.calendar is None:
        return _HOURS_A_DAY
    starts, stops = state.sessions[definitions.calendar_ids.index(pool.calendar)].T
    closes = stops[(stops > starts) & ~np.isin(stops % WEEK_NS, starts[stops > starts])]  # one at the week's end goes on
    ahead = (closes - int(state.now[0]["clock_ns"]) - 1) % WEEK_NS + 1
    ahead_ns: list[int] = ahead.tolist()
    return -(-min([DAY_NS, *ahead_ns]) // HOUR_NS)


def _terms(factors: _Factors, shocks: list[tuple[int, float]], left: Floats) -> _Terms:
    state, definitions = factors.state, factors.definitions
    count, accounts = len(factors.places), len(definitions.account_ids)
    links = np.zeros((len(definitions.asset_ids), count))
    for j, moves in enumerate(factors.links):
        for place, share in moves.items():
            links[j, place] = share
    rows = factors.rows
    valued = np.append(factors.group, NONE)[rows["delta_factor"]] != NONE  # a factor of NONE is the one appended
    own = state.portfolios["set"][rows["portfolio"]]
    built = (rows["option"] == 1) & (rows["model"] == PORTFOLIO) & ((rows["sets"] & ~rows["missing"]) >> own & 1 == 1)
    options = np.flatnonzero(built & valued)
    terms = _Terms(
        group=factors.group,
        scale=factors.scale,
        links=links,
        linked=np.flatnonzero(links.any(axis=1)).astype(np.int32),
        rates=np.array([kind == "rates" for kind, _ in factors.places], np.uint8),
        options=np.zeros((count, accounts if len(options) else 0)),
        target=np.array([place for place, _ in shocks], np.int32),
        multiple=np.array([multiple for _, multiple in shocks]),
        pools=np.array(definitions.account_pools, np.int64),
        left=left,
    )
    _add_options(state, options, terms)
    return terms


def _forecast(
    out: _Out, definitions: Definitions, factors: tuple[str, ...], moves: list[tuple[int, float]], left: Floats
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, Named]]]:
    """What would be called at the close by pool and move, and the largest of it."""
    wanted, first = dict[str, dict[str, int]](), dict[str, dict[str, Named]]()
    for at, pool in enumerate(definitions.pool_ids):
        texts = [UNCHANGED if of == NONE else move_text(factors[of], share * left[at]) for of, share in moves]
        named = [
            _named(out.who_wanted[s, at], out.largest_wanted[s, at], definitions.account_ids) for s in range(len(moves))
        ]
        wanted[pool] = dict(zip(texts, map(round, out.wanted[:, at].tolist()), strict=True))
        first[pool] = {text: some for text, some in zip(texts, named, strict=True) if some}
    return wanted, first


def _rung(out: _Out, s: int, account_ids: list[str]) -> Rung:
    return Rung(int(out.fallen[s]), round(float(out.called[s])), _named(out.who[s], out.largest[s], account_ids))


def _named(slots: NDArray[np.int32], cents: Floats, account_ids: list[str]) -> Named:
    """Account ids and US cents, of the places that are taken."""
    return tuple((account_ids[i], round(one)) for i, one in zip(slots.tolist(), cents.tolist(), strict=True) if i != NONE)


def _due(state: State, definitions: Definitions) -> tuple[dict[tuple[str, str], int], dict[tuple[str, int], str]]:
    """What open calls still ask for: US cents by currency and window, text in major units by currency and hour."""
    calls, clock_ns = state.calls[: int(state.now[0]["calls"])], int(state.now[0]["clock_ns"])
    calls = calls[(calls["account"] != NONE) & (calls["state"] >= min(OPEN_CALLS)) & (calls["state"] <= max(OPEN_CALLS))]
    assets, missing = state.accounts.figures["asset"][calls["account"]], calls["amount"] - calls["received"]
    ahead = np.searchsorted(np.array(list(WINDOWS.values())), calls["due_ns"] - clock_ns)
    hours = -(-calls["due_ns"] // HOUR_NS) * HOUR_NS
    names = (*WINDOWS, LATER)
    due: dict[tuple[str, str], int] = {}
    by_hour: dict[tuple[str, int], str] = {}
    for asset in np.unique(assets).tolist():
        currency, rate, own = definitions.asset_ids[asset], int(state.assets[asset]["rate"]), assets == asset
        decimals = definitions.decimals(currency)
        for place, name in enumerate(names):
            minor = sum(missing[own & (ahead == place)].tolist())
            due[currency, name] = minor * rate // E12
        for hour in np.unique(hours[own]).tolist():
            by_hour[currency, hour] = decimal_text(sum(missing[own & (hours == hour)].tolist()), decimals)
    return due, by_hour


def _regimes(state: State, definitions: Definitions) -> Iterator[tuple[str, str]]:
    """(rule, regime) of the rules in force that look at one; those without both volatilities are UNPRICED anyway."""
    for place, rule_id in enumerate(definitions.portfolios.rule_ids):
        row = state.portfolios[place]
        if row["rule"] != 0 and row["long_volatility"] > 0:
            short, long, low, high = (int(row[name]) for name in ("short_volatility", "long_volatility", "low", "high"))
            yield rule_id, Regime(volatility_buffer(0, short, long, low, high, 0)[1]).name.lower()

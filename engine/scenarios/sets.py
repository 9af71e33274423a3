"""Scenario sets: named, versioned and hashed over their whole content; history with stress days, SPAN, grid and points."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import numpy as np
import xxhash

from engine.documents import Scenarios
from engine.models import grid, points, scan
from engine.scenarios.moves import (
    MAX_GAP_DAYS,
    WARM_UP,
    Days,
    Floats,
    Move,
    daily_moves,
    ewma_volatility,
    filtered_moves,
    over_horizon,
    with_mirror,
)

STRESS_DAYS: Final[Mapping[str, str]] = {
    "2008-11-20": "flight into Treasuries before year-end",
    "2009-03-18": "Federal Reserve announces purchases of Treasuries, 10-year -51 bp",
    "2013-06-19": "taper talk, first day",
    "2013-06-20": "taper talk, second day",
    "2013-06-21": "taper talk, third day",
    "2020-03-09": "oil and pandemic, 10-year to 0.54 %",
    "2020-03-10": "the rebound",
    "2020-03-17": "dash for cash, 10-year +29 bp",
    "2020-03-18": "dash for cash, second day",
    "2021-05-19": "bitcoin falls by a seventh from close to close",
    "2022-06-10": "inflation surprise",
    "2022-06-13": "inflation surprise, second day",
    "2023-03-13": "regional banks, 2-year -57 bp",
}
"""Days whose moves stay in a set for ever, as they were (unfiltered), whatever the look-back."""
STRESS: Final = "stress "  # what a stress day's label begins with
MIRROR: Final = "mirror "
RAW: Final = "raw "
MIN_LOOK_BACK_YEARS: Final = 10
PROXY: Final = "proxy "  # what the parameter begins with that states a proxy
FORMAT: Final = "crossmargin-scenarios-1"
MOVE_DIGITS: Final = 9  # significant ones of a historical move: a millionth of a basis point, and documents half as long
MAX_DOCUMENT_BYTES: Final = 999_999
"""A set travels as one Kafka message, which may have 1,048,588 bytes with its key and headers."""


@dataclass(frozen=True, slots=True)
class ScenarioSet:
    """Scenarios x factors of moves, nan where a factor has none in a scenario; kinds tell each factor's unit."""

    name: str
    version: str
    factors: tuple[str, ...]
    kinds: tuple[str, ...]
    labels: tuple[str, ...]
    matrix: Floats
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.labels), len(self.factors))
        if self.matrix.shape != shape:
            raise ValueError(f"matrix: found shape {self.matrix.shape}; allowed: scenarios x factors = {shape}")
        if len(self.kinds) != len(self.factors):
            raise ValueError(f"kinds: found {len(self.kinds)}; allowed: one for each of {len(self.factors)} factors")
        for what, names in (("factors", self.factors), ("labels", self.labels)):
            if len(set(names)) < len(names) or not all(names):
                raise ValueError(f"{what}: found an empty or repeated name; allowed: unique names")
        if np.isinf(self.matrix).any():
            raise ValueError("matrix: found an infinite move; allowed: finite numbers, nan where a factor has no move")

    @property
    def hash(self) -> str:
        """xxh3_128 over everything in the set, in hexadecimal; any nan is one nan, and -0.0 is 0.0."""
        head = (FORMAT, self.name, self.version, self.factors, self.kinds, self.labels, sorted(self.parameters.items()))
        cells = np.where(np.isnan(self.matrix), np.nan, self.matrix + 0.0).astype("<f8")
        return xxhash.xxh3_128_hexdigest(msgspec.json.encode(head) + cells.tobytes())

    @property
    def stress_days(self) -> tuple[str, ...]:
        """The named days in it."""
        return tuple(label.removeprefix(STRESS) for label in self.labels if label.startswith(STRESS))


def encode(scenarios: ScenarioSet) -> bytes:
    """The set as a JSON document with its hash; a missing move is null, numbers are exact. ValueError where too long."""
    rows = [[None if cell != cell else cell for cell in row] for row in scenarios.matrix.tolist()]
    document = msgspec.json.encode(
        {
            "kind": "scenarios",
            "format": FORMAT,
            "id": scenarios.name,
            "version": scenarios.version,
            "hash": scenarios.hash,
            "parameters": dict(scenarios.parameters),
            "factors": scenarios.factors,
            "moves": scenarios.kinds,
            "labels": scenarios.labels,
            "matrix": rows,
        }
    )
    if len(document) > MAX_DOCUMENT_BYTES:
        raise ValueError(
            f"set {scenarios.name}: found {len(document):,} bytes for {len(rows)} scenarios of {len(scenarios.factors)} "
            f"factors; allowed: {MAX_DOCUMENT_BYTES:,}, as a set is one Kafka message"
        )
    return document


def decode(document: bytes) -> ScenarioSet:
    """A set out of its JSON document; ValueError where form, shape or hash is wrong."""
    try:
        read = msgspec.json.decode(document, type=Scenarios)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a scenario set: {error}") from error
    return from_document(read)


def from_document(read: Scenarios) -> ScenarioSet:
    """The set that a reference document holds; ValueError where format, shape or hash is wrong."""
    if read.format != FORMAT:
        raise ValueError(f"format: found '{read.format}'; allowed: '{FORMAT}'")
    if any(len(row) != len(read.factors) for row in read.matrix):
        raise ValueError(f"matrix: found a row of another length; allowed: {len(read.factors)} cells")
    cells = [[np.nan if cell is None else cell for cell in row] for row in read.matrix]
    matrix = np.array(cells, np.float64).reshape(len(cells), len(read.factors))
    found = ScenarioSet(read.id, read.version, read.factors, read.moves, read.labels, matrix, read.parameters)
    if found.hash != read.hash:
        raise ValueError(f"hash: found {read.hash}; the content has {found.hash}")
    return found


def shocks_of(made: ScenarioSet) -> grid.Shocks:
    """The parameters of a grid set's cells; ValueError where it lacks some, or its cells are others."""
    move, volatility, extended = made.matrix.T
    given = {name: made.parameters[name] for name in grid.Shocks._fields if name in made.parameters}
    try:
        shocks = grid.check(grid.Shocks(**given, extended=tuple(move[extended == 1.0].tolist())))  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"set {made.name} lacks a parameter of a grid: {error}") from error
    if not all(map(np.array_equal, (move, volatility), grid.cells(shocks))):
        raise ValueError(f"the cells of set {made.name} are not those of its parameters")
    return shocks


@dataclass(frozen=True, slots=True)
class Filter:
    """How a historical set is made; decay and weight were chosen on 2004-2012 (streams/backtest.py)."""

    decay: float = 0.99
    long_run_weight: float = 0.1
    warm_up: int = WARM_UP
    look_back_years: int = MIN_LOOK_BACK_YEARS
    horizon_days: int = 1
    antithetic: bool = False
    raw: bool = False  # the look-back's moves as they were go into the stress set too


def historical_set(
    name: str,
    version: str,
    factors: Sequence[str],
    kinds: Sequence[Move],
    days: Days,
    levels: Floats,
    how: Filter | None = None,
    stress: Mapping[str, str] = STRESS_DAYS,
) -> ScenarioSet:
    """The filtered moves of the look-back (labelled by the day each ends on), then the stress set: the stress days' own
    moves, and where `raw` is chosen the look-back's own. Parameter look_back counts the filtered ones. Moves have 9 digits.

    A stress day that lies in the history (not in a hole of over MAX_GAP_DAYS) must have a move of at least one factor, and
    one that does is in the set however short the look-back is. ValueError where a day is missing, the look-back is below ten
    years, or nothing is left.
    """
    how = how or Filter()
    if how.look_back_years < MIN_LOOK_BACK_YEARS:
        raise ValueError(f"look_back_years: found {how.look_back_years}; allowed: {MIN_LOOK_BACK_YEARS} or more")
    days = days.astype("M8[D]")
    moves = daily_moves(levels, kinds, days)
    volatility = ewma_volatility(moves, how.decay, how.long_run_weight, how.warm_up)
    scaled = over_horizon(filtered_moves(moves, volatility), how.horizon_days, kinds)
    ends = days[how.horizon_days :]
    inside = (ends > years_before(days[-1], how.look_back_years)) & ~np.isnan(scaled).all(axis=1)
    if not inside.any():
        raise ValueError(f"history: found no move with a volatility; allowed: more than {how.warm_up} days of some factor")
    labels = ends[inside].astype(str).tolist()
    plain = over_horizon(moves, how.horizon_days, kinds)
    rows, named = _stress_rows(days, plain, how.horizon_days, stress)
    matrix = np.concatenate([scaled[inside], rows])
    filtered = len(labels)
    labels += [STRESS + day for day in named]
    if how.raw:
        matrix = np.concatenate([matrix, plain[inside]])
        labels += [RAW + day for day in labels[:filtered]]
    if how.antithetic:
        matrix, labels = with_mirror(matrix), [*labels, *(MIRROR + label for label in labels)]
    parameters = {key: getattr(how, key) for key in Filter.__slots__} | {"as_of": str(days[-1]), "look_back": filtered}
    return ScenarioSet(name, version, tuple(factors), tuple(map(str, kinds)), tuple(labels), rounded(matrix), parameters)


def rounded(moves: Floats) -> Floats:
    """Moves (scenarios, factors) to MOVE_DIGITS significant decimal digits; nan stays."""
    cells = [[float(f"{cell:.{MOVE_DIGITS}g}") for cell in row] for row in moves.tolist()]
    return np.array(cells, np.float64).reshape(moves.shape)


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a factor has no move in a scenario, it takes beta x the other factor's move of that scenario."""

    factor: str
    other: str
    beta: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.beta) or self.beta == 0:
            raise ValueError(f"proxy of {self.factor}: found a beta of {self.beta}; allowed: a finite number other than 0")
        if self.factor == self.other:
            raise ValueError(f"proxy of {self.factor}: found itself; allowed: another factor")


def with_proxies(scenarios: ScenarioSet, proxies: Sequence[Proxy]) -> ScenarioSet:
    """The set with missing moves filled by proxies in their order, each stated as parameter `proxy FACTOR`, and hashed.

    ValueError: an unknown factor, two of different kinds, a factor with two proxies, a scenario where both have no move.
    """
    matrix, stated = scenarios.matrix.copy(), dict(scenarios.parameters)
    for proxy in proxies:
        unknown = [name for name in (proxy.factor, proxy.other) if name not in scenarios.factors]
        if unknown:
            raise ValueError(
                f"proxy of {proxy.factor}: found no factor {unknown[0]}; allowed: {', '.join(scenarios.factors)}"
            )
        own, other = scenarios.factors.index(proxy.factor), scenarios.factors.index(proxy.other)
        if scenarios.kinds[own] != scenarios.kinds[other]:
            raise ValueError(
                f"proxy of {proxy.factor}: found {scenarios.kinds[own]} moves, and {scenarios.kinds[other]} moves of "
                f"{proxy.other}; allowed: one kind"
            )
        if PROXY + proxy.factor in stated:
            raise ValueError(f"proxy of {proxy.factor}: found two; allowed: one for each factor")
        gaps = np.isnan(matrix[:, own])
        if (both := gaps & np.isnan(matrix[:, other])).any():
            raise ValueError(
                f"proxy of {proxy.factor}: found no move of {proxy.other} either in scenario "
                f"'{scenarios.labels[int(np.argmax(both))]}'; allowed: one wherever {proxy.factor} has none"
            )
        matrix[gaps, own] = proxy.beta * matrix[gaps, other]
        stated[PROXY + proxy.factor] = f"{proxy.other} x {repr(proxy.beta).removesuffix('.0')}"
    return replace(scenarios, matrix=rounded(matrix), parameters=stated)


def years_before(day: Any, years: int) -> Any:
    """The same day of an earlier year, as a datetime64 of days (29 February: 1 March)."""
    month = day.astype("M8[M]")
    return (month - np.timedelta64(12 * years, "M")).astype("M8[D]") + (day - month.astype("M8[D]"))


def _stress_rows(days: Days, moves: Floats, horizon: int, stress: Mapping[str, str]) -> tuple[Floats, list[str]]:
    """The moves ending on the stress days within the history, and these days."""
    named = [day for day in sorted(stress) if days[horizon] <= np.datetime64(day) <= days[-1]]
    at = np.searchsorted(days, np.array(named, "M8[D]"))
    covered = days[at] - days[at - 1] <= np.timedelta64(MAX_GAP_DAYS, "D")  # horizon >= 1, so there is a day before
    named, at = [day for day, inside in zip(named, covered, strict=True) if inside], at[covered] - horizon
    for day, i in zip(named, at, strict=True):
        if days[i + horizon] != np.datetime64(day) or np.isnan(moves[i]).all():
            raise ValueError(f"history: stress day {day} has no move in it; allowed: every stress day within it")
    return moves[at], named


def span_set(extreme: tuple[float, float] = scan.CLASSIC) -> ScenarioSet:
    """The 16 scenarios of engine.models.scan: price move in price scan ranges, volatility move in its ranges, weight."""
    matrix = [list(map(float, one)) for one in scan.scenarios(extreme)]
    labels = [f"{number}: price {price:+.3g}, volatility {vol:+.0f}" for number, (price, vol, _) in enumerate(matrix, 1)]
    parameters = {"extreme_move": extreme[0], "extreme_weight": extreme[1]}
    kinds = {"price": "scan_range", "volatility": "scan_range", "weight": "scale"}
    return _listed("span", kinds, labels, matrix, parameters)


def grid_set(shocks: grid.Shocks) -> ScenarioSet:
    """The cells of engine.models.grid: price move as a fraction, volatility -1 down, 0 same, +1 up, 1 in the extended tail.

    27 + 8 cells as printed in Deribit's simulate answer (reference/crypto.md 4.1, [P]; the extended moves [D]).
    """
    moves, volatilities = grid.cells(grid.check(shocks))
    core = len(moves) - len(shocks.extended)
    matrix = np.column_stack([moves, volatilities, np.arange(len(moves)) >= core]).tolist()
    words = {-1.0: "down", 0.0: "same", 1.0: "up"}
    labels = [f"{'extended ' * bool(ext)}{move:+.4g} volatility {words[vol]}" for move, vol, ext in matrix]
    kinds = {"price": str(Move.RELATIVE), "volatility": "direction", "extended": "flag"}
    parameters = {name: value for name, value in shocks._asdict().items() if name != "extended"}  # those are in the matrix
    return _listed("grid", kinds, labels, matrix, parameters)


DERIBIT: Final[Mapping[str, grid.Shocks]] = {
    "BTC": grid.Shocks(0.16, 0.50, 0.25, 0.5, 0.30, 0.13, 1.0),
    "ETH": grid.Shocks(0.18, 0.40, 0.25, 0.5, 0.30, 0.13, 1.0),
}
"""Deribit's published parameters by coin: BTC June 2024, ETH 15 February 2026 (crypto.md 4.2, [P]; they change)."""

POINT_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "high_cap_broad_index": (-0.08, 0.06),
    "broad_index": (-0.10, 0.10),
    "equity": (-0.15, 0.15),
}
"""Ends of the valuation range by class: SEC release 34-46576 [P], equity from two summaries [S] (crypto.md 5.1)."""


def points_set(kind: str) -> ScenarioSet:
    """The ten points of FINRA 4210(g) for a class: five equal steps down, five up, none at zero (crypto.md 5.1, [M])."""
    if kind not in POINT_RANGES:
        raise ValueError(f"class: found '{kind}'; allowed: {', '.join(POINT_RANGES)}")
    low, high = POINT_RANGES[kind]
    moves = points.points(low, high).tolist()
    labels = [f"{move:+.4g}" for move in moves]
    return _listed(f"points {kind}", {"price": str(Move.RELATIVE)}, labels, [[move] for move in moves], {})


def _listed(
    name: str, kinds: Mapping[str, str], labels: Sequence[str], matrix: Sequence[Sequence[float]], parameters: dict[str, Any]
) -> ScenarioSet:
    return ScenarioSet(name, "1", tuple(kinds), tuple(kinds.values()), tuple(labels), np.array(matrix), parameters)

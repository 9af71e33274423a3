"""Histories of risk factors out of files: a user's own CSV or Parquet, and those that travel with the package.

A history has a column of dates (2024-05-13 or 20240513) and a column of numbers a factor; an empty cell is missing.
"""

import csv
import gzip
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.scenarios.contracts import TENORS
from engine.scenarios.moves import Days, Floats, Move
from streams.settings import ConfigError, UserError
from streams.sources import DATA, UNREADABLE, unpacked

HISTORY: Final = DATA / "history"
PAR_YIELDS: Final = DATA / "par_yields.csv.gz"
BITCOIN: Final = (HISTORY / "btc_coinbase.csv.gz", DATA / "crypto_closes.csv.gz")
MARGINS: Final = HISTORY / "cme_margins.csv.gz"
DATE_COLUMNS: Final = ("date", "day")
_TENOR: Final = re.compile(r"(m\d{1,3}|\d{1,3}[my])", re.IGNORECASE)
_COMPACT: Final = re.compile(r"\d{8}")
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class History:
    """Levels (days, factors) of ascending days, nan where missing, and what makes each factor's move."""

    days: Days
    factors: tuple[str, ...]
    kinds: tuple[Move, ...]
    levels: Floats


@dataclass(frozen=True, slots=True)
class Steps:
    """A figure that changes now and then: what holds on a day is the last change on or before it."""

    days: Days
    values: Floats

    def on(self, days: Days) -> Floats:
        """The values on these days; nan before the first change."""
        at = np.searchsorted(self.days, days, side="right") - 1
        return np.where(at >= 0, self.values[np.maximum(at, 0)], np.nan)


def read_history(path: Path, kinds: Mapping[str, Move] | None = None) -> History:
    """A CSV (also .gz) or Parquet file; UserError with file, line (or row), column, found and allowed at the first fault.

    Columns called like a tenor (m120, 10Y, 3M) are yields in per cent and move in basis points, all others are prices and
    move by their logarithm; kinds says otherwise.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".csv"):
        names, rows, word = *_csv_rows(path), "line"
    elif name.endswith(".parquet"):
        names, rows, word = *_parquet_rows(path), "row"
    else:
        raise UserError(f"{path}: unknown form; known are .csv, .csv.gz and .parquet")
    dated = [i for i, column in enumerate(names) if column.lower() in DATE_COLUMNS]
    if len(dated) != 1 or len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise UserError(f"{path}, header: found {','.join(names)}; allowed: one column {' or '.join(DATE_COLUMNS)}, "
                        "and one or more factors, each name once")  # fmt: skip
    days: list[date] = []
    levels: list[list[float]] = []
    factors = tuple(column for i, column in enumerate(names) if i != dated[0])
    moves = _kinds(factors, kinds or {})
    for number, row in rows:
        place = f"{path}, {word} {number}"
        if len(row) != len(names):
            raise UserError(f"{place}: found {len(row)} cells; allowed: {len(names)}, as in the header")
        day = _day(row[dated[0]], f"{place}, column {names[dated[0]]}")
        if days and day <= days[-1]:
            raise UserError(f"{place}, column {names[dated[0]]}: found {day} after {days[-1]}; allowed: ascending days")
        cells = [cell for i, cell in enumerate(row) if i != dated[0]]
        days.append(day)
        levels.append(
            [_level(cell, f"{place}, column {f}", kind) for cell, f, kind in zip(cells, factors, moves, strict=True)]
        )
    if len(days) < 2:
        raise UserError(f"{path}: found {len(days)} days; allowed: 2 or more")
    return History(np.array(days, "M8[D]"), factors, moves, np.array(levels))


def joined(histories: Iterable[History]) -> History:
    """One history of all factors on all days; ConfigError where two files have one factor on one day, or of another kind."""
    parts = list(histories)
    kinds: dict[str, Move] = {}
    for part in parts:
        for factor, kind in zip(part.factors, part.kinds, strict=True):
            if kinds.setdefault(factor, kind) is not kind:
                raise ConfigError(f"factor {factor}: found {kind} moves and {kinds[factor]} moves; allowed: one kind")
    days = np.unique(np.concatenate([part.days for part in parts]))
    names = list(kinds)
    levels = np.full((len(days), len(names)), np.nan)
    for part in parts:
        rows = np.searchsorted(days, part.days)
        for j, factor in enumerate(part.factors):
            column = levels[:, names.index(factor)]
            both = ~np.isnan(part.levels[:, j]) & ~np.isnan(column[rows])
            if both.any():
                raise ConfigError(f"factor {factor}: found twice on {part.days[both][0]}; allowed: one value a day")
            column[rows] = np.where(np.isnan(part.levels[:, j]), column[rows], part.levels[:, j])
    return History(days, tuple(names), tuple(kinds.values()), levels)


def renamed(history: History, names: Mapping[str, str]) -> History:
    """The history with factors under the names that they have in the stream; ConfigError where two would have one name."""
    factors = tuple(names.get(factor, factor) for factor in history.factors)
    repeated = [factor for factor in factors if factors.count(factor) > 1]
    if repeated:
        raise ConfigError(f"--rename: found two factors '{repeated[0]}'; allowed: each name once")
    return replace(history, factors=factors)


def par_yields() -> History:
    """The par yields that travel with the package."""
    return read_history(PAR_YIELDS)


def bitcoin() -> History:
    """The bitcoin closes that travel with the package, of weekdays: the future does not trade on the others."""
    parts = [read_history(path) for path in BITCOIN]
    btc = joined(History(p.days, ("btc",), (Move.LOG,), p.levels[:, [p.factors.index("btc")]]) for p in parts)
    weekday = np.is_busday(btc.days)
    return History(btc.days[weekday], btc.factors, btc.kinds, btc.levels[weekday])


def cme_margins(path: Path = MARGINS) -> dict[str, Steps]:
    """CME's maintenance margin in USD per contract, by symbol."""
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, Steps] = {}
    for symbol in dict.fromkeys(row["symbol"] for row in rows):
        own = [row for row in rows if row["symbol"] == symbol]
        found[symbol] = Steps(
            np.array([row["date"] for row in own], "M8[D]"), np.array([float(row["maintenance"]) for row in own])
        )
    return found


def _csv_rows(path: Path) -> tuple[list[str], Iterable[tuple[int, list[Any]]]]:
    try:
        with path.open("rb") as raw, TextIOWrapper(unpacked(path, raw), encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            try:
                names = [name.strip() for name in next(reader, [])]
                rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
            except (csv.Error, UnicodeDecodeError) as error:
                raise UserError(f"{path}, line {reader.line_num + 1}: not CSV in UTF-8: {error}") from error
    except UNREADABLE as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}".lower()) from error
    return names, rows


def _parquet_rows(path: Path) -> tuple[list[str], Iterable[tuple[int, list[Any]]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(f"{path}: reading Parquet needs pyarrow; pip install 'crossmargin[parquet]'") from error
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not readable: {error}") from error
    columns = [column.to_pylist() for column in table.columns]
    return list(table.column_names), list(enumerate(map(list, zip(*columns, strict=True)), 1))


def _kinds(factors: tuple[str, ...], kinds: Mapping[str, Move]) -> tuple[Move, ...]:
    return tuple(kinds.get(f) or (Move.BP if f in TENORS or _TENOR.fullmatch(f) else Move.LOG) for f in factors)


def _day(cell: Any, place: str) -> date:
    """A date out of a cell; a Parquet date or timestamp is one."""
    if isinstance(cell, datetime):
        return cell.date()
    if isinstance(cell, date):
        return cell
    text = str(cell)
    try:
        if _ISO.fullmatch(text) or _COMPACT.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UserError(f"{place}: found '{text}'; allowed: a day as 2024-05-13 or 20240513")


def _level(cell: Any, place: str, kind: Move) -> float:
    """A number, nan for an empty cell or null; never nan for what is not empty."""
    if cell is None or cell == "":
        return np.nan
    plain = isinstance(cell, int | float) and not isinstance(cell, bool)
    value = float(cell) if plain or (isinstance(cell, str) and _NUMBER.fullmatch(cell)) else np.nan
    if not np.isfinite(value):
        raise UserError(f"{place}: found '{cell}'; allowed: a finite number, or nothing where it is missing")
    if kind is not Move.BP and value <= 0:
        raise UserError(f"{place}: found {cell} as a price; allowed: above 0 (--move FACTOR=bp for a yield in per cent)")
    return value

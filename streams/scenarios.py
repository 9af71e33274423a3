"""The verb scenarios: a user's histories in, or a listed kind, and a hashed scenario set out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.scenarios.moves import Move
from engine.scenarios.sets import (
    DERIBIT,
    POINT_RANGES,
    PROXY,
    STRESS_DAYS,
    Filter,
    Proxy,
    ScenarioSet,
    encode,
    grid_set,
    historical_set,
    points_set,
    span_set,
    with_proxies,
)
from streams.history import History, joined, read_history, renamed
from streams.settings import ConfigError, UserError

LISTED: Final[Mapping[str, Callable[[], ScenarioSet]]] = {
    "span": span_set,
    "grid": partial(grid_set, DERIBIT["BTC"]),
    **{f"grid:{coin}": partial(grid_set, shocks) for coin, shocks in DERIBIT.items()},
    **{f"points:{kind}": partial(points_set, kind) for kind in POINT_RANGES},
}
"""The sets that no history makes; grid alone is that of BTC."""


def build(
    files: Sequence[Path],
    out: Path,
    kind: str | None = None,
    name: str | None = None,
    set_version: str = "1",
    move: Sequence[str] = (),
    rename: Sequence[str] = (),
    proxy: Sequence[str] = (),
    as_of: str | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """Write the set of all files' factors, or the listed one, and say what is in it; choices are fields of Filter.

    None, or False for a flag, leaves a choice at its default.
    """
    if kind is None:
        made = from_history(files, name or "history", set_version, move, rename, proxy, as_of, **choices)
    else:
        if (
            files
            or move
            or rename
            or proxy
            or as_of
            or any(value is not None and value is not False for value in choices.values())
        ):
            raise ConfigError("--list: found a FILE or an option for histories beside it; allowed: --name and --set-version")
        made = listed(kind, name, set_version)
    try:
        document = encode(made)
    except ValueError as error:
        raise UserError(f"{out}: {error}; fewer factors or years, or no mirrored or raw moves, make it shorter") from error
    try:
        out.write_bytes(document)
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}") from error
    figures = {
        "set": f"{made.name} {made.version}",
        "hash": made.hash,
        "scenarios": len(made.labels),
        "factors": dict(zip(made.factors, made.kinds, strict=True)),
    }
    return figures | ({} if kind else _of_history(made)) | {"bytes": len(document), "out": str(out)}


def listed(kind: str, name: str | None = None, version: str = "1") -> ScenarioSet:
    """The set of a kind in LISTED, under its own name where none is given; ConfigError for another kind."""
    if kind not in LISTED:
        raise ConfigError(f"--list: found '{kind}'; allowed: {', '.join(LISTED)}")
    made = LISTED[kind]()
    return replace(made, name=name or made.name, version=version)


def from_history(
    files: Sequence[Path],
    name: str,
    version: str = "1",
    move: Sequence[str] = (),
    rename: Sequence[str] = (),
    proxy: Sequence[str] = (),
    as_of: str | None = None,
    **choices: Any,
) -> ScenarioSet:
    """The filtered set of all files' factors; options as the verb takes them, those of Filter None for its default.

    UserError or ConfigError for a file, an option or a history that makes none.
    """
    if not files:
        raise ConfigError("scenarios: found no FILE; allowed: one or more, or --list")
    kinds = dict(_kind(text) for text in move)
    names = _pairs(rename, "--rename", "FROM=TO")
    parts = [read_history(path, kinds) for path in files]
    columns = list(dict.fromkeys(factor for part in parts for factor in part.factors))
    for option, given in (("--move", kinds), ("--rename", names)):
        unknown = [factor for factor in given if factor not in columns]
        if unknown:
            raise ConfigError(f"{option}: found no factor '{unknown[0]}'; allowed: {', '.join(columns)}")
    history = _until(joined(renamed(part, names) for part in parts), as_of)
    proxies = [_proxy(factor, text) for factor, text in _pairs(proxy, "--proxy", PROXY_FORM).items()]
    try:
        how = replace(Filter(), **{key: value for key, value in choices.items() if value is not None})
        made = historical_set(name, version, history.factors, history.kinds, history.days, history.levels, how)
        return with_proxies(made, proxies)
    except ValueError as error:
        raise UserError(f"{', '.join(map(str, files))}: {error}") from error


def _of_history(made: ScenarioSet) -> dict[str, Any]:
    """What a historical set holds and lacks."""
    present = made.stress_days
    return {
        "look_back": made.parameters["look_back"],
        "missing_moves": int(np.isnan(made.matrix).sum()),
        "proxies": {key.removeprefix(PROXY): how for key, how in made.parameters.items() if key.startswith(PROXY)},
        "as_of": made.parameters["as_of"],
        "stress_days": list(present),
        "stress_days_outside_history": [day for day in STRESS_DAYS if day not in present],
    }


PROXY_FORM: Final = "FACTOR=OTHER:BETA"


def _pairs(texts: Iterable[str], option: str, form: str) -> dict[str, str]:
    """What stands before and after each =, the former each once."""
    found: dict[str, str] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key or not value or key in found:
            raise ConfigError(f"{option}: found '{text}'; allowed: {form}, each name once")
        found[key] = value
    return found


def _kind(text: str) -> tuple[str, Move]:
    factor, _, kind = text.partition("=")
    if not factor or kind not in tuple(Move):
        raise ConfigError(f"--move: found '{text}'; allowed: FACTOR={' or FACTOR='.join(Move)}")
    return factor, Move(kind)


def _proxy(factor: str, text: str) -> Proxy:
    other, _, beta = text.rpartition(":")
    try:
        return Proxy(factor, other, float(beta))
    except ValueError as error:
        raise ConfigError(f"--proxy: found '{factor}={text}'; allowed: {PROXY_FORM}, BETA a finite number not 0") from error


def _until(history: History, as_of: str | None) -> History:
    """The history up to a day."""
    if as_of is None:
        return history
    try:
        last = np.datetime64(as_of, "D")
    except ValueError as error:
        raise ConfigError(f"--as-of: found '{as_of}'; allowed: a day as 2024-05-13") from error
    inside = history.days <= last
    if inside.sum() < 2:
        raise ConfigError(f"--as-of: found {as_of}; allowed: a day after the history's second, {history.days[1]}")
    return History(history.days[inside], history.factors, history.kinds, history.levels[inside])

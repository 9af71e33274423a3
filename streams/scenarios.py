"""The verb scenarios: a user's histories in, a hashed scenario set out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.scenarios.moves import Move
from engine.scenarios.sets import STRESS_DAYS, Filter, encode, historical_set
from streams.history import History, joined, read_history
from streams.settings import ConfigError, UserError


def build(
    files: Sequence[Path],
    out: Path,
    name: str = "history",
    set_version: str = "1",
    move: Sequence[str] = (),
    as_of: str | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """Write the set of all files' factors, and say what is in it; choices are fields of Filter, None for its default."""
    kinds = dict(_kind(text) for text in move)
    history = _until(joined(read_history(path, kinds) for path in files), as_of)
    unknown = [factor for factor in kinds if factor not in history.factors]
    if unknown:
        raise ConfigError(f"--move: found no factor '{unknown[0]}'; allowed: {', '.join(history.factors)}")
    try:
        how = replace(Filter(), **{key: value for key, value in choices.items() if value is not None})
        made = historical_set(name, set_version, history.factors, history.kinds, history.days, history.levels, how)
    except ValueError as error:
        raise UserError(f"{', '.join(map(str, files))}: {error}") from error
    try:
        out.write_bytes(encode(made))
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}") from error
    present = made.stress_days
    return {
        "set": f"{made.name} {made.version}",
        "hash": made.hash,
        "scenarios": len(made.labels),
        "look_back": made.parameters["look_back"],
        "missing_moves": int(np.isnan(made.matrix).sum()),
        "factors": dict(zip(made.factors, made.kinds, strict=True)),
        "as_of": made.parameters["as_of"],
        "stress_days": list(present),
        "stress_days_outside_history": [day for day in STRESS_DAYS if day not in present],
        "out": str(out),
    }


def _kind(text: str) -> tuple[str, Move]:
    factor, _, kind = text.partition("=")
    if not factor or kind not in tuple(Move):
        raise ConfigError(f"--move: found '{text}'; allowed: FACTOR={' or FACTOR='.join(Move)}")
    return factor, Move(kind)


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

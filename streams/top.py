"""`crossmargin top`: the worst accounts, the calls that are due first, counts and how old it all is, live from Redis."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from monitors.view import Row, Summary, read_highest, read_meta, read_summary
from streams.desk import Desk, open_desk
from streams.screen import COLOURS, calls_table, worst_table
from streams.settings import ConfigError, Settings

STALE_SECONDS: Final = 5.0  # a clock stands in the log every 10 ms: one so old says that something stands still
MOST: Final = 50  # rows of a table that any terminal shows
SMALLEST: Final = 24


@dataclass(frozen=True, slots=True)
class Picture:
    """What one frame shows. age_seconds: of the shard furthest behind; missing: shards not all written yet."""

    summary: Summary
    highest: list[Row]
    log_id: str
    shards: int
    missing: list[int]
    age_seconds: float


def run(settings: Settings, refresh_seconds: float, once: bool) -> None:
    """Show frames until q or Ctrl-C; once: a single one. ConfigError where there is no terminal to show them on."""
    console = Console(highlight=False)
    if not once and not (console.is_terminal and sys.stdin.isatty()):
        raise ConfigError("top: found no terminal; allowed: a terminal, or --once for a single frame")
    with open_desk(settings) as desk:
        if once:
            console.print(render(read(desk), console.height, time.time_ns()))
            return
        with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(render(read(desk), console.height, time.time_ns()), refresh=True)
                if "q" in pressed(refresh_seconds).lower():
                    return


def read(desk: Desk) -> Picture:
    """What Redis holds now."""
    meta = read_meta(desk.client, desk.keys) or desk.meta
    return Picture(
        read_summary(desk.client, desk.keys, MOST, 1, MOST),
        read_highest(desk.client, desk.keys, MOST),
        meta.log_id,
        meta.shards,
        meta.missing,
        meta.age_seconds(time.time_ns()),
    )


def render(picture: Picture, lines: int, now_ns: int) -> RenderableType:
    """The frame at a wall time for so many lines of 80 columns or more."""
    summary = picture.summary
    stale = picture.age_seconds > STALE_SECONDS or bool(picture.missing)
    missing = f", not all written yet: shard {', '.join(map(str, picture.missing))}" if picture.missing else ""
    head = Text.assemble(
        ("crossmargin ", "bold"),
        f"log {picture.log_id[:8]}, {picture.shards} shards, {sum(summary.by_status.values()):,} accounts, as of ",
        (f"{picture.age_seconds:.1f} s ago{missing}", "bold white on red" if stale else "green"),
        "\n",
    )
    for name, count in summary.by_status.items():
        head.append(f"{name} {count:,}  ", COLOURS[name] if count else "dim")
    for name, count in summary.by_quality.items():
        head.append(f"{name} {count:,}  ", "magenta" if count and name != "FRESH" else "dim")
    head.rstrip()
    free = (
        max(lines, SMALLEST) - 8
    )  # two lines of head, of which the second may be two, a heading of each table, foot, one spare
    third = free // 3
    return Group(
        head,
        worst_table(summary.worst, free - 2 * third),
        worst_table(picture.highest, third, "highest use"),
        calls_table(summary, third, now_ns),
        Text("q ends", style="dim"),
    )


@contextmanager
def _keys() -> "Iterator[_Pressed]":
    """The keys of the terminal one by one, without their echo; as it was afterwards."""
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        yield _Pressed(number)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


@dataclass(frozen=True, slots=True)
class _Pressed:
    """Reads the keys of a terminal by its file number."""

    number: int

    def __call__(self, seconds: float) -> str:
        """What is pressed within so long, "" when nothing is; q once the terminal is gone."""
        ready, _, _ = select.select([self.number], [], [], seconds)
        return (os.read(self.number, 64).decode("utf-8", "replace") or "q") if ready else ""

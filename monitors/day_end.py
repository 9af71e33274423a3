"""The day-end pack of a pool: its sections as CSV files and one HTML page with the same figures.

Amounts are exact decimals of the currency beside them.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from engine.events import DAY_NS
from engine.report import CallState, Quality, Status
from monitors.day_end_events import breaks, calls, inputs, lives, moments, rules
from monitors.day_end_figures import caps, collateral, firm, limits, lines, requirements, summary, totals
from monitors.day_rows import Lives, ShardDay
from monitors.pool_day import LOCAL, PoolDay, Section, lacking, pool_day
from monitors.report_page import page, table

SHOWN: Final = 200  # rows of a table in the page; the files have all
SECTIONS: Final[tuple[Callable[[PoolDay], Section], ...]] = (
    summary, totals, inputs, calls, lives, breaks, requirements, lines, collateral, caps, limits, firm, rules, moments,
)  # fmt: skip
LONG: Final = 30  # characters; longer text is broken into lines
_NUMBER: Final = re.compile(r"(-?)(\d{1,20})((?:\.\d+)?)")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.\d{9}Z")
_BAD: Final = {CallState.ESCALATED.name, Quality.UNPRICED.name, *(status.name for status in Status if status >= Status.CALL)}
_MINDED: Final = {Status.WATCH.name, Quality.STALE.name}


@dataclass(frozen=True, slots=True)
class Pack:
    """A pool's sections, and what customers lack in sum, US cents (None: a currency has no rate).

    so_far: the day was not over at the moment.
    """

    pool: str
    sections: tuple[Section, ...]
    undermargined_usd: int | None
    so_far: bool


def pool_ids(shards: Sequence[ShardDay]) -> list[str]:
    """All pools, in the order of definition."""
    return list(dict.fromkeys(name for shard in shards for name in shard.rows.pools))


def pack(shards: Sequence[ShardDay], pool_id: str, happened: Lives) -> Pack:
    """The pack of a pool; happened: to the calls that were open at some time of the day."""
    day = pool_day(shards, pool_id, happened)
    so_far = day.clock_ns < day.begin_ns + DAY_NS - 1
    return Pack(pool_id, tuple(section(day) for section in SECTIONS), lacking(day.customers), so_far)


def csv_text(section: Section) -> str:
    """The section as CSV, with a header; what a spreadsheet would take for a formula has an apostrophe before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(section.columns)
    writer.writerows([_harmless(cell) for cell in row] for row in section.rows)
    return text.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell


def html(found: Pack, day: str) -> str:
    """The pack as a page; of long tables the first rows, the files hold all."""
    title = f"{found.pool}, day end {day}{', so far' if found.so_far else ''}"
    links = "".join(f"<a href='#{one.name}'>{escape(one.title)}</a> " for one in found.sections)
    body = "".join(_section(section) for section in found.sections)
    return page(f"crossmargin: {title}", f"<h1>{escape(title)}</h1><nav>{links}</nav>{body}")


def _cell(text: str, is_figure: bool) -> str:
    """Numbers with their thousands apart, times to the second, states that need a look in colour, long text in lines.

    is_figure: a number without a point is one too, and no id.
    """
    number = _NUMBER.fullmatch(text)
    if number and (number[3] or is_figure):
        return f"{number[1]}{int(number[2]):,}{number[3]}"
    if moment := _MOMENT.fullmatch(text):
        return f"{moment[1]} {moment[2]}"
    mark = "miss" if text in _BAD else "mind" if text in _MINDED else "wrap" if len(text) > LONG else ""
    return f"<span class='{mark}'>{escape(text)}</span>" if mark else escape(text)


def _head(column: str) -> str:
    return column.replace("_", " ").replace(" usd", ", USD").replace(" utc", ", UTC")


def _row(section: Section, row: Sequence[str]) -> list[str]:
    """The cells of a row; a time in the pool's time zone stands below the same in UTC."""
    cells = list[str]()
    for place, (column, text) in enumerate(zip(section.columns, row, strict=True)):
        if not column.endswith(LOCAL):
            cells.append(_cell(text, place >= section.words))
        elif text:
            cells[-1] += f"<br><span class='note'>{escape(text)}</span>"
    return cells


def _section(section: Section) -> str:
    shown = [_row(section, row) for row in section.rows[:SHOWN]]
    heads = [escape(_head(column)) for column in section.columns if not column.endswith(LOCAL)]
    words = sum(not column.endswith(LOCAL) for column in section.columns[: section.words])
    notes = [section.note] if section.note else []
    if len(section.rows) > SHOWN:
        notes.append(f"The first {SHOWN} of {len(section.rows)} rows; {section.name}.csv has all.")
    said = "".join(f"<p class='note'>{escape(note)}</p>" for note in notes)
    body = table(heads, shown, words) if shown else "<p>None.</p>"
    return f"<section id='{section.name}'><h2>{escape(section.title)}</h2>{said}{body}</section>"

"""The backtest's report: one self-contained HTML page with tables and, per contract or portfolio, a plot as inline SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, NamedTuple

import numpy as np

from engine.scenarios.coverage import PEAK_TO_TROUGH_DAYS, Judgement
from engine.scenarios.moves import Days, Floats
from monitors.report_page import page, table

WIDTH: Final = 960
HEIGHT: Final = 300
LEFT: Final = 64
BOTTOM: Final = 28
TOP: Final = 10
GAP_DAYS: Final = 30  # a line does not bridge a longer gap in the days
INTRODUCTION: Final = f"""
One margin rate per contract, long or short, set each evening from what was known then; a scenario's loss is that of the
losing side. A breach is a day on which one side lost more than the margin. Treasury futures are a proxy: the shortest
deliverable par bond, repriced at the next day's par yield, over its conversion factor; BTC is five bitcoin at spot.
Parameters were chosen on the first span and judged on the second. Expected breaches are 1 % of the days; p-values are of
Kupiec's test (their number), of Christoffersen's (their independence) and of both together. Peak to trough is the highest
over the lowest margin within {PEAK_TO_TROUGH_DAYS} rows.
"""
PORTFOLIO_INTRODUCTION: Final = f"""
The positions were held unchanged on every day and margined as one portfolio, each evening from what was known then; beside
it stands the sum of the same positions margined alone, by the same scenarios. A breach is a day on which the portfolio lost
more than the margin. Only days with all of the portfolio's factors count, as days and as scenarios. Treasury futures are a
proxy: the shortest deliverable par bond, repriced at the next day's par yield, over its conversion factor; a security keeps
its term, and its yield is the par yield of that term; BTC is five bitcoin at spot. The parameters are those chosen for
single contracts on the first span. Expected breaches are 1 % of the days; p-values are of Kupiec's test (their number), of
Christoffersen's (their independence) and of both together. Peak to trough is the highest over the lowest margin within
{PEAK_TO_TROUGH_DAYS} rows.
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """A contract or portfolio over history, a row a day, USD: its margin, another beside it (nan: none), the profit judged.

    The profit is that of one long contract, or of a portfolio where it lost, else 0. spans, ours and beside are by name of
    the span; beside holds our judgement and the other margin's on the days that have both; other_name says what that is.
    """

    symbol: str
    days: Days
    margin: Floats
    other: Floats
    other_name: str
    profit: Floats
    spans: Mapping[str, tuple[str, str]]
    ours: Mapping[str, Judgement]
    beside: Mapping[str, tuple[Judgement, Judgement] | None]
    rule: str


class Line(NamedTuple):
    """A position of a portfolio: instrument, quantity, and its average margin alone in USD."""

    instrument: str
    qty: int
    average_alone: float


def html(contracts: Sequence[Compared]) -> str:
    """The whole page of contracts, each beside CME's margin."""
    return _page(INTRODUCTION, _summary(contracts), contracts)


def portfolio_html(portfolio: Compared, lines: Sequence[Line]) -> str:
    """The whole page of a portfolio, beside its positions alone; lines: all of them, averages of the judged span."""
    ours, alone = (f"{portfolio.margin.mean():,.0f}", f"{portfolio.other.mean():,.0f}")
    rows = [[escape(line.instrument), f"{line.qty:,}", f"{line.average_alone:,.0f}"] for line in lines]
    tables = _netting(portfolio) + table(("position", "quantity", "average margin alone, judged span, USD"), rows)
    note = f"<p class='note'>all days: {ours} USD on average, {alone} USD for the positions alone</p>"
    return _page(PORTFOLIO_INTRODUCTION, tables + note, [portfolio])


def _page(introduction: str, tables: str, sections: Sequence[Compared]) -> str:
    body = "".join(_section(compared) for compared in sections)
    return page("crossmargin backtest", f"<h1>Backtest of the historical margin</h1><p>{introduction}</p>{tables}{body}")


def saving(ours: Judgement, other: Judgement) -> float:
    """What share of the other margin's average ours does without."""
    return 1.0 - ours.average / other.average


def _netting(portfolio: Compared) -> str:
    """What one portfolio saves over its positions alone, span by span."""
    rows = []
    for name, (first, last) in portfolio.spans.items():
        pair = portfolio.beside[name]
        if pair:
            ours, alone = pair
            rows.append([f"{name} {first} to {last}", f"{ours.average:,.0f}", f"{alone.average:,.0f}",
                         f"{saving(ours, alone):.1%}", f"{ours.breaches} / {alone.breaches}"])  # fmt: skip
    heads = ("span", "average USD", "positions alone", "netting saves", "breaches portfolio / alone")
    return table(heads, rows)


def _summary(contracts: Sequence[Compared]) -> str:
    """The aim, contract by contract, on the judged span: breaches, average and 95 % peak to trough, ours beside CME's."""
    rows = []
    for contract in contracts:
        pair = contract.beside.get("judged")
        if pair is None:
            rows.append([escape(contract.symbol), *["no CME figure"] * 3])
            continue
        ours, cme = pair
        cells = (
            (f"{ours.breaches} / {cme.breaches}", ours.breaches <= cme.breaches),
            (f"{ours.average / cme.average:.2f}", ours.average < cme.average),
            (
                f"{ours.peak_to_trough_p95:.3f} / {cme.peak_to_trough_p95:.3f}",
                ours.peak_to_trough_p95 < cme.peak_to_trough_p95,
            ),
        )
        rows.append(
            [
                escape(contract.symbol),
                *(text if met else f"<span class='miss'>{text} (aim missed)</span>" for text, met in cells),
            ]
        )
    heads = ("judged span", "breaches ours / CME", "average over CME's", "95 % peak to trough ours / CME")
    return table(heads, rows)


def _section(contract: Compared) -> str:
    rows = []
    for name, (first, last) in contract.spans.items():
        rows.append([f"{name} {first} to {last}: ours", *_cells(contract.ours[name])])
        pair = contract.beside[name]
        if pair:
            if pair[0] != contract.ours[name]:
                rows.append([f"days with {contract.other_name}: ours", *_cells(pair[0])])
            rows.append([contract.other_name, *_cells(pair[1])])
    heads = (
        "span", "days", "breaches (long, short)", "mean, worst excess USD", "p number", "p independent", "p both",
        "average USD", "peak to trough median, 95 %, worst",
    )  # fmt: skip
    return (
        f"<h2>{escape(contract.symbol)}</h2><p class='note'>{escape(contract.rule)}</p>{_plot(contract)}"
        f"<p class='note'>blue line: margin; amber line: {contract.other_name}; grey: the day's loss (of a contract: of the "
        f"losing side); red: breaches; shaded: the span on which parameters were chosen</p>{table(heads, rows)}"
    )


def _cells(judged: Judgement) -> list[str]:
    return [
        f"{judged.days:,}",
        f"{judged.breaches} ({judged.breaches_long}, {judged.breaches_short})",
        f"{judged.breach_mean:,.0f}, {judged.breach_worst:,.0f}",
        f"{judged.kupiec_p:.3f}",
        f"{judged.independence_p:.3f}",
        f"{judged.conditional_p:.3f}",
        f"{judged.average:,.0f}",
        f"{judged.peak_to_trough_median:.2f}, {judged.peak_to_trough_p95:.2f}, {judged.peak_to_trough_worst:.2f}",
    ]


def _plot(contract: Compared) -> str:
    """Losses as grey bars, both margins as lines, breaches as dots, over days."""
    ordinal = contract.days.astype("M8[D]").astype(np.int64).astype(np.float64)
    loss = np.abs(contract.profit)
    known = contract.other[~np.isnan(contract.other)]
    top = float(max(contract.margin.max(), loss.max(), known.max() if len(known) else 0.0)) * 1.03
    low, high = ordinal[0], max(ordinal[-1], ordinal[0] + 1)
    x = LEFT + (ordinal - low) / (high - low) * (WIDTH - LEFT - 8)

    def y(values: Floats) -> Floats:
        return np.asarray(HEIGHT - BOTTOM - values / top * (HEIGHT - BOTTOM - TOP))

    base = HEIGHT - BOTTOM
    bars = "".join(f"M{a:.1f} {base}V{b:.1f}" for a, b in zip(x, y(loss), strict=True))
    dots = "".join(
        f"<circle class='breach' cx='{x[i]:.1f}' cy='{y(loss)[i]:.1f}' r='3'><title>{contract.days[i]}: lost "
        f"{loss[i]:,.0f}, margin {contract.margin[i]:,.0f}</title></circle>"
        for i in np.flatnonzero(loss > contract.margin)
    )
    return (
        f"<div class='scroll'><svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        f"aria-label='{escape(contract.symbol)}: margin and losses'>"
        f"{_shade(contract, x)}{_axes(contract.days, x, top)}<path class='loss' d='{bars}'/>"
        f"<path class='other' d='{_line(ordinal, x, y(contract.other))}'/>"
        f"<path class='ours' d='{_line(ordinal, x, y(contract.margin))}'/>{dots}</svg></div>"
    )


def _shade(contract: Compared, x: Floats) -> str:
    """The first span's background."""
    first, last = next(iter(contract.spans.values()))
    inside = np.flatnonzero((contract.days >= np.datetime64(first)) & (contract.days <= np.datetime64(last)))
    if not len(inside):
        return ""
    left, right = x[inside[0]], x[inside[-1]]
    return f"<rect class='span' x='{left:.1f}' y='{TOP}' width='{right - left:.1f}' height='{HEIGHT - BOTTOM - TOP}'/>"


def _axes(days: Days, x: Floats, top: float) -> str:
    """Lines at round sums of USD, and a label at each year's first day."""
    parts = []
    for value in np.arange(0.0, top, _round_step(top)):
        level = HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)
        parts.append(f"<line class='grid' x1='{LEFT}' x2='{WIDTH - 8}' y1='{level:.1f}' y2='{level:.1f}'/>")
        parts.append(f"<text x='{LEFT - 6}' y='{level + 4:.1f}' text-anchor='end'>{value:,.0f}</text>")
    years = days.astype("M8[Y]").astype(np.int64) + 1970
    starts = np.flatnonzero(np.diff(years, prepend=years[0] - 1))
    every = max(1, len(starts) // 12)
    parts += [f"<text x='{x[i]:.1f}' y='{HEIGHT - 10}'>{years[i]}</text>" for i in starts[::every] if x[i] < WIDTH - 40]
    return "".join(parts)


def _round_step(top: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that leaves four lines or more below the top."""
    power = 10.0 ** np.floor(np.log10(top / 4))
    return float(max(step * power for step in (1, 2, 5) if step * power <= top / 4))


def _line(ordinal: Floats, x: Floats, y: Floats) -> str:
    """A path through the points; it lifts over unknown values and over gaps in the days."""
    parts, before = [], -np.inf
    for day, a, b in zip(ordinal, x, y, strict=True):
        if np.isnan(b):
            before = -np.inf
            continue
        parts.append(f"{'L' if day - before <= GAP_DAYS else 'M'}{a:.1f} {b:.1f}")
        before = day
    return "".join(parts)

"""The backtest's page: what it says where the aim is missed, and where CME has no figure."""

import re
from dataclasses import replace

import numpy as np

from engine.scenarios.coverage import judge
from monitors.backtest_report import Compared, Line, html, portfolio_html, saving


def compared() -> Compared:
    """Forty days, our margin above CME's by a tenth, one day that breaches CME's only."""
    days = np.datetime64("2020-01-01") + np.arange(40)
    ours, theirs = np.full(40, 110.0), np.full(40, 100.0)
    profit = np.where(np.arange(40) == 7, -105.0, 1.0)
    judged, beside = judge(ours, profit), judge(theirs, profit)
    span = {"chosen": ("2019-01-01", "2019-12-31"), "judged": ("2020-01-01", "2020-02-09")}
    both = (judged, beside)
    ours_by = {"chosen": judged, "judged": judged}
    beside_by = {"chosen": None, "judged": both}
    return Compared("A<B", days, ours, theirs, "CME maintenance", profit, span, ours_by, beside_by, "rule & more")


def test_a_missed_aim_is_said_and_names_are_escaped() -> None:
    page = html([compared()])
    assert re.findall(r"<td>([^<]*)</td>", page)[:2] == ["A&lt;B", "0 / 1"]
    assert "<span class='miss'>1.10 (aim missed)</span>" in page
    assert "<span class='miss'>1.000 / 1.000 (aim missed)</span>" in page
    assert "A<B" not in page
    assert "rule &amp; more" in page


def test_without_a_figure_of_cme_nothing_is_compared() -> None:
    page = html([replace(compared(), other=np.full(40, np.nan), beside={"chosen": None, "judged": None})])
    assert page.count("no CME figure") == 3
    assert "aim missed" not in page
    assert not re.search(r"\bnan\b", page)


def test_a_portfolio_stands_beside_its_positions_alone() -> None:
    book = replace(compared(), margin=np.full(40, 75.0), other_name="positions alone")
    ours, alone = judge(book.margin, book.profit), judge(book.other, book.profit)
    book = replace(book, ours={"chosen": ours, "judged": ours}, beside={"chosen": (ours, alone), "judged": (ours, alone)})
    page = portfolio_html(book, [Line("ZN<", 1_000, 60.0), Line("ZF", -2, 40.0)])
    cells = re.findall(r"<td>([^<]*)</td>", page)
    assert cells[:5] == ["chosen 2019-01-01 to 2019-12-31", "75", "100", "25.0%", "1 / 1"]
    assert cells[10:16] == ["ZN&lt;", "1,000", "60", "ZF", "-2", "40"]
    assert saving(ours, alone) == 0.25
    assert "amber line: positions alone" in page
    assert "CME" not in page
    assert "ZN<" not in page


def test_breaches_are_marked_and_lines_lift_over_gaps() -> None:
    page = html([replace(compared(), margin=np.full(40, 90.0), days=compared().days + 100 * (np.arange(40) > 20))])
    assert page.count("class='breach'") == 1
    assert "2020-01-08: lost 105, margin 90" in page
    path = re.search(r"<path class='ours' d='([^']*)'", page)
    assert path
    assert path[1].count("M") == 2


def test_lines_stand_at_round_sums() -> None:
    labels = re.findall(r"text-anchor='end'>([^<]*)<", html([compared()]))
    assert labels == ["0", "20", "40", "60", "80", "100"]

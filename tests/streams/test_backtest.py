"""The verb backtest: figures on the data that travels, the report, portfolios, and the rule is what calibration chose."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from streams import backtest, cli
from streams.backtest import PLANS, calibrate, compare
from streams.history import PAR_YIELDS


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = cli.run(["backtest", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_report_of_bitcoin_and_the_same_figures_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "folder" / "b.html"
    status, printed, _ = run(capsys, "BTC", "--out", out, "--json")
    assert status == 0
    spans = json.loads(printed)["contracts"]["BTC"]
    assert spans["judged"]["first"] == "2020-06-29"
    assert spans["judged"]["beside_cme"]["cme"]["days"] < spans["judged"]["ours"]["days"], (
        "CME's later figures are not trusted"
    )
    page = out.read_text("utf-8")
    assert not re.search(r"https?:|<script|<link|src=", page), "self-contained"
    svg = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    assert svg
    plot = ElementTree.fromstring(svg[0])
    chosen, judged = spans["chosen"]["ours"]["breaches"], spans["judged"]["ours"]["breaches"]
    assert len(plot.findall("circle")) == chosen + judged
    lifted = {element.get("class"): str(element.get("d")) for element in plot.findall("path")}
    assert lifted["ours"].count("M") == 2, "no line over the gap from 2018 to 2020"
    assert not re.search(r"\bnan\b", page)
    assert run(capsys, "BTC", "--out", out)[1].startswith("judged")


def test_a_history_of_the_users_own_gives_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = PLANS[0]
    short = backtest.Plan(plan.symbols, ("2011-10-03", "2012-02-01"), ("2013-01-02", "2013-07-31"), plan.compared, plan.rule)
    own = backtest.with_files([backtest.par_yields()])
    first, second = compare("ZT", short), compare("ZT", short, own)
    np.testing.assert_array_equal(first.margin, second.margin)
    pair = first.beside["judged"]
    assert pair
    assert pair[0].days == int((first.days >= np.datetime64("2013-01-02")).sum())
    status, _, error = run(capsys, "BTC", "--history", PAR_YIELDS, "--out", tmp_path / "b.html")
    assert status == 1
    assert "BTC: found no factor btc; the history has m3, m6" in error
    assert run(capsys, "BTC", "--history", PAR_YIELDS, "--calibrate") == (1, "", error)


def test_bitcoin_rule_is_what_calibration_chooses() -> None:
    plan = PLANS[1]
    points = calibrate(plan)
    best, rule = points[0], plan.rule
    chosen = (rule.filter.decay, rule.filter.long_run_weight, rule.tail_bps, rule.floor_bps)
    assert (best["decay"], best["long_run_weight"], best["tail_bps"], best["floor_bps"]) == chosen
    assert best["admitted"]
    assert len(points) == 72


@pytest.mark.parametrize("plan", PLANS, ids=["rates", "bitcoin"])
def test_choice_ends_before_judgement(plan: backtest.Plan) -> None:
    assert plan.chosen[1] < plan.judged[0]
    assert plan.chosen[1] <= "2018-08-31"


BOOK = [("BTC", 2), ("ZN", -5), ("UST:4.25:10", 300_000), ("BTC", -1)]


def written(path: Path, positions: list[tuple[str, int]], lines: bool = False) -> Path:
    """A portfolio's file, a JSON array or JSON lines."""
    texts = [json.dumps({"instrument": instrument, "qty": qty}) for instrument, qty in positions]
    path.write_text("\n".join(texts) + "\n" if lines else f"[{','.join(texts)}]")
    return path


def test_a_portfolio_is_margined_as_one_beside_its_positions_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.html"
    status, printed, _ = run(capsys, "--portfolio", written(tmp_path / "book.json", BOOK), "--out", out, "--json")
    assert status == 0
    figures = json.loads(printed)
    assert [(line["instrument"], line["qty"]) for line in figures["positions"]] == BOOK
    judged = figures["spans"]["judged"]
    assert (judged["first"], judged["last"]) == PLANS[1].judged, "a book with bitcoin has bitcoin's plan"
    assert figures["rule"]["filter"]["decay"] == PLANS[1].rule.filter.decay
    assert sum(line["average_alone"] for line in figures["positions"]) == pytest.approx(judged["alone"]["average"])
    assert judged["saving"] == pytest.approx(1 - judged["ours"]["average"] / judged["alone"]["average"])
    assert judged["saving"] > 0.4, "one bitcoin future of three is netted, and the security against the future"
    assert judged["ours"]["breaches_short"] == 0
    assert judged["ours"]["days"] == judged["alone"]["days"] == 249
    page = out.read_text("utf-8")
    assert not re.search(r"https?:|<script|<link|src=|\bnan\b", page)
    assert f"<td>{judged['saving']:.1%}</td>" in page
    chosen = figures["spans"]["chosen"]["ours"]["breaches"]
    assert page.count("class='breach'") == chosen + judged["ours"]["breaches"]
    lines = written(tmp_path / "book.jsonl", BOOK, lines=True)
    table = run(capsys, "--portfolio", lines, "--out", out)[1]
    assert table.startswith("span")
    assert f"{judged['ours']['average']:,.0f} / {judged['alone']['average']:,.0f}" in table


def test_one_long_contract_is_its_own_portfolio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [written(tmp_path / f"{qty}.json", [("BTC", qty)]) for qty in (1, 10, -1)]
    one, ten, short = (
        json.loads(run(capsys, "--portfolio", file, "--out", tmp_path / "p.html", "--json")[1])["spans"] for file in files
    )
    assert one["judged"]["saving"] == 0.0
    days = one["judged"]["ours"]["days"]
    assert ten["judged"]["ours"]["average"] == pytest.approx(10 * one["judged"]["ours"]["average"], abs=10)
    assert ten["judged"]["ours"]["breaches"] == one["judged"]["ours"]["breaches"]
    contract = compare("BTC", PLANS[1])
    both = contract.ours["judged"]
    assert days == both.days
    assert max(one["judged"]["ours"]["average"], short["judged"]["ours"]["average"]) <= both.average, (
        "one rate for either side is the larger"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "found no position; allowed: one or more"),
        ("", "found no position"),
        ('[{"instrument":"ZN"}]', "no positions in JSON or JSON lines: Object missing required field `qty`"),
        ('{"instrument":"ZN","qty":1}\n{"instrument":"ZN","qty":1.5}', "Expected `int`, got `float`"),
        ('[{"instrument":"ZN","qty":1,"side":"long"}]', "unknown field `side`"),
        ('[{"instrument":"TY","qty":1}]', "instrument: found 'TY'; allowed: ZT, ZF, ZN, ZB, BTC, UST:COUPON:YEARS"),
        ('[{"instrument":"ZN","qty":0}]', "ZN, qty: found 0; allowed: multiples of 1 other than 0"),
        ('[{"instrument":"UST:4:5","qty":150}]', "UST:4:5, qty: found 150; allowed: multiples of 100 other than 0"),
        ('[{"instrument":"ZN","qty":9000000000000}]', "qty: found 9000000000000; allowed"),
        ('[{"instrument":"BTC","qty":1000000000000}]', "found positions whose losses leave int64; allowed: fewer lots"),
        ('[{"instrument":"BTC","qty":1},{"instrument":"BTC","qty":-1}]', "as the positions offset one another"),
    ],
)
def test_portfolios_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    file, out = tmp_path / "book.json", tmp_path / "p.html"
    file.write_text(text)
    status, printed, error = run(capsys, "--portfolio", file, "--out", out)
    assert (status, printed, error.count("\n")) == (1, "", 1)
    assert said in error
    assert not out.exists()


def test_a_portfolio_needs_a_file_alone_and_days_in_both_spans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "book.json", [("ZN", 1)])
    for beside in ("ZN", "--calibrate"):
        status, _, error = run(capsys, "--portfolio", file, beside)
        assert status == 2
        assert "--portfolio: found a CONTRACT or --calibrate beside it; allowed: neither" in error
    assert "no such file" in run(capsys, "--portfolio", tmp_path / "none.json")[2].lower()
    days = np.arange(np.datetime64("2012-06-01"), np.datetime64("2013-03-01"))
    rows = [f"{day},{3 + n % 7 / 10},{4 + n % 5 / 10}" for n, day in enumerate(days[np.is_busday(days)])]
    own = tmp_path / "own.csv"
    own.write_text("\n".join(["date,m60,m84", *(row for row in rows if row < "2013")]))
    status, _, error = run(capsys, "--portfolio", file, "--history", own, "--out", tmp_path / "p.html")
    assert status == 1
    assert "book: found no day to margin in the span judged, 2013-01-01 to 2022-02-11" in error


def test_a_contract_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, error = run(capsys, "XX")
    assert status == 2
    assert "contract: found 'XX'; allowed: ZT, ZF, ZN, ZB, BTC" in error

"""The verb backtest: figures on the data that travels, the report, and the rule in force is what calibration chose."""

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


def test_bitcoin_rule_is_what_calibration_chooses() -> None:
    plan = PLANS[1]
    points = calibrate(plan)
    best, rule = points[0], plan.rule
    chosen = (rule.filter.decay, rule.filter.long_run_weight, rule.tail_bps, rule.floor)
    assert (best["decay"], best["long_run_weight"], best["tail_bps"], best["floor"]) == chosen
    assert best["admitted"]
    assert len(points) == 72


@pytest.mark.parametrize("plan", PLANS, ids=["rates", "bitcoin"])
def test_choice_ends_before_judgement(plan: backtest.Plan) -> None:
    assert plan.chosen[1] < plan.judged[0]
    assert plan.chosen[1] <= "2018-08-31"


def test_a_contract_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, error = run(capsys, "XX")
    assert status == 2
    assert "contract: found 'XX'; allowed: ZT, ZF, ZN, ZB, BTC" in error

"""The verb scenarios: a set out of files, the same twice, and refusals in one line."""

import json
from pathlib import Path

import pytest

from engine.scenarios.sets import STRESS_DAYS, decode
from streams import cli
from streams.history import PAR_YIELDS


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = cli.run(["scenarios", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_set_of_the_par_yields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set.json"
    status, printed, _ = run(capsys, PAR_YIELDS, "--out", out, "--json")
    assert status == 0
    figures = json.loads(printed)
    made = decode(out.read_bytes())
    assert figures["hash"] == made.hash
    assert figures["scenarios"] == len(made.labels) == figures["look_back"] + len(STRESS_DAYS)
    assert figures["stress_days"] == sorted(STRESS_DAYS)
    assert figures["stress_days_outside_history"] == []
    assert figures["look_back"] >= 2_450
    row = made.matrix[made.labels.index("stress 2023-03-13")]
    assert row[made.factors.index("m24")] == pytest.approx(-57.0)
    again = tmp_path / "again.json"
    run(capsys, PAR_YIELDS, "--out", again)
    assert again.read_bytes() == out.read_bytes()


def test_a_set_as_of_an_earlier_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set.json"
    arguments = (PAR_YIELDS, "--out", out, "--as-of", "2009-01-02", "--antithetic", "--horizon-days", 3, "--json")
    figures = json.loads(run(capsys, *arguments)[1])
    assert figures["stress_days"] == ["2008-11-20"]
    assert figures["stress_days_outside_history"] == [day for day in STRESS_DAYS if day > "2009-01-02"]
    assert figures["scenarios"] == 2 * (figures["look_back"] + 1)
    status, table, _ = run(capsys, PAR_YIELDS, "--out", out, "--as-of", "2009-01-02")
    assert status == 0
    assert "hash" in table


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--look-back-years", 9), 1, "look_back_years: found 9; allowed: 10 or more"),
        (("--decay", 2), 1, "decay: found 2.0; allowed: above 0 and below 1"),
        (("--move", "m24=up"), 2, "--move: found 'm24=up'; allowed: FACTOR=bp or FACTOR=log or FACTOR=relative"),
        (("--move", "zz=bp"), 2, "--move: found no factor 'zz'"),
        (("--as-of", "yesterday"), 2, "--as-of: found 'yesterday'"),
        (("--as-of", "1990-01-02"), 2, "--as-of: found 1990-01-02; allowed: a day after the history's second"),
    ],
)
def test_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], status: int, said: str
) -> None:
    out = tmp_path / "set.json"
    found, printed, error = run(capsys, PAR_YIELDS, "--out", out, *arguments)
    assert (found, printed) == (status, "")
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()

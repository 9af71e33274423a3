"""The verb scenarios: a set out of files, the same twice, listed sets, the example's, and refusals in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from deploy.example.make_scenarios import SCENARIOS, main
from engine.scenarios.contracts import TENORS
from engine.scenarios.sets import STRESS_DAYS, decode
from streams import cli
from streams.history import PAR_YIELDS
from streams.scenarios import LISTED
from streams.sources import DATA


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


def columns(path: Path, names: str, first: str, days: int, seed: int) -> Path:
    """A CSV of made prices, a day a row."""
    random = np.random.Generator(np.random.PCG64(seed))
    levels = np.exp(5.0 + (random.normal(size=(days, len(names.split(",")))) * 0.03).cumsum(axis=0))
    dates = (np.datetime64(first) + np.arange(days)).astype(str)
    rows = [",".join([day, *(f"{level:.6f}" for level in row)]) for day, row in zip(dates, levels, strict=True)]
    path.write_text("\n".join([f"date,{names}", *rows]) + "\n")
    return path


def test_factors_take_their_names_in_the_stream_and_a_missing_move_its_proxy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early, late, out = columns(tmp_path / "a.csv", "btc", "2015-01-01", 400, 1), tmp_path / "b.csv", tmp_path / "set.json"
    columns(late, "BTC-USD,eth", "2016-02-05", 300, 2)
    arguments = [early, late, "--out", out, "--rename", "btc=BTC-USD", "--rename", "eth=ETH-USD", "--json"]
    gaps = json.loads(run(capsys, *arguments)[1])
    before = decode(out.read_bytes())
    assert gaps["factors"] == {"BTC-USD": "log", "ETH-USD": "log"}
    assert gaps["missing_moves"] == int(np.isnan(before.matrix[:, 1]).sum()) == 400
    assert gaps["proxies"] == {}
    filled = json.loads(run(capsys, *arguments, "--proxy", "ETH-USD=BTC-USD:1.25")[1])
    after = decode(out.read_bytes())
    assert (filled["missing_moves"], filled["proxies"]) == (0, {"ETH-USD": "BTC-USD x 1.25"})
    assert after.parameters["proxy ETH-USD"] == "BTC-USD x 1.25"
    assert after.hash != before.hash
    absent = np.isnan(before.matrix[:, 1])
    np.testing.assert_array_equal(after.matrix[~absent], before.matrix[~absent])
    np.testing.assert_allclose(after.matrix[absent, 1], 1.25 * before.matrix[absent, 0], rtol=5e-9)


@pytest.mark.parametrize("kind", LISTED)
def test_listed_sets_are_documents_too(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set.json"
    figures = json.loads(run(capsys, "--list", kind, "--out", out, "--json")[1])
    made = decode(out.read_bytes())
    assert (figures["hash"], figures["scenarios"], figures["bytes"]) == (made.hash, len(made.labels), out.stat().st_size)
    assert made.labels == LISTED[kind]().labels
    assert made.name == LISTED[kind]().name
    run(capsys, "--list", kind, "--out", out, "--name", "N", "--set-version", "7")
    named = decode(out.read_bytes())
    assert (named.name, named.version) == ("N", "7")
    assert named.hash != made.hash


def test_a_set_longer_than_a_message_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = columns(tmp_path / "more.csv", "gold,oil,wheat", "2013-06-01", 4_000, 3)
    out = tmp_path / "set.json"
    status, _, error = run(capsys, PAR_YIELDS, more, "--out", out, "--antithetic", "--raw", "--as-of", "2024-04-30")
    assert status == 1
    assert "factors; allowed: 999,999, as a set is one Kafka message; fewer factors or years" in error
    assert not out.exists()


def test_the_examples_sets(tmp_path: Path) -> None:
    written = SCENARIOS.read_bytes()
    sets = {made.name: made for made in map(decode, written.splitlines())}
    assert list(sets) == ["RATES-1D", "RATES-3D", "CRYPTO-1D", "SPAN-16", "GRID-BTC", "GRID-ETH", "POINTS-INDEX"]
    assert max(map(len, written.splitlines())) < 1_000_000
    assert len(written) < 1_500_000
    main(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == written
    for name, days in (("RATES-1D", 1), ("RATES-3D", 3)):
        assert sets[name].factors == tuple(TENORS)
        assert sets[name].stress_days == tuple(sorted(STRESS_DAYS))
        assert (sets[name].parameters["horizon_days"], sets[name].parameters["as_of"]) == (days, "2024-04-30")
    assert sets["CRYPTO-1D"].factors == ("BTC-USD", "ETH-USD")
    assert sets["CRYPTO-1D"].stress_days == ("2021-05-19",)
    assert not any(np.isnan(made.matrix).any() for made in sets.values())
    instruments = (DATA / "instruments.jsonl").read_text("utf-8")
    assert all(f'"id":"{factor}"' in instruments for factor in sets["CRYPTO-1D"].factors)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--list", "grid:XRP"), "--list: found 'grid:XRP'; allowed: span, grid, grid:BTC, grid:ETH, points:high_cap"),
        (("--list", "points"), "--list: found 'points'"),
        (("--list", "span", PAR_YIELDS), "--list: found a FILE or an option for histories beside it"),
        (("--list", "span", "--horizon-days", 3), "--list: found a FILE or an option"),
        (("--list", "span", "--raw"), "--list: found a FILE or an option"),
        ((), "scenarios: found no FILE; allowed: one or more, or --list"),
    ],
)
def test_refusals_of_listed_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], said: str
) -> None:
    status, _, error = run(capsys, "--out", tmp_path / "set.json", *arguments)
    assert (status, error.count("\n")) == (2, 1)
    assert said in error


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--look-back-years", 9), 1, "look_back_years: found 9; allowed: 10 or more"),
        (("--decay", 2), 1, "decay: found 2.0; allowed: above 0 and below 1"),
        (("--move", "m24=up"), 2, "--move: found 'm24=up'; allowed: FACTOR=bp or FACTOR=log or FACTOR=relative"),
        (("--move", "zz=bp"), 2, "--move: found no factor 'zz'"),
        (("--rename", "m24"), 2, "--rename: found 'm24'; allowed: FROM=TO, each name once"),
        (("--rename", "zz=m1"), 2, "--rename: found no factor 'zz'; allowed: m3, m6"),
        (("--rename", "m24=m36"), 2, "--rename: found two factors 'm36'; allowed: each name once"),
        (("--rename", "m24=a", "--rename", "m24=b"), 2, "--rename: found 'm24=b'"),
        (("--proxy", "m24=m36"), 2, "--proxy: found 'm24=m36'; allowed: FACTOR=OTHER:BETA, BETA a finite number not 0"),
        (("--proxy", "m24=m36:nan"), 2, "--proxy: found 'm24=m36:nan'"),
        (("--proxy", "m24=m24:1"), 2, "--proxy: found 'm24=m24:1'"),
        (("--proxy", "m24=zz:1"), 1, "proxy of m24: found no factor zz"),
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

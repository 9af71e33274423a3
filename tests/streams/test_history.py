"""Histories: what is read out of CSV and Parquet, what travels with the package, and one line for each fault."""

import gzip
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.scenarios.moves import Move
from streams.history import bitcoin, cme_margins, joined, par_yields, read_history, renamed
from streams.settings import ConfigError, UserError
from streams.sources import DATA
from tests.services import shared

GOOD = "date,10Y,gold\n2020-01-02,1.88,1528.1\n20200103,,1552.2\n2020-01-06,1.81,1568.8\n"


def written(folder: Path, text: str, name: str = "h.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_csv_plain_and_compressed(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    packed = tmp_path / "h.csv.gz"
    packed.write_bytes(gzip.compress(GOOD.encode()))
    for file in (path, packed):
        history = read_history(file)
        assert (history.factors, history.kinds) == (("10Y", "gold"), (Move.BP, Move.LOG))
        assert history.days.astype(str).tolist() == ["2020-01-02", "2020-01-03", "2020-01-06"]
        np.testing.assert_array_equal(history.levels, [[1.88, 1528.1], [np.nan, 1552.2], [1.81, 1568.8]])
    assert read_history(path, {"gold": Move.RELATIVE}).kinds == (Move.BP, Move.RELATIVE)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "h.parquet"
    days = [date(2020, 1, 2), date(2020, 1, 3)]
    pq.write_table(pa.table({"Date": days, "m120": [1.88, None], "btc": [7000, 7100]}), path)
    history = read_history(path)
    np.testing.assert_array_equal(history.levels, [[1.88, 7000], [np.nan, 7100]])
    pq.write_table(pa.table({"date": days, "m120": [1.88, float("nan")]}), path)
    with pytest.raises(UserError, match=r"h\.parquet, row 2, column m120: found 'nan'; allowed: a finite number"):
        read_history(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1.88", "1.8.8", "line 2, column 10Y: found '1.8.8'; allowed: a finite number, or nothing where it is missing"),
        ("1.88", "nan", "line 2, column 10Y: found 'nan'; allowed: a finite number"),
        ("1.88", "1e999", "line 2, column 10Y: found '1e999'; allowed: a finite number"),
        ("1552.2", "0", "line 3, column gold: found 0 as a price; allowed: above 0"),
        ("2020-01-06", "2020-13-06", "line 4, column date: found '2020-13-06'; allowed: a day as 2024-05-13"),
        ("2020-01-06", "20200103", "line 4, column date: found 2020-01-03 after 2020-01-03; allowed: ascending days"),
        ("1568.8", "1568.8,7", "line 4: found 4 cells; allowed: 3, as in the header"),
        ("date,", "when,", "header: found when,10Y,gold; allowed: one column date or day"),
        ("10Y", "gold", "header: found date,gold,gold; allowed: .* each name once"),
        ("20200103,,1552.2\n2020-01-06,1.81,1568.8\n", "", "found 1 days; allowed: 2 or more"),
        ("1552.2", '"1552', "not CSV in UTF-8"),
    ],
)
def test_each_fault_is_one_line_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UserError, match=said) as caught:
        read_history(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_history(tmp_path / "absent.csv")
    with pytest.raises(UserError, match="unknown form"):
        read_history(written(tmp_path, GOOD, "h.txt"))
    with pytest.raises(UserError, match="not readable"):
        read_history(written(tmp_path, GOOD, "h.parquet"))
    with pytest.raises(UserError, match=r"h\.csv\.gz"):
        read_history(written(tmp_path, GOOD, "h.csv.gz"))


def test_joined_histories(tmp_path: Path) -> None:
    first = read_history(written(tmp_path, "date,a\n2020-01-02,1\n2020-01-03,2\n", "a.csv"))
    second = read_history(written(tmp_path, "date,b,a\n2020-01-01,5,\n2020-01-03,6,\n2020-01-06,,3\n", "b.csv"))
    both = joined([first, second])
    assert both.factors == ("a", "b")
    np.testing.assert_array_equal(both.levels, [[np.nan, 5], [1, np.nan], [2, 6], [3, np.nan]])
    with pytest.raises(ConfigError, match="factor a: found twice on 2020-01-02"):
        joined([first, first])
    third = read_history(tmp_path / "b.csv", {"a": Move.BP})
    with pytest.raises(ConfigError, match="factor a: found bp moves and log moves"):
        joined([first, third])


def test_renamed_factors(tmp_path: Path) -> None:
    first = read_history(written(tmp_path, "date,btc,10Y\n2020-01-02,1,4\n2020-01-03,2,5\n", "a.csv"))
    other = renamed(first, {"btc": "BTC-USD", "absent": "x"})
    assert other.factors == ("BTC-USD", "10Y")
    assert other.kinds == first.kinds
    assert renamed(first, {"btc": "10Y", "10Y": "btc"}).factors == ("10Y", "btc")
    with pytest.raises(ConfigError, match="--rename: found two factors '10Y'; allowed: each name once"):
        renamed(first, {"btc": "10Y"})


def test_histories_that_travel() -> None:
    yields = par_yields()
    assert len(yields.days) == 8598
    ten = yields.levels[:, yields.factors.index("m120")]
    for day, level in (("2008-11-20", 3.10), ("2020-03-09", 0.54), ("2020-03-18", 1.18), ("2023-10-19", 4.98)):
        assert ten[yields.days == np.datetime64(day)] == level
    assert set(yields.kinds) == {Move.BP}
    btc = bitcoin()
    assert np.is_busday(btc.days).all()
    assert str(btc.days[np.diff(btc.days).argmax()]) == "2018-08-13"
    margins = cme_margins()["ZN"]
    days = np.array(["2004-01-01", "2020-03-03", "2020-04-14"], "M8[D]")
    np.testing.assert_array_equal(margins.on(days), [np.nan, 1275, 2000])


def test_history_folder_is_small_and_has_sources_and_licence() -> None:
    readme = (DATA / "history" / "README.md").read_text("utf-8")
    assert sum(file.stat().st_size for file in DATA.rglob("*") if file.is_file()) <= 3_000_000
    assert all(file.name in readme for file in (DATA / "history").iterdir() if file.name != "README.md")
    assert "Apache License" in (DATA / "history" / "LICENSE-Apache-2.0").read_text("utf-8")


def test_travelling_margins_are_those_of_the_source() -> None:
    for symbol, steps in cme_margins().items():
        lines = (shared("data/cme_margins") / f"{symbol}.csv").read_text("utf-8").split()[1:]
        rows = {tuple(line.split(",")) for line in lines}
        assert {(str(day).replace("-", ""), value) for day, value in zip(steps.days, steps.values, strict=True)} == {
            (row[0], float(row[2])) for row in rows
        }

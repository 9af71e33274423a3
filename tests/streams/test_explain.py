"""The verb explain: from kept snapshots, as tables and as JSON whose decimals sum exactly, and failures in one line."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from monitors.wording import money
from streams import cli
from streams.snapshots import Snapshot, SnapshotStore
from tests.engine.explain_world import World


def save(world: World, place: Path) -> int:
    """Keep a snapshot of the world; returns its offset."""
    engine = world.engine
    SnapshotStore(str(place)).save(Snapshot(0, engine.offset, engine.genesis, engine.to_bytes()))
    return engine.offset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two snapshots, between them trades and ticks."""
    place, world = tmp_path_factory.mktemp("snapshots"), World()
    world.hold()
    world.agreement()
    world.clock()
    save(world, place)
    world.trade("f", "ZN", -20)
    world.price("BTC-USD", "93000")
    world.price("PERP", "93010")
    world.log.collateral("k", "BTC", "-0.1")
    world.clock()
    save(world, place)
    return place


def offsets(place: Path) -> tuple[int, int]:
    older, newer = SnapshotStore(str(place)).offsets(0)
    return older, newer


def run(capsys: pytest.CaptureFixture[str], place: Path, *arguments: str) -> tuple[int, str, str]:
    status = cli.run(["explain", "--snapshots-only", "--snapshots", str(place), *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def explained(capsys: pytest.CaptureFixture[str], place: Path, *arguments: str) -> dict[str, Any]:
    status, out, err = run(capsys, place, "--json", *arguments)
    assert (status, err) == (0, "")
    data: dict[str, Any] = json.loads(out)
    return data


def total(rows: list[dict[str, Any]], name: str) -> Decimal:
    return sum((Decimal(row[name]) for row in rows), Decimal(0))


@pytest.mark.parametrize("account", list("ftkn"))
def test_decimals_sum_exactly(capsys: pytest.CaptureFixture[str], place: Path, account: str) -> None:
    data = explained(capsys, place, account)
    required = data["requirement"]
    assert required["is_as_stored"] is True
    assert required["now"] == required["stored"]
    for level in ("initial", "maintenance"):
        assert total(required["alone"] + required["portfolios"], level) == Decimal(required["stored"][level])
    for one in required["portfolios"]:
        assert sum(map(Decimal, one["lines"].values())) == Decimal(one["maintenance"])
        assert total(one["contributions"], "loss") == Decimal(one["lines"]["RISK"])
        assert all(len(tail["worst"]) == 5 for tail in one["tails"])
    equity = data["equity"]
    assert total(equity["collateral"] + equity["positions"], "worth") == Decimal(equity["now"]) == Decimal(equity["stored"])
    change = data["change"]
    for name in ("equity", "initial", "maintenance"):
        assert total(change["parts"], name) == Decimal(change["now"][name]) - Decimal(change["then"][name])
    assert (change["then"]["offset"], change["now"]["offset"]) == offsets(place)


def test_it_says_which_rules_sets_and_moment(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    data = explained(capsys, place, "k")
    (grid,) = data["requirement"]["portfolios"]
    assert (grid["rule"], grid["model"], grid["effective"]) == ("GRID", "grid", "1970-01-01T00:00:00.000000000Z")
    assert len(grid["scenarios_hash"]) == 32
    assert len(data["rule_set"]) == 16
    assert (data["account"], data["pool"], data["currency"], data["shard"]) == ("k", "K", "USD", 0)
    assert data["offset"] == offsets(place)[1]
    assert data["clock"] == "2027-01-15T08:00:04.000000000Z"
    assert set(data["market"]) == {"prices", "volatility"}
    assert [view["view"] for view in data["views"]] == ["silo", "cross", "unified"]
    assert data["cross_margin"] is None
    assert explained(capsys, place, "f")["cross_margin"]["saving"] == "0.800000000"


def test_it_says_which_inputs_are_old_or_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    world = World()
    fund: dict[str, Any] = {"type": "fund", "tick": "0.01", "band": ["0.01", "1000"], "rule": "FLAT"}
    world.define("instrument", "OLD", currency="USD", stale_after=5, **fund)
    world.define("instrument", "EURO-OLD", currency="EUR", **fund)
    world.define("instrument", "GBPUSD", type="fx", currency="USD", tick="0.0001", band=["0.5", "2"])
    world.define("asset", "GBP", type="currency", currency="USD", instrument="GBPUSD")
    world.define("asset", "NOTE", type="security", currency="GBP")
    for name in ("OLD", "EURO-OLD"):
        world.price(name, 25)
        world.log.trade("n" if name == "OLD" else "f", name, 1, 25)
    world.clock()
    save(world, tmp_path)
    assert explained(capsys, tmp_path, "n")["quality_because"] == []
    world.log.collateral("f", "NOTE", 1)
    world.clock(6)
    save(world, tmp_path)
    assert explained(capsys, tmp_path, "n")["quality_because"] == ["OLD: its price is 7 s old, its limit is 5 s"]
    assert explained(capsys, tmp_path, "n")["quality"] == "STALE"
    assert explained(capsys, tmp_path, "f")["quality_because"] == ["GBPUSD: no price has come"]
    assert explained(capsys, tmp_path, "f")["quality"] == "UNPRICED"
    assert "GBPUSD: no price has come" in run(capsys, tmp_path, "f")[1]


def test_tables_have_the_same_figures(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    data = explained(capsys, place, "f")
    status, out, err = run(capsys, place, "f")
    assert (status, err) == (0, "")
    (cme,) = data["requirement"]["portfolios"]
    amounts = cme["lines"]["RISK"], cme["lines"]["CROSS"], cme["maintenance"], data["equity"]["now"]
    assert max(len(text) for text in amounts) > len("1000.00")  # thousands are apart in tables only
    for text in (*map(money, amounts), data["rule_set"]):
        assert text in out
    assert not re.search(r"\d{4,}\.\d\d\b", out)
    for title in (
        "requirement",
        "worst scenarios",
        "contributions to the risk line",
        "equity, worth in USD",
        "change since",
    ):
        assert title in out
    assert "UST-2Y" in out
    assert "one year or less to maturity" in out


def test_since_takes_an_offset_or_a_time(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    older, newer = offsets(place)
    whole = explained(capsys, place, "f")
    for since in (str(older), str(newer - 1), "2027-01-15T08:00:03.5Z"):
        assert explained(capsys, place, "f", "--since", since) == whole
    assert total(explained(capsys, place, "f", "--since", str(newer))["change"]["parts"], "maintenance") == 0
    for since in (str(older - 1), "2027-01-15T08:00:02.9Z"):
        status, out, err = run(capsys, place, "f", "--since", since)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert f"--since: found {since}; of shard 0 snapshots are kept at: {older}, {newer}" in err
    status, out, err = run(capsys, place, "f", "--since", "yesterday")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--since: found 'yesterday'; allowed: a log offset, or a time" in err


def test_one_snapshot_explains_all_but_the_change(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    world = World()
    save(world, tmp_path)
    data = explained(capsys, tmp_path, "f")
    assert (data["change"], data["no_change_because"]) == (None, "only one snapshot is kept; --since names a moment")
    assert data["requirement"]["stored"] == {"initial": "0.00", "maintenance": "0.00"}
    world.define("account", "late", customer="c", pool="F", currency="USD")
    world.clock()
    save(world, tmp_path)
    assert explained(capsys, tmp_path, "late")["no_change_because"].startswith("account late was not defined at offset")


def test_failures_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        status, out, err = run(capsys, tmp_path, *arguments)
        assert (status, out, err.count("\n")) == (1, "", 1)
        return err

    assert "no good snapshot under" in said("f")
    world = World()
    save(world, tmp_path)
    assert "found no account 'nobody' in the newest snapshots" in said("nobody")
    world.clock()
    offset = save(world, tmp_path)
    (newest,) = tmp_path.glob(f"*{offset:019d}.snapshot")
    newest.write_bytes(newest.read_bytes()[:-1])
    assert f"the snapshot of shard 0 at offset {offset} cannot be read: its checksum does not match" in said("f")
    assert newest.exists()  # what only reads removes nothing
    whole = Snapshot(0, offset, world.engine.genesis, b"CMSN" + bytes(60))
    SnapshotStore(str(tmp_path)).save(whole)
    assert f"the snapshot of shard 0 at offset {offset} cannot be read: snapshot format 0" in said("f")

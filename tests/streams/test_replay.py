"""Replays: every message accounted for, the same digest however it is run, and a log that replays to it."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from engine.limits import Limits
from streams.replay import COLUMNS, read_log, replay, replay_log
from streams.settings import UserError
from tests.services import shared

LIMITS = Limits(accounts=4096, positions=1 << 14, ids=1 << 16)
REFERENCE: list[dict[str, Any]] = [
    {"kind": "account", "id": "A", "customer": "C", "pool": "P", "currency": "USD"},
    {"kind": "customer", "id": "C"},
    {"kind": "pool", "id": "P", "regime": "none", "currency": "USD"},
    {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
    {"kind": "instrument", "id": "X", "type": "index", "currency": "USD", "tick": "0.01", "band": ["0", "1000"]},
    {"kind": "rule", "id": "R", "model": "flat", "effective": 0, "parameters": {"initial": "12", "maintenance": "10"}},
    {
        "kind": "instrument", "id": "F", "type": "rate_future", "currency": "USD", "tick": "0.01", "band": ["0", "1000"],
        "rule": "R", "underlying": "X",
    },
]  # fmt: skip
SECOND = 10**9
START_NS = 1_700_000_000 * SECOND


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def event(topic: str, second: float, **fields: Any) -> dict[str, Any]:
    return {"topic": topic, "ts": START_NS + round(second * SECOND), **fields}


def accounted(manifest: dict[str, Any]) -> int:
    sums = (sum(manifest[name].values()) for name in ("events", "ignored", "rejects"))
    return int(sum(sums)) + int(manifest["superseded"])


def small(folder: Path) -> tuple[Path, Path]:
    """(events, reference): an account that falls to CALL and comes back, with a few events that are refused."""
    price = {"instrument": "F"}
    trade = {"account": "A", "instrument": "F", "qty": 5, "source": "t"}
    events = [
        event("collateral", 0, id="1", account="A", asset="USD", qty=100, source="bank"),
        event("prices", 0, **price, price=50),
        event("trades", 1, id="1", **trade, price="50.00"),
        event("prices", 2, **price, bid="38.99", ask="39.01"),
        event("trades", 2.5, id="1", **trade, price="50.00"),
        event("trades", 2.5, id="2", **trade, price="50.001"),
        event("trades", 2.5, id="3", **{**trade, "account": "B"}, price="50"),
        event("prices", 4.05, **price, price=60),
        event("prices", 3, **price, price=10),
        event("prices", 5, **price, price="cheap"),
    ]
    return lines(folder / "day.jsonl", events), lines(folder / "reference.jsonl", REFERENCE)


def test_a_small_day(tmp_path: Path) -> None:
    day, reference = small(tmp_path)
    manifest = replay([day], tmp_path / "out", reference=[reference], shards=2, limits=LIMITS)
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["events"] == {"collateral": 1, "prices": 3, "reference": 7, "trades": 1}
    assert manifest["rejects"] == {"bad_field": 1, "duplicate": 1, "off_tick": 1, "unknown_account": 1}
    assert manifest["superseded"] == 1
    assert manifest["messages"] == accounted(manifest) == 17
    assert (manifest["accounts"], manifest["by_status"]["OK"]) == (1, 1)
    inputs = {entry["path"]: entry for entry in manifest["inputs"]}
    assert inputs[str(day)]["messages"] == 10
    assert inputs[str(day)]["sha256"] == hashlib.sha256(day.read_bytes()).hexdigest()


def test_breaches_tell_each_change(tmp_path: Path) -> None:
    day, reference = small(tmp_path)
    replay([day], tmp_path / "out", reference=[reference], limits=LIMITS)
    with (tmp_path / "out" / "breaches.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    status = [(row["from"], row["to"], row["call"]) for row in rows if row["kind"] == "status"]
    assert status[0] == ("OK", "CALL", "15.00")  # equity 100 - 5 x (50 - 39) = 45; initial 60, maintenance 50
    assert status[-1][:2] == ("CALL", "OK")
    assert [int(row["change"]) for row in rows] == list(range(1, len(rows) + 1))
    assert {(row["account"], row["customer"], row["pool"], row["currency"]) for row in rows} == {("A", "C", "P", "USD")}


def test_its_log_replays_to_its_digest(tmp_path: Path) -> None:
    day, reference = small(tmp_path)
    manifest = replay([day], tmp_path / "out", reference=[reference], shards=3, limits=LIMITS, keep_log=True)
    log = read_log(tmp_path / "out" / "margin.log")
    again = replay_log(log)
    assert sorted(log) == [0, 1, 2]
    assert again.digest() == manifest["digest"]
    assert again.applied == manifest["events"]
    (tmp_path / "cut.log").write_bytes((tmp_path / "out" / "margin.log").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"cut\.log: cut short"):
        read_log(tmp_path / "cut.log")


def test_results_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    day, reference = small(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"taken: cannot be a folder for results"):
        replay([day], tmp_path / "taken", reference=[reference])


def test_nothing_but_seeded_accounts(tmp_path: Path) -> None:
    manifest = replay([lines(tmp_path / "prices.jsonl", [])], tmp_path / "out", accounts=20, limits=LIMITS)
    paths = [entry["path"] for entry in manifest["inputs"]]
    assert paths[0] == "example:assets.jsonl"
    assert paths[-1] == "generated:seed=1,accounts=20"
    assert manifest["accounts"] == 20
    assert manifest["digest"] == "157970a76e5b675e"  # of the example: changes with its documents and rules, or the engine's
    assert manifest["messages"] == accounted(manifest)
    assert (
        replay([lines(tmp_path / "prices.jsonl", [])], tmp_path / "out", accounts=20, seed=2, limits=LIMITS)["digest"]
        != (manifest["digest"])
    )


def test_the_recorded_messages_give_one_digest(tmp_path: Path) -> None:
    """All 524,627 messages: two runs, 1 and 4 shards, frames of 1, 7 and 1,024 records; each message accounted for."""
    recorded = shared("data/binance")
    runs: list[dict[str, Any]] = [{}, {}, {"shards": 1, "frame_records": 7}, {"shards": 1, "frame_records": 1}]
    manifests = [replay([recorded], tmp_path / "out", limits=LIMITS, **run) for run in runs]
    assert {manifest["digest"] for manifest in manifests} == {"4a4ff028e6a2b2b5"}
    for manifest in manifests:
        files = [entry for entry in manifest["inputs"] if not entry["path"].startswith(("example:", "generated:"))]
        assert sum(entry["messages"] for entry in files) == 524_627
        assert manifest["ignored"] == {"depthUpdate": 110_052, "depthSnapshot": 6}
        assert manifest["messages"] == accounted(manifest)
        assert manifest["rejects"] == {}
        assert manifest["events"] == manifests[0]["events"]
        assert manifest["changes"] == manifests[0]["changes"] > 200
    assert manifests[1]["seconds"] < 30

"""The day's margin calls in a pack: out of snapshots, the log and topic margin.calls as a worker's engine saw them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from engine.core import MarginEngine
from engine.events import TOPIC_OF, Kind
from engine.limits import Limits
from monitors.alerts import Alert, Alerts, encode_alert
from monitors.day_end import csv_text, pack
from monitors.day_rows import day_of_shard, lives_of
from streams import cli, kafka
from streams.embedded import MOCK_PARTITIONS, embedded_kafka
from streams.in_process import Replay
from streams.settings import Settings
from streams.snapshots import Snapshot, SnapshotStore
from streams.sources import Item
from streams.topics import CALLS, LOG
from tests.streams.test_day_end import DOCUMENTS

pytestmark = pytest.mark.services
DAY = "2026-11-20"
ACCOUNTS = [f"a{n}" for n in range(9)]


def at(clock: str) -> str:
    return f"{DAY}T{clock}Z"


def event(kind: Kind, clock: str, account: str, /, **fields: Any) -> Item:
    named = {"id": f"{clock}{account}{len(fields)}", "ts": at(clock), "account": account}
    return 0, TOPIC_OF[kind], None, json.dumps(named | fields).encode()


def morning() -> list[Item]:
    """Every account is short of 50 dollars and called; two of them pay, one of these a part; one call is acknowledged."""
    items: list[Item] = [(0, "reference", None, json.dumps(document).encode()) for document in DOCUMENTS]
    items.append((0, "prices", None, json.dumps({"ts": at("08:00:00"), "instrument": "F", "price": 5}).encode()))
    for account in ACCOUNTS:
        items.append(event(Kind.COLLATERAL, "08:00:00", account, asset="USD", qty=60, source=""))
        items.append(event(Kind.TRADE, "08:00:00", account, instrument="F", qty=1, price=5, source=""))
    items += [event(Kind.COLLATERAL, "09:00:00", a, asset="USD", qty=qty, source="") for a, qty in (("a1", 50), ("a2", 20))]
    said = {"user": "ann", "kind": "ack", "call": "a3:../4d:1", "text": "they wire it"}
    return [*items, event(Kind.ACTION, "09:30:00", "a3", **said)]


def afternoon() -> list[Item]:
    """One more pays; a statement differs; the last event is one before which no clock stands."""
    stated = event(Kind.STATEMENT, "15:00:00", "a5", holder="cme", instrument="F", qty=2)
    items = [event(Kind.COLLATERAL, "14:00:00", "a4", asset="USD", qty=50, source=""), stated]
    return [*items, event(Kind.COLLATERAL, "16:00:00", "a6", asset="USD", qty=-1, source="")]


@dataclass
class Live:
    """What a worker's engines hold, and the alerts of calls that it sent."""

    run: Replay = field(default_factory=lambda: Replay(MOCK_PARTITIONS, 8, Limits(), keep_frames=True))
    alerts: list[Alert] = field(default_factory=list)

    def __post_init__(self) -> None:
        for engine in self.run.shards.engines:
            engine.step = self._watched(engine, engine.step)  # type: ignore[method-assign]

    def _watched(self, engine: MarginEngine, step: Callable[..., Any]) -> Callable[..., Any]:
        def watched(frame: Any, offset: int) -> Any:
            report = step(frame, offset)
            self.alerts += [alert for alert in Alerts(engine.shard, engine, report) if alert.call is not None]
            return report

        return watched

    def files(self) -> dict[str, str]:
        """The pack's files, from the engines as they are."""
        found = pack([day_of_shard(engine) for engine in self.run.shards.engines], "../4d", lives_of(self.alerts))
        return {f"{section.name}.csv": csv_text(section) for section in found.sections}


def written(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> dict[str, str]:
    """The files of a pack that the verb writes."""
    assert cli.run(["day-end", "--out", str(folder), *arguments]) == 0, capsys.readouterr().err
    return {path.name: path.read_text() for path in (folder / "_._4d").glob("*.csv")}


def rows(files: dict[str, str], name: str) -> list[str]:
    return files[f"{name}.csv"].splitlines()[1:]


def test_a_pack_out_of_the_log_is_the_live_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With snapshots of the forenoon, and with none; margin.calls has repeats, and what the snapshots do not have yet."""
    live, store = Live(), SnapshotStore(str(tmp_path / "kept"))
    live.run.run(morning())
    for engine in live.run.shards.engines:
        store.save(Snapshot(engine.shard, engine.offset, engine.genesis, engine.to_bytes()))
    forenoon = live.files()
    live.run.run(afternoon())
    assert not live.run.rejects + live.run.shards.rejects
    with embedded_kafka() as address:
        out = kafka.Delivery(Producer(kafka.producer_config(Settings(kafka=address))))
        for shard, frame in live.run.frames or ():
            out.send(LOG, shard, frame)
        for alert in [*live.alerts[:3], *live.alerts]:
            out.send(CALLS, 0, encode_alert(alert))
        assert out.wait(20)
        log = ["--kafka", address, "--snapshots"]
        by_snapshots = written(capsys, tmp_path / "a", *log, str(tmp_path / "kept"))
        from_start = written(capsys, tmp_path / "b", *log, str(tmp_path / "none"))
        past = written(capsys, tmp_path / "c", "--at", at("09:30:00"), *log, str(tmp_path / "kept"))
    assert by_snapshots == live.files()
    assert from_start == by_snapshots
    assert {name: past[name] for name in past if name != "moments.csv"} == {
        name: text for name, text in forenoon.items() if name != "moments.csv"
    }
    states = [row.split(",")[:5:3] for row in rows(by_snapshots, "calls")]
    assert states[-2:] == [["a1:../4d:1", "MET"], ["a4:../4d:1", "MET"]]
    assert [one for one in states if one[1] == "PART_MET"] == [["a2:../4d:1", "PART_MET"]]
    assert len(states) == len(ACCOUNTS)
    assert [row.split(",")[1] for row in rows(by_snapshots, "call_lives") if row.startswith("a3")] == [
        "issued",
        "acknowledged",
    ]
    assert len(rows(by_snapshots, "breaks")) == 1
    assert rows(past, "breaks") == []

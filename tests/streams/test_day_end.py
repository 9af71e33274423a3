"""The verbs day-end and pilot-report over a log of four shards in an embedded Kafka: moments, files, one-line failures."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from engine.limits import Limits
from streams import cli, kafka
from streams.embedded import MOCK_PARTITIONS, embedded_kafka
from streams.in_process import Replay
from streams.settings import Settings
from streams.sources import Item
from streams.topics import LOG

pytestmark = pytest.mark.services
CUSTOMERS = 9
DOCUMENTS: list[dict[str, Any]] = [
    {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
    {"kind": "asset", "id": "USDC", "type": "stablecoin", "currency": "USD"},
    {
        "kind": "rule", "id": "FLAT", "model": "flat", "effective": "2020-01-01T00:00:00Z",
        "parameters": {"initial": "110", "maintenance": "100"},
    },
    {
        "kind": "rule", "id": "TAKEN", "model": "collateral", "effective": "2020-01-01T00:00:00Z",
        "parameters": {
            "currency": "USD",
            "assets": {
                "USD": {"haircut": "0"},
                "USDC": {"haircut": "0", "clearing_house_haircut": "0", "digital": "payment_stablecoin"},
            },
            "pilot": {
                "commencement": "2026-11-02", "months": 3, "floor": "0.2", "first": ["payment_stablecoin"],
                "own_capital": {}, "residual_interest": [],
            },
        },
    },
    {"kind": "pool", "id": "../4d", "regime": "4d", "currency": "USD", "collateral": "TAKEN", "account_class": "futures 4d"},
    {"kind": "pool", "id": "none", "regime": "venue", "currency": "USD"},
    {"kind": "instrument", "id": "F", "type": "fund", "currency": "USD", "tick": "1", "band": ["0", "9"], "rule": "FLAT"},
    *({"kind": "customer", "id": f"c{n}"} for n in range(CUSTOMERS)),
    *({"kind": "account", "id": f"a{n}", "customer": f"c{n}", "pool": "../4d", "currency": "USD"} for n in range(CUSTOMERS)),
]  # fmt: skip
FRIDAY, SATURDAY, MONDAY = "2026-11-20T20:00:00Z", "2026-11-21T10:00:00Z", "2026-11-23T09:00:00Z"


def items() -> Iterator[Item]:
    """On Friday each account gets a position and 60 USD and 30 USDC, on Saturday 25 USD more, on Monday 1 USDC more."""

    def event(topic: str, **fields: Any) -> Item:
        return 0, topic, None, json.dumps(fields).encode()

    for document in DOCUMENTS:
        yield event("reference", **document)
    yield event("prices", ts=FRIDAY, instrument="F", price=5)
    for n in range(CUSTOMERS):
        yield event("trades", id=f"t{n}", ts=FRIDAY, account=f"a{n}", instrument="F", qty=1, price=5, source="")
    for ts, asset, quantity in ((FRIDAY, "USD", 60), (FRIDAY, "USDC", 30), (SATURDAY, "USD", 25), (MONDAY, "USDC", 1)):
        for n in range(CUSTOMERS):
            yield event("collateral", id=f"{ts}{asset}{n}", ts=ts, account=f"a{n}", asset=asset, qty=quantity, source="")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Flags of a log that holds all of it."""
    with embedded_kafka() as address:
        run = Replay(MOCK_PARTITIONS, 8, Limits(), keep_frames=True)
        run.run(items())
        assert not run.rejects + run.shards.rejects
        out = kafka.Delivery(Producer(kafka.producer_config(Settings(kafka=address))))
        for shard, frame in run.frames or ():
            out.send(LOG, shard, frame)
        assert out.wait(20)
        yield ["--kafka", address, "--snapshots", str(tmp_path_factory.mktemp("none"))]


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.run(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.parametrize(
    ("when", "each"), [(["--date", "2026-11-20"], 10), (["--date", "2026-11-21"], 0), (["--at", FRIDAY], 10), ([], 0)]
)
def test_a_pack_is_of_its_moment(
    capsys: pytest.CaptureFixture[str], log: list[str], tmp_path: Path, when: list[str], each: int
) -> None:
    found = json.loads(ran(capsys, "day-end", "--out", str(tmp_path), "--json", *when, *log))
    pool = found["pools"]["../4d"]
    assert pool["undermargined_usd"] == f"{CUSTOMERS * each}.00"
    assert pool["rows"]["requirements"] == CUSTOMERS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_._4d", "none"]
    with (tmp_path / "_._4d" / "requirements.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["account"] for row in rows} == {f"a{n}" for n in range(CUSTOMERS)}
    assert {row["undermargined"] for row in rows} == {f"{each}.00"}
    with (tmp_path / "_._4d" / "moments.csv").open() as file:
        assert len(list(csv.DictReader(file))) == MOCK_PARTITIONS
    assert "<h1>../4d, day end 2026-11-2" in (tmp_path / "_._4d" / "index.html").read_text()


def test_one_pool_and_a_table(capsys: pytest.CaptureFixture[str], log: list[str], tmp_path: Path) -> None:
    out = ran(capsys, "day-end", "--out", str(tmp_path), "--pool", "none", *log)
    assert [path.name for path in tmp_path.iterdir()] == ["none"]
    assert "day end 2026-11-23" in out
    assert "0.00" in out


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--pool", "x"], 1, "--pool: found 'x'; allowed: ../4d, none"),
        (["--date", "today"], 2, "--date: found 'today'; allowed: a day such as"),
        (["--date", "2026-11-20", "--at", FRIDAY], 2, "--date: found --at beside it"),
        (["--date", "2026-11-24"], 1, "--date: found 2026-11-24; the log ends at 2026-11-23T09:00:00.000000000Z"),
        (["--at", "2026-11-23T09:00:01Z"], 1, "--at: found 2026-11-23T09:00:01Z; the log ends at 2026-11-23T09:00:00"),
        (["--at", "7"], 2, "--at: found '7'; allowed: a time such as"),
        (["--date", "2020-01-01"], 1, "--date: found 2020-01-01; the log of shard 0 begins after that moment"),
    ],
)
def test_wrong_use_is_one_line(
    capsys: pytest.CaptureFixture[str], log: list[str], tmp_path: Path, arguments: list[str], status: int, line: str
) -> None:
    assert cli.run(["day-end", "--out", str(tmp_path), *arguments, *log]) == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith(f"crossmargin: {line}")


def test_a_file_in_the_way_is_one_line(capsys: pytest.CaptureFixture[str], log: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert cli.run(["day-end", "--out", str(tmp_path / "out"), *log]) == 1
    assert "cannot write the pack: Not a directory" in capsys.readouterr().err


def test_the_pilots_week_is_as_at_its_sunday(capsys: pytest.CaptureFixture[str], log: list[str]) -> None:
    text = ran(capsys, "pilot-report", "--week", "2026-W47", *log)
    assert text.splitlines()[1] == f"2026-11-22,futures 4d,USDC,{CUSTOMERS * 30}.00000000,{CUSTOMERS * 30}.00"
    data = json.loads(ran(capsys, "pilot-report", "--json", *log))
    assert (data["week_ending"], data["totals_usd"]["futures 4d"]) == ("2026-11-29", f"{CUSTOMERS * 31}.00")
    assert data["rules"]["TAKEN"] == {"phase": "first", "report_due": True}
    for week in ("2026-47", "2026-W54"):
        assert cli.run(["pilot-report", "--week", week, *log]) == 2
        assert f"--week: found '{week}'; allowed: an ISO week such as 2026-W09" in capsys.readouterr().err

"""Loading and feeding: what stands in the topics afterwards, in which order and partition, at what time and pace."""

import json
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from streams.feed import AHEAD_BYTES, feed, play, with_time
from streams.files import EXAMPLE, RULES
from streams.kafka import log_range, read_partition
from streams.load import Publisher, load
from streams.settings import ConfigError, Settings, UserError
from streams.sources import DATA, Item
from streams.topics import REFERENCE

SECOND = 10**9


@pytest.fixture
def settings(mock_kafka: str) -> Settings:
    return Settings(kafka=mock_kafka, mock_kafka=True, shards=4)


def stored(settings: Settings, topic: str) -> dict[int, list[tuple[str, dict[str, object]]]]:
    """(key, event) of every message by partition."""
    found: dict[int, list[tuple[str, dict[str, object]]]] = defaultdict(list)
    for partition in log_range(settings, topic):
        for message in read_partition(settings, topic, partition):
            found[partition].append(((message.key() or b"").decode(), json.loads(message.value() or b"")))
    return dict(found)


def ticks(count: int, gap_ns: int = SECOND) -> list[Item]:
    return [
        (SECOND + n * gap_ns, "prices", f"I{n % 3}", b'{"ts":%d,"n":%d}' % (SECOND + n * gap_ns, n)) for n in range(count)
    ]


def test_load_puts_documents_first_in_order_and_in_partition_0(settings: Settings, tmp_path: Path) -> None:
    accounts = tmp_path / "reference.jsonl"
    accounts.write_text(
        '{"kind":"account","id":"A","customer":"C","pool":"FUTURES","currency":"USD"}\n{"kind":"customer","id":"C"}\n'
    )
    positions = tmp_path / "positions.csv"
    positions.write_text("id,ts,account,instrument,qty,price\n" + "".join(f"{n},1,A{n % 5},ZN,1,110\n" for n in range(50)))
    counts = load(settings, [positions, accounts, *reversed(EXAMPLE)])
    documents = stored(settings, REFERENCE)
    assert list(documents) == [0]
    keys = [key for key, _ in documents[0]]
    lines = sum(len(file.read_bytes().splitlines()) for file in EXAMPLE if file not in RULES)
    assert len(keys) == counts[REFERENCE] == 2 + lines + len(RULES)
    place = {key: at for at, key in enumerate(keys)}
    assert place["scenarios:RATES-1D"] < place["rule:CME-RATES:2020-01-01T00:00:00Z"] < place["instrument:ZN"]
    assert place["customer:C"] < place["account:A"]
    assert place["asset:USD"] < place["pool:FUTURES"] < place["account:A"]
    assert place["instrument:BTC-USDT"] < place["asset:BTC"] < place["instrument:BTCUSD-PERP"]
    by_partition = stored(settings, "positions")
    assert sum(map(len, by_partition.values())) == counts["positions"] == 50
    owners = [{key for key, _ in rows} for rows in by_partition.values()]
    assert sum(map(len, owners)) == 5  # all of one account lie in one partition
    for rows in by_partition.values():
        for owner in {key for key, _ in rows}:
            ids = [int(str(event["id"])) for key, event in rows if key == owner]
            assert ids == sorted(ids)


WRONG = [
    ({"tail": "2"}, "tail 2 is not between 0 and 1"),
    ({"tale": "0.01"}, "Object contains unknown field `tale`"),
    ({"scenarios": "RATES-9D"}, "scenarios RATES-9D is not defined"),
    ({"scenarios": "GRID-BTC"}, "model historical takes a historical set, GRID-BTC is a grid one"),
    ({"tail": None}, "model historical takes"),
]


@pytest.mark.parametrize(("change", "why"), WRONG, ids=[why for _, why in WRONG])
def test_a_wrong_rule_file_is_refused_whole(settings: Settings, tmp_path: Path, change: dict[str, Any], why: str) -> None:
    load(settings, EXAMPLE)
    loaded = log_range(settings, REFERENCE)
    rule = json.loads(next(file for file in RULES if file.name.startswith("CME-RATES")).read_text())
    rule["id"] = "MINE"
    rule["parameters"] = {name: value for name, value in {**rule["parameters"], **change}.items() if value is not None}
    path = tmp_path / "MINE.json"
    path.write_text(json.dumps(rule, indent=2))
    (tmp_path / "customers.jsonl").write_text('{"id":"C"}\n')
    with pytest.raises(UserError, match=re.escape(f"{path}, start: ") + ".*" + re.escape(why)):
        load(settings, [tmp_path])
    assert log_range(settings, REFERENCE) == loaded


def test_a_calendar_with_an_unknown_time_zone_is_refused(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "calendars.jsonl"
    path.write_text('{"id":"C","sessions":[["Mon 00:00","Mon 00:00"]],"time_zone":"Mars/X"}\n')
    with pytest.raises(UserError, match=r"line 1: .*Mars/X.*time_zone"):
        load(settings, [path])


def test_a_right_rule_file_names_what_was_loaded_before(settings: Settings) -> None:
    (rates,) = (file for file in RULES if file.name.startswith("CME-RATES"))
    with pytest.raises(UserError, match=r"CME-RATES.*json, start: scenarios RATES-1D is not defined"):
        load(settings, [rates])
    load(settings, [file for file in EXAMPLE if file.name != "pools.jsonl"])
    assert load(settings, [rates]) == {REFERENCE: 1}
    assert load(settings, [DATA / "pools.jsonl", rates.parent]) == {REFERENCE: 4 + len(RULES)}


def test_feed_as_recorded_leaves_every_byte(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "prices.jsonl"
    path.write_bytes(b"\n".join(body for *_, body in ticks(1000)))
    assert feed(settings, [path], speed=0, as_recorded=True) == {"prices": 1000}
    events = sorted((json.dumps(event) for rows in stored(settings, "prices").values() for _, event in rows))
    assert events == sorted(json.dumps(json.loads(body)) for *_, body in ticks(1000))


def test_feed_moves_times_to_now_and_keeps_the_pace(settings: Settings) -> None:
    publisher, before = Publisher(settings), time.time_ns()
    document = (0, REFERENCE, "customer:C", b'{"kind":"customer","id":"C"}')
    play(publisher, [document, *ticks(41)], speed=100)  # 40 s of events
    took = time.time_ns() - before
    assert 0.4 * SECOND <= took < 5 * SECOND
    events = {event["n"]: event["ts"] for rows in stored(settings, "prices").values() for _, event in rows}
    times = [int(str(events[n])) for n in range(41)]
    assert before <= times[0] < before + 2 * SECOND
    assert [ts_ns - times[0] for ts_ns in times] == [n * SECOND // 100 for n in range(41)]
    assert stored(settings, REFERENCE) == {0: [("customer:C", {"kind": "customer", "id": "C"})]}


def test_feed_waits_for_its_readers_and_can_be_stopped(settings: Settings) -> None:
    publisher = Publisher(settings)
    asked: list[int] = []

    def backlog() -> int:
        asked.append(publisher.counts["prices"])
        return AHEAD_BYTES if len(asked) % 3 else 0

    play(publisher, ticks(1000, 1), speed=0, backlog=backlog)
    assert publisher.counts == {"prices": 1000}
    assert asked == [0, 256, 256, 512, 512, 512, 768, 768, 768]
    play(publisher, ticks(1000), speed=0.001, stop=lambda: publisher.counts["prices"] >= 1001)
    assert publisher.counts == {"prices": 1001}
    with pytest.raises(ConfigError, match=r"--speed: found -1; allowed: 0"):
        play(publisher, [], speed=-1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"ts":5,"a":1.10}', b'{"ts":9,"a":1.10}'),
        (b'{"ts":"2024-08-09T00:00:00Z","a":1}', b'{"ts":9,"a":1}'),
        (b'{"a":1.10, "ts": 5}', b'{"a":1.10,"ts":9}'),
        (b'{"ts":5}', b'{"ts":9}'),
        (b'{"a":1}', b'{"a":1}'),
        (b"nothing", b"nothing"),
    ],
)
def test_with_time(before: bytes, after: bytes) -> None:
    assert with_time(before, 9) == after

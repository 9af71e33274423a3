"""Readers of event files: every form gives the same exact events, and what cannot be read is one line."""

import builtins
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.documents import Calendar, Customer, Instrument, Pool, names_used, parse_document
from streams.directory import Directory
from streams.files import EXAMPLE, RULES, open_sources
from streams.load import in_order
from streams.settings import ConfigError, UserError
from streams.sources import DATA, Item, merged

TRADE = {"id": "1", "ts": 5, "account": "A", "instrument": "ZN", "qty": "1", "price": "110.5", "source": "s"}


def read(*paths: Path, topic: str | None = None) -> list[Item]:
    return list(merged(open_sources(paths, topic)))


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_json_lines_pass_as_written(tmp_path: Path) -> None:
    line = '{ "ts": 7, "instrument": "ZN", "price": 110.10 }'
    path = written(tmp_path, "prices-2024.jsonl", f"\n{line}\n\n")
    assert read(path) == [(7, "prices", "ZN", line.encode())]


@pytest.mark.parametrize("name", ["trades.jsonl", "trades.ndjson", "trades.json", "trades.jsonl.gz", "trades.json.gz"])
def test_arrays_and_lines(tmp_path: Path, name: str) -> None:
    other = {**TRADE, "id": "2", "ts": "1970-01-01T00:00:00.000000006Z"}
    array = written(tmp_path, name, json.dumps([TRADE, other]))
    assert [(ts, key, json.loads(body)) for ts, _, key, body in read(array)] == [(5, "A", TRADE), (6, "A", other)]
    lines = written(tmp_path, name, f"{json.dumps(TRADE)}\n{json.dumps(other)}")
    assert len(read(lines)) == 2


def test_a_document_over_several_lines_is_one_whatever_the_file_is_called(tmp_path: Path) -> None:
    text = '{\n  "kind": "rule",\n  "id": "COLLATERAL-X", "effective": "2020-01-01T00:00:00Z"\n}\n'
    for name in ("COLLATERAL-X.2020-01-01.json", "trades.json"):
        assert read(written(tmp_path, name, text)) == [
            (0, "reference", "rule:COLLATERAL-X:2020-01-01T00:00:00Z", text.strip().encode())
        ]
    line = '{"kind":"pool","id":"P"}'
    assert [item[1:] for item in read(written(tmp_path, "prices.json", f"{line}\n"))] == [
        ("reference", "pool:P", line.encode())
    ]
    assert [item[1] for item in read(written(tmp_path, "x.json", '{\n"ts": 1}'), topic="prices")] == ["prices"]


def test_the_examples_rules_are_a_folder_of_documents() -> None:
    folder = RULES[0].parent
    items = read(folder)
    assert [topic for _, topic, _, _ in items] == ["reference"] * len(RULES)
    assert {"rule:CME-RATES:2020-01-01T00:00:00Z", "rule:COLLATERAL-CME:2020-01-01T00:00:00Z"} <= {
        key for *_, key, _ in items
    }


def test_topic_of_a_row_then_of_the_command_then_of_the_name(tmp_path: Path) -> None:
    path = written(tmp_path, "prices.jsonl", '{"topic":"trades","ts":1}\n{"ts":2}\n')
    assert [(topic, body) for _, topic, _, body in read(path)] == [("trades", b'{"ts":1}'), ("prices", b'{"ts":2}')]
    assert [topic for _, topic, _, _ in read(path, topic="collateral")] == ["trades", "collateral"]


def test_csv_numbers_are_taken_exactly(tmp_path: Path) -> None:
    text = (
        "id,ts,account,asset,qty,source,replace\n"
        "1,1700000000000000000,A,USD,0.10000000,bank,\n"
        '2,2024-08-09T00:00:00Z,A,"U,SD",-12345678901.12345678, s ,true\n'
    )
    first, second = (json.loads(body) for _, _, _, body in read(written(tmp_path, "collateral.csv", text)))
    common = {"account": "A", "asset": "USD", "qty": "0.10000000", "source": "bank"}
    assert first == {"id": "1", "ts": 1_700_000_000_000_000_000, **common}
    assert second["qty"] == "-12345678901.12345678"
    assert (second["asset"], second["source"], second["replace"]) == ("U,SD", "s", True)


def test_reference_documents_from_csv(tmp_path: Path) -> None:
    text = (
        "id,type,currency,tick,lot,band,stale_after,inverse\n"
        'X,spot,USD,0.010,0.00001,"[""1"",""1e3""]",60,false\n'
        'Y,spot,USD,0.01,1,"[1.5,100]",,\n'
    )
    items = read(written(tmp_path, "instruments.csv", text))
    assert [(ts, topic, key) for ts, topic, key, _ in items] == [(0, "reference", f"instrument:{n}") for n in "XY"]
    x, y = (parse_document(body) for *_, body in items)
    assert isinstance(x, Instrument)
    assert isinstance(y, Instrument)
    assert (x.tick, x.lot, x.band[1], x.stale_after) == (Decimal("0.010"), Decimal("0.00001"), Decimal("1e3"), 60)
    assert y.band == (Decimal("1.5"), Decimal(100))
    rule = written(tmp_path, "rules.jsonl", '{"id":"R","effective":"2024-01-01T00:00:00Z"}\n{"id":"R","effective":5}')
    assert [key for _, _, key, _ in read(rule)] == ["rule:R:2024-01-01T00:00:00Z", "rule:R:5"]


def test_nested_fields_of_documents_from_csv(tmp_path: Path) -> None:
    """Arrays and objects stand in a cell as JSON; a rule's name in `shocks` is text, also one of digits."""
    pools = (
        "id,regime,currency,transfers,calls,shocks\n"
        'P,x,USD,"{""EUR"":{""minimum_transfer"":""1000.50""}}","{""issue_after"":60}","[""A"",""B""]"\n'
        "Q,x,USD,,,4210\n"
    )
    calendars = (
        "id,sessions,holidays,cutoffs\n"
        'C,"[[""Sun 23:00"",""Fri 22:00""]]","[""2026-11-26""]","{""*"":{""at"":""18:00"",""zone"":""America/New_York""}}"\n'
    )
    p, q = (parse_document(body) for *_, body in read(written(tmp_path, "pools.csv", pools)))
    assert isinstance(p, Pool)
    assert isinstance(q, Pool)
    assert (p.transfers["EUR"].minimum_transfer, p.calls.issue_after, p.moves_in) == (Decimal("1000.50"), 60, ("A", "B"))
    assert q.moves_in == ("4210",)
    (calendar,) = (parse_document(body) for *_, body in read(written(tmp_path, "calendars.csv", calendars)))
    assert isinstance(calendar, Calendar)
    assert (calendar.cutoffs["*"].at, calendar.cutoffs["*"].zone) == ("18:00", "America/New_York")
    assert calendar.holidays == ("2026-11-26",)
    customers = "id,name,house\nF,[1],true\n"
    (firm,) = (parse_document(body) for *_, body in read(written(tmp_path, "customers.csv", customers)))
    assert firm == Customer(id="F", name="[1]", house=True)


def test_parquet_equals_csv(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns: dict[str, Any] = {
        "ts": pa.array([1_700_000_000_000_000_001, 5], pa.timestamp("ns", "UTC")),
        "instrument": ["ZN", "ZB"],
        "price": pa.array([Decimal("110.015625"), None], pa.decimal128(18, 6)),
        "bid": pa.array([None, 0.1], pa.float64()),
        "settlement": [True, None],
    }
    path = tmp_path / "prices-2024.parquet"
    pq.write_table(pa.table(columns), path)
    source = open_sources([path])[0]
    assert [(ts, key, json.loads(body)) for ts, _, key, body in source] == [
        (1_700_000_000_000_000_001, "ZN", {
            "ts": 1_700_000_000_000_000_001, "instrument": "ZN", "price": "110.015625", "settlement": True,
        }),
        (5, "ZB", {"ts": 5, "instrument": "ZB", "bid": 0.1}),
    ]  # fmt: skip
    assert source.messages == 2
    assert source.bytes_read == source.size == path.stat().st_size


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match=r"prices\.parquet: .*crossmargin\[parquet\]"):
        read(written(tmp_path, "prices.parquet", b"x"))


@pytest.mark.parametrize(
    ("name", "content", "place", "what"),
    [
        ("trades.jsonl", '{"ts":1}\n\n{"ts":', "line 3", "not a JSON object"),
        ("trades.jsonl", "5", "line 1", "not a JSON object"),
        ("trades.jsonl", '{"a":' * 100_000, "line 1", "not a JSON object"),
        ("trades.jsonl", '{"ts":1}\n[{"ts":2},7]', "line 2, element 2", "not a JSON object"),
        ("trades.json", '[{"ts":1},', "start", "not JSON"),
        ("mine.jsonl", '{"topic":"trades"}\n{"ts":1}', "line 2", "no topic in field 'topic', file name or --topic"),
        ("mine.jsonl", '{"topic":"margin.log"}', "line 1", "unknown topic 'margin.log'; allowed: trades, prices"),
        ("rule.json", '{\n"id": 1,\n', "start", "not a JSON object"),
        ("trades.csv", "id,ts\n1,2\n3\n", "line 3", "1 cells under a header of 2 columns"),
        ("trades.csv", "id,id\n1,2\n", "line 1", "repeated column"),
        ("trades.csv", 'id,ts\n1,2\n"3', "line 3", "not CSV"),
        ("trades.csv", b"id,ts\n1,\xff\n", "line", "not CSV in UTF-8"),
        ("trades.parquet", "PAR?", "start", "not Parquet"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_line(tmp_path: Path, name: str, content: str | bytes, place: str, what: str) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}, {place}")
    assert what in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cut_gzip_names_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "trades.jsonl.gz", "\n".join(json.dumps({**TRADE, "id": str(n)}) for n in range(50_000)))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"trades\.jsonl\.gz, line \d+: not readable"):
        read(path)


def test_missing_unknown_and_empty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"notes\.txt: unknown form; known are \.jsonl"):
        read(written(tmp_path, "notes.txt", "hello"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no input file in this folder"):
        read(tmp_path / "empty")
    with pytest.raises(ConfigError, match="--topic: found 'orders'; allowed: trades"):
        read(tmp_path, topic="orders")


def test_a_folder_is_all_its_files_and_time_merges_them(tmp_path: Path) -> None:
    written(tmp_path, "prices.jsonl", '{"ts":1,"instrument":"a"}\n{"ts":4,"instrument":"a"}')
    written(tmp_path, "trades.csv", "ts,account\n1,b\n3,b\n")
    written(tmp_path, "README.md", "not an input")
    written(tmp_path, "collateral.jsonl", '{"ts":2,"account":"c"}\n{"ts":"when?","account":"d"}')
    assert [(ts, key) for ts, _, key, _ in read(tmp_path)] == [(1, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "b"), (4, "a")]


def test_the_example_is_complete_and_in_order_of_dependence() -> None:
    items = in_order(read(*EXAMPLE))
    directory = Directory(4)
    defined: set[tuple[str, str]] = set()
    for *_, body in items:
        document = parse_document(body)
        assert set(names_used(document)) <= defined
        directory.admit(document)
        defined.add((document.kind, document.id))
    assert {kind for kind, _ in defined} == {"asset", "pool", "calendar", "rule", "scenarios", "instrument"}
    lines = sum(len(file.read_bytes().splitlines()) for file in EXAMPLE if file not in RULES)
    assert len(items) == lines + len(RULES)


def test_order_keeps_what_cannot_be_read() -> None:
    def item(body: str) -> Item:
        return 0, "reference", "", body.encode()

    account = item('{"kind":"account","id":"A","customer":"C","pool":"P","currency":"USD"}')
    customer, broken = item('{"kind":"customer","id":"C"}'), item('{"kind":"what"}')
    assert in_order([account, broken, customer]) == [customer, account, broken]


def test_data_that_travels_is_small_and_has_its_licences() -> None:
    assert sum(file.stat().st_size for file in DATA.iterdir()) <= 2_000_000
    readme = (DATA / "README.md").read_text("utf-8")
    for file in DATA.iterdir():
        assert file.name in readme or file.suffix in (".md", ".jsonl")
    for name in ("LICENSE-ticks", "LICENSE-par_yields", "LICENSE-crypto_closes"):
        assert "Permission is hereby granted" in (DATA / name).read_text("utf-8")

"""Files in: events and reference documents from JSON Lines, JSON, CSV (each also as .gz) and Parquet, and recordings.

A row's topic is its field `topic`, else the one asked for; of a row whose `kind` is that of a reference document, and of a
JSON file that is one object, `reference`; else what the file's name says: trades.csv, prices-2024.parquet, accounts.jsonl (a
kind of reference document). What an event says is judged later, by the sequencer; here it must be a row.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import TextIOWrapper
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Raw, structs

from engine.documents import DOCUMENTS
from engine.events import KIND_OF, TOPIC_OF, Kind
from engine.numbers import time_ns
from streams.binance import BinanceFile
from streams.schema import EVENTS
from streams.settings import ConfigError, UserError
from streams.sources import DATA, Item, Source, start_of

REFERENCE: Final = TOPIC_OF[Kind.REFERENCE]
RULES: Final = tuple(sorted((DATA / "rules").glob("*.json")))
_BEFORE, _AFTER = ("assets", "calendars", "scenarios"), ("pools", "instruments")
EXAMPLE: Final = (*(DATA / f"{name}.jsonl" for name in _BEFORE), *RULES, *(DATA / f"{name}.jsonl" for name in _AFTER))
"""The example's reference documents; the rules one version a file."""
SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
KINDS_BY_FILE: Final = {f"{kind}s": kind for kind in DOCUMENTS}
Fields = dict[str, Raw]
Row = tuple[Fields, bytes]
"""The fields of one row, and the whole row as JSON where it was written so (else empty)."""


def _columns(*types: type) -> frozenset[str]:
    """Fields of documents and events that are, or may be, of one of these types."""
    return frozenset(
        field.encode_name
        for event in (*DOCUMENTS.values(), *EVENTS.values())
        for field in structs.fields(event)
        if any(issubclass(one, types) for one in _types(field.type))
    )


def _types(hint: Any) -> list[type]:
    """The classes that a type hint allows, without what is in them."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return [one for part in get_args(hint) for one in _types(part)]
    if origin is Annotated:
        return _types(get_args(hint)[0])
    return [str if origin is Literal else origin or hint]


_RECORDING = re.compile(rb"\d{16,19} \{")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_PLAIN: Final = frozenset({"ts", "decimals", "stale_after"})  # columns that JSON wants as numbers; all others are strings
_FLAGS: Final = _columns(bool)
_NESTED: Final = _columns(list, tuple, dict, msgspec.Struct)
_NOT_JSON: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_encode: Final = msgspec.json.Encoder().encode
_fields: Final = msgspec.json.Decoder(Fields).decode
_array: Final = msgspec.json.Decoder(list[Raw]).decode


def open_sources(paths: Iterable[Path | str], topic: str | None = None) -> list[Source]:
    """A reader for every file, and for the files in every folder (sorted); UserError where one is missing or unknown."""
    if topic is not None and topic not in KIND_OF:
        raise ConfigError(f"--topic: found '{topic}'; allowed: {', '.join(KIND_OF)}")
    return [_open(path, topic) for given in paths for path in _expand(Path(given))]


def _expand(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.name.lower().endswith((*SUFFIXES, ".gz")) and p.is_file())
    if not found:
        raise UserError(f"{path}: no input file in this folder; looked for *{', *'.join(SUFFIXES)}, *.gz")
    return found


def _open(path: Path, topic: str | None) -> Source:
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in SUFFIXES:
        return EventFile(path, suffix, topic)
    if _RECORDING.match(start_of(path, 32)):
        return BinanceFile(path)
    raise UserError(
        f"{path}: unknown form; known are {', '.join(SUFFIXES)} (all but Parquet also as .gz)"
        " and recorded messages `<ns> <JSON>`"
    )


class EventFile(Source):
    """A file of events or reference documents, one a row; `topic` is for rows that name none."""

    def __init__(self, path: Path, suffix: str, topic: str | None = None) -> None:
        super().__init__(path)
        name = re.match(r"[a-z]*", path.name.lower())
        word = name[0] if name else ""
        self._kind = KINDS_BY_FILE.get(word)
        self._asked = topic
        self._topic = topic or (word if word in KIND_OF else REFERENCE if self._kind else None)
        readers: dict[str, Callable[[], Iterator[Row]]] = {".csv": self._csv, ".parquet": self._parquet, ".json": self._json}
        self._rows = readers.get(suffix, self._lines)
        self._last_ns = 0
        self._place = ""

    def place(self) -> str:
        """The line, or where the form has none, the element or row."""
        return self._place

    def __iter__(self) -> Iterator[Item]:
        for fields, written in self._rows():
            item = self._item(fields, written)
            self.messages += 1
            yield item

    def _item(self, fields: Fields, written: bytes) -> Item:
        """The item of one row. Without a readable time it takes the place after the row before it; documents come first."""
        named = _text(fields.pop("topic")) if "topic" in fields else None
        topic = self._topic if named is None else named
        if named is None and self._asked is None and _text(fields.get("kind")) in DOCUMENTS:
            topic = REFERENCE
        if topic is None or topic not in KIND_OF:
            found = "no topic in field 'topic', file name or --topic" if topic is None else f"unknown topic '{topic}'"
            raise self.failure(f"{found}; allowed: {', '.join(KIND_OF)}")
        if topic == REFERENCE and self._kind and "kind" not in fields:
            fields["kind"] = Raw(_encode(self._kind))
            written = b""
        body = written if written and named is None else _encode(fields)
        if topic == REFERENCE:
            return 0, topic, _document_key(fields), body
        if "ts" in fields:
            self._last_ns = _time(fields["ts"], self._last_ns)
        owner = fields.get("account") or fields.get("instrument") or fields.get("underlying")
        return self._last_ns, topic, _text(owner), body

    def _lines(self) -> Iterator[Row]:
        with self.open() as lines:
            for number, line in enumerate(lines, 1):
                self._place = f"line {number}"
                if line.startswith(b"["):
                    yield from self._elements(line)
                elif not line.isspace():
                    yield self._object(line.strip())

    def _json(self) -> Iterator[Row]:
        """One array of events, one reference document over several lines, or else JSON Lines under another name."""
        self._place = "start"
        with self.open() as file:
            first = file.readline()
            while first.isspace():
                first = file.readline()
            start = first.lstrip()[:1]
            whole = first + file.read() if start == b"[" or (start == b"{" and not _is_object(first)) else b""
        if not whole:
            yield from self._lines()
        elif start == b"[":
            yield from self._elements(whole)
        else:
            self._topic = self._asked or REFERENCE
            yield self._object(whole.strip())

    def _elements(self, array: bytes) -> Iterator[Row]:
        try:
            elements = _array(array)
        except _NOT_JSON as error:
            raise self.failure(f"not JSON: {error}") from error
        place = self._place
        for number, element in enumerate(elements, 1):
            self._place = f"{place}, element {number}"
            yield self._object(bytes(element))

    def _object(self, written: bytes) -> Row:
        try:
            return _fields(written), written
        except _NOT_JSON as error:
            raise self.failure(f"not a JSON object: {error}") from error

    def _csv(self) -> Iterator[Row]:
        """Rows of a CSV file with a header; an empty cell is an absent field, a number a decimal string as written."""
        self._place = "line 1"
        with self.open() as file, TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            rows = csv.reader(text, strict=True)
            try:
                names = [name.strip() for name in next(rows, [])]
                if not all(names) or len(set(names)) < len(names):
                    raise self.failure(f"the header has an empty or repeated column name: {','.join(names)}")
                for row in rows:
                    self._place = f"line {rows.line_num}"
                    if len(row) == len(names):
                        cells = zip(names, map(str.strip, row), strict=True)
                        yield {name: _cell(name, cell) for name, cell in cells if cell}, b""
                    elif row:
                        raise self.failure(f"{len(row)} cells under a header of {len(names)} columns")
            except (csv.Error, UnicodeDecodeError) as error:
                self._place = f"line {rows.line_num}"
                raise self.failure(f"not CSV in UTF-8: {error}") from error

    def _parquet(self) -> Iterator[Row]:
        """Rows of a Parquet file; decimals become decimal strings, timestamps nanoseconds, a null an absent field."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise UserError(f"{self.path}: reading Parquet needs pyarrow; pip install 'crossmargin[parquet]'") from error
        self._place, number = "start", 0
        with self.open() as file:
            try:
                for batch in pq.ParquetFile(file).iter_batches(8192):
                    columns = [_nanoseconds(pa, column) for column in batch.columns]
                    for row in pa.RecordBatch.from_arrays(columns, batch.schema.names).to_pylist():
                        number += 1
                        self._place = f"row {number}"
                        yield {name: Raw(_encode(value)) for name, value in row.items() if value is not None}, b""
            except pa.ArrowException as error:
                raise self.failure(f"not Parquet: {error}") from error


def _is_object(line: bytes) -> bool:
    try:
        _fields(line)
    except _NOT_JSON:
        return False
    return True


def _nanoseconds(pa: Any, column: Any) -> Any:
    """A timestamp column as integers of nanoseconds since 1970; others as they are."""
    return column.cast(pa.timestamp("ns")).cast(pa.int64()) if pa.types.is_timestamp(column.type) else column


def _cell(name: str, cell: str) -> Raw:
    """A CSV cell as JSON: by its column a number, a flag or nested JSON where it is one, else a string."""
    if name in _PLAIN and _NUMBER.fullmatch(cell):
        return Raw(cell.encode())
    if name in _FLAGS and cell.lower() in ("true", "false"):
        return Raw(cell.lower().encode())
    if name in _NESTED and cell.startswith(("[", "{")):
        try:
            return msgspec.json.decode(cell, type=Raw)
        except _NOT_JSON:
            return Raw(_encode(cell))
    return Raw(_encode(cell))


def _text(raw: Raw | None) -> str:
    """The string a JSON value is; empty when it is none."""
    if raw is None:
        return ""
    try:
        return msgspec.json.decode(raw, type=str)
    except _NOT_JSON:
        return ""


def _time(raw: Raw, otherwise: int) -> int:
    try:
        return time_ns(msgspec.json.decode(raw, type=int | str))
    except _NOT_JSON:
        return otherwise


def _document_key(fields: Mapping[str, Raw]) -> str:
    """`kind:id`, of a rule `rule:id:effective`: see engine.documents.document_key, for documents not checked yet."""
    kind, effective = _text(fields.get("kind")), fields.get("effective")
    key = f"{kind}:{_text(fields.get('id'))}"
    return f"{key}:{_text(effective) or bytes(effective).decode()}" if kind == "rule" and effective is not None else key

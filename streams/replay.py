"""`crossmargin replay`: historical events through the same sequencer core and engine, in process, as fast as possible.

Out come manifest.json (inputs with their hashes, every message accounted for, digest) and breaches.csv (each change of
status or quality). The same inputs give the same digest, however they are batched, framed or sharded.
"""

import csv
import importlib.metadata
import platform
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.events import MAX_FRAME_RECORDS
from engine.limits import Limits
from streams.files import EXAMPLE, REFERENCE, open_sources
from streams.generate import Generator
from streams.in_process import COLUMNS, Replay, Shards
from streams.load import Bar, in_order, progress_bar
from streams.settings import UserError
from streams.sources import Item, Source, merged
from streams.topics import LOG

VERSIONS: Final = ("crossmargin", "numpy", "numba", "msgspec", "xxhash")
_FRAME: Final = struct.Struct("<II")


def replay(
    files: Sequence[Path | str],
    out: Path | str,
    *,
    seed: int = 1,
    accounts: int = 200,
    shards: int = 4,
    frame_records: int = MAX_FRAME_RECORDS,
    reference: Sequence[Path | str] = (),
    topic: str | None = None,
    limits: Limits | None = None,
    keep_log: bool = False,
) -> dict[str, Any]:
    """Replay the files' events by time; returns the manifest, which `out` holds with breaches.csv (and margin.log if kept).

    Without reference files, the example's documents and `accounts` seeded accounts with their own trades take part. A
    progress bar shows on a terminal. Raises UserError for a file that cannot be read.
    """
    started = time.perf_counter()
    folder = _folder(Path(out))
    run = Replay(shards, frame_records, limits or Limits(), keep_log)
    sources, generator = open_sources(files, topic), None
    documents = open_sources(reference or EXAMPLE)
    with progress_bar("replay", [*documents, *sources]) as bar:
        if reference:
            run.run(_with_documents(documents, sources, bar))
        else:
            generator = Generator(seed, accounts, bar(merged(sources)))
            run.run(_seeded(documents, generator))
    inputs = [_input(source) for source in documents + sources]
    if generator is not None:
        name = f"generated:seed={seed},accounts={accounts}"
        inputs.append({"path": name, "sha256": generator.sha256, "messages": generator.messages})
    manifest = _manifest(run, inputs, documents + sources, time.perf_counter() - started)
    _write(folder, manifest, run)
    return manifest


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be a folder for results: {error.strerror}") from error
    return out


def _with_documents(documents: list[Source], sources: list[Source], bar: Bar) -> Iterator[Item]:
    """Reference documents in order of dependence (those of the event files too), then the events by time."""
    later: list[Item] = []
    stream = bar(merged([*documents, *sources]))
    first: list[Item] = []
    for item in stream:
        if item[1] != REFERENCE:
            later.append(item)
            break
        first.append(item)
    yield from in_order(first)
    yield from later
    yield from stream


def _seeded(documents: list[Source], generator: Generator) -> Iterator[Item]:
    yield from in_order([item for source in documents for item in source])
    yield from generator.opening()
    yield from generator.live()


def _input(source: Source) -> dict[str, Any]:
    path = f"example:{source.path.name}" if source.path in EXAMPLE else str(source.path)
    return {"path": path, "sha256": source.sha256(), "messages": source.messages}


def _manifest(run: Replay, inputs: list[dict[str, Any]], sources: list[Source], seconds: float) -> dict[str, Any]:
    """What was replayed and what came of every message; RuntimeError if one is not accounted for."""
    state, messages = run.shards, sum(entry["messages"] for entry in inputs)
    ignored = sum((source.ignored for source in sources), Counter[str]())
    rejects = run.rejects + state.rejects
    accounted = state.applied.total() + ignored.total() + state.superseded + rejects.total()
    if messages != accounted or state.redelivered:
        raise RuntimeError(f"{messages} messages, {accounted} accounted for, {state.redelivered} taken twice")
    return {
        "inputs": inputs,
        "messages": messages,
        "events": dict(sorted(state.applied.items())),
        "ignored": dict(sorted(ignored.items())),
        "superseded": state.superseded,
        "rejects": dict(sorted(rejects.items())),
        "accounts": sum(engine.account_count for engine in state.engines),
        "by_status": state.by_status(),
        "changes": len(state.changes),
        "digest": state.digest(),
        "rule_set": state.engines[0].rule_set,
        "shards": len(state.engines),
        "versions": versions(),
        "seconds": round(seconds, 3),
        "events_per_second": round(messages / seconds),
    }


def versions() -> dict[str, str]:
    """What a digest depends on besides its inputs."""
    found = {name: importlib.metadata.version(name) for name in VERSIONS}
    return {**found, "python": platform.python_version(), "machine": platform.machine()}


def _write(folder: Path, manifest: dict[str, Any], run: Replay) -> None:
    try:
        (folder / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        with (folder / "breaches.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            rows.writerows(sorted(run.shards.changes))
        if run.frames is not None:
            write_log(folder / LOG, run.frames)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the results: {error.strerror}") from error


# margin.log replayed


def replay_log(frames: Mapping[int, Iterable[bytes]]) -> Shards:
    """The engines after a margin.log: all frames of each shard (0, 1, ...) from its start. Raises LogError on a hole."""
    state = Shards.empty(len(frames))
    for shard, log in frames.items():
        for frame in log:
            state.step(shard, frame)
    return state


def write_log(path: Path, frames: Iterable[tuple[int, bytes]]) -> None:
    """Frames with their shards to a file: per frame shard and length (two u32, little endian), then its bytes."""
    with path.open("wb") as file:
        for shard, frame in frames:
            file.write(_FRAME.pack(shard, len(frame)))
            file.write(frame)


def read_log(path: Path) -> dict[int, list[bytes]]:
    """The frames by shard of a file of write_log; UserError where it is cut short."""
    frames: dict[int, list[bytes]] = {}
    with path.open("rb") as file:
        while head := file.read(_FRAME.size):
            shard, length = _FRAME.unpack(head) if len(head) == _FRAME.size else (0, -1)
            frame = file.read(max(0, length))
            if len(frame) != length:
                raise UserError(f"{path}: cut short at byte {file.tell()}")
            frames.setdefault(shard, []).append(frame)
    return dict(sorted(frames.items()))

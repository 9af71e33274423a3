"""Engines at a moment, from snapshots and the log of an embedded Kafka: the same as one that read the log up to there."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Producer

from engine.core import MarginEngine
from engine.events import NS
from engine.frames import decode_frame
from streams import cli, kafka
from streams.embedded import embedded_kafka
from streams.moments import NEWEST, Moment, Moments, moment
from streams.settings import Settings, UserError
from streams.snapshots import Snapshot, SnapshotStore
from streams.topics import LOG, REFERENCE
from tests.engine.explain_world import World
from tests.engine.small_log import START_NS

pytestmark = pytest.mark.services
MAX_DOCUMENT_BYTES = 900_000


class Desk(NamedTuple):
    """A world whose whole log is in Kafka, with snapshots at two of its offsets."""

    settings: Settings
    world: World
    kept: tuple[int, int]

    @property
    def end(self) -> int:
        """The next offset of the log."""
        return len(self.frames)

    @property
    def frames(self) -> list[bytes]:
        """The log."""
        frames: list[bytes] = self.world.log.pair.frames  # type: ignore[union-attr]
        return frames

    def replayed(self, stop: int) -> MarginEngine:
        """An engine that read the log up to an offset and nothing else."""
        engine = MarginEngine(0)
        for offset, frame in enumerate(self.frames[:stop]):
            engine.step(decode_frame(frame), offset)
        return engine


def write(settings: Settings, frames: list[bytes], documents: list[bytes]) -> None:
    """Frames to the log, documents to topic reference."""
    out = kafka.Delivery(Producer(kafka.producer_config(settings)))
    for frame in frames:
        out.send(LOG, 0, frame)
    for document in documents:
        out.send(REFERENCE, 0, document)
    assert out.wait(20)


def keep(settings: Settings, world: World) -> int:
    """A snapshot of the world; its offset."""
    engine = world.engine
    SnapshotStore(settings.snapshots).save(Snapshot(0, engine.offset, engine.genesis, engine.to_bytes()))
    return engine.offset


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with embedded_kafka() as address:
        folder = str(tmp_path_factory.mktemp("kept"))
        settings, world = Settings(kafka=address, shards=1, mock_kafka=True, snapshots=folder), World()
        world.hold()
        older = keep(settings, world)
        world.trade("f", "ZN", -20)
        world.clock()
        newer = keep(settings, world)
        world.price("BTC-USD", "93000")
        world.price("PERP", "93010")
        world.clock()
        world.trade("f", "ZN", -30)
        world.clock(2)
        world.trade("f", "ZN", 7)  # no clock follows
        desk = Desk(settings, world, (older, newer))
        write(settings, desk.frames, [b"no document", *world.engine.definitions.applied])
        yield desk


@pytest.mark.parametrize("back", [0, 1, 2, 4, 5, 9, 20])
def test_any_offset_is_as_if_the_log_were_read_up_to_it(desk: Desk, back: int) -> None:
    stop = desk.end - back
    found = Moments(desk.settings).at(0, Moment(offset=stop))
    assert found.engine.shard_digest() == desk.replayed(stop).shard_digest()
    starts = [offset for offset in desk.kept if offset <= stop]
    assert found.snapshot == (starts[-1] if starts else None)
    assert found.frames == stop - (found.snapshot or 0)


def test_the_end_is_beyond_the_newest_snapshot(desk: Desk) -> None:
    found = Moments(desk.settings).at(0, NEWEST)
    assert (found.snapshot, found.engine.offset) == (desk.kept[1], desk.end)
    assert found.engine.digest() == desk.world.engine.digest()
    assert found.origin == f"the snapshot at offset {desk.kept[1]} and {desk.end - desk.kept[1]} frames of the log"


@pytest.mark.parametrize(
    ("seconds", "before"), [(3.999, 2), (4, 4), (5.999, 4), (6, None), (3600, None)], ids=lambda value: f"{value}"
)
def test_a_time_is_a_clock_before_the_later_ones(desk: Desk, seconds: float, before: int | None) -> None:
    """Clocks stand at 3 s (the newer snapshot's), 4 s and 6 s; before: records after the snapshot up to the later clock."""
    at_ns = START_NS + round(seconds * NS)
    found = Moments(desk.settings).at(0, Moment(ts_ns=at_ns))
    engine = desk.replayed(desk.end if before is None else desk.kept[1] + before)
    offset = engine.offset
    if before is not None:
        clock = decode_frame(desk.frames[offset])
        records = clock.records.copy()
        records["ts_ns"] = at_ns
        engine.step(replace(clock, records=records, last=False), offset)
    assert found.engine.digest() == engine.digest()
    assert (found.engine.offset, found.engine.clock_ns) == (offset, at_ns if before is not None else START_NS + 6 * NS)


def test_without_snapshots_the_log_is_read_from_its_start(desk: Desk, tmp_path: Path) -> None:
    settings = Settings(kafka=desk.settings.kafka, shards=1, mock_kafka=True, snapshots=str(tmp_path))
    found = Moments(settings).at(0, NEWEST)
    assert (found.snapshot, found.frames) == (None, desk.end)
    assert found.engine.digest() == desk.world.engine.digest()
    newest = tmp_path / f"shard-0000-{desk.kept[1]:019d}.snapshot"
    newest.write_bytes(b"torn")
    assert Moments(settings).at(0, NEWEST).frames == desk.end
    assert newest.exists()  # what only reads removes nothing


def test_explain_shows_the_end_and_any_change(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--kafka", desk.settings.kafka, "--snapshots", desk.settings.snapshots]
    since = desk.kept[1] + 3
    assert cli.run(["explain", "f", "--json", "--since", str(since), *flags]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["offset"], data["change"]["then"]["offset"], data["change"]["now"]["offset"]) == (desk.end, since, desk.end)
    parts = {part["part"]: part["maintenance"] for part in data["change"]["parts"]}
    assert float(parts["positions"]) > 0
    assert [parts[name] for name in ("prices", "volatility", "rules", "collateral")] == ["0.00"] * 4
    assert cli.run(["explain", "f", "--json", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["change"]["then"]["offset"] == desk.kept[0]

    def said(*arguments: str) -> str:
        status, captured = cli.run(["explain", *arguments, *flags]), capsys.readouterr()
        assert (status, captured.out, captured.err.count("\n")) == (1, "", 1)
        return captured.err

    assert "found no account 'nobody': topic reference does not define it" in said("nobody")
    assert "it is a customer with f, t, k, n" in said("c")
    assert f"found {desk.end + 1}; the log of shard 0 ends at offset {desk.end}" in said("f", "--since", str(desk.end + 1))
    late = "2027-01-15T09:00:00Z"
    assert f"--since: found {late}; the log ends at 2027-01-15T08:00:06" in said("f", "--since", late)
    assert "the log of shard 0 begins after that moment" in said("f", "--since", "2020-01-01T00:00:00Z")


def test_a_log_that_was_cut_says_where(tmp_path: Path, mock_kafka: str) -> None:
    """The mock keeps 5 MiB of a partition."""
    settings, world = Settings(kafka=mock_kafka, shards=1, mock_kafka=True, snapshots=str(tmp_path)), World()
    early = keep(settings, world)
    for _ in range(7):
        world.log.raw(b'{"kind":"customer","id":"padding","nothing":"' + b"x" * MAX_DOCUMENT_BYTES + b'"}')
    inside = keep(settings, world)
    world.clock()
    write(settings, world.log.pair.frames, [])  # type: ignore[union-attr]
    first, stop = kafka.watermarks(settings, LOG, 0)
    assert early < first <= inside < stop
    moments = Moments(settings)
    assert moments.at(0, NEWEST).snapshot == inside
    assert moments.at(0, Moment(offset=early)).engine.offset == early
    with pytest.raises(
        UserError, match=f"--since: found {early + 1}; the log of shard 0 was cut before offset {first}"
    ) as cut:
        moments.at(0, moment(str(early + 1), "--since"))
    assert f"moments from offset {inside}, 2027-01-15T08:00:01.000000000Z, on can be shown" in str(cut.value)

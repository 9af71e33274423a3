"""Snapshots: two kept, torn ones fall back, other versions and other logs are refused, on disk and on an object store."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from engine.frames import Genesis
from engine.limits import Limits
from streams.settings import ConfigError, UserError
from streams.snapshots import Snapshot, SnapshotStore

GENESIS = Genesis(log_id="ab" * 16, shards=4, time_mode="wall", start_ns=1, limits=Limits())


def snapshot(offset: int, shard: int = 2, body: bytes = b"state", genesis: Genesis = GENESIS) -> Snapshot:
    return Snapshot(shard, offset, genesis, body + str(offset).encode())


@pytest.fixture(params=["directory", "object store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "directory":
        yield str(tmp_path / "snapshots")
        return
    place = f"memory://snapshots-{uuid.uuid4().hex}"
    yield place
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def store(url: str) -> SnapshotStore:
    kept = SnapshotStore(url)
    kept.save(snapshot(0, shard=0))  # another shard's is in the way of nothing
    return kept


def overwrite(url: str, shard: int, offset: int, data: bytes | None, cut: int = 0) -> None:
    """Replace a snapshot's file by other bytes, or by its own without the last `cut`."""
    files, root = fsspec.core.url_to_fs(url)
    path = f"{root}/shard-{shard:04d}-{offset:019d}.snapshot"
    files.pipe_file(path, files.cat_file(path)[: -cut or None] if data is None else data)


def test_what_is_saved_is_loaded(store: SnapshotStore) -> None:
    assert store.save(snapshot(7, body=bytes(1 << 20))) is None
    assert store.load(2, GENESIS.log_id) == snapshot(7, body=bytes(1 << 20))


def test_nothing_saved_loads_nothing(url: str) -> None:
    empty = SnapshotStore(url + "/none")
    assert empty.load(2, GENESIS.log_id) is None
    assert empty.offset_of_older(2) is None
    assert empty.genesis() is None


def test_two_are_kept_and_the_older_ones_offset_may_be_committed(store: SnapshotStore) -> None:
    assert [store.save(snapshot(offset)) for offset in (5, 9, 1000)] == [None, 5, 9]
    assert store.offsets(2) == [9, 1000]
    assert store.offset_of_older(2) == 9
    assert store.offsets(0) == [0]


def test_more_are_kept_for_moments_gone_by_and_the_second_newest_is_committed(url: str) -> None:
    store = SnapshotStore(url, 3)
    assert [store.save(snapshot(offset)) for offset in (5, 9, 20, 31)] == [None, 5, 9, 20]
    assert store.offsets(2) == [9, 20, 31]


def test_an_older_one_from_a_worker_that_lost_the_shard_changes_nothing(store: SnapshotStore) -> None:
    for offset in (5, 9):
        store.save(snapshot(offset))
    assert store.save(snapshot(3)) == 5
    assert store.offsets(2) == [5, 9]


@pytest.mark.parametrize("cut", [1, 10, 10_000])
def test_a_torn_newest_one_falls_back_to_the_older(store: SnapshotStore, url: str, cut: int) -> None:
    for offset in (5, 9):
        store.save(snapshot(offset))
    overwrite(url, 2, 9, None, cut)
    assert store.load(2, GENESIS.log_id) == snapshot(5)
    assert store.offsets(2) == [5]


def test_a_flipped_bit_is_noticed_anywhere(store: SnapshotStore, url: str) -> None:
    store.save(snapshot(5))
    whole = b"".join(snapshot(9).parts())
    version = range(4, 8)
    for place in set(range(len(whole))) - set(version):
        store.save(snapshot(9))
        overwrite(url, 2, 9, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        loaded = store.load(2, GENESIS.log_id)
        assert loaded == snapshot(5), f"byte {place}"


def test_a_file_under_another_ones_name_is_not_taken(store: SnapshotStore, url: str) -> None:
    store.save(snapshot(9))
    overwrite(url, 2, 9, b"".join(snapshot(9, shard=3).parts()))
    assert store.load(2, GENESIS.log_id) is None


def test_two_torn_ones_load_nothing(store: SnapshotStore, url: str) -> None:
    for offset in (5, 9):
        store.save(snapshot(offset))
        overwrite(url, 2, offset, b"CMSF")
    assert store.load(2, GENESIS.log_id) is None
    assert store.offsets(2) == []


def test_another_format_version_says_what_to_do(store: SnapshotStore, url: str) -> None:
    store.save(snapshot(9))
    whole = b"".join(snapshot(9).parts())
    overwrite(url, 2, 9, whole[:4] + b"\x63\0\0\0" + whole[8:])
    with pytest.raises(UserError, match=r"snapshot format 99, this program reads format 1; crossmargin rebuild --shard 2 "):
        store.load(2, GENESIS.log_id)
    assert store.offsets(2) == [9]


def test_another_log_is_refused(store: SnapshotStore) -> None:
    store.save(snapshot(9))
    with pytest.raises(UserError, match=f"belong to log {GENESIS.log_id}, the log is {'cd' * 16}"):
        store.load(2, "cd" * 16)


def test_the_genesis_survives_a_cut_log(store: SnapshotStore, url: str) -> None:
    store.save(snapshot(9, shard=3))
    overwrite(url, 3, 9, b"")
    assert store.genesis() == GENESIS


def test_delete_removes_one_shards_snapshots(store: SnapshotStore, url: str) -> None:
    for offset in (5, 9):
        store.save(snapshot(offset))
    overwrite(url, 2, 9, b"")
    store.delete(2, but=5)
    assert store.offsets(2) == [5]
    store.delete(2)
    assert store.offsets(2) == []
    assert store.offsets(0) == [0]


def test_a_kill_while_writing_leaves_the_ones_before(tmp_path: Path) -> None:
    store = SnapshotStore(str(tmp_path))
    store.save(snapshot(5))
    partial = tmp_path / f"shard-0002-{9:019d}.snapshot.{os.getpid()}.part"
    partial.write_bytes(b"CMSF half")
    assert store.offsets(2) == [5]
    assert store.save(snapshot(9)) == 5
    assert not partial.exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"snapshots \(CROSSMARGIN_SNAPSHOTS\) under .* cannot be written"):
        SnapshotStore(str(tmp_path / "file")).save(snapshot(5))


def test_an_unknown_protocol_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="setting snapshots"):
        SnapshotStore("nosuch://bucket/folder")

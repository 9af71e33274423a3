"""Snapshots: a shard's engine as a checksummed file under an fsspec URL; the offset of the second newest is committed.

file: magic and format version, checksum, offset and shard (32 bytes, little endian) | genesis as JSON | the engine's bytes
"""

import logging
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

import fsspec
import msgspec
import xxhash
from fsspec.implementations.local import LocalFileSystem

from engine.frames import Genesis
from streams.settings import ConfigError, UserError, masked_url

FORMAT: Final = 1
SAFE: Final = 2  # so many newest ones recovery may need
_MAGIC: Final = b"CMSF"
_HEADER: Final = struct.Struct("<QqHHI")  # checksum of all that follows, offset, shard, 0, bytes of genesis
_CHECKSUM: Final = 8  # bytes of it
_START: Final = struct.Struct("<4sI")  # magic, format
_NAME: Final = re.compile(r"shard-(\d{4})-(\d{19})\.snapshot$")
logger: Final = logging.getLogger("crossmargin.snapshots")


class Torn(ValueError):
    """The file is cut short or its checksum does not match."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A shard's engine as bytes, at the log offset of the next frame it needs."""

    shard: int
    offset: int
    genesis: Genesis
    body: bytes

    def parts(self) -> list[bytes]:
        """The parts of the file, in order; the body is not copied."""
        genesis = msgspec.json.encode(self.genesis)
        header = _HEADER.pack(0, self.offset, self.shard, 0, len(genesis))[_CHECKSUM:]
        checksum = _checksum(header, genesis, self.body).to_bytes(_CHECKSUM, "little")
        return [_START.pack(_MAGIC, FORMAT), checksum, header, genesis, self.body]


def read_snapshot(source: BinaryIO) -> Snapshot:
    """The snapshot in a file. Raises Torn, and UserError for another format version."""
    start = source.read(_START.size)
    if len(start) < _START.size or start[:4] != _MAGIC:
        raise Torn("not a snapshot")
    version = _START.unpack(start)[1]
    if version != FORMAT:
        raise UserError(f"snapshot format {version}, this program reads format {FORMAT}")
    header = source.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise Torn("cut short")
    checksum, offset, shard, _, size = _HEADER.unpack(header)
    genesis, body = source.read(size), source.read()
    if checksum != _checksum(header[_CHECKSUM:], genesis, body):
        raise Torn("its checksum does not match")
    return Snapshot(shard, offset, msgspec.json.decode(genesis, type=Genesis), body)


def _checksum(*parts: bytes) -> int:
    state = xxhash.xxh3_64()
    for part in parts:
        state.update(part)
    return state.intdigest()


class SnapshotStore:
    """The snapshots of all shards of one log under one fsspec URL, so many of a shard. Failures of it are UserError."""

    def __init__(self, url: str, kept: int = SAFE) -> None:
        self.url, self._kept = masked_url(url), max(kept, SAFE)
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"setting snapshots (CROSSMARGIN_SNAPSHOTS): found '{self.url}': {error}; allowed: a directory, or a URL"
                " that fsspec knows, such as s3://bucket/folder"
            ) from error

    @contextmanager
    def _access(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"snapshots (CROSSMARGIN_SNAPSHOTS) under {self.url} cannot be {done}: {error}") from error

    def _path(self, shard: int, offset: int) -> str:
        return f"{self._root}/shard-{shard:04d}-{offset:019d}.snapshot"

    def _held(self) -> list[tuple[int, int]]:
        """(shard, offset) of every snapshot held, in order."""
        with self._access("listed"):
            self._files.invalidate_cache()
            if not self._files.exists(self._root):
                return []
            names = [_NAME.search(str(name)) for name in self._files.ls(self._root, detail=False)]
        return sorted((int(match[1]), int(match[2])) for match in names if match)

    def offsets(self, shard: int) -> list[int]:
        """Log offsets of the shard's snapshots, ascending."""
        return [offset for owner, offset in self._held() if owner == shard]

    def offset_of_older(self, shard: int) -> int | None:
        """The offset that may be committed: that of the older of the newest two; None while there is only one."""
        offsets = self.offsets(shard)
        return offsets[-SAFE] if len(offsets) >= SAFE else None

    def save(self, snapshot: Snapshot) -> int | None:
        """Write a snapshot atomically, drop those past the ones kept, and return `offset_of_older`."""
        with self._access("written"):
            self._write(self._path(snapshot.shard, snapshot.offset), snapshot.parts())
            for old in self.offsets(snapshot.shard)[: -self._kept]:
                self._remove(snapshot.shard, old)
        return self.offset_of_older(snapshot.shard)

    def _write(self, path: str, parts: list[bytes]) -> None:
        """Locally to a file of another name that is renamed when it is on disk; an object store shows whole objects only."""
        self._files.makedirs(self._root, exist_ok=True)
        if not isinstance(self._files, LocalFileSystem):
            with self._files.open(path, "wb") as target:
                target.writelines(parts)
            return
        partial = Path(f"{path}.{os.getpid()}.part")
        with partial.open("wb") as target:
            target.writelines(parts)
            target.flush()
            os.fsync(target.fileno())
        partial.replace(path)

    def _remove(self, shard: int, offset: int) -> None:
        """Another worker that held the shard for a moment may have removed it already."""
        try:
            self._files.rm_file(self._path(shard, offset))
        except FileNotFoundError:
            logger.debug("snapshot %d of shard %d was already gone", offset, shard)

    def load(self, shard: int, log_id: str) -> Snapshot | None:
        """The newest good snapshot of a shard; torn ones are removed. None when there is none.

        Raises UserError for a snapshot of another log or of another format version.
        """
        for offset in reversed(self.offsets(shard)):
            try:
                snapshot = self.read(shard, offset)
            except Torn as error:
                logger.warning("snapshot %s is ignored and removed: %s", self._path(shard, offset), error)
                self._remove(shard, offset)
                continue
            if snapshot.genesis.log_id != log_id:
                raise UserError(
                    f"the snapshots under {self.url} belong to log {snapshot.genesis.log_id}, the log is {log_id}: give it a"
                    " place of its own (setting snapshots, CROSSMARGIN_SNAPSHOTS), or remove the old snapshots"
                )
            return snapshot
        return None

    def read(self, shard: int, offset: int) -> Snapshot:
        """The snapshot of a shard at an offset. Raises Torn where it is damaged or gone, UserError for another version."""
        path = self._path(shard, offset)
        try:
            with self._files.open(path, "rb") as source:
                snapshot = read_snapshot(cast(BinaryIO, source))
        except FileNotFoundError as error:
            raise Torn("it is gone") from error
        except OSError as error:
            raise UserError(f"snapshot {path} cannot be read: {error}") from error
        except UserError as error:
            raise UserError(f"{path}: {error}; crossmargin rebuild --shard {shard} replays the log instead") from error
        if (snapshot.shard, snapshot.offset) != (shard, offset):
            raise Torn(f"it holds shard {snapshot.shard} at offset {snapshot.offset}")
        return snapshot

    def delete(self, shard: int, *, but: int | None = None) -> None:
        """Remove all of the shard's snapshots, whatever they hold, except the one at offset `but`."""
        with self._access("removed"):
            for offset in self.offsets(shard):
                if offset != but:
                    self._remove(shard, offset)

    def genesis(self) -> Genesis | None:
        """The genesis of the log that a good snapshot of any shard belongs to; None when there is none."""
        for shard, offset in reversed(self._held()):
            try:
                return self.read(shard, offset).genesis
            except Torn:
                continue
        return None

"""Snapshots as bytes: the reference documents in order, and the used part of every array. No I/O here.

magic | format version | xxh3 of the rest | header's length | msgpack header (meta, documents, arrays with shapes) | arrays
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from engine.apply import put_id
from engine.arithmetic import kernel
from engine.book import index_position
from engine.frames import Genesis
from engine.requirement import require
from engine.state import CHUNK, NONE, Risk, State

MAGIC: Final = b"CMSN"
FORMAT: Final = 3
_HEAD: Final = struct.Struct("<4sIQQ")  # magic, format, checksum, header length


class BadSnapshot(ValueError):
    """The bytes are not a whole snapshot."""


class OtherFormat(BadSnapshot):
    """The snapshot is of another format version."""


class Meta(msgspec.Struct, frozen=True):
    """What stands beside the arrays; writers: (writer, its last frame number), oldest first."""

    shard: int
    offset: int
    genesis: Genesis
    writers: list[tuple[int, int]]


class _Header(msgspec.Struct):
    meta: Meta
    bodies: list[bytes]
    arrays: list[tuple[str, int, list[int]]]  # name, item size, shape


def _parts(
    state: State, risk: Risk, accounts: int, chunks: int, rows: tuple[int, int, int, int]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Views of the used part of every array, by name, for so many accounts, chunks and table rows."""
    instruments, assets, factors, volatilities = rows
    yield "now", state.now
    for name, array in state.accounts._asdict().items():
        if name in ("changed", "required"):  # derived
            continue
        if name in ("holding", "value", "book", "exposure", "together"):
            used = {"holding": assets, "exposure": factors}.get(name, int(state.now[0]["currencies"]))
            yield f"accounts.{name}", array[:used, :accounts]
        else:
            yield f"accounts.{name}", array[:accounts]
    for name in ("lots", "account", "position", "next"):
        yield f"book.{name}", getattr(state.book, name)[: chunks * CHUNK]
    yield "book.chunk_instrument", state.book.chunk_instrument[:chunks]
    yield "book.chunk_next", state.book.chunk_next[:chunks]
    yield "instruments", state.instruments[:instruments]
    yield "tiers", state.tiers[:instruments]
    yield "assets", state.assets[:assets]
    yield "portfolios", state.portfolios
    yield "agreements", state.agreements[: int(state.now[0]["agreements"])]
    yield "haircuts", state.haircuts
    yield "caps", state.caps
    yield "shocks", state.shocks
    yield "shock_kinds", state.shock_kinds
    for name in ("scale", "bound"):
        yield f"risk.{name}", getattr(risk, name)[:, :instruments]
    yield "risk.width", risk.width
    yield "risk.set_hash", risk.set_hash
    for s in np.flatnonzero(risk.width).tolist():
        yield f"risk.values.{s}", risk.values[s, :instruments, : risk.width[s]]
    yield "volatilities", state.volatilities[:volatilities]
    yield "watermark_offset", state.watermark_offset
    yield "watermark_index", state.watermark_index
    yield "covered", state.covered


def _used(now: Any) -> tuple[int, int, tuple[int, int, int, int]]:
    rows = int(now["instruments"]), int(now["assets"]), int(now["factors"]), int(now["volatilities"])
    return int(now["accounts"]), int(now["chunks"]), rows


def pack(meta: Meta, bodies: list[bytes], state: State, risk: Risk) -> bytes:
    """The snapshot of a state."""
    parts = [(name, np.ascontiguousarray(array)) for name, array in _parts(state, risk, *_used(state.now[0]))]
    parts += [(f"ids.{g}", state.ids[:, g][state.ids[:, g] != 0]) for g in range(2)]
    header = msgspec.msgpack.encode(
        _Header(meta, bodies, [(name, array.dtype.itemsize, list(array.shape)) for name, array in parts])
    )
    body = [header, *(array.tobytes() for _, array in parts)]
    checksum = xxhash.xxh3_64(len(header).to_bytes(8, "little"))
    for piece in body:
        checksum.update(piece)
    return b"".join([_HEAD.pack(MAGIC, FORMAT, checksum.intdigest(), len(header)), *body])


def pack_market(meta: Meta, bodies: list[bytes], state: State, risk: Risk) -> bytes:
    """The snapshot of a state without accounts and what came from inputs; bodies: of no customer. meta: with limits."""
    now, rows, limits = state.now.copy(), state.instruments.copy(), meta.genesis.limits
    for name in (
        "accounts",
        "positions",
        "chunks",
        "agreements",
        "ids",
        "generation",
        "ids_from_ns",
        "previous_ids_from_ns",
    ):
        now[name] = 0
    now["max_accounts"], now["max_positions"], now["max_ids"] = limits.accounts, limits.positions, limits.ids
    rows["first_chunk"] = rows["last_chunk"] = NONE
    rows["last_used"] = 0
    unread = {name: np.full_like(getattr(state, name), NONE) for name in ("watermark_offset", "watermark_index", "covered")}
    return pack(meta, bodies, state._replace(now=now, instruments=rows, ids=state.ids[:0], **unread), risk)


def unpack(data: bytes) -> tuple[Meta, list[bytes], Callable[[State, Risk], None]]:
    """Meta, the documents in order, and what fills a state in which they were defined; BadSnapshot when damaged."""
    if len(data) < _HEAD.size or data[:4] != MAGIC:
        raise BadSnapshot("not a snapshot")
    _, version, checksum, length = _HEAD.unpack_from(data)
    if version != FORMAT:
        raise OtherFormat(f"snapshot format {version}; this program reads format {FORMAT}")
    if xxhash.xxh3_64_intdigest(memoryview(data)[_HEAD.size - 8 :]) != checksum:
        raise BadSnapshot("the checksum does not match: the snapshot is torn or damaged")
    view = memoryview(data)[_HEAD.size :]
    header = msgspec.msgpack.decode(view[:length], type=_Header)
    return header.meta, header.bodies, lambda state, risk: _load(state, risk, header, view[length:])


def _load(state: State, risk: Risk, header: _Header, body: memoryview) -> None:
    raw: dict[str, tuple[memoryview, list[int]]] = {}
    at = 0
    for name, itemsize, shape in header.arrays:
        size = itemsize * int(np.prod(shape))
        raw[name] = body[at : at + size], shape
        at += size
    now = np.frombuffer(raw["now"][0], state.now.dtype)[0]
    for name, array in _parts(state, risk, *_used(now)):
        data, shape = raw[name]
        if list(array.shape) != shape or array.nbytes != len(data):
            raise BadSnapshot(f"array {name} has shape {shape}, the documents define {list(array.shape)}")
        array[...] = np.frombuffer(data, array.dtype).reshape(shape)
    for generation in range(2):
        _fill_ids(state.ids, generation, np.frombuffer(raw[f"ids.{generation}"][0], np.uint64))
    state.accounts.changed[:] = 1
    state.portfolios["rule"] = 0  # the next clock fills in what follows from the rules in force
    _derive(state)


@kernel
def _fill_ids(ids: NDArray[np.uint64], generation: int, keys: NDArray[np.uint64]) -> None:
    for key in keys:
        put_id(ids, generation, key)


@kernel
def _derive(state: State) -> None:
    """Enter every position into the index, and sum up what it requires alone."""
    book = state.book
    for account in range(state.now[0].accounts):
        slot = state.accounts.first_position[account]
        while slot != NONE:
            index_position(book.slots, account, book.chunk_instrument[slot // CHUNK], slot)
            require(state, account, slot)
            slot = book.next[slot]

"""`rebuild`: with the workers stopped, makes a shard start again from its log instead of from its snapshots."""

from engine.core import MarginEngine
from engine.frames import FrameKind
from engine.snapshot import BadSnapshot
from streams import kafka
from streams.settings import Settings, UserError
from streams.snapshots import Snapshot, SnapshotStore
from streams.topics import LOG


def rebuild(settings: Settings, shard: int) -> str:
    """Reset a shard to its log's start, or, where the log was cut, to the newest snapshot still inside it; what was done.

    Raises UserError with the reason, and changes nothing, when workers run, there is no such shard, or neither is possible.
    """
    genesis = kafka.read_genesis(settings)
    if genesis is None:
        raise UserError(f"topic {LOG} is empty: there is nothing to rebuild from")
    if not 0 <= shard < genesis.shards:
        raise UserError(f"--shard: found {shard}; the log has shards 0 to {genesis.shards - 1}")
    group = kafka.worker_group(genesis.log_id)
    if members := kafka.group_members(settings, group):
        raise UserError(
            f"the group of workers has {members} members: stop all workers first (one that was killed is counted for 6 s)"
        )
    start, stop = kafka.watermarks(settings, LOG, shard)
    store = SnapshotStore(settings.snapshots)
    frame = kafka.first_frame(settings, shard)
    if frame is not None and frame.kind is FrameKind.GENESIS and start == 0:
        kafka.commit(settings, group, LOG, {shard: 0})
        store.delete(shard)
        return f"shard {shard} starts again at the beginning of its log, {stop} frames to replay"
    snapshot = _newest_inside(store, shard, genesis.log_id, start, stop)
    kafka.commit(settings, group, LOG, {shard: snapshot.offset})
    store.delete(shard, but=snapshot.offset)
    return (
        f"the log of shard {shard} was cut at offset {start}: it starts again from its snapshot at offset {snapshot.offset},"
        f" {stop - snapshot.offset} frames to replay"
    )


def _newest_inside(store: SnapshotStore, shard: int, log_id: str, start: int, stop: int) -> Snapshot:
    """The newest snapshot whose next frame is still in the log (or about to be written)."""
    snapshot = store.load(shard, log_id)
    if snapshot is None:
        raise UserError(
            f"the log of shard {shard} was cut at offset {start} and no snapshot under {store.url} is good:"
            " it cannot be rebuilt without a copy of the log's start or of a snapshot"
        )
    try:
        MarginEngine.from_bytes(snapshot.body)
    except BadSnapshot as error:
        raise UserError(
            f"the log of shard {shard} was cut at offset {start} and its newest snapshot is of another version ({error}):"
            " it can only be read by the version that wrote it"
        ) from error
    if not start <= snapshot.offset <= stop:
        raise UserError(
            f"the log of shard {shard} holds offsets {start} to {stop}, its newest good snapshot needs {snapshot.offset}:"
            " it cannot be rebuilt without a copy of the log's start or of a snapshot"
        )
    return snapshot

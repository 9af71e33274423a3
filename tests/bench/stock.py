"""Runs the stock Faust worker on a chain's preloaded topics, and checks what it computed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from streams.settings import UserError
from tests.bench.result import ROOT, Figures
from tests.bench.services import Chain, Offsets
from tests.bench.stock_faust import VARIABLE, StockConfig, StockResult
from tests.bench.universe import PARTITIONS, TOPICS, Events, Universe


def run_stock(
    chain: Chain,
    universe: Universe,
    events: Events,
    day: Offsets,
    per_message: int,
    stop_after: int,
    flags_on_prices: bool,
) -> Figures:
    """Events a second of a stock agent on the first events of the preloaded topics; day: the offsets before them."""
    name = f"stock-{per_message}-{'all' if flags_on_prices else 'traded'}"
    config = StockConfig(
        kafka=chain.settings.kafka,
        redis_url=chain.settings.redis_url,
        group=name,
        result=str(chain.folder / f"{name}.json"),
        accounts=universe.accounts,
        positions=universe.positions,
        seed=universe.seed,
        first={topic: {p: day.get((topic, p), 0) for p in range(PARTITIONS)} for topic in TOPICS},
        stop_after=stop_after,
        flags_on_prices=flags_on_prices,
    )
    with _process(config, chain.folder / name) as process:

        def is_done() -> bool:
            if process.poll() is not None:
                lines = (chain.folder / f"{name}.log").read_text("utf-8", "replace").splitlines()[-5:]
                raise UserError(f"the stock Faust worker ended by itself: {' | '.join(lines)}")
            return Path(config.result).is_file()

        chain.until(is_done, "the result of the stock Faust worker")
    result = msgspec.json.decode(Path(config.result).read_bytes(), type=StockResult)
    taken = _taken(events, result, day, per_message)
    assert int(taken.sum()) == result.events
    assert np.array_equal(np.array(result.requirements), universe.requirements(events, taken)), "stock requirements differ"
    assert np.abs(np.array(result.equities) - universe.equities(events, taken)).max() < 0.01, "stock equities differ"
    return {
        "events": result.events,
        "events_per_s": result.events / result.seconds,
        "cpu_us_per_event": result.processor_seconds / result.events * 1e6,
        "flags": result.flags,
    }


@contextmanager
def _process(config: StockConfig, path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The worker's process; killed at the end, it has nothing to leave in order."""
    told = path.with_suffix(".config")
    told.write_bytes(msgspec.json.encode(config))
    with path.with_suffix(".log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.stock_faust", "worker", "--without-web", "-l", "warn"],
            cwd=ROOT,
            env={**os.environ, VARIABLE: str(told)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _taken(
    events: Events, result: StockResult, day: Offsets, per_message: int
) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Which events the worker has taken: of each partition, those up to its last offset."""
    last = np.full(2 * PARTITIONS, -1)
    for topic, offsets in result.offsets.items():
        for partition, offset in offsets.items():
            last[TOPICS.index(topic) * PARTITIONS + partition] = offset - day.get((topic, partition), 0)
    return events.rank // per_message <= last[events.origin]

"""A universe as messages of the input topics, for the benchmarks of the processes."""

from collections.abc import Iterator

import msgspec

from tests.bench.universe import PARTITIONS, Universe

ARRAY = 500


def reference(universe: Universe) -> Iterator[tuple[str, int, bytes]]:
    """All documents, hundreds a message."""
    bodies = [*universe.tables(), *(body for _, body in universe.customers())]
    for first in range(0, len(bodies), ARRAY):
        yield "reference", 0, b"[%b]" % b",".join(bodies[first : first + ARRAY])


def opening(universe: Universe, ts_ns: int) -> Iterator[tuple[str, int, bytes]]:
    """Collateral, positions and marks of the start of the day, hundreds a message."""
    waiting: dict[tuple[str, int], list[bytes]] = {}
    for topic, number, event in universe.opening(ts_ns):
        place = topic, number % PARTITIONS
        bodies = waiting.setdefault(place, [])
        bodies.append(msgspec.json.encode(event))
        if len(bodies) == ARRAY:
            yield *place, b"[%b]" % b",".join(waiting.pop(place))
    for place, bodies in waiting.items():
        yield *place, b"[%b]" % b",".join(bodies)

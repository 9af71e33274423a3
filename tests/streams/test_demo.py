"""The demo: what it shows of given figures, and the whole of it, short, as a user runs it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from rich.console import Console

from monitors import view
from monitors.view import Summary
from streams import screen
from streams.embedded import LOOPBACK, embedded_redis, free_port
from streams.health import HealthServer
from streams.processes import Child, ChildEnded, ready
from streams.screen import CrossMargin, Figures, Scene
from streams.settings import Settings, UserError
from tests.services import require_redis, wait_until

ALERT = {
    "id": "A1:3",
    "kind": "status",
    "account": "A1",
    "from": "OK",
    "to": "CALL",
    "amount": "1234567.50",
    "currency": "USD",
    "ts_ns": "1722520800000000000",
}
CALL = {
    "id": "A1:FUTURES:2", "state": "OVERDUE", "amount": "1234567.50", "received": "0.50", "currency": "USD",
    "due_ns": "1722520740000000000",
}  # fmt: skip
SUMMARY = Summary(
    by_status={"OK": 90, "WATCH": 5, "CALL": 4, "OVERDUE": 0, "RESTRICTED": 0, "DEBIT": 1},
    by_quality={"FRESH": 99, "STALE": 1, "UNPRICED": 0},
    worst=[{"account": "A1", "status": "CALL", "equity": "-5.25", "maintenance": "1000.00", "excess_usd": "-1000.25"}],
    alerts=[ALERT],
    calls=[CALL],
    open_calls=7,
)
SCENE = Scene(
    seconds=12,
    figures=Figures(SUMMARY, events=12345, rejects=2, cross_margin=CrossMargin(102, 14, 123_456_789.0, 86_419_752.3)),
    events_per_second=1000,
    p50_ms=4.21,
    p99_ms=9.9,
    market="shock: crypto -12.0 %, yields +25 bp",
    metrics_url="http://127.0.0.1:9400/metrics",
    page_url=f"http://127.0.0.1:48800/#token={'x' * 43}",
)


def test_percentiles_of_a_histogram_are_linear_within_a_bucket_and_since_a_reading() -> None:
    before = {0.001: 10.0, 0.005: 10.0, 0.01: 10.0, float("inf"): 10.0}
    after = {0.001: 10.0, 0.005: 60.0, 0.01: 108.0, float("inf"): 110.0}
    assert screen.percentile_ms(after, before, 0.5) == pytest.approx(5.0)
    assert screen.percentile_ms(after, before, 0.25) == pytest.approx(3.0)
    assert screen.percentile_ms(after, before, 0.99) == pytest.approx(10.0)
    assert screen.percentile_ms(before, before, 0.5) is None
    assert screen.percentile_ms({}, {}, 0.5) is None


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (140, 50)])
def test_the_screen_fits_its_terminal_and_says_what_is_synthetic(columns: int, lines: int) -> None:
    output = StringIO()
    Console(width=columns, file=output).print(screen.render(SCENE, columns, lines, int(ALERT["ts_ns"])))
    text = output.getvalue()
    assert len(text.splitlines()) <= lines
    assert max(map(len, text.splitlines())) <= columns
    for expected in (
        screen.SYNTHETIC,
        "CALL",
        "-1,000.25",
        "p50 4.2 ms p99 9.9 ms",
        "A1 OK -> CALL",
        "127.0.0.1:9400/metrics",
        SCENE.page_url,
        "cross-margin: 102 agreements in force (14 not)",
        "requirement alone 123.46m USD, with cross-margin 37.04m, saved 86.42m (70 %)",
        "open calls: 7",
        "A1:FUTURES:2",
        "1,234,567.00 USD",
        "1 min 0 s ago",
    ):
        assert expected in text


def test_the_line_has_the_figures_that_matter() -> None:
    line = screen.line(SCENE)
    assert "OK 90 WATCH 5 CALL 4 DEBIT 1 STALE 1  7 calls" in line
    assert "12,345 events (1,000/s)  p50 4.2 ms p99 9.9 ms" in line
    assert "(14 not), requirement alone 123.46m USD, with cross-margin 37.04m, saved 86.42m (70 %)" in line
    assert line.endswith("latest A1 OK -> CALL, call 1,234,567.50 USD")


def test_without_agreements_nothing_is_saved() -> None:
    assert CrossMargin().texts()[1] == "requirement alone 0.00m USD, with cross-margin 0.00m, saved 0.00m (0 %)"


def test_a_child_that_ends_by_itself_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with Child("worker", Settings(metrics_host="256.0.0.1", kafka="127.0.0.1:1"), tmp_path) as child:
        with pytest.raises(ChildEnded, match="the worker ended by itself, exit status 2") as caught:
            wait_until(lambda: child.check(), 30)
        assert any("metrics_host" in line for line in caught.value.last_lines)
        assert ready("127.0.0.1", 1) == "starting"


def test_the_summary_fits_80_columns() -> None:
    output = StringIO()
    counts = dict.fromkeys(SUMMARY.by_status, 12345)
    rows = [("by_status", counts), ("cross_margin", asdict(SCENE.figures.cross_margin)), ("latency_ms", {"p99": None})]
    Console(width=200, file=output).print(screen.summary_table([*rows, ("events", 1234567), ("", screen.SYNTHETIC)]))
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[:2] == [
        "by_status     OK 12,345  WATCH 12,345  CALL 12,345  OVERDUE 12,345",
        "              RESTRICTED 12,345  DEBIT 12,345",
    ]
    assert lines[2].startswith("cross_margin  in_force 102  not_in_force 14  alone_usd 123,456,789.0")
    assert lines[-3:] == ["latency_ms    p99 -", "events        1,234,567", f"              {screen.SYNTHETIC}"]


class Busy(Collector):
    """A process that cannot say how it is in time."""

    def collect(self) -> Iterator[Metric]:
        raise TimeoutError


@pytest.mark.services
def test_a_part_that_is_silent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_redis()
    monkeypatch.setattr(view, "TIMEOUT_SECONDS", 0.2)
    port = free_port()
    with embedded_redis() as server:
        watch = screen.Watch(server.url, "demo:", {"worker": (LOOPBACK, port)})
        with pytest.raises(UserError, match=f"^the worker at http://{LOOPBACK}:{port}/metrics does not answer: .*refused"):
            watch.read()
        with HealthServer(LOOPBACK, port, CollectorRegistry(), str):
            assert watch.read().count == 0
            assert server.pid is not None
            os.kill(server.pid, signal.SIGSTOP)
            try:
                for ask in (watch.read, watch.open_calls):
                    with pytest.raises(UserError, match=f"^Valkey at {server.url} does not answer: Timeout"):
                        ask()
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert watch.open_calls() == []
        busy = CollectorRegistry(auto_describe=False)
        busy.register(Busy())
        with (
            HealthServer(LOOPBACK, port, busy, str),
            pytest.raises(UserError, match="metrics does not answer: 503 the process is"),
        ):
            watch.read()
        watch.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the temporary files of a demo, to see what it leaves."""
    return tmp_path_factory.mktemp("demo")


def left_behind(home: Path) -> list[str]:
    """Names of what is left in the folder, and command lines with environments of processes that name it."""
    running = subprocess.run(["ps", "-e", "e", "ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    return [path.name for path in home.iterdir()] + [line for line in running.splitlines() if str(home) in line]


@pytest.fixture
def demo() -> list[str]:
    require_redis()
    return [sys.executable, "-m", "streams", "demo", "--accounts", "60", "--seed", "7"]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(home)}


@pytest.mark.services
def test_a_short_demo_shows_flags_ends_with_one_json_object_and_leaves_nothing(demo: list[str], home: Path) -> None:
    done = subprocess.run(
        [*demo, "--seconds", "15", "--json"],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert list(summary) == [
        *("accounts", "events", "rejects", "alerts", "by_status", "by_quality", "latency_ms"),
        *("cross_margin", "digest", "seconds"),
    ]
    assert summary["accounts"] == 60 == sum(summary["by_status"].values()) == sum(summary["by_quality"].values())
    assert summary["events"] > 1000
    assert summary["rejects"] == 0, done.stderr
    assert summary["alerts"] > 0
    assert summary["by_status"]["WATCH"] + summary["by_status"]["CALL"] + summary["by_status"]["DEBIT"] > 0
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    crossed = summary["cross_margin"]
    assert crossed["in_force"] > 0
    assert 0 < crossed["saved_usd"] < crossed["alone_usd"]
    assert len(summary["digest"]) == 16
    assert screen.SYNTHETIC in done.stderr
    assert "shock: crypto -" in done.stderr
    assert left_behind(home) == []


def log_in(page: str, token: str) -> int:
    """The HTTP status of a login."""
    body, headers = json.dumps({"token": token}).encode(), {"Content-Type": "application/json"}
    try:
        with urlopen(Request(f"{page}api/session", body, headers), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def child_of(process: subprocess.Popen[bytes], command: str) -> int:
    """The process id of the child whose command line has this pattern."""
    asked = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    (found,) = [int(line.split()[0]) for line in listed.splitlines() if re.search(command, line)]
    return found


def hang(process_id: int, seconds: float) -> None:
    """Let a process stand still for so long."""
    os.kill(process_id, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(process_id, signal.SIGCONT)


class NotYet(Exception):
    """What a verb shows is not in Redis yet."""


def ran_beside(config: str, *arguments: str) -> str:
    """What another verb prints while the demo runs."""
    command, environ = [sys.executable, "-m", "streams", *arguments], {**os.environ, "CROSSMARGIN_CONFIG": config}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)
    if "a worker writes it every few seconds" in done.stderr:
        raise NotYet(done.stderr)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compared(config: str) -> dict[str, int]:
    """Statements by how they compare; nothing before a worker has compared them."""
    try:
        counts: dict[str, int] = json.loads(ran_beside(config, "reconciliation", "--json"))["counts"]
    except NotYet:
        return {}
    return counts


@contextmanager
def running(demo: list[str], home: Path) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A demo, and what it has said so far; ended in good order, so that a test that fails leaves nothing either."""
    said = home.parent / "demo.out"
    with said.open("w") as output:
        process = subprocess.Popen(demo, env=environment(home), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield process, said.read_text
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()
                process.wait()


@pytest.mark.services
def test_a_demo_ended_by_a_signal_sums_up_and_leaves_nothing(demo: list[str], home: Path) -> None:
    with running(demo, home) as (process, said):
        wait_until(lambda: "first flags" in said() or process.poll() is not None, 200, "the first flag")
        wait_until(lambda: "#token=" in said() or process.poll() is not None, 60, "the page")
        found = re.search(r"(http://127\.0\.0\.1:\d+/)#token=(\S+)", said())
        assert found, said()
        with urlopen(found[1], timeout=10) as page:
            assert (page.status, page.headers.get_content_type()) == (200, "text/html")
        assert [log_in(found[1], found[2]) for _ in range(2)] == [200, 401], "a token is for one login"
        hang(child_of(process, r"(valkey|redis)-server "), view.TIMEOUT_SECONDS + 1)  # the demo goes on afterwards
        beside = re.search(r"CROSSMARGIN_CONFIG=(\S+)", said())
        assert beside, said()
        wait_until(lambda: sum(map(bool, compared(beside[1]).values())) == 4, 60, "every kind of comparison")
        counts = compared(beside[1])
        assert counts.pop("MATCHED") > 60
        assert counts.pop("QUANTITY") in (1, 2)  # one is put right after a minute
        assert counts == {"MISSING_HERE": 1, "MISSING_THERE": 1}
        wait_until(lambda: "ISSUED" in ran_beside(beside[1], "calls", "--json"), 60, "a call")
        ran_beside(beside[1], "day-end", "--out", str(home.parent / "pack"))
        lives = [line for path in (home.parent / "pack").glob("*/call_lives.csv") for line in path.read_text().splitlines()]
        assert any(",issued,ISSUED," in line for line in lives)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: "s] ending" in said() or process.poll() is not None, 30, "the end")
        process.send_signal(signal.SIGTERM)  # an impatient second one does not disturb it
        assert process.wait(60) == 0, said()
    text = said()
    assert "Traceback" not in text
    assert "digest" in text
    assert max(map(len, text[text.index("\naccounts ") :].splitlines())) <= 80
    assert left_behind(home) == []


@pytest.mark.services
def test_a_demo_whose_worker_dies_says_so_and_leaves_nothing(demo: list[str], home: Path) -> None:
    with running(demo, home) as (process, said):
        wait_until(lambda: "the worker is ready" in said() or process.poll() is not None, 200, "the worker")
        os.kill(child_of(process, r"streams worker$"), signal.SIGKILL)
        assert process.wait(60) == 1
    text = said()
    assert "Traceback" not in text
    assert "crossmargin: the worker ended by itself, exit status -9" in text
    assert left_behind(home) == []

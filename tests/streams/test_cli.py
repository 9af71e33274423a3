"""The command line: help of every verb, exit statuses, one-line failures, and what the small verbs print."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import msgspec
import pytest
from redis import Redis

from engine.report import Quality, Status
from monitors.keys import Keys
from streams import cli
from streams.embedded import free_port
from streams.settings import UserError
from tests.services import ROOT

VERBS = [
    *("backtest", "bench", "calls", "check-config", "day-end", "demo", "doctor", "explain", "feed", "load", "notifier"),
    *("pilot-report", "rebuild", "reconciliation", "rejects", "replay", "scenarios", "schema", "sequencer", "status"),
    *("top", "web", "web-token", "worker"),
]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("CROSSMARGIN_"):
            monkeypatch.delenv(name)
    return tmp_path


def crossmargin(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "streams", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def said(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a verb run in this process."""
    status = cli.run(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_every_verb_is_there_and_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(cli.cli.commands) == VERBS
    for verb in VERBS:
        status, out, err = said(capsys, [verb, "--help"])
        assert (status, err) == (0, "")
        assert out.startswith(f"Usage: crossmargin {verb}")


def test_help_is_fast_because_verbs_import_their_own_part_only() -> None:
    heavy = "numba", "faust", "confluent_kafka", "redis", "rich", "numpy", "prometheus_client"
    code = (
        f"import sys, streams.cli as c; c.run(['--help']); sys.exit(', '.join(m for m in {heavy} if m in sys.modules) or 0)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"imported for --help: {done.stderr}"
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nonsense"], "crossmargin: No such command 'nonsense'.\n"),
        (["statsu"], "crossmargin: No such command 'statsu'. Did you mean status?\n"),
        (["calls", "shw", "A"], "crossmargin: No such command 'shw'. Did you mean show?\n"),
        (["web-token", "ad"], "crossmargin: No such command 'ad'. Did you mean add?\n"),
        (["notifier", "resent"], "crossmargin: No such command 'resent'. Did you mean resend?\n"),
        (["--hepl"], "crossmargin: No such option: --hepl Did you mean --help?\n"),
        (["status", "--jsn"], "crossmargin: No such option: --jsn Did you mean --json?\n"),
        (["status", "--redis-url", "frob"], "crossmargin: flag --redis-url: found 'frob'; allowed: redis://"),
        (
            ["explain", "A", "--snapshots-only", "--snapshots", "frob://x"],
            "crossmargin: setting snapshots (CROSSMARGIN_SNAPSHOTS): found 'frob://x': Protocol not known: frob; allowed",
        ),
        (["demo", "--seconds", "0"], "crossmargin: Invalid value for '--seconds'"),
        (["demo", "--accounts", "many"], "crossmargin: Invalid value for '--accounts'"),
        (["check-config", "--shards", "0"], "crossmargin: flag --shards: found '0'; allowed: a whole number, 1 to 1024"),
        (["worker", "--config", "none.toml"], "crossmargin: flag --config: found 'none.toml', which is not a file"),
        (["rebuild"], "crossmargin: Missing option '--shard'"),
        (["notifier", "resend", "--dry-run", "--drop"], "crossmargin: resend: found --dry-run and --drop; allowed: one"),
        (
            ["notifier", "--shards", "3", "resend"],
            "crossmargin: notifier: found shards before resend; allowed: behind resend",
        ),
    ],
)
def test_wrong_use_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    status, out, err = said(capsys, arguments)
    assert (status, out) == (2, "")
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_no_verb_shows_help_and_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, [])
    assert (status, out) == (2, "")
    assert "check-config" in err


def test_a_service_that_is_away_is_one_line_and_status_1(own_folder: Path) -> None:
    """All verbs at once, because each waits for its service for some seconds before it gives up."""
    (own_folder / "a.jsonl").write_text('{"topic":"reference","kind":"customer","id":"C"}\n')
    nothing = {"CROSSMARGIN_KAFKA": "127.0.0.1:1", "CROSSMARGIN_REDIS_URL": "redis://127.0.0.1:1/0"}
    verbs = [["sequencer"], ["worker"], ["status"], ["rejects"], ["load", "a.jsonl"], ["feed", "a.jsonl"]]
    verbs += [["rebuild", "--shard", "0"], ["explain", "a"], ["day-end", "--out", "x"], ["pilot-report"]]
    verbs += [
        ["calls"],
        ["calls", "show", "A:P:1"],
        ["calls", "ack", "A:P:1"],
        ["top", "--once"],
        ["notifier", "resend", "--dry-run"],
    ]
    verbs.append(["doctor", "--json"])
    with ThreadPoolExecutor(len(verbs)) as pool:
        *ended, doctor = pool.map(lambda verb: crossmargin(*verb, **nothing), verbs)
    findings = {finding["name"]: finding for finding in json.loads(doctor.stdout)}
    assert doctor.returncode == 1
    assert doctor.stderr == ""
    assert findings["kafka"]["state"] == findings["redis"]["state"] == "missing"
    assert "CROSSMARGIN_KAFKA" in findings["kafka"]["detail"]
    assert findings["packages"]["state"] == "ok"
    for verb, done in zip(verbs, ended, strict=False):
        lines = [line for line in done.stderr.splitlines() if line.startswith("crossmargin:")]
        assert done.returncode == 1, (verb, done.stderr)
        assert "Traceback" not in done.stderr, verb
        assert len(lines) == 1, (verb, done.stderr)
        assert "127.0.0.1:1" in lines[0]


@pytest.mark.parametrize("verb", ["load", "feed", "replay"])
def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    status, out, err = said(capsys, [verb, "none.jsonl", *(["--out", "x"] if verb == "replay" else [])])
    assert status in (1, 2)
    assert out == ""
    assert err.count("\n") == 1
    assert "none.jsonl" in err


def test_check_config_shows_values_sources_and_masks(capsys: pytest.CaptureFixture[str], own_folder: Path) -> None:
    (own_folder / "crossmargin.toml").write_text('redis_url = "redis://:hunter2@cache:1/0"\n')
    status, out, _ = said(capsys, ["check-config", "--json", "--shards", "3"])
    shown = json.loads(out)
    assert status == 0
    assert shown["shards"] == {"value": 3, "source": "flag --shards"}
    assert shown["redis_url"] == {"value": "redis://:********@cache:1/0", "source": "crossmargin.toml"}
    assert shown["limits.accounts"]["source"] == "default"
    status, out, _ = said(capsys, ["check-config"])
    assert status == 0
    assert "hunter2" not in out
    assert "partitions of margin.log" in out


def test_schema_is_json_with_every_topic(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, ["schema"])
    assert status == 0
    assert {"trades", "prices", "reference"} <= json.loads(out)["topics"].keys()


@pytest.mark.services
def test_doctor_finds_running_services(capsys: pytest.CaptureFixture[str], mock_kafka: str, redis_url: str) -> None:
    processes = ("", "sequencer-", "notifier-", "web-")
    ports = [word for name in processes for word in (f"--{name}metrics-port", str(free_port()))]
    status, out, _ = said(capsys, ["doctor", "--kafka", mock_kafka, "--redis-url", redis_url, *ports])
    assert status == 0, out
    assert "1 broker at" in out
    assert out.count("is free") == len(processes)
    assert "no log yet" in out


def test_bench_without_its_needs_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "ROOT", Path("/nowhere"))
    status, _, err = said(capsys, ["bench"])
    assert status == 1
    assert err.startswith("crossmargin: no benchmarks under /nowhere")
    monkeypatch.undo()
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    status, _, err = said(capsys, ["bench"])
    assert (status, err) == (
        1,
        "crossmargin: benchmarks need what the tests need (pytest is not installed): make setup installs it\n",
    )


def test_a_reader_that_has_enough_is_no_failure() -> None:
    pipe = subprocess.run(
        f"{sys.executable} -m streams schema | head -1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert pipe.stdout == "{\n0\n"
    assert pipe.stderr == ""


def test_failures_of_verbs_become_lines_and_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(error: BaseException) -> click.Command:
        def callback() -> None:
            raise error

        return click.Command("broken", callback=callback)

    monkeypatch.setitem(cli.cli.commands, "broken", broken(UserError("first\nsecond")))
    assert said(capsys, ["broken"]) == (1, "", "crossmargin: first second\n")
    monkeypatch.setitem(cli.cli.commands, "broken", broken(KeyboardInterrupt()))
    assert said(capsys, ["broken"]) == (130, "", "\ninterrupted\n")


def test_ctrl_c_ends_a_verb_without_a_traceback() -> None:
    code = (
        "import streams.cli as c, time; c.cli.command('wait')(lambda: (print('up', flush=True), time.sleep(60))); c.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip() == "interrupted"


def test_the_page_without_its_libraries_is_one_line() -> None:
    code = "import sys; sys.modules['pyarrow'] = None; import streams.cli as c; sys.exit(c.run(['web']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "crossmargin: the page needs pyarrow: pip install 'crossmargin[web]'\n"


def test_bench_is_delegated_with_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "bench"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    (folder / "__main__.py").write_text("import sys; sys.exit(len(sys.argv) + 40)\n")
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    assert cli.run(["bench", "kernels", "--quick"]) == 43


def test_the_makefile_and_the_script_agree_with_the_command() -> None:
    done = subprocess.run(["make", "-n", "demo", "ARGS=--seconds 5"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert ".venv/bin/crossmargin demo --seconds 5" in done.stdout
    assert msgspec.json.decode(msgspec.json.encode(sorted(cli.cli.commands))) == VERBS


@pytest.mark.services
def test_status_shows_all_accounts_or_one(capsys: pytest.CaptureFixture[str], redis_url: str) -> None:
    prefix = f"status-{os.getpid()}:"
    keys, flags = Keys(prefix), ["--redis-url", redis_url, "--redis-prefix", prefix]
    status, _, err = said(capsys, ["status", *flags])
    assert status == 1
    assert f"has no accounts under {prefix}" in err
    with Redis.from_url(redis_url) as client:
        client.hset(
            keys.meta, mapping={"version": 1, "log_id": "ab", "shards": 2, "started": 1, "shard:0:ts_ns": time.time_ns()}
        )
        client.hset(keys.account("A1"), mapping={"status": "CALL", "quality": "FRESH", "equity": "-1234567.50"})
        client.zadd(keys.by_excess, {"A1": -1234567.25})
        client.sadd(keys.status(Status.CALL), "A1")
        client.sadd(keys.quality(Quality.FRESH), "A1")
    shown = json.loads(said(capsys, ["status", "--json", *flags])[1])
    assert (shown["log_id"], shown["shards"], shown["missing_shards"]) == ("ab", 2, [1])
    assert shown["by_status"]["CALL"] == 1
    assert shown["worst"][0]["excess_usd"] == "-1234567.25"
    assert "-1,234,567.25" in said(capsys, ["status", *flags])[1]
    assert "not all written yet: 1" in said(capsys, ["status", *flags])[1]
    assert json.loads(said(capsys, ["status", "A1", "--json", *flags])[1])["equity"] == "-1234567.50"
    assert "-1,234,567.50" in said(capsys, ["status", "A1", *flags])[1]
    status, _, err = said(capsys, ["status", "B2", *flags])
    assert status == 1
    assert "found no account 'B2'" in err

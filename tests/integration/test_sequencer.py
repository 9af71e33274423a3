"""The sequencer as a process: it creates and finishes logs, hands over, refuses what does not fit, and ends well."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from engine.events import Kind, shard_of
from engine.frames import Frame, FrameKind, decode_frame
from streams import kafka
from streams.directory import Directory
from streams.embedded import LOOPBACK, free_port
from streams.inputs import Inputs, input_group
from streams.rejects import read_rejects
from streams.sequence import SequencerCore
from streams.settings import Settings, environment
from streams.topics import LOG
from tests.services import delete_topics, wait_until

pytestmark = pytest.mark.services
SHARDS = 4
DOCUMENTS = [
    {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
    {"kind": "pool", "id": "POOL", "regime": "r", "currency": "USD"},
    {"kind": "instrument", "id": "I", "type": "perpetual", "currency": "USD", "tick": 1, "band": [0, 9]},
    {"kind": "customer", "id": "C"},
    {"kind": "account", "id": "A", "customer": "C", "pool": "POOL", "currency": "USD"},
]


def settings_for(address: str, **more: object) -> Settings:
    port = free_port()
    return msgspec.structs.replace(Settings(kafka=address, shards=SHARDS, sequencer_metrics_port=port), **more)


class Sequencer:
    """A child process, killed with its context if it still runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streams", "sequencer"],
            env={name: value for name, value in os.environ.items() if not name.startswith("CROSSMARGIN_")}
            | environment(settings),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def get(self, path: str) -> str:
        """What the process answers, "" when it does not or is not ready."""
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{self.settings.sequencer_metrics_port}{path}", timeout=5
            ) as answer:
                return str(answer.read().decode())
        except OSError as error:
            getattr(error, "close", lambda: None)()
            return ""

    def is_active(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()[1]
        return "crossmargin_sequencer_active 1.0" in self.get("/metrics")

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit status and stderr after a signal."""
        self.process.send_signal(number)
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said


@contextmanager
def sequencer(settings: Settings, *, active: bool = True) -> Iterator[Sequencer]:
    child = Sequencer(settings)
    try:
        if active:
            wait_until(child.is_active, 60, "an active sequencer")
        yield child
    finally:
        if child.process.poll() is None:
            child.process.kill()
        child.process.communicate()


def fails(settings: Settings) -> str:
    """The one line with which a sequencer refuses to start."""
    with sequencer(settings, active=False) as child:
        said = child.process.communicate(timeout=60)[1]
        assert child.process.returncode == 1
        assert "Traceback" not in said
        return said.strip().splitlines()[-1]


def send(settings: Settings, topic: str, partition: int, *events: object) -> None:
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    for event in events:
        delivery.send(topic, partition, event if isinstance(event, bytes) else msgspec.json.encode(event))
    assert delivery.wait(30)


def trade(event_id: str, account: str = "A") -> dict[str, object]:
    return {"id": event_id, "ts": 1, "account": account, "instrument": "I", "qty": 1, "price": 2, "source": "s"}


def log(settings: Settings, shard: int) -> list[Frame]:
    return [decode_frame(message.value() or b"") for message in kafka.read_partition(settings, LOG, shard)]


def offsets(frames: list[Frame], kind: Kind) -> list[tuple[int, int]]:
    """Partition and offset of each record of a kind, repeats left out, in their order."""
    found = [(int(r["partition"]), int(r["offset"])) for f in frames for r in f.records if r["kind"] == kind]
    return list(dict.fromkeys(found))


def own_shard() -> int:
    return shard_of("C", SHARDS)


def trades_in_log(settings: Settings) -> int:
    return len(offsets(log(settings, own_shard()), Kind.TRADE))


def test_a_whole_life_on_the_mock_cluster(mock_kafka: str) -> None:
    settings = settings_for(mock_kafka, mock_kafka=True)
    with sequencer(settings) as child:
        send(settings, "trades", 1, trade("early"))
        wait_until(lambda: len(read_rejects(settings)) == 1, what="the reject of an unknown name")
        send(settings, "reference", 0, *DOCUMENTS)
        send(settings, "trades", 2, [trade("1"), trade("2", "nobody")], b"\xff garbage")
        wait_until(lambda: len(read_rejects(settings)) == 3, what="all rejects")
        wait_until(lambda: trades_in_log(settings) == 1, what="the trade")
        assert child.get("/healthz")
        assert child.get("/readyz")
        metrics = child.get("/metrics")
        assert 'crossmargin_sequencer_events_total{kind="trade"} 1.0' in metrics
        assert 'crossmargin_rejects_total{reason="not_json"} 1.0' in metrics
        status, said = child.end()
    assert status == 0
    assert "Traceback" not in said
    assert sorted(r.reason for r in read_rejects(settings)) == ["not_json", "unknown_account", "unknown_account"]
    for shard in range(SHARDS):
        frames = log(settings, shard)
        assert frames[0].kind is FrameKind.GENESIS
        assert [frame.number for frame in frames] == list(range(len(frames)))
    with sequencer(settings):  # goes on where the other one left
        send(settings, "trades", 3, trade("3"))
        wait_until(lambda: trades_in_log(settings) == 2, what="the second trade")
    assert len({frame.writer for frame in log(settings, 0)}) == 2


def test_a_standby_takes_over_and_nothing_is_lost(fresh_kafka: str) -> None:
    settings = settings_for(fresh_kafka)
    with ExitStack() as stack:
        first = stack.enter_context(sequencer(settings))
        second = stack.enter_context(sequencer(settings_for(fresh_kafka), active=False))
        wait_until(lambda: second.get("/readyz"), 60, "a standby")
        send(settings, "reference", 0, *DOCUMENTS)
        send(settings, "trades", 0, *(trade(f"a{n}") for n in range(500)))
        wait_until(lambda: trades_in_log(settings) > 0, what="some trades")
        first.end(signal.SIGKILL)
        send(settings, "trades", 0, *(trade(f"b{n}") for n in range(500)))
        wait_until(second.is_active, 60, "the other one to take over")
        wait_until(lambda: trades_in_log(settings) == 1000, what="all trades")
        status, _ = second.end()
    assert status == 0
    assert offsets(log(settings, own_shard()), Kind.TRADE) == [(0, offset) for offset in range(1000)]
    assert not read_rejects(settings)


def test_a_half_written_genesis_is_completed(fresh_kafka: str) -> None:
    settings = settings_for(fresh_kafka)
    with sequencer(settings) as child:
        child.end()
    genesis = kafka.read_genesis(settings)
    delete_topics(fresh_kafka)
    kafka.ensure_topics(settings)
    assert genesis is not None
    core = SequencerCore(genesis, 1, Directory(SHARDS), {("trades", 0): 0})
    for shard, frame in core.genesis_frames([0, 2]):
        send(settings, LOG, shard, frame)
    with sequencer(settings) as child:
        child.end()
    for shard in range(SHARDS):
        first = log(settings, shard)[0]
        assert first.genesis == genesis
        assert first.writer == 1 or shard in (1, 3)


def test_settings_and_inputs_that_do_not_fit_the_log_are_refused(fresh_kafka: str) -> None:
    settings = settings_for(fresh_kafka)
    with sequencer(settings) as child:
        send(settings, "trades", 0, *(trade(f"a{n}", "nobody") for n in range(5)))
        wait_until(lambda: len(read_rejects(settings)) == 5, what="rejects")
        child.end()
    assert "time_mode" in fails(settings_for(fresh_kafka, time_mode="event"))
    assert "shards" in fails(settings_for(fresh_kafka, shards=8))
    admin = kafka.admin(settings)
    admin.delete_topics(["trades"])["trades"].result()
    wait_until(lambda: "trades" not in admin.list_topics(timeout=10).topics, what="the end of topic trades")
    assert "topic trades, partition 0 ends at 0, but the log has read it up to 5" in fails(settings)


def test_offsets_that_are_gone_are_found_in_the_log(fresh_kafka: str) -> None:
    settings = settings_for(fresh_kafka)
    with sequencer(settings) as child:
        send(settings, "reference", 0, *DOCUMENTS)
        send(settings, "trades", 0, *(trade(f"a{n}") for n in range(5)))
        wait_until(lambda: trades_in_log(settings) == 5, what="trades")
        child.end()
    genesis = kafka.read_genesis(settings)
    assert genesis is not None
    group = input_group(genesis.log_id)
    admin = kafka.admin(settings)  # must live until the answer is there
    admin.delete_consumer_groups([group])[group].result()
    inputs = Inputs(settings, genesis)
    assert (inputs.positions["trades", 0], inputs.positions["reference", 0]) == (5, len(DOCUMENTS))
    inputs.close()


def test_event_time_ends_with_a_clock_and_remembers_the_latest_event(fresh_kafka: str) -> None:
    settings = settings_for(fresh_kafka, time_mode="event")
    day_ns = 86_400 * 10**9
    base_ns = 20_000 * day_ns

    def price(ts: int) -> dict[str, object]:
        return {"ts": ts, "instrument": "I", "price": 2}

    def clocks() -> list[int]:
        return [int(r["ts_ns"]) for f in log(settings, 0) for r in f.records if r["kind"] == Kind.CLOCK]

    with sequencer(settings) as child:
        send(settings, "reference", 0, *DOCUMENTS)
        send(settings, "prices", 0, price(base_ns + 7))
        wait_until(lambda: clocks()[-1:] == [base_ns + 7], what="the clock at the end")
        assert child.end()[0] == 0
    with sequencer(settings) as child:
        send(settings, "prices", 0, price(base_ns + 5 * day_ns), price(base_ns + 3 * day_ns))
        wait_until(lambda: clocks()[-1:] == [base_ns + 3 * day_ns], what="the second end")
        assert child.end()[0] == 0
    assert [r.reason for r in read_rejects(settings)] == ["time_jump"]


def test_no_broker_and_an_occupied_port_are_one_line(mock_kafka: str) -> None:
    assert f"no Kafka at {LOOPBACK}:1" in fails(settings_for(f"{LOOPBACK}:1"))
    settings = settings_for(mock_kafka, mock_kafka=True)
    with sequencer(settings):
        assert "sequencer_metrics_port" in fails(settings)

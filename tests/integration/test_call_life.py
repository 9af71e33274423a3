"""A margin call through the whole chain: called, acknowledged by a user, met; topic, Redis and log tell the same."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from engine.documents import document_key, parse_document
from monitors.keys import Keys
from monitors.view import life_of, open_client
from streams import kafka
from streams.calls import act, show_calls, show_life
from streams.embedded import LOOPBACK, free_port
from streams.processes import Child, ready
from streams.settings import Settings
from streams.topics import CALLS
from tests.integration import chain
from tests.services import wait_until

CALL = "a:p:1"
DOCUMENTS: list[dict[str, Any]] = [
    {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
    {"kind": "pool", "id": "p", "regime": "futures", "currency": "USD"},
    {"kind": "customer", "id": "c"},
    {"kind": "account", "id": "a", "customer": "c", "pool": "p", "currency": "USD"},
    {
        "kind": "rule", "id": "r", "model": "flat", "effective": "2020-01-01T00:00:00Z",
        "parameters": {"initial": 110, "maintenance": 100},
    },
    {
        "kind": "instrument", "id": "F", "type": "treasury_future", "currency": "USD", "tick": "0.01", "multiplier": 100,
        "band": [50, 200], "rule": "r", "dv01": "0.06", "bucket": "10Y",
    },
]  # fmt: skip


@pytest.mark.services
def test_an_acknowledgement_comes_out_of_the_topic_of_calls(fresh_kafka: str, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(
        kafka=fresh_kafka, redis_url=redis_url, redis_prefix="life:", shards=1, user="ann",
        snapshots=str(tmp_path / "snapshots"), metrics_port=free_port(), sequencer_metrics_port=free_port(),
    )  # fmt: skip
    keys = Keys(settings.redis_prefix)
    out = kafka.Delivery(Producer(kafka.producer_config(settings)))

    def send(topic: str, **event: Any) -> None:
        out.send(topic, 0, json.dumps({"ts": time.time_ns(), **event}).encode())
        assert out.wait(30)

    with (
        open_client(redis_url) as client,
        Child("sequencer", settings, tmp_path) as sequencer,
        Child("worker", settings, tmp_path) as worker,
    ):

        def shows(state: str) -> None:
            wait_until(lambda: chain.alive(sequencer, worker) and client.hget(keys.call(CALL), "state") == state, 30, state)

        for child, port in ((sequencer, settings.sequencer_metrics_port), (worker, settings.metrics_port)):
            wait_until(lambda c=child, p=port: chain.alive(c) and not ready(LOOPBACK, p), 400, f"the {child.verb}")  # type: ignore[misc]
        for document in DOCUMENTS:
            body = json.dumps(document).encode()
            out.send("reference", 0, body, document_key(parse_document(body)).encode())
        assert out.wait(30)  # topics have no order among each other
        send("prices", instrument="F", price=100)
        send("collateral", id="1", account="a", asset="USD", qty=90, source="bank")
        send("trades", id="2", account="a", instrument="F", qty=1, price=100, source="desk")
        shows("ISSUED")
        act(settings, "ack", CALL, "will wire")
        send("collateral", id="3", account="a", asset="USD", qty=5, source="bank")
        shows("PART_MET")
        send("collateral", id="4", account="a", asset="USD", qty=15, source="bank")
        shows("MET")
        (over,) = show_calls(settings, None, None, closed=True).data["calls"]
        found = client.hgetall(keys.call(CALL))
        assert sequencer.stop() == 0
        assert worker.stop(30) == 0

    (partition,) = kafka.log_range(settings, CALLS)
    sent = [message.value() or b"" for message in kafka.read_partition(settings, CALLS, partition)]
    told = [json.loads(body) for body in sent]
    assert [(one["call"]["event"], one["to"], one["amount"], one["call"]["received"]) for one in told] == [
        ("issued", "ISSUED", "20.00", "0.00"),
        ("acknowledged", "ISSUED", "20.00", "0.00"),
        ("received", "PART_MET", "20.00", "5.00"),
        ("met", "MET", "20.00", "20.00"),
    ]
    assert (told[1]["call"]["user"], told[1]["call"]["text"]) == ("ann", "will wire")
    assert [alert for _, alert in chain.replay(settings).alerts[0] if b'"call":' in alert] == sent
    assert show_life(settings, CALL).data["life"][1].call.user == "ann"
    steps = [(one["call"]["event"], str(one["ts_ns"]), one["amount"], one["call"]["received"]) for one in told]
    assert [tuple(step.values()) for step in life_of(found)] == steps
    assert (over["id"], over["acknowledged_by"], over["notes"][0]["text"]) == (CALL, "ann", "will wire")

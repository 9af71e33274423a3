"""Rejects: the message of one, and reading, filling in and resubmitting them through a broker."""

import base64

import msgspec
import pytest
from confluent_kafka import Producer

from engine.codes import Code
from engine.frames import MAX_FRAME_BYTES
from monitors.alerts import Origin, RejectMessage
from streams import kafka
from streams.rejects import MAX_RAW_BYTES, encode_reject, raw_bytes, read_rejects, resubmit
from streams.sequence import RejectedEvent
from streams.settings import ConfigError, Settings
from streams.topics import REJECTS


def rejected(raw: bytes, offset: int = 5, code: Code = Code.BAD_FIELD) -> RejectedEvent:
    return RejectedEvent("trades", 2, offset, 3, code, "qty: found 0", raw, 99)


def decoded(raw: bytes) -> RejectMessage:
    return msgspec.json.decode(encode_reject(rejected(raw))[1], type=RejectMessage)


def test_message_of_a_reject() -> None:
    key, value = encode_reject(rejected(b'{"a": 1}'))
    assert key == b"trades:2:5:3"
    assert msgspec.json.decode(value) == {
        "reason": "bad_field",
        "origin": {"topic": "trades", "partition": 2, "offset": 5, "index": 3},
        "ts": 99,
        "detail": "qty: found 0",
        "raw": '{"a": 1}',
        "raw_base64": None,
    }


def test_bytes_that_are_no_text_are_base64() -> None:
    reject = decoded(b"\xff\x00")
    assert (reject.raw, reject.raw_base64) == (None, base64.b64encode(b"\xff\x00").decode())
    assert raw_bytes(reject) == b"\xff\x00"


@pytest.mark.parametrize("raw", [b"\x01" * (1 << 20), b"x" * (1 << 20), b"\xff" * (2 << 20)])
def test_large_bytes_fit_into_a_message(raw: bytes) -> None:
    assert raw_bytes(decoded(raw)) == raw
    assert len(encode_reject(rejected(raw))[1]) < MAX_FRAME_BYTES


def test_what_would_not_fit_is_left_to_the_input() -> None:
    assert raw_bytes(decoded(b"\xff" * MAX_RAW_BYTES)) is None


@pytest.mark.services
def test_read_and_resubmit(mock_kafka: str) -> None:
    settings = Settings(kafka=mock_kafka, shards=4, mock_kafka=True)
    delivery = kafka.Delivery(Producer(kafka.producer_config(settings)))
    good, bad = b'{"id": "good"}', b'{"id": "bad"}'
    delivery.send("trades", 1, b"[" + good + b"," + bad + b"]")
    delivery.wait()
    from_engine = RejectMessage(reason="duplicate", origin=Origin("trades", 1, 0, 1), ts=1, detail="")
    gone = RejectMessage(reason="duplicate", origin=Origin("trades", 1, 77, 0), ts=1, detail="")
    sent = [encode_reject(rejected(b"first")), encode_reject(rejected(b"again")), encode_reject(rejected(b"six", 6))]
    sent += [(b"k", msgspec.json.encode(reject)) for reject in (from_engine, gone)]
    for key, value in sent:
        delivery.send(REJECTS, 0, value, key)
    delivery.wait()

    found = read_rejects(settings)
    assert [(r.reason, r.origin.offset, raw_bytes(r)) for r in found] == [
        ("bad_field", 5, b"again"),
        ("bad_field", 6, b"six"),
        ("duplicate", 0, bad),
        ("duplicate", 77, None),
    ]
    assert [r.origin.offset for r in read_rejects(settings, "bad_field", 1)] == [6]
    assert read_rejects(settings, limit=0) == []
    with pytest.raises(ConfigError, match="duplicate"):
        read_rejects(settings, "nonsense")

    assert resubmit(settings, found) == 3
    again = [message.value() for message in kafka.read_partition(settings, "trades", 1, 1)]
    assert again == [bad]
    assert [message.value() for message in kafka.read_partition(settings, "trades", 2)] == [b"again", b"six"]

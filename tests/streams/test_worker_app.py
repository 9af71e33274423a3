"""librdkafka's TLS and SASL properties as Faust takes them, and how frames come to their stream."""

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
from faust.auth import SASLCredentials, SSLCredentials

from streams.settings import ConfigError
from streams.worker_app import credentials, deliver_at_once


def test_plaintext_needs_none() -> None:
    assert credentials({}) is None
    assert credentials({"security.protocol": "PLAINTEXT"}) is None


def test_tls_verifies_the_broker_unless_told_not_to() -> None:
    found = credentials({"security.protocol": "ssl"})
    assert isinstance(found, SSLCredentials)
    assert (found.context.verify_mode, found.context.check_hostname) == (ssl.CERT_REQUIRED, True)
    found = credentials({"security.protocol": "ssl", "ssl.endpoint.identification.algorithm": "none"})
    assert isinstance(found, SSLCredentials)
    assert (found.context.verify_mode, found.context.check_hostname) == (ssl.CERT_REQUIRED, False)
    found = credentials({"security.protocol": "ssl", "enable.ssl.certificate.verification": "false"})
    assert isinstance(found, SSLCredentials)
    assert found.context.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(("protocol", "is_tls"), [("SASL_PLAINTEXT", False), ("SASL_SSL", True)])
def test_sasl(protocol: str, is_tls: bool) -> None:
    login = {"sasl.username": "worker", "sasl.password": "secret", "sasl.mechanisms": "SCRAM-SHA-512"}
    found = credentials({"security.protocol": protocol, **login})
    assert isinstance(found, SASLCredentials)
    assert (found.username, found.password, found.mechanism.value) == ("worker", "secret", "SCRAM-SHA-512")
    assert (found.ssl_context is not None) == is_tls
    assert found.protocol.value == protocol


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"ssl.keystore.location": "x"}, r"found ssl.keystore.location; a worker takes enable.ssl"),
        (
            {"security.protocol": "sasl_ssl", "sasl.mechanism": "GSSAPI"},
            r"found sasl.mechanism GSSAPI; a worker takes ",
        ),
        ({"security.protocol": "ssl", "ssl.ca.location": "/no/such/file"}, "a TLS file cannot be used: "),
        (
            {"security.protocol": "tls"},
            "found security.protocol tls; a worker takes plaintext, ssl, sasl",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(properties: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        credentials(properties)


class Consumer:
    """Waits for the first of several as Faust's does, and counts how often it had to."""

    def __init__(self) -> None:
        self.waited = 0

    async def wait_first(self, *waits: Any, timeout: float | None = None) -> Any:
        self.waited += 1
        tasks = [asyncio.ensure_future(one) for one in waits]
        done, late = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return [task.result() for task in done]


def test_a_delivery_that_need_not_wait_takes_no_task() -> None:
    async def work() -> None:
        consumer = Consumer()
        deliver_at_once(SimpleNamespace(consumer=consumer))
        stream, room, suspended = list[int](), asyncio.Event(), asyncio.Event()

        async def deliver(number: int) -> str:
            if number == 2:
                await room.wait()
                await asyncio.sleep(0)
            if number == 3:
                raise ValueError(number)
            stream.append(number)
            return "delivered"

        await consumer.wait_first(deliver(1), suspended.wait())
        assert (stream, consumer.waited) == ([1], 0)
        waiting = asyncio.create_task(consumer.wait_first(deliver(2), suspended.wait()))
        await asyncio.sleep(0.01)
        assert (stream, consumer.waited) == ([1], 1)
        room.set()
        assert await waiting == ["delivered"]
        assert stream == [1, 2]
        with pytest.raises(ValueError, match="3"):
            await consumer.wait_first(deliver(3), suspended.wait())
        room.clear()
        waiting = asyncio.create_task(consumer.wait_first(deliver(2), suspended.wait()))
        await asyncio.sleep(0.01)
        suspended.set()  # a rebalance ends a delivery that waits
        await waiting
        room.set()
        await asyncio.sleep(0.01)
        assert stream == [1, 2]

    asyncio.run(work())

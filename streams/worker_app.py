"""The Faust application of a worker, configured so that Faust delivers frames and decides nothing else."""

import logging
import ssl
from collections.abc import Coroutine, Generator
from inspect import iscoroutine
from pathlib import Path
from typing import Any, Final

import faust
from faust.auth import SASLCredentials, SSLCredentials

from streams.settings import ConfigError, Settings

MOCK_FETCH_WAIT_MS: Final = 5
NEVER_SECONDS: Final = 1e9
_UNDERSTOOD: Final = frozenset(
    {
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "enable.ssl.certificate.verification",
        "ssl.endpoint.identification.algorithm",
    }
)


def make_app(settings: Settings, group: str, folder: Path) -> faust.App:
    """A Faust app of this consumer group: no tables, no web, no topics of its own; it never commits by itself."""
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return faust.App(
        group,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka.split(",")],
        broker_credentials=credentials(settings.kafka_config),
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 << 20,
        broker_max_poll_records=500,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        broker_commit_livelock_soft_timeout=NEVER_SECONDS,  # nothing is committed by acks, the watchdog is our own
        stream_processing_timeout=NEVER_SECONDS,
        stream_buffer_maxsize=4096,
        datadir=str(folder),
    )


def credentials(properties: dict[str, str]) -> SASLCredentials | SSLCredentials | None:
    """librdkafka's TLS and SASL properties as Faust takes them; ConfigError for what has no counterpart."""
    for name in properties:
        if name not in _UNDERSTOOD:
            allowed = ", ".join(sorted(_UNDERSTOOD))
            raise ConfigError(f"setting kafka_config (CROSSMARGIN_KAFKA_CONFIG): found {name}; a worker takes {allowed}")
    protocol = properties.get("security.protocol", "plaintext").upper()
    if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        raise ConfigError(
            f"setting kafka_config (CROSSMARGIN_KAFKA_CONFIG): found security.protocol {protocol.lower()};"
            " a worker takes plaintext, ssl, sasl_plaintext or sasl_ssl"
        )
    context = _ssl_context(properties) if protocol in ("SSL", "SASL_SSL") else None
    if protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
        mechanism = properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "PLAIN"))
        if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            raise ConfigError(
                f"setting kafka_config: found sasl.mechanism {mechanism}; a worker takes PLAIN or SCRAM-SHA-256/512"
            )
        return SASLCredentials(
            username=properties.get("sasl.username"),
            password=properties.get("sasl.password"),
            ssl_context=context,
            mechanism=mechanism,
        )
    return SSLCredentials(context) if context is not None else None


def _ssl_context(properties: dict[str, str]) -> ssl.SSLContext:
    """Verifies the broker as librdkafka would with these properties. ConfigError when a file cannot be read."""
    try:
        context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"))
        if certificate := properties.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, properties.get("ssl.key.location"), properties.get("ssl.key.password"))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"setting kafka_config (CROSSMARGIN_KAFKA_CONFIG): a TLS file cannot be used: {error}") from error
    if properties.get("ssl.endpoint.identification.algorithm", "https") == "none":
        context.check_hostname = False
    if properties.get("enable.ssl.certificate.verification", "true") == "false":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def fetch_without_waiting(app: faust.App) -> None:
    """Let fetches of the mock broker return after 5 ms: it does not wake a waiting one, and Faust's 1,500 are hard-coded."""
    consumer: Any = app.consumer
    consumer._thread._consumer._fetcher._fetch_max_wait_ms = MOCK_FETCH_WAIT_MS


class _Begun:
    """A coroutine that was begun and now waits for a future: awaiting this goes on with it."""

    def __init__(self, coroutine: Coroutine[Any, None, Any], future: Any) -> None:
        self._coroutine, self._future = coroutine, future

    def __await__(self) -> Generator[Any, None, Any]:
        future = self._future
        while True:
            error: BaseException | None = None
            try:
                yield future
            except BaseException as thrown:
                error = thrown
            try:
                future = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                return end.value


def deliver_at_once(app: faust.App) -> None:
    """Let the consumer put a frame into its stream at once, and only wait as Faust does where that cannot be done at once.

    Faust makes four tasks for each message, to be able to end in the middle of a wait: that is most of what a small frame
    costs, and several turns of the event loop for each, so that a busy loop falls behind the log.
    """
    consumer: Any = app.consumer
    wait_first = consumer.wait_first

    async def deliver(*waits: Any, timeout: float | None = None) -> Any:
        delivery, *others = waits
        if not iscoroutine(delivery):
            return await wait_first(*waits, timeout=timeout)
        try:
            future = delivery.send(None)
        except BaseException as end:
            for one in others:
                one.close()
            if isinstance(end, StopIteration):
                return None
            raise
        return await wait_first(_Begun(delivery, future), *others, timeout=timeout)

    consumer.wait_first = deliver

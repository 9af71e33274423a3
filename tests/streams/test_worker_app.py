"""librdkafka's TLS and SASL properties as Faust takes them."""

import ssl

import pytest
from faust.auth import SASLCredentials, SSLCredentials

from streams.settings import ConfigError
from streams.worker_app import credentials


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

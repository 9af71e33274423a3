"""What settings that are addresses may look like; whether something answers there is seen when it is asked."""

import ipaddress
import re
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_HOST: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_DATABASE: Final = re.compile(r"(/[0-9]*)?")
_REDIS: Final = ("redis://", "rediss://")
_UNIX: Final = "unix://"


class Form(NamedTuple):
    """fits: whether a text is such an address; allowed: what is, in words."""

    fits: Callable[[str], bool]
    allowed: str


def _is_host(text: str) -> bool:
    try:
        return bool(_HOST.fullmatch(text) or ipaddress.ip_address(text))
    except ValueError:
        return False


def _is_server(text: str) -> bool:
    """host or host:port; an IPv6 address stands in brackets."""
    try:
        parts = urlsplit(f"//{text}")
        whole = parts.netloc == text and "@" not in text and not text.endswith(":")
        return whole and parts.port != 0 and _is_host(parts.hostname or "")
    except ValueError:  # a port out of range, a broken IPv6 address
        return False


def _are_servers(text: str) -> bool:
    return all(_is_server(one.strip()) for one in text.split(","))


def _is_redis_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    if text.startswith(_REDIS):
        whole = _is_server(parts.netloc.rpartition("@")[2]) and _DATABASE.fullmatch(parts.path) is not None
    else:
        whole = text.startswith(_UNIX) and parts.path not in ("", "/")
    return whole and not parts.fragment and (not parts.query or _redis_takes(text))


def _redis_takes(url: str) -> bool:
    """Whether the client knows the options behind the question mark; nothing is connected."""
    from redis import ConnectionPool  # slow to import, needed for such a URL only
    from redis.exceptions import RedisError

    try:
        ConnectionPool.from_url(url).make_connection()
    except (RedisError, ValueError, TypeError):
        return False
    return True


_HOST_FORM: Final = Form(_is_host, "a host name or an IP address")
FORMS: Final[dict[str, Form]] = {
    "kafka": Form(_are_servers, "host:port, more of them comma-separated"),
    "redis_url": Form(
        _is_redis_url,
        "redis:// or rediss://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or unix://PATH, each with ?OPTIONS of redis-py",
    ),
    "metrics_host": _HOST_FORM,
    "web_host": _HOST_FORM,
}
"""The settings that are addresses, by name."""

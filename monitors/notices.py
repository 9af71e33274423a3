"""Notices: which alerts go to which webhook, in which words, and how a post proves where it comes from.

Posts follow Standard Webhooks (standardwebhooks.com, specification 1.0.0), whose libraries check them in many languages.
"""

import base64
import binascii
import hashlib
import hmac
import html
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from engine.report import CallEvent, Quality, Status
from monitors.alerts import Alert, Call
from monitors.wording import moment, money, outstanding

ALL: Final = "*"
ALLOWED: Final = {
    "calls": tuple(event.name.lower() for event in CallEvent if event),
    "statuses": tuple(status.name for status in Status),
    "qualities": tuple(quality.name for quality in Quality),
}
"""What a route may ask for: what happened to a call, the status or quality that an account came to."""
_KEY_PREFIX: Final = "whsec_"
_encode: Final = msgspec.json.Encoder().encode


class BadNotices(ValueError):
    """The configuration of notices is wrong: what was found, where, and what is allowed."""


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One webhook: where to, what, and how.

    secret, or the environment variable secret_env that holds it, signs the posts. calls, statuses, qualities: which alerts,
    "*" for all of a kind. pools: only of these, all where none is named. time_zone: in which due times stand beside UTC.
    tries: how often a post is sent before it is given up; connections: how many accounts' posts are under way at a time.
    """

    url: str
    secret: str = ""
    secret_env: str = ""
    template: Literal["json", "mail", "chat"] = "json"
    calls: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    time_zone: str = ""
    tries: Annotated[int, Meta(ge=1, le=12)] = 8
    timeout_seconds: Annotated[float, Meta(gt=0, le=30)] = 10
    connections: Annotated[int, Meta(ge=1, le=32)] = 4

    @cached_property
    def zone(self) -> ZoneInfo | None:
        """The time zone, None where only UTC is wanted."""
        return ZoneInfo(self.time_zone) if self.time_zone else None

    @property
    def calls_only(self) -> bool:
        """Whether the topic of calls has all that it wants."""
        return not (self.statuses or self.qualities)

    def wants(self, alert: Alert) -> bool:
        """Whether the alert is one of those asked for."""
        if self.pools and alert.pool not in self.pools:
            return False
        if alert.call is not None:
            return _asked(self.calls, alert.call.event)
        return _asked(self.statuses if alert.kind == "status" else self.qualities, alert.after)


class Notices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration file: a table [routes.NAME] for each webhook."""

    routes: Annotated[dict[Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")], Route], Meta(min_length=1, max_length=32)]


def _asked(names: tuple[str, ...], name: str) -> bool:
    return name in names or ALL in names


def parse_notices(content: Any, env: Mapping[str, str]) -> dict[str, Route]:
    """The routes by name, with their secrets filled in; BadNotices, which never shows a secret or an address."""
    try:
        routes = msgspec.convert(content, Notices).routes
    except msgspec.ValidationError as error:
        raise BadNotices(str(error)) from error
    return {name: _checked(f"routes.{name}", route, env) for name, route in routes.items()}


def _is_web_url(text: str) -> bool:
    """Whether it is an http or https URL of a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port out of range, a broken IPv6 address
        return False


def _checked(where: str, route: Route, env: Mapping[str, str]) -> Route:
    if not _is_web_url(route.url):
        raise BadNotices(f"{where}.url: found something else (not shown); allowed: http://... or https://...")
    if bool(route.secret) == bool(route.secret_env):
        raise BadNotices(f"{where}: found both or none of secret and secret_env; allowed: one of them")
    secret = route.secret or env.get(route.secret_env, "")
    if not secret:
        raise BadNotices(f"{where}.secret_env: found no environment variable {route.secret_env}; allowed: one that is set")
    try:
        signing_key(secret)
    except ValueError as error:
        raise BadNotices(f"{where}.secret: found {_KEY_PREFIX} and no base64 behind it (not shown); {error}") from error
    for field, allowed in ALLOWED.items():
        for name in getattr(route, field):
            if name != ALL and name not in allowed:
                raise BadNotices(f"{where}.{field}: found '{name}'; allowed: {ALL}, {', '.join(allowed)}")
    if not (route.calls or route.statuses or route.qualities):
        raise BadNotices(f"{where}: found none of calls, statuses, qualities; allowed: at least one of them")
    try:
        _ = route.zone
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BadNotices(
            f"{where}.time_zone: found '{route.time_zone}'; allowed: a name such as America/New_York"
        ) from error
    return msgspec.structs.replace(route, secret=secret)


# What a post says


def body_of(route: Route, alert: Alert, raw: bytes) -> bytes:
    """The body of the post for an alert, whose message is raw: the same bytes for the same alert."""
    if route.template == "json":
        return raw
    fields = _fields(alert, route.zone)
    if route.template == "mail":
        text = "\n".join(f"{name + ':':<14}{value}" for name, value in fields)
        return _encode({"subject": headline(alert), "text": f"{headline(alert)}.\n\n{text}\n"})
    line = html.escape(headline(alert), quote=False)  # &, < and > begin links and mentions in chats
    shown = [{"title": name, "value": html.escape(value, quote=False), "short": len(value) < 40} for name, value in fields]
    return _encode({"text": line, "attachments": [{"fallback": line, "fields": shown}]})


def headline(alert: Alert) -> str:
    """An alert in one line."""
    call = alert.call
    if call is None:
        missing = f", {money(alert.amount)} {alert.currency} to initial margin" if alert.amount.strip("0.") else ""
        return f"Account {alert.account}: {alert.kind} {alert.before} to {alert.after}{missing}"
    asks = f"{money(alert.amount)} {alert.currency}"
    by = f" by {call.user}" if call.user else ""
    return f"Margin call {call.id} {call.event}{by}: {asks}, outstanding {money(outstanding(alert.amount, call.received))}"


def _fields(alert: Alert, zone: ZoneInfo | None) -> list[tuple[str, str]]:
    """Names and values, the most important first."""
    fields = [("Account", alert.account), ("Pool", alert.pool)]
    call = alert.call
    if call is None:
        fields += [(alert.kind.capitalize(), f"{alert.before} to {alert.after}")]
    else:
        fields += _call_fields(alert, call, zone)
    return [*fields, ("At", moment(alert.ts_ns, zone)), ("Alert", alert.id)]


def _call_fields(alert: Alert, call: Call, zone: ZoneInfo | None) -> list[tuple[str, str]]:
    fields = [
        ("Customer", call.customer),
        ("State", f"{alert.before} to {alert.after}"),
        ("Amount", f"{money(alert.amount)} {alert.currency}"),
        ("Received", f"{money(call.received)} {alert.currency}"),
        ("Outstanding", f"{money(outstanding(alert.amount, call.received))} {alert.currency}"),
        ("Due", moment(call.due_ns, zone)),
    ]
    if call.user:
        fields += [("Said by", call.user), ("Text", call.text)]
    return fields


# What a post proves


def signing_key(secret: str) -> bytes:
    """The key of a secret: base64 after whsec_, else its own bytes. ValueError where it is no base64."""
    if not secret.startswith(_KEY_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_KEY_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("allowed: base64") from error


def headers(secret: str, notice_id: str, now_seconds: int, body: bytes) -> dict[str, str]:
    """Headers of a post: its id, the time, HMAC-SHA256 of `id.time.body`; the id again for who looks for Idempotency-Key."""
    signed = b"%b.%d.%b" % (notice_id.encode(), now_seconds, body)
    signature = base64.b64encode(hmac.digest(signing_key(secret), signed, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "Idempotency-Key": notice_id,
        "webhook-id": notice_id,
        "webhook-timestamp": str(now_seconds),
        "webhook-signature": f"v1,{signature}",
    }

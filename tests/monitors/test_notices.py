"""Notices: which alerts a route wants, what a post says and proves, and what a wrong configuration is told."""

import base64
import hashlib
import hmac
import json
from typing import Any

import msgspec
import pytest

from monitors.alerts import Alert, Call
from monitors.notices import BadNotices, Route, body_of, headers, parse_notices
from monitors.wording import duration, moment, money, outstanding, time_left

NS = 10**9
DUE_NS = 1_795_474_800 * NS  # Monday 23 November 2026, 23:00 UTC
CALL = Call(
    id="A1:FUTURES:2", event="raised", customer="C1", pool="FUTURES", received="250.25", issued_ns=1, due_ns=DUE_NS
)  # fmt: skip
RAISED = Alert(
    id="A1:17", kind="call", account="A1", before="ISSUED", after="ISSUED", amount="1234567.50", currency="USD",
    pool="FUTURES", ts_ns=DUE_NS - 86_400 * NS, shard=0, offset=9, call=CALL,
)  # fmt: skip
FELL = Alert(
    id="A1:16", kind="status", account="A1", before="WATCH", after="DEBIT", amount="99.00", currency="USD",
    pool="FUTURES", ts_ns=DUE_NS, shard=0, offset=9,
)  # fmt: skip
STALE = msgspec.structs.replace(FELL, kind="quality", before="FRESH", after="STALE", amount="0.00")


def route(**fields: Any) -> Route:
    return parse_notices({"routes": {"desk": {"url": "https://x/y", "secret": "s", **fields}}}, {})["desk"]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"calls": ["raised", "met"]}, [RAISED]),
        ({"calls": ["met"]}, []),
        ({"calls": ["*"], "statuses": ["OK"]}, [RAISED]),
        ({"statuses": ["DEBIT"]}, [FELL]),
        ({"qualities": ["*"]}, [STALE]),
        ({"calls": ["*"], "statuses": ["*"], "qualities": ["*"], "pools": ["FICC", "FUTURES"]}, [RAISED, FELL, STALE]),
        ({"calls": ["*"], "statuses": ["*"], "qualities": ["*"], "pools": ["FICC"]}, []),
    ],
)
def test_a_route_wants_what_it_names(fields: dict[str, Any], wanted: list[Alert]) -> None:
    assert [alert for alert in (RAISED, FELL, STALE) if route(**fields).wants(alert)] == wanted
    assert route(**fields).calls_only == (set(fields) == {"calls"})


def test_mail_says_who_how_much_and_until_when() -> None:
    mail = json.loads(body_of(route(calls=["*"], template="mail", time_zone="America/New_York"), RAISED, b""))
    assert mail["subject"] == "Margin call A1:FUTURES:2 raised: 1,234,567.50 USD, outstanding 1,234,317.25"
    assert mail["text"].splitlines() == [
        "Margin call A1:FUTURES:2 raised: 1,234,567.50 USD, outstanding 1,234,317.25.",
        "",
        "Account:      A1",
        "Pool:         FUTURES",
        "Customer:     C1",
        "State:        ISSUED to ISSUED",
        "Amount:       1,234,567.50 USD",
        "Received:     250.25 USD",
        "Outstanding:  1,234,317.25 USD",
        "Due:          Monday 23 November 2026, 23:00 UTC (18:00 EST)",
        "At:           Sunday 22 November 2026, 23:00 UTC (18:00 EST)",
        "Alert:        A1:17",
    ]
    mail = json.loads(body_of(route(statuses=["*"], template="mail"), FELL, b""))
    assert mail["subject"] == "Account A1: status WATCH to DEBIT, 99.00 USD to initial margin"
    assert json.loads(body_of(route(qualities=["*"], template="mail"), STALE, b""))["subject"].endswith("FRESH to STALE")


def test_chat_cannot_be_made_to_mention_or_link() -> None:
    said = msgspec.structs.replace(CALL, event="noted", user="ann", text="<!channel> & <http://x|y>")
    chat = json.loads(body_of(route(calls=["*"], template="chat"), msgspec.structs.replace(RAISED, call=said), b""))
    assert chat["text"].startswith("Margin call A1:FUTURES:2 noted by ann: 1,234,567.50 USD")
    (shown,) = chat["attachments"]
    assert {"title": "Text", "value": "&lt;!channel&gt; &amp; &lt;http://x|y&gt;", "short": True} in shown["fields"]


def test_json_is_the_alert_itself() -> None:
    assert body_of(route(calls=["*"]), RAISED, b'{"id": "A1:17"}') == b'{"id": "A1:17"}'


@pytest.mark.parametrize("secret", ["plain words", "whsec_" + base64.b64encode(b"\x00\xff key").decode()])
def test_a_post_proves_its_time_and_body(secret: str) -> None:
    sent = headers(secret, "A1:17", 1_795_474_800, b'{"a":1}')
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    expected = hmac.new(key, b'A1:17.1795474800.{"a":1}', hashlib.sha256).digest()
    assert sent["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert sent["webhook-id"] == sent["Idempotency-Key"] == "A1:17"
    assert sent["webhook-timestamp"] == "1795474800"


def test_the_signature_is_that_of_the_specifications_example() -> None:
    sent = headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert sent["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "`routes`"),
        ({"routes": {}}, "routes"),
        ({"routes": {"a b": {"url": "https://x", "secret": "s", "calls": ["*"]}}}, "regex"),
        ({"routes": {"a": {"url": "ftp://hidden/path", "secret": "s", "calls": ["*"]}}}, "routes.a.url: found something"),
        ({"routes": {"a": {"url": "https://hidden:x/", "secret": "s", "calls": ["*"]}}}, "routes.a.url: found something"),
        ({"routes": {"a": {"url": "https://[::1/hidden", "secret": "s", "calls": ["*"]}}}, "routes.a.url: found something"),
        ({"routes": {"a": {"url": "https://x", "calls": ["*"]}}}, "none of secret"),
        ({"routes": {"a": {"url": "https://x", "secret_env": "NOT_SET", "calls": ["*"]}}}, "variable NOT_SET"),
        ({"routes": {"a": {"url": "https://x", "secret": "whsec_hidden!", "calls": ["*"]}}}, "base64"),
        ({"routes": {"a": {"url": "https://x", "secret": "s", "calls": ["paid"]}}}, "'paid'; allowed: *, issued, raised"),
        ({"routes": {"a": {"url": "https://x", "secret": "s", "statuses": ["call"]}}}, "found 'call'; allowed: *, OK"),
        ({"routes": {"a": {"url": "https://x", "secret": "s"}}}, "none of calls, statuses, qualities"),
        ({"routes": {"a": {"url": "https://x", "secret": "s", "calls": ["*"], "time_zone": "Mars/X"}}}, "found 'Mars/X'"),
        ({"routes": {"a": {"url": "https://x", "secret": "s", "calls": ["*"], "tries": 99}}}, "<= 12"),
        ({"routes": {"a": {"url": "https://x", "secret": "s", "calls": ["*"], "retries": 9}}}, "`retries`"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_told_without_its_secrets(content: Any, said: str) -> None:
    with pytest.raises(BadNotices) as caught:
        parse_notices(content, {})
    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_secret_comes_from_the_environment() -> None:
    content = {"routes": {"a": {"url": "https://x", "secret_env": "HOOK", "calls": ["*"]}}}
    assert parse_notices(content, {"HOOK": "s3"})["a"].secret == "s3"


def test_words() -> None:
    assert [money(text) for text in ("1234.50", "-1234567", "0", "0.00000001", "")] == [
        *("1,234.50", "-1,234,567", "0", "0.00000001", ""),
    ]  # fmt: skip
    assert outstanding("100000000000000000.01", "0.02") == "99999999999999999.99"
    assert moment(DUE_NS - 1) == "Monday 23 November 2026, 22:59 UTC"
    assert [duration(seconds) for seconds in (0, 90, 3600, 86_399, 100_000_000)] == [
        *("0 min 0 s", "1 min 30 s", "1 h 0 min", "23 h 59 min", "1,157 d 9 h"),
    ]  # fmt: skip
    assert [time_left(DUE_NS, DUE_NS - s * NS) for s in (59, 3661, 90_000, -61)] == [
        *("in 0 min 59 s", "in 1 h 1 min", "in 1 d 1 h", "1 min 1 s ago"),
    ]  # fmt: skip

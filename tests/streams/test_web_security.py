"""Who is let in to the web server on a real Valkey, what is refused, and where an operator's action goes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer

from engine.documents import parse_action
from streams.web_access import TokenFile
from tests.streams.web_server import Running, serving_world, web_server

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with web_server(redis_url, tmp_path_factory.mktemp("web"), 400) as running:
        yield running


PATHS = [
    ("GET", "/api/summary"), ("GET", "/api/accounts"), ("GET", "/api/accounts/a"), ("GET", "/api/accounts/a/history"),
    ("GET", "/api/calls"), ("GET", "/api/calls/a"), ("POST", "/api/calls/a/actions"), ("GET", "/api/ladder"),
    ("GET", "/api/reconciliation"), ("POST", "/api/what-if"), ("GET", "/api/live"), ("GET", "/api/session"),
    ("DELETE", "/api/session"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_nobody_is_let_in_without_a_token(server: Running, method: str, path: str) -> None:
    status, found, headers = server.ask(method, path, role=None)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert found == {"error": "no valid token or session"}
    assert server.ask(method, path, role=None, Authorization="Bearer wrong")[0] == 401
    assert server.ask(method, path, role=None, Cookie="crossmargin-session=wrong")[0] == 401


def test_a_viewer_cannot_act(server: Running) -> None:
    call = server.get("/api/calls")["calls"][0]["id"]
    status, found, _ = server.ask("POST", f"/api/calls/{call}/actions", {"kind": "ack"})
    assert (status, found["error"]) == (403, "the viewer is a viewer; this takes an operator")


def log_in(server: Running, token: str, **headers: str) -> tuple[int, Any, str]:
    status, found, said = server.ask("POST", "/api/session", {"token": token}, role=None, **headers)
    return status, found, said.get("set-cookie", "")


def test_a_session_stands_for_a_token_until_it_ends(server: Running) -> None:
    status, found, cookie = log_in(server, server.tokens["operator"])
    assert (status, found) == (200, {"user": "the operator", "role": "operator"})
    assert {"HttpOnly", "SameSite=Strict", "Path=/api"} <= set(cookie.split("; "))
    mine = {"Cookie": cookie.partition(";")[0]}
    assert server.ask("GET", "/api/session", role=None, **mine)[1] == found
    assert server.ask("DELETE", "/api/session", role=None, **mine)[0] == 403  # it names no origin
    assert server.ask("DELETE", "/api/session", role=None, Origin=server.url, **mine)[0] == 200
    assert server.ask("GET", "/api/session", role=None, **mine)[0] == 401


def test_a_token_for_one_login_opens_one_session(server: Running) -> None:
    token = TokenFile(Path(server.settings.web_tokens)).add("guest", "viewer", once=True)
    assert server.ask("GET", "/api/summary", role=None, Authorization=f"Bearer {token}")[0] == 401
    status, _, cookie = log_in(server, token)
    assert status == 200
    assert server.ask("GET", "/api/summary", role=None, Cookie=cookie.partition(";")[0])[0] == 200
    assert log_in(server, token)[0] == 401


def test_a_token_that_is_taken_out_of_the_file_ends_its_sessions(server: Running) -> None:
    file = TokenFile(Path(server.settings.web_tokens))
    token = file.add("leaver", "viewer")
    cookie = log_in(server, token)[2].partition(";")[0]
    assert server.ask("GET", "/api/summary", role=None, Cookie=cookie)[0] == 200
    found = file.find(token)
    assert found is not None
    assert file.remove(found)
    assert server.ask("GET", "/api/summary", role=None, Cookie=cookie)[0] == 401
    assert server.ask("GET", "/api/summary", role=None, Authorization=f"Bearer {token}")[0] == 401


def test_another_origin_is_refused(server: Running) -> None:
    cookie = log_in(server, server.tokens["operator"])[2].partition(";")[0]
    call = server.get("/api/calls")["calls"][0]["id"]
    for origin in ("http://evil.example", "null", server.url.replace("127.0.0.1", "127.0.0.2")):
        for role in ("operator", None):
            headers = {"Origin": origin, "Cookie": cookie}
            assert server.ask("POST", f"/api/calls/{call}/actions", {"kind": "ack"}, role=role, **headers)[0] == 403
            assert server.ask("GET", "/api/live", role=role, **headers)[0] == 403
        assert log_in(server, server.tokens["viewer"], Origin=origin)[0] == 403
    assert server.ask("GET", "/api/live", role=None, Origin=server.url, Cookie=cookie)[0] == 426


def test_malformed_and_oversized_requests_are_refused(server: Running) -> None:
    path = "/api/what-if"
    assert server.ask("POST", path, b"{", role="viewer")[0] == 400
    assert server.ask("POST", path, b'{"account":"\xff"}')[0] == 400
    assert server.ask("POST", path, b"[" * 100_000)[0] == 400
    assert server.ask("POST", path, {"account": "a", "scenarios": [{}], "more": 1})[0] == 400
    assert server.ask("POST", path, {"account": "a", "scenarios": [{}] * 101})[0] == 400
    assert server.ask("POST", path, b" " * (1 << 21))[0] == 413
    assert server.ask("POST", path, b"{}", Content_Type="text/plain")[0] == 415
    assert server.ask("PUT", path, b"{}")[0] == 405
    assert server.ask("GET", "/api/accounts?limit=0")[0] == 400
    assert server.ask("GET", "/api/accounts?limit=1&limit=2")[0] == 400
    assert server.ask("GET", "/api/accounts?colour=red")[0] == 400
    assert server.ask("GET", "/api/accounts?cursor=nan:0")[0] == 400
    assert server.ask("GET", "/api/accounts/" + "a" * 65)[0] == 400
    assert server.ask("GET", "/api/accounts/%0a")[0] == 400
    assert server.ask("GET", "/api/accounts/nobody")[0] == 404


@pytest.mark.parametrize("path", ["/../settings.py", "/%2e%2e/keys.py", "/..%2f..%2fpyproject.toml", "/%00", "/api/x"])
def test_only_the_page_is_served(server: Running, path: str) -> None:
    assert server.ask("GET", path, role=None)[0] in (400, 404)


def test_every_response_has_the_security_headers(server: Running) -> None:
    for status, _, headers in (
        server.ask("GET", "/api/health", role=None), server.ask("GET", "/api/summary", role=None),
        server.ask("GET", "/nothing", role=None), server.ask("GET", "/api/summary"),
    ):  # fmt: skip
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, status
        assert "'unsafe-eval'" not in policy
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_names_come_out_as_they_are_in_json_only(server: Running) -> None:
    name, world = '<img src=x onerror="alert(1)">', server.world
    row = {**world.client.hgetall(world.keys.account(world.ids[0])), "customer": "<script>"}
    world.client.hset(world.keys.account(name), mapping=row)
    try:
        status, found, headers = server.ask("GET", "/api/accounts/%3Cimg%20src=x%20onerror=%22alert(1)%22%3E")
    finally:
        world.client.delete(world.keys.account(name))
    assert (status, headers["content-type"]) == (200, "application/json")
    assert (found["figures"]["account"], found["figures"]["customer"]) == (name, "<script>")


# --- actions


def test_an_operators_action_reaches_its_topic(redis_url: str, tmp_path: Path, mock_kafka: str, server: Running) -> None:
    call = server.get("/api/calls")["calls"][0]
    with serving_world(server.world, redis_url, tmp_path, mock_kafka) as other:
        text = "<b>called back</b> \u20ac"
        path = f"/api/calls/{call['id']}/actions"
        status, found, _ = other.ask("POST", path, {"kind": "note", "text": text}, role="operator")
        assert status == 200, found
        assert other.server.figures.actions == {"taken": 1, "failed": 0}
        assert other.ask("POST", "/api/calls/nobody/actions", {"kind": "ack"}, role="operator")[0] == 404
        assert other.ask("POST", path, {"kind": "pay"}, role="operator")[0] == 400
        status, refused, _ = other.ask("POST", path, {"kind": "cancel", "text": " "}, role="operator")
        assert (status, refused["error"][:32]) == (400, "body: text: found ' ' for cancel")
        key = server.world.keys.call(call["id"])
        server.world.client.hset(key, "state", "MET")
        status, refused, _ = other.ask("POST", path, {"kind": "ack"}, role="operator")
        server.world.client.hset(key, "state", call["state"])
        assert (status, refused["error"]) == (409, f"call {call['id']}: found it MET; allowed: a call that is open")
    consumer = Consumer({"bootstrap.servers": mock_kafka, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe(["actions"])
    (message,) = consumer.consume(1, timeout=20)
    consumer.close()
    action = parse_action(message.value())
    assert (action.id, action.user, action.kind, action.text) == (found["id"], "the operator", "note", text)
    assert (action.account, action.call) == (call["account"], call["id"])
    assert message.key() == call["account"].encode()

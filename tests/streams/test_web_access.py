"""Who may ask: the token file, sessions and the rate limit, without a server."""

import json
import stat
from pathlib import Path

import pytest

from streams import cli
from streams.settings import ConfigError, UserError
from streams.web_access import MAX_SESSIONS, SESSION_SECONDS, Access, TokenFile


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.jsonl")


class Clock:
    """Seconds that go on when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_verb_prints_a_token_and_keeps_its_digest(capsys: pytest.CaptureFixture[str], tokens: TokenFile) -> None:
    arguments = ["web-token", "add", "anna", "--role", "operator", "--web-tokens", str(tokens.path)]
    assert cli.run(arguments) == 0
    secret = capsys.readouterr().out.strip()
    found = tokens.find(secret)
    assert found is not None
    assert (found.user, found.role, found.once) == ("anna", "operator", False)
    assert secret not in tokens.path.read_text()
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    assert tokens.find("another") is None


def test_several_tokens_stay_in_the_file(tokens: TokenFile) -> None:
    secrets = [tokens.add(f"user {n}", "viewer") for n in range(3)]
    other = TokenFile(tokens.path)
    assert [found.user for secret in secrets if (found := other.find(secret)) is not None] == ["user 0", "user 1", "user 2"]
    tokens.path.unlink()
    assert other.find(secrets[0]) is None


def test_tokens_are_listed_and_removed_by_user(capsys: pytest.CaptureFixture[str], tokens: TokenFile) -> None:
    def said(*arguments: str) -> tuple[int, str, str]:
        status = cli.run(["web-token", *arguments, "--web-tokens", str(tokens.path)])
        return status, *capsys.readouterr()

    assert said("list") == (0, "no token\n", "")
    status, _, err = said("remove", "anna")
    assert (status, err.count("\n")) == (1, 1)
    assert "found 'anna'" in err
    anna, bob = tokens.add("anna", "operator"), tokens.add("bob", "viewer", once=True)
    tokens.add("anna", "viewer")
    listed = json.loads(said("list", "--json")[1])["tokens"]
    assert [(one["user"], one["role"], one["once"]) for one in listed] == [
        ("anna", "operator", False), ("bob", "viewer", True), ("anna", "viewer", False),
    ]  # fmt: skip
    shown = said("list")[1]
    assert "until removed" in shown
    assert "one login" in shown
    assert not any(secret in shown for secret in (anna, bob))
    assert said("remove", "anna") == (0, "2 tokens of anna removed\n", "")
    assert tokens.find(anna) is None
    assert tokens.find(bob) is not None
    assert "allowed: bob" in said("remove", "anna")[2]


@pytest.mark.parametrize("line", ["{", "{}", '{"user":"a","role":"king","sha256":""}', "\xff"])
def test_a_damaged_file_is_one_line(tokens: TokenFile, line: str) -> None:
    tokens.path.write_bytes(line.encode("latin-1") + b"\n")
    with pytest.raises(UserError, match="CROSSMARGIN_WEB_TOKENS"):
        tokens.find("any")


@pytest.mark.parametrize("user", ["", "a" * 65, "a\n", "\u20ac"])
def test_a_user_that_no_action_could_name_is_refused(tokens: TokenFile, user: str) -> None:
    with pytest.raises(ConfigError, match="1 to 64 printable"):
        tokens.add(user, "viewer")
    assert not tokens.path.exists()


def test_a_session_ends_after_its_time(tokens: TokenFile) -> None:
    clock = Clock()
    access = Access(tokens, 100.0, clock)
    found = access.log_in(tokens.add("anna", "viewer"))
    assert found is not None
    who, cookie = found
    assert access.by_cookie(cookie) == who
    assert access.is_current(who)
    clock.seconds = SESSION_SECONDS
    assert access.by_cookie(cookie) is None
    assert not access.is_current(who)


def test_sessions_are_bounded_the_oldest_gives_way(tokens: TokenFile) -> None:
    access = Access(tokens, 100.0, Clock())
    secret = tokens.add("anna", "viewer")
    cookies = [found[1] for _ in range(MAX_SESSIONS + 1) if (found := access.log_in(secret)) is not None]
    assert access.by_cookie(cookies[0]) is None
    assert access.by_cookie(cookies[1]) is not None


def test_another_role_in_the_file_ends_the_session(tokens: TokenFile) -> None:
    access = Access(tokens, 100.0, Clock())
    secret = tokens.add("anna", "operator")
    found = access.log_in(secret)
    assert found is not None
    tokens.path.write_text(tokens.path.read_text().replace("operator", "viewer"))
    assert access.by_cookie(found[1]) is None
    who = access.by_token(secret)
    assert who is not None
    assert who.role == "viewer"


def test_who_asks_too_often_waits(tokens: TokenFile) -> None:
    clock = Clock()
    access = Access(tokens, 2.0, clock)
    assert [access.wait_seconds("a") for _ in range(4)] == [0.0] * 4
    assert 0 < access.wait_seconds("a") <= 0.5
    assert access.wait_seconds("b") == 0
    clock.seconds = 0.5
    assert access.wait_seconds("a") == 0
    assert access.wait_seconds("a") > 0

"""Who may ask the web server what: tokens from a file, sessions, origins, and a rate limit per user."""

import hashlib
import os
import secrets
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from engine.parameters import Id
from streams.settings import ConfigError, UserError
from streams.web_schema import Role

COOKIE: Final = "crossmargin-session"
SESSION_SECONDS: Final = 12 * 3600
MAX_SESSIONS: Final = 1000
MAX_CLIENTS: Final = 10_000


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of the token file: the SHA-256 of a token, whose it is, and what it allows. once: for one login only."""

    user: str
    role: Role
    sha256: str
    once: bool = False


def digest(secret: str) -> str:
    """What stands in place of a secret: SHA-256, hexadecimal. Tokens are 256 random bits, so it needs no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


class TokenFile:
    """The tokens of a file of JSON Lines, read again when it changes; a file that is not there holds none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def find(self, secret: str) -> Token | None:
        """The token's line, or None. UserError where the file cannot be read."""
        return self.by_digest(digest(secret))

    def by_digest(self, sha256: str) -> Token | None:
        """The line of a token by what stands in the file."""
        self._read()
        return self._tokens.get(sha256)

    def add(self, user: str, role: Role, *, once: bool = False) -> str:
        """A new token, of which only the digest is kept. ConfigError for a user whose name actions cannot have."""
        try:
            msgspec.convert(user, Id)
        except msgspec.ValidationError as error:
            raise ConfigError(f"user: found {user!r}; allowed: 1 to 64 printable ASCII characters") from error
        secret = secrets.token_urlsafe(32)
        self._read()
        self._write([*self._tokens.values(), Token(user=user, role=role, sha256=digest(secret), once=once)])
        return secret

    def tokens(self) -> list[Token]:
        """All lines, the oldest first."""
        self._read()
        return list(self._tokens.values())

    def remove_user(self, user: str) -> int:
        """Take out all tokens of a user, which ends their sessions too; how many there were. UserError for none."""
        kept = [token for token in self.tokens() if token.user != user]
        count = len(self._tokens) - len(kept)
        if not count:
            users = ", ".join(sorted({token.user for token in kept})) or "none: it holds no token"
            raise UserError(f"user: found '{user}', of whom {self.path} has no token; allowed: {users}")
        self._write(kept)
        return count

    def remove(self, token: Token) -> bool:
        """Take a token out; False where it is gone already."""
        self._read()
        if token.sha256 not in self._tokens:
            return False
        self._write([one for one in self._tokens.values() if one.sha256 != token.sha256])
        return True

    def _read(self) -> None:
        try:
            found = self.path.stat()
            stamp = found.st_ino, found.st_mtime_ns, found.st_size
            if stamp != self._stamp:
                lines = self.path.read_bytes().splitlines()
                tokens = [msgspec.json.decode(line, type=Token) for line in lines if line.strip()]
                self._stamp, self._tokens = stamp, {token.sha256: token for token in tokens}
        except FileNotFoundError:
            self._stamp, self._tokens = None, {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UserError(
                f"setting web_tokens (CROSSMARGIN_WEB_TOKENS): {self.path}: {error}; allowed: lines that crossmargin"
                " web-token add writes"
            ) from error

    def _write(self, tokens: list[Token]) -> None:
        """Atomically, readable by the owner only."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
            with os.fdopen(handle, "wb") as target:
                target.writelines(msgspec.json.encode(token) + b"\n" for token in tokens)
            Path(name).replace(self.path)
        except OSError as error:
            raise UserError(f"setting web_tokens (CROSSMARGIN_WEB_TOKENS): {self.path}: {error}") from error


@dataclass(frozen=True, slots=True)
class Who:
    """A user that was let in. sha256: of the token; session: of the cookie, "" where the token itself was shown."""

    user: str
    role: Role
    sha256: str
    once: bool
    session: str = ""
    ends_at: float = 0.0


class Access:
    """Tokens, sessions (in memory: a restart ends them) and the rate limit. now: monotonic seconds."""

    def __init__(self, tokens: TokenFile, requests_per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._tokens, self._rate, self._now = tokens, requests_per_second, now
        self._sessions: OrderedDict[str, Who] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def log_in(self, secret: str) -> tuple[Who, str] | None:
        """A new session and its cookie, for a token that is in the file; one for one login is taken out of it."""
        token = self._tokens.find(secret)
        if token is None or (token.once and not self._tokens.remove(token)):
            return None
        cookie = secrets.token_urlsafe(32)
        ends_at = self._now() + SESSION_SECONDS
        who = Who(token.user, token.role, token.sha256, token.once, digest(cookie), ends_at)
        self._sessions[who.session] = who
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return who, cookie

    def log_out(self, who: Who) -> None:
        """End a session."""
        self._sessions.pop(who.session, None)

    @property
    def session_count(self) -> int:
        """Sessions that have not ended, as another thread may ask."""
        now = self._now()
        return sum(now < who.ends_at for who in list(self._sessions.values()))

    def by_token(self, secret: str) -> Who | None:
        """Who shows this token; a token for one login does not open anything but a session."""
        token = self._tokens.find(secret)
        return None if token is None or token.once else Who(token.user, token.role, token.sha256, token.once)

    def by_cookie(self, cookie: str) -> Who | None:
        """Whose session this is, while it lasts and its token is still in the file."""
        who = self._sessions.get(digest(cookie))
        return who if who is not None and self.is_current(who) else None

    def is_current(self, who: Who) -> bool:
        """Whether somebody who was let in still would be."""
        known = self._tokens.by_digest(who.sha256) if not who.once else None
        allowed = who.once or (known is not None and known.role == who.role)
        if who.session:
            return allowed and who.session in self._sessions and self._now() < who.ends_at
        return allowed

    def wait_seconds(self, client: str) -> float:
        """0 and one request less for a client (a token, or an address without one); else how long until it may ask."""
        now, burst = self._now(), max(1.0, 2 * self._rate)
        left, at = self._buckets.pop(client, (burst, now))
        left = min(burst, left + (now - at) * self._rate)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        while len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self._rate

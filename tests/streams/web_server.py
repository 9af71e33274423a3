"""A web server for tests, in a thread of its own on a world without workers; and who asks one, with a token for a role."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
from redis import Redis

from streams.settings import Settings
from streams.web import Server, serving
from streams.web_access import TokenFile
from tests.services import wait_until
from tests.web_world import World, settings_of

ROLES: Final = ("viewer", "operator")


@dataclass
class Client:
    """Who asks a server: where it is, and tokens by role."""

    url: str
    tokens: dict[str, str]

    def ask(
        self, method: str, path: str, body: Any = None, role: str | None = "viewer", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, JSON or bytes, headers by lower-case name) of a request with a role's token."""
        request = Request(f"{self.url}{path}", method=method)
        if role is not None:
            request.add_header("Authorization", f"Bearer {self.tokens[role]}")
        if body is not None:
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urlopen(request, timeout=60) as answer:
                return _read(answer.status, answer)
        except HTTPError as error:
            with error:
                return _read(error.code, error)

    def get(self, path: str, role: str | None = "viewer") -> Any:
        """What a GET answers."""
        status, found, _ = self.ask("GET", path, role=role)
        assert status == 200, found
        return found


@dataclass
class Running(Client):
    """A server in this process, with the world behind it."""

    world: World
    settings: Settings
    server: Server


def add_tokens(settings: Settings) -> dict[str, str]:
    """A new token for each role."""
    file = TokenFile(Path(settings.web_tokens))
    return {role: file.add(f"the {role}", role) for role in ROLES}


def _read(status: int, answer: Any) -> tuple[int, Any, dict[str, str]]:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    body = answer.read()
    return status, json.loads(body) if headers.get("content-type", "").startswith("application/json") else body, headers


@contextmanager
def web_server(redis_url: str, folder: Path, accounts: int) -> Iterator[Running]:
    """A server on a new world of so many accounts, which it has read."""
    with Redis.from_url(redis_url, decode_responses=True, legacy_responses=False) as client:
        client.flushdb()
        world = World(client, accounts)
        world.fill()
        with serving_world(world, redis_url, folder) as running:
            yield running


@contextmanager
def serving_world(world: World, redis_url: str, folder: Path, kafka: str = "127.0.0.1:1") -> Iterator[Running]:
    """A server on a world, with its tokens in a folder."""
    settings = msgspec.structs.replace(settings_of(redis_url, kafka, folder), web_requests_per_second=10_000.0)
    running = Running("", add_tokens(settings), world, settings, Server(settings))
    started, ended = Event(), Event()

    async def serve() -> None:
        async with serving(running.server) as running.url:
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        wait_until(lambda: running.get("/api/summary")["state"]["accounts"] == len(world.ids), what="the table")
        yield running
    finally:
        ended.set()
        thread.join()

"""100,000 accounts in a real Valkey, 2,000 of which change four times a second, a web server, and a tab that shows them."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from streams.embedded import RedisServer, embedded_kafka, embedded_redis, free_port
from streams.processes import Child
from streams.settings import Settings
from streams.web_access import TokenFile
from streams.web_schema import Role
from tests.services import require, require_redis, wait_until
from tests.web.browser import Tab, chromium, tab
from tests.web_world import CHANGES_PER_SECOND, World, settings_of

ACCOUNTS: Final = 100_000
CHANGING: Final = 2000
START_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Desk:
    """The world, which changes while nobody holds the lock, its web server, and a tab that an operator signed in with."""

    world: World
    server: RedisServer
    settings: Settings
    address: str
    tab: Tab
    lock: threading.Lock

    def token(self, role: Role) -> str:
        """For one login of `desk-1`."""
        return TokenFile(Path(self.settings.web_tokens)).add("desk-1", role, once=True)

    def sign_in(self, role: Role) -> None:
        """Open the page with a token in its address, as the demo prints it."""
        self.tab.call("Page.navigate", url="about:blank")
        self.tab.call("Page.navigate", url=f"{self.address}/#token={self.token(role)}")
        self.tab.wait_for("document.querySelector('#top')?.hidden === false")

    def show(self, screen: str) -> None:
        """Go to a screen of the page."""
        self.tab.evaluate(f"location.hash = {f'#/{screen}'!r}")
        self.tab.wait_for(f"document.querySelector('main').dataset.screen === {screen.split('/')[0]!r}")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Signed in as an operator, while accounts change."""
    with opened(tmp_path_factory.mktemp("desk"), ACCOUNTS) as one, changing(one.world, one.lock):
        yield one


@contextmanager
def opened(folder: Path, accounts: int) -> Iterator[Desk]:
    """A desk of so many accounts that stay as they are, signed in as an operator."""
    program = chromium()
    require(program, "no Chromium: chromium, chromium-browser, google-chrome and chrome are not on PATH")
    require_redis()
    assert program is not None
    with ExitStack() as stack:
        server, kafka = stack.enter_context(embedded_redis()), stack.enter_context(embedded_kafka())
        client = stack.enter_context(Redis.from_url(server.url, decode_responses=True, legacy_responses=False))
        world, lock = World(client, accounts), threading.Lock()
        settings = settings_of(server.url, kafka, folder, free_port())
        child = stack.enter_context(Child("web", settings, folder))
        world.fill()  # while it starts
        wait_until(lambda: "listening on" in child.log.read_text(), START_SECONDS, "the web server")
        address = f"http://127.0.0.1:{settings.web_port}"
        one = Desk(world, server, settings, address, stack.enter_context(tab(program)), lock)
        one.tab.look(1440, 900, "light")
        one.sign_in("operator")
        one.tab.wait_for(f"document.querySelector('#shown')?.innerText.startsWith('{accounts:,}')", START_SECONDS)
        yield one


@contextmanager
def changing(world: World, lock: threading.Lock) -> Iterator[None]:
    """Accounts change in a thread while the context lasts."""
    ended = threading.Event()

    def change() -> None:
        while not ended.is_set():
            begun = time.monotonic()
            with lock:
                world.change(CHANGING)
            ended.wait(max(0.0, 1 / CHANGES_PER_SECOND - (time.monotonic() - begun)))

    thread = threading.Thread(target=change, name="changing")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

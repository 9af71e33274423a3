"""What tests of the page do and read on it, as a person would."""

from typing import Final

from redis import Redis

from monitors.keys import WRITES_FIELD, Keys
from tests.web.conftest import Desk

ROWS: Final = "[...document.querySelectorAll('.live tbody tr:not([hidden])')]"


def rows(desk: Desk) -> list[list[str]]:
    """The text of the live table's cells that are in sight."""
    found: list[list[str]] = desk.tab.evaluate(f"{ROWS}.map((row) => [...row.cells].map((cell) => cell.innerText))")
    return found


def overview(desk: Desk) -> None:
    """All accounts, unfiltered."""
    desk.show("overview")
    desk.tab.wait_for("document.querySelector('#shown').innerText.startsWith('100,00')")


def choose(desk: Desk, selector: str, value: str) -> None:
    """Take a value of a choice, as a person does."""
    desk.tab.evaluate(
        f"(() => {{ const e = document.querySelector({selector!r}); e.value = {value!r};"
        " e.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


def grouped(text: str) -> str:
    """An exact decimal as the page writes it."""
    whole, _, rest = text.partition(".")
    return f"{int(whole):,}.{rest}"


def trail(desk: Desk) -> list[str]:
    """What the trail of the call in sight says."""
    script = "[...document.querySelectorAll('#call .trail li > :last-child')].map((one) => one.innerText)"
    found: list[str] = desk.tab.evaluate(script)
    return found


def cells(desk: Desk, panel: str) -> list[list[str]]:
    """The text of a panel's first table, once it has rows."""
    desk.tab.wait_for(f"document.querySelector('#{panel} td') !== null")
    script = f"[...document.querySelector('#{panel} tbody').rows].map((row) => [...row.cells].map((cell) => cell.innerText))"
    found: list[list[str]] = desk.tab.evaluate(script)
    return found


def sort_by(desk: Desk, heading: str) -> None:
    """Press a head of the live table."""
    heads = "[...document.querySelectorAll('.live th button')]"
    desk.tab.evaluate(f"{heads}.find((one) => one.innerText === {heading!r}).click()")


def add_account(client: Redis, keys: Keys, name: str) -> None:
    """An account with the lowest excess of all."""
    row = client.hgetall(keys.account("fund-00000-0"))
    number = client.hincrby(keys.meta, WRITES_FIELD, 1)
    client.hset(keys.account(name), mapping={**row, "customer": name})
    client.zadd(keys.by_excess, {name: -1e12})
    client.zadd(keys.changed, {name: number})


def remove_account(client: Redis, keys: Keys, name: str) -> None:
    """The account in the middle of all."""
    number = client.hincrby(keys.meta, WRITES_FIELD, 1)
    client.zadd(keys.by_excess, {name: 1e6})
    client.zadd(keys.changed, {name: number})

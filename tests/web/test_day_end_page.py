"""The day-end pack in a real Chromium: no script, no other host, no scrolling aside but of tables, both themes, printed."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitors.day_end import html
from tests.monitors.test_day_end_desk import SCRIPT, called
from tests.services import require
from tests.web.browser import Tab, chromium, tab

WIDTHS = {"wide": 1300, "narrow": 390}
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A tab that shows a pack with calls, a note that is a script, and statements that differ."""
    program = chromium()
    require(program, "no Chromium: chromium, chromium-browser, google-chrome and chrome are not on PATH")
    assert program is not None
    desk = called()
    desk.act("note", "a:p:1", text=SCRIPT)
    desk.log.statement("cme", "a", "F", 3)
    desk.clock(60)
    file: Path = tmp_path_factory.mktemp("pack") / "index.html"
    file.write_text(html(desk.pack(), "2027-01-15"), "utf-8")
    with tab(program) as shown:
        shown.call("Page.navigate", url=file.as_uri())
        shown.wait_for("document.querySelector('#moments') !== null")
        yield shown


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", WIDTHS)
def test_it_fits_any_width_and_theme(page: Tab, size: str, theme: str) -> None:
    page.look(WIDTHS[size], 900, theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[size]
    levels = [int(part) for part in page.evaluate(BACKGROUND).removeprefix("rgb(").removesuffix(")").split(",")]
    assert (sum(levels) > 3 * 128) == (theme == "light")
    assert SCRIPT in page.text("#call_lives")
    assert "2027-01-15 02:00:01 CST" in page.text("#calls")
    assert page.evaluate("document.scripts.length") == 0
    assert (page.problems, page.hosts) == ([], {""})


def test_it_prints_black_on_white_and_whole(page: Tab) -> None:
    """Also from a dark screen; no table is wider than a sheet on its side."""
    page.look(980, 900, "dark")
    page.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.evaluate("Math.max(...[...document.querySelectorAll('table')].map((one) => one.offsetWidth))") <= 980
    printed = base64.b64decode(page.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")

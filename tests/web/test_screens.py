"""The page in a real Chromium, with few accounts that stay as they are: narrow screens, what is not there, exact figures."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.web.conftest import Desk, opened
from tests.web.page import add_account, cells

pytestmark = pytest.mark.services

ACCOUNTS: Final = 400
WIDE: Final = (1440, 900, "light")
NARROW: Final = 390
IN_VIEW: Final = (  # screen, panel, the first headings, which must be in view where the screen is narrow
    ("overview", "pools", ["Pool", "Ccy", "Shortfall", "Excess USD"]),
    ("calls", "calls", ["Left", "Account", "State", "Outstanding"]),
    ("cross-margin", "agreements", ["State", "Saves", "Futures account", "Alone"]),
    ("stress", "ladder", ["Shock", "Accounts that fall", "Called, USD"]),
    ("stress", "forecast", ["Pool", "Nothing moves", "Worst move", "Called"]),
    ("stress", "nearest", ["Account", "Used", "Equity over maintenance", "Ccy"]),
    ("reconciliation", "breaks", ["Account", "What", "Kind", "Difference"]),
)
LIVE: Final = ["Account", "Status", "Excess USD ↑", "Used"]
NOWHERE: Final = ("frob", "account", "account/%", "constructor")
PAST_DOUBLES: Final = ("90071992547409.93", "0.01", "90,071,992,547,409.92")  # amount, received, what is outstanding


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with opened(tmp_path_factory.mktemp("desk"), ACCOUNTS) as one:
        yield one


@pytest.fixture(autouse=True)
def quiet(desk: Desk) -> Iterator[None]:
    """The console names what was not found, and nothing else; the screen is wide again."""
    yield
    desk.tab.look(*WIDE)
    assert [one for one in desk.tab.problems if "404 (Not Found)" not in one] == []


def in_view(desk: Desk, box: str, head: str) -> list[str]:
    """The headings of a table, and its columns, that lie within its box."""
    found: list[str] = desk.tab.evaluate(
        f"(() => {{ const end = document.querySelector({box!r}).getBoundingClientRect().right;"
        f" return [...document.querySelectorAll({head!r})].filter((one) => one.getBoundingClientRect().right <= end)"
        ".map((one) => one.innerText.replaceAll('\\n', ' ')); })()"
    )
    return found


def shown_at(desk: Desk, width: int, screen: str, ready: str) -> None:
    """Draw a screen anew at this width in pixels."""
    desk.tab.look(width, 844, "light")
    desk.show("what-if")
    desk.show(screen)
    desk.tab.wait_for(f"document.querySelector({ready!r}) !== null")


@pytest.mark.parametrize(("screen", "panel", "headings"), IN_VIEW, ids=[panel for _, panel, _ in IN_VIEW])
def test_what_matters_is_in_view_on_a_narrow_screen(desk: Desk, screen: str, panel: str, headings: list[str]) -> None:
    shown_at(desk, NARROW, screen, f"#{panel} td")
    assert in_view(desk, f"#{panel} .scroll", f"#{panel} th")[: len(headings)] == headings
    assert desk.tab.evaluate(f"document.querySelector('#{panel} .scroll').getBoundingClientRect().right") <= NARROW


def test_the_live_table_shows_its_figures_on_a_narrow_screen_and_all_on_a_wide_one(desk: Desk) -> None:
    shown_at(desk, NARROW, "overview", ".live td")
    heads = "[...document.querySelectorAll('.live th')].map((one) => one.innerText)"
    assert in_view(desk, ".grid", ".live th")[: len(LIVE)] == LIVE
    assert "Customer" not in desk.tab.evaluate(heads)
    desk.tab.look(*WIDE)
    desk.tab.wait_for(f"{heads}[1] === 'Customer'")


def test_a_shadow_stands_where_more_is(desk: Desk) -> None:
    """At the side that hides columns, and not at the other; a strip of the heads' upper padding, where no text is."""
    shown_at(desk, NARROW, "calls", "#calls td")
    left, right, top = desk.tab.evaluate(
        "(() => { const { left, right, top } = document.querySelector('#calls .scroll').getBoundingClientRect();"
        " return [left, right, top + scrollY]; })()"
    )

    def strip(x: float) -> Any:
        clip = {"x": x, "y": top + 1, "width": 2, "height": 2, "scale": 1}
        return desk.tab.call("Page.captureScreenshot", clip=clip)["data"]

    before = strip(left + 1), strip(right - 3)
    desk.tab.evaluate("document.querySelector('#calls .scroll').scrollLeft = 10_000")
    after = strip(left + 1), strip(right - 3)
    assert before[0] == after[1], "no shadow where nothing is hidden"
    assert before[1] != before[0]
    assert after[0] != after[1]


def test_what_is_outstanding_is_exact(desk: Desk) -> None:
    """Beyond what doubles hold; in the list, of one call, and with its account."""
    world, (amount, received, left) = desk.world, PAST_DOUBLES
    call_id = world.client.zrange(world.keys.open_calls, 0, 0)[0]
    world.client.hset(world.keys.call(call_id), mapping={"amount": amount, "state": "PART_MET"})
    world.say(call_id, "received", received)
    desk.show("calls")
    desk.tab.wait_for(f"document.querySelector('#calls tbody tr').innerText.includes({left!r})")
    assert cells(desk, "calls")[0][5:8] == ["90,071,992,547,409.93", received, left]
    desk.show(f"calls/{call_id}")
    figures = "[...document.querySelectorAll('#call .figures > div')].map((one) => one.innerText.replace('\\n', ' '))"
    desk.tab.wait_for(f"{figures}.includes({f'Outstanding {left}'!r})")
    desk.show(f"account/{call_id.rsplit(':', 2)[0]}")
    assert left in cells(desk, "account-calls")[0]
    world.say(call_id, "state", "COVERED")  # nobody has to pay it any more
    desk.show(f"calls/{call_id}")
    desk.tab.wait_for("document.querySelector('#call .tag')?.innerText.includes('COVERED')")
    assert "Outstanding" not in desk.tab.text("#call")


def test_an_account_or_call_that_is_not_there_is_taken_up_when_it_comes(desk: Desk) -> None:
    desk.show("account/none-such")
    desk.tab.wait_for("document.querySelector('main').innerText.includes('There is no account of that name.')")
    assert desk.tab.evaluate("document.querySelector('main a').hash") == "#/overview"
    assert "Open calls" not in desk.tab.text("main")
    add_account(desk.world.client, desk.world.keys, "none-such")
    desk.tab.wait_for(
        "document.querySelector('.figures') !== null && document.querySelector('#history').offsetParent !== null"
    )
    assert "There is no account" not in desk.tab.text("main")
    desk.show("calls/none:such:1")
    desk.tab.wait_for("document.querySelector('#call').innerText.includes('There is no such call.')")
    assert "Acknowledge" not in desk.tab.text("#call")
    known = desk.world.client.hgetall(desk.world.keys.call(desk.world.client.zrange(desk.world.keys.open_calls, 1, 1)[0]))
    desk.world.client.hset(desk.world.keys.call("none:such:1"), mapping={**known, "id": "none:such:1"})
    desk.tab.wait_for("document.querySelector('#call h3')?.innerText === 'none:such:1'")
    assert "Acknowledge" in desk.tab.text("#call")


@pytest.mark.parametrize("address", NOWHERE)
def test_an_address_of_nothing_leads_to_the_overview(desk: Desk, address: str) -> None:
    desk.show("calls")
    desk.tab.evaluate(f"location.hash = {f'#/{address}'!r}")
    desk.tab.wait_for("location.hash === '#/overview'")
    assert desk.tab.evaluate("document.querySelector('main').dataset.screen") == "overview"


def test_the_plot_says_its_latest_values(desk: Desk) -> None:
    world, slot = desk.world, 15
    legend = "[...document.querySelectorAll('#history .u-value')].map((one) => one.innerText).join()"
    desk.show(f"account/{world.ids[slot]}")
    for equity in (123_456_700, 234_567_800):
        world.equity[slot] = equity
        world.write([slot])
        figures = [equity, world.maintenance[slot] * 11 // 10, world.maintenance[slot]]
        latest = ",".join(f"{figure / 100:,.0f}" for figure in figures)
        desk.tab.wait_for(f"{legend}.endsWith({f',{latest}'!r})")


def test_an_agreement_in_force_that_saves_nothing_says_so(desk: Desk) -> None:
    desk.world.client.hset(desk.world.keys.agreement("xm-fund-00002"), "saving", "0.000000000")
    desk.show("cross-margin")
    saves = "[...document.querySelectorAll('#agreements tbody tr')].map((row) => row.cells[2].innerText)"
    desk.tab.wait_for(f"document.querySelector('#agreements td') && {saves}[1] === '0.0 %'")
    assert desk.tab.evaluate(f"{saves}[0]") == ""  # not in force

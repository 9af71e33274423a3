"""From an engine through Redis into a shadow: what the sink and the worker publish gives the same figures."""

import asyncio

import numpy as np
import pytest

from engine.events import PRICE_ONE, QUANTITY_ONE, Kind
from engine.report import Quality
from engine.shadow import Shadow, market_of
from monitors import what_if
from monitors.keys import MARKET_FIELD, Keys
from monitors.published import Owner, publish_market, read_market, read_owner
from monitors.redis_sink import RedisSink
from monitors.view import open_client
from monitors.what_if import Fill, Item, Unanswerable
from tests.engine.explain_world import World
from tests.monitors.desk import flush

pytestmark = pytest.mark.services
NAMES = ("f", "t", "k", "n")


@pytest.fixture
def world(redis_url: str) -> World:
    """A world whose accounts a sink wrote, and whose market was published."""
    flush(redis_url)
    world = World()
    world.hold()
    world.agreement()
    for _ in range(3):
        world.clock()

    async def work() -> None:
        sink = RedisSink(redis_url, log_id="5f" * 16, shards=1, read_alerts=lambda shard, limit: [])
        await sink.start()
        sink.attach(0, world.engine)
        assert await sink.drain(20)
        await sink.close()

    asyncio.run(work())
    with open_client(redis_url, text=False) as client:
        publish_market(client, Keys(), market_of(world.engine, 64, 4096), world.engine.clock_ns)
    return world


def test_published_books_have_the_engines_figures_in_the_published_market(world: World, redis_url: str) -> None:
    engine = world.engine
    with open_client(redis_url, text=False) as client:
        body, owner = read_market(client, Keys()), read_owner(client, Keys(), "c")
        assert client.hget(Keys().meta, MARKET_FIELD) == str(engine.clock_ns).encode()
    assert body is not None
    assert (set(owner.accounts), len(owner.agreements)) == (set(NAMES), 1)
    shadow = Shadow(body)
    for name in NAMES:
        expected = engine.figures(np.array([world.slot(name)], np.int32)).tolist()[0][:-1]
        slot = what_if.open_owner(shadow, owner, name)
        assert shadow.engine.figures(np.array([slot], np.int32)).tolist()[0][:-1] == expected
        (before,) = what_if.what_if(shadow, owner, name, [])
        assert tuple(before.figures.tolist())[:-1] == expected


def test_more_scenarios_than_there_is_room_for_are_answered_in_turns(world: World, redis_url: str) -> None:
    with open_client(redis_url, text=False) as client:
        body, owner = read_market(client, Keys()), read_owner(client, Keys(), "c")
    assert body is not None
    shadow = Shadow(body)
    found = what_if.what_if(shadow, owner, "f", [[]] * 99)  # two accounts each, room for 64
    assert len({tuple(one.figures.tolist()) for one in found}) == 1
    assert len(found) == 100


def published(redis_url: str) -> tuple[Shadow, Owner]:
    """A shadow of the market and the customer."""
    with open_client(redis_url, text=False) as client:
        body, owner = read_market(client, Keys()), read_owner(client, Keys(), "c")
    assert body is not None
    return Shadow(body), owner


def item(name: str, quantity: int, working: bool = False, price: int | None = None) -> Item:
    """A trade or order."""
    return Item(Kind.TRADE, name, quantity * QUANTITY_ONE, price, working)


def test_of_working_orders_the_worse_side_counts(world: World, redis_url: str) -> None:
    shadow, owner = published(redis_url)
    for trades, orders, fill, as_if in (
        ([], [("FUND", 10), ("FUND", -10)], Fill.SELLS, [("FUND", -10)]),  # 70 are sold
        ([], [("FUND", 10)], Fill.NONE, []),
        ([], [("FUND", 200), ("FUND", -10)], Fill.BUYS, [("FUND", 200)]),
        ([("FUND", 140)], [("FUND", -10), ("FUND", 5)], Fill.BUYS, [("FUND", 145)]),
        ([("FUND", 140)], [("FUND", -10)], Fill.NONE, [("FUND", 140)]),
        ([], [("FUT", 3), ("FUT", -9), ("INDEX", 7)], Fill.BUYS, [("FUT", 3), ("INDEX", 7)]),  # 4 and 120 are held
        ([("FUND", 1)], [], None, [("FUND", 1)]),
    ):
        asked = [item(*one) for one in trades] + [item(*one, True) for one in orders]
        sides = [[], [one for one in orders if one[1] > 0], [one for one in orders if one[1] < 0]]
        apart = [[item(*one) for one in [*trades, *side]] for side in sides]
        _, found, *each, expected = what_if.what_if(shadow, owner, "n", [asked, *apart, [item(*one) for one in as_if]])
        excess = [int(one.figures["equity"]) - int(one.figures["initial"]) for one in (found, *each)]
        assert excess[0] == min(excess[1:])
        assert found.fill is fill
        assert found.figures == expected.figures
        assert len(found.prices) == len(asked)
        assert {one.fill for one in (*each, expected)} == {None}


def test_an_order_that_leaves_no_figures_is_the_worst(world: World, redis_url: str) -> None:
    shadow, owner = published(redis_url)
    shadow.define(kind="instrument", id="NEW", type="fund", currency="USD", tick="1", band=["0", "100"], rule="FLAT")
    _, found = what_if.what_if(shadow, owner, "n", [[item("NEW", 1, True, 50 * PRICE_ONE), item("FUND", -1000, True)]])
    assert (found.figures["quality"], found.fill) == (Quality.UNPRICED, Fill.BUYS)


def test_an_order_that_is_not_possible_is_named_by_its_place_among_all_items(world: World, redis_url: str) -> None:
    shadow, owner = published(redis_url)
    asked = [item("FUND", 1), item("FUND", -1, True), item("FUND", 1, True, 1), item("nobody", -1, True)]
    _, found = what_if.what_if(shadow, owner, "n", [asked])
    assert (found.figures, found.fill, len(found.prices)) == (None, None, 4)
    assert found.problem == "item 3: the price is not a whole number of ticks"


def test_what_is_not_published_is_said(world: World, redis_url: str) -> None:
    with open_client(redis_url, text=False) as client:
        body = read_market(client, Keys())
        client.delete(Keys().book("t"))
        owner = read_owner(client, Keys(), "c")
        assert read_owner(client, Keys(), "nobody").accounts == {}
    assert body is not None
    shadow = Shadow(body)
    for ask in (lambda: what_if.what_if(shadow, owner, "f", []), lambda: what_if.open_owner(shadow, owner, "f")):
        with pytest.raises(Unanswerable, match="the positions of account t are not published"):
            ask()
    with pytest.raises(Unanswerable, match="account nobody"):
        what_if.open_owner(shadow, owner, "nobody")

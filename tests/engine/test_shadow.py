"""A shadow: a market without accounts, in which the same books give the same figures, as often as asked."""

import numpy as np
import pytest

from engine import books
from engine.codes import Code
from engine.core import MarginEngine
from engine.events import RECORD, Kind, id_key, key64
from engine.numbers import scaled
from engine.shadow import Shadow, market_of
from engine.snapshot import BadSnapshot
from engine.terms import Refused
from tests.engine.explain_world import FIRM, World

NAMES = ("f", "t", "k", "n")


def market(engine: MarginEngine) -> bytes:
    return market_of(engine, accounts=64, positions=4096)


def rich() -> World:
    """A world with an agreement and positions that were margined at its last marks."""
    world = World()
    world.hold()
    world.agreement()
    world.price("ZN", "110.25")
    for _ in range(3):
        world.clock()
    return world


def open_all(shadow: Shadow, world: World) -> list[int]:
    """Every account of the world with its book, and the agreement; the slots by NAMES."""
    engine = world.engine
    held = engine.books(np.array([world.slot(name) for name in NAMES], np.int32))
    shadow.define(kind="customer", id="c")
    slots = []
    for name, body in zip(NAMES, held, strict=True):
        info = engine.account_info(world.slot(name))
        (slot,), code = shadow.open("c", [name], info.pool, info.currency, books.unpack(body))
        assert code is Code.OK
        slots.append(slot)
    _, agreements = engine.agreements(0)
    shadow.documents(body for _, _, body in agreements)
    return slots


def figures(engine: MarginEngine, slots: list[int]) -> list[tuple[int, ...]]:
    """All figures but the number of changes, of which an account in a shadow has few."""
    rows = engine.figures(np.array(slots, np.int32))
    return [tuple(row)[:-1] for row in rows.tolist()]


def of_world(world: World) -> list[tuple[int, ...]]:
    return figures(world.engine, [world.slot(name) for name in NAMES])


def test_figures_of_a_shadow_are_those_of_the_engine_as_often_as_asked() -> None:
    world = rich()
    shadow = Shadow(market(world.engine))
    assert shadow.engine.account_count == 0
    assert (shadow.engine.offset, shadow.market_ns) == (world.engine.offset, world.engine.clock_ns)
    expected = of_world(world)
    assert len(set(expected)) == len(NAMES)
    for _ in range(3):
        slots = open_all(shadow, world)
        assert shadow.step(np.empty(0, RECORD)).rejects == []
        assert figures(shadow.engine, slots) == expected
        shadow.clear()
        assert (shadow.engine.account_count, shadow.engine.stored()["positions"]) == (0, {})


def test_another_market_of_the_same_documents_is_taken_over() -> None:
    world = rich()
    shadow = Shadow(market(world.engine))
    open_all(shadow, world)
    shadow.step(np.empty(0, RECORD))
    for name, price in (("BTC-USD", "90000"), ("PERP", "90010"), ("ZN", "109"), ("FUT", "90500")):
        world.price(name, price)
    for _ in range(3):
        world.clock()
    assert shadow.load(market(world.engine)) is shadow
    slots = open_all(shadow, world)
    shadow.step(np.empty(0, RECORD))
    assert figures(shadow.engine, slots) == of_world(world)

    world.define("instrument", "FUND-2", type="fund", currency="USD", tick="0.01", band=["0.01", "1000"], rule="FLAT")
    world.clock()
    other = shadow.load(market(world.engine))
    assert other is not shadow
    assert "FUND-2" in other.engine.definitions.instrument_ids


def test_a_trade_in_a_shadow_is_the_trade_in_the_engine() -> None:
    world = rich()
    shadow = Shadow(market(world.engine))
    slots = open_all(shadow, world)
    before = of_world(world)
    trade = np.zeros(1, RECORD)
    trade["kind"], trade["account"], trade["instrument"] = Kind.TRADE, key64("f"), key64("ZN")
    trade["quantity"], trade["price"] = scaled(-30, 10**8), scaled("110.5", 10**9)
    trade["id"] = id_key("what-if", "f", "", "1")
    assert shadow.step(trade).rejects == []
    world.trade("f", "ZN", -30)
    world.log.clock(0)  # at the same time: else later marks would be due
    assert figures(shadow.engine, slots) == of_world(world) != before

    trade["quantity"] = scaled("0.5", 10**8)
    first = shadow.origins
    (reject,) = shadow.step(trade).rejects
    assert (reject.code, reject.offset - first) == (Code.OFF_LOT, 0)


def test_a_book_holds_what_is_stored_and_its_hash_follows_it() -> None:
    world = rich()
    engine, slots = world.engine, np.array([world.slot(name) for name in NAMES], np.int32)
    before = engine.book_hashes(slots)
    assert len(set(before.tolist())) == len(NAMES)
    stored = engine.stored()
    for name, body in zip(NAMES, engine.books(slots), strict=True):
        book = books.unpack(body)
        assert (book.clock_ns, book.offset) == (engine.clock_ns, engine.offset)
        mine = {key64(key[1]): value for key, value in stored["positions"].items() if key[0] == name}
        assert {key: tuple(rest) for key, *rest in book.positions.tolist()} == mine
        held = {key64(key[1]): amount for key, amount in stored["holdings"].items() if key[0] == name}
        assert dict(book.holdings.tolist()) == held
    world.price("FUND", "26")
    world.clock()
    assert (engine.book_hashes(slots) == before).all()
    world.trade("n", "FUND", 1)
    world.log.collateral("k", "USD", -1)
    world.clock()
    assert (engine.book_hashes(slots) == before).tolist() == [True, True, False, False]
    world.trade("n", "FUND", -1)
    assert engine.book_hashes(slots)[3] == before[3]


def test_an_agreement_that_is_defined_again_is_told_again() -> None:
    world = rich()
    count, found = world.engine.agreements(0)
    assert [(customer, name) for customer, name, _ in found] == [("c", "ag")]
    assert world.engine.agreements(count) == (count, [])
    world.agreement(firm=FIRM | {"cme_member": False})
    again, found = world.engine.agreements(count)
    assert (again, len(found)) == (count + 1, 1)


def test_what_cannot_be_taken_is_said() -> None:
    world = rich()
    data = market(world.engine)
    shadow = Shadow(data)
    shadow.define(kind="customer", id="c")
    (body,) = world.engine.books(np.array([world.slot("f")], np.int32))
    book = books.unpack(body)
    unknown = book.positions.copy()
    unknown["instrument"] = key64("nobody")
    assert shadow.open("c", ["f"], "F", "USD", book._replace(positions=unknown))[1] is Code.UNKNOWN_INSTRUMENT
    elsewhere = book.holdings.copy()
    elsewhere["asset"] = key64("nothing")
    assert shadow.open("c", ["g"], "F", "USD", book._replace(holdings=elsewhere))[1] is Code.UNKNOWN_ASSET
    with pytest.raises(Refused, match="pool Q is not defined"):
        shadow.open("c", ["h"], "Q", "USD", books.EMPTY)
    with pytest.raises(ValueError, match="a book of 1 positions and 1 holdings has"):
        books.unpack(body[:-1])
    with pytest.raises(ValueError, match="cut short"):
        books.unpack(b"")
    with pytest.raises(BadSnapshot, match="checksum"):
        Shadow(data[:-1])

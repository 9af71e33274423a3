"""Explain: lines, contributions and parts of a change sum exactly, and are what plain Python makes of rows and lots."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import explain, explain_change, explain_views
from engine.core import MarginEngine
from engine.documents import Instrument
from engine.events import Flag
from engine.explain import PARTS
from engine.models.views import Legal
from engine.rules import BPS
from engine.scenarios.sets import encode
from engine.state import CHUNK
from tests.engine.explain_world import LOOK_BACK, MARKS, STRESS, World, historical

ACCOUNTS = "ftkn"
TRADED = {
    "UST-10Y": "t", "UST-2Y": "t", "ZN": "f", "PERP": "k", "CALL": "k", "ETH-PERP": "k", "FUT": "n", "ETH-FUT": "n",
    "INDEX": "n", "INDEX-2": "n", "EURO": "n",
}  # fmt: skip


@pytest.fixture(scope="module")
def held() -> World:
    """All positions and the agreement; not to be changed."""
    world = World()
    world.hold()
    world.agreement()
    world.clock()
    return world


@pytest.fixture(scope="module")
def tossed() -> World:
    """A world whose lots are set anew in each example."""
    return World()


@pytest.fixture
def world() -> World:
    """A world of a test's own, with positions and without an agreement."""
    own = World()
    own.hold()
    return own


def requirement(world: World, account: str) -> explain.Requirement:
    return explain.requirement(world.engine, world.slot(account))


def lots_of(engine: MarginEngine, account: int) -> dict[str, int]:
    """Lots by instrument, from the whole book."""
    book, d = engine.definitions.state.book, engine.definitions
    used = [s for s in range(int(d.state.now[0]["chunks"]) * CHUNK) if book.lots[s] and book.account[s] == account]
    return {d.instrument_ids[book.chunk_instrument[s // CHUNK]]: int(book.lots[s]) for s in used}


def profit(engine: MarginEngine, rule: str, instrument: str, lots: int, scenario: str) -> Fraction:
    """Minor units that a position wins in a scenario of a rule's set, from the engine's row."""
    d = engine.definitions
    row = d.state.portfolios[d.portfolios.rule_ids.index(rule)]
    at = d.portfolios.sets[d.rules[rule][0].parameters.scenarios or ""].labels.index(scenario)
    slot, s = d.instrument_slot(instrument), int(row["set"])
    return Fraction(lots * int(d.margin.risk.values[s, slot, at]) * int(d.margin.risk.scale[s, slot]), 10**4)


def check_sums(world: World, account: str) -> None:
    """All sums of an account's requirement are exact, and its figures are the stored ones."""
    found = requirement(world, account)
    assert found.now == found.stored
    assert found.behind == ()
    one_by_one = [one.required for one in (*found.alone, *found.portfolios)]
    assert sum(one.maintenance for one in one_by_one) == sum(total.required.maintenance for total in found.totals)
    into = [total.converted for total in found.totals if total.converted is not None]
    assert sum(one.initial for one in into) == found.stored.initial
    for one in found.portfolios:
        assert one.problem == ""
        assert sum(one.lines.values()) == one.required.maintenance
        assert sum(c.loss for c in one.contributions) == one.lines["RISK"] * PARTS
        assert one.contributions[-1].name == "rounding"
    short = explain.requirement(world.engine, world.slot(account), with_tails=False)
    bare = tuple(replace(one, tails=(), contributions=()) for one in found.portfolios)
    assert short == replace(found, portfolios=bare)


def check_contributions(world: World, account: str) -> None:
    """Each position's contribution is what it loses in the scenarios taken, by their weights."""
    engine, lots, seen = world.engine, lots_of(world.engine, world.slot(account)), set()
    for one in requirement(world, account).portfolios:
        assert one.rule is not None
        for name, kind, loss in one.contributions:
            if kind != "position":
                continue
            seen.add(name)
            document = engine.definitions.documents["instrument", name]
            assert isinstance(document, Instrument)
            tail = next(t for t in one.tails if t.of in ("", document.underlying or name))
            lost = [-profit(engine, one.rule.id, name, lots[name], s) * weight for s, weight in tail.taken]
            assert Fraction(loss, PARTS) == sum(lost) / BPS
    alone = {one.instrument for one in requirement(world, account).alone}
    assert seen | alone == set(lots)


def check_tail(world: World, account: str, rule: str) -> None:
    """The scenarios a historical rule takes are those of the 99 % loss of look-back and stress set."""
    engine, lots = world.engine, lots_of(world.engine, world.slot(account))
    found = next(one for one in requirement(world, account).portfolios if one.rule and one.rule.id == rule)
    labels = engine.definitions.portfolios.sets[found.scenarios].labels
    losses = {s: -sum(profit(engine, rule, i, n, s) for i, n in lots.items()) for s in labels}
    days, stress = sorted(losses[s] for s in labels[:LOOK_BACK]), sorted(losses[s] for s in labels[LOOK_BACK:])
    (day, weight), (wild, rest) = found.tails[0].taken
    assert (weight, rest) == (7500, 2500)
    assert losses[day] == days[-1 - LOOK_BACK // 100]
    assert losses[wild] == stress[-1 - STRESS // 100]
    risk = (3 * losses[day] + losses[wild]) / 4
    assert found.lines["RISK"] == max(0, -(-risk.numerator // risk.denominator))
    assert [loss for _, loss in found.tails[0].worst] == [10**4 * one for one in sorted(losses.values())[:-6:-1]]


@pytest.mark.parametrize("account", list(ACCOUNTS))
def test_all_sums_are_exact(held: World, account: str) -> None:
    check_sums(held, account)
    check_contributions(held, account)


@pytest.mark.parametrize(("account", "rule"), [("f", "CME"), ("t", "FICC")])
def test_the_quantile_falls_on_the_scenarios_named(held: World, account: str, rule: str) -> None:
    check_tail(held, account, rule)


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({name: st.integers(-300, 300) for name in TRADED}))
def test_sums_of_random_portfolios(tossed: World, lots: dict[str, int]) -> None:
    tossed.log.now_ns += 10**9
    for name, count in lots.items():
        document = tossed.engine.definitions.documents["instrument", name]
        assert isinstance(document, Instrument)
        tossed.log.start_of_day(TRADED[name], name, count * document.lot, MARKS[name])
    tossed.clock()
    for account in ACCOUNTS:
        check_sums(tossed, account)
        check_contributions(tossed, account)
    if lots["ZN"]:
        check_tail(tossed, "f", "CME")


def test_a_gain_everywhere_is_a_line_of_its_own(world: World) -> None:
    made = historical("UP", 1.0, 3)
    world.raw(encode(replace(made, matrix=abs(made.matrix) + 0.01)))
    world.rule("ALL-UP", "historical", scenarios="UP", tail="0.01", stress_weight="0.25", currency="USD", initial_ratio="1")
    world.define(
        "instrument", "LUCK", type="fund", currency="USD", tick="0.01", band=["0", "9"], rule="ALL-UP", underlying="SPX"
    )  # fmt: skip
    world.price("LUCK", "8")
    world.log.trade("n", "LUCK", 10, "8")
    world.clock()
    check_sums(world, "n")
    lucky = next(one for one in requirement(world, "n").portfolios if one.scenarios == "UP")
    (luck, line, rounding) = lucky.contributions
    assert (line.name, line.loss, rounding.loss) == ("a gain does not count", -luck.loss, 0)
    assert luck.loss < 0
    assert lucky.required == (0, 0)


def test_a_grids_tail_names_what_the_dampener_takes(world: World) -> None:
    world.trade("k", "PERP", "2.5")
    world.trade("k", "CALL", "-40")
    world.log.collateral("k", "BTC", "-0.5")
    world.clock()
    check_sums(world, "k")
    (grid,) = requirement(world, "k").portfolios
    (_, line, _) = grid.contributions
    assert line.name == "dampener and share of gains: BTC-USD"
    assert line.loss < 0
    (taken, _), *_ = grid.tails[0].taken
    assert taken.startswith("extended")
    move = float(taken.split()[1])
    assert -line.loss == int((abs(move) / 0.16 / (1 + 1e-12) - 1) * 25_000 * 100 * 10**4) * BPS


def test_each_commodity_has_its_own_worst_scenario(world: World) -> None:
    world.trade("n", "ETH-FUT", -7)
    world.trade("n", "INDEX-2", -10)
    world.clock()
    check_sums(world, "n")
    check_contributions(world, "n")
    found = {one.rule.id: one for one in requirement(world, "n").portfolios if one.rule}
    tails = {tail.of: tail.taken for tail in found["SCAN"].tails}
    assert tails == {"BTC-USD": (("13: price -1, volatility +1", BPS),), "ETH-USD": (("11: price +1, volatility +1", BPS),)}
    shares = [one for one in found["POINTS"].contributions if one.kind == "line"]
    assert [one.name for one in shares] == ["share of gains: NDX", "rounding"]
    assert shares[0].loss * 2 == -found["POINTS"].contributions[1].loss  # half of what the short index wins


def test_a_currency_is_converted_once_and_up(world: World) -> None:
    world.trade("n", "EURO", "3.7")
    world.clock()
    found = requirement(world, "n")
    euro = next(total for total in found.totals if total.currency == "EUR")
    assert (euro.required, euro.converted) == ((740, 555), (805, 604))  # 804.602, 603.4515
    assert found.now == found.stored


def test_collateral_of_the_pilot_counts_only_beyond_its_haircut(world: World) -> None:
    pilot = {"commencement": "2026-01-01", "months": 36, "floor": "0.2", "first": ["bitcoin"], "own_capital": {}}
    pilot |= {"residual_interest": []}
    coin = {"haircut": "0.3", "clearing_house_haircut": "0.05", "shocked": True, "digital": "bitcoin"}
    terms = {"USD": {"haircut": "0"}, "BTC": coin}
    world.rule("TAKEN", "collateral", effective=1, assets=terms, currency="USD", pilot=pilot)
    world.trade("k", "PERP", "5")
    world.clock()
    check_sums(world, "k")
    (grid,) = requirement(world, "k").portfolios
    (lost,) = [one.loss for one in grid.contributions if one.kind == "collateral"]
    (held,) = [one for one in explain_views.equity(world.engine, world.slot("k")).collateral if one.asset == "BTC"]
    assert (held.haircut_ppb, held.shock) == (50_000_000, "beyond")
    taken = grid.tails[0].taken[0][0]
    won = profit(world.engine, "GRID", "PERP", 500, taken)  # half a coin: 500 lots
    assert lost == -(won + 250_000) * PARTS > 0


def test_explaining_changes_nothing(held: World) -> None:
    engine = held.copy()
    explain.prepare(engine)
    before = engine.shard_digest(), engine.to_bytes()
    for account in ACCOUNTS:
        slot = held.slot(account)
        explain.requirement(engine, slot)
        explain_views.equity(engine, slot)
        explain_views.cross_of(engine, slot)
        explain_views.views(engine, slot)
    assert (engine.shard_digest(), engine.to_bytes()) == before
    assert explain.requirement(engine, held.slot("k")) == requirement(held, "k")


def test_figures_behind_their_positions_say_so(world: World) -> None:
    world.trade("f", "ZN", -100)
    found = requirement(world, "f")
    assert found.now is not None
    assert found.now.maintenance > found.stored.maintenance
    assert any(reason.startswith("its positions changed") for reason in found.behind)
    world.clock()
    world.price("ZN", "110.515625")
    assert requirement(world, "f").behind == ("marks moved since the rates or rows of ZN were built",)


def test_what_cannot_be_priced_says_why(world: World) -> None:
    world.price("CALL", "200000")
    world.clock()
    found = requirement(world, "k")
    assert found.now is None
    assert found.behind[0] == "it is UNPRICED: the stored figures are the last known"
    (grid,) = found.portfolios
    assert grid.problem.startswith("CALL: ")
    assert (grid.lines, grid.contributions) == ({}, ())


# Collateral


def test_collateral_lines_sum_to_equity(world: World) -> None:
    world.log.collateral("k", "BTC", "1")
    world.log.collateral("k", "EUR", "1000")
    world.price("PERP", "101000")
    world.clock()
    found = explain_views.equity(world.engine, world.slot("k"))
    assert found.now == found.stored == sum(one.worth or 0 for one in (*found.collateral, *found.positions))
    assert all(one.amount == one.haircut + one.over + one.margin for one in found.collateral)
    lines = {one.asset: one for one in found.collateral}
    assert (lines["BTC"].haircut, lines["BTC"].worth, lines["BTC"].shock) == (7_500_000, 9_000_000, "whole")  # cap 90,000
    assert lines["BTC"].over == 142_500_000 - 90_000_000
    assert (lines["BTC"].entry, lines["USD"].entry) == ("crypto", "")
    assert (lines["EUR"].margin, lines["EUR"].reason) == (0, "no entry for EUR or currency")
    assert [(one.currency, one.worth) for one in found.positions] == [("USD", -250_000)]


# Cross-margin and views


def test_cross_margin_in_force(held: World) -> None:
    found = explain_views.cross_of(held.engine, held.slot("t"))
    assert found is not None
    assert (found.reasons, found.basis, found.saving_ppb) == ((), "AGREED", 800_000_000)
    cme, ficc = (house.figures for house in found.houses)
    lines = {account: requirement(held, account).portfolios[0].lines for account in "ft"}
    assert cme is not None
    assert ficc is not None
    assert cme[1] == lines["f"]["RISK"]
    assert ficc[0] < lines["t"]["RISK"]  # without the note that is not eligible
    for house, (treasury, futures, both) in zip(found.houses, (cme, ficc), strict=True):
        assert house.saving_ppb == 10**9 * (treasury + futures - both) // (treasury + futures)
    assert found.takes_off == tuple((account, "USD", lines[account]["CROSS"]) for account in "ft")
    reasons = {instrument: why for _, instrument, why in found.positions}
    assert reasons["UST-10Y"] == reasons["ZN"] == ()
    assert reasons["UST-2Y"] == ("the Treasury, or the repo's collateral, has one year or less to maturity",)
    assert explain_views.cross_of(held.engine, held.slot("k")) is None


def test_cross_margin_not_in_force_says_why(world: World) -> None:
    world.agreement(signed=False, treasury_entity="Y")
    world.clock()
    found = explain_views.cross_of(world.engine, world.slot("f"))
    assert found is not None
    assert (found.basis, found.houses, found.takes_off) == ("not in force", (), ())
    assert len(found.reasons) == 2
    assert any("no signed cross-margin agreement" in reason for reason in found.reasons)
    _, cross, _ = explain_views.views(world.engine, world.slot("f")).views
    assert (cross.status, cross.saving_minor) == (Legal.PENDING, 0)
    assert cross.blocked == tuple(f"ag: {reason}" for reason in found.reasons)


def test_three_views(held: World) -> None:
    found = explain_views.views(held.engine, held.slot("f"))
    silo, cross, unified = found.views
    crossed = sum(requirement(held, account).portfolios[0].lines["CROSS"] for account in "ft")
    assert cross.requirement_minor == sum(requirement(held, account).stored.maintenance for account in ACCOUNTS)
    assert silo.requirement_minor == cross.requirement_minor - crossed
    assert cross.saving_minor == -crossed
    assert {pool.name: pool.requirement_minor for pool in cross.pools} == {
        pool: requirement(held, account).stored.maintenance for pool, account in zip("FTKN", ACCOUNTS, strict=True)
    }
    assert (cross.status, unified.status) == (Legal.IN_FORCE, Legal.HYPOTHETICAL)
    assert unified.requirement_minor is not None
    assert silo.requirement_minor > unified.requirement_minor > 0
    assert found.unified_by == "set H1, tail 100 bps, stress weight 2500 bps"
    assert unified.blocked == (explain_views.APART,)


def test_unified_margin_of_one_regime_is_that_regimes() -> None:
    world = World()
    world.trade("f", "ZN", -100)
    world.trade("n", "FUND", -70)
    world.clock()
    silo, _, unified = explain_views.views(world.engine, world.slot("f")).views
    assert unified.requirement_minor == silo.requirement_minor == requirement(world, "f").stored.maintenance + 10_500


def test_unified_margin_is_of_the_set_that_is_named_whatever_was_looked_at_before() -> None:
    world = World()
    world.trade("f", "ZN", -100)
    found = []
    for version, scale in (("1", 1.0), ("2", 2.0)):
        world.raw(encode(replace(historical("H1", scale, 1), version=version)))
        world.clock()
        unified = explain_views.views(world.engine, world.slot("f")).views[2].requirement_minor
        assert unified == requirement(world, "f").stored.maintenance
        found.append(unified)
    assert found[1] > 1.5 * found[0]


def test_unified_margin_without_a_factor_is_not_computed(world: World) -> None:
    world.trade("k", "ETH-PERP", 3)
    world.clock()
    found = explain_views.views(world.engine, world.slot("k"))
    assert found.views[2].requirement_minor is None
    assert found.unified_by == "not computed: ETH-PERP: set H3 has no factor ETH-USD"
    assert found.views[2].blocked == (explain_views.APART, found.unified_by)


# The change since a moment


def change(older: MarginEngine, world: World, account: str) -> dict[str, explain_change.Figures]:
    """The parts by name, after their sum was found exact."""
    found = explain_change.change(older, world.copy(), account)
    total = explain_change.Figures(*map(sum, zip(*(part for _, part in found.parts), strict=True)))
    assert total == found.now.figures.less(found.then.figures)
    assert [name for name, _ in found.parts] == [*explain_change.STEPS, explain_change.NOT_SEPARABLE]
    assert found.notes == ()
    return dict(found.parts)


def new_rule(world: World) -> None:
    """A version that comes into force between two clocks."""
    terms = {"scenarios": "H1", "tail": "0.02", "stress_weight": "0.25", "currency": "USD", "initial_ratio": "1.2"}
    world.rule("CME", "historical", effective=world.log.now_ns + 5 * 10**8, **terms)


ALONE: dict[str, tuple[str, Callable[[World], object]]] = {
    "positions": ("f", lambda world: world.trade("f", "ZN", -20)),
    "prices": ("k", lambda world: world.price("BTC-USD", "90000")),
    "volatility": ("n", lambda world: world.log.volatility("BTC-USD", 30, "0.7", ts_ns=world.log.now_ns + 1)),
    "rules": ("f", new_rule),
    "collateral": ("k", lambda world: world.log.collateral("k", "BTC", "-0.1")),
    "cross-margin": ("t", lambda world: world.agreement()),
}


@pytest.mark.parametrize("part", explain_change.STEPS)
def test_each_ingredient_alone_is_its_own_part(world: World, part: str) -> None:
    account, act = ALONE[part]
    older = world.copy()
    act(world)
    world.clock()
    parts = change(older, world, account)
    moved = parts.pop(part)
    assert moved.maintenance != 0
    # An option's time passes too, which is a part of prices.
    assert all(one.maintenance == 0 for name, one in parts.items() if (name, account) != ("prices", "k"))


def test_all_at_once_sums_exactly(world: World) -> None:
    older = world.copy()
    for _, act in ALONE.values():
        act(world)
    world.price("CALL", "1100")
    world.price("UST-10Y", "99.1")
    world.trade("n", "FUND", 10)
    for _ in range(3):
        world.clock()
    parts = {account: change(older, world, account) for account in ACCOUNTS}
    assert [name for name, part in parts["f"].items() if part.maintenance] == ["positions", "rules", "cross-margin"]
    assert parts["n"]["positions"].maintenance == -1_500
    assert parts["t"]["prices"].equity == -4_000_000
    assert all(abs(part[explain_change.NOT_SEPARABLE].maintenance) <= 100 for part in parts.values())


def test_an_instrument_of_after_then_is_in_the_positions(world: World) -> None:
    older = world.copy()
    world.define("instrument", "NEW", type="fund", currency="USD", tick="0.01", band=["0", "100"], rule="FLAT")
    world.price("NEW", "10")
    assert world.log.trade("n", "NEW", 100, "11").rejects == []
    world.clock()
    found = explain_change.change(older, world.copy(), "n")
    parts = dict(found.parts)
    assert parts["positions"] == explain_change.Figures(-10_000, 20_000, 15_000)
    assert found.notes == ("prices: NEW had no mark then; that of now is used throughout",)
    assert parts[explain_change.NOT_SEPARABLE] == (0, 0, 0)


def test_what_is_unpriced_now_is_not_separable(world: World) -> None:
    older = world.copy()
    world.price("CALL", "200000")
    world.clock()
    found = explain_change.change(older, world.copy(), "k")
    assert [name for name, _ in found.parts] == ["positions", explain_change.NOT_SEPARABLE]
    assert found.notes[0].startswith("prices: not separable: the account is UNPRICED: CALL: ")
    assert found.now.figures == found.then.figures


def test_an_account_of_after_then_is_refused(world: World) -> None:
    older = world.copy()
    world.define("account", "late", customer="c", pool="F", currency="USD")
    with pytest.raises(ValueError, match=f"account late was not defined at offset {older.offset}"):
        explain_change.change(older, world.copy(), "late")


def test_what_expired_meanwhile_left_the_positions(world: World) -> None:
    terms = {"type": "crypto_future", "currency": "USD", "tick": "5", "band": ["5", "1000000"], "underlying": "BTC-USD"}
    expiry = world.log.now_ns + 3 * 10**9
    world.define("instrument", "SOON", multiplier="5", rule="SCAN", expiry=expiry, **terms)
    world.price("SOON", "100000")
    assert world.log.trade("n", "SOON", 2, "100000").rejects == []
    world.clock()
    older = world.copy()
    world.clock(2)
    assert world.log.price("SOON", "101000", flags=Flag.SETTLEMENT).rejects == []
    world.clock()
    parts = change(older, world, "n")
    assert parts["positions"].maintenance < 0
    assert sum(part.equity for part in parts.values()) == 2 * 5 * 100_000
    assert parts[explain_change.NOT_SEPARABLE] == (0, 0, 0)

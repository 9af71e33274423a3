"""Portfolio margin in the stream: laws of the requirement, the end state margined afresh, golden figures through rows.

Small logs run beside the twin, which must agree after every frame.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from engine import explain, explain_views
from engine.core import MarginEngine
from engine.documents import Agreement, Instrument, time_ns
from engine.events import NS, Flag, Kind
from engine.margin import MOST_ROWS
from engine.models.cross_margin import Reason
from engine.models.grid import Shocks
from engine.report import AgreedLeg, AgreementState
from engine.scenarios.sets import ScenarioSet, grid_set, points_set, span_set
from tests.engine.compare import Solo, figures_of
from tests.engine.models.golden import golden
from tests.engine.small_log import START_NS, SmallLog
from tests.strategies import ROOMY, Cut, frames, replace_limits, stream

DAY_NS = 86_400 * NS
LIMITS = {"scenarios": 40, "portfolios": 8, "sets": 8, "pools": 8, "instruments": 16}
MOVES = (-0.21, -0.08, -0.03, -0.011, 0.002, 0.019, 0.05, 0.13)
CELLS = Shocks(0.16, 0.5, 0.25, 0.5, 0.3, 0.13, 1.0, buckets=2, extended=(-0.5, 1.0))
COIN = {"type": "perpetual", "underlying": "X", "lot": "0.01", "tick": "0.1", "band": ["1", "1000000"]}


def history(moves: Sequence[float] = MOVES, factor: str = "X", kind: str = "log", stress: int = 2) -> ScenarioSet:
    """A historical set of one factor; the last scenarios are its stress set."""
    labels, matrix = tuple(f"day {i}" for i in range(len(moves))), np.array(moves)[:, None]
    return ScenarioSet("H", "1", (factor,), (kind,), labels, matrix, {"look_back": len(moves) - stress})


MODELS: dict[str, tuple[ScenarioSet, dict[str, Any]]] = {
    "historical": (history(), {"tail": "0.2", "stress_weight": "0.25"}),
    "scan": (span_set(), {"ranges": {"X": {"price": "0.1", "volatility": "0.2", "fraction": True}}}),
    "grid": (grid_set(CELLS), {"gain_share": "1", "gain_cap": "1000000000"}),
    "points": (replace(points_set("equity"), name="ten"), {"offset": "1"}),
}


def desk(model: str, **parameters: Any) -> SmallLog:
    """A log with accounts a and b, and linear, inverse and option positions on X under one rule of a model."""
    log, (made, own) = SmallLog(LIMITS), MODELS[model]
    log.money()
    log.scenarios(made)
    log.instrument("X", type="index", tick="0.1", band=["1", "1000000"])
    log.instrument("COIN-USD", type="index", tick="0.0001", band=["0.5", "2"])
    log.document("asset", "COIN", type="stablecoin", currency="USD", instrument="COIN-USD", haircut="0.02")
    log.rule("R", model, **({"scenarios": made.name, "currency": "USD", "initial_ratio": "1"} | own | parameters))
    expiry = START_NS + 30 * DAY_NS
    for name, more in (
        ("P", {}), ("Q", {}), ("I", {"inverse": True, "multiplier": "10", "lot": "1", "currency": "BTC"}),
        ("C", {"type": "option", "strike": "60000", "right": "call", "expiry": expiry}),
        ("D", {"type": "option", "strike": "50000", "right": "put", "expiry": expiry}),
    ):  # fmt: skip
        if name == "I":
            log.instrument("BTC-USD", type="spot", band=["1", "1000000"])
            log.document("asset", "BTC", type="crypto", currency="USD", instrument="BTC-USD", decimals=8)
            log.price("BTC-USD", 60_000)
        log.instrument(name, **(COIN | {"rule": "R"} | more))
    for name, price in (("X", 60_000), ("P", 60_000), ("Q", 60_000), ("I", 60_100), ("C", 4200), ("D", 700)):
        log.price(name, price)
    for account in "ab":
        log.account(account)
        log.collateral(account, "USD", 10**7)
    return log


def maintenance(log: SmallLog, account: str) -> int:
    """What an account, which must be priced, requires after a clock."""
    log.clock()
    figures = log.figures(account)
    assert figures["quality"] == "FRESH"
    return int(figures["maintenance"])


TRADES = st.lists(st.tuples(st.sampled_from("PQICD"), st.integers(-400, 400)), min_size=1, max_size=8)
QUICK = settings(max_examples=12, deadline=None)


def trade(log: SmallLog, account: str, name: str, lots: int) -> None:
    """So many lots at the mark."""
    price = {"C": 4200, "D": 700, "I": 60_100}.get(name, 60_000)
    lot = Decimal(1) if name == "I" else Decimal("0.01")
    log.trade(account, name, lots * lot, price)


@pytest.mark.parametrize("model", MODELS)
@QUICK
@given(trades=TRADES)
def test_twice_every_position_is_twice_the_risk_and_no_order_matters(model: str, trades: list[tuple[str, int]]) -> None:
    log = desk(model)
    for name, lots in trades:
        trade(log, "a", name, lots)
    for name, lots in reversed(trades):
        trade(log, "b", name, lots)
    once = maintenance(log, "a")
    assert once == maintenance(log, "b") >= 0
    for name, lots in trades:
        trade(log, "a", name, lots)
    assert 0 <= 2 * once - maintenance(log, "a") <= 1  # both are rounded up


@pytest.mark.parametrize("model", MODELS)
def test_an_exact_offset_of_everything_leaves_nothing(model: str) -> None:
    log = desk(model)
    for name, lots in (("P", 300), ("Q", -300)):  # the same terms at the same mark
        trade(log, "a", name, lots)
    assert maintenance(log, "a") == 0
    trade(log, "a", "P", 1)
    assert maintenance(log, "a") > 0


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("historical", {"floor": "0.01"}), ("scan", {"minimum": "3", "calendar_charge": "1"}),
     ("grid", {"roll_minimum": "0.01", "delta_threshold": "1", "delta_step": "0.001", "delta_cap": "0.1"}),
     ("points", {"minimum": "3"})],
)  # fmt: skip
@QUICK
@given(trades=TRADES)
def test_what_comes_on_top_is_never_below_the_risk(
    model: str, parameters: dict[str, Any], trades: list[tuple[str, int]]
) -> None:
    found = []
    for more in ({}, parameters, parameters | {"multiplier": "1.5"}):
        log = desk(model, **more)
        for name, lots in trades:
            trade(log, "a", name, lots)
        found.append(maintenance(log, "a"))
    assert found[0] <= found[1] <= found[2]
    assert found[2] == -(-found[1] * 3 // 2)


def test_a_stablecoin_off_its_peg_is_a_line_of_its_own() -> None:
    log = desk("points", multiplier="1.5", addons={"depeg": {"asset": "COIN", "threshold": "0.01", "share": "0.1"}})
    log.price("COIN-USD", 1)
    log.collateral("a", "COIN", 1000)
    trade(log, "a", "P", 100)
    held = maintenance(log, "a")

    def charged(price: Any, coins: int = 0) -> int:
        """What is required more, and that the line says so."""
        log.price("COIN-USD", price)
        log.collateral("a", "COIN", coins)
        log.clock()  # whoever holds what the rule margins is due
        more = maintenance(log, "a") - held
        engine = log.pair.engine
        (found,) = explain.requirement(engine, engine.find_account("a") or 0).portfolios
        assert found.required.maintenance == held + more
        assert found.lines["DEPEG"] == more * 2 // 3
        return more

    assert charged("0.9901") == 0
    assert charged("0.99") == 12_000  # 1.5 x (100 - 20) USD
    assert charged("0.95") == 12_000
    assert charged("0.95", 500) == 18_000
    assert charged("0.991") == 0
    assert charged("0.9", -1500) == 0


FIRM = dict.fromkeys(("broker_dealer", "futures_commission_merchant", "cme_member", "ficc_member"), True)


def crossed(cap: str = "0.6", signed: bool = True, ficc: ScenarioSet | None = None) -> SmallLog:
    """Futures in account f and notes in t of one customer under an agreement; ficc: that house's own set of Y and Z."""
    log = SmallLog(LIMITS)
    log.money()
    log.scenarios(history((-30.0, -12, -4, 3, 11, 26, -40, 40), "Y", "bp"))
    log.document("pool", "s", regime="sec", currency="USD")
    log.instrument("Y", type="yield", band=["-5", "25"], tick="0.001")
    log.instrument("Z", type="yield", band=["-5", "25"], tick="0.001")
    if ficc is not None:
        log.scenarios(ficc)
        log.scenarios(replace(ficc, name="H"))
    for rule in ("CME", "FICC"):
        made = "H" if rule == "CME" or ficc is None else ficc.name
        log.rule(rule, "historical", scenarios=made, currency="USD", tail="0", initial_ratio="1")
    log.rule(
        "XM", "cross_margin", houses=["CME", "FICC"], products=["treasury", "F"], years=1, pools=["p", "s"], cap=cap, ttl=60
    )  # fmt: skip
    terms = {"dv01": "0.07", "bucket": "10Y", "underlying": "Y", "band": ["50", "150"], "stale_after": 100}
    future = terms if ficc is None else terms | {"underlying": "Z"}
    log.instrument("F", type="treasury_future", multiplier="1000", rule="CME", product="F", **future)
    log.instrument(
        "N", type="treasury", multiplier="0.01", lot="100", rule="FICC", maturity="2036-11-15", coupon="4", **terms
    )  # fmt: skip
    log.account("f")
    log.account("t", pool="s")
    for account, name in (("f", "F"), ("t", "N")):
        log.collateral(account, "USD", 10**6)
        log.price(name, 100)
    agreed(log, signed=signed)
    return log


def agreed(log: SmallLog, **changes: Any) -> None:
    """The agreement of f and t, or a new version of it."""
    terms = {"customer": "c", "rule": "XM", "futures_account": "f", "treasury_account": "t", "futures_entity": "L"}
    more = {"treasury_entity": "L", "firm": FIRM, "signed": True, "designated": True}
    assert not log.document("agreement", "ag", **(terms | more | changes)).rejects


@QUICK
@given(st.integers(-60, 60), st.integers(-90_000, 90_000), st.sampled_from(("0", "0.3", "1")))
def test_a_saving_is_from_nothing_to_the_cap(futures: int, notes: int, cap: str) -> None:
    log = crossed(cap, signed=False)
    log.trade("f", "F", futures, 100)
    log.trade("t", "N", notes * 100, 100)
    apart = {account: maintenance(log, account) for account in "ft"}
    agreed(log)
    for account, alone in apart.items():
        assert alone * (1 - Decimal(cap)) <= maintenance(log, account) <= alone
        if futures * notes >= 0:
            assert maintenance(log, account) == alone  # nothing offsets


def test_an_agreement_counts_only_while_it_is_in_force() -> None:
    log = crossed()
    log.trade("f", "F", -20, 100)
    log.trade("t", "N", 20 * 100_000, 100)
    with_it = maintenance(log, "f"), maintenance(log, "t")
    agreed(log, signed=False)
    without = maintenance(log, "f"), maintenance(log, "t")
    assert [-(-apart * 4 // 10) for apart in without] == list(with_it)  # the cap is 60 %
    agreed(log, treasury_entity="another")
    assert (maintenance(log, "f"), maintenance(log, "t")) == without
    agreed(log)
    assert (maintenance(log, "f"), maintenance(log, "t")) == with_it


def test_a_saving_does_not_rise_while_an_input_is_stale() -> None:
    log = crossed()
    log.trade("f", "F", -5, 100)
    log.trade("t", "N", 20 * 100_000, 100)
    log.clock()
    (_, before, _, _) = savings(log)
    assert 0 < before < 6 * 10**8
    log.clock(200)  # F grows stale, N is priced anew
    log.price("N", 100)
    log.trade("f", "F", -5, 100)
    log.clock()
    assert log.figures("f")["quality"] == "STALE"
    assert savings(log)[1] == before
    log.price("F", 100)
    log.clock()  # of the same positions and rows
    assert log.figures("f")["quality"] == "FRESH"
    assert savings(log)[1] > before


def test_while_a_house_has_no_set_for_a_leg_the_last_agreed_saving_holds_for_the_other_house() -> None:
    moves, labels = np.array((-30.0, -12, -4, 3, 11, 26, -40, 40)), tuple(f"day {i}" for i in range(8))
    both = ScenarioSet("G", "1", ("Y", "Z"), ("bp", "bp"), labels, np.stack([moves, moves], 1), {})
    log = crossed(ficc=both)
    log.trade("f", "F", -20, 100)
    log.trade("t", "N", 20 * 100_000, 100)
    agreed(log, signed=False)
    apart = {account: maintenance(log, account) for account in "ft"}
    agreed(log)
    reduced = {account: maintenance(log, account) for account in "ft"}
    assert basis(log) == "AGREED"
    assert all(reduced[account] < apart[account] for account in "ft")
    log.scenarios(replace(both, version="2", factors=("Y",), kinds=("bp",), matrix=both.matrix[:, :1]))
    assert maintenance(log, "f") == reduced["f"]
    assert maintenance(log, "t") == apart["t"]  # its house does not answer, and reduces nothing
    assert (basis(log), savings(log)[1]) == ("LAST_AGREED", savings(log)[2])
    info = log.pair.engine.take_agreements()[0]
    assert (info.state, info.treasury.after) == (AgreementState.FALLBACK, info.treasury.alone)
    log.clock(61)
    for name in "FN":
        log.price(name, "100.5")
    log.clock(20)
    assert basis(log) == "NONE"
    assert savings(log)[1] == 0
    assert {log.figures(account)["quality"] for account in "ft"} == {"FRESH"}
    log.scenarios(replace(both, version="3"))
    log.clock(2)
    assert basis(log) == "AGREED"


def basis(log: SmallLog) -> str:
    """What the saving of the one agreement comes from, as explain says."""
    engine = log.pair.engine
    found = explain_views.cross_of(engine, engine.find_account("f") or 0)
    assert found is not None
    return found.basis


def test_what_is_published_of_an_agreement() -> None:
    log = crossed(signed=False)
    log.trade("f", "F", -20, 100)
    log.trade("t", "N", 20 * 100_000, 100)
    engine, alone = log.pair.engine, {account: maintenance(log, account) for account in "ft"}
    (info,) = engine.take_agreements()
    assert (info.id, info.customer, info.rule, info.state) == ("ag", "c", "XM", AgreementState.NOT_IN_FORCE)
    assert info.reasons == (str(Reason.NO_AGREEMENT),)
    assert (info.saving_ppb, info.basis, info.futures) == (0, "", AgreedLeg("f", "USD", 2, None, None))
    agreed(log)
    log.clock()
    (info,) = engine.take_agreements()
    assert (info.state, info.reasons, info.saving_ppb, info.basis) == (AgreementState.IN_FORCE, (), 6 * 10**8, "AGREED")
    for leg in (info.futures, info.treasury):
        assert (leg.alone, leg.after) == (alone[leg.account], log.figures(leg.account)["maintenance"])
    assert engine.take_agreements() == []
    assert MarginEngine.from_bytes(engine.to_bytes()).take_agreements()[0].futures == info.futures


def savings(log: SmallLog) -> tuple[int, ...]:
    """Of the one agreement: active, the saving now, the last agreed one and when."""
    rows = log.pair.engine._open_log.state.agreements
    return tuple(int(rows[0][name]) for name in ("active", "applied", "saving", "agreed_ns"))


# --- the end state, margined afresh ----------------------------------------------------------------------------------


def requirements(engine: MarginEngine) -> dict[str, tuple[int, ...]]:
    """Quality, initial and maintenance of accounts that are priced, as is the other leg of their agreement."""
    documents, figures = engine._open_log.definitions.documents.values(), figures_of(engine)
    frozen = {one for one, f in figures.items() if f[1] == 2}
    legs = [{d.futures_account, d.treasury_account} for d in documents if isinstance(d, Agreement)]
    frozen = frozen.union(*(pair for pair in legs if pair & frozen))
    return {account: (f[1], f[3], f[4]) for account, f in figures.items() if account not in frozen}


def finished(seed: int) -> SmallLog:
    """A stream's end: marks repeated now, every rule in force as a new version, and a clock that builds everything again."""
    source = stream(seed, 250, "plain")
    limits = replace_limits(source.limits, {"rebuild_bps": 0, "rebuild_ms": 1, "spread_ms": 1000})
    source = replace(source, limits=limits)
    solo = Solo()
    for frame in frames(source, 1, Cut(seed=seed))[0]:
        solo.step(frame)
    every = {name: getattr(limits, name) for name in limits.__struct_fields__}
    changes = {name: value for name, value in every.items() if value != getattr(ROOMY, name)}
    log = SmallLog(changes, source.start_ns, solo, solo.engine.clock_ns, writer=99)
    log.offsets.update(dict.fromkeys(Kind, 10**6))
    definitions = solo.engine._open_log.definitions
    stored = solo.engine.stored()
    for name, (mark, _) in stored["marks"].items():
        log.price(name, price_of(definitions.documents["instrument", name], mark))
    for rule_id in list(definitions.rules):
        rule = definitions.rule_in_force(rule_id, log.now_ns)
        if rule is not None:
            log.raw(msgspec.json.encode(structs.replace(rule, effective=log.now_ns)))
    log.clock(0)
    return log


def price_of(document: Instrument, mark: int) -> Decimal:
    """A mark in thousandths of a tick as a price."""
    return (document.tick * mark / 1000).quantize(Decimal("1e-9"))


def afresh(ended: MarginEngine, changes: dict[str, int], built_ns: int) -> MarginEngine:
    """Another engine that is told documents, marks, collateral and positions; its rows are built at the same time."""
    log = SmallLog(changes, 0, Solo(), built_ns)
    definitions, stored = ended._open_log.definitions, ended.stored()
    for body in definitions.applied:
        assert not log.raw(body).rejects
    for name, (mark, ts_ns) in stored["marks"].items():
        document = definitions.documents["instrument", name]
        is_final = document.expiry is not None and ts_ns >= time_ns(document.expiry)
        flags = Flag.SETTLEMENT if is_final else 0
        assert not log.price(name, price_of(document, mark), ts_ns=ts_ns, flags=flags).rejects
    for (name, tenor), (value, is_bp, ts_ns) in stored["volatilities"].items():
        flags = Flag.BASIS_POINTS if is_bp else 0
        log.volatility(name, Decimal(tenor) / 10**8, Decimal(value) / 10**9, ts_ns=ts_ns, flags=flags)
    for (account, asset), held in stored["holdings"].items():
        decimals = definitions.documents["asset", asset].decimals
        log.collateral(account, asset, Decimal(held).scaleb(-decimals), replace=True, ts_ns=1)
    for (account, name), (lots, _, _) in stored["positions"].items():
        document = definitions.documents["instrument", name]
        log.start_of_day(account, name, lots * document.lot, document.band[1], ts_ns=1)
    log.clock(0)
    log.clock(3)
    return log.pair.engine


@pytest.mark.parametrize("seed", [300, 301, 304, 305, 306, 307, 309, 310])
def test_the_end_state_margined_afresh_is_the_same_whichever_accounts_are_margined_together(seed: int) -> None:
    log = finished(seed)
    data, number, built_ns = log.pair.engine.to_bytes(), log.number, log.now_ns
    log.clock(3)  # every account's phase is passed at once
    at_once = log.pair.engine
    log.pair, log.number, log.now_ns = Solo(MarginEngine.from_bytes(data)), number, built_ns
    for _ in range(15):
        log.clock(0.2)
    expected = requirements(at_once)
    assert requirements(log.pair.engine) == expected
    assert requirements(afresh(at_once, log.limits, built_ns)) == expected
    assert len(expected) >= 2


# --- golden figures through integer rows -----------------------------------------------------------------------------


def priced(log: SmallLog, name: str, price: Any, quantity: Any, **fields: Any) -> None:
    """An instrument with a mark, and a position of account a in it."""
    log.instrument(name, **fields)
    log.price(name, price)
    log.trade("a", name, quantity, price)


def golden_log(made: ScenarioSet, model: str, **parameters: Any) -> SmallLog:
    """An account and a rule R over a set."""
    log = SmallLog(LIMITS)
    log.money()
    log.account("a")
    log.collateral("a", "USD", 10**9)
    log.scenarios(made)
    assert not log.rule("R", model, scenarios=made.name, currency="USD", initial_ratio="1", **parameters).rejects
    return log


def required(log: SmallLog) -> int:
    """Cents that account a requires now."""
    log.clock(0)
    assert log.figures("a")["quality"] == "FRESH"
    return int(log.figures("a")["maintenance"])


def test_golden_grid_of_short_calls() -> None:
    figures = golden("option_grid")
    shocks = Shocks(0.16, 0.5, 0.25, 0.5, 0.3, 0.13, 1.0, extended=())
    log = golden_log(grid_set(shocks), "grid")
    log.instrument("X", type="index", tick="0.1", band=["1", "1000000"])
    log.price("X", 100_000)
    priced(
        log, "C", figures["mark"], -10, type="option", rule="R", tick="0.00001", underlying="X", strike="110000",
        right="call", expiry=START_NS + 15 * DAY_NS,
    )  # fmt: skip
    # 10 lots x half a thousandth of a cent, the fifth decimal of the mark, and the cent that is rounded up
    assert -100 * figures["worst"] - 1 <= required(log) <= -100 * figures["worst"] + 1


def test_golden_span_of_a_future() -> None:
    case = next(case for case in golden("span")["cases"] if case["id"] == "long future")
    log = golden_log(span_set(), "scan", ranges={"F": {"price": "10000"}})
    priced(log, "F", 40, 1, type="crypto_future", rule="R")
    assert required(log) == 100 * case["scan_risk"]


def test_golden_ten_points_of_a_hedged_stock() -> None:
    figures = golden("securities_portfolio_margin")
    log = golden_log(points_set("equity"), "points", offset="1", minimum="0.375")
    priced(log, "S", 50, 1000, type="fund", rule="R")
    priced(
        log, "P", figures["put_mark"], 10, type="option", rule="R", tick="0.000001", multiplier="100", underlying="S",
        strike="50", right="put", expiry=START_NS + 90 * DAY_NS,
    )  # fmt: skip
    assert abs(required(log) - 100 * figures["requirement"]) <= 1


def test_golden_strip_of_rate_futures() -> None:
    figures = golden("sofr_strip")
    moves = {float(bp): int(profit) for bp, profit in figures["futures_pnl_by_rate_move_bp"].items()}
    for bp, profit in moves.items():
        log = golden_log(history((bp,), "m3", "bp", stress=0), "historical", tail="0")
        for i, (lots, price) in enumerate(zip(figures["lots"], figures["prices"], strict=True)):
            priced(
                log, f"S{i}", price, -lots, type="rate_future", rule="R", tick="0.0025", multiplier="2500", bucket="3M",
                dv01="0.01", band=["0", "200"],
            )  # fmt: skip
        assert required(log) == 100 * max(0, -profit)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_rows_that_moved_are_built_so_many_at_a_clock() -> None:
    count = MOST_ROWS + 6
    log = SmallLog(LIMITS | {"instruments": count, "positions": 128, "rebuild_bps": 0, "spread_ms": 1})
    log.money()
    log.account("a")
    log.collateral("a", "USD", 10**6)
    log.scenarios(points_set("equity"))
    log.rule("R", "points", scenarios="points equity", currency="USD", initial_ratio="1", offset="0")
    for i in range(count):
        log.instrument(f"S{i}", rule="R")
        log.price(f"S{i}", 100)
        log.trade("a", f"S{i}", 1, 100)
    one = maintenance(log, "a")
    assert one == count * 1500
    for i in range(count):
        log.price(f"S{i}", 200)
    assert maintenance(log, "a") == 1500 * (count + MOST_ROWS)
    assert maintenance(log, "a") == 3000 * count

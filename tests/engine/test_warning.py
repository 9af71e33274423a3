"""Early warning: against its slow twin on random worlds, and on portfolios whose distances and ladder are worked by hand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import HOUR_NS, NS, Flag
from engine.models.addons import Regime
from engine.warning import FIRST, FIRST_AT_CLOSE, LATER, RUNGS, UNCHANGED, WINDOWS, Warnings, move_text
from tests import naive_warning as twin
from tests.engine import test_portfolio
from tests.engine.small_log import SmallLog
from tests.engine.test_calls import called
from tests.engine.test_views import played
from tests.naive_state import Account, State


def text(factor: twin.Factor) -> str:
    """A factor's name outside."""
    return ":".join(factor)


@settings(max_examples=12, deadline=None, print_blob=True)
@given(st.integers(0, 2**32 - 1))
def test_random_worlds_agree_with_the_twin(seed: int) -> None:
    pair = played(seed)
    state, found = pair.naive.state, pair.engine.warnings()
    warned = twin.warned(state)
    assert found.unpriced == len(state.accounts) - len(warned)
    assert found.short == sum(account.equity < account.maintenance for account in warned)
    for slot, (name, account) in enumerate(state.accounts.items()):
        if account in warned:
            check_distance(state, account, float(found.distance[slot]), int(found.nearest[slot]), found.factors)
        else:
            assert math.isnan(found.distance[slot]), name
    for name, rung in found.ladder.items():
        expected = twin.rung(state, name)
        assert rung.accounts == len(expected)
        assert rung.call_usd == pytest.approx(sum(expected.values()), rel=1e-9, abs=1)
        assert dict(rung.first) == pytest.approx(expected, rel=1e-9, abs=1)
        assert [call for _, call in rung.first] == sorted((call for _, call in rung.first), reverse=True)
    check_forecast(state, found)


def check_distance(state: State, account: Account, distance: float, nearest: int, names: tuple[str, ...]) -> None:
    if account.equity < account.maintenance:
        assert (distance, nearest) == (0, -1)
        return
    shares = twin.shares(state, account)
    if not shares:
        assert math.isnan(distance)
        assert nearest == -1
        return
    least = min(map(abs, shares.values()))
    (factor,) = (factor for factor in shares if text(factor) == names[nearest])
    assert abs(shares[factor]) == pytest.approx(least, rel=1e-9)
    assert distance == pytest.approx(shares[factor] * twin.MOST[factor[0]], rel=1e-9)


def check_forecast(state: State, found: Warnings) -> None:
    deviations = {factor: twin.deviation(state, factor) for factor in twin.factors(state)}
    for pool, forecast in found.forecast.items():
        hours, moves = twin.close_hours(state, pool), dict[str, dict[twin.Factor, float]]({UNCHANGED: {}})
        for factor, deviation in deviations.items():
            for move in () if deviation is None else (-deviation, deviation):
                until = move * math.sqrt(hours / 24)
                moves[move_text(text(factor), until)] = {factor: until}
        assert found.close_hours[pool] == hours
        assert set(forecast) == set(moves)
        for move, shares in moves.items():
            called = twin.calls(state, shares).items()
            wanted = {name: more for name, (_, more, _) in called if state.accounts[name].document.pool == pool and more > 0}
            assert forecast[move] == pytest.approx(sum(wanted.values()), rel=1e-9, abs=1), (pool, move)
            first = found.forecast_first[pool].get(move, ())
            assert [cents for _, cents in first] == pytest.approx(
                sorted(wanted.values(), reverse=True)[:FIRST_AT_CLOSE], rel=1e-9, abs=1
            )
            for name, cents in first:
                assert cents == pytest.approx(wanted[name], rel=1e-9, abs=1)


def desk() -> SmallLog:
    """A pool in USD, bitcoin at 100,000 with its index, and a bond future of 65 dollars a basis point."""
    log = SmallLog()
    log.money()
    log.instrument("BTC-USD", type="index")
    log.document("asset", "BTC", type="crypto", currency="USD", instrument="BTC-USD", decimals=8, haircut="0.2")
    log.rule("flat", "flat", initial="12000", maintenance="10000")
    bond = {"type": "treasury_future", "band": ["0", "1000"], "multiplier": "1000", "rule": "flat"}
    log.instrument("ZN", dv01="0.065", bucket="10Y", **bond)
    log.instrument("TN", dv01="0.09", bucket="30Y", **bond)
    log.instrument("FUT", type="crypto_future", multiplier="1", band=["0", "200000"], underlying="BTC-USD", rule="flat")
    for name, price in (("BTC-USD", 99_000), ("ZN", 110), ("TN", 115), ("FUT", 99_000)):
        log.price(name, price)
    for account in ("long", "hedged", "coin", "short", "safe"):
        log.account(account)
    return log


def nearest(log: SmallLog, account: str) -> tuple[float, str]:
    """Distance and factor of an account."""
    found, slot = log.pair.engine.warnings(), log.pair.engine.find_account(account)
    place = int(found.nearest[slot])
    return round(float(found.distance[slot]), 6), found.factors[place] if place >= 0 else ""


def test_distances_by_hand() -> None:
    log = desk()
    log.trade("long", "ZN", 1, 110)
    log.collateral("long", "USD", 13_250)  # 3,250 above maintenance, 65 a basis point
    log.trade("hedged", "ZN", 1, 110)
    log.trade("hedged", "TN", -1, 115)
    log.collateral("hedged", "USD", 21_250)  # 1,250 above: 25 a basis point of falling rates, as buckets net
    log.trade("short", "FUT", -1, 99_000)
    log.collateral("short", "USD", 9_999)
    log.trade("coin", "FUT", 1, 99_000)
    log.collateral("coin", "BTC", "0.5")  # counts 39,600: 29,600 above, and 1 per cent is 990 + 396
    log.trade("safe", "ZN", 1, 110)
    log.collateral("safe", "USD", 10_000 + 65 * 501)
    log.clock()
    assert nearest(log, "long") == (50, "rates:USD")
    assert nearest(log, "hedged") == (-50, "rates:USD")
    assert nearest(log, "short") == (0, "")
    assert nearest(log, "coin") == (pytest.approx(-29_600 / (990 + 396), abs=1e-6), "delta:BTC-USD")
    assert math.isnan(nearest(log, "safe")[0])
    ladder = log.pair.engine.warnings().ladder
    assert {name: rung.accounts for name, rung in ladder.items()} == {
        "rates -100 bp": 1, "rates -50 bp": 0, "rates -25 bp": 0, "rates +25 bp": 0, "rates +50 bp": 0, "rates +100 bp": 1,
        "BTC -30 %": 1, "BTC -20 %": 0, "BTC -10 %": 0, "BTC +10 %": 0, "BTC +20 %": 0, "BTC +30 %": 0,
    }  # fmt: skip
    assert ladder["rates +100 bp"].first == (("long", 525_000),)  # to 12,000 from 13,250 - 6,500
    assert ladder["rates -100 bp"].call_usd == 100 * (24_000 - 21_250 + 2_500)
    assert ladder["BTC -30 %"].first == (("coin", 100 * (12_000 - 39_600 + 30 * 1_386)),)


def test_what_is_named_is_bounded_and_the_largest() -> None:
    log = desk()
    for i in range(FIRST + 3):
        log.account(f"a{i}")
        log.trade(f"a{i}", "ZN", 1, 110)
        log.collateral(f"a{i}", "USD", 11_000 - i)
    log.clock()
    rung = log.pair.engine.warnings().ladder["rates +25 bp"]
    assert rung.accounts == FIRST + 3
    assert [name for name, _ in rung.first] == [f"a{i}" for i in range(FIRST + 2, 2, -1)]


def test_an_underlying_without_a_price_is_named() -> None:
    log = desk()
    log.instrument("ETH-USD", type="index")
    log.instrument("ETHFUT", type="crypto_future", underlying="ETH-USD", rule="flat")
    log.price("ETHFUT", 4_000)
    log.clock()
    assert log.pair.engine.warnings().unvalued == ()
    log.trade("long", "ETHFUT", 1, 4_000)
    log.collateral("long", "USD", 10_100)
    log.clock()
    found = log.pair.engine.warnings()
    assert (found.unvalued, nearest(log, "long")[1]) == (("delta:ETH-USD",), "")


def test_the_forecast_moves_by_the_volatility_of_a_day() -> None:
    log = desk()
    log.trade("long", "ZN", 1, 110)
    log.collateral("long", "USD", 10_200)
    log.trade("short", "ZN", -1, 110)
    log.collateral("short", "USD", 9_000)
    log.clock()
    assert log.pair.engine.warnings().forecast == {"p": {UNCHANGED: 0}}  # what is missing is called, and no volatility known
    log.volatility("ZN", 30, 5, flags=Flag.BASIS_POINTS)
    log.volatility("BTC-USD", 30, "0.5")
    log.clock()
    forecast = log.pair.engine.warnings().forecast["p"]
    # up: 325 takes the long to 9,875, 2,125 to initial; down: the short, called for 3,000, lacks 325 more
    assert forecast["rates:USD +5 bp"] == 212_500
    assert forecast["rates:USD -5 bp"] == 32_500
    assert {name for name in forecast if "BTC" in name} == {"delta:BTC-USD -2.617 %", "delta:BTC-USD +2.617 %"}


def test_the_forecast_takes_the_time_left_to_the_close() -> None:
    log = desk()  # from Friday, 15 January 2027, 08:00 UTC
    log.trade("long", "ZN", 1, 110)
    log.collateral("long", "USD", 10_200)
    log.volatility("ZN", 30, 20, flags=Flag.BASIS_POINTS)
    sessions = [["Thu 09:00", "Fri 20:00"], ["Sun 23:00", "Mon 22:00"]]
    log.document("calendar", "c", sessions=sessions)
    log.document("pool", "p", regime="cftc", currency="USD", calendar="c")
    seen = []
    for hours in (0, 6, 5.99, 1 / 60, 50, 18):  # the next close is at 20:00, then on Monday at 22:00
        log.clock(3600 * hours)
        found = log.pair.engine.warnings()
        seen.append(found.close_hours["p"])
        move = 20 * math.sqrt(seen[-1] / 24)
        (called,) = (found.forecast["p"][name] for name in found.forecast["p"] if name.startswith("rates:USD +"))
        assert called == pytest.approx(100 * (1_800 + 65 * move) if 65 * move > 200 else 0, abs=1)
        assert found.forecast_first["p"] == ({f"rates:USD +{move:.4g} bp": (("long", called),)} if called else {})
    assert seen == [12, 6, 1, 24, 24, 6]


def test_liquidity_is_due_by_window_and_hour() -> None:
    log = called()
    call = log.pair.engine.open_calls()[0]
    seen = []
    for hours in (25, 20, 3, 1, 0):
        log.clock((call.due_ns - hours * HOUR_NS - log.now_ns) / NS)
        found = log.pair.engine.warnings()
        assert set(found.due) == {("USD", window) for window in (*WINDOWS, LATER)}
        assert sum(found.due.values()) == 2_000
        assert found.due_hours == {("USD", call.due_ns): "20.00"}
        seen += [window for (_, window), cents in found.due.items() if cents]
    assert seen == [LATER, "24h", "4h", "1h", "1h"]
    log.collateral("a", "USD", 5)
    log.clock()
    assert log.pair.engine.warnings().due["USD", "1h"] == 1_500


def test_an_option_counts_with_its_own_delta() -> None:
    log = test_portfolio.desk("historical", initial_ratio="1")
    log.collateral("a", "USD", 3_000, replace=True)
    test_portfolio.trade(log, "a", "C", 100)
    test_portfolio.maintenance(log, "a")
    state, found = log.pair.naive.state, log.pair.engine.warnings()
    call = state.instruments["C"]
    assert 0.3 < twin.delta(call) / call.sensitivity < 0.9
    assert found.factors[found.nearest[0]] == "delta:X"
    check_distance(state, state.accounts["a"], float(found.distance[0]), int(found.nearest[0]), found.factors)


def test_a_regime_without_its_volatilities_is_told_when_they_come() -> None:
    """At the next clock, not in the next hour: until then who is margined under it is UNPRICED."""
    regime = {"underlying": "X", "short_days": "7", "long_days": "30", "low": "0.5", "high": "1.5", "charge": "0.1"}
    log = test_portfolio.desk("historical", addons={"regime": regime})
    seen = []
    for tenor, value in ((30, "0.4"), (7, "0.7"), (7, "0.4")):
        log.clock()
        seen.append(log.pair.engine.warnings().regimes)
        log.volatility("X", tenor, value)
    log.clock()
    assert [*seen, log.pair.engine.warnings().regimes] == [{}, {"R": "below"}, {"R": "above"}, {"R": "above"}]


def test_a_volatility_regime_is_told() -> None:
    regime = {"underlying": "X", "short_days": "7", "long_days": "30", "low": "0.5", "high": "1.5", "charge": "0.1"}
    log = test_portfolio.desk("historical", addons={"regime": regime})
    log.volatility("X", 30, "0.4")
    seen = []
    for short in ("0.1", "0.4", "0.9"):
        log.volatility("X", 7, short)
        log.clock(3600)  # they are looked at each hour
        seen.append(log.pair.engine.warnings().regimes)
    assert seen == [{"R": regime.name.lower()} for regime in Regime]


def test_names_of_the_ladder() -> None:
    assert len(RUNGS) == 12
    assert move_text("rates:USD", -0.5) == "rates:USD -250 bp"

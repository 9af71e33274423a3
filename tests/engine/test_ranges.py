"""Where exact arithmetic ends: nothing wraps silently, nothing crashes; what cannot be held exactly is a reject or UNPRICED.

Every step is compared with the twin, whose ints are unbounded.
"""

import pytest

from engine.codes import Code
from engine.events import Flag
from tests.engine.small_log import SmallLog, codes


def funded(currency: str = "USD") -> SmallLog:
    """A log with money and one account."""
    log = SmallLog()
    log.money()
    if currency == "USD":
        log.account("a")
    return log


@pytest.mark.parametrize("decimals", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("price", ["1.01", "61234.57", "899999.99"])
def test_an_account_in_a_dear_currency_of_few_decimals(decimals: int, price: str) -> None:
    log = SmallLog()
    log.money()
    log.instrument("BTC-USD", type="spot", lot="0.001", band=["0", "900000"])
    log.document("asset", "BTC", type="crypto", currency="USD", instrument="BTC-USD", decimals=decimals)
    log.account("a", "BTC")
    log.price("BTC-USD", price)
    for amount in ("12345678901.34", "0.01", "-0.02", "-34567890123.45"):
        log.collateral("a", "USD", amount)
        log.clock()
        is_exact = decimals > 1 or float(price) < 46_116 * 10**decimals
        assert log.figures("a")["quality"] == ("FRESH" if is_exact else "UNPRICED")


@pytest.mark.parametrize("decimals", [0, 2])
def test_an_asset_whose_smallest_unit_is_too_dear_is_unpriced(decimals: int) -> None:
    log = funded()
    log.instrument("BRK", type="spot", band=["0", "1000000"])
    log.document("asset", "BRK", type="security", currency="USD", instrument="BRK", decimals=decimals)
    log.price("BRK", 750_000)
    log.collateral("a", "BRK", 3)
    log.clock()
    assert log.figures("a")["quality"] == ("UNPRICED" if decimals == 0 else "FRESH")


@pytest.mark.parametrize("price", ["0", "-1", "0.00000001"])
def test_an_account_whose_currency_is_worth_nothing_is_unpriced(price: str) -> None:
    log = SmallLog()
    log.money()
    log.instrument("X-USD", type="fx", band=["-10", "10"], tick="0.00000001")
    log.document("asset", "X", type="currency", currency="USD", instrument="X-USD", decimals=8)
    log.account("a", "X")
    log.collateral("a", "USD", "100")
    log.price("X-USD", "1")
    log.clock()
    before = log.figures("a")
    log.price("X-USD", price)
    log.clock()
    after = log.figures("a")
    assert after["quality"] == "UNPRICED"
    assert after["equity"] == before["equity"]


def test_a_worthless_asset_is_worth_nothing() -> None:
    log = funded()
    log.instrument("X-USD", type="fx", band=["-10", "10"])
    log.document("asset", "X", type="security", currency="USD", instrument="X-USD")
    log.collateral("a", "X", "100")
    log.price("X-USD", "0")
    log.clock()
    assert (log.figures("a")["quality"], log.figures("a")["equity"]) == ("FRESH", 0)


def test_a_band_in_which_an_inverse_mark_rounds_to_nothing_is_refused() -> None:
    log = funded()
    inverse = {"type": "perpetual", "inverse": True, "tick": "0.001"}
    assert codes(log.instrument("I", **inverse, band=["0.0000005", "1000"])) == [Code.REFUSED_DEFINITION]
    assert codes(log.instrument("I", **inverse, band=["0.000000501", "1000"])) == []
    log.price("I", "0.000000501")
    log.trade("a", "I", 3, "0.002")
    log.clock()
    assert log.figures("a")["quality"] == "FRESH"


def test_a_requirement_out_of_range_is_unpriced_and_never_small() -> None:
    log = funded()
    log.rule("r", "flat", initial="1000000000", maintenance="1000000000")
    log.instrument("F", rule="r", band=["0", "1"])
    log.price("F", 1)
    log.trade("a", "F", 2_000_000, 1)
    log.clock()
    assert log.figures("a")["status"] == "CALL"
    before = log.figures("a")
    log.trade("a", "F", 200_000_000, 1)
    log.clock()
    after = log.figures("a")
    assert after["quality"] == "UNPRICED"
    assert all(after[name] == before[name] for name in ("status", "initial", "maintenance", "call"))
    log.trade("a", "F", -200_000_000, 1)
    log.clock()
    assert log.figures("a")["quality"] == "FRESH"


BILLION = "1000000000"
TOO_LARGE = {
    "flat": {"initial": BILLION, "maintenance": BILLION},
    "tiered": {"tiers": [{"from": f, "initial": "1", "maintenance": "1"} for f in ("0", "1e17")]},
    "volatility": {"multiple": BILLION, "days": BILLION, "tenor_days": "30", "floor": "0", "initial_ratio": "2"},
    "floor": {"multiple": "1", "days": "1", "tenor_days": "30", "floor": BILLION, "initial_ratio": BILLION},
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_a_rule_too_large_for_an_instrument_stops_nothing(case: str) -> None:
    log = funded()
    log.rule("r", "volatility" if case == "floor" else case, **TOO_LARGE[case])
    log.instrument("F", rule="r", type="spot", lot="1000", band=["0", "1000"])
    log.price("F", 1000)
    log.volatility("F", 30, "9000000000")
    log.trade("a", "F", 1000, 1000)
    log.clock()
    log.collateral("a", "USD", 5)
    log.clock()


def test_a_position_that_a_narrower_band_made_too_large_can_still_be_closed() -> None:
    log = funded()
    log.instrument("F", tick="1", band=["0", "1000"])
    log.trade("a", "F", 20_000_000, 1)
    log.price("F", 1)
    log.clock()
    assert codes(log.instrument("F", tick="1", band=["0", "1000000"])) == []
    assert codes(log.trade("a", "F", 1, 1)) == [Code.POSITION_RANGE]
    assert codes(log.trade("a", "F", -20_000_000, 1)) == []
    log.clock()
    assert log.figures("a")["quality"] == "FRESH"


def test_the_largest_positions_are_exact() -> None:
    log = funded()
    log.instrument("F", tick="1", band=["-1000", "1000"])
    most = 2**61 // (1000 * 10**8)
    assert codes(log.trade("a", "F", most, 1000)) == []
    log.price("F", 1000)
    log.clock()
    assert codes(log.trade("a", "F", 1, 1000)) == [Code.POSITION_RANGE]
    assert codes(log.trade("a", "F", -2 * most, 1000)) == []
    assert codes(log.trade("a", "F", -1, 1000)) == [Code.POSITION_RANGE]
    log.clock()
    log.price("F", -1000)
    log.clock()
    assert log.figures("a")["quality"] == "FRESH"


def test_a_volatility_that_changes_its_unit_rebuilds_the_rate() -> None:
    log = SmallLog({"rebuild_bps": 0, "rebuild_ms": 1})
    log.money()
    log.account("a")
    log.rule("v", "volatility", multiple="1", days="1", tenor_days="30", floor="0", initial_ratio="1")
    log.instrument("U", type="yield")
    log.instrument("T", type="treasury", underlying="U", dv01="0.5", bucket="10Y", rule="v", band=["0", "200"])
    log.trade("a", "T", 100, 100)
    log.price("T", 100)
    log.volatility("U", 30, "0.5")
    log.clock(10)
    assert log.figures("a")["maintenance"] > 2500
    log.volatility("U", 30, "0.5", flags=Flag.BASIS_POINTS)
    log.clock(10)
    assert log.figures("a")["maintenance"] == 100 * 25


def test_holdings_stay_below_2_to_the_62() -> None:
    log = funded()
    log.document("asset", "S", type="security", currency="USD", decimals=8)
    assert codes(log.collateral("a", "S", "46116860184.27387904")) == [Code.POSITION_RANGE]
    assert codes(log.collateral("a", "S", "46116860184.27387903")) == []
    assert codes(log.collateral("a", "S", "0.00000001")) == [Code.POSITION_RANGE]
    assert codes(log.collateral("a", "S", "92233720368.54775807")) == [Code.POSITION_RANGE]
    assert codes(log.collateral("a", "S", "-46116860184.27387904")) == [Code.NEGATIVE_HOLDING]
    log.clock()

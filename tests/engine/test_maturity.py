"""Shares of market value by remaining maturity, through the stream: the example's rule, the end of a band, no maturity."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine import explain
from engine.codes import Code
from tests.engine.small_log import SmallLog, codes

FILE = Path(__file__).parents[2] / "streams" / "data" / "rules" / "UST-4210E.2020-01-01.json"
RULE: dict[str, Any] = json.loads(FILE.read_text("utf-8"))["parameters"]
DAY = 86_400


def held(maturity: str | None, **parameters: Any) -> SmallLog:
    """10,000 USD face at 99, a short position, on 2027-01-15."""
    log = SmallLog()
    log.money()
    assert not log.rule("R", "maturity", **(RULE | parameters)).rejects
    log.instrument("N", type="treasury", tick="0.001", multiplier="0.01", lot="100", rule="R", maturity=maturity)
    log.account("a")
    log.collateral("a", "USD", 1_000_000)
    log.price("N", 99)
    log.trade("a", "N", -10_000, 99)
    log.clock()
    return log


@pytest.mark.parametrize(
    ("maturity", "percent"),
    [
        ("2027-01-16", 1), ("2028-01-14", 1), ("2028-01-15", 2), ("2030-01-14", 2), ("2030-01-15", 3), ("2032-01-15", 4),
        ("2037-01-14", 4), ("2037-01-15", 5), ("2047-01-14", 5), ("2047-01-15", 6), ("2056-11-15", 6),
    ],
)  # fmt: skip
def test_shares_of_4210e(maturity: str, percent: int) -> None:
    assert held(maturity).figures("a")["maintenance"] == 9_900 * percent


def test_a_band_may_hold_through_its_last_day() -> None:
    assert held("2028-01-15", through=True).figures("a")["maintenance"] == 9_900


def test_initial_is_maintenance_times_the_ratio() -> None:
    figures = held("2028-01-15", initial_ratio="1.3333").figures("a")
    assert (figures["initial"], figures["maintenance"]) == (26_400, 19_800)  # 26,399.34 rounded up


def test_a_security_that_rolls_under_a_band_follows_at_midnight() -> None:
    log = held("2028-01-15")
    log.clock(DAY - 30_000)
    midnight = (log.now_ns // 10**9 // DAY + 1) * DAY
    log.clock(midnight - 1 - log.now_ns // 10**9)
    assert log.figures("a")["maintenance"] == 19_800
    log.clock(1)
    log.clock(2)  # past the account's phase
    assert log.figures("a")["maintenance"] == 9_900


@pytest.mark.parametrize(
    ("maturity", "why"), [(None, "its maturity is not known"), ("2027-01-15", "it matured on 2027-01-15")]
)
def test_without_maturity_it_is_unpriced_with_the_reason(maturity: str | None, why: str) -> None:
    log = held(maturity)
    assert log.figures("a")["quality"] == "UNPRICED"
    found = explain.requirement(log.pair.engine, 0)
    assert found.now is None
    assert [one.problem for one in found.alone] == [f"N: {why}"]


def test_a_redefined_maturity_gives_a_rate() -> None:
    log = held(None)
    log.instrument("N", type="treasury", tick="0.001", multiplier="0.01", lot="100", rule="R", maturity="2030-01-15")
    log.clock()
    assert log.figures("a")["quality"] == "FRESH"
    assert log.figures("a")["maintenance"] == 29_700


@pytest.mark.parametrize("bands", [[[1, "0.1"]], [[3, "0.1"], [1, "0.2"], [None, "1"]], [[None, "1.1"]], []])
def test_bands_that_are_refused(bands: list[Any]) -> None:
    log = SmallLog()
    log.money()
    (code,) = codes(log.rule("R", "maturity", bands=bands, initial_ratio="1"))
    assert code is (Code.REFUSED_DEFINITION if bands else Code.BAD_FIELD)

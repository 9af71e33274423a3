"""Instruments that keep accounts from being FRESH: those that each account's own reasons name, and worked by hand."""

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.explain_quality import reasons
from engine.report import Quality
from engine.staleness import Stale
from tests.engine.small_log import START_NS, SmallLog
from tests.engine.test_views import played


def stale(log: SmallLog) -> list[tuple[str, str]]:
    """(instrument, quality), the oldest price first."""
    return [(one.instrument, one.quality.name) for one in log.pair.engine.warnings().stale]


@settings(max_examples=15, deadline=None, print_blob=True)
@given(st.integers(0, 2**32 - 1))
def test_they_are_those_that_the_accounts_are_told_of(seed: int) -> None:
    engine = played(seed).engine
    found = engine.warnings().stale
    named = {reason.split(":")[0] for slot in range(engine.account_count) for reason in reasons(engine, slot)}
    assert {one.instrument for one in found} == named
    assert [one.mark_ns for one in found] == sorted(one.mark_ns for one in found)


def test_a_held_instrument_is_stale_past_its_limit_until_its_price_comes() -> None:
    log = SmallLog()
    log.money()
    log.account("a")
    log.rule("r", "flat", initial="2", maintenance="1")
    for name, limit in (("F", 10), ("G", 20), ("H", 10), ("N", 10)):
        log.instrument(name, rule="r", stale_after=limit)
    for name in ("F", "G", "H"):
        log.price(name, 5)
    for name in ("F", "G", "N"):
        log.trade("a", name, 100, 5)
    log.clock(10)
    assert stale(log) == [("N", "UNPRICED")]
    log.clock()
    assert stale(log) == [("N", "UNPRICED"), ("F", "STALE")]
    log.price("G", 6)
    log.price("N", 6)
    log.trade("a", "F", -100, 5)
    log.clock()
    assert stale(log) == []
    log.trade("a", "F", 50, 5)
    log.clock(20)
    assert log.pair.engine.warnings().stale[0] == Stale("F", "fund", Quality.STALE, START_NS)
    assert stale(log)[1:] == [("G", "STALE"), ("N", "STALE")]
    for name in ("F", "G", "N"):
        log.price(name, 5)
    log.clock()
    assert stale(log) == []


def test_a_price_that_values_collateral_or_a_currency_counts_only_while_somebody_has_some() -> None:
    log = SmallLog()
    log.money()
    log.instrument("EURUSD", type="fx", stale_after=10)
    log.document("asset", "EUR", type="currency", currency="USD", decimals=2, instrument="EURUSD")
    log.instrument("B", currency="EUR", stale_after=30)
    log.document("asset", "BOND", type="security", currency="EUR", decimals=0, instrument="B")
    log.account("a")
    for name in ("EURUSD", "B"):
        log.price(name, 2)
    log.clock(11)
    assert stale(log) == []
    log.collateral("a", "BOND", 100)
    log.clock()
    assert stale(log) == [("EURUSD", "STALE")]
    log.clock(20)
    assert stale(log) == [("B", "STALE"), ("EURUSD", "STALE")]
    log.collateral("a", "BOND", -100)
    log.clock()
    assert stale(log) == []

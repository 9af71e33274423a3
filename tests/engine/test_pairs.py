"""The spread-based form of cross-margin, through the stream: rate x the lesser outright margin, off both legs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import explain_views
from engine.codes import Code
from tests.engine.small_log import SmallLog, codes
from tests.engine.test_portfolio import QUICK, agreed, crossed, maintenance

PAIR = {"futures": "F", "treasury": "treasury", "rate": "0.75"}


def spread(log: SmallLog, **changes: Any) -> list[Code]:
    """The rule of the agreement in its spread-based form from now on."""
    terms = {"houses": ["CME", "FICC"], "products": ["treasury", "F"], "years": 1, "pools": ["p", "s"], "pairs": [PAIR]}
    return codes(log.rule("XM", "cross_margin", effective=1, **(terms | changes)))


def required(futures: int, notes: int, signed: bool, **changes: Any) -> tuple[SmallLog, dict[str, int]]:
    """Maintenance of both accounts with so many futures and lots of 100 of notes."""
    log = crossed(signed=signed)
    assert spread(log, **changes) == []
    log.trade("f", "F", futures, 100)
    log.trade("t", "N", notes * 100, 100)
    return log, {account: maintenance(log, account) for account in "ft"}


@pytest.mark.parametrize(("futures", "notes"), [(-20, 20_000), (20, -5_000), (-3, 90_000)])
def test_both_legs_are_reduced_by_the_rate_of_the_lesser(futures: int, notes: int) -> None:
    _, alone = required(futures, notes, signed=False)
    log, found = required(futures, notes, signed=True)
    taken = min(alone.values()) * 3 // 4
    assert taken > 0
    assert found == {account: amount - taken for account, amount in alone.items()}
    cross = explain_views.cross_of(log.pair.engine, 0)
    assert cross is not None
    assert (cross.reasons, cross.basis, cross.saving_ppb) == ((), "AGREED", 0)
    (one,) = cross.spreads
    assert (one.futures, one.treasury, one.rate_ppb, one.taken_minor) == ("F", "treasury", 750_000_000, taken)
    assert {"f": abs(one.futures_minor), "t": abs(one.treasury_minor)} == alone
    assert one.futures_minor * one.treasury_minor < 0
    assert cross.takes_off == (("f", "USD", -taken), ("t", "USD", -taken))


@QUICK
@given(st.integers(-60, 60), st.integers(-90_000, 90_000), st.sampled_from(("0", "0.5", "1")))
def test_no_leg_is_below_0_or_above_what_it_requires_alone(futures: int, notes: int, rate: str) -> None:
    _, alone = required(futures, notes, signed=False)
    _, found = required(futures, notes, signed=True, pairs=[PAIR | {"rate": rate}])
    taken = {account: alone[account] - found[account] for account in "ft"}
    assert taken["f"] == taken["t"] == (int(min(alone.values()) * float(rate)) if futures * notes < 0 else 0)


def test_a_product_of_no_spread_is_not_reduced() -> None:
    _, alone = required(-20, 20_000, signed=False)
    assert required(-20, 20_000, signed=True, pairs=[PAIR | {"treasury": "treasury_bond"}])[1] == alone


def test_the_form_of_the_rule_may_change() -> None:
    log = crossed()
    log.trade("f", "F", -20, 100)
    log.trade("t", "N", 20 * 100_000, 100)
    by_percent = maintenance(log, "f"), maintenance(log, "t")
    assert spread(log) == []
    by_spread = maintenance(log, "f"), maintenance(log, "t")
    agreed(log, signed=False)
    alone = maintenance(log, "f"), maintenance(log, "t")
    assert [one - min(alone) * 3 // 4 for one in alone] == list(by_spread) != list(by_percent)


@pytest.mark.parametrize(
    "changes",
    [{"cap": "1"}, {"ttl": 5}, {"pairs": [PAIR, PAIR]}, {"pairs": [PAIR | {"rate": "1.1"}]},
     {"pairs": [PAIR | {"rate": "0.0000000001"}]}],
)  # fmt: skip
def test_spreads_that_are_refused(changes: dict[str, Any]) -> None:
    assert spread(crossed(), **changes) == [Code.REFUSED_DEFINITION]

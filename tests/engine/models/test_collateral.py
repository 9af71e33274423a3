"""Collateral schedules: the worked example, bands, currencies, caps, tokenized and digital assets, shocks, refusals."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.arithmetic import E9, LIMIT
from engine.models.collateral import (
    Holding,
    Line,
    Schedule,
    Shock,
    Treatment,
    check,
    margin_lines,
    margin_value,
    treatment,
)
from tests.engine.models.laws import LAW

DAY = date(2026, 11, 20)
NOTES = [[1, "0.01"], [3, "0.02"], [5, "0.03"], [10, "0.045"], [30, "0.06"]]
PILOT: dict[str, Any] = {
    "commencement": "2026-09-01",
    "months": 3,
    "floor": "0.2",
    "first": ["bitcoin", "ether", "payment_stablecoin"],
    "own_capital": {"bitcoin": "0.2"},
    "residual_interest": ["payment_stablecoin"],
}


def decode(assets: dict[str, Any], **others: Any) -> Schedule:
    return msgspec.json.decode(msgspec.json.encode({"assets": assets, "currency": "USD"} | others), type=Schedule)


def schedule(assets: dict[str, Any], **others: Any) -> Schedule:
    return check(decode(assets, **others))


def treat(found: Schedule, *names: str, day: date = DAY, into: str = "USD", **others: Any) -> Treatment:
    return treatment(found, Holding(names, 1, **others), day, into)


def test_worked_example() -> None:
    # crypto.md 1.1 [D]: 1m bill, 5m 7-year note, 10 BTC at 100,000, 0.5m USDC: 7,060,000. The 2 % of USDC is below the
    # pilot's floor, so it is that of a clearing house that accepts it.
    terms = schedule(
        {
            "bill": {"haircut": "0.005"},
            "note": {"bands": NOTES},
            "BTC": {"haircut": "0.2", "digital": "bitcoin"},
            "USDC": {"haircut": "0.02", "digital": "payment_stablecoin", "clearing_house_haircut": "0.02"},
        },
        pilot=PILOT,
    )
    holdings = [
        Holding(("UST-BILL", "bill"), 1_000_000_00, "USD"),
        Holding(("UST-7Y", "note"), 5_000_000_00, "USD", date(2033, 11, 15)),
        Holding(("BTC", "crypto"), 10 * 100_000_00),
        Holding(("USDC", "stablecoin"), 500_000_00),
    ]
    lines = margin_lines(terms, holdings, 0, DAY)
    assert [line.margin_minor for line in lines] == [995_000_00, 4_775_000_00, 800_000_00, 490_000_00]
    assert sum(line.margin_minor for line in lines) == 7_060_000_00
    assert lines[2] == Line("BTC", "BTC", "", Shock.NONE, 1_000_000_00, 200_000_00, 0, 800_000_00)
    floored = msgspec.structs.replace(terms.assets["USDC"], clearing_house_haircut=None)
    stricter = check(msgspec.structs.replace(terms, assets=terms.assets | {"USDC": floored}))
    assert margin_lines(stricter, holdings, 0, DAY)[3].margin_minor == 400_000_00


# Entries, bands, currencies


def test_an_assets_own_entry_goes_before_its_kinds() -> None:
    found = schedule({"treasury": {"haircut": "0.05"}, "UST-BILL": {"haircut": "0.005"}})
    assert treat(found, "UST-BILL", "treasury").key == "UST-BILL"
    assert treat(found, "UST-5Y", "treasury").key == "treasury"
    assert treat(found, "ACME", "security") == Treatment("", "no entry for ACME or security", E9, 0, Shock.NONE)


@pytest.mark.parametrize(
    ("maturity", "through", "not_through"),
    [
        (date(2026, 11, 21), 0.01, 0.01), (date(2027, 11, 19), 0.01, 0.01), (date(2027, 11, 20), 0.01, 0.02),
        (date(2027, 11, 21), 0.02, 0.02), (date(2036, 11, 20), 0.045, 0.06), (date(2056, 11, 19), 0.06, 0.06),
    ],
)  # fmt: skip
def test_bands_and_the_day_on_which_their_years_end(maturity: date, through: float, not_through: float) -> None:
    for is_through, haircut in ((True, through), (False, not_through)):
        found = treat(schedule({"note": {"bands": NOTES}}, through=is_through), "note", maturity=maturity)
        assert (found.reason, found.haircut_ppb) == ("", round(haircut * E9))


def test_the_last_band_may_be_open() -> None:
    found = schedule({"note": {"bands": [[1, "0.01"], [None, "0.08"]]}}, through=False)
    for maturity in (date(2090, 1, 1), date.max):
        assert treat(found, "note", maturity=maturity).haircut_ppb == 80_000_000


@pytest.mark.parametrize(
    ("maturity", "reason"),
    [
        (None, "its maturity is not known"),
        (DAY, "it matured on 2026-11-20"),
        (date(2057, 1, 1), "over 30 years to its maturity on 2057-01-01"),
    ],
)
def test_no_band_is_no_haircut(maturity: date | None, reason: str) -> None:
    assert treat(schedule({"note": {"bands": NOTES}}), "note", maturity=maturity).reason == reason


def test_what_is_not_eligible_says_why_and_is_worth_nothing() -> None:
    found = schedule({"gold": {"eligible": False, "reason": "in house accounts only"}})
    line = margin_lines(found, [Holding(("gold",), 100)], 0, DAY)[0]
    assert line == Line("gold", "gold", "in house accounts only", Shock.NONE, 100, 100, 0, 0)


CURRENCIES = {
    "USD": {"haircut": "0"}, "EUR": {"haircut": "0", "fx_haircut": "0.05"}, "JPY": {"haircut": "0", "fx_haircut": "0.1"},
    "note": {"haircut": "0.03"}, "BTC": {"haircut": "0.2"}, "CHF": {"haircut": "0"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("currency", "into", "fx"),
    [
        ("USD", "USD", 0), ("EUR", "EUR", 0), ("EUR", "USD", 0.05), ("EUR", "JPY", 0.05), ("JPY", "EUR", 0.1),
        ("USD", "JPY", 0.1), (None, "JPY", 0),
    ],
)  # fmt: skip
def test_cross_currency_haircut_is_the_assets_but_of_dollars_the_requirements(
    currency: str | None, into: str, fx: float
) -> None:
    found = treat(schedule(CURRENCIES), "note", currency=currency, into=into)
    assert (found.reason, found.fx_ppb, found.haircut_ppb) == ("", round(fx * E9), 30_000_000)


def test_a_currency_without_a_cross_currency_haircut_is_refused() -> None:
    for currency, into in (("CHF", "USD"), ("USD", "CHF"), ("GBP", "USD")):
        found = treat(schedule(CURRENCIES), "note", currency=currency, into=into)
        assert found.reason == f"no cross-currency haircut for {currency} against {into}"
        assert found.haircut_ppb == E9


@LAW
@given(st.integers(0, LIMIT - 1), st.integers(0, E9), st.integers(0, E9))
@example(LIMIT - 1, 0, 0)
@example(LIMIT - 1, 1, 1)
def test_margin_value_rounds_down_one_haircut_after_the_other(value: int, haircut: int, fx: int) -> None:
    after = floor(value * Fraction(E9 - haircut, E9))
    assert margin_value(value, haircut, fx) == floor(after * Fraction(E9 - fx, E9))


# Caps and shares


def test_the_part_over_a_cap_is_worth_nothing_and_reported() -> None:
    found = schedule({"tips": {"haircut": "0.1", "cap": "1000.505"}})
    holdings = [Holding(("A", "tips"), 1_000_00), Holding(("B", "tips"), 500_00), Holding(("C", "tips"), 10_00)]
    lines = margin_lines(found, holdings, 0, DAY)
    assert [(line.haircut_minor, line.over_minor, line.margin_minor) for line in lines] == [
        (100_00, 0, 900_00), (50_00, 349_50, 100_50), (1_00, 9_00, 0),
    ]  # fmt: skip


def test_a_share_of_the_requirement_bounds_too_and_the_lesser_counts() -> None:
    found = schedule({"loc": {"haircut": "0", "cap": "100", "share": "0.25"}})
    for requirement, worth in ((100_03, 25_00), (10_000_00, 100_00), (0, 0)):
        assert margin_lines(found, [Holding(("loc",), 500_00)], requirement, DAY)[0].margin_minor == worth


def test_caps_follow_the_currencys_decimals() -> None:
    found = schedule({"JGB": {"haircut": "0", "cap": "100"}})
    assert margin_lines(found, [Holding(("JGB",), 5_000)], 0, DAY, decimals=0)[0].margin_minor == 100


KINDS = {"a": {"haircut": "0.1", "cap": "50"}, "b": {"haircut": "0", "share": "0.3"}, "c": {"haircut": "0.333"}}
HELD = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 10**5)), max_size=8)


@LAW
@given(HELD, st.integers(0, 10**5))
def test_lines_sum_exactly_and_their_order_does_not_change_the_sum(held: list[tuple[str, int]], requirement: int) -> None:
    holdings = [Holding((kind,), value) for kind, value in held]
    lines = margin_lines(schedule(KINDS), holdings, requirement, DAY)
    for line in lines:
        assert line.value_minor == line.haircut_minor + line.over_minor + line.margin_minor
        assert min(line.haircut_minor, line.over_minor, line.margin_minor) >= 0
    total = sum(line.margin_minor for line in lines)
    worth = {
        kind: sum(floor(value * share) for one, value in held if one == kind)
        for kind, share in (("a", Fraction(9, 10)), ("b", Fraction(1)), ("c", Fraction(667, 1000)))
    }
    assert total == min(worth["a"], 50_00) + min(worth["b"], requirement * 3 // 10) + worth["c"]
    assert total == sum(line.margin_minor for line in margin_lines(schedule(KINDS), holdings[::-1], requirement, DAY))


@pytest.mark.parametrize(("value", "requirement"), [(-1, 0), (LIMIT, 0), (0, -1), (0, LIMIT)])
def test_amounts_out_of_range_are_refused(value: int, requirement: int) -> None:
    with pytest.raises(ValueError, match=rf"allowed is 0 to {LIMIT - 1}"):
        margin_lines(schedule(KINDS), [Holding(("a",), value)], requirement, DAY)


# Tokenized and digital assets, joint shocks


def test_a_tokenized_asset_has_the_untokenized_ones_haircut_and_an_adjustment() -> None:
    found = schedule(
        {
            "note": {"bands": NOTES},
            "token": {"tokenized_of": "note", "adjustment": "0.01"},
            "high": {"tokenized_of": "risky", "adjustment": "0.2"},
            "risky": {"haircut": "0.9"},
            "none": {"eligible": False, "reason": "not eligible at all"},
            "none_token": {"tokenized_of": "none", "adjustment": "0"},
        }
    )
    assert treat(found, "token", maturity=date(2033, 1, 1)).haircut_ppb == 55_000_000
    assert treat(found, "token").reason == "its maturity is not known"
    assert treat(found, "high").haircut_ppb == E9
    assert treat(found, "none_token").reason == "not eligible at all"


DIGITAL = {
    "BTC": {"haircut": "0.15", "digital": "bitcoin", "shocked": True},
    "ETH": {"haircut": "0.3", "digital": "ether"},
    "accepted": {"haircut": "0.5", "digital": "other", "clearing_house_haircut": "0.1"},
    "STETH": {"haircut": "0.075", "shocked": True},
}


@pytest.mark.parametrize(("name", "haircut"), [("BTC", 0.2), ("ETH", 0.3), ("accepted", 0.1), ("STETH", 0.075)], ids=str)
def test_haircut_is_the_clearing_houses_else_the_policys_with_the_floor(name: str, haircut: float) -> None:
    assert treat(schedule(DIGITAL, pilot=PILOT), name, day=date(2026, 12, 1)).haircut_ppb == round(haircut * E9)


def test_the_pilot_decides_by_the_day() -> None:
    found = schedule(DIGITAL, pilot=PILOT)
    assert "begins on 2026-09-01" in treat(found, "BTC", day=date(2026, 8, 31)).reason
    assert treat(found, "BTC", day=date(2026, 9, 1)).reason == ""
    assert "only bitcoin, ether" in treat(found, "accepted", day=date(2026, 11, 30)).reason
    assert treat(found, "accepted", day=date(2026, 12, 1)).reason == ""
    assert treat(found, "STETH", day=date(2020, 1, 1)).reason == ""  # not a matter of the pilot


def test_how_a_holding_stands_in_the_scenarios() -> None:
    found = schedule(DIGITAL, pilot=PILOT)
    assert [treat(found, name).shock for name in ("BTC", "ETH", "STETH")] == [Shock.BEYOND, Shock.NONE, Shock.WHOLE]
    assert treat(found, "BTC", day=date(2026, 8, 31)).shock == Shock.NONE  # not eligible: nothing to lose


# What check refuses

CASH = {"haircut": "0"}
COIN = CASH | {"digital": "other"}


@pytest.mark.parametrize(
    ("assets", "others", "message"),
    [
        ({"a": {"haircut": "1.01"}}, {}, "assets.a.haircut is 1.01; allowed is 0 to 1"),
        ({"a": {"haircut": "-0.1"}}, {}, "assets.a.haircut is -0.1"),
        ({"a": {"haircut": "NaN"}}, {}, "assets.a.haircut is NaN"),
        ({"a": {"haircut": "0.0000000001"}}, {}, "up to 9 decimals"),
        ({"a": CASH | {"fx_haircut": "2"}}, {}, "assets.a.fx_haircut is 2"),
        ({"a": CASH | {"share": "2"}}, {}, "assets.a.share is 2"),
        ({"a": CASH | {"cap": "-1"}}, {}, "assets.a.cap is -1"),
        ({"a": CASH | {"cap": "NaN"}}, {}, "assets.a.cap is NaN"),
        ({"a": CASH | {"cap": "1e-999999"}}, {}, "assets.a.cap is 1E-999999"),
        ({"a": {"haircut": "0e-999999"}}, {}, "assets.a.haircut is 0E-999999"),
        ({"a": CASH | {"cap": "1e17"}}, {}, r"assets.a.cap is 1E\+17"),
        ({"a": {"bands": []}}, {}, "assets.a.bands is empty"),
        ({"a": {"bands": [[3, "0"], [3, "0"]]}}, {}, r"assets.a.bands\[1\] ends at 3 years; allowed is above 3"),
        ({"a": {"bands": [[0, "0"]]}}, {}, r"bands\[0\] ends at 0 years"),
        ({"a": {"bands": [[2000, "0"]]}}, {}, "up to 1000"),
        ({"a": {"bands": [[None, "0"], [3, "0"]]}}, {}, r"bands\[0\] has no end"),
        ({"a": {"bands": [[1, "7"]]}}, {}, r"assets.a.bands\[0\] is 7"),
        ({"a": {}}, {}, "assets.a has no haircut; allowed is exactly one"),
        ({"a": CASH | {"bands": NOTES}}, {}, "assets.a has haircut, bands; allowed is exactly one"),
        ({"a": CASH | {"eligible": False, "reason": "no"}}, {}, "assets.a has haircut; allowed is none"),
        ({"a": {"eligible": False}}, {}, "assets.a.reason is ''"),
        ({"a": CASH | {"reason": "why"}}, {}, "assets.a.reason is 'why'"),
        ({"a": CASH | {"adjustment": "0"}}, {}, "assets.a.adjustment is 0"),
        ({"a": CASH, "b": {"tokenized_of": "a"}}, {}, "assets.b.adjustment is None"),
        ({"a": {"tokenized_of": "x", "adjustment": "0"}}, {}, "assets.a.tokenized_of is x"),
        ({"a": {"tokenized_of": "a", "adjustment": "0"}}, {}, "assets.a.tokenized_of is a"),
        ({"a": COIN, "b": {"tokenized_of": "a", "adjustment": "0"}}, {"pilot": PILOT}, "assets.b.tokenized_of is a"),
        ({"a": COIN}, {}, "assets.a.digital is other"),
        ({"a": CASH | {"clearing_house_haircut": "0"}}, {}, "assets.a.clearing_house_haircut is given"),
        ({"a": CASH}, {"pilot": PILOT | {"floor": "1.2"}}, "pilot.floor is 1.2"),
        ({"a": CASH}, {"pilot": PILOT | {"own_capital": {"ether": "-1"}}}, "pilot.own_capital.ether is -1"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_refused(assets: dict[str, Any], others: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(decode(assets, **others))


@pytest.mark.parametrize(
    ("assets", "others"),
    [
        ({}, {}), ({"a": {"hair_cut": "0"}}, {}), ({"": CASH}, {}), ({"a": {"bands": [[1.5, "0"]]}}, {}),
        ({"a": CASH | {"digital": "dogecoin"}}, {}), ({"a": CASH}, {"pilot": PILOT | {"months": 0}}),
        ({"a": CASH}, {"colour": 1}),
    ],
)  # fmt: skip
def test_what_has_not_the_form_is_refused_when_read(assets: dict[str, Any], others: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(assets, **others)


def test_check_gives_back_what_it_accepts() -> None:
    found = decode({"a": {"haircut": "0.123456789", "cap": "9007199254740992"}})
    assert check(found) is found
    assert found.assets["a"].haircut == Decimal("0.123456789")

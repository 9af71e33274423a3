"""The demo's customers: who pays what and when, and cut-offs that come soon."""

import json
from collections import Counter
from decimal import Decimal
from typing import Any

from streams.customers import DELAY_SECONDS, Customers
from streams.population import due_soon

NS = 10**9
START_NS = 1_800_000_000 * NS


def call(number: int, amount: str = "1000.01", received: str = "0.00") -> dict[str, str]:
    return {"id": f"A{number}:P:1", "account": f"A{number}", "amount": amount, "received": received}


def paid(customers: Customers, calls: list[dict[str, str]], seconds: int) -> dict[str, list[dict[str, Any]]]:
    """Deposits by account, when the calls are looked at every second and stay as they are."""
    deposits: dict[str, list[dict[str, Any]]] = {}
    for second in range(seconds):
        for _, topic, key, body in customers.answer(calls, START_NS + second * NS):
            assert topic == "collateral"
            deposits.setdefault(key, []).append(json.loads(body))
    return deposits


def test_most_pay_all_some_a_part_some_never_after_some_seconds_by_seed() -> None:
    calls = [call(number) for number in range(400)]
    first = paid(Customers(1), calls, 32)
    assert first == paid(Customers(1), calls, 32)
    assert first != paid(Customers(2), calls, 32)
    kinds = Counter("all" if Decimal(rows[0]["qty"]) == Decimal("1000.01") else "part" for rows in first.values())
    assert 200 < kinds["all"] < 280
    assert 60 < kinds["part"] < 140
    assert 30 < 400 - len(first) < 100
    for row in (rows[0] for rows in first.values()):
        assert DELAY_SECONDS[0] <= row["ts"] / NS - START_NS / NS <= DELAY_SECONDS[1] + 1
        assert 0 < Decimal(row["qty"]) <= Decimal("1000.01")
        assert row["qty"][-3] == "."


def test_who_pays_all_pays_what_a_call_is_raised_by_too_and_no_call_is_answered_once_it_is_over() -> None:
    customers, number = Customers(1), 0
    while Decimal(paid(Customers(1), [call(number)], 40).get(f"A{number}", [{"qty": "0"}])[0]["qty"]) != Decimal("1000.01"):
        number += 1
    (before,) = paid(customers, [call(number)], 40)[f"A{number}"][:1]
    later = [json.loads(body) for *_, body in customers.answer([call(number, "1500.00", "1000.01")], START_NS + 200 * NS)]
    assert [row["qty"] for row in later] == ["499.99"]
    assert later[0]["id"] != before["id"]
    assert list(customers.answer([], START_NS + 900 * NS)) == []


def test_calendars_for_a_demo_are_due_at_the_next_minute_on_any_day() -> None:
    day_end = [json.loads(body) for *_, body in due_soon((20_000 * 86_400 - 30) * NS)]
    assert {one["id"] for one in day_end} == {"CME-RATES", "UST-CASH", "VENUE"}
    for one in day_end:
        assert one["cutoffs"] == {"*": {"at": "00:00", "notice_hours": 0}}
        assert len(one["business_days"]) == 7
        assert one["sessions"]
    assert json.loads(next(due_soon((20_000 * 86_400 + 3600) * NS))[3])["cutoffs"]["*"]["at"] == "01:00"

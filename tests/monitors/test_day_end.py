"""The day-end pack and the pilot's weekly report, from a small log whose figures are worked out by hand."""

import csv
import io
import json
from datetime import date
from typing import Any

import pytest

from monitors.day_end import csv_text, html, pack
from monitors.day_rows import ShardDay, day_of_shard
from monitors.holdings import rows_of
from monitors.pilot_report import report
from tests.engine.explain_world import empty_log
from tests.engine.small_log import SmallLog
from tests.services import ROOT

PILOT = {
    "commencement": "2027-01-01", "months": 3, "floor": "0.2", "first": ["bitcoin", "payment_stablecoin"],
    "own_capital": {"bitcoin": "0.2", "payment_stablecoin": "0.02"}, "residual_interest": ["payment_stablecoin"],
}  # fmt: skip
TAKEN = {
    "USD": {"haircut": "0"},
    "BTC": {"haircut": "0.2", "digital": "bitcoin"},
    "PUSD": {"haircut": "0.02", "digital": "payment_stablecoin"},
    "USDC": {"haircut": "0.02", "clearing_house_haircut": "0.02", "digital": "payment_stablecoin"},
}
SUNDAY = date(2027, 1, 17)


def desk() -> SmallLog:
    """Customers A (called) and B (with an excess) in pool 4d, A also in pool v, and the firm H in both."""
    log = empty_log()

    def define(kind: str, name: str, **fields: Any) -> None:
        assert log.document(kind, name, **fields).rejects == []

    define("asset", "USD", type="currency", currency="USD")
    define("instrument", "BTC-USD", type="index", currency="USD", tick="1", band=["1", "1000000"])
    define("asset", "BTC", type="crypto", currency="USD", decimals=8, instrument="BTC-USD")
    define("asset", "USDC", type="stablecoin", currency="USD")
    define("asset", "PUSD", type="currency", currency="USD")
    define("rule", "FLAT", model="flat", effective=0, parameters={"initial": "110", "maintenance": "100"})
    parameters = {"assets": TAKEN, "currency": "USD", "pilot": PILOT}
    define("rule", "TAKEN", model="collateral", effective=0, parameters=parameters)
    define("pool", "4d", regime="4d", currency="USD", collateral="TAKEN", account_class="futures 4d")
    define("pool", "v", regime="venue", currency="USD")
    fund = {"type": "fund", "currency": "USD", "tick": "0.01", "band": ["0", "1000"], "rule": "FLAT"}
    define("instrument", "FUND", **fund)
    define("customer", "A", day_end_limit="150", capital_buffer="0.5")
    define("customer", "B", day_end_limit="440")
    define("customer", "H", house=True)
    for account, pool in {"A1": "4d", "A2": "v", "B1": "4d", "H1": "4d", "H2": "v"}.items():
        define("account", account, customer=account[0], pool=pool, currency="USD")
    log.price("BTC-USD", "100000")
    log.price("FUND", "25")
    for account, asset, quantity in (
        ("A1", "USD", 10), ("A1", "BTC", "0.001"), ("A2", "USD", 500), ("B1", "USD", 160), ("H1", "BTC", "0.0002"),
        ("H1", "USDC", 5),
    ):  # fmt: skip
        log.collateral(account, asset, quantity)
    for account in ("A1", "A2", "B1"):
        log.trade(account, "FUND", 1, 25)
    log.clock()
    return log


@pytest.fixture(scope="module")
def shards() -> list[ShardDay]:
    return [day_of_shard(desk().pair.engine)]


def rows(shards: list[ShardDay], pool: str, name: str) -> list[dict[str, str]]:
    """A section's rows as its CSV file gives them back."""
    (section,) = [section for section in pack(shards, pool, {}).sections if section.name == name]
    return list(csv.DictReader(io.StringIO(csv_text(section))))


def figures(shards: list[ShardDay], pool: str, name: str) -> dict[str, str]:
    return {row["figure"]: row["value"] for row in rows(shards, pool, name)}


def test_nobodys_excess_covers_anybody_elses_deficit(shards: list[ShardDay]) -> None:
    """The golden case: customers lack 10 and 0, with excesses of 0 and 50; A's excess in pool v covers nothing either."""
    golden = json.loads((ROOT / "tests/golden/margin_calls.json").read_text())["firm"]
    found = {row["account"]: row for row in rows(shards, "4d", "requirements")}
    lacking = [int(float(found[account]["undermargined"])) for account in ("A1", "B1")]
    assert lacking == golden["undermargined_by_customer"]
    assert float(found["B1"]["excess"]) == golden["excess_by_customer"][1]
    assert pack(shards, "4d", {}).undermargined_usd == 100 * golden["firm_undermargined"]
    assert pack(shards, "v", {}).undermargined_usd == 0
    a1 = found["A1"]
    assert (a1["status"], a1["quality"], a1["initial"], a1["maintenance"]) == ("CALL", "FRESH", "110.00", "100.00")
    assert (a1["equity"], a1["excess"], a1["undermargined_usd"]) == ("90.00", "-20.00", "10.00")
    assert [row["owner"] for row in found.values()].count("firm") == 1


def test_collateral_by_asset_and_owner(shards: list[ShardDay]) -> None:
    found = {(row["asset"], row["owner"]): row for row in rows(shards, "4d", "collateral")}
    bitcoin = found["BTC", "customers"]
    assert (bitcoin["quantity"], bitcoin["haircut"], bitcoin["margin_quantity"]) == (
        "0.00100000",
        "0.00020000",
        "0.00080000",
    )
    assert (bitcoin["value_usd"], bitcoin["margin_usd"]) == ("100.00", "80.00")
    assert (found["USD", "customers"]["accounts"], found["USD", "customers"]["margin_usd"]) == ("2", "170.00")
    assert found["USDC", "firm"]["margin_usd"] == "4.90"


def test_limits_count_all_pools_and_buffers_what_is_over(shards: list[ShardDay]) -> None:
    assert [list(row.values()) for row in rows(shards, "4d", "limits")] == [
        ["A", "110.00", "220.00", "150.00", "146.7", "70.00", "35.00"],
        ["B", "110.00", "110.00", "440.00", "25.0", "0.00", "0.00"],
    ]
    assert [row["customer"] for row in rows(shards, "v", "limits")] == ["A"]


def test_the_firm_leaves_what_customers_lack(shards: list[ShardDay]) -> None:
    """16.00 + 4.90 of margin value stand there; bitcoin may not, and costs 20 %; USDC costs 2 %: 4.00 + 0.10."""
    found = figures(shards, "4d", "firm")
    assert found["residual interest needed, USD"] == "10.00"
    assert found["residual interest there, USD"] == "20.90"
    assert found["residual interest missing, USD"] == "0.00"
    assert (found["pilot phase"], found["own capital charge, USD"], found["own BTC"]) == ("first", "4.10", "0.00020000")
    assert figures(shards, "v", "firm") == {}


def test_rules_and_place_in_the_log(shards: list[ShardDay]) -> None:
    found = rows(shards, "4d", "rules")
    assert [(row["rule"], row["model"], len(row["hash"])) for row in found] == [
        ("FLAT", "flat", 16), ("TAKEN", "collateral", 16)
    ]  # fmt: skip
    (place,) = rows(shards, "4d", "moments")
    assert (place["clock"], len(place["rule_set"])) == ("2027-01-15T08:00:01.000000000Z", 16)
    assert rows(shards, "4d", "totals")[3] == {
        "figure": "undermargined",
        "customers": "10.00",
        "firm": "0.00",
        "both": "10.00",
    }


def test_a_currency_without_a_rate_is_said(shards: list[ShardDay]) -> None:
    log = desk()
    log.collateral("B1", "BTC", 1)
    log.document("instrument", "X-USD", type="fx", currency="USD", tick="0.01", band=["0.01", "9"])
    log.document("asset", "X", type="currency", currency="USD", instrument="X-USD")
    log.collateral("A1", "X", 1)
    log.clock()
    found = [day_of_shard(log.pair.engine)]
    assert {row["asset"]: row["value_usd"] for row in rows(found, "4d", "collateral")}["X"] == "not known"
    assert "Accounts that are UNPRICED: 1" in html(pack(found, "4d", {}), "2027-01-15")


def test_the_page_needs_no_network_and_shows_names_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitors.day_end.SHOWN", 2)
    log = desk()
    name = "<script>alert(1)</script>"
    log.document("account", name, customer="A", pool="4d", currency="USD")
    log.collateral(name, "USD", "-1000")
    log.clock()
    text = html(pack([day_of_shard(log.pair.engine)], "4d", {}), "2027-01-15")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text
    assert "prefers-color-scheme:dark" in text
    assert "<td>-1,000.00</td>" in text
    assert "The first 2 of 4 rows; requirements.csv has all." in text


def test_the_pilots_week(shards: list[ShardDay]) -> None:
    rows_now = [one.rows for one in shards]
    week = report(rows_now, SUNDAY)
    assert week.csv.splitlines() == [
        "week_ending,account_class,asset,quantity,value_usd",
        "2027-01-17,futures 4d,BTC,0.00100000,100.00",
        "2027-01-17,futures 4d,,,100.00",
        "2027-01-17,cleared swaps Part 22,,,0.00",
        "2027-01-17,30.7,,,0.00",
        "2027-01-17,all,,,100.00",
    ]
    data = week.data
    assert data["rules"] == {"TAKEN": {"phase": "first", "report_due": True}}
    assert data["rows"] == [{"account_class": "futures 4d", "asset": "BTC", "quantity": "0.00100000", "value_usd": "100.00"}]
    assert data["own_capital"] == {"rule": "TAKEN", "charge_usd": "4.10", "not_known_because": ""}
    allowed = {one["asset"]: one["not_allowed_because"] for one in data["residual_interest"]}
    assert allowed["USDC"] == ""
    assert "may deposit only payment_stablecoin, not bitcoin" in allowed["BTC"]
    assert report(rows_now, date(2027, 5, 2)).data["rules"]["TAKEN"] == {"phase": "later", "report_due": False}


def test_what_the_week_cannot_count_is_listed() -> None:
    log = desk()
    log.collateral("B1", "PUSD", "-0.5")
    log.clock()
    week = report([rows_of(log.pair.engine)], SUNDAY)
    assert week.data["left_out"] == [{"account": "B1", "asset": "PUSD", "reason": "the account owes it"}]
    assert week.data["totals_usd"]["futures 4d"] == "100.00"


@pytest.mark.parametrize("fields", [{"day_end_limit": "-1"}, {"day_end_limit": "0.001"}, {"capital_buffer": "1.1"},
                                    {"day_end_limit": "NaN"}])  # fmt: skip
def test_a_wrong_limit_is_refused(fields: dict[str, str]) -> None:
    log = empty_log()
    assert [reject.code.reason for reject in log.document("customer", "A", **fields).rejects] == ["bad_field"]


def test_a_pool_of_an_unknown_class_is_refused() -> None:
    log = empty_log()
    log.document("asset", "USD", type="currency", currency="USD")
    refused = log.document("pool", "p", regime="x", currency="USD", account_class="9z").rejects
    assert [reject.code.reason for reject in refused] == ["bad_field"]

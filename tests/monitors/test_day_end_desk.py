"""What a desk reads in a day-end pack: lives of calls, statements, inputs, limits; and that it adds up to the engine."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from html import unescape
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pytest

from engine.core import MarginEngine
from engine.events import DAY_NS, Kind
from engine.reconciliation import RUN_NS
from engine.report import Report
from monitors import pool_day
from monitors.alerts import Alert, Alerts
from monitors.day_end import Pack, csv_text, html, pack
from monitors.day_rows import BEHIND, LAST_KNOWN, day_of_shard, lives_of
from tests.engine.explain_world import World, empty_log
from tests.engine.small_log import SmallLog

HOUR, DAY = 3600.0, DAY_NS / 1e9
SCRIPT = "<script>alert(1)</script>"


class Desk:
    """A log of one shard, and everything that happened to its margin calls; the clock stands at 08:00 UTC on a Friday."""

    def __init__(self, log: SmallLog) -> None:
        self.log, self.alerts = log, list[Alert]()

    @property
    def engine(self) -> MarginEngine:
        return self.log.pair.engine

    def did(self, report: Report) -> None:
        """Keep what a step said of calls."""
        assert report.rejects == []
        self.alerts += Alerts(0, self.engine, report)

    def clock(self, seconds: float = 1) -> None:
        self.did(self.log.clock(seconds))

    def act(self, kind: str, call: str, **fields: Any) -> None:
        action = {"ts": self.log.now_ns, "user": "ann", "kind": kind, "account": call.partition(":")[0], "call": call}
        self.did(self.log.document("", str(self.log.number), Kind.ACTION, **(action | fields)))

    def pack(self, pool: str = "p") -> Pack:
        return pack([day_of_shard(self.engine)], pool, lives_of(self.alerts))


def rows(found: Pack, name: str) -> list[dict[str, str]]:
    """A section's rows as its CSV file gives them back."""
    (section,) = [section for section in found.sections if section.name == name]
    return list(csv.DictReader(io.StringIO(csv_text(section))))


def note(found: Pack, name: str) -> str:
    return next(section.note for section in found.sections if section.name == name)


def called(zone: str | None = "America/Chicago", **calendar: Any) -> Desk:
    """Accounts a to d, which each need 110 dollars (100 to maintain) and have 90, 91, 92 and 200."""
    log = empty_log()
    log.money()
    log.document("calendar", "cal", sessions=[["Mon 00:00", "Mon 00:00"]], time_zone=zone, **calendar)
    log.document("pool", "p", regime="cftc", currency="USD", calendar="cal")
    log.rule("flat", "flat", initial="110", maintenance="100")
    log.instrument("F", rule="flat")
    log.price("F", "50")
    for account, money in {"a": 90, "b": 91, "c": 92, "d": 200}.items():
        log.account(account)
        log.trade(account, "F", 1, 50)
        log.collateral(account, "USD", money)
    desk = Desk(log)
    desk.clock()
    return desk


def test_each_call_of_the_day_has_its_whole_life_in_both_times() -> None:
    """a pays a part and is acknowledged, b pays all, c is cancelled; what was over yesterday is no longer here."""
    desk = called()
    desk.act("ack", "a:p:1", text="they wire it")
    desk.clock(60)
    for account, money in (("a", 5), ("b", 19)):
        desk.log.collateral(account, "USD", money)
    desk.clock(60)
    desk.act("cancel", "c:p:1", text=SCRIPT)
    desk.clock()
    found = desk.pack()
    assert [(row["call"], row["state"], row["acknowledged_by"]) for row in rows(found, "calls")] == [
        ("a:p:1", "PART_MET", "ann"), ("b:p:1", "MET", ""), ("c:p:1", "CANCELLED", ""),
    ]  # fmt: skip
    first, second, _ = rows(found, "calls")
    assert (first["issued_utc"], first["issued_local"]) == ("2027-01-15T08:00:01.000000000Z", "2027-01-15 02:00:01 CST")
    assert (first["due_utc"], first["due_local"]) == ("2027-01-18T23:00:00.000000000Z", "2027-01-18 17:00:00 CST")
    assert (first["over_utc"], second["over_local"]) == ("", "2027-01-15 02:02:01 CST")
    assert (first["called"], first["received"], first["still_asked_for"]) == ("20.00", "5.00", "15.00")
    assert (second["called"], second["received"], second["still_asked_for"]) == ("19.00", "19.00", "0.00")
    life = [(row["call"], row["event"], row["by"], row["text"]) for row in rows(found, "call_lives")]
    assert life == [
        ("a:p:1", "issued", "", ""), ("a:p:1", "acknowledged", "ann", "they wire it"), ("a:p:1", "received", "", ""),
        ("b:p:1", "issued", "", ""), ("b:p:1", "met", "", ""),
        ("c:p:1", "issued", "", ""), ("c:p:1", "cancelled", "ann", SCRIPT),
    ]  # fmt: skip
    text = html(found, "2027-01-15")
    assert "<script" not in text
    assert "2027-01-15 02:02:01 CST" in text
    desk.clock(DAY)
    later = desk.pack()
    assert [row["call"] for row in rows(later, "calls")] == ["a:p:1"]
    assert [row["event"] for row in rows(later, "call_lives")] == ["issued", "acknowledged", "received"]
    desk.clock(3 * DAY)
    life = [(row["event"], row["state"]) for row in rows(desk.pack(), "call_lives") if row["call"] == "a:p:1"]
    assert life[-1] == ("overdue", "OVERDUE")


def test_a_note_is_no_formula_of_a_spreadsheet() -> None:
    desk = called()
    for text in ("=1+1", "-2+3", "they pay - soon"):
        desk.act("note", "a:p:1", text=text)
    found = desk.pack()
    assert [row["text"] for row in rows(found, "call_lives")[1:4]] == ["'=1+1", "'-2+3", "they pay - soon"]
    assert rows(found, "requirements")[0]["excess"] == "-20.00"


def test_a_life_that_is_not_known_is_said() -> None:
    desk = called()
    desk.alerts = [alert for alert in desk.alerts if alert.account != "b"]
    found = desk.pack()
    assert [row["call"] for row in rows(found, "calls")] == ["a:p:1", "b:p:1", "c:p:1"]
    assert "Of 1 the life is not known" in note(found, "calls")
    assert "not known" not in note(called().pack(), "calls")


def test_without_a_time_zone_there_is_only_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise ZoneInfoNotFoundError(name)

    assert time_zone_said(None) == "UTC"
    monkeypatch.setattr(pool_day, "ZoneInfo", unknown)
    assert time_zone_said("Asia/Tokyo") == "UTC, as Asia/Tokyo is not known on this machine"


def time_zone_said(zone: str | None) -> str:
    """What the pack of a pool with that time zone says of it, where times are in UTC only."""
    found = called(zone).pack()
    assert "issued_local" not in rows(found, "calls")[0]
    return {row["figure"]: row["value"] for row in rows(found, "summary")}["time zone"]


def test_statements_that_differ_and_their_age() -> None:
    desk = called()
    desk.log.document("holder", "cme", name="CME Clearing")
    desk.log.document("pool", "q", regime="venue", currency="USD")
    desk.log.account("e", pool="q")
    for account, stated in {"a": 3, "b": 1, "e": 7}.items():
        desk.log.statement("cme", account, "F", stated)
    desk.log.statement("cme", "c", "F", 0)
    desk.log.statement("bank", "d", "USD", 200, is_asset=True)
    desk.clock(RUN_NS / 1e9 + 3 * HOUR)
    found = desk.pack()
    named = ("account", "kind", "held", "stated", "difference")
    assert [tuple(row[name] for name in named) for row in rows(found, "breaks")] == [
        ("a", "QUANTITY", "1", "3", "2"), ("c", "MISSING_THERE", "1", "0", "-1"),
    ]  # fmt: skip
    first = rows(found, "breaks")[0]
    assert (first["holder"], first["name"], first["type"], first["age_hours"]) == ("cme", "F", "instrument", "3.2")
    assert (first["since_local"], first["stated_local"]) == ("2027-01-15 02:00:01 CST",) * 2
    assert note(found, "breaks").startswith("2 statements of clearing houses and custodians match.")
    counts = {row["figure"]: row["value"] for row in rows(found, "summary")}
    assert [counts[f"statements {kind}"] for kind in ("MATCHED", "QUANTITY", "MISSING_HERE", "MISSING_THERE")] == list(
        "2101"
    )
    assert [(row["account"], row["kind"]) for row in rows(desk.pack("q"), "breaks")] == [("e", "MISSING_HERE")]
    assert note(called().pack(), "breaks").startswith("No statement of a clearing house or custodian was received")


def test_inputs_that_are_old_or_missing_are_said() -> None:
    desk = called()
    desk.log.instrument("S", stale_after=60)
    desk.log.price("S", 10)
    for account in "ab":
        desk.log.trade(account, "S", 1, 10)
    desk.log.instrument("N")
    desk.log.trade("d", "N", 1, 10)
    desk.clock()
    assert [row["instrument"] for row in rows(desk.pack(), "inputs")] == ["N"]
    desk.clock(61)
    found = desk.pack()
    stale, missing = rows(found, "inputs")
    assert (stale["instrument"], stale["quality"], stale["accounts"]) == ("S", "STALE", "2")
    assert stale["why"] == "its price is 62 s old, its limit is 60 s"
    assert stale["last_price_utc"] == "2027-01-15T08:00:01.000000000Z"
    assert (missing["instrument"], missing["why"], missing["last_price_utc"]) == ("N", "no price has come", "")
    assert note(found, "summary") == (
        "Accounts that are UNPRICED: 1; their figures are the last known, or none."
        " Accounts that are STALE: 2; an input of theirs is older than its limit."
    )
    assert note(called().pack(), "summary").startswith("All accounts are FRESH")


def world() -> World:
    """Accounts of several models, agreements, currencies, a capped and shocked collateral, one of them called."""
    made = World()
    made.agreement()
    made.hold()
    made.trade("n", "EURO", 50)
    made.log.collateral("n", "EUR", 1000)
    made.log.collateral("k", "BTC", "2")
    made.log.collateral("f", "USD", -4_990_000)
    made.clock(5)
    return made


def test_lines_sum_to_the_stored_requirement() -> None:
    """By currency, and each currency's sum converted with its requirement rounded up."""
    made = world()
    desk = Desk(made.log)
    named = {pool: desk.pack(pool) for pool in "FTKN"}
    for pool, found in named.items():
        (account,) = rows(found, "requirements")
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for row in rows(found, "lines"):
            sums[row["currency"]] += Decimal(row["maintenance"])
        euro = -(-int(100 * sums.pop("EUR", Decimal(0))) * 10873 // 10_000)
        assert 100 * sums["USD"] + euro == 100 * Decimal(account["maintenance"]), pool
    assert {row["rule"] for row in rows(named["N"], "lines")} == {"SCAN", "FLAT", "POINTS", "VOL"}
    assert "CROSS" in {row["line"] for row in rows(named["F"], "lines")}
    assert BEHIND not in {row["line"] for row in rows(named["K"], "lines")}


def test_totals_are_the_engines_own_sums() -> None:
    """In dollars; of an account in another currency, or an asset, the pack rounds against the customer."""
    made = world()
    desk, whole = Desk(made.log), made.engine.population()
    for pool in "FTKN":
        found = desk.pack(pool)
        both = {row["figure"]: round(100 * Decimal(row["both"])) for row in rows(found, "totals")}
        assert both["initial requirement"] == whole.initial_usd[pool]
        assert both["maintenance requirement"] == whole.maintenance_usd[pool]
        assert both["equity"] == whole.equity_usd[pool]
        assert both["undermargined"] == whole.deficit_usd[pool]
        assert both["still asked for"] == whole.called_usd[pool]
        assert both["collateral, as margin"] == sum(usd for (of, _), usd in whole.collateral_usd.items() if of == pool)
        by_asset = {row["asset"]: round(100 * Decimal(row["margin_usd"])) for row in rows(found, "collateral")}
        assert by_asset == {asset: usd for (of, asset), usd in whole.collateral_usd.items() if of == pool}
        for column in ("initial_usd", "maintenance_usd", "equity_usd", "undermargined_usd"):
            name = {"initial_usd": "initial requirement", "maintenance_usd": "maintenance requirement"}.get(column)
            total = sum(round(100 * Decimal(row[column])) for row in rows(found, "requirements"))
            assert total == both[name or column.removesuffix("_usd")]
    assert whole.called_usd["F"] > 0
    assert sum(whole.calls.values()) == 1


def test_limits_of_collateral_are_used_as_the_engine_counts() -> None:
    """K takes coins up to 90,000 dollars: 2.5 of 100,000 less 5 % are 237,500."""
    (row,) = rows(Desk(world().log).pack("K"), "caps")
    assert row == {
        "account": "k", "customer": "c", "entry": "crypto", "limit_usd": "90000.00", "used_usd": "90000.00",
        "used_percent": "100.0", "over_usd": "147500.00",
    }  # fmt: skip


def test_what_is_owed_is_not_set_off() -> None:
    desk = called()
    desk.log.collateral("d", "USD", -500)
    desk.clock()
    (row,) = rows(desk.pack(), "collateral")
    assert (row["accounts"], row["quantity"], row["margin_usd"], row["owed"]) == ("3", "273.00", "273.00", "300.00")


def test_an_account_without_a_price_has_its_last_requirement_as_one_line() -> None:
    desk = called()
    desk.log.rule("vol", "volatility", multiple="3", days="2", tenor_days="30", floor="0.1", initial_ratio="1")
    desk.log.instrument("V", rule="vol", underlying="F")
    desk.log.price("V", 5)
    desk.log.trade("d", "V", 1, 5)
    desk.clock()
    found = [row for row in rows(desk.pack(), "lines") if row["account"] == "d"]
    assert [(row["line"], row["maintenance"]) for row in found] == [("V", "not known"), (LAST_KNOWN, "100.00")]
    assert found[0]["why"] == "an input of its rule is missing"
    assert found[1]["why"].startswith("it is UNPRICED: the stored figures are the last known")


def shown(text: str, name: str) -> list[list[str]]:
    """The words and numbers of a section of the page, by row."""
    (section,) = re.findall(rf"<section id='{name}'>(.*?)</section>", text, re.DOTALL)
    found = [re.split(r"<td[^>]*>|<br>", row)[1:] for row in re.findall(r"<tr>(<td.*?)</tr>", section)]
    return [plain(unescape(re.sub("<[^>]*>", "", cell)) for cell in row) for row in found]


def plain(cells: Iterable[str]) -> list[str]:
    """What is in cells, without what is only form."""
    return [re.sub(r"T(.{8})\.\d{9}Z$", r" \1", cell).replace(",", "") for cell in cells if cell]


def test_the_page_and_the_files_say_the_same() -> None:
    desk = called()
    desk.log.statement("cme", "a", "F", 3)
    desk.log.collateral("b", "USD", 1_000_000)
    desk.clock()
    found = desk.pack()
    text = html(found, "2027-01-15")
    for section in found.sections:
        assert shown(text, section.name) == [plain(row) for row in section.rows], section.name
    assert "<td>1,000,091.00</td>" in text
    assert "day end 2027-01-15, so far" in text

"""The dated rule files: form, a graded source for every parameter, and published tables as they were published."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.documents import Rule, names_used, parse_document
from engine.models.collateral import Holding, Schedule, Terms, check, treatment
from engine.models.pilot import Digital, Phase, phase_of
from engine.numbers import time_ns
from engine.rules import check_rule
from streams.population import CROSS_RULE, example

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "streams" / "data" / "rules"
FILES = sorted(FOLDER.glob("*.json"))
SOURCE = re.compile(r"\[[PSMRID]\] \S.{3,}")
DAY = date(2026, 11, 20)


def load(path: Path) -> dict[str, Any]:
    """A file's object; a key that stands twice in it is an error, JSON would drop the first."""
    written = path.read_bytes()
    found = msgspec.json.decode(written)
    again = msgspec.json.encode(found)
    assert len(again) == len(re.sub(rb'("(?:[^"\\]|\\.)*")|\s+', rb"\1", written)), f"{path.name} has a key twice"
    assert isinstance(found, dict)
    return found


def schedule(name: str) -> Schedule:
    return check(msgspec.json.decode(msgspec.json.encode(load(FOLDER / f"{name}.json")["parameters"]), type=Schedule))


def leaves(value: Any, path: str) -> Iterator[str]:
    """Paths of all parameters; a list is one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    else:
        yield path


def covers(source: str, path: str) -> bool:
    return path == source or path.startswith(f"{source}.")


def unsourced(parameters: dict[str, Any], sources: dict[str, str]) -> list[str]:
    return [path for path in leaves(parameters, "") if not any(covers(source, path) for source in sources)]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in FILES])
def test_each_file_has_the_form_and_a_graded_source_for_every_parameter(path: Path) -> None:
    rule = load(path)
    assert set(rule) == {"kind", "id", "model", "effective", "parameters", "sources"}
    assert rule["kind"] == "rule"
    assert path.name == f"{rule['id']}.{rule['effective'][:10]}.json"
    assert time_ns(rule["effective"]) > 0
    assert unsourced(rule["parameters"], rule["sources"]) == []
    stale = [
        source for source in rule["sources"]
        if source != "effective" and not any(covers(source, leaf) for leaf in leaves(rule["parameters"], ""))
    ]  # fmt: skip
    assert stale == []
    assert [source for source, text in rule["sources"].items() if not SOURCE.match(text)] == []


def test_a_parameter_without_a_source_is_found() -> None:
    parameters = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": 2}
    assert unsourced(parameters, {"a.b": "", "e": ""}) == ["a.c.d"]
    assert unsourced(parameters, {"a": "", "e": ""}) == []
    assert unsourced({"ab": 1}, {"a": ""}) == ["ab"]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in FILES if path.stem.startswith("COLLATERAL")])
def test_collateral_schedules_are_valid(path: Path) -> None:
    assert load(path)["model"] == "collateral"
    assert schedule(path.stem).currency == "USD"


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in FILES])
def test_the_engine_takes_each_file(path: Path) -> None:
    rule = parse_document(path.read_bytes())
    assert isinstance(rule, Rule)
    check_rule(rule)


def test_no_rule_is_without_use_in_the_example() -> None:
    documents = [parse_document(body) for *_, body in example().documents]
    used = {name for document in documents for kind, name in names_used(document) if kind == "rule"} | {CROSS_RULE}
    spare = {load(path)["id"] for path in FILES} - used
    # for a pool of one's own, Treasuries that are not cross-margined, and the other form of cross-margin
    assert spare == {"COLLATERAL-PILOT", "UST-4210E", "XM-SPREADS"}


def test_eligible_products_are_those_of_the_list_and_the_flagged_five_year_future() -> None:
    (path,) = (path for path in FILES if path.stem.startswith("XM-CME-FICC"))
    rule = load(path)
    listed = {"ZT", "Z3N", "ZN", "TN", "ZB", "TWE", "UB", "ZQ", "SR1", "SR3"}  # rates.md 2 [P] 12
    assert set(rule["parameters"]["products"]) == listed | {"ZF", "treasury_note", "treasury_bond"}
    assert "[I] ZF" in rule["sources"]["products"]
    products = {i.product for i in example().instruments.values() if i.rule in rule["parameters"]["houses"]}
    assert products <= set(rule["parameters"]["products"])


def test_the_example_names_the_same_files() -> None:
    link = ROOT / "deploy" / "example" / "rules"
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == FOLDER
    text = (FOLDER / "README.md").read_text("utf-8")
    assert {load(path)["id"] for path in FILES} == set(re.findall(r"^\| ([A-Z][A-Z0-9-]+) \|", text, re.MULTILINE))


PUBLISHED = {  # crypto.md 1.2 and 1.3 [P]: haircuts in per cent at remaining years
    "COLLATERAL-CME.2020-01-01": {
        "treasury_bill": [(0.5, 0.5)],
        "treasury": [(0.5, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4.5), (10, 4.5), (20, 6), (30, 6)],
        "treasury_tips": [(0.5, 1), (2, 2), (4, 3), (7, 4.5), (20, 6)],
        "treasury_frn": [(0.5, 1), (2, 2), (4, None)],
        "treasury_strips": [(0.5, 11), (20, 11)],
        "supranational": [(0.5, 3), (2, 4), (4, 5), (7, None)],
        "sovereign_bill": [(0.5, 5)],
        "fund": [(0.5, 3)],
        "corporate": [(7, 20)],
    },
    "COLLATERAL-OCC.2020-01-01": {
        "treasury": [(0.5, 1), (1, 2.5), (4, 2.5), (5, 5), (7, 5), (10, 6.5), (12, 6.5), (15, 8), (20, 8)],
        "treasury_tips": [(0.5, 1), (4, 2.5), (7, 5), (12, 8), (20, 11)],
        "treasury_strips": [(0.5, 5), (4, 5), (7, 18), (12, 18), (20, 18)],
        "canadian_government": [(0.5, 3), (4, 4), (7, 5), (12, None)],
    },
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, table in PUBLISHED.items() for kind in table])
def test_published_haircuts(name: str, kind: str) -> None:
    for years, percent in PUBLISHED[name][kind]:
        maturity = date(DAY.year + int(years), DAY.month, DAY.day) if years >= 1 else date(2027, 5, 20)
        found = treatment(schedule(name), Holding((kind,), 1, "USD", maturity), DAY, "USD")
        assert found.haircut_ppb == (10**9 if percent is None else round(percent * 10**7)), f"{kind} of {years} years"
        assert bool(found.reason) == (percent is None)


def test_ficc_is_never_below_cme_and_occ() -> None:
    for kind in ("UST-BILL", "treasury", "treasury_tips", "treasury_strips"):
        for years in range(1, 30):
            holding = Holding((kind,), 1, "USD", date(DAY.year + years, 11, 20))
            cme, occ, ficc = (
                treatment(schedule(f"COLLATERAL-{house}.2020-01-01"), holding, DAY, "USD").haircut_ppb
                for house in ("CME", "OCC", "FICC")
            )
            others = [one for one in (cme, occ) if one < 10**9]
            assert ficc >= max(others)


def test_pilot_files_by_firm_and_day() -> None:
    before, after = schedule("COLLATERAL-PILOT.2025-12-08"), schedule("COLLATERAL-PILOT.2026-02-06")
    assert before.pilot is not None
    assert after.pilot is not None
    assert phase_of(before.pilot, date(2026, 2, 5)) == Phase.BEFORE
    assert phase_of(after.pilot, date(2026, 6, 1)) == Phase.FIRST
    assert phase_of(after.pilot, date(2026, 6, 2)) == Phase.LATER
    coin = Holding(("BTC", "crypto"), 1)
    assert treatment(before, coin, date(2026, 2, 5), "USD").reason
    assert treatment(after, coin, date(2026, 3, 2), "USD").haircut_ppb == 200_000_000
    other = Holding(("SOL", "crypto"), 1)
    assert treatment(after, other, date(2026, 6, 1), "USD").reason
    assert treatment(after, other, date(2026, 6, 2), "USD").reason == ""
    changed = {
        key: (before.assets[key], after.assets[key]) for key in after.assets if before.assets[key] != after.assets[key]
    }
    assert list(changed) == ["stablecoin_national_trust"]  # what Letter 26-05 changed
    assert all(terms.digital is not None or not terms.eligible for terms in coins(after))


def coins(found: Schedule) -> list[Terms]:
    """Entries that could hold a digital asset."""
    names = ("BTC", "ETH", "USDC", "USDT", "crypto")
    return [terms for key, terms in found.assets.items() if key in names or key.startswith("stablecoin")]


def test_own_capital_charges_of_the_pilot() -> None:
    pilot = schedule("COLLATERAL-PILOT.2026-02-06").pilot
    assert pilot is not None
    assert {one: float(charge) for one, charge in pilot.own_capital.items()} == {
        Digital.BITCOIN: 0.2, Digital.ETHER: 0.2, Digital.PAYMENT_STABLECOIN: 0.02,
    }  # fmt: skip

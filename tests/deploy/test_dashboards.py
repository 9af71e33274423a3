"""Grafana's dashboards without Grafana: written by the script, names from the table, all metrics shown, provisioned."""

import json
import re
from itertools import combinations
from typing import Any, Final

import pytest
import yaml

from deploy.grafana.make_dashboards import FOLDER, documents
from deploy.grafana.panels import COLUMNS, SOURCE
from monitors.metrics import TABLE
from tests.deploy.expressions import ROOT, SERIES, check, groups, names

DASHBOARDS: Final[dict[str, dict[str, Any]]] = {
    name.removesuffix(".json"): json.loads(text) for name, text in documents().items()
}
PANELS: Final = [
    pytest.param(panel, id=f"{name}: {panel['title']}") for name, board in DASHBOARDS.items() for panel in board["panels"]
]
KINDS: Final = {"stat", "timeseries", "bargauge", "table"}
UNITS: Final = {"short", "currencyUSD", "percentunit", "s", "ops", "bool_yes_no"}


def queries() -> list[str]:
    """Every query of every dashboard."""
    found = [target["expr"] for board in DASHBOARDS.values() for panel in board["panels"] for target in panel["targets"]]
    return list(dict.fromkeys(found))


def test_the_files_are_what_the_script_writes() -> None:
    assert {file.name: file.read_text("utf-8") for file in FOLDER.iterdir()} == documents()


@pytest.mark.parametrize("query", queries())
def test_queries_name_what_exists(query: str) -> None:
    check(query)


def test_every_metric_is_shown() -> None:
    """In a panel, or in a recording that a panel shows."""
    asked = {name for query in queries() for name in names(query)}
    asked |= {name for rule in groups("recording") if rule["record"] in asked for name in names(rule["expr"])}
    shown = {SERIES[name].name for name in asked if name in SERIES}
    assert set(TABLE) - shown == set()


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_is_a_question_with_a_unit(panel: dict[str, Any]) -> None:
    assert panel["title"].endswith("?")
    assert panel["type"] in KINDS
    assert panel["datasource"] == SOURCE
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps[0]["value"] is None
    limits = [step["value"] for step in steps[1:]]
    assert limits == sorted(limits)
    assert panel["targets"]
    assert all(target["datasource"] == SOURCE for target in panel["targets"])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    places = [panel["gridPos"] for panel in DASHBOARDS[name]["panels"]]
    assert all(0 <= place["x"] and place["x"] + place["w"] <= COLUMNS for place in places)
    for one, two in combinations(places, 2):
        beside = one["x"] + one["w"] <= two["x"] or two["x"] + two["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= two["y"] or two["y"] + two["h"] <= one["y"]


def test_dashboards_are_named_once_and_lead_to_page_and_runbooks() -> None:
    for what in ("uid", "title"):
        assert len({board[what] for board in DASHBOARDS.values()}) == len(DASHBOARDS) == 5
    for board in DASHBOARDS.values():
        variables = {entry["name"] for entry in board["templating"]["list"]}
        assert variables == {"web", "runbooks"}
        assert [link["url"] for link in board["links"] if link["type"] == "link"] == ["${web:raw}"]
    to_page = re.compile(r"\$\{web:raw\}/#/(account)/\$\{__data\.fields\.(account):percentencode\}")
    to_runbook = re.compile(r"\$\{runbooks:raw\}/()\$\{__data\.fields\.(alertname):percentencode\}\.md")
    page = (ROOT / "monitors" / "web" / "app.js").read_text("utf-8")
    screens = re.findall(r"^const SCREENS = \{(.*)\};$", page, re.MULTILINE)[0].split(",")
    found = set()
    for panel in (case.values[0] for case in PANELS):
        for link in panel["fieldConfig"]["defaults"].get("links", []):
            match = to_page.fullmatch(link["url"]) or to_runbook.fullmatch(link["url"])
            assert match, link["url"]
            screen, field = match.groups()
            assert not screen or screen in map(str.strip, screens), f"the page has no screen {screen}"
            assert all(re.search(rf"by \([^)]*\b{field}\b", target["expr"]) for target in panel["targets"])
            found.add(field)
    assert found == {"account", "alertname"}


def test_grafana_is_provisioned_with_the_data_source_and_the_folder() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == SOURCE
    [provider] = yaml.safe_load((provisioning / "dashboards" / "crossmargin.yml").read_text("utf-8"))["providers"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    mounts = dict(volume.split(":")[1::-1] for volume in services["grafana"]["volumes"])
    assert (ROOT / mounts[provider["options"]["path"]]).resolve() == FOLDER
    assert (ROOT / mounts["/etc/grafana/provisioning"]).resolve() == provisioning
    assert source["url"].removeprefix("http://").split(":")[0] in services

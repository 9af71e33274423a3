"""Recording and alerting rules, their runbooks and Alertmanager's routes: complete, true to the table, and tested."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy import check_command
from tests.deploy.expressions import PROMETHEUS, ROOT, alerts, check, groups, names, recorded
from tests.deploy.test_documents import commands
from tests.services import require

ALERTMANAGER: Final = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
CONFIG: dict[str, Any] = yaml.safe_load(ALERTMANAGER.read_text("utf-8"))
RUNBOOKS: Final = sorted((ROOT / "deploy" / "runbooks").glob("*.md"))
SECTIONS: Final = ["## What it means", "## How to see more", "## What to do", "## When to escalate"]
SEVERITIES: Final = {"critical", "warning", "none"}
RECEIVERS: Final = {receiver["name"] for receiver in CONFIG["receivers"]}


def run(tool: str, package: str, *words: str) -> str:
    """The output of a tool of Prometheus; skipped, or failed, where it is absent."""
    found = shutil.which(tool)
    require(found, f"{tool} is absent (Debian: apt-get install {package})")
    done = subprocess.run([str(found), *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["record"]) for rule in groups("recording")])
def test_what_is_recorded_comes_from_the_table(rule: dict[str, Any]) -> None:
    check(rule["expr"])
    assert not names(rule["expr"]) & recorded(), "a recording that needs another one comes a turn late"


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_is_complete(name: str) -> None:
    rule = alerts()[name]
    if name == "Watchdog":
        assert rule["expr"] == "vector(1)"
    else:
        check(rule["expr"])
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["labels"]["team"] in RECEIVERS
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert annotations["description"].endswith(".")
    assert annotations["runbook_url"] == f"deploy/runbooks/{name}.md"
    assert (ROOT / annotations["runbook_url"]).is_file()


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in RUNBOOKS])
def test_a_runbook_is_short_and_its_commands_are_real(page: Path) -> None:
    text = page.read_text("utf-8")
    assert page.stem in alerts()
    assert text.startswith(f"# {page.stem}\n")
    assert [line for line in text.splitlines() if line.startswith("##")] == SECTIONS
    assert len(text.splitlines()) < 40
    assert commands(text)
    for program, *words in commands(text):
        if program == "crossmargin":
            check_command(words)
        else:
            assert [program, *words][:2] == ["docker", "compose"]


@pytest.mark.services
@pytest.mark.parametrize("group", ["system", "population"])
def test_promtool_sees_each_alert_fire_and_not_fire(group: str) -> None:
    file = PROMETHEUS / "tests" / f"{group}.yml"
    cases = {case["name"]: case["promql_expr_test"] for case in yaml.safe_load(file.read_text("utf-8"))["tests"]}
    for rule in groups(f"alerts-{group}"):
        query = f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}})'
        for name, fires in (("fires", True), ("does not fire", False)):
            if (rule["alert"], name) != ("Watchdog", "does not fire"):
                named = [one for one in cases if one.partition(",")[0] == f"{rule['alert']} {name}"]
                assert named
                for [case] in map(cases.pop, named):
                    assert case["expr"] == query
                    assert [sample["value"] > 0 for sample in case["exp_samples"]] == [True] * fires
    assert not cases, "these are tests of alerts that do not exist"
    run("promtool", "prometheus", "test", "rules", str(file))


# Alertmanager


@pytest.mark.services
def test_amtool_accepts_the_configuration() -> None:
    assert "SUCCESS" in run("amtool", "prometheus-alertmanager", "check-config", str(ALERTMANAGER))


@pytest.mark.services
@pytest.mark.parametrize("team", sorted(RECEIVERS))
def test_alerts_go_to_their_team(team: str) -> None:
    labels = {tuple(rule["labels"].items()) for rule in alerts().values() if rule["labels"]["team"] == team}
    assert labels, f"no alert is for {team}"
    for pairs in labels:
        words = [f"{name}={value}" for name, value in pairs]
        to = run("amtool", "prometheus-alertmanager", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *words)
        assert to.strip() == team


def test_inhibitions_name_alerts_and_never_silence_a_critical_one_of_risk() -> None:
    for rule in CONFIG["inhibit_rules"]:
        matched = [part.partition("=")[::2] for part in rule["source_matchers"] + rule["target_matchers"]]
        for label, text in matched:
            values = text.lstrip("~").strip('"').split("|")
            if label == "alertname":
                assert set(values) <= set(alerts())
            else:
                assert set(values) <= {alert["labels"][label] for alert in alerts().values()}
        for name, alert in alerts().items():
            if (alert["labels"]["team"], alert["labels"]["severity"]) == ("risk", "critical"):
                assert not targets(rule, name)


def targets(rule: dict[str, Any], name: str) -> bool:
    """Whether an inhibition can silence an alert."""
    labels = alerts()[name]["labels"] | {"alertname": name}
    wanted = [part.partition("=")[::2] for part in rule["target_matchers"]]
    return all(labels[label] in text.lstrip("~").strip('"').split("|") for label, text in wanted)

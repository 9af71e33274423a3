"""What queries of rules and dashboards name: metrics and label values, against the table of metrics."""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from monitors.metrics import LABEL_VALUES, METRICS

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
SUFFIXES: Final = {"histogram": ("_bucket", "_sum", "_count"), "gaugehistogram": ("_bucket", "_gsum", "_gcount")}
SERIES: Final = {metric.name + suffix: metric for metric in METRICS for suffix in SUFFIXES.get(metric.type, ("",))}
OF_PROMETHEUS: Final = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity", "team"}}
SELECTOR: Final = re.compile(r"(?<![\w:$])(crossmargin[_:][\w:]+|up|ALERTS)\b(?:\{([^}]*)\})?")
MATCHER: Final = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def groups(name: str) -> list[dict[str, Any]]:
    """The rules of a file in deploy/prometheus/rules, in order."""
    document = yaml.safe_load((PROMETHEUS / "rules" / f"{name}.yml").read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def recorded() -> set[str]:
    """Names of the recording rules."""
    return {rule["record"] for rule in groups("recording")}


def alerts() -> dict[str, dict[str, Any]]:
    """Alerting rules by name; an assertion fails when two have one name."""
    rules = groups("alerts-system") + groups("alerts-population")
    by_name = {rule["alert"]: rule for rule in rules}
    assert len(by_name) == len(rules)
    return by_name


def names(query: str) -> set[str]:
    """Every series that a query names."""
    return {name for name, _ in SELECTOR.findall(query)}


def check(query: str) -> None:
    """AssertionError unless every series of a query exists, with the labels and values that are asked of it."""
    assert names(query), f"{query} names no series"
    for name, matchers in SELECTOR.findall(query):
        metric = SERIES.get(name)
        assert metric or name in OF_PROMETHEUS or name in recorded(), f"{name} of {query} is no metric of the table"
        for label, operator, text in MATCHER.findall(matchers) if metric else ():
            bounds = ["+Inf", *map(str, metric.bounds)] if name.endswith("_bucket") else None
            assert label in (*metric.labels, "job", "instance", *(["le"] if bounds else [])), f"{name} has no label {label}"
            known = bounds if label == "le" and bounds else LABEL_VALUES.get(label)
            for value in text.split("|") if operator.endswith("~") else [text]:
                assert known is None or value in known, f"{label}={value} of {query} never is"

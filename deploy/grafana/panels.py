"""A panel of a Grafana dashboard, and how Grafana writes it down."""

from dataclasses import dataclass
from typing import Any, Final, Literal

SOURCE: Final = {"type": "prometheus", "uid": "crossmargin-prometheus"}
COLUMNS: Final = 24
Steps = tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A question. queries: (PromQL, legend); steps: from which value on a colour holds, green below the first (unless 0)."""

    title: str
    kind: Literal["stat", "timeseries", "bargauge", "table"]
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    steps: Steps = ()
    width: int = 12
    height: int = 8
    about: str = ""
    stacked: bool = False
    buckets: bool = False  # the queries give a histogram's buckets, each with all below it
    links: tuple[tuple[str, str], ...] = ()  # (title, URL) of a row


def number(title: str, query: str, unit: str = "short", steps: Steps = (), about: str = "") -> Panel:
    """One figure, large."""
    return Panel(title, "stat", ((query, ""),), unit, steps, width=6, height=4, about=about)


def lines(title: str, *queries: tuple[str, str], unit: str = "short", **more: Any) -> Panel:
    """Figures over time."""
    return Panel(title, "timeseries", queries, unit, **more)


def target(panel: Panel, place: int) -> dict[str, Any]:
    """A query of a panel."""
    query, legend = panel.queries[place]
    is_series = panel.kind == "timeseries"
    found = {"refId": "ABCDEFGH"[place], "datasource": SOURCE, "expr": query, "range": is_series, "instant": not is_series}
    if panel.kind == "table":
        return found | {"format": "table"}
    return found | {"legendFormat": legend, "format": "heatmap" if panel.buckets else "time_series"}


def defaults(panel: Panel) -> dict[str, Any]:
    """Units, colours and links of the values."""
    base = [] if panel.steps and panel.steps[0][0] == 0 else [{"color": "green", "value": None}]
    steps = base + [{"color": color, "value": at or None} for at, color in panel.steps]
    found: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    found["color"] = {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"}
    if panel.links:
        found["links"] = [{"title": title, "url": url, "targetBlank": True} for title, url in panel.links]
    if panel.kind == "timeseries":
        found["custom"] = {
            "fillOpacity": 30 if panel.stacked else 0,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
        }
    elif panel.unit == "percentunit":
        found |= {"min": 0}
    return found


def options(panel: Panel) -> dict[str, Any]:
    """What only panels of one kind have."""
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "stat":
        return {"reduceOptions": last, "colorMode": "value", "graphMode": "none", "textMode": "value"}
    if panel.kind == "bargauge":
        return {"reduceOptions": last, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True}
    if panel.kind == "table":
        return {"showHeader": True, "sortBy": [{"displayName": "Value", "desc": True}]}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}


def laid_out(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """The panels in rows from left to right, numbered."""
    found: list[dict[str, Any]] = []
    x = y = row_height = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        made = {
            "id": len(found) + 1,
            "type": panel.kind,
            "title": panel.title,
            "description": panel.about,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
            "fieldConfig": {"defaults": defaults(panel), "overrides": []},
            "options": options(panel),
            "targets": [target(panel, place) for place in range(len(panel.queries))],
        }
        if panel.kind == "table":
            hidden = {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}}}
            made["transformations"] = [hidden]
        found.append(made)
        x, row_height = x + panel.width, max(row_height, panel.height)
    return found

"""Writes deploy/grafana/dashboards/*.json from the tables below: python -m deploy.grafana.make_dashboards

A dashboard is a list of panels, each a question with the queries that answer it. Names of metrics are those of
monitors/metrics.py; a test asks the real Prometheus every query, and another one that the files are what this writes.
"""

import json
from pathlib import Path
from typing import Any, Final

from deploy.grafana.panels import Panel, laid_out, lines, number
from deploy.grafana.system import AGE, SYSTEM
from engine.report import CALL_AGES, OLDER, TOP
from engine.warning import COIN, RUNGS

FOLDER: Final = Path(__file__).parent / "dashboards"
PAGE: Final = "http://localhost:8800"  # of the browser, where `crossmargin web` answers
WEB: Final = "${web:raw}"  # this variable in a link, where Grafana would else encode the address
RUNBOOKS: Final = "/public/runbooks"  # docker-compose.yml puts deploy/runbooks there
IN_CALL: Final = 'crossmargin_accounts{status=~"CALL|OVERDUE|RESTRICTED|DEBIT"}'
LATE: Final = 'crossmargin_margin_calls_open{call=~"OVERDUE|ESCALATED|RESTRICTED"}'


def rungs(title: str, metric: str, of: str, unit: str) -> Panel:
    """A side of the ladder: a bar for each move of rates or of the coin."""
    moves = [name for name, (factor, _) in RUNGS.items() if factor == of]
    queries = tuple((f'sum({metric}{{shock="{name}"}})', name) for name in moves)
    about = "Accounts not below maintenance now; a move of this alone, linear in what they hold, requirements as they are."
    return Panel(title, "bargauge", queries, unit, ((1, "orange"),), width=6, about=about)


DEFICITS: Final = Panel(
    "Who needs money now?",
    "table",
    ((f"topk({TOP}, max by (account) (crossmargin_top_deficit_usd))", ""),),
    "currencyUSD",
    about="The accounts that lack most to their maintenance margin; each opens on the page, which shows all of them.",
    links=(("Open the account", f"{WEB}/#/account/${{__data.fields.account:percentencode}}"),),
)
STATES: Final = lines(
    "In which state are the accounts?",
    ("sum by (status) (crossmargin_accounts)", "{{status}}"),
    stacked=True,
    about="OK: equity above initial margin. WATCH: between maintenance and initial. CALL and worse: below maintenance.",
)

OVERVIEW: Final = (
    number("How many accounts are in a call?", f"sum({IN_CALL})", steps=((1, "orange"),)),
    number("How much do they lack?", "sum(crossmargin_deficit_usd)", "currencyUSD", ((1, "orange"),)),
    number("How many owe more than they have?", 'sum(crossmargin_accounts{status="DEBIT"})', steps=((1, "red"),)),
    AGE,
    DEFICITS,
    STATES,
    number(
        "How many more are not in this list?",
        f"sum(crossmargin_top_truncated) + clamp_min((count(crossmargin_top_deficit_usd) or vector(0)) - {TOP}, 0)",
        about="Accounts with a deficit beside those listed.",
    ),
    number(
        "How many cannot be margined?",
        'sum(crossmargin_accounts_quality{quality="UNPRICED"})',
        steps=((1, "orange"),),
        about="An input is missing; figures and status are the last known ones.",
    ),
    number(
        "How many are margined on old prices?",
        'sum(crossmargin_accounts_quality{quality="STALE"})',
        steps=((1, "orange"),),
    ),
    number(
        "How much of their equity do 9 in 10 use at most?",
        "crossmargin:utilization:p90",
        "percentunit",
        ((0.8, "orange"), (1, "red")),
        "Maintenance margin over equity; at 100 % an account is called.",
    ),
    lines(
        "Does equity cover the requirement?",
        ("sum(crossmargin_equity_usd)", "equity"),
        ('sum(crossmargin_requirement_usd{level="initial"})', "initial margin"),
        ('sum(crossmargin_requirement_usd{level="maintenance"})', "maintenance margin"),
        unit="currencyUSD",
        about="In sum: one account's excess does not cover another's deficit.",
    ),
    lines(
        "Which pools lack money?",
        ("sum by (pool) (crossmargin_deficit_usd)", "{{pool}}"),
        unit="currencyUSD",
        steps=((1, "orange"),),
    ),
)

CALLS: Final = (
    number("How many calls are open?", "sum(crossmargin_margin_calls_open)", steps=((1, "orange"),)),
    number("How many are not met in time?", f"sum({LATE})", steps=((1, "red"),)),
    number(
        "What part of all accounts is in a call?",
        "crossmargin:accounts_in_call:ratio",
        "percentunit",
        ((0.02, "orange"), (0.05, "red")),
    ),
    number("How much do accounts lack?", "sum(crossmargin_deficit_usd)", "currencyUSD", ((1, "orange"),)),
    DEFICITS,
    lines(
        "Where are open calls in their life?",
        ("sum by (call) (crossmargin_margin_calls_open)", "{{call}}"),
        stacked=True,
        about="OVERDUE: past its due time. ESCALATED: the next cut-off passed too. RESTRICTED: risk-reducing orders only.",
    ),
    Panel(
        "How old are the open calls?",
        "bargauge",
        tuple((f'sum(crossmargin_margin_calls_by_age{{age="{age}"}})', age) for age in (*CALL_AGES, OLDER)),
        about="By time since they were issued: up to an hour, from there up to four, up to 24, and older.",
    ),
    Panel(
        "When is the money due?",
        "bargauge",
        (
            ('sum by (currency) (crossmargin_liquidity_due_usd{window="1h"})', "{{currency}} within an hour"),
            ('sum by (currency) (crossmargin_liquidity_due_usd{window="4h"})', "{{currency}} in 1 to 4 hours"),
            ('sum by (currency) (crossmargin_liquidity_due_usd{window="24h"})', "{{currency}} in 4 to 24 hours"),
            ('sum by (currency) (crossmargin_liquidity_due_usd{window="later"})', "{{currency}} later"),
        ),
        "currencyUSD",
        about="What open calls still ask for, by the accounts' currencies; what is overdue counts as due within the hour.",
    ),
    lines(
        "How much do open calls still ask for?",
        ("sum by (pool) (crossmargin_margin_calls_usd)", "{{pool}}"),
        unit="currencyUSD",
        stacked=True,
    ),
    lines(
        "What happened to calls?",
        ("sum by (change) (increase(crossmargin_margin_calls_total[1h]))", "{{change}} within the hour"),
    ),
    lines(
        "How bad are they?",
        (f"sum by (status) ({IN_CALL})", "{{status}}"),
        stacked=True,
        about="OVERDUE: past its due time. RESTRICTED: may only reduce risk. DEBIT: equity below zero.",
    ),
    lines(
        "How much of its requirement does each pool lack?",
        ("crossmargin:deficit:ratio", "{{pool}}"),
        unit="percentunit",
        steps=((0.01, "red"),),
    ),
)

STRESS: Final = (
    number(
        "How many accounts are just above a call?",
        'sum(crossmargin_accounts{status="WATCH"})',
        steps=((1, "orange"),),
        about="Equity below initial, not yet below maintenance margin.",
    ),
    number("How much does the middle account use?", "crossmargin:utilization:p50", "percentunit", ((0.8, "orange"),)),
    number("How much do 9 in 10 use at most?", "crossmargin:utilization:p90", "percentunit", ((0.8, "orange"), (1, "red"))),
    number(
        "How many use over 90 % of their equity?",
        'sum(crossmargin_utilization_ratio_bucket{le="+Inf"}) - sum(crossmargin_utilization_ratio_bucket{le="0.9"})',
        steps=((1, "orange"),),
    ),
    number(
        "How much would the worst move call at the close?",
        "sum(crossmargin_call_forecast_usd)",
        "currencyUSD",
        about="Beyond what is called, after one factor's standard deviation until the close; each worker's worst.",
    ),
    number(
        "What part of its equity is that in the worst pool?",
        "max(crossmargin:call_forecast:ratio)",
        "percentunit",
        ((0.02, "orange"), (0.05, "red")),
    ),
    number(
        "How much of what is called is due within the hour?",
        'sum(crossmargin_liquidity_due_usd{window="1h"}) or vector(0)',
        "currencyUSD",
        ((1, "orange"),),
        "With what is overdue.",
    ),
    number(
        "Under how many rules is volatility above its band?",
        'max(crossmargin_volatility_regime{state="above"})',
        steps=((1, "orange"),),
        about="Short volatility against its long run; these rules add their buffer to the requirement.",
    ),
    rungs("How many are called when yields move?", "crossmargin_stress_accounts", "rates", "short"),
    rungs("How much is called when yields move?", "crossmargin_stress_call_usd", "rates", "currencyUSD"),
    rungs(f"How many are called when {COIN} moves?", "crossmargin_stress_accounts", COIN, "short"),
    rungs(f"How much is called when {COIN} moves?", "crossmargin_stress_call_usd", COIN, "currencyUSD"),
    lines(
        "How much of its equity would each pool be called for at the close?",
        ("crossmargin:call_forecast:ratio", "{{pool}}"),
        unit="percentunit",
        steps=((0.05, "red"),),
        about="After the worst move of one factor by its standard deviation until the close, beyond what is called already.",
    ),
    lines(
        "Where is volatility to its band?",
        ("max by (state) (crossmargin_volatility_regime)", "{{state}}"),
        stacked=True,
        about="Rules with a volatility regime. A change is looked at each hour.",
    ),
    lines(
        "Do accounts come nearer to their calls?",
        ("crossmargin:utilization:p50", "half of them use at most"),
        ("crossmargin:utilization:p90", "nine in ten use at most"),
        unit="percentunit",
        steps=((1, "red"),),
    ),
    Panel(
        "How are accounts spread over utilization?",
        "bargauge",
        (("sum by (le) (crossmargin_utilization_ratio_bucket)", "up to {{le}}"),),
        buckets=True,
        about="Accounts by maintenance margin over equity; above 1 they are in a call.",
    ),
    lines(
        "Who loses when yields rise by 0.01 %, and how much?",
        ('sum by (currency, bucket) (crossmargin_dv01_usd{side="long"})', "long {{bucket}} {{currency}}"),
        ('-sum by (currency, bucket) (crossmargin_dv01_usd{side="short"})', "short {{bucket}} {{currency}}"),
        unit="currencyUSD",
        about="Above zero: what all long accounts lose. Below: what all short accounts win. They do not cover each other.",
    ),
    lines(
        "How far are accounts long and short of coins?",
        ('sum by (underlying) (crossmargin_delta_units{side="long"})', "long {{underlying}}"),
        ('-sum by (underlying) (crossmargin_delta_units{side="short"})', "short {{underlying}}"),
        about="In units of the underlying.",
    ),
)

COLLATERAL: Final = (
    number("How much does all collateral count?", "sum(crossmargin_collateral_usd)", "currencyUSD"),
    number("How much do agreements save?", "sum(crossmargin_cross_margin_saving_usd)", "currencyUSD"),
    number("What part of the requirement do they save?", "crossmargin:cross_margin_saving:ratio", "percentunit"),
    number(
        "How many agreements are not in force?",
        'sum(crossmargin_agreements{state="not_in_force"})',
        steps=((1, "orange"),),
    ),
    lines(
        "What is the collateral?",
        ("sum by (asset) (crossmargin_collateral_usd)", "{{asset}}"),
        unit="currencyUSD",
        stacked=True,
        about="After haircut and cap, of what is held; what is owed is not taken off.",
    ),
    Panel(
        "What does each pool hold?",
        "table",
        (("sum by (pool, asset) (crossmargin_collateral_usd)", ""),),
        "currencyUSD",
        about="After haircut and cap. Pools never lend to one another.",
    ),
    lines(
        "What would the agreements' accounts require alone?",
        ("sum(crossmargin_cross_margin_alone_usd)", "alone"),
        ("sum(crossmargin_cross_margin_alone_usd) - sum(crossmargin_cross_margin_saving_usd)", "with the agreements"),
        unit="currencyUSD",
    ),
    lines("How many agreements are in force?", ("sum by (state) (crossmargin_agreements)", "{{state}}"), stacked=True),
)

DASHBOARDS: Final = {
    "overview": ("Margin overview", OVERVIEW),
    "calls": ("Calls", CALLS),
    "stress": ("Stress and early warning", STRESS),
    "collateral": ("Collateral and cross-margin", COLLATERAL),
    "system": ("System", SYSTEM),
}


def variable(name: str, label: str, value: str) -> dict[str, Any]:
    """A text that links use."""
    choice = {"text": value, "value": value}
    chosen = {"current": choice, "options": [choice], "hide": 0}
    return {"type": "textbox", "name": name, "label": label, "query": value} | chosen


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana reads it."""
    title, panels = DASHBOARDS[name]
    together = {"type": "dashboards", "title": "Dashboards", "tags": ["crossmargin"], "asDropdown": True}
    page = {"type": "link", "title": "Open the page", "url": WEB, "icon": "external link"}
    shared = {"targetBlank": True, "keepTime": False, "includeVars": False, "tooltip": ""}
    return {
        "uid": f"crossmargin-{name}",
        "title": title,
        "tags": ["crossmargin"],
        "timezone": "browser",
        "editable": False,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "links": [shared | {"tags": [], "asDropdown": False, "icon": "", "url": ""} | link for link in (page, together)],
        "templating": {"list": [variable("web", "Page", PAGE), variable("runbooks", "Runbooks", RUNBOOKS)]},
        "annotations": {"list": []},
        "panels": laid_out(panels),
    }


def documents() -> dict[str, str]:
    """File name -> content of every dashboard."""
    return {f"{name}.json": json.dumps(dashboard(name), indent=1) + "\n" for name in DASHBOARDS}


if __name__ == "__main__":
    for file_name, text in documents().items():
        (FOLDER / file_name).write_text(text, "utf-8")

"""The verb backtest: margins contracts over their history, judges the margin beside CME's own, and writes a report.

The parameters were chosen on what is called `chosen` below and judged on `judged`. Rates: one set for ZT, ZF, ZN and ZB, the
least mean of average margin (over the grid's least for that contract) x 95 % peak to trough, among those with breaches on at
most TARGET_RATE of the days of every contract; BTC alone, the same way. `--calibrate` does it again.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.scenarios.contracts import CONTRACTS
from engine.scenarios.coverage import Judgement, judge
from engine.scenarios.moves import Days, Floats
from engine.scenarios.rolling import Rule, losses_over, margin_of, path_of
from engine.scenarios.sets import Filter
from monitors.backtest_report import Compared, html
from streams.history import History, bitcoin, cme_margins, joined, par_yields
from streams.settings import ConfigError, UserError

Span = tuple[str, str]
RATES: Final = ("ZT", "ZF", "ZN", "ZB")
TARGET_RATE: Final = 0.005
"""Breaches aimed at when choosing, a share of the days: half of the 1 % that a 99 % coverage allows."""
DECAYS: Final = (0.97, 0.985, 0.99)
LONG_RUN_WEIGHTS: Final = (0.0, 0.1, 0.3, 0.5)
TAILS_BPS: Final = (100, 50, 25)
FLOORS: Final = (0.6, 0.8)
COLUMNS: Final = (
    "judged", "days", "breaches / CME", "worst excess", "p number", "p independent", "average / CME", "ratio",
    "peak/trough median", "95 %", "worst",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """A family of contracts with one rule, chosen on one span, judged on a later one; compared: where CME's are trusted."""

    symbols: tuple[str, ...]
    chosen: Span
    judged: Span
    compared: Span
    rule: Rule


PLANS: Final = (
    Plan(
        RATES, ("2004-01-02", "2012-12-31"), ("2013-01-01", "2022-02-11"), ("2004-01-02", "2022-02-11"),
        Rule(Filter(decay=0.99, long_run_weight=0.1), tail_bps=50, floor=0.6),
    ),
    Plan(
        ("BTC",), ("2016-01-04", "2018-08-13"), ("2020-06-29", "2021-06-28"), ("2017-12-18", "2021-01-29"),
        Rule(Filter(decay=0.985, long_run_weight=0.3), tail_bps=50, floor=0.6),
    ),
)  # fmt: skip
"""Rates are judged to the last day that CME's figures reach. BTC: see streams/data/history/README.md for its last day."""


def run(symbols: Sequence[str], out: Path, history: History | None = None) -> dict[str, Any]:
    """Margin the contracts, write the report to out, and return the same figures; UserError where they cannot be had."""
    symbols = _known(symbols)
    contracts = [compare(symbol, plan, history) for plan in PLANS for symbol in plan.symbols if symbol in symbols]
    figures = {
        "report": str(out),
        "contracts": {c.symbol: _figures(c) for c in contracts},
        "rules": {symbol: asdict(plan.rule) for plan in PLANS for symbol in plan.symbols if symbol in symbols},
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(html(contracts), "utf-8")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}") from error
    return figures


def _known(symbols: Sequence[str]) -> Sequence[str]:
    """The symbols asked for, or all."""
    unknown = [symbol for symbol in symbols if symbol not in CONTRACTS]
    if unknown:
        raise ConfigError(f"contract: found '{unknown[0]}'; allowed: {', '.join(CONTRACTS)}")
    return symbols or tuple(CONTRACTS)


def table(figures: Mapping[str, Any]) -> list[list[str]]:
    """The judged span as rows of text under COLUMNS, ours and CME's figures separated by a stroke."""
    rows = []
    for symbol, spans in figures["contracts"].items():
        span = spans["judged"]
        pair = span.get("beside_cme", {"ours": span["ours"], "cme": None, "average_over_cme": None})
        ours, cme, ratio = pair["ours"], pair["cme"], pair["average_over_cme"]

        def both(name: str, form: str, ours: Any = ours, cme: Any = cme) -> str:
            return f"{ours[name]:{form}}" + (f" / {cme[name]:{form}}" if cme else "")

        rows.append(
            [symbol, f"{ours['days']:,}", both("breaches", "d"), both("breach_worst", ",.0f"), both("kupiec_p", ".3f")]
            + [both("independence_p", ".3f"), both("average", ",.0f"), f"{ratio:.3f}" if ratio else "no CME figure"]
            + [both(f"peak_to_trough_{part}", ".3f") for part in ("median", "p95", "worst")]
        )
    return rows


def compare(symbol: str, plan: Plan, history: History | None = None) -> Compared:
    """One contract's margin over both spans, beside CME's maintenance margin where that is trusted."""
    data = history or _history(symbol)
    contract, rule = CONTRACTS[symbol], plan.rule
    try:
        path = path_of(contract, data.factors, data.days, data.levels, rule.filter)
        losses = losses_over(contract, path, rule.filter, (plan.chosen[0], plan.judged[1]), (rule.tail_bps,))
    except ValueError as error:
        raise UserError(str(error)) from error
    margin = margin_of(losses.filtered[:, 0], losses.stressed[:, 0], rule)
    trusted = _within(losses.days, plan.compared)
    theirs = np.where(trusted, cme_margins()[symbol].on(losses.days), np.nan)
    spans = {"chosen": plan.chosen, "judged": plan.judged}
    return Compared(
        symbol=symbol,
        days=losses.days,
        margin=margin,
        cme=theirs,
        profit=losses.profit,
        spans=spans,
        ours={name: judge(*_only(_within(losses.days, span), margin, losses.profit)) for name, span in spans.items()},
        beside={name: _both(losses.days, span, margin, theirs, losses.profit) for name, span in spans.items()},
        rule=describe(rule),
    )


def describe(rule: Rule) -> str:
    """The rule in one line."""
    how = rule.filter
    return (
        f"{100 - rule.tail_bps / 100:g} % loss of either side over up to {how.look_back_years} years of moves, filtered "
        f"(decay {how.decay:g}, long-run variance {how.long_run_weight:.0%}, begun with {how.warm_up} moves), "
        f"{rule.stress_weight:.0%} weight on the same loss over the unfiltered moves and the stress days, "
        f"floor {rule.floor:.0%} of that"
    )


def calibrate(plan: Plan, history: History | None = None) -> list[dict[str, Any]]:
    """Every point of the grid on the plan's `chosen` span, the chosen one first: see the module's text."""
    spans: dict[tuple[float, float, int, float], list[Judgement]] = {}
    for decay, weight in itertools.product(DECAYS, LONG_RUN_WEIGHTS):
        how = Filter(decay=decay, long_run_weight=weight)
        found = []
        for symbol in plan.symbols:
            data = history or _history(symbol)
            path = path_of(CONTRACTS[symbol], data.factors, data.days, data.levels, how)
            found.append(losses_over(CONTRACTS[symbol], path, how, plan.chosen, TAILS_BPS))
        for (i, tail), floor in itertools.product(enumerate(TAILS_BPS), FLOORS):
            rule = Rule(how, tail, plan.rule.stress_weight, floor)
            margins = [margin_of(losses.filtered[:, i], losses.stressed[:, i], rule) for losses in found]
            spans[decay, weight, tail, floor] = [
                judge(margin, losses.profit) for margin, losses in zip(margins, found, strict=True)
            ]
    least = [min(judged[k].average for judged in spans.values()) for k in range(len(plan.symbols))]
    points = [
        {
            "decay": decay,
            "long_run_weight": weight,
            "tail_bps": tail,
            "floor": floor,
            "admitted": all(j.breaches <= TARGET_RATE * j.days for j in judged),
            "score": float(np.mean([j.average / low * j.peak_to_trough_p95 for j, low in zip(judged, least, strict=True)])),
            "breaches": dict(zip(plan.symbols, (j.breaches for j in judged), strict=True)),
        }
        for (decay, weight, tail, floor), judged in spans.items()
    ]
    return sorted(points, key=lambda point: (not point["admitted"], point["score"]))


def calibrations(symbols: Sequence[str], history: History | None = None) -> dict[str, list[dict[str, Any]]]:
    """The grids of the families to which these contracts belong, by their names."""
    known = _known(symbols)
    return {" ".join(plan.symbols): calibrate(plan, history) for plan in PLANS if set(plan.symbols) & set(known)}


def _history(symbol: str) -> History:
    return bitcoin() if symbol == "BTC" else par_yields()


def with_files(histories: Sequence[History]) -> History | None:
    """The user's own histories in place of those that travel with the package, or none."""
    return joined(histories) if histories else None


def _within(days: Days, span: Span) -> NDArray[np.bool_]:
    return np.asarray((days >= np.datetime64(span[0])) & (days <= np.datetime64(span[1])))


def _only(inside: NDArray[np.bool_], margin: Floats, profit: Floats) -> tuple[Floats, Floats]:
    return margin[inside], profit[inside]


def _both(days: Days, span: Span, margin: Floats, theirs: Floats, profit: Floats) -> tuple[Judgement, Judgement] | None:
    """Our margin and CME's judged on the days of the span that have both; None without such days."""
    inside = _within(days, span) & ~np.isnan(theirs)
    if not inside.any():
        return None
    return judge(*_only(inside, margin, profit)), judge(*_only(inside, theirs, profit))


def _figures(compared: Compared) -> Mapping[str, Any]:
    spans: dict[str, Any] = {}
    for name, span in compared.spans.items():
        pair = compared.beside[name]
        spans[name] = {"first": span[0], "last": span[1], "ours": asdict(compared.ours[name])}
        if pair:
            ours, cme = pair
            spans[name] |= {
                "beside_cme": {"ours": asdict(ours), "cme": asdict(cme), "average_over_cme": ours.average / cme.average}
            }
    return spans

"""The verb backtest: margins contracts over their history, judges the margin beside CME's own, and writes a report.

A portfolio is margined as one instead, and judged beside the sum of its positions alone. It takes the plan of BTC where it
holds BTC, else that of the rates.

The parameters were chosen on what is called `chosen` below and judged on `judged`. Rates: one set for ZT, ZF, ZN and ZB, the
least mean of average margin (over the grid's least for that contract) x 95 % peak to trough, among those with breaches on at
most TARGET_RATE of the days of every contract; BTC alone, the same way. `--calibrate` does it again.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.scenarios.contracts import CONTRACTS, SECURITY, SECURITY_FACE, Contract, contract_of
from engine.scenarios.coverage import Judgement, judge
from engine.scenarios.moves import Days, Floats
from engine.scenarios.rolling import Losses, Position, Rule, losses_over, margin_of, path_of
from engine.scenarios.sets import Filter
from monitors.backtest_report import Compared, Line, html, portfolio_html, saving
from streams.history import History, bitcoin, cme_margins, joined, par_yields
from streams.settings import ConfigError, UserError

Span = tuple[str, str]
RATES: Final = ("ZT", "ZF", "ZN", "ZB")
TARGET_RATE: Final = 0.005
"""Breaches aimed at when choosing, a share of the days: half of the 1 % that a 99 % coverage allows."""
DECAYS: Final = (0.97, 0.985, 0.99)
LONG_RUN_WEIGHTS: Final = (0.0, 0.1, 0.3, 0.5)
TAILS_BPS: Final = (100, 50, 25)
FLOORS_BPS: Final = (6_000, 8_000)
COLUMNS: Final = (
    "judged", "days", "breaches / CME", "worst excess", "p number", "p independent", "average / CME", "ratio",
    "peak/trough median", "95 %", "worst",
)  # fmt: skip
PORTFOLIO_COLUMNS: Final = (
    "span", "days", "breaches / alone", "worst excess", "p number", "p independent", "average / alone", "netting saves",
    "peak/trough median", "95 %", "worst",
)  # fmt: skip
MAX_QTY: Final = 10**12


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
        Rule(Filter(decay=0.99, long_run_weight=0.1), tail_bps=50, floor_bps=6_000),
    ),
    Plan(
        ("BTC",), ("2016-01-04", "2018-08-13"), ("2020-06-29", "2021-06-28"), ("2017-12-18", "2021-01-29"),
        Rule(Filter(decay=0.985, long_run_weight=0.3), tail_bps=50, floor_bps=6_000),
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
    _write(out, html(contracts))
    return figures


def _write(out: Path, page: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, "utf-8")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}") from error


class Holding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A position of a portfolio's file: contracts, or USD of a security's face value; below 0 where short."""

    instrument: str
    qty: int


def run_portfolio(file: Path, out: Path, history: History | None = None) -> dict[str, Any]:
    """Margin the portfolio in file as one, write the report to out, and return the same figures; UserError as run."""
    holdings = read_portfolio(file)
    try:
        positions = [_position(holding) for holding in holdings]
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error
    compared, lines = compare_portfolio(file.stem, positions, holdings, history)
    _write(out, portfolio_html(compared, lines))
    spans: dict[str, Any] = {}
    for name, (first, last) in compared.spans.items():
        spans[name] = {"first": first, "last": last, "ours": asdict(compared.ours[name])}
        if pair := compared.beside[name]:
            spans[name] |= {"alone": asdict(pair[1]), "saving": saving(*pair)}
    return {
        "report": str(out),
        "positions": [line._asdict() for line in lines],
        "spans": spans,
        "rule": asdict(_plan_of(positions).rule),
    }


def read_portfolio(file: Path) -> list[Holding]:
    """The positions in a JSON array or in JSON lines; UserError with file and place at the first fault."""
    try:
        text = file.read_bytes().strip()
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    try:
        if text.startswith(b"["):
            holdings = msgspec.json.decode(text, type=list[Holding])
        else:
            holdings = msgspec.json.Decoder(Holding).decode_lines(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: no positions in JSON or JSON lines: {error}") from error
    if not holdings:
        raise UserError(f"{file}: found no position; allowed: one or more")
    return holdings


def _position(holding: Holding) -> Position:
    """The contract and lots of a holding; ValueError for an unknown instrument or a quantity that is none."""
    contract = contract_of(holding.instrument)
    lot = SECURITY_FACE if holding.instrument.startswith(SECURITY) else 1
    if holding.qty == 0 or abs(holding.qty) > MAX_QTY or holding.qty % lot:
        raise ValueError(
            f"{holding.instrument}, qty: found {holding.qty}; allowed: multiples of {lot} other than 0, up to {MAX_QTY:,}"
        )
    return Position(contract, holding.qty // lot)


def _plan_of(positions: Sequence[Position]) -> Plan:
    rates, bitcoins = PLANS
    return bitcoins if any(position.contract.symbol in bitcoins.symbols for position in positions) else rates


def compare_portfolio(
    name: str, positions: Sequence[Position], holdings: Sequence[Holding], history: History | None = None
) -> tuple[Compared, list[Line]]:
    """The portfolio's margin over both spans beside the sum of its positions alone, and each position's average alone."""
    plan = _plan_of(positions)
    rule, span = plan.rule, (plan.chosen[0], plan.judged[1])
    together, *alone = _losses(positions, rule.filter, span, (rule.tail_bps,), history)
    margin = margin_of(together, 0, rule)
    each = [margin_of(losses, 0, rule) for losses in alone or [together]]
    if (margin <= 0).any():
        raise UserError(
            f"{name}: found no margin on {together.days[np.argmax(margin <= 0)]}, as the positions offset one another; "
            "allowed: a margin above 0 on every day"
        )
    total, lost = np.sum(each, axis=0), np.minimum(together.profit, 0.0)
    compared = _compared(name, plan, together, margin, total, "positions alone", lost)
    judged = _within(together.days, plan.judged)
    lines = [Line(h.instrument, h.qty, float(one[judged].mean())) for h, one in zip(holdings, each, strict=True)]
    return compared, lines


def portfolio_table(figures: Mapping[str, Any]) -> list[list[str]]:
    """Both spans as rows of text under PORTFOLIO_COLUMNS."""
    rows = []
    for name, span in figures["spans"].items():
        ours, alone = span["ours"], span["alone"]
        rows.append(
            [f"{name} {span['first']} to {span['last']}", f"{ours['days']:,}", f"{ours['breaches']} / {alone['breaches']}"]
            + [f"{ours['breach_worst']:,.0f}", f"{ours['kupiec_p']:.3f}", f"{ours['independence_p']:.3f}"]
            + [f"{ours['average']:,.0f} / {alone['average']:,.0f}", f"{span['saving']:.1%}"]
            + [f"{ours[f'peak_to_trough_{part}']:.3f}" for part in ("median", "p95", "worst")]
        )
    return rows


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
    contract, rule = CONTRACTS[symbol], plan.rule
    span = (plan.chosen[0], plan.judged[1])
    [losses] = _losses([Position(contract, 1)], rule.filter, span, (rule.tail_bps,), history, either_side=True)
    margin = margin_of(losses, 0, rule)
    trusted = _within(losses.days, plan.compared)
    theirs = np.where(trusted, cme_margins()[symbol].on(losses.days), np.nan)
    return _compared(symbol, plan, losses, margin, theirs, "CME maintenance", losses.profit)


def _losses(
    positions: Sequence[Position],
    how: Filter,
    span: Span,
    tails_bps: Sequence[int],
    history: History | None,
    either_side: bool = False,
) -> list[Losses]:
    """As losses_over, from the history given or those that travel with the package; UserError where there are none."""
    contracts = [position.contract for position in positions]
    data = history or _history(contracts)
    try:
        path = path_of(contracts, data.factors, data.days, data.levels, how)
        return losses_over(positions, path, how, span, tails_bps, either_side=either_side)
    except ValueError as error:
        raise UserError(str(error)) from error


def _compared(
    symbol: str, plan: Plan, losses: Losses, margin: Floats, other: Floats, other_name: str, profit: Floats
) -> Compared:
    """The margin and the other one judged on both spans of the plan; UserError where a span has no day."""
    spans = {"chosen": plan.chosen, "judged": plan.judged}
    for name, span in spans.items():
        if not _within(losses.days, span).any():
            raise UserError(f"{symbol}: found no day to margin in the span {name}, {span[0]} to {span[1]}")
    return Compared(
        symbol=symbol,
        days=losses.days,
        margin=margin,
        other=other,
        other_name=other_name,
        profit=profit,
        spans=spans,
        ours={name: judge(*_only(_within(losses.days, span), margin, profit)) for name, span in spans.items()},
        beside={name: _both(losses.days, span, margin, other, profit) for name, span in spans.items()},
        rule=describe(plan.rule),
    )


def describe(rule: Rule) -> str:
    """The rule in one line; whose loss it takes is told by the page."""
    how = rule.filter
    return (
        f"{100 - rule.tail_bps / 100:g} % loss over up to {how.look_back_years} years of moves, filtered "
        f"(decay {how.decay:g}, long-run variance {how.long_run_weight:.0%}, begun with {how.warm_up} moves), "
        f"{rule.stress_weight_bps / 100:g} % weight on the same loss over the unfiltered moves and the stress days, "
        f"floor {rule.floor_bps / 100:g} % of that"
    )


def calibrate(plan: Plan, history: History | None = None) -> list[dict[str, Any]]:
    """Every point of the grid on the plan's `chosen` span, the chosen one first: see the module's text."""
    spans: dict[tuple[float, float, int, int], list[Judgement]] = {}
    for decay, weight in itertools.product(DECAYS, LONG_RUN_WEIGHTS):
        how = Filter(decay=decay, long_run_weight=weight)
        found = []
        for symbol in plan.symbols:
            found += _losses([Position(CONTRACTS[symbol], 1)], how, plan.chosen, TAILS_BPS, history, either_side=True)
        for (i, tail), floor in itertools.product(enumerate(TAILS_BPS), FLOORS_BPS):
            rule = Rule(how, tail, plan.rule.stress_weight_bps, floor)
            margins = [margin_of(losses, i, rule) for losses in found]
            spans[decay, weight, tail, floor] = [
                judge(margin, losses.profit) for margin, losses in zip(margins, found, strict=True)
            ]
    least = [min(judged[k].average for judged in spans.values()) for k in range(len(plan.symbols))]
    points = [
        {
            "decay": decay,
            "long_run_weight": weight,
            "tail_bps": tail,
            "floor_bps": floor,
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


def _history(contracts: Iterable[Contract]) -> History:
    """The histories that travel with the package, of these contracts' factors."""
    readers = dict.fromkeys(bitcoin if "btc" in contract.weights else par_yields for contract in contracts)
    return joined(read() for read in readers)


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

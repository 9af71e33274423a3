"""`explain`: why an account requires what it requires at the end of the log, and why that changed since a moment.

Amounts are exact decimals in major units of the currency beside them.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from engine import explain, explain_change, explain_quality, explain_views
from engine.core import MarginEngine
from engine.documents import Asset
from engine.events import TOPIC_OF, Kind
from engine.models.views import View
from engine.numbers import time_text
from engine.report import Quality, Status
from engine.rules import BPS
from monitors.wording import money
from streams.desk import Shown, Table, figure_cell
from streams.moments import NEWEST, Moments, moment
from streams.settings import Settings, UserError

UNKNOWN: Final = "not known"
Row = tuple[str, ...]


def show(settings: Settings, account: str, since: str | None, with_log: bool = True) -> Shown:
    """An account at the end of the log, and what changed it since a moment, as streams.moments finds them.

    since: a log offset or an RFC 3339 time; None: the older kept snapshot, if there is one. with_log False: the newest kept
    snapshots stand for both. UserError: no log, an unknown account, a moment that can no longer be shown.
    """
    when = moment(since, "--since")
    moments = Moments(settings, with_log)
    shard = moments.shard_of(account)
    now = moments.at(shard, NEWEST)
    slot = now.engine.find_account(account)
    if slot is None:
        raise UserError(f"found no account '{account}' at offset {now.engine.offset} of shard {shard}: it was not taken yet")
    if when.ts_ns is not None and when.ts_ns > now.engine.clock_ns:
        raise UserError(f"{when.named}the log ends at {time_text(now.engine.clock_ns)}")
    begin = moments.older(shard) if since is None else when
    changed, why = None, "only one snapshot is kept; --since names a moment"
    if begin is not None:
        try:
            changed = explain_change.change(moments.at(shard, begin).engine, now.engine, account)
        except ValueError as error:
            why = str(error)
    return Page(now.engine, slot, now.origin).shown(changed, why)


def _effective(version: explain.Version | None) -> str:
    return "none in force" if version is None else time_text(version.effective_ns)


class Page:
    """An account's explanation, as data and as tables of the same figures."""

    def __init__(self, engine: MarginEngine, account: int, origin: str) -> None:
        self.engine, self.account, self.origin = engine, account, origin
        self.info = engine.account_info(account)

    def shown(self, changed: explain_change.Change | None, why: str) -> Shown:
        """All of it; why: there is no change."""
        data, tables = dict[str, Any](), list[Table]()
        for one, more in [*self._parts(), self._change(changed, why)]:
            data |= one
            tables += more
        return Shown(data, [_apart(table) for table in tables])

    def data(self) -> dict[str, Any]:
        """What there is to say about it now, without what changed."""
        return {name: value for data, _ in self._parts() for name, value in data.items()}

    def _parts(self) -> list[tuple[dict[str, Any], list[Table]]]:
        return [self._about(), self._requirement(), self._equity(), self._cross(), self._views()]

    def money(self, amount: int | None, currency: str, finer: int = 0) -> str:
        """An amount of 10^-finer minor units as an exact decimal of major ones, at least to the minor unit."""
        if amount is None:
            return UNKNOWN
        asset = self.engine.definitions.documents["asset", currency]
        assert isinstance(asset, Asset)
        text = format(Decimal(amount).scaleb(-asset.decimals - finer), "f")
        return text[: len(text) - finer] + text[len(text) - finer :].rstrip("0") if finer else text

    def _own(self, amount: int | None) -> str:
        return self.money(amount, self.info.currency)

    def _about(self) -> tuple[dict[str, Any], list[Table]]:
        engine, state = self.engine, self.engine.definitions.state
        figures, watermarks = state.accounts.figures[self.account], state.watermark_offset
        market = {
            TOPIC_OF[kind]: {str(p): offset for p, offset in enumerate(watermarks[kind].tolist()) if offset >= 0}
            for kind in (Kind.PRICE, Kind.VOLATILITY)
        }
        because = explain_quality.reasons(engine, self.account)
        data = {
            "account": self.info.id, "customer": self.info.customer, "pool": self.info.pool, "currency": self.info.currency,
            "status": Status(int(figures["status"])).name, "quality": Quality(int(figures["quality"])).name,
            "quality_because": because,
            "shard": engine.shard, "offset": engine.offset, "clock": time_text(engine.clock_ns), "market": market,
            "rule_set": engine.rule_set, "from": self.origin,
        }  # fmt: skip
        words = {name: ", ".join(f"{p}:{offset}" for p, offset in one.items()) for name, one in market.items()}
        rows = [(name, str(value)) for name, value in data.items() if name not in ("market", "quality_because")]
        rows += [("quality because", why) for why in because]
        return data, [("", ("figure", "value"), [*rows, *((f"{name} up to", text) for name, text in words.items())])]

    def _requirement(self) -> tuple[dict[str, Any], list[Table]]:
        found = explain.requirement(self.engine, self.account)
        data: dict[str, Any] = {
            "stored": self._both(found.stored, self.info.currency),
            "now": None if found.now is None else self._both(found.now, self.info.currency),
            "is_as_stored": found.now == found.stored,
            "behind": found.behind,
            "totals": [self._total(one) for one in found.totals],
            "alone": [self._alone(one) for one in found.alone],
            "portfolios": [self._portfolio(one) for one in found.portfolios],
        }
        return {"requirement": data}, [*self._lines(data), *_tails(data["portfolios"])]

    def _both(self, amounts: explain.Amounts, currency: str) -> dict[str, str]:
        return {name: self.money(amount, currency) for name, amount in amounts._asdict().items()}

    def _total(self, one: explain.Total) -> dict[str, Any]:
        into = None if one.converted is None else self._both(one.converted, self.info.currency)
        return {"currency": one.currency, **self._both(one.required, one.currency), "in_account_currency": into}

    def _alone(self, one: explain.Alone) -> dict[str, Any]:
        named = {"instrument": one.instrument, "quantity": format(one.quantity, "f"), **_rule(one.rule)}
        if one.problem:
            return {**named, "currency": one.currency, "problem": one.problem}
        return {**named, "currency": one.currency, **self._both(one.required, one.currency)}

    def _portfolio(self, one: explain.Portfolio) -> dict[str, Any]:
        named = {**_rule(one.rule), "scenarios": one.scenarios, "scenarios_hash": one.set_hash, "currency": one.currency}
        if one.problem:
            return {**named, "problem": one.problem}
        money, digits = one.currency, len(str(explain.PARTS)) - 1
        tails = [
            {
                "of": tail.of,
                "worst": [{"scenario": s, "loss": self.money(loss, money, 4)} for s, loss in tail.worst],
                "taken": [{"scenario": s, "weight": format(Decimal(weight) / BPS, "f")} for s, weight in tail.taken],
            }
            for tail in one.tails
        ]
        adds = [{"name": c.name, "kind": c.kind, "loss": self.money(c.loss, money, digits)} for c in one.contributions]
        lines = {name: self.money(amount, money) for name, amount in one.lines.items()}
        return {**named, "lines": lines, **self._both(one.required, money), "tails": tails, "contributions": adds}

    def _lines(self, data: dict[str, Any]) -> list[Table]:
        rows: list[Row] = [
            (
                one["rule"],
                f"{money(one['quantity'])} {one['instrument']}",
                one["initial"],
                one["maintenance"],
                one["currency"],
            )
            for one in data["alone"]
            if "problem" not in one
        ]
        every = [*data["alone"], *data["portfolios"]]
        rows += [(one["rule"], one["problem"], UNKNOWN, UNKNOWN, one["currency"]) for one in every if "problem" in one]
        for one in data["portfolios"]:
            if "problem" in one:
                continue
            lines = [(name, text) for name, text in one["lines"].items() if Decimal(text)]
            rows += [(one["rule"], name, "", text, one["currency"]) for name, text in lines]
            rows.append((one["rule"], "all lines", one["initial"], one["maintenance"], one["currency"]))
        now = data["now"] or {"initial": UNKNOWN, "maintenance": UNKNOWN}
        rows.append(("", "as the positions require", now["initial"], now["maintenance"], self.info.currency))
        rows.append(("", "as stored", data["stored"]["initial"], data["stored"]["maintenance"], self.info.currency))
        rows += [("", why, "", "", "") for why in data["behind"]]
        named = ("rule", "model", "effective", "scenarios", "scenarios_hash")
        used: set[Row] = {tuple(one.get(n, "") for n in named) for one in every}
        return [
            ("requirement", ("rule", "line", "initial", "maintenance", "currency"), rows),
            ("rules", ("rule", "model", "effective", "scenarios", "hash"), sorted(used)),
        ]

    def _equity(self) -> tuple[dict[str, Any], list[Table]]:
        found, own = explain_views.equity(self.engine, self.account), self.info.currency
        columns: Row = (
            "asset", "held", "haircut", "haircut_share", "limited_by", "over_limit", "margin", "worth", "shocked", "reason",
        )  # fmt: skip
        counted: list[Row] = [
            (
                one.asset, self.money(one.amount, one.asset), self.money(one.haircut, one.asset),
                format(Decimal(one.haircut_ppb).scaleb(-9).normalize(), "f"), one.entry, self.money(one.over, one.asset),
                self.money(one.margin, one.asset), self._own(one.worth), one.shock, one.reason,
            )
            for one in found.collateral
        ]  # fmt: skip
        cash = [(one.currency, self.money(one.amount, one.currency), self._own(one.worth)) for one in found.positions]
        rows: list[Row] = [
            *counted,
            *((f"positions in {name}", *[""] * 5, text, worth, "", "") for name, text, worth in cash),
        ]
        rows += [
            ("equity", *[""] * 6, self._own(found.now), "", ""),
            ("as stored", *[""] * 6, self._own(found.stored), "", ""),
        ]
        data = {
            "currency": own, "stored": self._own(found.stored), "now": None if found.now is None else self._own(found.now),
            "collateral": [dict(zip(columns, row, strict=True)) for row in counted],
            "positions": [{"currency": name, "amount": text, "worth": worth} for name, text, worth in cash],
        }  # fmt: skip
        return {"equity": data}, [(f"equity, worth in {own}", columns, rows)]

    def _cross(self) -> tuple[dict[str, Any], list[Table]]:
        found = explain_views.cross_of(self.engine, self.account)
        if found is None:
            return {"cross_margin": None}, []
        houses: list[Row] = [
            (
                h.rule,
                h.currency,
                *(self.money(one, h.currency) for one in h.figures or (None,) * 3),
                format(Decimal(h.saving_ppb).scaleb(-9), "f"),
            )
            for h in found.houses
        ]
        columns: Row = ("house", "currency", "treasury", "futures", "both", "saving")
        taken = {name: self.money(amount, currency) for name, currency, amount in found.takes_off}
        spreads = [self._spread(one, found.houses[0].currency) for one in found.spreads]
        data = {
            "agreement": found.agreement, "rule": found.rule, "in_force": not found.reasons, "reasons": found.reasons,
            "futures_account": found.futures, "treasury_account": found.treasury,
            "saving": format(Decimal(found.saving_ppb).scaleb(-9), "f"), "basis": found.basis, "takes_off": taken,
            "houses": [dict(zip(columns, row, strict=True)) for row in houses],
            "positions": [{"account": a, "instrument": i, "reasons": why} for a, i, why in found.positions],
            "spreads": spreads,
        }  # fmt: skip
        about: list[Row] = [(name, str(data[name])) for name in ("agreement", "rule", "saving", "basis")]
        about += [("not in force", why) for why in found.reasons]
        about += [(f"off the lines of {name}", money(text)) for name, text in taken.items()]
        positions: list[Row] = [(a, i, "; ".join(why) or "eligible") for a, i, why in found.positions]
        return {"cross_margin": data}, [
            ("cross-margin", ("figure", "value"), about),
            ("cross-margin, both houses", columns, houses),
            ("cross-margin, positions", ("account", "instrument", "why not"), positions),
            *(("cross-margin, spreads", tuple(one), [tuple(one.values())]) for one in spreads),
        ]

    def _spread(self, one: explain_views.SpreadFigures, currency: str) -> dict[str, str]:
        money = {name: self.money(getattr(one, f"{name}_minor"), currency) for name in ("futures", "treasury", "taken")}
        named = {"spread": f"{one.futures} : {one.treasury}", "rate": format(Decimal(one.rate_ppb).scaleb(-9), "f")}
        return {**named, **money}

    def _views(self) -> tuple[dict[str, Any], list[Table]]:
        found = explain_views.views(self.engine, self.account)
        data = [self._view(one) for one in found.views]
        rows = [
            (
                one["view"],
                one["status"],
                one["requirement"],
                one["saving"],
                one["deficit"],
                one["trapped"],
                "; ".join(one["blocked"]),
            )
            for one in data
        ]
        pools = [(one["view"], *pool.values()) for one in data for pool in one["pools"]]
        columns = ("view", "legal status", "maintenance", "saving", "deficit", "trapped excess", "what blocks it")
        of = f"customer {self.info.customer}, all accounts, {found.currency}"
        return {"views": data, "unified_by": found.unified_by}, [
            (f"{of}; unified: {found.unified_by}", columns, rows),
            (f"pools of {of}", ("view", "pool", "equity", "maintenance", "excess", "deficit"), pools),
        ]

    def _view(self, view: View) -> dict[str, Any]:
        pools = [
            {
                "pool": pool.name, "equity": self._own(pool.equity_minor), "requirement": self._own(pool.requirement_minor),
                "excess": self._own(pool.excess_minor), "deficit": self._own(pool.deficit_minor),
            }
            for pool in view.pools
        ]  # fmt: skip
        known = view.requirement_minor is not None and view.pools
        deficit, trapped = (self._own(one) if known else "" for one in (view.deficit_minor, view.trapped_minor))
        return {
            "view": view.name, "status": str(view.status), "requirement": self._own(view.requirement_minor),
            "saving": self._own(view.saving_minor), "blocked": list(view.blocked), "pools": pools,
            "deficit": deficit, "trapped": trapped,
        }  # fmt: skip

    def _change(self, changed: explain_change.Change | None, why: str) -> tuple[dict[str, Any], list[Table]]:
        if changed is None:
            return {"change": None, "no_change_because": why}, [("change", ("figure", "value"), [("not computed", why)])]
        names = explain_change.Figures._fields
        moments = {"then": changed.then, "now": changed.now}
        data: dict[str, Any] = {
            name: {"offset": at.offset, "clock": time_text(at.clock_ns)}
            | dict(zip(names, self._all(at.figures), strict=True))
            for name, at in moments.items()
        }
        data["parts"] = [{"part": name} | dict(zip(names, self._all(part), strict=True)) for name, part in changed.parts]
        data["notes"] = changed.notes
        rows = [("then", *self._all(changed.then.figures)), *((name, *self._all(part)) for name, part in changed.parts)]
        rows += [("now", *self._all(changed.now.figures)), *((note, "", "", "") for note in changed.notes)]
        return {"change": data}, [
            (f"change since offset {changed.then.offset}, {time_text(changed.then.clock_ns)}", ("part", *names), rows)
        ]

    def _all(self, figures: explain_change.Figures) -> tuple[str, ...]:
        return tuple(self._own(amount) for amount in figures)


def _apart(table: Table) -> Table:
    """The table with the thousands of its amounts apart, which the data keeps as plain decimals."""
    title, columns, rows = table
    return title, columns, [tuple(map(figure_cell, columns, row)) for row in rows]


def _rule(version: explain.Version | None) -> dict[str, str]:
    if version is None:
        return {"rule": "", "model": "", "effective": _effective(version)}
    return {"rule": version.id, "model": version.model, "effective": _effective(version)}


def _tails(portfolios: Sequence[dict[str, Any]]) -> list[Table]:
    """Worst scenarios, those taken, and contributions."""
    worst, adds = list[Row](), list[Row]()
    for one in portfolios:
        for tail in one.get("tails", ()):
            taken = {part["scenario"]: part["weight"] for part in tail["taken"]}
            worst += [
                (one["rule"], tail["of"], part["scenario"], part["loss"], taken.pop(part["scenario"], ""))
                for part in tail["worst"]
            ]
            worst += [(one["rule"], tail["of"], scenario, "", weight) for scenario, weight in taken.items()]
        adds += [(one["rule"], part["name"], part["kind"], part["loss"]) for part in one.get("contributions", ())]
        if "lines" in one:
            adds.append((one["rule"], "RISK", "sum", one["lines"]["RISK"]))
    return [
        ("worst scenarios", ("rule", "of", "scenario", "loss", "weight in the risk line"), worst),
        ("contributions to the risk line", ("rule", "what", "kind", "loss"), adds),
    ]

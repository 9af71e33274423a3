"""`explain`: from the snapshots of a shard, why an account requires what it requires, and why that changed.

Amounts are exact decimals in major units of the currency beside them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from engine import explain, explain_change, explain_views
from engine.core import MarginEngine
from engine.documents import Asset
from engine.events import NS, TOPIC_OF, Kind
from engine.models.views import View
from engine.numbers import time_ns
from engine.report import Quality, Status
from engine.rules import BPS
from engine.snapshot import BadSnapshot, unpack
from streams.settings import ConfigError, Settings, UserError
from streams.snapshots import Snapshot, SnapshotStore, Torn
from streams.status import Shown, Table

PLACE: Final = "(setting snapshots, CROSSMARGIN_SNAPSHOTS)"
UNKNOWN: Final = "not known"
Row = tuple[str, ...]


class _Tag(msgspec.Struct):
    kind: str
    id: str


def show(settings: Settings, account: str, since: str | None) -> Shown:
    """An account as its shard's newest snapshot has it, and what changed it since an older one that is kept.

    since: a log offset or an RFC 3339 time, the newest snapshot not after it is taken; None: the older one, if there is one.
    UserError: no snapshot, a damaged one, an unknown account, none kept that is so old.
    """
    store = SnapshotStore(settings.snapshots)
    newest = _find(store, account)
    engine = _engine(store, newest)
    changed, why = None, "only one snapshot is kept"
    older = _older(store, newest, since)
    if older is not None:
        try:
            changed = explain_change.change(older, engine, account)
        except ValueError as error:
            why = str(error)
    slot = engine.find_account(account)
    assert slot is not None
    return Page(engine, slot).shown(changed, why)


def _find(store: SnapshotStore, account: str) -> Snapshot:
    """The newest snapshot of the shard that holds an account."""
    genesis, damaged = store.genesis(), list[str]()
    if genesis is None:
        raise UserError(f"no good snapshot under {store.url} {PLACE}: a worker writes them")
    for shard in range(genesis.shards):
        offsets = store.offsets(shard)
        if not offsets:
            continue
        try:
            snapshot = store.read(shard, offsets[-1])
            if _holds(snapshot, account):
                return snapshot
        except (Torn, BadSnapshot) as error:
            damaged.append(f"; the snapshot of shard {shard} at offset {offsets[-1]} cannot be read: {error}")
    raise UserError(f"found no account '{account}' in the newest snapshots under {store.url} {PLACE}{''.join(damaged)}")


def _holds(snapshot: Snapshot, account: str) -> bool:
    tags = (msgspec.json.decode(body, type=_Tag) for body in unpack(snapshot.body)[1])
    return any(tag.kind == "account" and tag.id == account for tag in tags)


def _engine(store: SnapshotStore, snapshot: Snapshot) -> MarginEngine:
    try:
        return MarginEngine.from_bytes(snapshot.body)
    except BadSnapshot as error:
        where = f"the snapshot of shard {snapshot.shard} at offset {snapshot.offset} under {store.url}"
        raise UserError(f"{where} cannot be read: {error}") from error


def _older(store: SnapshotStore, newest: Snapshot, since: str | None) -> MarginEngine | None:
    """The engine of the newest older snapshot that is not after a moment, or of the older one."""
    offset, moment_ns = _moment(since)
    kept = [one for one in store.offsets(newest.shard) if one < newest.offset]
    for at in reversed(kept):
        if offset is not None and at > offset:
            continue
        try:
            engine = _engine(store, store.read(newest.shard, at))
        except Torn as error:
            raise UserError(f"the snapshot of shard {newest.shard} at offset {at} cannot be read: {error}") from error
        if moment_ns is None or engine.clock_ns <= moment_ns:
            return engine
    if since is None:
        return None
    held = (
        f"before offset {newest.offset} of shard {newest.shard} snapshots are kept at: {', '.join(map(str, kept)) or 'none'}"
    )
    raise UserError(f"--since: found {since}; {held}")


def _moment(since: str | None) -> tuple[int | None, int | None]:
    """(offset, time) that --since names, None for what it does not."""
    if since is None or since.isdecimal():
        return None if since is None else int(since), None
    try:
        return None, time_ns(since)
    except ValueError as error:
        raise ConfigError(
            f"--since: found '{since}'; allowed: a log offset, or a time such as 2026-11-02T14:30:00Z"
        ) from error


def _time(ts_ns: int) -> str:
    return f"{datetime.fromtimestamp(ts_ns // NS, UTC):%Y-%m-%dT%H:%M:%S}.{ts_ns % NS:09d}Z"


def _effective(version: explain.Version | None) -> str:
    return "none in force" if version is None else _time(version.effective_ns)


class Page:
    """An account's explanation, as data and as tables of the same figures."""

    def __init__(self, engine: MarginEngine, account: int) -> None:
        self.engine, self.account = engine, account
        self.info = engine.account_info(account)

    def shown(self, changed: explain_change.Change | None, why: str) -> Shown:
        """All of it; why: there is no change."""
        data, tables = dict[str, Any](), list[Table]()
        for one, more in [*self._parts(), self._change(changed, why)]:
            data |= one
            tables += more
        return Shown(data, tables)

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
        data = {
            "account": self.info.id, "customer": self.info.customer, "pool": self.info.pool, "currency": self.info.currency,
            "status": Status(int(figures["status"])).name, "quality": Quality(int(figures["quality"])).name,
            "shard": engine.shard, "offset": engine.offset, "clock": _time(engine.clock_ns), "market": market,
            "rule_set": engine.rule_set,
        }  # fmt: skip
        words = {name: ", ".join(f"{p}:{offset}" for p, offset in one.items()) for name, one in market.items()}
        rows = [(name, str(value)) for name, value in data.items() if name != "market"]
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
            (one["rule"], f"{one['quantity']} {one['instrument']}", one["initial"], one["maintenance"], one["currency"])
            for one in data["alone"]
        ]
        for one in data["portfolios"]:
            if "problem" in one:
                rows.append((one["rule"], one["problem"], UNKNOWN, UNKNOWN, one["currency"]))
                continue
            lines = [(name, text) for name, text in one["lines"].items() if Decimal(text)]
            rows += [(one["rule"], name, "", text, one["currency"]) for name, text in lines]
            rows.append((one["rule"], "all lines", one["initial"], one["maintenance"], one["currency"]))
        now = data["now"] or {"initial": UNKNOWN, "maintenance": UNKNOWN}
        rows.append(("", "as the positions require", now["initial"], now["maintenance"], self.info.currency))
        rows.append(("", "as stored", data["stored"]["initial"], data["stored"]["maintenance"], self.info.currency))
        rows += [("", why, "", "", "") for why in data["behind"]]
        named = ("rule", "model", "effective", "scenarios", "scenarios_hash")
        used: set[Row] = {tuple(one.get(n, "") for n in named) for one in (*data["alone"], *data["portfolios"])}
        return [
            ("requirement", ("rule", "line", "initial", "maintenance", "currency"), rows),
            ("rules", ("rule", "model", "effective", "scenarios", "hash"), sorted(used)),
        ]

    def _equity(self) -> tuple[dict[str, Any], list[Table]]:
        found, own = explain_views.equity(self.engine, self.account), self.info.currency
        columns: Row = ("asset", "held", "haircut", "haircut_share", "over_cap", "margin", "worth", "shocked", "reason")
        counted: list[Row] = [
            (
                one.asset, self.money(one.amount, one.asset), self.money(one.haircut, one.asset),
                format(Decimal(one.haircut_ppb).scaleb(-9).normalize(), "f"), self.money(one.over, one.asset),
                self.money(one.margin, one.asset), self._own(one.worth), one.shock, one.reason,
            )
            for one in found.collateral
        ]  # fmt: skip
        cash = [(one.currency, self.money(one.amount, one.currency), self._own(one.worth)) for one in found.positions]
        rows: list[Row] = [
            *counted,
            *((f"positions in {name}", "", "", "", "", text, worth, "", "") for name, text, worth in cash),
        ]
        rows += [
            ("equity", *[""] * 5, self._own(found.now), "", ""),
            ("as stored", *[""] * 5, self._own(found.stored), "", ""),
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
        data = {
            "agreement": found.agreement, "rule": found.rule, "in_force": not found.reasons, "reasons": found.reasons,
            "futures_account": found.futures, "treasury_account": found.treasury,
            "saving": format(Decimal(found.saving_ppb).scaleb(-9), "f"), "basis": found.basis, "takes_off": taken,
            "houses": [dict(zip(columns, row, strict=True)) for row in houses],
            "positions": [{"account": a, "instrument": i, "reasons": why} for a, i, why in found.positions],
        }  # fmt: skip
        about: list[Row] = [(name, str(data[name])) for name in ("agreement", "rule", "saving", "basis")]
        about += [("not in force", why) for why in found.reasons]
        about += [(f"off the lines of {name}", text) for name, text in taken.items()]
        positions: list[Row] = [(a, i, "; ".join(why) or "eligible") for a, i, why in found.positions]
        return {"cross_margin": data}, [
            ("cross-margin", ("figure", "value"), about),
            ("cross-margin, both houses", columns, houses),
            ("cross-margin, positions", ("account", "instrument", "why not"), positions),
        ]

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
            name: {"offset": at.offset, "clock": _time(at.clock_ns)} | dict(zip(names, self._all(at.figures), strict=True))
            for name, at in moments.items()
        }
        data["parts"] = [{"part": name} | dict(zip(names, self._all(part), strict=True)) for name, part in changed.parts]
        data["notes"] = changed.notes
        rows = [("then", *self._all(changed.then.figures)), *((name, *self._all(part)) for name, part in changed.parts)]
        rows += [("now", *self._all(changed.now.figures)), *((note, "", "", "") for note in changed.notes)]
        return {"change": data}, [(f"change since offset {changed.then.offset}", ("part", *names), rows)]

    def _all(self, figures: explain_change.Figures) -> tuple[str, ...]:
        return tuple(self._own(amount) for amount in figures)


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

"""A test double with the read surface of MarginEngine: accounts are set by hand, changes counted as the engine does."""

import copy
import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engine.report import (
    CALL_AGES,
    CHANGE,
    FIGURES,
    OLDER,
    OPEN_CALLS,
    TOP,
    UTILIZATION_BOUNDS,
    AccountInfo,
    AgreedLeg,
    AgreementInfo,
    AgreementState,
    CallEvent,
    CallState,
    ChangeKind,
    OpenCall,
    Population,
    Quality,
    Reject,
    Report,
    Said,
    Status,
)

CURRENCIES = (("USD", 2), ("BTC", 8), ("JPY", 0))
SECOND = 10**9


class FakeEngine:
    """One shard; step() sets figures instead of applying a frame."""

    def __init__(self, shard: int = 0, accounts: int = 0, prefix: str = "A", start_ns: int = 1_700_000_000 * SECOND) -> None:
        self.shard, self.offset, self.clock_ns, self.rule_set = shard, 1, start_ns, "00000000000000aa"
        self.account_ids: list[str] = []
        self.prefix = prefix
        self.signed: list[tuple[str, str, bytes]] = []  # customer, id and JSON of agreements
        self.rows = np.zeros(0, FIGURES)
        self._touched = np.zeros(0, bool)
        self.calls: dict[int, OpenCall] = {}  # by account slot: one each
        self.agreed: dict[str, AgreementInfo] = {}
        self.define(accounts)

    def define(self, accounts: int) -> None:
        """Add accounts with figures of their own."""
        first = len(self.account_ids)
        self.account_ids += [f"{self.prefix}{self.shard}-{slot}" for slot in range(first, first + accounts)]
        rows = np.zeros(accounts, FIGURES)
        rows["equity"] = 1_000_000 + np.arange(first, first + accounts) * 101
        rows["initial"], rows["maintenance"] = 500_000, 400_001
        rows["excess_usd"] = rows["equity"] - rows["initial"]
        self.rows = np.concatenate([self.rows, rows])
        self._touched = np.concatenate([self._touched, np.ones(accounts, bool)])

    def step(
        self,
        status: Mapping[int, Status] | None = None,
        quality: Mapping[int, Quality] | None = None,
        equity: Mapping[int, int] | None = None,
        *,
        touched: NDArray[np.int64] | None = None,
        oldest_ns: int = 0,
        rejects: list[Reject] | None = None,
    ) -> Report:
        """The next frame, 0.1 s later: these accounts get a status, quality or equity."""
        self.clock_ns += SECOND // 10
        for slot, value in (equity or {}).items():
            self.rows["excess_usd"][slot] += value - self.rows["equity"][slot]
            self.rows["equity"][slot] = value
            self._touched[slot] = True
        changes: list[NDArray[np.void]] = []
        for field, kind, states in (("status", ChangeKind.STATUS, status), ("quality", ChangeKind.QUALITY, quality)):
            for slot, after in (states or {}).items():
                changes.append(self._change(slot, field, kind, after))
        if touched is not None:
            self._touched[touched] = True
        report = Report(self.offset, self.clock_ns, oldest_ns, rejects=rejects or [])
        report.changes = np.concatenate([report.changes, *changes])
        self.offset += 1
        return report

    def flip(self, slots: range, after: Status, oldest_ns: int = 0) -> Report:
        """Give many accounts a status at once."""
        return self.step(dict.fromkeys(slots, after), oldest_ns=oldest_ns)

    def call(self, slot: int, event: CallEvent, state: CallState, received: int = 0, said: Said | None = None) -> Report:
        """The next frame: something happens to the account's call, the first or the next one."""
        call = self.calls.get(slot) or OpenCall(
            slot, 1, CallState.NONE, 50_000, 0, self.clock_ns, self.clock_ns + 10**12, ()
        )
        report = self.step()
        change = self._change(slot, "status", ChangeKind.CALL, int(self.rows["status"][slot]))
        change["before"], change["after"], change["event"] = call.state, state, event
        change["sequence"], change["called"], change["received"] = call.sequence, call.called, received
        change["issued_ns"], change["due_ns"] = call.issued_ns, call.due_ns
        words = call.said + ((said,) if said else ())
        self.calls[slot] = dataclasses.replace(call, state=state, received=received, said=words)
        if state not in OPEN_CALLS:
            del self.calls[slot]
        report.changes, report.said = change, {0: said} if said else {}
        return report

    def open_calls(self) -> list[OpenCall]:
        return [call for _, call in sorted(self.calls.items())]

    def _change(self, slot: int, field: str, kind: ChangeKind, after: int) -> NDArray[np.void]:
        row = self.rows[slot]
        before = int(row[field])
        row[field], row["change"] = after, row["change"] + 1
        if kind is ChangeKind.STATUS:
            row["call"] = 123_456 if after >= Status.CALL else 0
        self._touched[slot] = True
        change = np.zeros(1, CHANGE)
        for name, value in (
            ("account", slot),
            ("kind", kind),
            ("before", before),
            ("after", after),
            ("ts_ns", self.clock_ns),
        ):
            change[name] = value
        change["change"], change["amount"] = row["change"], row["call"]
        return change

    def snapshot(self) -> "FakeEngine":
        """A copy, as a snapshot of now would bring it back."""
        engine = copy.deepcopy(self)
        engine._touched[:] = True
        return engine

    @property
    def account_count(self) -> int:
        return len(self.account_ids)

    def account_info(self, slot: int) -> AccountInfo:
        currency, decimals = CURRENCIES[slot % len(CURRENCIES)]
        return AccountInfo(self.account_ids[slot], f"C{slot // 2}", "futures" if slot % 2 else "cash", currency, decimals)

    def figures(self, slots: NDArray[np.int32]) -> NDArray[np.void]:
        return self.rows[slots].copy()

    def book_hashes(self, slots: NDArray[np.int32]) -> NDArray[np.uint64]:
        """A book is worth its account's maintenance and call."""
        rows = self.rows[slots]
        return (rows["maintenance"] + 1_000_003 * rows["call"] + 1).astype(np.uint64)

    def books(self, slots: NDArray[np.int32]) -> list[bytes]:
        return [b"\x00book %d" % number for number in self.book_hashes(slots).tolist()]

    def agreements(self, first: int) -> tuple[int, list[tuple[str, str, bytes]]]:
        return len(self.signed), self.signed[first:]

    def take_touched(self) -> NDArray[np.int32]:
        slots = np.flatnonzero(self._touched).astype(np.int32)
        self._touched[:] = False
        return slots

    def agree(self, name: str, saving_ppb: int, reasons: tuple[str, ...] = ()) -> AgreementInfo:
        """An agreement that stands so from now on, and is marked."""
        state = AgreementState.NOT_IN_FORCE if reasons else AgreementState.IN_FORCE
        legs = AgreedLeg("F", "USD", 2, 150, 30), AgreedLeg("T", "JPY", 0, None, None)
        info = AgreementInfo(name, "C0", "XM", state, reasons, saving_ppb, "AGREED", *legs)
        self.agreed[name] = info
        return info

    def take_agreements(self) -> list[AgreementInfo]:
        taken, self.agreed = list(self.agreed.values()), {}
        return taken

    def population(self) -> Population:
        status, quality, pool = self.rows["status"], self.rows["quality"], np.arange(self.account_count) % 2

        def per_pool(name: str) -> dict[str, int]:
            return {label: int(self.rows[name][pool == i].sum()) for i, label in enumerate(("cash", "futures"))}

        ratio = self.rows["maintenance"] / self.rows["equity"]
        places = np.searchsorted(np.array(UTILIZATION_BOUNDS), ratio)
        return Population(
            {s.name: int((status == s).sum()) for s in Status},
            {q.name: int((quality == q).sum()) for q in Quality},
            per_pool("equity"),
            per_pool("initial"),
            per_pool("maintenance"),
            {"cash": 0, "futures": 12_345},
            np.bincount(places, minlength=len(UTILIZATION_BOUNDS) + 1).astype(np.int64),
            float(ratio.sum()),
            12.5 + self.shard,
            calls={state.name: sum(call.state is state for call in self.calls.values()) for state in OPEN_CALLS},
            call_ages=dict.fromkeys((*CALL_AGES, OLDER), 0) | {OLDER: len(self.calls)},
            called_usd={"cash": 0, "futures": sum(call.called - call.received for call in self.calls.values())},
            agreements_in_force=3 + self.shard,
            agreements=5,
            cross_alone_usd=1_000_050,
            cross_saved_usd=600_025,
            collateral_usd={("cash", "USD"): 500_050, ("futures", "BTC"): 100 * self.shard},
            dv01_usd={("USD", "10Y"): [10.5, 2.0]},
            delta_units={"BTC-USD": [0.25, 1.5 + self.shard]},
            top_deficits_usd={self.account_ids[slot]: 100 * (100 - slot) for slot in range(min(TOP, self.account_count))},
            deficit_accounts=self.account_count,
        )

    def usage(self) -> dict[str, tuple[int, int]]:
        return {"accounts": (self.account_count, 1000), "positions": (3, 4)}

    def id_span_ns(self) -> int:
        return 3600 * SECOND if self.shard == 0 else -1

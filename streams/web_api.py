"""What the web server answers: the table of routes, and for each a function from a checked request to an answer."""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from engine.documents import Action
from engine.report import AgreementState
from monitors.live_calls import OPEN, Choice
from monitors.view import (
    Row,
    life_of,
    read_account,
    read_accounts,
    read_call,
    read_ladder,
    read_reconciliation,
    read_these_calls,
)
from monitors.what_if import Unanswerable
from streams.web_access import Who
from streams.web_desk import Desk
from streams.web_live import Live
from streams.web_schema import (
    Accepted,
    Account,
    Accounts,
    AccountsQuery,
    ActionForm,
    Agreement,
    Agreements,
    AgreementsQuery,
    Answer,
    Call,
    CallId,
    Calls,
    CallsQuery,
    EarlyWarning,
    Figures,
    Form,
    Health,
    History,
    Id,
    Login,
    Reconciliation,
    Role,
    Session,
    Summary,
    WhatIf,
    WhatIfForm,
)


class Refusal(Exception):
    """A request that is not answered: HTTP status, and what to say."""

    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(error)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that was let in and checked: who asks, ids of the path, the query and the body."""

    who: Who | None
    ids: dict[str, str]
    query: Any = None
    body: Any = None


@dataclass(frozen=True, slots=True)
class Route:
    """A method and path; role None: anybody. ids: the types of what stands in the path. answer None: not JSON."""

    method: str
    path: str
    role: Role | None
    handler: str
    says: str
    answer: Any
    ids: tuple[tuple[str, Any], ...] = ()
    query: type[Form] | None = None
    body: type[Form] | None = None


_ACCOUNT: Final = (("id", Id),)
_CALL: Final = (("id", CallId),)
ROUTES: Final = (
    Route("GET", "/api/health", None, "health", "Whether the process answers", Health),
    Route("GET", "/api/openapi.json", None, "openapi", "This document", dict[str, Any]),
    Route("POST", "/api/session", None, "log_in", "A token for a session, whose cookie stands for it", Session, body=Login),
    Route("GET", "/api/session", "viewer", "session", "Who is logged in", Session),
    Route("DELETE", "/api/session", "viewer", "log_out", "End the session", Session),
    Route("GET", "/api/summary", "viewer", "summary", "All accounts at a glance", Summary),
    Route("GET", "/api/accounts", "viewer", "accounts", "Accounts, page by page", Accounts, query=AccountsQuery),
    Route(
        "GET", "/api/accounts/{id}", "viewer", "account", "An account, and why it requires what it does", Account, _ACCOUNT
    ),
    Route("GET", "/api/accounts/{id}/history", "viewer", "history", "What was seen of an account", History, _ACCOUNT),
    Route("GET", "/api/calls", "viewer", "calls", "Margin calls, open or over, page by page", Calls, query=CallsQuery),
    Route("GET", "/api/calls/{id}", "viewer", "call", "A margin call", Call, _CALL),
    Route(
        "POST", "/api/calls/{id}/actions", "operator", "act", "Say something about a call", Accepted, _CALL, body=ActionForm
    ),
    Route("GET", "/api/ladder", "viewer", "ladder", "Who falls at which shock", EarlyWarning),
    Route("GET", "/api/reconciliation", "viewer", "reconciliation", "Own books against statements", Reconciliation),
    Route("GET", "/api/agreements", "viewer", "agreements", "What agreements save", Agreements, query=AgreementsQuery),
    Route(
        "POST", "/api/what-if", "viewer", "what_if", "Figures before and after hypothetical items", WhatIf, body=WhatIfForm
    ),
    Route("GET", "/api/live", "viewer", "live", "WebSocket: the table of all accounts, then what changes", None),
)


class Api:
    """Answers from Redis. publish: puts an action on its topic and waits until Kafka has it."""

    def __init__(self, live: Live, desk: Desk, publish: Callable[[Action], Awaitable[None]]) -> None:
        self._live, self._desk, self._publish = live, desk, publish
        self._client, self._keys = live.client, live.keys

    async def health(self, ask: Ask) -> Answer:
        """Anybody may ask."""
        return Health(redis=self._live.problem, what_if=self._desk.problem)

    async def session(self, ask: Ask) -> Answer:
        """Who asks."""
        assert ask.who is not None
        return Session(user=ask.who.user, role=ask.who.role)

    async def summary(self, ask: Ask) -> Answer:
        """Out of the live table."""
        return self._live.summary()

    async def accounts(self, ask: Ask) -> Answer:
        """Chosen and sorted in the live table, then read exactly."""
        query: AccountsQuery = ask.query
        wanted = {
            name: value for name in ("status", "quality", "pool", "customer") if (value := getattr(query, name)) is not None
        }
        after = None if query.cursor is None else _cursor(query.cursor)
        ids, last = await asyncio.to_thread(self._live.table.select, wanted, query.sort, query.limit, after)
        rows = await asyncio.to_thread(read_accounts, self._client, self._keys, ids)
        following = None if last is None else f"{last[0]!r}:{last[1]}"
        return Accounts(accounts=[_figures(row) for row in rows], next=following)

    async def account(self, ask: Ask) -> Answer:
        """An account's figures and what they come from."""
        row = await self._row(ask.ids["id"])
        return Account(figures=_figures(row), **await self._desk.account(row["account"], row["customer"]))

    async def history(self, ask: Ask) -> Answer:
        """From now on the account is watched."""
        row = await self._row(ask.ids["id"])
        return self._live.watch(row["account"], row["currency"])

    async def calls(self, ask: Ask) -> Answer:
        """Chosen in the table of calls, then read exactly."""
        query: CallsQuery = ask.query
        choice = Choice(
            is_open=query.state == "open" or query.state in OPEN,
            state=None if query.state in ("open", "closed") else query.state,
            account=query.account, pool=query.pool, text=query.text.lower(), acknowledged=query.acknowledged,
        )  # fmt: skip
        ids, count = await asyncio.to_thread(self._live.calls.select, choice, query.offset, query.limit)
        rows = await asyncio.to_thread(read_these_calls, self._client, self._keys, ids)
        return Calls(calls=[_call(row) for row in rows], count=count, open=self._live.calls_open)

    async def call(self, ask: Ask) -> Answer:
        """One call, open or not."""
        return _call(await self._call_row(ask.ids["id"]))

    async def act(self, ask: Ask) -> Answer:
        """Publish what an operator says about an open call."""
        assert ask.who is not None
        form: ActionForm = ask.body
        if form.kind != "ack" and not form.text.strip():
            raise Refusal(
                400, f"body: text: found '{form.text}' for {form.kind}; allowed: what is noted, why it is cancelled"
            )
        row = await self._call_row(ask.ids["id"])
        if row["state"] not in OPEN:
            raise Refusal(409, f"call {row['id']}: found it {row['state']}; allowed: a call that is open")
        action = Action(
            id=secrets.token_hex(16), ts=time.time_ns(), user=ask.who.user, kind=form.kind, account=row["account"],
            call=row["id"], text=form.text,
        )  # fmt: skip
        await self._publish(action)
        return Accepted(id=action.id)

    async def ladder(self, ask: Ask) -> Answer:
        """Of all shards."""
        return EarlyWarning(data=await asyncio.to_thread(read_ladder, self._client, self._keys))

    async def reconciliation(self, ask: Ask) -> Answer:
        """Of all shards."""
        return Reconciliation(data=await asyncio.to_thread(read_reconciliation, self._client, self._keys))

    async def agreements(self, ask: Ask) -> Answer:
        """As read a few seconds ago at most."""
        query: AgreementsQuery = ask.query
        rows = self._live.agreements
        fit = [row for row in rows if query.state in (None, row["state"])]
        shown = [_agreement(row) for row in fit[query.offset : query.offset + query.limit]]
        by_state = {state.value: sum(row["state"] == state for row in rows) for state in AgreementState}
        return Agreements(agreements=shown, count=len(fit), by_state=by_state)

    async def what_if(self, ask: Ask) -> Answer:
        """On the market snapshot."""
        form: WhatIfForm = ask.body
        row = await self._row(form.account)
        try:
            return await self._desk.what_if(form, row["customer"], row["currency"])
        except Unanswerable as error:
            raise Refusal(409, str(error)) from error

    async def _row(self, account_id: str) -> Row:
        row = await asyncio.to_thread(read_account, self._client, self._keys, account_id)
        if row is None:
            raise Refusal(404, f"found no account '{account_id}'")
        return row

    async def _call_row(self, call_id: str) -> Row:
        row = await asyncio.to_thread(read_call, self._client, self._keys, call_id)
        if row is None:
            raise Refusal(404, f"found no call '{call_id}'")
        return row


def _figures(row: Row) -> Figures:
    """A hash as it was written; what it lacks is ""."""
    return Figures(**{name: row.get(name, "") for name in Figures.__struct_fields__})  # type: ignore[arg-type]


def _agreement(row: Row) -> Agreement:
    """An agreement's hash."""
    return msgspec.convert({**row, "reasons": msgspec.json.decode(row["reasons"])}, Agreement, strict=False)


def _call(row: Row) -> Call:
    """A call's hash; one that nobody has said anything about lacks the fields of that."""
    said = {"acknowledged_by": "", "acknowledged_ns": "0", **row, "notes": msgspec.json.decode(row.get("notes") or "[]")}
    return msgspec.convert({**said, "life": life_of(row)}, Call, strict=False)


def _cursor(text: str) -> tuple[float, int]:
    """What stands behind the last row of a page."""
    value, _, slot = text.rpartition(":")
    try:
        found = float(value), int(slot)
    except ValueError:
        found = math.nan, 0
    if math.isnan(found[0]) or abs(found[1]) >= 1 << 62:
        raise Refusal(400, f"cursor: found '{text}'; allowed: what `next` of another page says")
    return found

"""The directory: every name defined so far, the keys events carry instead, and the shard of each account.

It is what the log already holds, so it is rebuilt from topic `reference` up to its committed offset. The first definition of
a name wins. It decides only what routing and form need; whether a definition makes sense is the engine's business.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.codes import Code
from engine.documents import DOCUMENTS, Account, Agreement, AnyDocument, Asset, Customer, Instrument, names_used
from engine.events import key64, shard_of

ALL_SHARDS: Final = -1


class Refused(ValueError):
    """A definition or event that is not taken: the code, and what was found, where, and what is allowed."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Names:
    """Ids of one kind in the order of definition, each with its 64-bit key; slot -1 stands for an unknown one."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.keys: NDArray[np.uint64] = np.zeros(16, np.uint64)
        self._taken: set[int] = set()

    def find(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """The slot of each id, -1 where it is not defined."""
        return np.fromiter(map(self.slots.get, ids, repeat(-1)), np.int32, len(ids))

    def add(self, name: str, kind: str) -> int:
        """The slot of a new id; Refused when another id of this kind has the same key."""
        key = key64(name)
        if key in self._taken:
            raise Refused(Code.KEY_COLLISION, f"id: {kind} '{name}' has the 64-bit key of another {kind}; choose another id")
        slot = len(self.slots)
        if slot == len(self.keys):
            self.keys = np.concatenate([self.keys, np.zeros_like(self.keys)])
        self.keys[slot] = key
        self._taken.add(key)
        self.slots[name] = slot
        return slot


class Directory:
    """Names by kind, and the customer and shard of each account."""

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.accounts = Names()
        self.instruments = Names()
        self.assets = Names()
        self.account_shards: NDArray[np.int32] = np.zeros(16, np.int32)
        self._customers: dict[str, str] = {}
        self._customer_of: list[str] = []
        self._others: dict[str, set[str]] = {kind: set() for kind in DOCUMENTS}

    def defined(self, kind: str, name: str) -> bool:
        """Whether a document of this kind and id was admitted."""
        match kind:
            case "customer":
                return name in self._customers
            case "account":
                return name in self.accounts.slots
            case "instrument":
                return name in self.instruments.slots
            case "asset":
                return name in self.assets.slots
            case _:
                return name in self._others[kind]

    def admit(self, document: AnyDocument) -> int:
        """Take a definition in and tell which shard it goes to (ALL_SHARDS for most); Refused when it may not be defined."""
        for kind, name in names_used(document):
            if not self.defined(kind, name):
                found = f"{document.kind} '{document.id}' names {kind} '{name}', which is not defined"
                raise Refused(Code.UNKNOWN_NAME, f"{found}; allowed: what stands before it in topic reference")
        if isinstance(document, Customer):
            self._customers.setdefault(document.id, document.id)
            return shard_of(document.id, self.shards)
        if isinstance(document, Account):
            return self._admit_account(document)
        if isinstance(document, Instrument | Asset):
            names = self.instruments if isinstance(document, Instrument) else self.assets
            if document.id not in names.slots:
                names.add(document.id, document.kind)
        else:
            self._others[document.kind].add(document.id)
            if isinstance(document, Agreement):
                return shard_of(document.customer, self.shards)
        return ALL_SHARDS

    def _admit_account(self, document: Account) -> int:
        slot = self.accounts.slots.get(document.id)
        if slot is None:
            slot = self.accounts.add(document.id, "account")
            self._customer_of.append(self._customers[document.customer])
            if slot == len(self.account_shards):
                self.account_shards = np.concatenate([self.account_shards, np.zeros_like(self.account_shards)])
            self.account_shards[slot] = shard_of(document.customer, self.shards)
        elif self._customer_of[slot] != document.customer:
            raise Refused(
                Code.CHANGED_DEFINITION,
                f"customer: account '{document.id}' belongs to '{self._customer_of[slot]}', found '{document.customer}';"
                " allowed: the same customer for ever",
            )
        return int(self.account_shards[slot])

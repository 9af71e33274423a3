"""The directory: what is defined, where it goes, and what is refused."""

import msgspec
import numpy as np
import pytest

from engine.codes import Code
from engine.documents import AnyDocument, parse_document
from engine.events import key64, shard_of
from streams import directory as module
from streams.directory import ALL_SHARDS, Directory, Refused
from streams.sequence import rebuilt

SHARDS = 4


def document(**fields: object) -> AnyDocument:
    return parse_document(msgspec.json.encode(fields))


USD = document(kind="asset", id="USD", type="currency", currency="USD")
POOL = document(kind="pool", id="POOL", regime="r", currency="USD")


def customer(name: str) -> AnyDocument:
    return document(kind="customer", id=name)


def account(name: str, of: str, pool: str = "POOL", currency: str = "USD") -> AnyDocument:
    return document(kind="account", id=name, customer=of, pool=pool, currency=currency)


def instrument(name: str, currency: str = "USD", **more: object) -> AnyDocument:
    fields = {"type": "perpetual", "currency": currency, "tick": "1", "band": ["0", "10"], **more}
    return document(kind="instrument", id=name, **fields)


def filled() -> Directory:
    directory = Directory(SHARDS)
    for one in (USD, POOL, customer("C1"), customer("C2"), account("A1", "C1"), account("A2", "C2"), instrument("I")):
        directory.admit(one)
    return directory


def refusal(directory: Directory, one: AnyDocument) -> Refused:
    with pytest.raises(Refused) as caught:
        directory.admit(one)
    return caught.value


def test_own_documents_go_to_the_shard_of_their_customer_and_others_to_all() -> None:
    directory = filled()
    assert directory.admit(customer("C1")) == shard_of("C1", SHARDS)
    assert directory.admit(account("A1", "C1")) == shard_of("C1", SHARDS)
    assert directory.admit(USD) == directory.admit(POOL) == directory.admit(instrument("I")) == ALL_SHARDS


def test_finds_slots_keys_and_shards() -> None:
    directory = filled()
    slots = directory.accounts.find(["A2", "nobody", "A1"])
    assert slots.tolist() == [1, -1, 0]
    assert directory.accounts.keys[slots[[0, 2]]].tolist() == [key64("A2"), key64("A1")]
    assert directory.account_shards[slots[[0, 2]]].tolist() == [shard_of("C2", SHARDS), shard_of("C1", SHARDS)]
    assert directory.instruments.find(["I", "USD"]).tolist() == [0, -1]


def test_grows_past_its_first_capacity() -> None:
    directory = filled()
    for n in range(100):
        directory.admit(customer(f"X{n}"))
        directory.admit(account(f"B{n}", f"X{n}"))
    slots = directory.accounts.find([f"B{n}" for n in range(100)])
    assert directory.accounts.keys[slots].tolist() == [key64(f"B{n}") for n in range(100)]
    assert directory.account_shards[slots].tolist() == [shard_of(f"X{n}", SHARDS) for n in range(100)]


@pytest.mark.parametrize(
    "one",
    [
        account("A9", "nobody"),
        account("A9", "C1", pool="none"),
        account("A9", "C1", currency="EUR"),
        instrument("J", currency="EUR"),
        instrument("J", underlying="none"),
        instrument("J", rule="none"),
        instrument("J", calendar="none"),
        document(kind="asset", id="BTC", type="crypto", currency="USD", instrument="none"),
        document(kind="pool", id="Q", regime="r", currency="EUR"),
    ],
)
def test_names_must_be_defined_before(one: AnyDocument) -> None:
    directory = filled()
    refused = refusal(directory, one)
    assert refused.code is Code.UNKNOWN_NAME
    assert "is not defined" in refused.detail
    assert not directory.defined(one.kind, one.id)


def test_an_account_keeps_its_customer() -> None:
    directory = filled()
    refused = refusal(directory, account("A1", "C2"))
    assert refused.code is Code.CHANGED_DEFINITION
    assert "'C1'" in refused.detail
    assert "'C2'" in refused.detail
    assert directory.account_shards[directory.accounts.slots["A1"]] == shard_of("C1", SHARDS)


def test_two_ids_with_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = filled()
    monkeypatch.setattr(module, "key64", lambda _: key64("I"))
    assert refusal(directory, instrument("J")).code is Code.KEY_COLLISION
    assert directory.instruments.find(["I", "J"]).tolist() == [0, -1]
    directory.admit(document(kind="asset", id="I2", type="crypto", currency="USD"))  # another table, another key space


def test_rebuilt_takes_what_was_taken_and_refuses_what_was_refused() -> None:
    documents = [
        {"kind": "asset", "id": "USD", "type": "currency", "currency": "USD"},
        {"kind": "account", "id": "A1", "customer": "C1", "pool": "POOL", "currency": "USD"},
        [{"kind": "pool", "id": "POOL", "regime": "r", "currency": "USD"}, {"kind": "customer", "id": "C1"}, 5],
        {"kind": "account", "id": "A2", "customer": "C1", "pool": "POOL", "currency": "USD"},
    ]
    directory = rebuilt(SHARDS, [*map(msgspec.json.encode, documents), b"garbage", b"[" * 100_000])
    assert directory.accounts.find(["A1", "A2"]).tolist() == [-1, 0]
    assert directory.defined("pool", "POOL")
    assert np.count_nonzero(directory.accounts.keys) == 1

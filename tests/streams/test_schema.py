"""The JSON Schema of the inputs, and that it says what the structs take."""

from typing import Any

import msgspec
import pytest

from engine.documents import DOCUMENTS
from engine.events import KIND_OF, Kind
from streams.schema import EVENTS, json_schema

FIELDS = {  # as in INTERFACES: required, optional
    "Trade": ({"id", "ts", "account", "instrument", "qty", "price", "source"}, set()),
    "Price": ({"ts", "instrument"}, {"price", "bid", "ask", "settlement", "source"}),
    "Volatility": ({"ts", "underlying", "tenor_days"}, {"vol", "vol_bp"}),
    "Collateral": ({"id", "ts", "account", "asset", "qty", "source"}, {"replace"}),
    "Position": ({"id", "ts", "account", "instrument", "qty", "price"}, set()),
    "Statement": ({"id", "ts", "holder", "account", "qty"}, {"instrument", "asset"}),
    "Action": ({"id", "ts", "user", "kind", "account", "call"}, {"text"}),
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        return {node["$ref"]} if "$ref" in node else set().union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_every_topic_is_described(schema: dict[str, Any]) -> None:
    assert set(schema["topics"]) == set(KIND_OF)
    assert references(schema["topics"]["trades"]) == {"#/$defs/Trade"}
    assert len(references(schema["topics"]["reference"])) == len(DOCUMENTS)


def test_every_reference_is_defined(schema: dict[str, Any]) -> None:
    assert {f"#/$defs/{name}" for name in schema["$defs"]} >= references(schema)


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_those_of_the_interface(schema: dict[str, Any], name: str) -> None:
    definition = schema["$defs"][name]
    required, optional = FIELDS[name]
    assert set(definition["required"]) == required
    assert set(definition["properties"]) == required | optional
    assert definition["additionalProperties"] is False


def test_limits_and_units_are_told(schema: dict[str, Any]) -> None:
    trade = schema["$defs"]["Trade"]["properties"]
    assert trade["id"]["maxLength"] == 64
    assert trade["id"]["minLength"] == 1
    assert "8 decimals" in trade["qty"]["description"]
    assert "9 decimals" in trade["price"]["description"]
    assert "nanoseconds" in trade["ts"]["description"]
    assert schema["$defs"]["Price"]["oneOf"][1]["required"] == ["bid", "ask"]


def test_it_is_json(schema: dict[str, Any]) -> None:
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema


def test_every_kind_with_records_has_an_event() -> None:
    assert set(EVENTS) == set(Kind) - {Kind.CLOCK, Kind.ACTION, Kind.REFERENCE}

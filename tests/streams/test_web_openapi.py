"""The OpenAPI document: the file is what the routes say, the server serves it, and requests made from it find no failure."""

import re
from collections.abc import Iterator

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from streams.web_api import ROUTES
from streams.web_openapi import document
from tests.services import ROOT, wait_until
from tests.streams.web_server import Running, web_server

FILE = ROOT / "deploy" / "openapi.json"
CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, ignored_auth,
)  # fmt: skip
schema = schemathesis.openapi.from_dict(msgspec.json.decode(FILE.read_bytes()))


@pytest.fixture(scope="module")
def server(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with web_server(redis_url, tmp_path_factory.mktemp("web"), 40) as running:
        wait_until(lambda: not running.get("/api/health", role=None)["what_if"], seconds=400, what="the market")
        yield running


def test_the_file_is_what_the_routes_say() -> None:
    written = FILE.read_bytes()
    assert written == document(ROUTES), "python -m streams.web_openapi > deploy/openapi.json"
    paths = msgspec.json.decode(written)["paths"]
    assert {(method.upper(), path) for path, ways in paths.items() for method in ways} == {
        (route.method, route.path) for route in ROUTES
    }
    for route in ROUTES:
        named = {p["name"] for p in paths[route.path][route.method.lower()].get("parameters", ()) if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", route.path))


@pytest.mark.services
def test_the_server_serves_it(server: Running) -> None:
    assert server.get("/api/openapi.json", role=None) == msgspec.json.decode(FILE.read_bytes())


@pytest.mark.services
@pytest.mark.parametrize("operation", [pytest.param(one.ok(), id=one.ok().label) for one in schema.get_all_operations()])
def test_requests_made_from_it_find_no_failure(server: Running, operation: schemathesis.APIOperation) -> None:  # type: ignore[type-arg]
    @settings(
        max_examples=30, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        role = "viewer" if case.method == "POST" else "operator"  # what an operator says would go to Kafka
        headers = {"Authorization": f"Bearer {server.tokens[role]}"}
        case.call_and_validate(base_url=server.url, headers=headers, checks=list(CHECKS))

    ask()

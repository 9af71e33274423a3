"""The OpenAPI 3.1 document of the JSON API, made from the table of routes and the structs that they take and give.

`python -m streams.web_openapi` prints it: deploy/openapi.json.
"""

import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streams.web_access import COOKIE
from streams.web_api import ROUTES, Route
from streams.web_schema import Problem

VERSION: Final = "1"
_DESCRIPTION: Final = (
    "Accounts, margin calls and what-ifs of a crossmargin system. A request shows a token (Authorization: Bearer) or the"
    " cookie of a session. State-changing requests and the WebSocket must come from the server's own origin, where they"
    " name one."
)


def document(routes: Sequence[Route]) -> bytes:
    """The document as JSON."""
    types = {one for route in routes for one in (route.answer, route.query, route.body, Problem) if isinstance(one, type)}
    structs = sorted((one for one in types if issubclass(one, msgspec.Struct)), key=lambda one: one.__name__)
    references, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(structs, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type, schemas)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "crossmargin", "version": VERSION, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"


def _operation(route: Route, by_type: dict[type, dict[str, Any]], schemas: dict[str, Any]) -> dict[str, Any]:
    problem = {"description": "Why not", "content": {"application/json": {"schema": by_type[Problem]}}}
    done: dict[str, Any] = {"description": route.says}
    if route.answer is not None:
        done["content"] = {"application/json": {"schema": by_type.get(route.answer, {"type": "object"})}}
    operation: dict[str, Any] = {
        "operationId": route.handler,
        "summary": route.says,
        "responses": {"200" if route.answer is not None else "101": done, "4XX": problem, "503": problem},
    }
    if route.role is not None:
        operation["security"] = [{"token": []}, {"session": []}]
        operation["description"] = f"For a {route.role}." if route.role == "viewer" else "For an operator."
    parameters = [_parameter(name, "path", msgspec.json.schema(kind)) for name, kind in route.ids]
    if route.query is not None:
        fields = schemas.pop(route.query.__name__)["properties"]
        parameters += [_parameter(name, "query", _plain(schema)) for name, schema in fields.items()]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": by_type[route.body]}}}
    return operation


def _parameter(name: str, where: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without null: in a query, what is not given is left out."""
    others = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    plain = {**{name: value for name, value in schema.items() if name != "anyOf"}, **(others[0] if others else {})}
    if plain.get("enum"):
        plain["enum"] = [value for value in plain["enum"] if value is not None]
    return {name: value for name, value in plain.items() if not (name == "default" and value is None)}


if __name__ == "__main__":
    sys.stdout.buffer.write(document(ROUTES))

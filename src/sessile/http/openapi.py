"""``GET /openapi.json`` and ``GET /docs``, made from the route table and the types."""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request

from sessile.http.operations import Operation, Route
from sessile.http.query import MESSAGE_ID_SCHEMA, SESSION_ID_SCHEMA
from sessile.http.responses import FileResponse, HTMLResponse, JSONResponse, Response
from sessile.wire.errors import NotFound, SessileError
from sessile.wire.events import ErrorEvent, Event

IDS = {"session_id": SESSION_ID_SCHEMA, "message_id": MESSAGE_ID_SCHEMA}


class Error(Struct):
    """The body of every answer that is not 2xx."""

    error: str
    code: str


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    operations = [route.operation for route in routes]
    bodies = [operation.body for operation in operations if operation.body is not None]
    answers = [answer for operation in operations for answer in _answers(operation)]
    types = [*bodies, *answers, Error, Event, ErrorEvent]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schema_of = {_key(type): schema for type, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.operation.path.replace(":path}", "}")
        described = _described(route, schema_of)
        paths.setdefault(path, {})[route.operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sessile",
            "version": version("sessile"),
            "description": "A durable server for AI chat. "
            "The WebSocket at `/sessions/{session_id}/websocket` sends the same events, as "
            "the schema `Event` has them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": components | {"Event": schema_of[_key(Event)]}},
    }


def _media(answer: Any) -> bool:
    return isinstance(answer, str)


def _answers(operation: Operation) -> Sequence[Any]:
    """The types of which one is the JSON of an answer."""
    return (*_given(operation), *(answer for _, answer in operation.others))


def _given(operation: Operation) -> Sequence[Any]:
    if operation.answer is None or _media(operation.answer):
        return ()
    return operation.answer if isinstance(operation.answer, tuple) else (operation.answer,)


def _key(type: Any) -> str:
    return repr(type)


def _described(route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    operation = route.operation
    described: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{operation.tag}_{getattr(route.handler, '__name__', '')}",
        "tags": [operation.tag],
        "parameters": _parameters(operation),
        "responses": _responses(operation, schema_of),
    }
    if operation.body is not None:
        described["requestBody"] = {
            "content": {"application/json": {"schema": schema_of[_key(operation.body)]}},
            "required": not operation.optional,
        }
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    names = [
        part.strip("{}").removesuffix(":path")
        for part in operation.path.split("/")
        if part.startswith("{")
    ]
    inside = [
        {"name": name, "in": "path", "required": True, "schema": IDS.get(name, {"type": "string"})}
        for name in names
    ]
    beside = [
        {
            "name": parameter.name,
            "in": parameter.place,
            "schema": parameter.schema,
            "description": parameter.description,
        }
        for parameter in operation.parameters
    ]
    return inside + beside


def _responses(operation: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done."}
    if _media(operation.answer):
        good["content"] = {kind: {"schema": {}} for kind in operation.answer.split()}
    elif schemas := [schema_of[_key(answer)] for answer in _given(operation)]:
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        good["content"] = {"application/json": {"schema": schema}}
    responses: dict[str, Any] = {str(operation.status): good}
    for status, answer in operation.others:
        response = responses.setdefault(str(status), {"description": "Done.", "content": {}})
        response["content"]["application/json"] = {"schema": schema_of[_key(answer)]}
    by_status: dict[int, list[type[SessileError]]] = {}
    for error in operation.errors:
        by_status.setdefault(error.status, []).append(error)
    for status, errors in sorted(by_status.items()):
        responses[str(status)] = {
            "description": " · ".join(f"`{error.code}`: {error()}" for error in errors),
            "content": {"application/json": {"schema": schema_of[_key(Error)]}},
        }
    return responses


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sessile: API</title>
<link rel="stylesheet" href="docs/swagger_style.css">
</head>
<body>
<div id="api"></div>
<script src="docs/swagger_bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

# Swagger UI writes styles into its elements.
_POLICY = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}

# A proxy may have removed the beginning of the path: the page knows its address, the server does not.
_START = """(async () => {
  const root = new URL(".", document.baseURI).pathname.replace(/docs\\/$/, "");
  const described = await (await fetch(`${root}openapi.json`)).json();
  SwaggerUIBundle({
    spec: { ...described, servers: [{ url: root }] },
    dom_id: "#api",
    deepLinking: true,
    validatorUrl: null,
  });
})();
"""

_FILES = {"swagger_bundle.js": "text/javascript", "swagger_style.css": "text/css"}


class DocsRoutes:
    """The document and the page that shows it, with nothing loaded from elsewhere."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._document: dict[str, Any] | None = None

    async def openapi(self, request: Request) -> Response:
        if self._document is None:
            self._document = document(self._routes)
        root = request.scope.get("root_path", "")
        return JSONResponse(self._document | {"servers": [{"url": root or "/"}]})

    async def page(self, request: Request) -> Response:
        return HTMLResponse(_PAGE, headers=_POLICY)

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name == "start.js":
            return Response(_START, media_type="text/javascript")
        spec = find_spec("offapi")
        if name not in _FILES or spec is None or spec.origin is None:
            raise NotFound
        return FileResponse(Path(spec.origin).parent / name, media_type=_FILES[name])

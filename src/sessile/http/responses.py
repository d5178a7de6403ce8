"""Answers with a body."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette import responses
from starlette.requests import Request

from sessile.wire.codec import encode
from sessile.wire.errors import SessileError

# No page of another site may use an answer, nor take it for another kind of file.
SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Response(responses.Response):
    """A body, with the headers that every answer has."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        super().init_headers(headers)
        self.raw_headers.extend(SAFE)


class HTMLResponse(Response):
    """A page."""

    media_type = "text/html"


class FileResponse(responses.FileResponse, Response):
    """A file from the disk."""


class JSONResponse(Response):
    """A value as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encode(content)


def error_response(error: SessileError, headers: dict[str, str] | None = None) -> Response:
    """The body that every error has."""
    return JSONResponse(
        {"error": str(error), "code": error.code},
        status_code=error.status,
        headers=headers,
    )


def page_response(
    request: Request, bodies: list[bytes], has_more: bool, rel: str, at: str | None
) -> Response:
    """A page of messages from their JSON, and where the next one is (RFC 8288).

    ``rel`` is ``prev`` or ``next``; ``at`` the id of the message that the next page starts from.
    """
    headers = {"x-has-more": "true" if has_more else "false"}
    if has_more and at is not None:
        kept = [pair for pair in _query(request) if pair[0] not in ("before", "after")]
        others = f"{urlencode(kept)}&" if kept else ""
        path = quote(request.scope["path"], safe="/:@~")
        edge = "before" if rel == "prev" else "after"
        headers["link"] = f'<{path}?{others}{edge}={quote(at, safe="")}>; rel="{rel}"'
    return Response(b"[%s]" % b",".join(bodies), media_type="application/json", headers=headers)


def _query(request: Request) -> list[tuple[str, str]]:
    given = request.scope["query_string"]
    return parse_qsl(given.decode("latin-1"), keep_blank_values=True) if given else []

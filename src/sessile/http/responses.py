"""Answers with a body."""

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from sessile.wire.codec import encode
from sessile.wire.errors import SessileError


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

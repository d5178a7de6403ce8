"""Answers with a body."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette import responses
from starlette.types import Receive, Scope, Send

from sessile.wire.codec import encode
from sessile.wire.errors import SessileError

_is_plain = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
SMALL = 64 * 1024  # bytes up to which a response is sent at once

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
        {"error": str(error), "code": error.code, **error.extra},
        status_code=error.status,
        headers=headers,
    )


class Streamed(Response):
    """A body that is made while it is sent, from a generator that is closed in any case."""

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        media_type: str,
        headers: dict[str, str],
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        if "content-length" not in headers:
            del self.headers["content-length"]
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest) as rest:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            first, self._first = self._first, b""
            await send({"type": "http.response.body", "body": first, "more_body": True})
            del first  # while a slow client takes it, nothing is kept twice
            async for chunk in rest:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def streamed(
    chunks: AsyncGenerator[bytes, None], media_type: str, headers: dict[str, str]
) -> Response:
    """A response of chunks; of small ones it is whole at once.

    The first are made before the response begins: what fails by then is answered as an error.
    """
    first = b""
    async for chunk in chunks:
        first += chunk
        if len(first) > SMALL:
            return Streamed(first, chunks, media_type, headers)
    headers.pop("content-length", None)
    return Response(first, media_type=media_type, headers=headers)


async def json_array(
    chunks: AsyncGenerator[list[bytes], None], start: bytes = b"[", end: bytes = b"]"
) -> AsyncGenerator[bytes, None]:
    """The JSON of values, in chunks, as one array."""
    comma = start
    async with aclosing(chunks):
        async for bodies in chunks:
            if not bodies:
                continue
            piece = comma + b",".join(bodies)
            bodies.clear()  # while a slow client takes the piece, nothing else is kept
            yield piece
            comma = b","
    yield end if comma == b"," else start + end


def page_headers(scope: Scope, has_more: bool, rel: str, at: str | None) -> dict[str, str]:
    """Whether there are more messages, and where the next page is (RFC 8288).

    ``rel`` is ``prev`` or ``next``; ``at`` the id of the message that the next page starts from.
    The link is relative, because a proxy may have removed the beginning of the path.
    """
    headers = {"x-has-more": "true" if has_more else "false"}
    if has_more and at is not None:
        kept = [pair for pair in _query(scope) if pair[0] not in ("before", "after")]
        others = f"{urlencode(kept)}&" if kept else ""
        below = scope["path"].removeprefix(scope.get("root_path", ""))
        path = "../" * (below.count("/") - 1) + _quoted(below.removeprefix("/"), "/:@~")
        edge = "before" if rel == "prev" else "after"
        headers["link"] = f'<{path}?{others}{edge}={_quoted(at, "")}>; rel="{rel}"'
    return headers


def _quoted(text: str, safe: str) -> str:
    return text if _is_plain(text.replace("/", "") if "/" in safe else text) else quote(text, safe)


def _query(scope: Scope) -> list[tuple[str, str]]:
    given = scope["query_string"]
    return parse_qsl(given.decode("latin-1"), keep_blank_values=True) if given else []

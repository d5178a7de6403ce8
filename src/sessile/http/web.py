"""``GET /``: the page, which is a client like any other, and the files it loads."""

import gzip
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request

from sessile.http.responses import HTMLResponse, Response
from sessile.wire.errors import NotFound

FOLDER = Path(__file__).parent.parent / "web"
"""Where the build of ``web/`` puts the page."""

# Nothing from elsewhere, nothing inline, and no text becomes HTML or a script. Images are what
# messages have inside. A page that shows what models and strangers write needs no more.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
}
# What a machine has registered for these is not to be relied on.
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Their names have a digest of their content.
_FOR_EVER = "public, max-age=31536000, immutable"

_MISSING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sessile</title>
<h1>Sessile is running without its web client.</h1>
<p>The web client was not built when Sessile was installed. In a clone,
<code>uv run just web</code> builds it; nothing else needs it.</p>
<p>Send a message: <code>POST chat/{session}</code>. Read the history:
<code>GET chat/{session}/messages</code>. Try all routes in <a href="docs">the API</a>.</p>
"""


class _File(NamedTuple):
    media_type: str
    content: bytes
    packed: bytes


def is_built() -> bool:
    """Whether there is a page to show."""
    return (FOLDER / "index.html").is_file()


class WebRoutes:
    """The page, and the files it loads, each read and packed once, when it is first asked for."""

    def __init__(self) -> None:
        self._assets: dict[str, _File] = {}

    async def front(self, request: Request) -> Response:
        """The page that a browser shows for the server's address."""
        if not is_built():
            return HTMLResponse(_MISSING, headers=_HEADERS)
        # A page that was built again loads other files.
        return _answer(request, _read(FOLDER / "index.html"), "no-cache")

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]  # in which the route lets no slash
        if name not in self._assets:
            self._assets[name] = _read(FOLDER / "assets" / name)
        return _answer(request, self._assets[name], _FOR_EVER)


def _answer(request: Request, file: _File, caching: str) -> Response:
    headers = _HEADERS | {"cache-control": caching, "vary": "accept-encoding"}
    content = file.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = file.packed
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=file.media_type, headers=headers)


def _read(path: Path) -> _File:
    if path.suffix not in _MEDIA_TYPES or not path.is_file():
        raise NotFound
    content = path.read_bytes()
    return _File(_MEDIA_TYPES[path.suffix], content, gzip.compress(content, mtime=0))

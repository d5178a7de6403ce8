"""``GET /search``: full text over all messages."""

import unicodedata

from msgspec import Struct
from starlette.requests import Request

from sessile.http.context import Context
from sessile.http.operations import operation, text, whole_number
from sessile.http.query import number
from sessile.http.responses import JSONResponse, Response
from sessile.wire.errors import HostNotAllowed, InvalidRequest, SearchTooSlow, StoreUnavailable
from sessile.wire.messages import Message

MOST, DEFAULT = 100, 20
LONGEST = 1_000  # characters of a query
WORDS = 10  # of a query


class Found(Struct, rename="camel"):
    """A message that has all words. ``found`` are the places of them in ``snippet``: pairs of
    start and end, in characters."""

    session_id: str
    title: str
    message: Message
    snippet: str
    found: list[tuple[int, int]]


class SearchRoute:
    def __init__(self, context: Context) -> None:
        self._access = context.access

    @operation(
        "GET",
        "/search",
        list[Found],
        parameters=[
            text("q", "Words, or their beginnings."),
            whole_number("limit", "How many at most.", minimum=1, maximum=MOST, default=DEFAULT),
        ],
        errors=[HostNotAllowed, StoreUnavailable, SearchTooSlow, InvalidRequest],
        tag="sessions",
    )
    async def search(self, request: Request) -> Response:
        """Messages that have all words, the best first."""
        limit = number(request, "limit", DEFAULT, 1, MOST)
        query = request.query_params.get("q", "")
        if len(query) > LONGEST:
            raise InvalidRequest(f"`q` must have at most {LONGEST} characters.")
        words = [word for word in _plain(query).split() if any(map(str.isalnum, word))]
        if not words:
            raise InvalidRequest("`q` must have a word to search for.")
        if len(words) > WORDS:
            raise InvalidRequest(f"`q` must have at most {WORDS} words.")
        hits = await self._access.search(words, limit)
        return JSONResponse([Found(*hit) for hit in hits])


def _plain(text: str) -> str:
    """Without control characters, which no text is searched for."""
    return "".join(" " if unicodedata.category(c).startswith("C") else c for c in text)

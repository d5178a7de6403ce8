"""The client of a server."""

from types import TracebackType
from typing import Any, Self

from sessile.client.connection import Connection, given
from sessile.client.session import ClientSession
from sessile.wire.messages import Metadata, Session


class Client:
    """A server at ``url``.

    ``headers`` go with each request, such as those that a reverse proxy asks for. ``patience`` is how
    many seconds the server may be away, as in a restart, before
    :class:`~sessile.wire.errors.RemoteError` is raised.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8787",
        *,
        headers: dict[str, str] | None = None,
        patience: float = 60.0,
    ) -> None:
        self._connection = Connection(url, headers or {}, patience)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    def session(self, id: str) -> ClientSession:
        """A session, whether it exists or not."""
        return ClientSession(id, self._connection)

    async def create(
        self, id: str | None = None, title: str | None = None, metadata: Metadata | None = None
    ) -> Session:
        """Create a session before its first message; its id is made if none is given.

        Raises :class:`~sessile.wire.errors.SessionExists`.
        """
        body = given(id=id, title=title, metadata=metadata)
        return await self._connection.call(Session, "POST", "/sessions", body)

    async def sessions(
        self,
        limit: int = 50,
        before: str | None = None,
        query: str | None = None,
        archived: bool = False,
    ) -> list[Session]:
        """Sessions by their newest activity, newest first.

        ``before`` is the session id that the page ends before, ``query`` a part of the title or the id.
        """
        flag = "true" if archived else "false"
        return await self._connection.call(
            list[Session], "GET", "/sessions", limit=limit, before=before, q=query, archived=flag
        )

    async def search(self, query: str, limit: int = 20) -> list[dict[str, Any]]:
        """Messages that have every word: ``{sessionId, title, message, snippet, found}``."""
        return await self._connection.call(
            list[dict[str, Any]], "GET", "/search", q=query, limit=limit
        )

    async def info(self) -> dict[str, Any]:
        """``{name, version, storeId, features}``."""
        return await self._connection.call(dict[str, Any], "GET", "/info")

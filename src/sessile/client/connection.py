"""Requests to a server: what it refuses becomes an error, and where it is away one waits for it."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

import httpx2
import msgspec

from sessile.redact import without_password
from sessile.wire.away import FIRST_PAUSE, LONGEST_PAUSE, OF_PROXIES, SILENCE
from sessile.wire.codec import decode_json, encode
from sessile.wire.errors import RemoteError, SessileError, error_with
from sessile.wire.hosts import names_loopback
from sessile.wire.sse import Parser, ServerSentEvent

TRY_AGAIN = frozenset({"shutting_down", "store_unavailable", "unavailable"})

T = TypeVar("T")


class Connection:
    """A server at a URL. ``patience`` is how many seconds it may be away before an error is raised."""

    def __init__(self, url: str, headers: dict[str, str], patience: float) -> None:
        self.url = url.rstrip("/")
        self._patience = patience
        timeout = httpx2.Timeout(30, read=SILENCE)
        try:
            if not self.url.startswith(("http://", "https://")):
                raise ValueError("it must begin with http:// or https://")
            local = names_loopback((httpx2.URL(self.url).host or "").lower())
            self._http = httpx2.AsyncClient(
                base_url=self.url, headers=headers, timeout=timeout, trust_env=not local
            )
        except (httpx2.InvalidURL, ValueError) as error:
            shown = without_password(url)
            raise RemoteError(f"{shown} is not a valid server URL: {error}") from error

    async def close(self) -> None:
        await self._http.aclose()

    async def call(
        self, kind: type[T], method: str, path: str, body: Any = None, **query: Any
    ) -> T:
        """Send a request and return the response as a value of a type.

        While the server is away it is sent again. Where the connection breaks after it was sent, only
        if that does no harm: if it reads, or has an id by which the server knows it.
        """
        request = self._http.build_request(
            method, path, params=given(**query), content=b"" if body is None else encode(body)
        )
        return await self._done(kind, request, harmless=method == "GET")

    async def begin(self, kind: type[T], path: str, body: Any, harmless: bool) -> T:
        """Send a request that begins a turn; returns when that is stored."""
        headers = {"prefer": "respond-async"}
        request = self._http.build_request("POST", path, content=encode(body), headers=headers)
        return await self._done(kind, request, harmless)

    async def _done(self, kind: type[T], request: httpx2.Request, harmless: bool) -> T:
        waiting = Waiting(self._patience)
        while True:
            try:
                response = await self._http.send(request)
                check(response.status_code, response.content)
                return msgspec.json.decode(response.content or b"null", type=kind)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, Again) as error:
                await waiting.pause(error, self._away(error))
            except httpx2.HTTPError as error:
                if not harmless:
                    raise RemoteError(
                        f"the connection broke ({_why(error)}); it is not known whether the server "
                        "did what it was asked"
                    ) from error
                await waiting.pause(error, self._away(error))

    async def events(self, path: str, after: int) -> AsyncGenerator[ServerSentEvent, None]:
        """The events of a stream after a number; it goes on when the stream breaks."""
        waiting = Waiting(self._patience)
        while True:
            try:
                async with aclosing(self._stream(path, after)) as stream:
                    async for sent in stream:
                        waiting.reset()
                        if sent.id is not None:
                            after = max(after, int(sent.id))
                        yield sent
                error: Exception = Again("the stream ended")
            except (httpx2.HTTPError, Again) as broken:
                error = broken
            await waiting.pause(error, self._away(error))

    async def _stream(self, path: str, after: int) -> AsyncGenerator[ServerSentEvent, None]:
        async with self._http.stream("GET", path, params={"after": after}) as response:
            if response.status_code >= 400:
                check(response.status_code, await response.aread())
            parser = Parser()
            async for chunk in response.aiter_raw():
                for sent in parser.feed(chunk):
                    if sent.event == "error" and sent.id is None:
                        raise Again(decode_json(sent.data)["error"])
                    yield sent

    def _away(self, error: Exception) -> RemoteError:
        return RemoteError(f"no server answers at {without_password(self.url)} ({_why(error)})")


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


class Again(Exception):
    """The server will be back soon."""


class Waiting:
    """Pauses between attempts, longer and longer, for so many seconds in all."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.reset()

    def reset(self) -> None:
        """The server is there."""
        self._since: float | None = None
        self._pause = FIRST_PAUSE

    async def pause(self, error: Exception, at_last: Exception) -> None:
        """Wait before the next attempt; raises ``at_last`` if it was too long."""
        now = asyncio.get_running_loop().time()
        self._since = self._since or now
        if now - self._since >= self._patience:
            raise at_last from error
        await asyncio.sleep(self._pause * random.uniform(0.5, 1))
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


def check(status: int, body: bytes) -> None:
    """Raise the error that the server reports when it refuses a request, or that it is away."""
    if status < 400:
        return
    try:
        value = decode_json(body)
        error: SessileError = error_with(value["code"], value["error"])
    except (ValueError, KeyError, TypeError):
        if status in OF_PROXIES:
            raise Again(f"a proxy answers {status}") from None
        raise RemoteError(f"the server answered {status}") from None
    if error.code in TRY_AGAIN:
        raise Again(str(error)) from error
    raise error

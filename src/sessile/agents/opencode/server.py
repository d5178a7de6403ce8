"""An OpenCode server: its process if we started it, its HTTP API and its stream of events."""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from sessile.agents.kit.child import Child
from sessile.wire.codec import decode_json
from sessile.wire.errors import AgentError
from sessile.wire.hosts import names_loopback
from sessile.wire.sse import Parser

log = logging.getLogger(__name__)

START = 30.0  # seconds for OpenCode to start, and to answer a request
REACH = 5.0  # seconds to connect or reconnect
SILENCE = 30.0  # seconds without an event until a stream is lost; OpenCode sends one every ten
PAUSE = 0.5  # seconds between two attempts to connect

_LISTENING = re.compile(rb"listening on (http://\S+)")
_USER = "opencode"


class Lost(Exception):
    """The stream of events was lost and is connected again; events may have been missed."""


class Listener:
    """The events of one OpenCode session and of its subsessions, in order."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[dict[str, Any] | Exception] = asyncio.Queue()

    def put(self, event: dict[str, Any] | Exception) -> None:
        self._events.put_nowait(event)

    async def next(self, within: float | None) -> dict[str, Any] | None:
        """The next event; None if there was none for so many seconds.

        Raises :class:`Lost`, or :class:`~sessile.wire.errors.AgentError` if OpenCode has ended.
        """
        try:
            async with asyncio.timeout(within):
                event = await self._events.get()
        except TimeoutError:
            return None
        if isinstance(event, Exception):
            raise event
        return event


class OpenCodeServer:
    """OpenCode at a ``url``; with None, our own server, which ``command`` starts.

    Our own server has a random password. Another server may have its user and password in its URL,
    or its password in ``password``.
    """

    def __init__(
        self,
        url: str | None,
        command: str,
        password: str,
        folder: Path,
        passed: Iterable[str] = (),
    ) -> None:
        self._command = command
        self._passed = tuple(passed)
        self._folder = folder
        self._owned = url is None
        parts = urlsplit(url or "")
        user = (parts.username or _USER, parts.password or password)
        self._user = (_USER, secrets.token_urlsafe()) if self._owned else user
        self._url = "" if url is None else url.replace(f"{parts.netloc.rpartition('@')[0]}@", "")
        self._child: Child | None = None
        self._client: httpx2.AsyncClient | None = None
        self._reader: asyncio.Task[None] | None = None
        self._known = asyncio.Event()  # set while it can be reached
        self._refusal: str | None = None
        self._starting = asyncio.Lock()
        self._listeners: dict[str, Listener] = {}

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
            self._reader = None
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        if self._child is not None:
            await self._child.end()
            self._child = None

    async def ready(self) -> None:
        """Return when it can be used; start our own server if it is not running.

        Raises :class:`~sessile.wire.errors.AgentError`.
        """
        async with self._starting:
            if self._client is None or (self._child is not None and not self._child.running):
                await self.close()
                await self._start()
        try:
            async with asyncio.timeout(REACH):
                await self._known.wait()
        except TimeoutError:
            raise self._unreachable() from None
        if self._refusal is not None:
            raise AgentError(self._refusal)

    def _unreachable(self) -> AgentError:
        return AgentError(
            "OpenCode cannot be reached.", details=f"OpenCode cannot be reached at {self._url}."
        )

    async def _start(self) -> None:
        if self._owned:
            self._child = await Child.start(
                [self._command, "serve", "--hostname", "127.0.0.1", "--port", "0"],
                self._folder,
                self._passed,
                {"OPENCODE_SERVER_PASSWORD": self._user[1], "OPENCODE_SERVER_USERNAME": _USER},
            )
            self._url = await self._address(self._child)
            self._child.drain()
        self._client = httpx2.AsyncClient(
            base_url=self._url,
            auth=self._user if self._user[1] else None,
            timeout=httpx2.Timeout(START),
            limits=httpx2.Limits(max_connections=None),
            trust_env=False,
        )
        self._known.clear()
        self._reader = asyncio.create_task(self._read(self._client), name="opencode events")

    async def _address(self, child: Child) -> str:
        try:
            async with asyncio.timeout(START):
                async for line in child.stdout:
                    if found := _LISTENING.search(line):
                        return found[1].decode()
        except TimeoutError:
            await child.end()
            raise AgentError(f"OpenCode did not start within {START:.0f} seconds.") from None
        raise AgentError(
            "OpenCode did not start; the server's log says why.",
            details=f"OpenCode did not start: {await child.reason()}",
        )

    # Its API ------------------------------------------------------------------------------------

    async def call(
        self, method: str, path: str, directory: str, body: Any = None, **query: Any
    ) -> Any:
        """One request; None for 404. Raises :class:`~sessile.wire.errors.AgentError`."""
        if self._client is None:
            raise AgentError("OpenCode has ended. Send the message again.")
        try:
            response = await self._client.request(
                method, path, json=body, params={"directory": directory, **query}
            )
        except httpx2.HTTPError as error:
            raise AgentError("OpenCode cannot be reached.", details=_sentence(error)) from error
        if response.status_code == 404:
            return None
        if response.status_code >= 400:
            raise AgentError(
                f"OpenCode answered {response.status_code}; the server's log says why.",
                details=f"{path}: {_reason(response)}",
            )
        return response.json() if response.content else True

    # Its events ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def listening(self, session: str) -> AsyncGenerator[Listener, None]:
        """The events from now on in one of its sessions and in its subsessions."""
        listener = self._listeners[session] = Listener()
        try:
            yield listener
        finally:
            for id in [id for id, other in self._listeners.items() if other is listener]:
                del self._listeners[id]

    async def _read(self, client: httpx2.AsyncClient) -> None:
        lost = False
        clock = asyncio.get_running_loop().time
        heard_at = clock()
        while True:
            try:
                async with client.stream(
                    "GET", "/global/event", timeout=httpx2.Timeout(START, read=SILENCE)
                ) as response:
                    self._refusal = _refused(response.status_code)
                    if self._refusal is None:
                        try:
                            await self._follow(response, lost)
                        finally:
                            heard_at = clock()
                    self._known.set()
            except httpx2.HTTPError as error:
                log.debug("the events of OpenCode at %s: %s", self._url, _sentence(error))
            if self._refusal is None:
                self._known.clear()
            lost = True
            if self._child is not None and await self._child.gone(PAUSE):
                ended = AgentError(
                    "OpenCode has ended. Send the message again.",
                    details=await self._child.reason(),
                )
                self._tell(ended)
                return
            if clock() - heard_at > REACH:
                self._tell(self._unreachable())
            await asyncio.sleep(PAUSE)

    async def _follow(self, response: httpx2.Response, lost: bool) -> None:
        parser = Parser()
        async for chunk in response.aiter_raw():
            for sent in parser.feed(chunk):
                event = decode_json(sent.data)["payload"]
                if event["type"] == "server.connected":
                    self._known.set()
                    if lost:
                        self._tell(Lost())
                else:
                    self._dispatch(event)

    def _dispatch(self, event: dict[str, Any]) -> None:
        about = event.get("properties", {})
        session = about.get("sessionID")
        if event["type"] == "session.created":
            parent = self._listeners.get(about["info"].get("parentID"))
            if parent is not None:
                self._listeners[about["info"]["id"]] = parent
        listener = self._listeners.get(session)
        if listener is not None:
            listener.put(event)

    def _tell(self, error: Exception) -> None:
        for listener in set(self._listeners.values()):
            listener.put(error)


def is_local(url: str | None) -> bool:
    """Whether OpenCode works on this machine: our own server, or one at a loopback address."""
    if url is None:
        return True
    name = urlsplit(url).hostname or ""
    if names_loopback(name):
        return True
    with suppress(ValueError):
        return ip_address(name).is_unspecified
    return False


def _refused(status: int) -> str | None:
    if status == 200:
        return None
    if status == 401:
        return "OpenCode refuses the password. Set OPENCODE_SERVER_PASSWORD."
    return f"OpenCode answered {status}."


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__


def _reason(response: httpx2.Response) -> str:
    try:
        body = response.json()
        return str(body["data"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200] or response.reason_phrase

"""A running server as the commands use it: over the public protocol."""

import os
import random
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import httpx2

from sessile.redact import without_password
from sessile.wire.away import FIRST_PAUSE, LONGEST_PAUSE, OF_PROXIES, SILENCE
from sessile.wire.codec import decode_json
from sessile.wire.errors import RemoteError
from sessile.wire.hosts import names_loopback
from sessile.wire.ids import new_id
from sessile.wire.sse import Parser

PATIENCE = 60.0  # seconds for which a server may be unreachable during an answer
IMPORTING = 600.0  # seconds that the server may take to store what it was sent
CHUNK = 64 * 1024
_TRY_AGAIN = frozenset({"shutting_down", "store_unavailable"})


class Remote:
    """``call`` and ``turn`` raise :class:`~sessile.wire.errors.RemoteError` with a message."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http = _client(self.url)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send a request; return the JSON of the response."""
        response = self._asked(method, path, query, json=body)
        return response.json() if response.content else None

    def download(self, path: str, out: IO[bytes], report: Callable[[int], None]) -> None:
        """Write a response to a file, piece by piece; ``report`` receives the size of each piece."""
        try:
            with self._http.stream("GET", path) as response:
                _check(response)
                for chunk in response.iter_bytes(CHUNK):
                    out.write(chunk)
                    report(len(chunk))
        except httpx2.HTTPError as error:
            raise self._away(error) from error

    def upload(
        self, path: str, file: IO[bytes], report: Callable[[int], None], **query: Any
    ) -> Any:
        """Send a file, piece by piece; return the JSON of the response."""

        def chunks() -> Iterator[bytes]:
            while chunk := file.read(CHUNK):
                yield chunk
                report(len(chunk))

        return self._asked("POST", path, query, content=chunks(), timeout=IMPORTING).json()

    def turn(self, session: str, parts: list[Any], id: str | None = None) -> "Turn":
        """The turn of a new message, or of an earlier message if ``id`` names one."""
        return Turn(self, session, parts, id or new_id())

    def _asked(
        self, method: str, path: str, query: dict[str, Any], **request: Any
    ) -> httpx2.Response:
        given = {name: value for name, value in query.items() if value is not None}
        try:
            response = self._http.request(method, path, params=given, **request)
        except UnicodeEncodeError as error:
            raise RemoteError("an argument is not UTF-8 text") from error
        except httpx2.HTTPError as error:
            raise self._away(error) from error
        _check(response)
        return response

    def _away(self, error: Exception) -> RemoteError:
        why = str(error) or type(error).__name__
        where = without_password(self.url)
        return RemoteError(f"no server answers at {where} ({why}); is `sessile serve` running?")


class Turn:
    """A message and its answer. After an interruption, ``events`` may be read again: it continues
    after the last event that was read."""

    def __init__(self, remote: Remote, session: str, parts: list[Any], id: str) -> None:
        self.session = session
        self._remote = remote
        self._body = {"id": id, "parts": parts}
        self._last = 0
        self._over = False

    def events(self) -> Iterator[dict[str, Any]]:
        """Each event of the turn once, even if the server restarts in between."""
        away_since: float | None = None
        pause = FIRST_PAUSE
        while not self._over:
            try:
                for event in self._stream():
                    away_since, pause = None, FIRST_PAUSE
                    yield event
            except (httpx2.HTTPError, _Again) as error:
                now = time.monotonic()
                away_since = away_since or now
                # Do not wait if the server never accepted the message: nothing has started.
                if not self._last or now - away_since > PATIENCE:
                    raise self._remote._away(error) from error
                time.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, LONGEST_PAUSE)

    def stop(self) -> None:
        self._remote.call("POST", f"/chat/{self.session}/stop")

    def answer(self, id: str, reply: dict[str, Any]) -> bool:
        """Answer a question of the turn; False if it was answered already."""
        try:
            self._remote.call("POST", f"/chat/{self.session}/questions/{id}", reply)
        except RemoteError as error:
            if error.code_of_server == "question_answered":
                return False
            raise
        return True

    def _stream(self) -> Iterator[dict[str, Any]]:
        parser = Parser()
        path = f"/chat/{self.session}"
        with self._remote._http.stream("POST", path, json=self._body) as response:
            try:
                _check(response)
            except RemoteError as refusal:
                if refusal.code_of_server in _TRY_AGAIN or _is_of_proxy(response, refusal):
                    raise _Again(str(refusal)) from refusal
                raise
            for chunk in response.iter_raw():
                for sent in parser.feed(chunk):
                    event = decode_json(sent.data)
                    if sent.event == "done":
                        self._over = True
                        return
                    if event.get("code") in _TRY_AGAIN:
                        raise _Again(event["error"])
                    if sent.id is not None and int(sent.id) <= self._last:
                        continue
                    self._last = max(self._last, int(sent.id or 0))
                    yield event
        raise _Again("the server ended during the answer")


class _Again(Exception):
    """The server will be back soon."""


def _check(response: httpx2.Response) -> None:
    """Raise the error that the server reports when it refuses a request."""
    if response.status_code < 400:
        return
    try:
        body = decode_json(response.read())
        raise RemoteError(body["error"], body["code"])
    except (ValueError, KeyError, TypeError):
        raise RemoteError(f"the server answered {_status(response)}") from None


def _status(response: httpx2.Response) -> str:
    if response.status_code == 401:  # of a reverse proxy
        return "401: it asks for a name and a password, as in https://NAME:PASSWORD@HOST"
    return str(response.status_code)


def _is_of_proxy(response: httpx2.Response, refusal: RemoteError) -> bool:
    return response.status_code in OF_PROXIES and not refusal.code_of_server


def text_parts(content: str) -> list[dict[str, str]]:
    """A text as the parts of a message."""
    return [{"type": "text", "content": content}]


def _client(url: str) -> httpx2.Client:
    """A client of a server; the proxies of the environment stand before other machines only."""
    timeout = httpx2.Timeout(30, read=SILENCE)
    try:
        client = httpx2.Client(base_url=url, timeout=timeout, trust_env=False)
    except (httpx2.InvalidURL, ValueError) as error:
        shown = without_password(url)
        raise RemoteError(f"{shown} is not a valid server URL: {error}") from error
    if names_loopback(client.base_url.host.lower()):
        return client
    try:
        return httpx2.Client(base_url=url, timeout=timeout)
    except ImportError as error:
        raise RemoteError(
            f"{_proxies()} has a SOCKS proxy, for which a package is missing: run "
            "`pip install socksio`, or add the server's host to NO_PROXY"
        ) from error
    except OSError as error:
        raise RemoteError(
            f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: {error}"
        ) from error
    except (httpx2.InvalidURL, ValueError) as error:
        raise RemoteError(
            f"{_proxies()} is not the valid URL of a proxy; correct it, or add the server's host to "
            "NO_PROXY"
        ) from error


def _proxies() -> str:
    """The names of the variables that are set; what is in them may have a password."""
    names = [f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL")]
    return " or ".join(n for name in names for n in (name, name.lower()) if os.environ.get(n))


def session_path(session: str, rest: str = "") -> str:
    """The path of a session; raises for an id that is not valid."""
    if not session or not session.isascii() or "/" in session or "?" in session or "#" in session:
        raise RemoteError(f"{session!r} is not a valid session id")
    return f"/sessions/{session}{rest}"

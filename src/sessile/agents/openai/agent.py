"""Any server that speaks the OpenAI chat-completions protocol, through the official package."""

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx2
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    BadRequestError,
    Omit,
    UnprocessableEntityError,
    omit,
)
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionStreamOptionsParam

from sessile.agents.base import Output, Turn
from sessile.agents.kit.continuing import GO_ON
from sessile.agents.kit.files import FileHosts
from sessile.agents.kit.providers import kind_of, provider_error, reason_in
from sessile.agents.openai.chunks import Completion
from sessile.agents.openai.messages import Kept, conversation
from sessile.agents.openai.replies import DONE, values
from sessile.wire.errors import AgentError, SettingsError

log = logging.getLogger(__name__)

KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com/v1"


class OpenAIAgent:
    """A model behind ``OPENAI_BASE_URL`` with ``OPENAI_API_KEY``.

    The model receives ``system_prompt``, the newest ``history_messages`` messages of the session
    as far as they fit into ``history_characters``, and the user's message. The usage that the
    server reports (in tokens) is stored in the answer's metadata. With a ``client``, its address and
    key are used. An answer that was cut off is continued: the model is shown what it had said, and
    what it says then is a new part.

    Raises :class:`~sessile.wire.errors.SettingsError` if there is no API key, or if the key or the
    address cannot be one.
    """

    continues = True

    def __init__(
        self,
        model: str,
        system_prompt: str = "",
        history_messages: int = 50,
        history_characters: int = 100_000,
        client: AsyncOpenAI | None = None,
        files: FileHosts = FileHosts(),  # noqa: B008
    ) -> None:
        self.name = f"openai:{model}"
        self._model = model
        self._system_prompt = system_prompt
        self._history_messages = history_messages
        self._history_characters = history_characters
        self._files = files
        self._client = client or _client(self.name)
        self._options: ChatCompletionStreamOptionsParam | Omit = {"include_usage": True}

    async def open(self) -> None: ...

    async def close(self) -> None:
        await self._client.close()

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        turn.metadata["model"] = self._model
        completion, done = Completion(), False
        if turn.unfinished is not None and turn.unfinished.text:
            turn.begin_part()
        try:
            async with (
                aclosing(self._answer(await self._messages(turn))) as body,
                aclosing(values(body)) as reply,
            ):
                async for value in reply:
                    if value == DONE:
                        done = True
                        break
                    for output in completion.take(value):
                        yield output
        except (APIError, httpx2.HTTPError) as error:
            raise _failure(error, completion.began) from error
        finally:
            if completion.usage is not None:
                turn.metadata["usage"] = completion.usage
        for output in completion.end(done):
            yield output
        if completion.details:
            await turn.keep(Kept(self._model, completion.details))
        if completion.finish not in (None, "stop"):
            turn.metadata["finishReason"] = completion.finish

    async def _answer(
        self, messages: list[ChatCompletionMessageParam]
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of the provider's reply."""
        options = self._options  # another turn may learn meanwhile that they are refused
        try:
            async with aclosing(self._request(messages, options)) as body:
                async for piece in body:
                    yield piece
            return
        except (BadRequestError, UnprocessableEntityError) as error:
            if "stream_options" not in error.response.text or isinstance(options, Omit):
                raise
        log.info("the agent %s: the provider does not take stream_options", self.name)
        self._options = omit
        async with aclosing(self._request(messages, omit)) as body:
            async for piece in body:
                yield piece

    async def _request(
        self,
        messages: list[ChatCompletionMessageParam],
        options: ChatCompletionStreamOptionsParam | Omit,
    ) -> AsyncGenerator[bytes, None]:
        request = self._client.chat.completions.with_streaming_response.create(
            model=self._model,
            messages=messages,
            stream=True,
            stream_options=options,
        )
        async with request as response:
            async for piece in response.iter_bytes():
                yield piece

    async def _messages(self, turn: Turn) -> list[ChatCompletionMessageParam]:
        history = await turn.history(self._history_messages, self._history_characters)
        shown = [self._files.shown(message) for message in [*history, turn.message]]
        messages = conversation(self._system_prompt, shown, self._model)
        if turn.unfinished is not None and turn.unfinished.text:
            messages.append({"role": "assistant", "content": turn.unfinished.text})
            messages.append({"role": "user", "content": GO_ON})
        return messages


def _client(name: str) -> AsyncOpenAI:
    """A client for the environment's address and key, which may be pasted with blanks or quotes."""
    key, address = (_pasted(os.environ.get(variable, "")) for variable in (KEY, ADDRESS))
    address = address.rstrip("/").removesuffix("/chat/completions")
    if address and not address.startswith(("http://", "https://")):
        raise SettingsError(f"{ADDRESS} must begin with http:// or https://")
    if not key and not address:
        raise SettingsError(
            f"the agent {name} needs {KEY} in the environment, or {ADDRESS} for a server that asks "
            "for no key"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsError(f"{KEY} has a character in it that no key has; copy it again")
    try:
        return AsyncOpenAI(api_key=key or "none", base_url=address or OPENAI)
    except (httpx2.InvalidURL, ValueError) as error:
        raise SettingsError(f"{ADDRESS} is not a valid address: {error}") from error


def _pasted(value: str) -> str:
    return value.strip().strip("\"'").strip()


def _failure(error: APIError | httpx2.HTTPError, began: bool) -> AgentError:
    if isinstance(error, APIStatusError):
        reply = error.response.text
        reason = reason_in(reply)
        return provider_error(kind_of(error.status_code, reply), reply, reason)
    if isinstance(error, APITimeoutError | httpx2.TimeoutException):
        return provider_error("timeout", str(error))
    details = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
    if isinstance(error, APIConnectionError | httpx2.HTTPError):
        return provider_error("broken" if began else "unreachable", details)
    return provider_error("broken", details)

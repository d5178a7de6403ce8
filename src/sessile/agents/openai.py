"""Any server that speaks the OpenAI chat-completions protocol, through the official package."""

from collections.abc import AsyncGenerator

from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    OpenAIError,
)
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from sessile.agents.base import Output, Turn, Usage
from sessile.agents.kit.files import FileHosts
from sessile.agents.kit.providers import kind_of, provider_error
from sessile.agents.kit.rounds import contents
from sessile.wire.errors import AgentError, SettingsError
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart, ReasoningPart

# The names of reasoning in a delta: DeepSeek and vLLM · OpenRouter and Ollama.
_REASONING = ("reasoning_content", "reasoning")


class OpenAIAgent:
    """A model behind ``OPENAI_BASE_URL`` with ``OPENAI_API_KEY``.

    The model receives ``system_prompt``, the newest ``history_messages`` messages of the session
    as far as they fit into ``history_characters``, and the user's message. The usage that the
    server reports (in tokens) is stored in the answer's metadata.

    Raises :class:`~sessile.wire.errors.SettingsError` if there is no API key.
    """

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
        try:
            self._client = client or AsyncOpenAI()
        except OpenAIError as error:
            raise SettingsError(
                f"the agent {self.name} needs OPENAI_API_KEY in the environment "
                "(any text, where the server behind OPENAI_BASE_URL asks for none)"
            ) from error

    async def open(self) -> None: ...

    async def close(self) -> None:
        await self._client.close()

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        turn.metadata["model"] = self._model
        began, finish = False, None
        try:
            stream = await self._client.chat.completions.create(
                model=self._model,
                messages=await self._messages(turn),
                stream=True,
                stream_options={"include_usage": True},
            )
            async with stream:
                async for chunk in stream:
                    began = True
                    for output in _outputs(chunk):
                        yield output
                    if chunk.usage is not None:
                        turn.metadata["usage"] = _usage(chunk.usage)
                    if chunk.choices and chunk.choices[0].finish_reason:
                        finish = chunk.choices[0].finish_reason
        except APIError as error:
            raise _failure(error, began) from error
        if finish is None:
            raise AgentError("The model's stream ended before its answer was complete.")
        if finish == "content_filter":
            raise AgentError("The model's provider withheld the rest of the answer.")
        if finish != "stop":
            turn.metadata["finishReason"] = finish

    async def _messages(self, turn: Turn) -> list[ChatCompletionMessageParam]:
        history = await turn.history(self._history_messages, self._history_characters)
        messages: list[ChatCompletionMessageParam] = []
        if self._system_prompt:
            messages.append({"role": "system", "content": self._system_prompt})
        for message in [*history, turn.message]:
            messages.extend(_as_param(self._files.shown(message)))
        return messages


def _usage(usage: CompletionUsage) -> Usage:
    given, made = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (given.cached_tokens if given else None) or 0
    reasoning = (made.reasoning_tokens if made else None) or 0
    return Usage(usage.prompt_tokens, usage.completion_tokens, cached, reasoning)


def _outputs(chunk: ChatCompletionChunk) -> list[Output]:
    if not chunk.choices:
        return []
    delta = chunk.choices[0].delta
    outputs: list[Output] = []
    for name in _REASONING:
        thought = getattr(delta, name, None)
        if thought:
            outputs.append(ReasoningPart(str(thought)))
            break
    if delta.content or delta.refusal:
        outputs.append(delta.content or delta.refusal or "")
    return outputs


def _as_param(message: Message) -> list[ChatCompletionMessageParam]:
    if message.role == "user" and any(isinstance(part, FilePart) for part in message.parts):
        return [{"role": "user", "content": contents(message)}]
    if not message.content:
        return []
    if message.role == "assistant":
        return [{"role": "assistant", "content": message.content}]
    if message.role == "system":
        return [{"role": "system", "content": message.content}]
    return [{"role": "user", "content": message.content}]


def _failure(error: APIError, began: bool) -> AgentError:
    if isinstance(error, APIStatusError):
        reply = f"{error.message} {error.code or ''}"
        return provider_error(kind_of(error.status_code, reply), reply)
    if isinstance(error, APITimeoutError):
        return provider_error("timeout", str(error))
    details = f"{error.message}: {error.__cause__}" if error.__cause__ else error.message
    if isinstance(error, APIConnectionError):
        return provider_error("broken" if began else "unreachable", details)
    return provider_error("broken", details)

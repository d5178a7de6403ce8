"""A session's messages in OpenAI's format, as strict chat templates take them. Pure."""

from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import Struct
from openai.types.chat import ChatCompletionMessageParam

from sessile.agents.kit.alternate import alternating
from sessile.agents.kit.rounds import contents
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart


class Kept(Struct):
    """What is kept with an answer: which model thought what, as its provider wants it back."""

    model: str
    reasoning_details: list[dict[str, Any]]


def conversation(
    system_prompt: str, messages: Iterable[Message], model: str = ""
) -> list[ChatCompletionMessageParam]:
    """All system messages as one at the beginning, then a user's and the model's by turns.

    What ``model`` itself thought goes with its answers.
    """
    shown = [message for message in messages if message.content or _has_files(message)]
    system = [message.content for message in shown if message.role == "system"]
    if system_prompt:
        system.insert(0, system_prompt)
    found: list[dict[str, Any]] = []
    if system:
        found.append({"role": "system", "content": "\n\n".join(system)})
    for message in alternating(message for message in shown if message.role != "system"):
        content = contents(message) if message.role == "user" else message.content
        found.append({"role": message.role, "content": content} | _thoughts(message, model))
    return cast(list[ChatCompletionMessageParam], found)


def _thoughts(message: Message, model: str) -> dict[str, Any]:
    """The signed or encrypted reasoning of an answer, where this model gave it."""
    try:
        kept = msgspec.convert(getattr(message, "record", None), Kept)
    except msgspec.ValidationError:
        return {}
    is_its_own = message.role == "assistant" and kept.model == model
    return {"reasoning_details": kept.reasoning_details} if is_its_own else {}


def _has_files(message: Message) -> bool:
    """Whether there is something beside text that the model can be shown."""
    return message.role == "user" and any(isinstance(part, FilePart) for part in message.parts)

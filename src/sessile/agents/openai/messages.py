"""A session's messages as strict chat templates take them. Pure.

Templates of local models, and servers that translate to other protocols, refuse a conversation that
does not begin with a user, in which a user or the model speaks twice in a row, or whose system
messages are not at its beginning. All of these happen: answers are stopped, fail, or are deleted.
"""

from collections.abc import Iterable
from typing import Any, cast

from openai.types.chat import ChatCompletionMessageParam

from sessile.agents.kit.rounds import contents
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart

FIRST = "(The assistant begins the conversation.)"


def conversation(
    system_prompt: str, messages: Iterable[Message]
) -> list[ChatCompletionMessageParam]:
    """Messages in OpenAI's format: the system's, then a user's and the model's by turns."""
    system = [system_prompt] if system_prompt else []
    turns: list[dict[str, Any]] = []
    for message in messages:
        content = _content(message)
        if not content:
            continue
        if message.role == "system":
            system.append(message.content)
        elif turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] = _joined(turns[-1]["content"], content)
        else:
            turns.append({"role": message.role, "content": content})
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": FIRST})
    if system:
        turns.insert(0, {"role": "system", "content": "\n\n".join(system)})
    return cast(list[ChatCompletionMessageParam], turns)


def _content(message: Message) -> str | list[dict[str, Any]]:
    if message.role == "user" and any(isinstance(part, FilePart) for part in message.parts):
        blocks: list[dict[str, Any]] = contents(message)
        return blocks
    return message.content


def _joined(
    first: str | list[dict[str, Any]], second: str | list[dict[str, Any]]
) -> str | list[dict[str, Any]]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_blocks(first), *_blocks(second)]


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content

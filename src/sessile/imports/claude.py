"""Conversations of Claude's data export, ``conversations.json``."""

from typing import Any

from sessile.imports.conversation import (
    Conversation,
    Thread,
    branch,
    named_file,
    reasoning,
    settle,
    text_file,
    text_parts,
)
from sessile.wire.loose import items, record, text
from sessile.wire.messages import Role
from sessile.wire.parts import Part, ToolCallPart

SOURCE = "Claude"

_ROLES: dict[str, Role] = {"human": "user", "user": "user", "assistant": "assistant"}


def is_one(value: dict[str, Any]) -> bool:
    return isinstance(value.get("chat_messages"), list)


def read(value: dict[str, Any]) -> Conversation:
    thread = Thread(value.get("created_at"))
    for message in _shown(value):
        role = _ROLES.get(text(message.get("sender")))
        if role is not None:
            parts = [*_files(message), *_parts(message)]
            thread.add(
                message.get("uuid"), role, parts, message.get("created_at"), value.get("model")
            )
    archived = value.get("is_archived") is True
    return Conversation(text(value.get("uuid")), text(value.get("name")), thread.messages, archived)


def _shown(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages that were shown: all, or a branch if each says which one it follows."""
    messages = [record(message) for message in value["chat_messages"]]
    nodes = {text(message.get("uuid")): message for message in messages}
    if not messages or not all(text(m.get("parent_message_uuid")) for m in messages):
        return messages
    last = value.get("current_leaf_message_uuid")
    last = last if text(last) in nodes else messages[-1].get("uuid")
    return branch(nodes, last, "parent_message_uuid", "")


def _parts(message: dict[str, Any]) -> list[Part]:
    parts: list[Part] = []
    calls: dict[str, ToolCallPart] = {}
    for block in map(record, items(message.get("content"))):
        kind = block.get("type")
        if kind == "text":
            parts += text_parts(block.get("text"))
        elif kind == "thinking":
            parts += reasoning(block.get("thinking"))
        elif kind == "tool_use":
            name = text(block.get("name")) or "tool"
            id = text(block.get("id")) or f"{name}-{len(parts)}"
            call = ToolCallPart(id, name, block.get("input"), "complete")
            calls[id] = calls[""] = call  # the last one, for a result without an id
            parts.append(call)
        elif kind == "tool_result":
            asked = calls.get(text(block.get("tool_use_id")))
            if asked is not None:
                settle(asked, _output(block.get("content")), block.get("is_error") is True)
    return parts or list(text_parts(message.get("text")))


def _output(content: object) -> Any:
    """The texts of a tool's result, or what it is instead."""
    texts = [text(record(piece).get("text")) for piece in items(content)]
    return "\n\n".join(texts) if any(texts) else content


def _files(message: dict[str, Any]) -> list[Part]:
    found: list[Part] = []
    for file in map(record, [*items(message.get("attachments")), *items(message.get("files"))]):
        name, content = file.get("file_name"), text(file.get("extracted_content"))
        found.append(
            text_file(name, content) if content else named_file(name, file.get("file_type"))
        )
    return found

"""Conversations of ChatGPT's data export, ``conversations.json``.

A conversation is a tree of nodes, ``mapping``; ``current_node`` is the last one that was shown. An
answer is several nodes: its calls of tools, what these returned, its text.
"""

import re
from typing import Any

from sessile.imports.conversation import (
    Conversation,
    Thread,
    branch,
    named_file,
    reasoning,
    settle,
    text_parts,
)
from sessile.wire.loose import items, record, text
from sessile.wire.parts import Part, TextPart, ToolCallPart

SOURCE = "ChatGPT"

_CITATION = re.compile("\ue200[^\ue200\ue201]*\ue201")  # of a source, for ChatGPT's own page
_HIDDEN = ("user_editable_context", "model_editable_context", "reasoning_recap")


def is_one(value: dict[str, Any]) -> bool:
    return isinstance(value.get("mapping"), dict)


def read(value: dict[str, Any]) -> Conversation:
    thread = Thread(value.get("create_time"))
    for node in branch(value["mapping"], value.get("current_node"), "parent", "children"):
        message = record(node.get("message"))
        if not record(message.get("metadata")).get("is_visually_hidden_from_conversation"):
            _add(thread, message)
    id = text(value.get("conversation_id")) or text(value.get("id"))
    archived = value.get("is_archived") is True
    return Conversation(id, text(value.get("title")), thread.messages, archived)


def _add(thread: Thread, message: dict[str, Any]) -> None:
    content, author = record(message.get("content")), record(message.get("author"))
    id, role, time = message.get("id"), author.get("role"), message.get("create_time")
    if content.get("content_type") in _HIDDEN:
        return
    metadata = record(message.get("metadata"))
    if role == "user":
        thread.add(id, "user", [*_attachments(metadata, content), *_parts(content)], time)
    elif role == "system":
        thread.add(id, "system", _parts(content), time)
    elif role == "assistant":
        recipient = text(message.get("recipient")) or "all"
        parts = _parts(content) if recipient == "all" else [_call(id, recipient, content)]
        thread.add(id, "assistant", parts, time, metadata.get("model_slug"))
    elif role == "tool":
        _add_result(thread, id, author, content, time)


def _add_result(
    thread: Thread, id: object, author: dict[str, Any], content: dict[str, Any], time: object
) -> None:
    """What a tool returned: its text belongs to the call, its images to the answer."""
    parts = _parts(content)
    output = "\n\n".join(part.content for part in parts if isinstance(part, TextPart))
    others = [part for part in parts if not isinstance(part, TextPart)]
    if output and not thread.result("", output):
        call = _call(id, text(author.get("name")) or "tool", {})
        settle(call, output)
        others.insert(0, call)
    thread.add(id, "assistant", others, time)


def _call(id: object, tool: str, content: dict[str, Any]) -> ToolCallPart:
    given = "\n\n".join(part.content for part in _parts(content) if isinstance(part, TextPart))
    raw = text(content.get("text")) or given
    return ToolCallPart(text(id) or tool, tool, {"text": raw} if raw else {}, "complete")


def _parts(content: dict[str, Any]) -> list[Part]:
    kind = content.get("content_type")
    if kind == "thoughts":
        thoughts = [record(thought) for thought in items(content.get("thoughts"))]
        lines = [
            "\n\n".join(filter(None, (text(t.get("summary")), text(t.get("content")))))
            for t in thoughts
        ]
        return list(reasoning("\n\n".join(lines)))
    if kind == "code":
        language = text(content.get("language")).replace("unknown", "")
        code = text(content.get("text"))
        return [TextPart(f"```{language}\n{code}\n```")] if code.strip() else []
    if "parts" in content:
        return [part for piece in items(content["parts"]) for part in _pieces(piece)]
    shown = text(content.get("text")) or text(content.get("result"))
    return list(text_parts(_CITATION.sub("", shown)))


def _pieces(piece: object) -> list[Part]:
    """The parts of a piece of a message: of a text, an image or a recording."""
    if isinstance(piece, str):
        return list(text_parts(_CITATION.sub("", piece)))
    found = record(piece)
    if "text" in found:  # such as what was said
        return list(text_parts(found["text"]))
    if pointer := text(found.get("asset_pointer")):
        kind = "image/*" if "image" in text(found.get("content_type")) else ""
        return [named_file(pointer.rpartition("/")[2], kind, pointer)]
    return []


def _attachments(metadata: dict[str, Any], content: dict[str, Any]) -> list[Part]:
    """The files of a message, but for the images that are among its pieces."""
    shown = [text(record(piece).get("asset_pointer")) for piece in items(content.get("parts"))]
    attached = [record(attachment) for attachment in items(metadata.get("attachments"))]
    return [
        named_file(file.get("name"), file.get("mime_type") or file.get("mimeType"))
        for file in attached
        if not any(text(file.get("id")) and text(file.get("id")) in pointer for pointer in shown)
    ]

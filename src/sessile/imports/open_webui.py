"""Chats of Open WebUI's export."""

import html
import re
from typing import Any

from sessile.imports.conversation import (
    Conversation,
    Thread,
    branch,
    named_file,
    reasoning,
    text_parts,
)
from sessile.wire.loose import items, record, text
from sessile.wire.messages import Role
from sessile.wire.parts import Part, SourcePart

SOURCE = "Open WebUI"

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
# How it writes the reasoning of a model into the text of an answer.
_REASONING = re.compile(
    r'<details type="reasoning"[^>]*>\s*(?:<summary>[^<]*</summary>)?([^<]*)</details>\n?'
)


def is_one(value: dict[str, Any]) -> bool:
    chat = record(value.get("chat"))
    return isinstance(chat.get("messages"), list) or isinstance(chat.get("history"), dict)


def read(value: dict[str, Any]) -> Conversation:
    chat = value["chat"]
    thread = Thread(value.get("created_at") or chat.get("timestamp"))
    for message in _shown(chat):
        role = _ROLES.get(text(message.get("role")))
        if role is not None:
            parts = [*_files(message), *_parts(message.get("content")), *_sources(message)]
            time, model = message.get("timestamp"), message.get("model")
            thread.add(message.get("id"), role, parts, time, model, _error(message))
    title = text(value.get("title")) or text(chat.get("title"))
    id = text(value.get("id")) or text(chat.get("id"))
    return Conversation(id, title, thread.messages, value.get("archived") is True)


def _shown(chat: dict[str, Any]) -> list[dict[str, Any]]:
    history = record(chat.get("history"))
    if nodes := record(history.get("messages")):
        return branch(nodes, history.get("currentId"), "parentId", "childrenIds")
    return [record(message) for message in items(chat.get("messages"))]


def _parts(content: object) -> list[Part]:
    if isinstance(content, list):
        pieces = map(record, content)
        return [part for piece in pieces for part in _piece(piece)]
    parts: list[Part] = []
    for index, piece in enumerate(_REASONING.split(text(content))):
        if index % 2:
            lines = html.unescape(piece).strip().splitlines()
            parts += reasoning("\n".join(re.sub(r"^> ?", "", line) for line in lines))
        else:
            parts += text_parts(piece)
    return parts


def _piece(piece: dict[str, Any]) -> list[Part]:
    if piece.get("type") == "image_url":
        return [named_file("image", "image/*", record(piece.get("image_url")).get("url"))]
    return list(text_parts(piece.get("text")))


def _files(message: dict[str, Any]) -> list[Part]:
    found: list[Part] = []
    for file in map(record, items(message.get("files"))):
        inner = record(file.get("file"))
        meta = record(inner.get("meta"))
        kind = "image/*" if file.get("type") == "image" else meta.get("content_type")
        name = file.get("name") or inner.get("filename") or file.get("type")
        found.append(named_file(name, kind, file.get("url")))
    return found


def _sources(message: dict[str, Any]) -> list[Part]:
    found = [record(record(source).get("source")) for source in items(message.get("sources"))]
    return [
        SourcePart(text(source["url"]), text(source.get("name")) or text(source["url"]))
        for source in found
        if text(source.get("url")).startswith(("https://", "http://"))
    ]


def _error(message: dict[str, Any]) -> str:
    error = message.get("error")
    if isinstance(error, dict):
        error = error.get("content") or error.get("message")
    return text(error)

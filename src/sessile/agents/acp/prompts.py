"""What an ACP agent is sent: the blocks of a prompt. Pure."""

from typing import Any

from msgspec import UNSET

from sessile.agents.acp.parts import of
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart, TextPart


def prompt(briefing: str, message: Message, capabilities: dict[str, Any]) -> list[dict[str, Any]]:
    """The history, if the agent needs it, and the user's message, as the protocol's blocks."""
    images = bool(of(capabilities, "promptCapabilities").get("image"))
    blocks = [_text(briefing)] if briefing else []
    for part in message.parts:
        if isinstance(part, TextPart):
            blocks.append(_text(part.content))
        elif isinstance(part, FilePart):
            blocks.append(_file(part, images))
    return blocks or [_text(message.content)]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _file(part: FilePart, images: bool) -> dict[str, Any]:
    header, _, data = part.url.partition(";base64,")
    if images and part.media_type.startswith("image/") and header.startswith("data:"):
        return {"type": "image", "data": data, "mimeType": part.media_type}
    if header.startswith(("http://", "https://")):
        name = part.url if part.filename is UNSET else part.filename
        link = {"name": name, "uri": part.url, "mimeType": part.media_type}
        return {"type": "resource_link", **link}
    return _text(f"[a file: {part.media_type}]")

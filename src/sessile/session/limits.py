"""What a session may do, and how much it and its messages may hold."""

from typing import Any, NamedTuple

from sessile.session.questions import Policy
from sessile.wire.codec import encode
from sessile.wire.errors import InvalidRequest, MetadataTooLarge
from sessile.wire.messages import Metadata
from sessile.wire.parts import Part


class Sizes(NamedTuple):
    """Limits. ``title`` counts characters, ``parts`` the parts of a message that a client sends,
    ``answer_parts`` those of an answer, and all others bytes (of JSON, or of text in UTF-8)."""

    title: int = 200
    session_metadata: int = 64 * 1024
    message_metadata: int = 16 * 1024
    parts: int = 1_000
    answer_parts: int = 5_000
    answer: int = 8 * 1024 * 1024
    tool_output: int = 1024 * 1024

    def cut_title(self, title: str) -> str:
        return title if len(title) <= self.title else title[: self.title - 1] + "…"

    def check_session(self, metadata: Metadata) -> None:
        """Raises :class:`~sessile.wire.errors.MetadataTooLarge`."""
        _check_metadata(metadata, self.session_metadata, "metadata of a session")

    def check_message(
        self,
        parts: list[Part],
        metadata: Metadata | None,
        request: dict[str, Any] | None = None,
    ) -> None:
        """Raises :class:`~sessile.wire.errors.MetadataTooLarge` and
        :class:`~sessile.wire.errors.InvalidRequest`."""
        if len(parts) > self.parts:
            raise InvalidRequest(f"A message has at most {self.parts:,} parts.")
        if metadata:
            _check_metadata(metadata, self.message_metadata, "metadata of a message")
        if request:
            _check_metadata(request, self.message_metadata, "`request` of a message")

    def cut_output(self, output: Any) -> Any:
        """A tool's output, or the beginning of its text with a line that says so."""
        data = output.encode() if isinstance(output, str) else encode(output)
        if len(data) <= self.tool_output:
            return output
        kept = data[: self.tool_output].decode(errors="ignore")
        return f"{kept}\n[cut: the output has {len(data):,} bytes]"


class SessionLimits(NamedTuple):
    """``queue``: the most messages that wait in a session. ``retries``: how often a turn that a
    crash cut off is started from scratch; 0 settles it as interrupted. ``approval``: who answers
    what an agent asks. ``sizes``: how much a session and its messages may hold. ``continues``:
    whether agents that can do it continue a turn that was cut off. ``park_after``: the seconds that
    a turn waits on questions before it lets go of its agent."""

    queue: int = 100
    retries: int = 0
    approval: Policy = Policy()
    sizes: Sizes = Sizes()
    continues: bool = True
    park_after: float = 60.0


def size_of(text: str) -> int:
    """Bytes of text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _check_metadata(metadata: Metadata, most: int, what: str) -> None:
    size = len(encode(metadata))
    if size > most:
        raise MetadataTooLarge(f"The {what} has at most {most:,} bytes of JSON; this has {size:,}.")

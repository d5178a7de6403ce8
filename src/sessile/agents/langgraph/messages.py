"""The session's messages in LangChain's types. Pure."""

from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from sessile.agents.kit.rounds import contents, result, rounds
from sessile.agents.langgraph.kept import kept
from sessile.wire.codec import decode_json
from sessile.wire.codec import encode as encode_json
from sessile.wire.messages import Message
from sessile.wire.parts import ToolCallPart


def as_known(message: Message) -> list[BaseMessage]:
    """A message of the history: an answer as its graph had it, where that was kept."""
    if message.role == "user":
        return [HumanMessage(contents(message), id=message.id)]
    if message.role == "system":
        return [SystemMessage(message.content, id=message.id)]
    return kept(message) or _from_parts(message)


def _from_parts(message: Message) -> list[BaseMessage]:
    found: list[BaseMessage] = []
    for n, (text, calls) in enumerate(rounds(message)):
        called: Any = [
            {"id": call.tool_call_id, "name": call.tool_name, "args": _arguments(call)}
            for call in calls
        ]
        found.append(AIMessage(text, tool_calls=called, id=f"{message.id}.{n}"))
        for call in calls:
            status: Any = "success" if call.state == "complete" else "error"
            found.append(
                ToolMessage(
                    result(call),
                    tool_call_id=call.tool_call_id,
                    name=call.tool_name,
                    status=status,
                    id=f"{message.id}.{call.tool_call_id}",
                )
            )
    return found


def _arguments(call: ToolCallPart) -> dict[str, Any]:
    return call.tool_input if isinstance(call.tool_input, dict) else {"input": call.tool_input}


def jsonable(value: Any) -> Any:
    """A value as JSON; text for what JSON cannot represent."""
    try:
        return decode_json(encode_json(value))
    except (TypeError, ValueError):
        return str(value)

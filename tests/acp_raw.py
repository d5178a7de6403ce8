"""An ACP agent that sends exactly what its prompt says.

The prompt is JSON: updates to send ``before`` and ``after`` the ``result`` (or ``error``), after
``pause`` seconds, and a request to ``ask`` (method and parameters), whose outcome it says.
"""

import json
import sys
import time
from typing import Any


def send(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def update(value: Any) -> None:
    send(method="session/update", params={"sessionId": "s1", "update": value})


def text(words: str) -> dict[str, Any]:
    content = {"type": "text", "text": words}
    return {"sessionUpdate": "agent_message_chunk", "content": content}


def prompt(id: Any, given: dict[str, Any]) -> None:
    if "ask" in given:
        method, params = given["ask"]
        send(id=900, method=method, params={"sessionId": "s1", **params})
        answer = json.loads(sys.stdin.readline())
        update(text(json.dumps(answer.get("error", {}).get("code", answer.get("result")))))
    for value in given.get("before", ()):
        update(value)
    if "error" in given:
        send(id=id, error=given["error"])
    else:
        send(id=id, result=given.get("result", {"stopReason": "end_turn"}))
    time.sleep(given.get("pause", 0))
    for value in given.get("after", ()):
        update(value)


def main() -> None:
    print("a line that is not JSON", flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "session/prompt":
            prompt(message["id"], json.loads(message["params"]["prompt"][-1]["text"]))
        elif "id" in message:
            send(
                id=message["id"],
                result={
                    "initialize": {"protocolVersion": 1, "newField": [], "agentCapabilities": {}},
                    "session/new": {"sessionId": "s1", "modes": {"new": True}},
                }.get(message["method"]),
            )


if __name__ == "__main__":
    main()

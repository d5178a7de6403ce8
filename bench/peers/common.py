"""What the peers' servers share: the port, the words of their trivial agent, and how they run."""

import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn


def words(text: str) -> Iterator[str]:
    """What the agent answers: the text, word by word, as Sessile's ``echo`` does."""
    for word in text.split(" "):
        yield word + " "


def serve(app: Any) -> None:
    """Run the application on a free port of the loopback, and say which."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    sys.stdout = sys.stderr
    config = uvicorn.Config(app, access_log=False, log_level="error")
    uvicorn.Server(config).run([listener])

"""What sessions that wait on a question cost, and how soon one goes on after its answer.

    uv run python -m bench.waiting [--quick]

Starts its own server with a temporary file, has sessions ask (``[[ask]]`` of the echo agent), waits
until their turns are parked, and starts the server again. Prints tables in Markdown: memory in MiB
(resident set of the server's process), times in milliseconds.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import httpx2
from websockets.asyncio.client import connect

from bench.scale import Client, quantiles
from bench.servers import resident
from tests.serving import Process

FLAGS = ("--park-after", "5")
SETTLE = 75.0  # seconds until the single events of parked turns are forgotten
AT_ONCE = 32  # requests


async def ask_all(url: str, count: int) -> None:
    """Let so many sessions ask, each one question."""
    headers = {"prefer": "respond-async"}
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:

        async def some(first: int) -> None:
            for number in range(first, count, AT_ONCE):
                body = {"content": "[[ask]] a question that waits for an answer"}
                response = await http.post(f"/chat/w{number}", json=body, headers=headers)
                assert response.status_code == 202, response.text

        await asyncio.gather(*map(some, range(AT_ONCE)))


def running(client: Client) -> int:
    """How many turns have an agent."""
    for line in client.ask("GET", "/metrics").decode().splitlines():
        if line.startswith("sessile_turns_running "):
            return int(float(line.split()[1]))
    raise AssertionError("the metrics do not say how many turns run")


def wait_until_parked(client: Client) -> None:
    while running(client):
        time.sleep(0.2)


async def answer(url: str, session: str) -> float:
    """Seconds from the answer of a question to the event that the tool runs, as a watcher has it."""
    async with (
        httpx2.AsyncClient(base_url=url, timeout=60) as http,
        connect(f"{url.replace('http', 'ws')}/sessions/{session}/websocket") as socket,
    ):
        await socket.recv()
        question = (await http.get(f"/chat/{session}/questions")).json()[0]
        begin = time.perf_counter()
        answering = asyncio.create_task(
            http.post(f"/chat/{session}/questions/{question['id']}", json={"approve": True})
        )
        while True:
            event = json.loads(await socket.recv())
            if event["type"] == "part" and event["part"]["state"] == "running":
                took = time.perf_counter() - begin
                assert (await answering).status_code == 200
                return took


def measure(folder: Path, count: int, answers: int, settle: float) -> None:
    sizes: list[tuple[str, float]] = []
    with Process(folder, *FLAGS) as server:
        client = Client(server.url)
        sizes.append(("at the start", resident(server.pid)))
        asyncio.run(ask_all(server.url, count))
        sizes.append((f"{count:,} asked", resident(server.pid)))
        wait_until_parked(client)
        time.sleep(settle)
        sizes.append(("parked", resident(server.pid)))
        fresh = [asyncio.run(ask_and_answer(server.url, f"f{n}")) for n in range(answers)]
        server.terminate()
    begin = time.perf_counter()
    with Process(folder, *FLAGS) as server:
        client = Client(server.url)
        client.ask("GET", "/readyz")
        started = time.perf_counter() - begin
        sizes.append(("after a restart", resident(server.pid)))
        waited = [asyncio.run(answer(server.url, f"w{n}")) for n in range(answers)]
        assert json.loads(client.ask("GET", f"/sessions/w{count - 1}"))["status"] == "waiting"
    print(f"| {' | '.join(name for name, _ in sizes)} | start |")
    print(f"|{'---|' * (len(sizes) + 1)}")
    print(f"| {' | '.join(f'{size:.0f} MiB' for _, size in sizes)} | {started:.2f} s |")
    print("\n| from an answer to the next event, median / p99 | ms |\n|---|---|")
    print(f"| the agent waits | {quantiles(fresh)} |")
    print(f"| the turn is parked | {quantiles(waited)} |")


async def ask_and_answer(url: str, session: str) -> float:
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        body, headers = {"content": "[[ask]] now"}, {"prefer": "respond-async"}
        await http.post(f"/chat/{session}", json=body, headers=headers)
        for _ in range(1_000):
            if (await http.get(f"/chat/{session}/questions")).json():
                break
    return await answer(url, session)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that it runs")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), *((20, 5, 0.0) if quick else (10_000, 200, SETTLE)))


if __name__ == "__main__":
    main()

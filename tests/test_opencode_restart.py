"""Real OpenCode, whose server and whose Sessile end again and again in the middle of an answer."""

import asyncio
from pathlib import Path

import pytest

from tests.asking import asked
from tests.fake_models import FakeModels
from tests.kinds import KINDS, Kind, find_processes, start_server, tool_calls
from tests.restarting import ENDINGS, through_restarts
from tests.serving import client_of

pytestmark = pytest.mark.timeout(240)
KIND = KINDS["opencode"]


def prepare(
    folder: Path, models: FakeModels, kind: Kind
) -> tuple[tuple[str, ...], dict[str, str], Path]:
    """Flags, environment, and the folder in which OpenCode works."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    flags = (*kind.flags, "--directory", str(work))
    return flags, kind.environment(home, models.state.url), work


@pytest.mark.parametrize(
    ("kind", "end"),
    [("opencode", "kill -9"), ("opencode", "SIGTERM"), ("acp-opencode", "kill -9")],
)
async def test_opencode_goes_on_over_many_restarts(
    tmp_path: Path, models: FakeModels, kind: str, end: str
) -> None:
    flags, environment, work = prepare(tmp_path, models, KINDS[kind])
    seen = await through_restarts(
        tmp_path,
        *flags,
        content="[[work:6]]",
        end=ENDINGS[end],
        every=[3, 18, 25, 21],
        **environment,
    )
    assert seen.answer["status"] == "complete", seen.answer
    assert seen.restarts >= 3
    ran = (work / "ran.txt").read_text().split()
    assert ran == [f"call{number}" for number in range(6)]
    finished: dict[str, int] = {}
    for event in seen.events:
        if event.event == "part" and event.data["part"].get("state") == "complete":
            command = event.data["part"]["toolInput"]["command"]
            finished.setdefault(command, event.data["index"])
            assert finished[command] == event.data["index"], "a finished call ran again"
    if kind == "opencode":
        assert len(finished) == 6
    else:  # a call that ended while nobody saw it is shown as one of which that is not known
        assert 3 < len(finished) <= len(tool_calls(seen.answer))
    assert "word69 " in seen.answer["content"]
    assert not find_processes(str(tmp_path))


@pytest.mark.parametrize("park", ["0", "60"])
async def test_a_question_of_opencode_waits_over_kills_and_is_answered_once(
    tmp_path: Path, models: FakeModels, park: str
) -> None:
    """Parked, it is answered before OpenCode has started; else when OpenCode asks again."""
    command = "echo asked >> ran.txt; echo ask"
    kept: set[str] = set()
    for life in range(3):
        with start_server(KIND, tmp_path, models, "--park-after", park) as server:
            async with client_of(server) as chat:
                if not life:
                    body = {"content": KIND.run(command)}
                    await chat.http.post("/chat/s", json=body, headers={"prefer": "respond-async"})
                kept.add((await asked(chat))["id"])
                server.kill()
    with start_server(KIND, tmp_path, models, "--park-after", park) as server:
        async with client_of(server) as chat:
            id = (await asked(chat))["id"]
            assert kept == {id}
            path = f"/chat/s/questions/{id}"
            assert (await chat.http.post(path, json={"approve": True})).status_code == 200
            async with asyncio.timeout(60):
                while (message := (await chat.messages("s"))[-1])["status"] == "streaming":
                    await asyncio.sleep(0.05)
            assert (await chat.http.get("/chat/s/questions")).json() == []
    assert message["status"] == "complete", message
    assert (tmp_path / "work" / "ran.txt").read_text() == "asked\n"
    assert [call["state"] for call in tool_calls(message)][-1] == "complete"

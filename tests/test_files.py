"""Which addresses of files go on to a model."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from pydantic_ai import Agent
from pydantic_ai.models.function import FunctionModel

from sessile.agents.kit.files import FileHosts
from sessile.wire.errors import SettingsError
from tests.fake_models import FakeModels
from tests.serving import Client, running, serving, work_in
from tests.test_frameworks import ChatModel, Model, graph

INSIDE = [
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "http://localhost/x",
    "http://127.0.0.1:8787/x",
    "ftp://example.org/x",
    "/files/1",
]
EVERY_TRICK = [
    *INSIDE,
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://127.1/",
    "http://1.2.3.0x100/",
    "http://0/",
    "http://[::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://224.0.0.1/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://a.localhost/",
    "http://db/",
    "http://metadata.google.internal/",
    "http://printer.local/",
    "http://169.254.169.254\\@example.org/",
    "http://example.org\\@169.254.169.254/",
    "http://example.org@169.254.169.254/",
    "http://u:p@example.org/",
    "http://example.org:80@169.254.169.254/",
    "http://１６９.254.169.254/",
    "http://127。0。0。1/",
    "http://169.254.169.254%2f.example.org/",
    "http:///169.254.169.254/",
    "http:169.254.169.254",
    "//169.254.169.254/",
    " http://example.org/",
    "http://example.org/\n",
    "http://example.org/a b",
    "HTTP://169.254.169.254/",
    "javascript:alert(1)",
    "DATA:text/plain,x",
    "",
]
PUBLIC = [
    "https://example.org/cat.png",
    "http://example.org:8080/cat.png?size=1#a",
    "https://93.184.215.14/cat.png",
    "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/cat.png",
    "https://xn--bcher-kva.example/a%20b.png",
]


@pytest.mark.parametrize("url", EVERY_TRICK)
def test_no_address_inside_the_network_goes_on_when_all_public_hosts_are_allowed(url: str) -> None:
    assert not FileHosts(["*"]).allows(url)
    assert not FileHosts(["*", "example.com"]).allows(url)


@pytest.mark.parametrize("url", PUBLIC)
def test_public_addresses_go_on_only_if_they_are_allowed(url: str) -> None:
    assert FileHosts(["*"]).allows(url)
    assert not FileHosts().allows(url)
    assert not FileHosts(["example.com"]).allows(url)


def test_hosts_that_are_named_go_on() -> None:
    assert FileHosts().allows("data:image/png;base64,AA==")
    assert FileHosts(["Example.org"]).allows("https://EXAMPLE.org/x")
    assert not FileHosts(["example.org"]).allows("https://example.org.evil.example/x")
    assert not FileHosts(["example.org"]).allows("https://sub.example.org/x")
    assert FileHosts(["127.0.0.1", "[::1]"]).allows("http://127.0.0.1:9000/x")
    assert FileHosts(["127.0.0.1:9000"]).allows("http://127.0.0.1:9000/x")
    assert not FileHosts(["127.0.0.1:9000"]).allows("http://127.0.0.1:9001/x")


@pytest.mark.parametrize(
    "host", ["https://example.org", "example.org/x", "a b", "*.example.org", ""]
)
def test_what_is_not_a_host_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="--allow-file-host"):
        FileHosts([host])


async def send_files(chat: Client, urls: list[str]) -> None:
    parts: list[dict[str, Any]] = [{"type": "text", "content": "look"}]
    for index, url in enumerate(urls):
        file = {"type": "file", "mediaType": "image/png", "url": url, "filename": f"f{index}.png"}
        parts.append(file)
    await chat.stream("POST", "/chat/s", json={"parts": parts})
    await chat.send("s", "and again")


def check(shown: str) -> None:
    """What a model was sent has a note for each address inside, and the allowed one."""
    for url in INSIDE:
        assert url not in shown
    for index in range(len(INSIDE)):
        assert f"[file f{index}.png: its address is not passed on]" in shown
    assert "look" in shown


URLS = [*INSIDE, "https://example.org/cat.png"]


async def test_a_model_is_sent_no_address_inside_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FakeModels()
    async with running(model) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        hosts = ("example.org",)
        async with serving(tmp_path, agent="openai:fake", allow_file_host=hosts) as chat:
            await send_files(chat, URLS)
    for request in model.requests:
        check(json.dumps(request))
        assert '{"url": "https://example.org/cat.png"}' in json.dumps(request)


async def test_frameworks_are_sent_no_address_inside_the_network(tmp_path: Path) -> None:
    hosts = ("example.org",)
    own = Model()
    agent = Agent(FunctionModel(stream_function=own))
    async with serving(tmp_path, agent=agent, allow_file_host=hosts) as chat:
        await send_files(chat, URLS)
    for messages in own.shown:
        check(str(messages))
        assert "https://example.org/cat.png" in str(messages)
    theirs = ChatModel(script=[AIMessage("one"), AIMessage("two")])
    store = f"sqlite:///{tmp_path}/two.db"
    async with serving(tmp_path, agent=graph(theirs), allow_file_host=hosts, store=store) as chat:
        await send_files(chat, URLS)
    for shown in theirs.shown:
        check(str(shown))
        assert "https://example.org/cat.png" in str(shown)


async def test_an_acp_agent_is_sent_no_address_inside_the_network(tmp_path: Path) -> None:
    script = Path(__file__).parent / "acp_agent.py"
    spec = f"acp:{shlex.join([sys.executable, str(script)])}"
    settings: dict[str, Any] = {"agent": spec, "directory": str(work_in(tmp_path))}
    async with serving(tmp_path, **settings, allow_file_host=("example.org",)) as chat:
        await send_files(chat, URLS)
        answer = (await chat.messages("s"))[1]["content"]
    check(answer)
    assert answer.endswith("resource_link")

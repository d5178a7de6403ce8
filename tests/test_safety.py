"""Safe by default: which hosts and origins are allowed."""

import json
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.serving import Client, serving

ROUTES = [
    ("GET", "/"),
    ("GET", "/chat/s/messages"),
    ("POST", "/chat/s"),
    ("GET", "/sessions"),
    ("DELETE", "/sessions/s"),
    ("GET", "/info"),
    ("GET", "/nowhere"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8787", "127.0.0.1.evil.example", "localhost.evil", ""]
)
async def test_a_foreign_host_is_refused_everywhere(
    chat: Client, method: str, path: str, host: str
) -> None:
    response = await chat.http.request(method, path, json={"content": "x"}, headers={"Host": host})
    assert (response.status_code, response.json()["code"]) == (403, "host_not_allowed")
    assert await chat.messages("s") == []


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8787", "127.0.0.1", "127.0.0.1:1", "[::1]:8787", "LOCALHOST"]
)
async def test_the_names_of_loopback_are_allowed(chat: Client, host: str) -> None:
    response = await chat.http.get("/chat/s/messages", headers={"Host": host})
    assert response.status_code == 200


async def test_an_allowed_host_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path, allow_host=("chat.example.org",)) as chat:
        for host in ("chat.example.org", "chat.example.org:443"):
            response = await chat.http.get("/info", headers={"Host": host})
            assert response.status_code == 200
        response = await chat.http.get("/info", headers={"Host": "other.example.org"})
        assert response.status_code == 403


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:80", "http://localhost", 201),
        ("localhost", "http://localhost:80", 201),
        ("chat.example.org:443", "https://chat.example.org", 201),
        ("chat.example.org", "https://Chat.Example.Org:443", 201),
        ("other.example.org", "https://other.example.org", 201),
        ("chat.example.org", "https://app.example.org", 201),
        ("localhost:443", "http://localhost", 403),
        ("localhost:80", "https://localhost", 403),
        ("localhost:8080", "http://localhost", 403),
        ("chat.example.org:443", "null", 403),
    ],
)
async def test_a_default_port_that_is_written_is_the_same_origin(
    tmp_path: Path, host: str, origin: str, status: int
) -> None:
    settings = {
        "allow_host": ("chat.example.org", "other.example.org:443"),
        "allow_origin": ("https://app.example.org:443",),
    }
    async with serving(tmp_path, **settings) as chat:
        headers = {"Host": host, "Origin": origin}
        response = await chat.http.post("/sessions", json={}, headers=headers)
        assert response.status_code == status
        if "app." in origin:
            assert response.headers["access-control-allow-origin"] == "https://app.example.org"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_are_answered_under_any_host(chat: Client, path: str) -> None:
    for host in ("10.1.2.3", "10.1.2.3:8787", "pod.example", ""):
        response = await chat.http.get(path, headers={"Host": host})
        assert response.status_code == 200


CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}
LINK = CROSS_SITE | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    "path",
    ["/sessions/s", "/chat/s/messages", "/sessions/s/export", "/search?q=x", "/docs", "/healthz"],
)
async def test_another_site_learns_nothing(chat: Client, path: str) -> None:
    """Not even whether a session exists: what it loads as an image or a script is refused."""
    await chat.send("s", "x")
    for headers in (CROSS_SITE, LINK, CROSS_SITE | {"Origin": "https://evil.example"}):
        response = await chat.http.get(path, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "origin_not_allowed")
    for site in ("same-origin", "same-site", "none"):
        response = await chat.http.get(path, headers={"Sec-Fetch-Site": site})
        assert response.status_code == 200


async def test_a_link_on_another_site_opens_the_web_client_only(chat: Client) -> None:
    assert (await chat.http.get("/", headers=LINK)).status_code == 200
    for headers in (CROSS_SITE, LINK | {"Sec-Fetch-Dest": "iframe"}):
        assert (await chat.http.get("/", headers=headers)).status_code == 403
    assert (await chat.http.post("/chat/s", json={"content": "x"}, headers=LINK)).status_code == 403


async def test_an_allowed_site_reads(tmp_path: Path) -> None:
    async with serving(tmp_path, allow_origin=("https://app.example.org",)) as chat:
        headers = CROSS_SITE | {"Origin": "https://app.example.org"}
        assert (await chat.http.get("/sessions", headers=headers)).status_code == 200
        headers["Origin"] = "https://evil.example"
        assert (await chat.http.get("/sessions", headers=headers)).status_code == 403


async def test_a_request_with_two_origins_is_refused(chat: Client) -> None:
    headers = [("Origin", chat.url), ("Origin", "https://evil.example")]
    response = await chat.http.post("/chat/s", json={"content": "x"}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "origin_not_allowed")


async def test_every_answer_says_that_it_is_for_its_own_site(chat: Client) -> None:
    await chat.send("s", "x")
    paths = ["/", "/info", "/docs", "/docs/start.js", "/docs/swagger_style.css", "/openapi.json"]
    paths += ["/sessions", "/sessions/s", "/chat/s/messages", "/search?q=x", "/metrics", "/nowhere"]
    paths += [f"/sessions/s/export?format={format}" for format in ("json", "markdown", "sqlite")]
    for path in paths:
        found = (await chat.http.get(path)).headers
        assert found["x-content-type-options"] == "nosniff", path
        assert found["cross-origin-resource-policy"] == "same-origin", path
    async with chat.http.stream("POST", "/chat/s", json={"content": "x"}) as response:
        assert response.headers["cross-origin-resource-policy"] == "same-origin"


WRITES = [
    ("POST", "/chat/s"),
    ("POST", "/chat/s/stop"),
    ("POST", "/chat/s/regenerate"),
    ("POST", "/sessions"),
    ("PATCH", "/sessions/s"),
    ("DELETE", "/sessions/s"),
    ("POST", "/sessions/s/messages"),
    ("PATCH", "/sessions/s/messages/m"),
    ("DELETE", "/sessions/s/messages/m"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
async def test_a_foreign_origin_cannot_write(
    chat: Client, method: str, path: str, origin: str
) -> None:
    response = await chat.http.request(
        method, path, json={"content": "x"}, headers={"Origin": origin}
    )
    assert (response.status_code, response.json()["code"]) == (403, "origin_not_allowed")
    assert (await chat.http.get("/sessions")).json() == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_a_foreign_origin_cannot_open_a_socket(chat: Client, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with chat.socket("s", additional_headers={"Origin": origin}):
            pass
    assert refusal.value.response.status_code == 403
    assert json.loads(refusal.value.response.body or b"")["code"] == "origin_not_allowed"


async def test_a_foreign_host_cannot_open_a_socket(chat: Client) -> None:
    port = int(chat.url.rpartition(":")[2])
    url = f"ws://evil.example:{port}/sessions/s/websocket"
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(url, host="127.0.0.1", port=port):
            pass
    assert refusal.value.response.status_code == 403


async def test_a_request_with_two_hosts_is_refused(chat: Client) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with chat.socket("s", additional_headers={"Host": "localhost"}):
            pass
    assert refusal.value.response.status_code == 403


async def test_the_servers_own_origin_and_allowed_ones_can_write(tmp_path: Path) -> None:
    async with serving(tmp_path, allow_origin=("https://app.example.org",)) as chat:
        for origin in (chat.url, "https://app.example.org"):
            headers = {"Origin": origin}
            response = await chat.http.post("/chat/s", json={"content": "x"}, headers=headers)
            assert response.status_code == 200
            async with chat.socket("s", additional_headers=headers):
                pass
        preflight = await chat.http.options(
            "/chat/s",
            headers={
                "Origin": "https://app.example.org",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
        )
        assert preflight.headers["access-control-allow-origin"] == "https://app.example.org"
        read = await chat.http.get(
            "/chat/s/messages", headers={"Origin": "https://app.example.org"}
        )
        assert read.headers["access-control-allow-origin"] == "https://app.example.org"
        assert "X-Has-More" in read.headers["access-control-expose-headers"]
        other = await chat.http.get("/chat/s/messages", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers

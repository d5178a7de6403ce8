"""Fixtures that many tests use."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import real
from tests.fake_models import FakeModels, serve_in_thread
from tests.kinds import KINDS, Kind
from tests.serving import Client, serving

# How long an example takes depends on what else the machine does.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough",
        type=int,
        default=1,
        metavar="N",
        help="multiply the crashes and the steps of the model by N",
    )


@pytest.fixture(scope="session", autouse=True)
def users_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for what servers keep among the user's data."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> int:
    times: int = request.config.getoption("--thorough")
    return times


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def models() -> Iterator[FakeModels]:
    """The model that real agents use; its address is ``models.state.url``."""
    real.install()
    app = FakeModels()
    with serve_in_thread(app) as url:
        app.state.url = url
        yield app


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncGenerator[Client, None]:
    """A client of a server with the echo agent."""
    async with serving(tmp_path) as client:
        yield client


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that no server uses: two sessions, six messages, all indexed."""
    folder = tmp_path_factory.mktemp("stored")

    async def write() -> None:
        async with serving(folder) as chat:
            await chat.send("a", "one")
            await chat.send("a", "two [[tool]]")
            await chat.send("b", "three")
            assert (await chat.http.get("/search?q=three")).status_code == 200

    asyncio.run(write())
    return folder


@pytest.fixture
def store(stored: Path, tmp_path: Path) -> Path:
    """A folder with a copy of that store."""
    shutil.copytree(stored, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> Kind:
    """A kind of real agent."""
    return KINDS[request.param]

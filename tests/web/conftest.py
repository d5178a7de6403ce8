"""A browser for each module, and for each test a server, a visitor and a client of the API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.serving import Process
from tests.web import held
from tests.web.browser import Api, Release, Tab, Visit, Visitor, chromium

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    with Process(tmp_path, "--agent", "tests.web.held:agent", PYTHONPATH=str(ROOT)) as server:
        yield server


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A function that lets the answers to texts with ``[[hold]]`` end."""
    return (tmp_path / held.RELEASED).touch


@pytest.fixture
def api(server: Process) -> Iterator[Api]:
    api = Api(server.url)
    with api.http:
        yield api


@pytest.fixture
def visit(browser: Browser, server: Process) -> Iterator[Visit]:
    visitors: list[Visitor] = []

    def visit(**options: Any) -> Visitor:
        visitors.append(Visitor(browser, server.url, **options))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.leave()


@pytest.fixture
def tab(visit: Visit) -> Tab:
    return visit().tab()

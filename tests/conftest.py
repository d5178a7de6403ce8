"""Fixtures that many tests use."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.serving import Client, serving


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncGenerator[Client, None]:
    """A client of a server whose agent is echo."""
    async with serving(tmp_path) as client:
        yield client

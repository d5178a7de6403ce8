"""The wheel installs in an empty environment and serves."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.serving import Process, clean_environment
from tests.test_docs import ROOT


@pytest.mark.timeout(300)
def test_a_wheel_installs_in_an_empty_environment_and_serves(tmp_path: Path) -> None:
    def run(*command: str) -> None:
        subprocess.run(command, cwd=ROOT, env=clean_environment(), check=True, capture_output=True)

    run("uv", "build", "--wheel", "--out-dir", str(tmp_path), "--quiet")
    (wheel,) = tmp_path.glob("*.whl")
    names = ZipFile(wheel).namelist()
    assert "sessile/py.typed" in names
    assert "sessile/store/sqlite.sql" in names
    assert "sessile/store/migrations/sqlite_0001.sql" in names
    assert not [name for name in names if name.startswith("tests")]

    python = tmp_path / "empty" / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", sys.executable, str(tmp_path / "empty"))
    run("uv", "pip", "install", "--quiet", "--python", str(python), str(wheel))
    with Process(tmp_path, python=python) as server:
        assert server.banner[-1] == "  agent  echo"
        assert server.terminate() == 0
    with pytest.raises(RuntimeError, match=r"pip install 'sessile\[openai\]'"):
        Process(tmp_path, "--agent", "openai:m", python=python)

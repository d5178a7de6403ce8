"""The examples of docs/clients.md work."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import Process, clean_environment
from tests.test_docs import ROOT, python_files

EXAMPLES = python_files(ROOT / "docs" / "clients.md")
PRINTED = {
    "trip.py": "Where to?\ncomplete And then?\n",
    "plain.py": "Where to?\nassistant Where to?\n",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_client_in_python(tmp_path: Path, name: str) -> None:
    with Process(tmp_path) as server:
        (tmp_path / name).write_text(EXAMPLES[name].replace("http://127.0.0.1:8787", server.url))
        ran = subprocess.run(
            [sys.executable, name],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.stdout, ran.stderr) == (PRINTED[name], "")

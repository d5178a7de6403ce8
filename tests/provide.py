"""Installs what the tests need: Debian packages, real agents, packages of the web interface.

python -m tests.provide
"""

import os
import shutil
import subprocess
import sys

from tests import real

# command -> the packages that it needs
NEEDED = {
    "bash": "bash",
    "caddy": "caddy",
    "cc": "gcc libc6-dev",
    "chromium": "chromium fonts-dejavu-core",
    "curl": "curl",
    "git": "git",
    "mount": "mount",
    "nginx": "nginx",
    "pgrep": "procps",
    "tmux": "tmux",
    "unshare": "util-linux",
}
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # where nginx is


def main() -> None:
    real.install()
    real.litestream()
    install_packages()
    install_page()


def install_page() -> None:
    """Build the web interface and install the packages that its tests need, unless this is done."""
    build = [sys.executable, "web/build.py"]
    subprocess.run(build, cwd=real.ROOT, check=True)
    if not (real.ROOT / "web" / "node_modules" / "axe-core").exists():
        subprocess.run([*build, "npm", "ci", "--silent"], cwd=real.ROOT, check=True)


def install_packages() -> None:
    missing = {command for command in NEEDED if shutil.which(command, path=PATH) is None}
    if not missing:
        return
    packages = sorted({package for command in missing for package in NEEDED[command].split()})
    if shutil.which("apt-get") is None:
        sys.exit(f"the tests need {', '.join(sorted(missing))}: install them first")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run([*sudo, "apt-get", "-qq", *arguments], check=True, env=environment)


if __name__ == "__main__":
    main()

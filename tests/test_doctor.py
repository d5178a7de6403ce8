"""`sessile doctor`: each problem, caused and found."""

import os
from pathlib import Path

import pytest

from sessile.cli.doctor import of_clock
from sessile.store.sqlite.examine import kind_of, of_kind, of_space
from tests.operating import Ended, damage, files, run
from tests.serving import Process
from tests.test_faults import in_a_mount_namespace

pytestmark = pytest.mark.timeout(180)  # many processes start


def lines(ended: Ended) -> list[str]:
    found = ended.stdout.splitlines()
    assert ended.stderr == ""
    assert all(line.split()[0] in ("ok", "warning", "problem") for line in found), found
    problems = any(line.startswith("problem") for line in found)
    assert ended.returncode == (1 if problems else 0)
    return found


def has(found: list[str], level: str, text: str) -> bool:
    return any(line.startswith(level) and text in line for line in found)


def test_doctor_finds_no_problem_and_creates_nothing(tmp_path: Path) -> None:
    found = lines(run(tmp_path, "doctor", "--port", "0"))
    assert has(found, "ok", "Python 3.")
    assert has(found, "ok", "SQLite 3.")
    assert has(found, "ok", "sessile.db does not exist yet; a server creates it")
    assert has(found, "ok", "port is 0 (from --port)")
    assert not has(found, "problem", "")
    assert os.listdir(tmp_path) == []


def test_doctor_shows_settings_and_where_they_come_from_but_no_secrets(tmp_path: Path) -> None:
    secrets = {
        "OPENAI_API_KEY": "hidden-1",
        "SESSILE_SYSTEM_PROMPT": "hidden-2",
        "SESSILE_AGENT": "acp:sh --key hidden-3",
        "SESSILE_BUS": "nats://user:hidden-4@host",
    }
    variables = secrets | {"SESSILE_STOER": "sqlite:///x"}
    ended = run(tmp_path, "doctor", "--queue-limit", "7", more=variables)
    found = lines(ended)
    assert "hidden" not in ended.stdout
    assert has(found, "ok", "queue_limit is 7 (from --queue-limit)")
    assert has(found, "ok", "agent is acp:sh … (from SESSILE_AGENT)")
    assert has(found, "ok", "system_prompt is a text of 8 characters")
    assert has(found, "ok", "OPENAI_API_KEY is set")
    assert has(found, "problem", "unknown bus nats://user:***@host")
    assert has(found, "warning", "SESSILE_STOER is not a setting")
    assert not has(found, "", "history_messages")


def test_doctor_sees_whether_a_server_runs(tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        port = server.url.rpartition(":")[2]
        found = lines(run(tmp_path, "doctor", "--port", port))
    assert has(found, "ok", "a server has the store open")
    assert has(found, "warning", f"cannot listen on 127.0.0.1:{port}: Address already in use")
    assert has(lines(run(tmp_path, "doctor")), "ok", "no server has the store open")


def test_doctor_finds_what_is_wrong_with_the_store(store: Path) -> None:
    before = files(store)
    assert not has(lines(run(store, "doctor")), "problem", "")
    assert files(store) == before
    (store / "sessile.db").chmod(0o644)
    store.chmod(0o777)
    damage(store, "UPDATE sessions SET updated_at = updated_at + 864000")
    found = lines(run(store, "doctor"))
    assert has(found, "warning", "sessile.db can be read or written by other users (mode 644)")
    assert has(found, "warning", "other users can write to the folder")
    assert has(found, "warning", "the newest change of the store is in the future"), found
    (store / "other.db").hardlink_to(store / "sessile.db")
    assert has(lines(run(store, "doctor")), "problem", "has 2 names (hard links)")
    damage(store, "PRAGMA user_version = 99")
    assert has(lines(run(store, "doctor")), "problem", "written by a newer Sessile")
    flags = ("--store", "sqlite:///no/such/s.db")
    assert has(lines(run(store, "doctor", *flags)), "problem", "no/such of the store")
    assert has(lines(run(store, "doctor", "--store", "x://y")), "problem", "unknown store x://y")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--port", "x"], "--port must be a whole number"),
        (["--host", "0.0.0.0"], "add --allow-remote"),
        (["--host", "no.such.host.invalid", "--allow-remote"], "cannot listen on"),
        (
            ["--agent", "acp:no-such-command --flag", "--directory", "work"],
            "command no-such-command is not on the PATH",
        ),
        (
            ["--agent", "opencode", "--opencode-command", "none-such", "--directory", "work"],
            "none-such is not on the",
        ),
        (
            ["--agent", "acp:sh", "--store", "sqlite:///s.db"],
            "is inside the folder in which the agent works",
        ),
        (["--agent", "openai:m"], "needs OPENAI_API_KEY"),
        (["--agent", "mine:reply"], "the agent failed: ValueError: broken"),
        (["no_such_module:reply"], "cannot import the agent"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_doctor_finds_settings_that_cannot_be_used(
    tmp_path: Path, flags: list[str], says: str
) -> None:
    (tmp_path / "mine.py").write_text("raise ValueError('broken')\n")
    (tmp_path / "work").mkdir()
    assert has(lines(run(tmp_path, "doctor", *flags)), "problem", says)
    assert sorted(os.listdir(tmp_path)) == ["mine.py", "work"]


def test_doctor_finds_the_command_of_the_agent_and_a_low_limit_of_files(tmp_path: Path) -> None:
    few = ["bash", "-c", 'ulimit -n 256; exec "$@"', "-"]
    (tmp_path / "work").mkdir()
    flags = ("--agent", "acp:sh", "--directory", "work")
    found = lines(run(tmp_path, "doctor", *flags, within=few))
    assert has(found, "warning", "limit of open files is 256")
    assert has(found, "ok", "the agent's command is /")


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 0:35 / /srv rw,relatime shared:2 - nfs4 host:/srv rw
41 22 0:36 / /srv/my\\040disk rw shared:3 - xfs /dev/sdb rw
42 22 0:37 / /run rw shared:4 - tmpfs tmpfs rw
43 22 0:38 / /far rw shared:5 - fuse.sshfs me@host: rw
"""


def test_file_systems_that_do_not_suit() -> None:
    for folder, kind, level in (
        ("/home/me", "ext4", "ok"),
        ("/srv/data", "nfs4", "problem"),
        ("/srv/my disk/data", "xfs", "ok"),
        ("/run/x", "tmpfs", "warning"),
        ("/far/away", "fuse.sshfs", "warning"),
        ("/srvice", "ext4", "ok"),
    ):
        assert kind_of(Path(folder), MOUNTS) == kind
        assert of_kind(kind, Path(folder)).level == level
    assert of_kind(kind_of(Path("/"), ""), Path("/")).level == "ok"


def test_a_disk_that_is_nearly_full_and_a_clock_that_is_wrong() -> None:
    sizes = {10 * 1024**2: "problem", 500 * 1024**2: "warning", 10 * 1024**3: "ok"}
    assert {size: of_space(size, Path("/")).level for size in sizes} == sizes
    assert of_clock(0).level == "problem"
    assert of_clock(1_800_000_000).level == "ok"


def test_doctor_on_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$1" && shift && "$@"'
    found = lines(run(tmp_path, "doctor", within=in_a_mount_namespace(script, disk)))
    assert has(found, "problem", "is not writable") or has(found, "problem", "is read-only")

"""Runs a command no longer than the process that started it; used by :mod:`sessile.agents.kit.child`.

    python keeper.py LIFELINE COMMAND [ARGUMENT...]

LIFELINE is the file descriptor of a pipe's reading end. When the other end is closed, also by the
death of its process, the keeper ends the command and every process that it started: first with
SIGTERM, a second later with SIGKILL. When the command ends by itself, the keeper ends the processes
that it left behind. The exit status is the command's, as a shell reports it. For POSIX; it imports
only the standard library to start fast, since every agent has a keeper.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

GRACE = 1.0  # seconds between SIGTERM and SIGKILL
SET_CHILD_SUBREAPER = 36  # prctl(2)
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Keeper:
    """One command, as the leader of its own process session."""

    def __init__(self, lifeline: int, command: list[str]) -> None:
        self._lifeline = lifeline
        self._status: int | None = None
        self._wake, write = os.pipe()
        os.set_blocking(write, False)
        for number in HANDLED:  # only the lifeline ends the keeper
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(write)
        self._pid = os.fork()
        if self._pid == 0:
            _become(lifeline, command)

    def run(self) -> int:
        """Wait for the end, end all processes that are left, and return the exit status."""
        ready: list[int] = []
        while self._status is None and self._lifeline not in ready:
            ready, _, _ = select.select([self._lifeline, self._wake], [], [])
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._reap()
        self._signal_group(signal.SIGTERM)
        forced_at = time.monotonic() + GRACE
        asked: set[int] = set()
        while running := self._running():
            if time.monotonic() > forced_at:
                self._signal_group(signal.SIGKILL)
                _signal(running, signal.SIGKILL)
            else:
                _signal([pid for pid in running if pid not in asked], signal.SIGTERM)
                asked.update(running)
            time.sleep(0.01)
        return self._status or 0

    def _running(self) -> list[int]:
        """The command and, if /proc lists them, the processes that it left behind."""
        self._reap()
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as children:
                return [int(pid) for pid in children.read().split()]
        except OSError:
            return [] if self._status is not None else [self._pid]

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    code = os.waitstatus_to_exitcode(ended[1])
                    self._status = code if code >= 0 else 128 - code

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._pid, number)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _become(lifeline: int, command: list[str]) -> None:
    os.close(lifeline)
    os.setsid()
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def main() -> None:
    # With prctl, the processes that the command leaves behind become children of the keeper.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    keeper = Keeper(int(sys.argv[1]), sys.argv[2:])
    for standard in (0, 1):  # so that the other ends notice when the command closes them
        os.close(standard)
    os._exit(keeper.run())


if __name__ == "__main__":
    main()

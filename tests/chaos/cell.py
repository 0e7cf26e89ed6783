"""A cell: network, mounts and processes of its own, which all end with it, whatever happens.

An engine in it has nothing to do with any other on the machine: its bridges and its firewall's
tables are those of the cell. Only control groups are shared, and they are cleared by name.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]

#: Under which the engine inside puts its containers: two cells at a time want two names.
CGROUP = os.environ.get("DESK_CELL", "desk-chaos")

_GROUPS = Path("/sys/fs/cgroup")

#: Seconds that the kernel gets to take a cell's processes away.
_GONE = 30

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1


def run(command: Sequence[str], directory: Path) -> int:
    """Run it in a cell and return its status; `directory` is what two cells must not share. What it
    leaves of processes, containers and control groups is gone when this returns.
    """
    with _alone(directory):
        _clear()
        cell = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork",
             "--kill-child", "--mount-proc", sys.executable, "-m", __name__, *command],
            cwd=ROOT,
        )  # fmt: skip
        try:
            return cell.wait()
        finally:
            cell.kill()
            _take_away(cell)
            _clear()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _take_away(cell: subprocess.Popen[bytes]) -> None:
    """Frozen processes do not even die."""
    deadline = time.monotonic() + _GONE
    while time.monotonic() < deadline:
        _thaw()
        with suppress(subprocess.TimeoutExpired):
            cell.wait(0.2)
            return


def remains() -> list[Path]:
    """The control groups of this and of earlier cells, the deepest first."""
    tops = [*_GROUPS.glob(CGROUP), *_GROUPS.glob(f"*/{CGROUP}")]
    return [Path(path) for top in tops for path, _, _ in os.walk(top, topdown=False)]


def _thaw() -> None:
    for group in remains():
        for name, awake in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            with suppress(OSError):
                (group / name).write_text(awake)


def _clear() -> None:
    """End what is left of an earlier cell, and take the control groups away."""
    deadline = time.monotonic() + _GONE
    while (groups := remains()) and time.monotonic() < deadline:
        _thaw()
        for group in groups:
            with suppress(OSError):
                for pid in (group / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            with suppress(OSError):
                group.rmdir()
        time.sleep(0.05)


def _first_process(command: Sequence[str]) -> int:
    """Be the init of the cell: everything that lost its parent is reaped here."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # the command gets them as well
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack_from("16sh", fcntl.ioctl(any_socket, _GET_FLAGS, request))
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))
    child = subprocess.Popen(command)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(_first_process(sys.argv[1:]))

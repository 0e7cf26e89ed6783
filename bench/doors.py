"""The processes of a front door: which they are, what they cost, which of them has a connection."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.e2e.desk import Instance

ESTABLISHED, LISTEN = "01", "0A"


def of(desk: Instance) -> list[int]:
    """The doors of a running Desk: whoever of its processes accepts on its ssh port. A parent that
    only holds the socket for its children is none.
    """
    assert desk.process is not None
    listening = inodes(desk.ssh_port, LISTEN)
    holders = [pid for pid in family(desk.process.pid) if _sockets(pid) & listening]
    return (
        holders if holders == [desk.process.pid] else [p for p in holders if p != desk.process.pid]
    )


def connections(desk: Instance) -> dict[int, int]:
    """How many connections each door carries now."""
    established = inodes(desk.ssh_port, ESTABLISHED)
    return {pid: len(_sockets(pid) & established) for pid in of(desk)}


def cpu(pids: Iterable[int]) -> float:
    """Processor seconds that these have used, all their threads together."""
    total = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # a thread that ended
                total += int(path.read_text().split()[0])
    return total / 1e9


def memory(pid: int) -> int:
    """Bytes that it holds: of what it shares with others, its part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel tells nothing of the memory of {pid}")


def family(pid: int) -> list[int]:
    """It and all that descend from it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                found += family(int(child))
    return found


def _sockets(pid: int) -> set[int]:
    """The inodes of its sockets."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                kind, _, number = os.readlink(entry.path).partition(":")
                if kind == "socket":
                    found.add(int(number.strip("[]")))
    return found


def inodes(port: int, state: str) -> set[int]:
    """The inodes of the sockets with that local port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if int(words[1].rpartition(":")[2], 16) == port and words[3] == state:
                    found.add(int(words[9]))
    return found

"""A thousand connections that say nothing and prove nobody: does a real user still come in?"""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from bench.figures import Bar, Measure
from bench.peers import Unavailable, host_sshd
from tests.ssh.clients import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

ROUNDS = 3
_COUNT, _ADDRESSES = 1000, 20

#: Seconds after which nobody waits any longer.
_PATIENCE = 10.0


def run(stage: Stage, rounds: int) -> list[Measure]:
    title = f"a login beside {_COUNT} idle connections from {_ADDRESSES} addresses"
    measure = Measure("strangers", title, "s", {}, [Bar("desk", 1)], digits=2)
    try:
        port, command = stage.door.port, stage.visitors[0]
    except Unavailable as why:
        measure.notes.append(str(why))
        return [measure]
    stay, taken = [], []
    for _ in range(rounds):
        with _strangers(port) as strangers:
            taken.append(_until_in(command))
            stay.append(_left(strangers))
        time.sleep(0.5)
    measure.samples = {"desk": taken}
    measure.notes.append(f"of the strangers {min(stay)} still had a connection then.")
    with host_sshd(stage.directory / "stock") as stock:
        command = stock.command(stage.clients, "stock")
        with _strangers(stock.port) as strangers:
            took = _until_in(command)
            told = f"{took:.1f} s" if took < _PATIENCE else f"not within {_PATIENCE:.0f} s"
            measure.notes.append(
                f"a stock sshd on the host: {told}; {_left(strangers)} strangers stayed."
            )
    return [measure]


@contextmanager
def _strangers(port: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        made = []
        for number in range(_COUNT):
            sock = stack.enter_context(socket.socket())
            sock.bind((f"127.0.1.{1 + number % _ADDRESSES}", 0))
            sock.settimeout(5)
            with suppress(OSError):
                sock.connect(("127.0.0.1", port))
            sock.setblocking(False)
            made.append(sock)
        time.sleep(0.5)  # whoever is not wanted is gone by then
        yield made


def _left(strangers: list[socket.socket]) -> int:
    """How many were not put out."""
    return sum(1 for sock in strangers if _open(sock))


def _open(sock: socket.socket) -> bool:
    try:
        while sock.recv(4096):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _until_in(command: list[str]) -> float:
    """Seconds until a login succeeds."""
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < _PATIENCE:
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [*command, "true"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_PATIENCE - took,
                env=environment(),
            )
            if done.returncode == 0:
                return time.perf_counter() - began
        time.sleep(0.05)
    return _PATIENCE

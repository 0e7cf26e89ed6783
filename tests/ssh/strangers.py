"""Connections that authenticate nobody: they come in crowds, and are looked at from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING

from .clients import HOST, DoorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

GREETING = b"SSH-2.0-test\r\n"


def greeted(door: DoorProcess, source: str = HOST) -> socket.socket:
    far = socket.create_connection((HOST, door.port), 5, source_address=(source, 0))
    far.sendall(GREETING)
    return far


def logged(door: DoorProcess, event: str) -> list[dict]:
    """What the door logged of that."""
    told = [json.loads(line) for line in door.errors().splitlines() if line.startswith("{")]
    return [line for line in told if line["event"] == event]


@contextlib.contextmanager
def crowd(
    door: DoorProcess, count: int, words: bytes = b"", sources: int = 1
) -> Iterator[list[socket.socket]]:
    """So many connections that say those words, and then nothing."""
    with contextlib.ExitStack() as stack:
        made = []
        for number in range(count):
            source = f"127.1.{number % sources // 200}.{1 + number % sources % 200}"
            far = socket.create_connection((HOST, door.port), 5, source_address=(source, 0))
            stack.enter_context(far)
            with contextlib.suppress(OSError):
                far.sendall(words)
            made.append(far)
        yield made


def closed(far: socket.socket) -> bool:
    """Whether the door closed it; what it said before is thrown away."""
    far.setblocking(False)
    try:
        while far.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def open_ones(made: list[socket.socket]) -> list[socket.socket]:
    """Those that the door did not close."""
    return [far for far in made if not closed(far)]


async def closes(far: socket.socket, seconds: float = 5) -> bool:
    """Whether the door closes it within the time."""
    deadline = time.monotonic() + seconds
    while not closed(far):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True

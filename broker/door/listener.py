"""Accepting: a few at a time, so that those who are there get their turn, and not without descriptors.

asyncio accepts as many at a time as may wait, and each gets a transport before anybody can ask who
it is; when descriptors run out it tells so once for each that waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

log = structlog.get_logger()

_AT_ONCE = 32

#: Seconds without accepting after the system refused a descriptor, and until that is told again.
_REST, _QUIET = 0.5, 60.0


class Listener:
    """One listening socket, which it owns. Whoever `take` is given owns the connection."""

    def __init__(self, sock: socket.socket, take: Callable[[socket.socket, str], None]) -> None:
        self._sock = sock
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._resting: asyncio.TimerHandle | None = None
        self._told = float("-inf")
        self._closed = False

    @property
    def port(self) -> int:
        return int(self._sock.getsockname()[1])

    def start(self) -> None:
        """Accept from now on."""
        self._resting = None
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Accept no more; once is enough."""
        if self._closed:
            return
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._closed:
                return
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            sock.setblocking(False)
            self._take(sock, address[0])

    def _rest(self, error: OSError) -> None:
        """The system has no descriptor or no memory for one more: let others give theirs back."""
        self._loop.remove_reader(self._sock)
        self._resting = self._loop.call_later(_REST, self.start)
        now = self._loop.time()
        if now - self._told >= _QUIET:
            self._told = now
            log.error("front door cannot accept", problem=error.strerror)

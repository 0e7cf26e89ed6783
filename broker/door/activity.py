"""What a client does in its desktop, read from how many bytes its channels carried: pure.

Bytes alone are no activity. Viewers acknowledge and ping, forwards are polled and kept alive, and a
terminal prints by itself.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from broker.core.idle import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable

_MINUTE = 60.0


class Kind(StrEnum):
    """What a channel is for."""

    SHELL = "shell"
    EXEC = "exec"
    """A command, or a subsystem that is not sftp."""
    SFTP = "sftp"
    XPRA = "xpra"
    """A command of an xpra client's: the picture and its acknowledgements."""
    FORWARD = "forward"
    """TCP, Unix sockets, X11 and agents, in either direction."""
    VIEWER = "viewer"
    """A forward to the socket of one of the desktop's own viewers."""

    @property
    def told(self) -> str:
        """The name by which the broker knows it."""
        return Kind.FORWARD.value if self is Kind.VIEWER else self.value


#: What nobody does anything by: keys and mouse of a viewer are seen inside the desktop.
_INERT = frozenset({Kind.XPRA, Kind.VIEWER})

#: Whose output is a result that somebody waits for.
_GIVING = frozenset({Kind.EXEC, Kind.SFTP})


class Carried(NamedTuple):
    """Bytes that channels of one kind carried since the last look."""

    kind: Kind
    pty: bool
    up: int
    """From the client."""
    down: int
    """To the client."""


class Bucket:
    """Holds a minute's worth of bytes, and loses as much in a minute: what comes more slowly never
    fills it, however long it goes on.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._level = 0.0

    def add(self, count: int, passed: float) -> bool:
        """Take so many bytes after so many seconds; True when they run over."""
        level = max(0.0, self._level - self._bound * passed / _MINUTE) + count
        self._level = min(level, self._bound)
        return level > self._bound


class Pulse:
    """When one client last did something, in seconds of a clock that only goes forward.

    A look finds what was since the one before, so a sign of life is at most that much older than
    its age says.
    """

    def __init__(self, bound: int, now: float) -> None:
        self._looked = now
        self._seen: dict[Signal, float] = {}
        self._up, self._down = Bucket(bound), Bucket(bound)

    def look(self, carried: Iterable[Carried], now: float) -> None:
        """Take in what was carried since the last look."""
        passed, self._looked = now - self._looked, now
        up = down = 0
        for kind, pty, sent, got in carried:
            if kind in _INERT:
                continue
            if sent and pty:
                self._seen[Signal.TYPING] = now
            if sent and kind is Kind.SFTP:
                self._seen[Signal.FILES] = now
            if not pty and kind is not Kind.SFTP:
                up += sent
            if not pty and kind in _GIVING:
                down += got
        if self._up.add(up, passed):
            self._seen[Signal.DATA] = now
        if self._down.add(down, passed):
            self._seen[Signal.TRANSFER] = now

    def ages(self, now: float) -> dict[Signal, float]:
        """Seconds since each signal was last seen, of those that were."""
        return {signal: now - seen for signal, seen in self._seen.items()}

    def newer_than(self, moment: float) -> bool:
        """Whether anything was seen after it."""
        return any(seen > moment for seen in self._seen.values())

"""What a service tells systemd: that it is ready, what it does, that it lives, that it stops.

Where nobody listens, as without systemd, all of it is for nothing and costs nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

log = structlog.get_logger()

#: Signs of life in the time after which systemd ends a service that gives none.
_SIGNS = 3


class Supervisor(Protocol):
    """Whoever started this process and wants to know how it is. No method raises or blocks."""

    def ready(self, status: str) -> None:
        """It has started; `status` says in a few words what it does."""

    def status(self, status: str) -> None:
        """It does something else now."""

    def stopping(self) -> None:
        """It is on its way out."""

    async def live(self) -> None:
        """Give signs of life for as long as the event loop turns, until cancelled."""


class ParentNotifier:
    """Speaks to `deskd serve`, which wants to hear that its child is ready, and what it speaks."""

    def __init__(self, speaks: str) -> None:
        self._speaks = speaks

    def ready(self, status: str) -> None:
        del status
        os.write(sys.stdout.fileno(), f"ready {self._speaks}\n".encode())

    def status(self, status: str) -> None:
        pass

    def stopping(self) -> None:
        pass

    async def live(self) -> None:
        pass


class Notifier:
    """Speaks for this process to whoever supervises it, by sd_notify(3)."""

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        """`address` is the path of systemd's datagram socket, or its abstract name behind a `@`;
        `watchdog` the seconds after which it ends who gives no sign of life.
        """
        self._address = None if address is None else address.replace("@", "\0", 1)
        self._watchdog = watchdog

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Notifier:
        """What systemd said is taken out of `environment`: no child is to speak for its parent."""
        address = environment.pop("NOTIFY_SOCKET", "")
        period, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        meant = address[:1] in {"/", "@"}
        watched = meant and period.isdecimal() and pid in {"", str(os.getpid())}
        return cls(address if meant else None, int(period) / 1e6 if watched else None)

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=Stops")

    async def live(self) -> None:
        if self._watchdog is None:
            return
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / _SIGNS)

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("systemd was not told", problem=str(error), told=text)

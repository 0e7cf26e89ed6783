"""A browser before a desktop's screen: what its page sends goes by the gate, what the desktop sends
comes as it is.

Text frames are JSON and lead up to the screen; binary ones are RFB.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import WSMsgType

from broker.core.bucket import Bucket
from broker.door.endings import Code, Ended
from broker.door.rfbgate import Gate, Violation
from broker.system.sshclient import BROKEN

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp import web
    from asyncssh import SSHReader, SSHWriter

    from broker.core.gateway import Right
    from broker.door.connections import Way

SOCKET = "/run/desk/vnc.sock"

#: Bytes that are read from a desktop at a time, and that it may send before they are.
_READ, WINDOW = 64 * 1024, 256 * 1024

#: Bytes of a viewer's that are looked at before others get their turn; and how many it may send at
#: once, and in a second from then on: a hand and a mouse make some thousand.
_SLICE, _BURST, _RATE = 16 * 1024, 4 << 20, 256 * 1024

#: Seconds for the desktop to open its screen, and for the page to say that it is ready too.
_OPEN, _PATIENCE = 10.0, 30.0

_UNREACHABLE = "The screen of the desktop does not answer."
_WENT_AWAY = "The screen of the desktop went away."
_BROKE = "The browser sent what no viewer sends; load the page anew."


class Screen:
    """One relay."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._go = asyncio.Event()
        """The page is ready,"""
        self._may_go = False
        """which it can be only once it was told that the desktop is."""
        self._gate: Gate
        self._up: SSHWriter[bytes]
        self._way: Way
        self._pace = Bucket(_BURST, _RATE, _now())

    async def tell(self, **what: object) -> None:
        """Something for the page, in JSON."""
        await self._socket.send_str(json.dumps(what))

    async def show(self, way: Way, rights: Collection[Right], ready: dict[str, object]) -> None:
        """The desktop's screen, until somebody ends it; `ready` is what the page is told of it.
        Raises `Ended`.
        """
        try:
            async with asyncio.timeout(_OPEN):
                down, self._up = await way.ssh.open_unix_connection(SOCKET, window=WINDOW)
        except BROKEN:
            raise Ended(Code.UNREACHABLE, _UNREACHABLE) from None
        self._way, self._gate = way, Gate(rights)
        try:
            self._may_go = True
            await self.tell(ready=ready)
            await self._wait_for_page()
            # Awaiting each frame is what holds the desktop back when the browser is slow.
            while data := await _read(down):
                await self._socket.send_bytes(data)
            raise Ended(Code.AGAIN, _WENT_AWAY)
        finally:
            self._up.close()

    async def _wait_for_page(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._go.wait()
        except TimeoutError:
            raise Ended(Code.VIOLATION, _BROKE) from None

    async def listen(self) -> None:
        """To the browser, from its first frame on, until it leaves. Raises `Ended` for what no page
        of Desk's sends, and `ConnectionError` when it left.
        """
        async for message in self._socket:
            match message.type:
                case WSMsgType.BINARY if self._go.is_set():
                    await self._send(message.data)
                case WSMsgType.TEXT if self._may_go and not self._go.is_set():
                    if not _is_go(message.data):
                        raise Ended(Code.VIOLATION, _BROKE)
                    self._go.set()
                case WSMsgType.ERROR:
                    break
                case _:
                    raise Ended(Code.VIOLATION, _BROKE)
        raise ConnectionResetError("the browser left")

    async def _send(self, data: bytes) -> None:
        for at in range(0, len(data), _SLICE):
            piece = data[at : at + _SLICE]
            await asyncio.sleep(self._pace.owe(len(piece), _now()))
            try:
                passed = self._gate.feed(piece)
            except Violation as violation:
                raise Ended(Code.VIOLATION, _BROKE) from violation
            if passed:
                await self._forward(passed)

    async def _forward(self, data: bytes) -> None:
        try:
            self._up.write(data)
            await self._up.drain()
        except BROKEN:
            return  # what comes down says so too
        await self._way.drained()


async def _read(down: SSHReader[bytes]) -> bytes:
    """Nothing at the end, be it orderly or not."""
    try:
        return await down.read(_READ)
    except BROKEN:
        return b""


def _is_go(text: str) -> bool:
    try:
        return bool(json.loads(text) == {"go": True})
    except (ValueError, RecursionError):
        return False


def _now() -> float:
    return asyncio.get_running_loop().time()

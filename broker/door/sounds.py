"""`/ws/desktops/ID/sound` and `/ws/guest/sound`: what a desktop plays, as plain samples.

They are signed 16-bit numbers, the low byte first, 48,000 a second and two channels, as a program in
the desktop records them for as long as somebody listens.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import asyncssh

from broker.core.gateway import Right
from broker.door import sockets
from broker.door.asking import Guard
from broker.door.endings import Code, Ended
from broker.door.occupants import Purpose
from broker.system.sshclient import BROKEN

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp import web

    from broker.core.gateway import Seat
    from broker.door.asking import Asker
    from broker.door.connections import Way
    from broker.door.rooms import Rooms

_ADDRESS = re.compile(r"/ws/(?:desktops/([A-Za-z0-9]{1,64})|guest)/sound")

_COMMAND = "exec parec --device=@DEFAULT_MONITOR@ --format=s16le --rate=48000 --channels=2 --latency-msec=20"

#: Bytes that are read at a time, and that may wait: a tenth of a second, and two.
_READ, _WINDOW = 19_200, 384_000

#: Seconds for the desktop to begin.
_OPEN = 10.0

#: Bytes of a frame of the browser's, of which none is wanted.
_FRAME = 1024

_SILENT = "This desktop has no sound."
_WENT_AWAY = "The sound of the desktop went away."
_NOT_YOU = "You may not hear this desktop."
_BROKE = "The browser sent what nobody who listens sends; load the page anew."


class Sounds:
    """All who listen by one door."""

    guard = Guard.EVERYTHING

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def answers(self, path: str) -> bool:
        return _ADDRESS.fullmatch(path) is not None

    async def answer(self, request: web.Request, asker: Asker) -> web.StreamResponse:
        async def play(socket: web.WebSocketResponse) -> None:
            await self._play(socket, request, asker)

        return await sockets.serve(request, play, frame=_FRAME)

    async def _play(
        self, socket: web.WebSocketResponse, request: web.Request, asker: Asker
    ) -> None:
        """Until it ends. Raises as `Screens` does. It wakes nothing: who listens sees the screen."""
        found = _ADDRESS.fullmatch(request.raw_path.partition("?")[0])
        assert found is not None
        async with self._rooms.enter(Purpose.SOUND) as occupant, asyncio.TaskGroup() as group:
            group.create_task(_hear_nothing(socket))

            def seat() -> Awaitable[Seat]:
                return self._rooms.seat(
                    occupant,
                    asker,
                    desktop_id=found[1],
                    look="look" in request.query,
                    wake=False,
                    progress=lambda _sentence: None,
                )

            async with self._rooms.inside(occupant, seat) as (place, _, way):
                if Right.SOUND not in place.rights:
                    raise Ended(Code.FORBIDDEN, _NOT_YOU)
                await _pump(way, socket)


async def _hear_nothing(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        raise Ended(Code.VIOLATION, _BROKE)
    raise ConnectionResetError("the browser left")


async def _pump(way: Way, socket: web.WebSocketResponse) -> None:
    """Whoever takes it too slowly is behind at the most by what may wait: then the program that
    records it drops what nobody took.
    """
    try:
        async with asyncio.timeout(_OPEN):
            process = await way.ssh.create_process(
                _COMMAND,
                encoding=None,
                stdin=asyncssh.DEVNULL,
                stderr=asyncssh.DEVNULL,
                window=_WINDOW,
            )
    except BROKEN:
        raise Ended(Code.AGAIN, _WENT_AWAY) from None
    played = False
    try:
        while samples := await _read(process.stdout):
            played = True
            await socket.send_bytes(samples)
    finally:
        process.close()
    if played:
        raise Ended(Code.AGAIN, _WENT_AWAY)
    raise Ended(Code.NOT_FOUND, _SILENT)


async def _read(output: asyncssh.SSHReader[bytes]) -> bytes:
    try:
        return await output.read(_READ)
    except BROKEN:
        return b""

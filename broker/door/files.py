"""`/files/ID`: what is in a desktop's home, to a browser and from one."""

from __future__ import annotations

import asyncio
import hmac
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from broker.core.errors import AccessDenied
from broker.core.gateway import Right
from broker.core.tokens import CSRF, csrf_of
from broker.core.useragent import browser_of
from broker.door.activity import Carried, Kind
from broker.door.answers import Refused, cut
from broker.door.asking import Guard
from broker.door.homes import PIECE, home
from broker.door.occupants import Purpose
from broker.door.paths import BadPath, attachment, of_address, of_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable

    from broker.core.gateway import Seat
    from broker.door.asking import Asker
    from broker.door.connections import Way
    from broker.door.rooms import Rooms
    from broker.door.websettings import WebSettings

_ADDRESS = re.compile(r"/files/([A-Za-z0-9]{1,64})(?:/(.+))?")

_METHODS = (hdrs.METH_GET, hdrs.METH_PUT)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What of which desktop."""

    desktop_id: str
    path: str
    """Relative to the home; empty for the home itself."""
    is_folder: bool


class Files:
    """Every transfer of one door."""

    guard = Guard.CHANGES

    def __init__(self, rooms: Rooms, settings: WebSettings) -> None:
        self._rooms = rooms
        self._most = settings.upload
        self._patience = settings.stall_timeout

    def answers(self, path: str) -> bool:
        return _ADDRESS.fullmatch(path) is not None

    async def answer(self, request: web.Request, asker: Asker) -> web.StreamResponse:
        asked = _asked(request)
        if request.method == hdrs.METH_PUT:
            self._may_put(request, asker, asked)
        async with self._rooms.enter(Purpose.FILES) as occupant:

            def seat() -> Awaitable[Seat]:
                return self._rooms.seat(
                    occupant, asker, desktop_id=asked.desktop_id, wake=True, progress=_untold
                )

            async with self._rooms.inside(occupant, seat) as (found, _, way):
                if Right.FILES not in found.rights:
                    raise AccessDenied("no files", public="You may not move files here.")
                load = _Load()
                client = browser_of(request.headers.get(hdrs.USER_AGENT))
                with self._rooms.attending(occupant, asker, client, load):
                    return await self._move(request, asked, way, load)

    def _may_put(self, request: web.Request, asker: Asker, asked: _Asked) -> None:
        """Before anything is started for it."""
        secret = asker.secrets.sign_in or ""
        if not hmac.compare_digest(
            request.headers.get(CSRF, "").encode(), csrf_of(secret).encode()
        ):
            raise Refused(
                403,
                f"What changes something shows {CSRF}: load the page anew.",
                code=AccessDenied.code,
            )
        if asked.is_folder:
            raise Refused(405, "A folder is to be read alone.", allow=(hdrs.METH_GET,))
        if (request.content_length or 0) > self._most:
            raise self._too_large()

    async def _move(
        self, request: web.Request, asked: _Asked, way: Way, load: _Load
    ) -> web.StreamResponse:
        if asked.is_folder:
            async with home(way) as files:
                entries = await files.entries(asked.path)
            return web.json_response({"path": asked.path, "entries": entries})
        if request.method == hdrs.METH_GET:
            return await _send(request, asked.path, way, load)
        try:
            async with home(way) as files:
                await files.put(asked.path, self._body(request, load))
        except Refused:
            await self._swallow(request)
            raise
        return web.Response(status=201)

    async def _swallow(self, request: web.Request) -> None:
        """What is left of a body: a browser that is still sending hears no answer."""
        left = self._most
        with suppress(TimeoutError, web.RequestPayloadError):
            while left > 0:
                async with asyncio.timeout(self._patience):
                    piece = await request.content.readany()
                if not piece:
                    return
                left -= len(piece)

    async def _body(self, request: web.Request, load: _Load) -> AsyncIterator[bytes]:
        """Whoever sends nothing for a while is not waited for."""
        came = 0
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    piece = await _piece(request)
            except TimeoutError:
                raise Refused(408, "The file did not come in time.") from None
            except web.RequestPayloadError:
                raise Refused(400, "The file cannot be read.") from None
            if not piece:
                return
            came += len(piece)
            load.up += len(piece)
            if came > self._most:
                raise self._too_large()
            yield piece

    def _too_large(self) -> Refused:
        return Refused(413, f"A file may have {self._most} bytes at most.")


async def _piece(request: web.Request) -> bytes:
    """So much at once, or what is left: each is a way to the desktop and back."""
    piece = bytearray()
    while len(piece) < PIECE and not request.content.at_eof():
        piece += await request.content.readany()
    return bytes(piece)


async def _send(request: web.Request, path: str, way: Way, load: _Load) -> web.StreamResponse:
    async with home(way) as files, files.opened(path) as (size, pieces):
        answer = web.StreamResponse(
            headers={
                hdrs.CONTENT_DISPOSITION: attachment(path.rpartition("/")[2]),
                hdrs.CONTENT_TYPE: "application/octet-stream",
                hdrs.CONTENT_LENGTH: str(size),
            }
        )
        await answer.prepare(request)
        try:
            await _stream(answer, pieces, size, load)
        except BaseException:
            # It has begun, so there is no other answer any more.
            cut(request.transport)
            raise
        return answer


async def _stream(
    answer: web.StreamResponse, pieces: AsyncIterator[bytes], size: int, load: _Load
) -> None:
    async for piece in pieces:
        await answer.write(piece)
        load.down += len(piece)
        size -= len(piece)
    if size:
        raise ConnectionResetError("the file became shorter")
    await answer.write_eof()


def _asked(request: web.Request) -> _Asked:
    """Raises `Refused`."""
    if request.method not in _METHODS:
        raise Refused(405, "Files are read, and put.", allow=_METHODS)
    address, _, query = request.raw_path.partition("?")
    found = _ADDRESS.fullmatch(address)
    assert found is not None
    try:
        if found[2] is not None:
            return _Asked(found[1], of_address(found[2]), is_folder=False)
        return _Asked(found[1], of_query(_value(query, "path")), is_folder=True)
    except BadPath as problem:
        raise Refused(400, str(problem)) from None


def _value(query: str, name: str) -> str:
    """The first of that name, as it came."""
    pairs = (pair.partition("=") for pair in query.split("&"))
    return next((value for key, _, value in pairs if key == name), "")


def _untold(_sentence: str) -> None:
    """A request waits, and hears nothing before its answer."""


class _Load:
    """What one transfer moved."""

    def __init__(self) -> None:
        self.up = self.down = 0

    def look(self) -> Iterable[Carried]:
        up, down, self.up, self.down = self.up, self.down, 0, 0
        return (Carried(Kind.SFTP, pty=False, up=up + down, down=down),)

    def kinds(self) -> tuple[str, ...]:
        return ("browser",)

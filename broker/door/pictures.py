"""`/pictures/ID`: a small picture of a desktop that runs, for whoever has it. It starts nothing."""

from __future__ import annotations

import asyncio
import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web
from PIL import Image

from broker.door import screen
from broker.door.answers import Refused
from broker.door.asking import Guard
from broker.door.connections import Unreachable
from broker.door.occupants import Purpose
from broker.door.rfb import NoPicture, picture
from broker.system.sshclient import BROKEN
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.gateway import Route
    from broker.door.asking import Asker
    from broker.door.connections import Way
    from broker.door.rfb import Picture
    from broker.door.rooms import Rooms

log = structlog.get_logger()

_ADDRESS = re.compile(r"/pictures/([A-Za-z0-9]{1,64})")

#: Seconds that taking one may last, and for which it is good.
WITHIN, GOOD = 3.0, 10.0

#: Taken at a time, over all desktops: each needs 32 MiB while it lasts.
_AT_ONCE = 2

#: The box that it fits in, and how good a JPEG it is.
_BOX, _QUALITY = (320, 320), 70

# A door may not read files later, and its writers are files.
Image.preinit()


@dataclass(frozen=True, slots=True)
class _Taken:
    picture: asyncio.Task[bytes | None]
    """None: there is none."""
    at: float


class Pictures:
    """Those of one door, each taken once for all who ask meanwhile."""

    guard = Guard.CHANGES

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._taken: dict[str, _Taken] = {}
        """By session."""
        self._tasks = Tasks()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._threads = ThreadPoolExecutor(1, "pictures")

    async def live(self, _app: web.Application) -> AsyncIterator[None]:
        """Be ready for as long as the application is."""
        yield
        await self._tasks.close()
        self._threads.shutdown(cancel_futures=True)

    def answers(self, path: str) -> bool:
        return _ADDRESS.fullmatch(path) is not None

    async def answer(self, request: web.Request, asker: Asker) -> web.StreamResponse:
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            raise Refused(405, "This is to be read alone.", allow=("GET", "HEAD"))
        found = _ADDRESS.fullmatch(request.raw_path.partition("?")[0])
        assert found is not None
        async with self._rooms.enter(Purpose.PICTURE) as occupant:
            seat = await self._rooms.seat(
                occupant, asker, desktop_id=found[1], wake=False, progress=lambda _sentence: None
            )
            jpeg = None if seat.route is None else await self._of(seat.route)
        if jpeg is None:
            return web.Response(status=204)
        return web.Response(body=jpeg, content_type="image/jpeg")

    async def _of(self, route: Route) -> bytes | None:
        """The session's, new or still good."""
        now = asyncio.get_running_loop().time()
        taken = self._taken.get(route.session_id)
        if taken is None or now - taken.at >= GOOD:
            for old in [key for key, one in self._taken.items() if now - one.at >= GOOD]:
                del self._taken[old]
            taken = _Taken(self._tasks.start(self._take(route), name="picture"), now)
            self._taken[route.session_id] = taken
        return await asyncio.shield(taken.picture)

    async def _take(self, route: Route) -> bytes | None:
        async with self._places:
            try:
                async with asyncio.timeout(WITHIN), self._rooms.way(route, WITHIN) as way:
                    seen = await _look(way)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, small, seen)
            except (NoPicture, Unreachable, *BROKEN) as error:
                log.debug("no picture", session=route.session_id, problem=str(error))
                return None


async def _look(way: Way) -> Picture:
    down, up = await way.ssh.open_unix_connection(screen.SOCKET, window=screen.WINDOW)
    try:
        return await picture(down, up)
    finally:
        up.close()


def small(seen: Picture) -> bytes:
    """A JPEG that fits in the box."""
    size = (seen.width, seen.height)
    image = Image.frombuffer("RGB", size, seen.pixels, "raw", "BGR;16", 0, 1)
    image.thumbnail(_BOX, Image.Resampling.BILINEAR, reducing_gap=2.0)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()

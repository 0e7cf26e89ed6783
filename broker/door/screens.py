"""`/ws/desktops/ID/screen` and `/ws/guest/screen`: desktops in browsers."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from aiohttp import hdrs

from broker.core.gateway import Allowance, Right
from broker.core.useragent import browser_of
from broker.door import sockets
from broker.door.asking import Guard
from broker.door.clipboard import copied
from broker.door.occupants import GUEST, Purpose
from broker.door.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp import web

    from broker.core.gateway import Route, Seat
    from broker.door.activity import Carried
    from broker.door.asking import Asker
    from broker.door.occupants import Occupant
    from broker.door.rooms import Rooms

_ADDRESS = re.compile(r"/ws/(?:desktops/([A-Za-z0-9]{1,64})|guest)/screen")

#: Bytes of one frame of a browser's.
_FRAME = 4 << 20

#: What somebody who only looks at their own desktop gives up.
_HANDS = {Right.CONTROL, Right.RESIZE, Right.CLIPBOARD_IN}


class Screens:
    """Every relay of one door."""

    guard = Guard.EVERYTHING

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def answers(self, path: str) -> bool:
        return _ADDRESS.fullmatch(path) is not None

    async def answer(self, request: web.Request, asker: Asker) -> web.StreamResponse:
        async def relay(socket: web.WebSocketResponse) -> None:
            await self._relay(socket, request, asker)

        return await sockets.serve(request, relay, frame=_FRAME)

    async def _relay(
        self, socket: web.WebSocketResponse, request: web.Request, asker: Asker
    ) -> None:
        """One, until it ends. Raises `Ended`, `DeskError`, `ConnectionError`, some in groups."""
        screen = Screen(socket)
        async with self._rooms.enter(Purpose.SCREEN) as occupant, asyncio.TaskGroup() as group:
            group.create_task(screen.listen())

            def progress(sentence: str) -> None:
                group.create_task(screen.tell(progress=sentence))

            def seat() -> Awaitable[Seat]:
                return self._rooms.seat(
                    occupant,
                    asker,
                    desktop_id=_desktop_of(request),
                    look="look" in request.query,
                    wake=True,
                    progress=progress,
                )

            await self._show(screen, occupant, seat, request, asker)

    async def _show(
        self,
        screen: Screen,
        occupant: Occupant,
        seat: Callable[[], Awaitable[Seat]],
        request: web.Request,
        asker: Asker,
    ) -> None:
        async with self._rooms.inside(occupant, seat) as (found, route, way):
            rights = set(found.rights) - (_HANDS if "view" in request.query else set())
            kind = _Kind(GUEST if found.identity.method == GUEST else "browser")
            browser = browser_of(request.headers.get(hdrs.USER_AGENT))
            told = {
                **_told(found, route, looks="look" in request.query),
                "rights": sorted(rights),
                "clipboard": await copied(way, route.display)
                if Right.CLIPBOARD_OUT in rights
                else None,
            }
            with self._rooms.attending(occupant, asker, browser, kind):
                try:
                    await screen.show(way, rights, told)
                finally:
                    if way.over and not occupant.is_ended:
                        await self._rooms.lost(route.session_id)


class _Kind:
    """What carries a viewer: no bytes of it are activity, for the X server knows the hands."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def look(self) -> Iterable[Carried]:
        return ()

    def kinds(self) -> tuple[str, ...]:
        return (self._kind,)


def _desktop_of(request: web.Request) -> str | None:
    """None: the one that is shown to a guest."""
    found = _ADDRESS.fullmatch(request.raw_path.partition("?")[0])
    assert found is not None
    return found[1]


def _told(seat: Seat, route: Route, *, looks: bool) -> dict[str, object]:
    """What the page may know of the desktop: a guest's learns neither its name nor its session."""
    if seat.identity.method == GUEST:
        return {"desktop": "", "session": None, "share": False}
    return {
        "desktop": seat.desktop,
        "session": route.session_id,
        "share": not looks and Allowance.SHARE in seat.identity.allowed,
    }

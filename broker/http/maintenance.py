"""Maintenance: nothing starts any more, everybody is told, and who runs an image of before."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from broker.core import errors
from broker.core.tokens import Scope
from broker.http.calls import PAGING, page, read
from broker.http.kinds import Time, time, time_or_none
from broker.http.owners import Owners
from broker.http.routes import Noun, Page, Route, caller_of
from broker.service.maintenance import LONGEST

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.model import Drain
    from broker.service.maintenance import Outdated
    from broker.service.services import Services


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewDrain(_In):
    """Body of `PUT /api/v1/maintenance`."""

    at: AwareDatetime | None = None
    """When it is planned for; in ISO 8601 with its offset."""
    message: str = Field(default="", max_length=LONGEST)
    """What people are told beside."""


class NewBroadcast(_In):
    """Body of `POST /api/v1/broadcast`."""

    text: str = Field(min_length=1, max_length=LONGEST)


class MaintenanceOut(TypedDict):
    """Whether desktops start, and what is under way still."""

    draining: bool
    since: Time | None
    by: str | None
    at: Time | None
    message: str | None
    starting: int
    """Starts that are under way or wait; none begins while it drains."""
    live: int
    """Sessions that live."""


class ToldOut(TypedDict):
    """How many desktops showed it."""

    told: int
    missed: int


class DrainOut(MaintenanceOut, ToldOut):
    """What stands now, and who was told."""


class OutdatedOut(TypedDict):
    """A session that runs another image than its next start takes."""

    desktop: str
    user: str
    name: str
    session: str
    state: str
    since: Time
    image: str
    next_image: str


class MaintenanceRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._maintenance = services.maintenance
        self._starts = services.starts

    async def show(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(await self._out(await self._maintenance.standing()))

    async def drain(self, request: web.Request) -> web.Response:
        body = await read(request, NewDrain)
        drain, told = await self._maintenance.drain(
            at=None if body.at is None else body.at.astimezone(UTC),
            message=body.message,
            actor=caller_of(request).actor,
        )
        answer: DrainOut = {**await self._out(drain), "told": told.told, "missed": told.missed}
        return web.json_response(answer)

    async def resume(self, request: web.Request) -> web.Response:
        await self._maintenance.resume(actor=caller_of(request).actor)
        return web.Response(status=204)

    async def broadcast(self, request: web.Request) -> web.Response:
        body = await read(request, NewBroadcast)
        told = await self._maintenance.broadcast(body.text, actor=caller_of(request).actor)
        answer: ToldOut = {"told": told.told, "missed": told.missed}
        return web.json_response(answer)

    async def outdated(self, request: web.Request) -> web.Response:
        desktops = {desktop.id: desktop for desktop in await self._store.desktops(removed=True)}
        owners = Owners(self._store)

        async def out(found: Outdated) -> OutdatedOut:
            session = found.session
            desktop = desktops[session.desktop_id]
            return {
                "desktop": desktop.id,
                "user": await owners.of(desktop),
                "name": desktop.name,
                "session": session.id,
                "state": session.state.value,
                "since": time(session.created_at),
                "image": session.image,
                "next_image": found.image,
            }

        return await page(
            request,
            await self._maintenance.outdated(),
            key=lambda found: (time(found.session.created_at), found.session.id),
            out=out,
        )

    async def _out(self, drain: Drain | None) -> MaintenanceOut:
        return {
            "draining": drain is not None,
            "since": None if drain is None else time(drain.since),
            "by": None if drain is None else drain.made_by,
            "at": None if drain is None else time_or_none(drain.at),
            "message": None if drain is None else drain.message or None,
            "starting": self._starts.waiting + self._starts.under_way,
            "live": len(await self._store.live_sessions()),
        }


MAINTENANCE = Noun(
    name="maintenance",
    summary="Before a host is worked on: nothing starts, everybody is told, who runs an old image.",
    routes=(
        Route(
            method="GET",
            path="/maintenance",
            handler=MaintenanceRoutes.show,
            name="show_maintenance",
            summary="Tell whether desktops start, and what is under way still.",
            needs=Scope.READ,
            whose=None,
            answers={200: MaintenanceOut},
        ),
        Route(
            method="PUT",
            path="/maintenance",
            handler=MaintenanceRoutes.drain,
            name="drain",
            summary="Start nothing from now on, and tell everybody so; what runs goes on.",
            needs=Scope.ADMIN,
            whose=None,
            body=NewDrain,
            answers={200: DrainOut},
        ),
        Route(
            method="DELETE",
            path="/maintenance",
            handler=MaintenanceRoutes.resume,
            name="resume",
            summary="Start desktops again.",
            needs=Scope.ADMIN,
            whose=None,
            answers={204: None},
        ),
        Route(
            method="POST",
            path="/broadcast",
            handler=MaintenanceRoutes.broadcast,
            name="broadcast",
            summary="Show a sentence in every desktop that runs, and on every terminal inside.",
            needs=Scope.ADMIN,
            whose=None,
            body=NewBroadcast,
            answers={200: ToldOut},
        ),
        Route(
            method="GET",
            path="/maintenance/outdated",
            handler=MaintenanceRoutes.outdated,
            name="list_outdated",
            summary="List sessions whose next start takes another image, the oldest first.",
            needs=Scope.READ,
            whose=None,
            query=PAGING,
            answers={200: Page(OutdatedOut)},
            refuses=(errors.EngineUnavailable, errors.ImageMissing),
        ),
    ),
)

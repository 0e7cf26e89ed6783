"""Showing desktops to guests, by their owners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from broker.core import errors
from broker.core.model import DesktopId
from broker.core.shares import GuestState, Mode
from broker.core.tokens import Scope
from broker.http.calls import PAGING, page, read
from broker.http.kinds import Time, time
from broker.http.owners import Owners
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route, caller_of
from broker.http.whose import SHARE, SHARED_BY_OWNER, SHARER, no_desktop
from broker.service.validity import period

if TYPE_CHECKING:
    from broker.core.gateway import Allowance
    from broker.core.interfaces import Store
    from broker.core.model import Desktop
    from broker.core.shares import Guest, Share
    from broker.core.tokens import Caller
    from broker.service.services import Services


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewShare(_In):
    """Body of `POST /desktops/{id}/shares`."""

    mode: Mode = Mode.LOOK
    """`ro`, to look, or `rw`, to take part."""
    valid: str | None = Field(default=None, max_length=64)
    """For how long it is good: `30m`, which is so when it is not said."""


class GuestOut(TypedDict):
    """Somebody who came by a share's link."""

    id: str
    name: str
    """As they call themselves."""
    address: str
    state: GuestState
    since: Time


class ShareOut(TypedDict):
    """An owner's permission to see a desktop."""

    id: str
    user: str
    desktop: str
    desktop_id: str
    mode: Mode
    made_at: Time
    expires_at: Time
    guests: list[GuestOut]


class MadeShareOut(ShareOut):
    """With its link, which is told once."""

    link: str


class ShareRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._shares = services.shares
        self._guests = services.guests
        self._policies = services.policies

    async def list(self, request: web.Request) -> web.Response:
        """The newest first; those that are over are none any more."""
        only = caller_of(request).only
        desktops = {desktop.id: desktop for desktop in await self._store.desktops(user_id=only)}
        owners = Owners(self._store)
        rows = [
            (share, desktop, await owners.of(desktop))
            for share in await self._shares.all(user_id=only)
            if (desktop := desktops.get(share.desktop_id)) is not None
        ]

        async def out(row: tuple[Share, Desktop, str]) -> ShareOut:
            return _share(*row)

        return await page(
            request,
            rows,
            key=lambda row: (-row[0].made_at.timestamp(), row[0].id),
            out=out,
            where={"desktop": lambda row: row[1].id, "user": lambda row: row[2]},
        )

    async def make(self, request: web.Request) -> web.Response:
        body = await read(request, NewShare)
        desktop = await self._store.desktop(DesktopId(request.match_info["id"]))
        if desktop is None:
            raise no_desktop(request)
        caller = caller_of(request)
        share, link = await self._shares.make(
            desktop,
            mode=body.mode,
            valid=period(body.valid),
            allowed=await self._allowed(caller, desktop),
            actor=caller.actor,
        )
        owner = await Owners(self._store).of(desktop)
        told: MadeShareOut = {**_share(share, desktop, owner), "link": link}
        return web.json_response(told, status=201)

    async def _allowed(self, caller: Caller, desktop: Desktop) -> tuple[Allowance, ...]:
        policy = (await self._policies.of(desktop.user_id)).policy
        allowed = tuple(policy.allowed)
        return allowed if caller.sign_in is None else caller.sign_in.proven.allows(allowed)

    async def end(self, request: web.Request) -> web.Response:
        """One that is over is success."""
        await self._shares.end(request.match_info["id"], actor=caller_of(request).actor)
        return web.Response(status=204)

    async def let_in(self, request: web.Request) -> web.Response:
        guest = await self._named(request)
        return _told(await self._guests.let_in(guest, actor=caller_of(request).actor))

    async def refuse(self, request: web.Request) -> web.Response:
        guest = await self._named(request)
        return _told(await self._guests.refuse(guest, actor=caller_of(request).actor))

    async def send_away(self, request: web.Request) -> web.Response:
        guest = await self._named(request)
        return _told(await self._guests.end(guest, actor=caller_of(request).actor))

    async def _named(self, request: web.Request) -> Guest:
        """That of the path, of its share alone. Raises `NotFound`."""
        guest, share = await self._guests.guest(request.match_info["guest"])
        if share.id != request.match_info["id"]:
            raise errors.NotFound(public="There is no such guest.")
        return guest


def _told(guest: Guest) -> web.Response:
    return web.json_response(_guest(guest))


def _share(share: Share, desktop: Desktop, owner: str) -> ShareOut:
    return {
        "id": share.id,
        "user": owner,
        "desktop": desktop.name,
        "desktop_id": desktop.id,
        "mode": share.mode,
        "made_at": time(share.made_at),
        "expires_at": time(share.expires_at),
        "guests": [_guest(guest) for guest in share.guests],
    }


def _guest(guest: Guest) -> GuestOut:
    return {
        "id": guest.id,
        "name": guest.name,
        "address": guest.address,
        "state": guest.state,
        "since": time(guest.since),
    }


SHARES = Noun(
    name="shares",
    summary="Showing desktops to guests, who come by a link and are let in one by one.",
    routes=(
        Route(
            method="GET",
            path="/shares",
            handler=ShareRoutes.list,
            name="list_shares",
            summary="List shares that are open, with all who came by them, the newest first.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(
                *PAGING,
                Query(name="desktop", summary="Those of the desktop of that id."),
                Query(name="user", summary="Those of that user."),
            ),
            answers={200: Page(ShareOut)},
        ),
        Route(
            method="POST",
            path="/desktops/{id}/shares",
            handler=ShareRoutes.make,
            name="make_share",
            summary="Make a link by which others can ask to see a desktop; for its owner alone.",
            needs=Scope.SESSIONS,
            whose=SHARER,
            body=NewShare,
            answers={201: MadeShareOut},
            refuses=(errors.Conflict,),
            secret=True,
        ),
        Route(
            method="DELETE",
            path="/shares/{id}",
            handler=ShareRoutes.end,
            name="end_share",
            summary="End a share; its guests are gone within a second; one that is over is success.",
            needs=Scope.SESSIONS,
            whose=SHARE,
            answers={204: None},
        ),
        Route(
            method="POST",
            path="/shares/{id}/guests/{guest}/let-in",
            handler=ShareRoutes.let_in,
            name="let_in_guest",
            summary="Let in a guest who asks; for the desktop's owner alone.",
            needs=Scope.SESSIONS,
            whose=SHARED_BY_OWNER,
            answers={200: GuestOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="POST",
            path="/shares/{id}/guests/{guest}/refuse",
            handler=ShareRoutes.refuse,
            name="refuse_guest",
            summary="Do not let in a guest who asks.",
            needs=Scope.SESSIONS,
            whose=SHARE,
            answers={200: GuestOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="POST",
            path="/shares/{id}/guests/{guest}/end",
            handler=ShareRoutes.send_away,
            name="send_guest_away",
            summary="Send away a guest who is in or asks.",
            needs=Scope.SESSIONS,
            whose=SHARE,
            answers={200: GuestOut},
            refuses=(errors.Conflict,),
        ),
    ),
)

"""Desktops: what users own and keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from broker.core import errors
from broker.core.model import DesktopId, desktop_name, shown
from broker.core.tokens import Scope
from broker.http import models
from broker.http.calls import PAGING, page, read
from broker.http.owners import Owners
from broker.http.routes import BY_HANDLER, PREFIX, Noun, Page, Query, Route, asked, caller_of
from broker.http.whose import DESKTOP, no_desktop

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.model import Desktop, Session, User
    from broker.service.services import Services


@dataclass(frozen=True, slots=True)
class _Row:
    desktop: Desktop
    owner: str
    session: Session | None


class DesktopRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._accounts = services.accounts

    async def list(self, request: web.Request) -> web.Response:
        """By owner and name."""
        desktops = await self._store.desktops(
            user_id=caller_of(request).only, removed=asked(request, "all") is not None
        )
        live = {session.desktop_id: session for session in await self._store.live_sessions()}
        owners = Owners(self._store)
        rows = [_Row(one, await owners.of(one), live.get(one.id)) for one in desktops]
        return await page(
            request,
            rows,
            key=lambda row: (row.owner, row.desktop.name, row.desktop.id),
            out=_out,
            where={
                "user": lambda row: row.owner,
                "name": lambda row: row.desktop.name,
                "state": lambda row: models.state_of(row.desktop, row.session),
            },
        )

    async def show(self, request: web.Request) -> web.Response:
        """A removed one too, whose home is kept."""
        desktop = await self._store.desktop(DesktopId(request.match_info["id"]))
        if desktop is None:
            raise no_desktop(request)
        return await self._answer(desktop)

    async def add(self, request: web.Request) -> web.Response:
        """A removed one of the name comes back, with its home."""
        body = await read(request, models.NewDesktop)
        user = await self._whose(request, body.user)
        if await self._store.desktop_of(user.id, desktop_name(body.name)) is not None:
            raise errors.Conflict(public=f"{user.name} has a desktop {body.name} already.")
        desktop = await self._accounts.desktop_for(user, body.name, actor=caller_of(request).actor)
        return await self._answer(desktop, status=201)

    async def _whose(self, request: web.Request, name: str | None) -> User:
        caller = caller_of(request)
        if name is not None:
            user = await self._store.user(name)
        elif caller.user_id is not None:
            user = await self._store.user_by_id(caller.user_id)
        else:
            raise errors.BadRequest(public="user: say whose the desktop is.")
        if user is None or caller.only not in {None, user.id}:
            raise errors.NotFound(public=f"There is no user {shown(name or '')}.")
        return user

    async def _answer(self, desktop: Desktop, *, status: int = 200) -> web.Response:
        session = await self._store.live_session(desktop.id)
        told = models.desktop_out(desktop, await Owners(self._store).of(desktop), session)
        headers = {"Location": f"{PREFIX}/desktops/{desktop.id}"} if status == 201 else None
        return web.json_response(told, status=status, headers=headers)

    async def remove(self, request: web.Request) -> web.Response:
        """`with_home` must name the desktop's id once more: a home is gone for good."""
        desktop_id, again = request.match_info["id"], asked(request, "with_home")
        if again not in {None, desktop_id}:
            raise errors.BadRequest(
                public="with_home deletes the home for good, so it must repeat the desktop's id."
            )
        await self._accounts.remove_desktop(
            desktop_id, with_home=again is not None, actor=caller_of(request).actor
        )
        return web.Response(status=204)


async def _out(row: _Row) -> models.DesktopOut:
    return models.desktop_out(row.desktop, row.owner, row.session)


DESKTOPS = Noun(
    name="desktops",
    summary="What users own and keep: a home, a template, a name.",
    routes=(
        Route(
            method="GET",
            path="/desktops",
            handler=DesktopRoutes.list,
            name="list_desktops",
            summary="List desktops, by owner and name.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(
                *PAGING,
                Query(
                    name="all", summary="Removed ones too, whose homes are kept.", choices=("1",)
                ),
                Query(name="user", summary="Those of that user."),
                Query(name="name", summary="Those of that name."),
                Query(name="state", summary="Those that are so.", choices=models.DESKTOP_STATES),
            ),
            answers={200: Page(models.DesktopOut)},
        ),
        Route(
            method="POST",
            path="/desktops",
            handler=DesktopRoutes.add,
            name="add_desktop",
            summary="Make a desktop; nothing is started. A removed one of the name comes back, with its home.",
            needs=Scope.SESSIONS,
            whose=BY_HANDLER,
            body=models.NewDesktop,
            answers={201: models.DesktopOut},
        ),
        Route(
            method="GET",
            path="/desktops/{id}",
            handler=DesktopRoutes.show,
            name="get_desktop",
            summary="Show a desktop.",
            needs=Scope.READ,
            whose=DESKTOP,
            answers={200: models.DesktopOut},
        ),
        Route(
            method="DELETE",
            path="/desktops/{id}",
            handler=DesktopRoutes.remove,
            name="remove_desktop",
            summary="Stop a desktop and take it away; its home stays unless its id is said once more.",
            needs=Scope.SESSIONS,
            whose=DESKTOP,
            query=(
                Query(name="with_home", summary="The id again: the home is deleted for good, too."),
            ),
            answers={204: None},
            refuses=(
                errors.Conflict,
                errors.EngineUnavailable,
            ),
        ),
    ),
)

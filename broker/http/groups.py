"""Groups, what they say, and who is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.core import errors
from broker.core.tokens import Scope
from broker.http import people
from broker.http.calls import PAGING, page, read
from broker.http.routes import Noun, Page, Query, Route, caller_of

if TYPE_CHECKING:
    from broker.core.model import Group
    from broker.service.services import Services


class GroupRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, services: Services) -> None:
        self._accounts = services.accounts
        self._groups = services.groups

    async def list(self, request: web.Request) -> web.Response:
        return await page(
            request,
            await self._groups.all(),
            key=lambda group: (-group.priority, group.name),
            out=self._out,
            where={"name": lambda group: group.name},
        )

    async def add(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewGroup)
        group = await self._groups.add(
            body.name, priority=body.priority, policy=body.policy, actor=caller_of(request).actor
        )
        return web.json_response(people.group_out(group, []), status=201)

    async def show(self, request: web.Request) -> web.Response:
        group = await self._groups.get(request.match_info["name"])
        return web.json_response(await self._out(group))

    async def change(self, request: web.Request) -> web.Response:
        body = await read(request, people.GroupChange)
        group = await self._groups.change(
            request.match_info["name"],
            priority=body.priority,
            policy=body.policy,
            actor=caller_of(request).actor,
        )
        return web.json_response(await self._out(group))

    async def remove(self, request: web.Request) -> web.Response:
        await self._groups.remove(request.match_info["name"], actor=caller_of(request).actor)
        return web.Response(status=204)

    async def join(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["user"])
        await self._groups.join(user, request.match_info["name"], actor=caller_of(request).actor)
        return web.Response(status=204)

    async def leave(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["user"])
        await self._groups.leave(user, request.match_info["name"], actor=caller_of(request).actor)
        return web.Response(status=204)

    async def _out(self, group: Group) -> people.GroupOut:
        return people.group_out(group, await self._groups.members(group.name))


GROUPS = Noun(
    name="groups",
    summary="Groups of users, what they say instead of the configuration, and who is in them.",
    routes=(
        Route(
            method="GET",
            path="/groups",
            handler=GroupRoutes.list,
            name="list_groups",
            summary="List groups, the highest priority first.",
            needs=Scope.READ,
            whose=None,
            query=(*PAGING, Query(name="name", summary="The one of that name.")),
            answers={200: Page(people.GroupOut)},
        ),
        Route(
            method="POST",
            path="/groups",
            handler=GroupRoutes.add,
            name="add_group",
            summary="Make a group.",
            needs=Scope.ADMIN,
            whose=None,
            body=people.NewGroup,
            answers={201: people.GroupOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="GET",
            path="/groups/{name}",
            handler=GroupRoutes.show,
            name="get_group",
            summary="Show a group.",
            needs=Scope.READ,
            whose=None,
            answers={200: people.GroupOut},
        ),
        Route(
            method="PATCH",
            path="/groups/{name}",
            handler=GroupRoutes.change,
            name="change_group",
            summary="Change what a group says; null: nothing any more.",
            needs=Scope.ADMIN,
            whose=None,
            body=people.GroupChange,
            answers={200: people.GroupOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="DELETE",
            path="/groups/{name}",
            handler=GroupRoutes.remove,
            name="remove_group",
            summary="Take a group away; its members stay users.",
            needs=Scope.ADMIN,
            whose=None,
            answers={204: None},
        ),
        Route(
            method="PUT",
            path="/groups/{name}/members/{user}",
            handler=GroupRoutes.join,
            name="join_group",
            summary="Put a user into a group.",
            needs=Scope.ADMIN,
            whose=None,
            answers={204: None},
        ),
        Route(
            method="DELETE",
            path="/groups/{name}/members/{user}",
            handler=GroupRoutes.leave,
            name="leave_group",
            summary="Take a user out of a group.",
            needs=Scope.ADMIN,
            whose=None,
            answers={204: None},
        ),
    ),
)

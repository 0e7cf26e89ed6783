"""Groups, what they say, and who is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.http import people
from broker.http.calls import ACTOR, items, read

if TYPE_CHECKING:
    from broker.core.model import Group
    from broker.http.models import Json
    from broker.service.services import Services


class GroupRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, services: Services) -> None:
        self._accounts = services.accounts
        self._groups = services.groups

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/groups", self.list),
            web.post("/groups", self.add),
            web.get("/groups/{name}", self.show),
            web.patch("/groups/{name}", self.change),
            web.delete("/groups/{name}", self.remove),
            web.put("/groups/{name}/members/{user}", self.join),
            web.delete("/groups/{name}/members/{user}", self.leave),
        ]

    async def list(self, _request: web.Request) -> web.Response:
        return items([await self._out(group) for group in await self._groups.all()])

    async def add(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewGroup)
        group = await self._groups.add(
            body.name, priority=body.priority, policy=body.policy, actor=request[ACTOR]
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
            actor=request[ACTOR],
        )
        return web.json_response(await self._out(group))

    async def remove(self, request: web.Request) -> web.Response:
        await self._groups.remove(request.match_info["name"], actor=request[ACTOR])
        return web.Response(status=204)

    async def join(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["user"])
        await self._groups.join(user, request.match_info["name"], actor=request[ACTOR])
        return web.Response(status=204)

    async def leave(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["user"])
        await self._groups.leave(user, request.match_info["name"], actor=request[ACTOR])
        return web.Response(status=204)

    async def _out(self, group: Group) -> Json:
        return people.group_out(group, await self._groups.members(group.name))

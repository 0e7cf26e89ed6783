"""Accounts: made, listed, disabled, removed, recovered; and what holds for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.core.policy import flat, written
from broker.http import people
from broker.http.calls import ACTOR, items, read

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.model import User
    from broker.http.models import Json
    from broker.service.services import Services


class UserRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._accounts = services.accounts
        self._policies = services.policies

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/users", self.list),
            web.post("/users", self.add),
            web.delete("/users/{name}", self.remove),
            web.post("/users/{name}/enable", self.enable),
            web.post("/users/{name}/disable", self.disable),
            web.get("/users/{name}/policy", self.policy),
        ]

    async def list(self, _request: web.Request) -> web.Response:
        return items([await self._out(user) for user in await self._store.users()])

    async def add(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewUser)
        user = await self._accounts.add_user(
            body.name,
            admin=body.admin,
            keys=body.keys,
            source=body.source,
            actor=request[ACTOR],
        )
        return web.json_response(people.user_out(user, len(body.keys)), status=201)

    async def remove(self, request: web.Request) -> web.Response:
        await self._accounts.remove_user(request.match_info["name"], actor=request[ACTOR])
        return web.Response(status=204)

    async def enable(self, request: web.Request) -> web.Response:
        return await self._set_enabled(request, enabled=True)

    async def disable(self, request: web.Request) -> web.Response:
        return await self._set_enabled(request, enabled=False)

    async def _set_enabled(self, request: web.Request, *, enabled: bool) -> web.Response:
        """As it is already is success."""
        name = request.match_info["name"]
        await self._accounts.set_enabled(name, enabled=enabled, actor=request[ACTOR])
        return web.json_response(await self._out(await self._accounts.user(name)))

    async def policy(self, request: web.Request) -> web.Response:
        """What holds for the user, each value in words and who says so."""
        user = await self._accounts.user(request.match_info["name"])
        found = await self._policies.of(user.id)
        return items(
            [
                {"key": key, "value": written(key, value), "from": found.origins[key]}
                for key, value in flat(found.policy).items()
            ]
        )

    async def _out(self, user: User) -> Json:
        return people.user_out(user, len(await self._store.keys(user.id)))

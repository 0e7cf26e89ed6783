"""What proves a user, keys, password, one-time codes, and who has to wait after wrong tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.http import people
from broker.http.calls import ACTOR, items, read

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.service.services import Services


class LoginRoutes:
    """Every handler raises `DeskError`. No answer, log line or error has a password in it."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._accounts = services.accounts
        self._codes = services.codes
        self._blocks = services.blocks

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/users/{name}/keys", self.list_keys),
            web.post("/users/{name}/keys", self.add_key),
            web.patch("/users/{name}/keys/{key:.+}", self.rename_key),
            web.delete("/users/{name}/keys/{key:.+}", self.remove_key),
            web.put("/users/{name}/password", self.set_password),
            web.delete("/users/{name}/password", self.remove_password),
            web.delete("/users/{name}/code", self.remove_code),
            web.get("/login-blocks", self.list_blocks),
            web.delete("/login-blocks/{account}", self.lift_block),
        ]

    async def list_keys(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["name"])
        return items([people.key_out(key) for key in await self._store.keys(user.id)])

    async def add_key(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewKey)
        key = await self._accounts.add_key(
            request.match_info["name"], body.key, actor=request[ACTOR]
        )
        return web.json_response(people.key_out(key), status=201)

    async def rename_key(self, request: web.Request) -> web.Response:
        body = await read(request, people.KeyChange)
        key = await self._accounts.rename_key(
            request.match_info["name"], request.match_info["key"], body.name, actor=request[ACTOR]
        )
        return web.json_response(people.key_out(key))

    async def remove_key(self, request: web.Request) -> web.Response:
        await self._accounts.remove_key(
            request.match_info["name"], request.match_info["key"], actor=request[ACTOR]
        )
        return web.Response(status=204)

    async def set_password(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewPassword)
        await self._accounts.set_password(
            request.match_info["name"], body.password, actor=request[ACTOR]
        )
        return web.Response(status=204)

    async def remove_password(self, request: web.Request) -> web.Response:
        await self._accounts.remove_password(request.match_info["name"], actor=request[ACTOR])
        return web.Response(status=204)

    async def remove_code(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["name"])
        await self._codes.remove(user, actor=request[ACTOR])
        return web.Response(status=204)

    async def list_blocks(self, _request: web.Request) -> web.Response:
        names = {user.name for user in await self._store.users()}
        return items(
            [
                people.block_out(block, exists=block.circle.account in names)
                for block in self._blocks.standing()
            ]
        )

    async def lift_block(self, request: web.Request) -> web.Response:
        await self._blocks.lift(request.match_info["account"], actor=request[ACTOR])
        return web.Response(status=204)

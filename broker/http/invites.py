"""Invites, and the way back in for whoever lost theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.http import people
from broker.http.calls import ACTOR, items, read
from broker.service.invites import period

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.model import Invite
    from broker.service.services import Services


class InviteRoutes:
    """Every handler raises `DeskError`. A token is in the one answer that makes it, and nowhere
    else.
    """

    def __init__(self, *, store: Store, services: Services, ssh_port: int) -> None:
        self._store = store
        self._accounts = services.accounts
        self._invites = services.invites
        self._recovery = services.recovery
        self._clock = services.watches.clock
        self._ssh_port = ssh_port

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/users/{name}/invites", self.add),
            web.post("/users/{name}/recover", self.recover),
            web.get("/invites", self.list),
            web.delete("/invites/{id}", self.revoke),
        ]

    async def add(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewInvite)
        user = await self._accounts.user(request.match_info["name"])
        invite, token = await self._invites.make(
            user, valid=period(body.valid), actor=request[ACTOR]
        )
        return self._made(invite, token, user.name)

    async def recover(self, request: web.Request) -> web.Response:
        body = await read(request, people.Recovery)
        user = await self._accounts.user(request.match_info["name"])
        invite, token = await self._recovery.recover(
            user, admin=body.admin, valid=period(body.valid), actor=request[ACTOR]
        )
        return self._made(invite, token, user.name)

    def _made(self, invite: Invite, token: str, user: str) -> web.Response:
        answer = people.invite_out(invite, user, self._clock.now())
        answer |= {"login": f"invite+{token}", "port": self._ssh_port}
        return web.json_response(answer, status=201)

    async def list(self, _request: web.Request) -> web.Response:
        names = {user.id: user.name for user in await self._store.users()}
        now = self._clock.now()
        return items(
            [
                people.invite_out(invite, names.get(invite.user_id, "?"), now)
                for invite in await self._invites.all()
            ]
        )

    async def revoke(self, request: web.Request) -> web.Response:
        await self._invites.revoke(request.match_info["id"], actor=request[ACTOR])
        return web.Response(status=204)

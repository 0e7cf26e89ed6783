"""Invites, and the way back in for whoever lost theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.core.tokens import Scope
from broker.http import people
from broker.http.calls import PAGING, page, read
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route, caller_of
from broker.http.whose import INVITE, USER
from broker.service.validity import period

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

    async def add(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewInvite)
        user = await self._accounts.user(request.match_info["name"])
        invite, token = await self._invites.make(
            user, valid=period(body.valid), actor=caller_of(request).actor
        )
        return self._made(invite, token, user.name)

    async def recover(self, request: web.Request) -> web.Response:
        body = await read(request, people.Recovery)
        user = await self._accounts.user(request.match_info["name"])
        invite, token = await self._recovery.recover(
            user, admin=body.admin, valid=period(body.valid), actor=caller_of(request).actor
        )
        return self._made(invite, token, user.name)

    def _made(self, invite: Invite, token: str, user: str) -> web.Response:
        answer: people.InviteMade = {
            **people.invite_out(invite, user, self._clock.now()),
            "login": f"invite+{token}",
            "port": self._ssh_port,
        }
        return web.json_response(answer, status=201)

    async def list(self, request: web.Request) -> web.Response:
        names = {user.id: user.name for user in await self._store.users()}
        now = self._clock.now()

        def shown(invite: Invite) -> people.InviteOut:
            return people.invite_out(invite, names.get(invite.user_id, "?"), now)

        async def out(invite: Invite) -> people.InviteOut:
            return shown(invite)

        return await page(
            request,
            await self._store.invites(caller_of(request).only),
            key=lambda invite: (-invite.made_at.timestamp(), invite.id),
            out=out,
            where={
                "user": lambda invite: shown(invite)["user"],
                "state": lambda invite: shown(invite)["state"],
            },
        )

    async def revoke(self, request: web.Request) -> web.Response:
        await self._invites.revoke(request.match_info["id"], actor=caller_of(request).actor)
        return web.Response(status=204)


INVITES = Noun(
    name="invites",
    summary="What binds a key to its user, once; and the way back in for whoever lost theirs.",
    routes=(
        Route(
            method="POST",
            path="/users/{name}/invites",
            handler=InviteRoutes.add,
            name="add_invite",
            summary="Make an invite for a user; its token is told by this answer alone.",
            needs=Scope.USERS,
            whose=USER,
            body=people.NewInvite,
            answers={201: people.InviteMade},
            secret=True,
        ),
        Route(
            method="POST",
            path="/users/{name}/recover",
            handler=InviteRoutes.recover,
            name="recover_user",
            summary="Enable a user, lift their blocks and make an invite.",
            needs=Scope.ADMIN,
            whose=None,
            body=people.Recovery,
            answers={201: people.InviteMade},
            secret=True,
        ),
        Route(
            method="GET",
            path="/invites",
            handler=InviteRoutes.list,
            name="list_invites",
            summary="List invites, newest first.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(
                *PAGING,
                Query(name="user", summary="Those of that user."),
                Query(
                    name="state", summary="Those that are so.", choices=("open", "used", "expired")
                ),
            ),
            answers={200: Page(people.InviteOut)},
        ),
        Route(
            method="DELETE",
            path="/invites/{id}",
            handler=InviteRoutes.revoke,
            name="revoke_invite",
            summary="Take an invite back that nobody has used.",
            needs=Scope.USERS,
            whose=INVITE,
            answers={204: None},
        ),
    ),
)

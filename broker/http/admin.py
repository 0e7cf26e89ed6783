"""The admin's API under `/api/v1`, on a Unix socket where the kernel says who calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.core.errors import AccessDenied
from broker.core.model import Actor
from broker.http.audit import AuditRoutes
from broker.http.calls import ACTOR
from broker.http.desktops import DesktopRoutes
from broker.http.groups import GroupRoutes
from broker.http.invites import InviteRoutes
from broker.http.logins import LoginRoutes
from broker.http.problems import problems
from broker.http.users import UserRoutes
from broker.system.peer import is_admin, peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.interfaces import Store
    from broker.service.services import Services

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Bytes of a request's body: a user with a hundred keys fits.
_BODY = 256 << 10

_PREFIX = "/api/v1"

#: Where a caller is who comes by this host's own socket.
_ORIGIN = "local"


class AdminApi:
    """The routes of each noun, for whom the kernel names an admin. `ssh_port` is where people
    connect.
    """

    def __init__(self, *, store: Store, services: Services, ssh_port: int) -> None:
        self._nouns = (
            UserRoutes(store=store, services=services),
            LoginRoutes(store=store, services=services),
            InviteRoutes(store=store, services=services, ssh_port=ssh_port),
            GroupRoutes(services=services),
            DesktopRoutes(store=store, services=services),
            AuditRoutes(store=store),
        )

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_BODY, middlewares=[problems, _admins_alone])
        for noun in self._nouns:
            for route in noun.routes():
                app.router.add_route(route.method, f"{_PREFIX}{route.path}", route.handler)
        return app


@web.middleware
async def _admins_alone(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.transport is None:
        raise AccessDenied("the caller left")
    peer = peer_of(request.transport.get_extra_info("socket"))
    if not is_admin(peer):
        raise AccessDenied(
            f"uid {peer.uid} called {request.method} {request.path}",
            public="Only root, the broker's own user and the group desk-admin may use this socket.",
        )
    request[ACTOR] = Actor(f"uid:{peer.uid}", None, _ORIGIN)
    return await handler(request)

"""Who calls the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.core.errors import AccessDenied
from broker.core.model import Actor
from broker.core.tokens import ALL_SCOPES, Caller, Reach
from broker.http.routes import let_in
from broker.system.peer import is_admin, peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Where a caller is who comes by this host's own socket.
_ORIGIN = "local"


@web.middleware
async def kernel_says(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let those in whom the kernel names an admin, to everything."""
    if request.transport is None:
        raise AccessDenied("the caller left")
    peer = peer_of(request.transport.get_extra_info("socket"))
    if not is_admin(peer):
        raise AccessDenied(
            f"uid {peer.uid} called {request.method} {request.path}",
            public="Only root, the broker's own user and the group desk-admin may use this socket.",
        )
    actor = Actor(f"uid:{peer.uid}", None, _ORIGIN)
    caller = Caller(actor=actor, scopes=ALL_SCOPES, reach=Reach.ALL, user_id=None)
    let_in(request, caller)
    return await handler(request)

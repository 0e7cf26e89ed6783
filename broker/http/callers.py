"""Who calls the API: whose token it is, or who the kernel says."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal

from aiohttp import hdrs, web

from broker.core.errors import AccessDenied, Unauthenticated
from broker.core.gateway import CLIENT
from broker.core.model import Actor
from broker.core.tokens import ALL_SCOPES, Caller, Reach
from broker.http.routes import let_in
from broker.system.peer import is_admin, peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Middleware

    from broker.service.tokens import Tokens

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Trust = Literal["kernel", "token"]
"""What says who calls where no token is shown: the kernel, or nothing."""

#: Where a caller is who comes by this host's own socket.
_ORIGIN = "local"


def callers(tokens: Tokens, trust: Trust) -> Middleware:
    """Lets nobody in who cannot be told."""

    @web.middleware
    async def tell(request: web.Request, handler: Handler) -> web.StreamResponse:
        shown = request.headers.get(hdrs.AUTHORIZATION)
        if shown is not None:
            address = _ORIGIN if trust == "kernel" else _client(request)
            caller = await tokens.caller(_bearer(shown), address)
        elif trust == "kernel":
            caller = _kernel_says(request)
        else:
            raise Unauthenticated("no token was shown")
        let_in(request, caller)
        return await handler(request)

    return tell


def _bearer(shown: str) -> str:
    scheme, _, secret = shown.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("no bearer token")
    return secret.strip()


def _client(request: web.Request) -> str:
    said = request.headers.getall(CLIENT, [])
    try:
        (address,) = said
        return str(ipaddress.ip_address(address))
    except ValueError:
        raise AccessDenied(f"a door says that a client is at {said!r:.100}") from None


def _kernel_says(request: web.Request) -> Caller:
    if request.transport is None:
        raise AccessDenied("the caller left")
    peer = peer_of(request.transport.get_extra_info("socket"))
    if not is_admin(peer):
        raise AccessDenied(
            f"uid {peer.uid} called {request.method} {request.path}",
            public="Only root, the broker's own user and the group desk-admin may use this socket"
            " without a token.",
        )
    actor = Actor(f"uid:{peer.uid}", None, _ORIGIN)
    return Caller(actor=actor, scopes=ALL_SCOPES, reach=Reach.ALL, user_id=None)

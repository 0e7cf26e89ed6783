"""Who calls the API: whose token it is, in whose browser, or who the kernel says."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Literal

from aiohttp import hdrs, web

from broker.core.errors import AccessDenied, Unauthenticated
from broker.core.gateway import CLIENT, SIGN_IN
from broker.core.model import Actor, UserId
from broker.core.tokens import ALL_SCOPES, CSRF, Caller, Reach
from broker.http.routes import let_in
from broker.system.peer import is_admin, peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from aiohttp.typedefs import Middleware

    from broker.service.signins import SignIns
    from broker.service.tokens import Tokens

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Trust = Literal["kernel", "token"]
"""What says who calls where no token is shown: the kernel, or a browser's cookie as a door passes
it on.
"""

#: Where a caller is who comes by this host's own socket.
_ORIGIN = "local"

#: What changes nothing, so that it may be asked by whatever page.
_HARMLESS = {hdrs.METH_GET, hdrs.METH_HEAD}


def callers(
    tokens: Tokens, sign_ins: SignIns, trust: Trust, opened: Collection[tuple[str, str]]
) -> Middleware:
    """Lets nobody in who cannot be told, but to what is `opened`: methods and paths."""

    @web.middleware
    async def tell(request: web.Request, handler: Handler) -> web.StreamResponse:
        let_in(request, await who(request))
        return await handler(request)

    async def who(request: web.Request) -> Caller:
        address = _ORIGIN if trust == "kernel" else client_of(request)
        if (request.method, _path(request)) in opened:
            return _anybody(address)
        shown = request.headers.get(hdrs.AUTHORIZATION)
        if shown is not None:
            return await tokens.caller(_bearer(shown), address)
        if trust == "kernel":
            return _kernel_says(request)
        secret = request.headers.get(SIGN_IN)
        if secret is None:
            raise Unauthenticated("no token was shown, and no cookie")
        caller = await sign_ins.caller(secret, address)
        check_csrf(request, caller.csrf)
        return caller

    return tell


def client_of(request: web.Request) -> str:
    """The client's address, as a door says it."""
    said = request.headers.getall(CLIENT, [])
    try:
        (address,) = said
        return str(ipaddress.ip_address(address))
    except ValueError:
        raise AccessDenied(f"a door says that a client is at {said!r:.100}") from None


def _path(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _anybody(address: str) -> Caller:
    """Whom nobody knows, and who therefore has nothing."""
    return Caller(
        actor=Actor("anybody", None, address),
        scopes=frozenset(),
        reach=Reach.OWN,
        user_id=UserId(""),
    )


def check_csrf(request: web.Request, csrf: str | None) -> None:
    """That what changes something was sent by a page of ours, which knows `csrf`. Raises
    `AccessDenied`.
    """
    if request.method in _HARMLESS:
        return
    shown = request.headers.get(CSRF, "").encode(errors="replace")
    if csrf is None or not hmac.compare_digest(shown, csrf.encode()):
        raise AccessDenied(
            f"{request.method} {request.path} by cookie without {CSRF}",
            public=f"This is for the pages of this Desk: they show 'csrf' of /caller in {CSRF}.",
        )


def _bearer(shown: str) -> str:
    scheme, _, secret = shown.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("no bearer token")
    return secret.strip()


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

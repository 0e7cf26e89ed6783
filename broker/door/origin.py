"""From whose pages a request may come: a browser sends its cookies with whatever any page asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from broker.core.errors import AccessDenied
from broker.door.answers import Refused

if TYPE_CHECKING:
    from aiohttp import web

    from broker.door.clients import Clients
    from broker.door.websettings import WebSettings

_FORWARDED_PROTO = "X-Forwarded-Proto"


class Origins:
    """What this Desk's own pages are called."""

    def __init__(self, clients: Clients, settings: WebSettings) -> None:
        self._clients = clients
        self._tls = settings.tls
        self._origin = settings.origin

    def secure(self, request: web.Request, peer: str) -> bool:
        """Whether the browser came by https, itself or to a listed proxy."""
        return self._of(request, peer).startswith("https:")

    def check(self, request: web.Request, peer: str) -> None:
        """Raises `Refused` for what another page may have sent: for what comes without a token from
        anywhere but the pages of this Desk.
        """
        if request.headers.get(hdrs.AUTHORIZATION, "").startswith("Bearer "):
            return
        own = self._of(request, peer)
        if request.headers.getall(hdrs.ORIGIN, ()) != [own]:
            raise Refused(
                403,
                f"That counts from the pages at {own} alone, or with a token. If the pages are"
                " elsewhere, 'web.url' in the configuration says where.",
                code=AccessDenied.code,
            )

    def _of(self, request: web.Request, peer: str) -> str:
        if self._origin is not None:
            return self._origin
        forwarded = request.headers.getall(_FORWARDED_PROTO, ())
        by_https = self._clients.is_proxy(peer) and list(forwarded) == ["https"]
        scheme = "https" if self._tls or by_https else "http"
        return f"{scheme}://{request.headers.get(hdrs.HOST, '')}"

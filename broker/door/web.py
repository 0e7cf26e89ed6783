"""The HTTP listener of the front door: it passes what it is asked to the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from broker.core.gateway import Gateway

#: Bytes: nothing that this port answers takes a body.
_BODY = 1024


def application(gateway: Gateway) -> web.Application:
    """An application that knows the gateway alone."""

    async def answer(request: web.Request) -> web.Response:
        reply = await gateway.http(request.method, request.path)
        return web.Response(
            status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type}
        )

    app = web.Application(client_max_size=_BODY)
    app.router.add_route("*", "/{path:.*}", answer)
    return app

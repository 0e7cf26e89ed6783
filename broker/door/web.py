"""The HTTP listener of the front door: it passes what it is asked to the broker."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from broker.core.errors import DeskError

if TYPE_CHECKING:
    from broker.core.gateway import Gateway

#: Bytes: nothing that this port answers takes a body.
_BODY = 1024


def application(gateway: Gateway) -> web.Application:
    """An application that knows the gateway alone."""

    async def answer(request: web.Request) -> web.Response:
        try:
            reply = await gateway.http(request.method, request.path)
        except DeskError as error:
            return _unavailable(error)
        return web.Response(
            status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type}
        )

    app = web.Application(client_max_size=_BODY)
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def _unavailable(error: DeskError) -> web.Response:
    """No broker answered: as problems are told everywhere, RFC 9457."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return web.json_response(
        {
            "type": f"desk:{error.code}",
            "title": error.code.replace("_", " "),
            "status": status,
            "code": error.code,
            "detail": error.public,
        },
        status=status,
        content_type="application/problem+json",
    )

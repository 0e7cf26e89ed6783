"""The HTTP listener of the front door: it says that it lives, and passes the rest to the broker.

What it passes on must not keep anybody from logging in, nor wait: whoever asks how Desk is asks often.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from broker.core.errors import BrokerUnavailable, CapacityExhausted, DeskError

if TYPE_CHECKING:
    from broker.core.gateway import Gateway

#: Bytes: nothing that this port answers takes a body.
_BODY = 1024

#: Characters of a path: none that this port answers has as many.
_PATH = 256

#: Requests that the broker is asked at a time.
AT_ONCE = 32

#: Seconds for the broker's answer.
ANSWER = 10.0

#: Seconds after which one may ask again, in the words of HTTP.
_AGAIN = "1"


def application(gateway: Gateway) -> web.Application:
    """An application that knows the gateway alone."""
    places = asyncio.Semaphore(AT_ONCE)

    async def answer(request: web.Request) -> web.Response:
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            raise web.HTTPMethodNotAllowed(request.method, {hdrs.METH_GET, hdrs.METH_HEAD})
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        if len(request.path) > _PATH:
            raise web.HTTPNotFound
        try:
            return await pass_on(request)
        except DeskError as error:
            return _unavailable(error)

    async def pass_on(request: web.Request) -> web.Response:
        if places.locked():
            raise CapacityExhausted(f"{AT_ONCE} requests are under way")
        async with places:
            try:
                async with asyncio.timeout(ANSWER):
                    reply = await gateway.http(request.method, request.path)
            except TimeoutError:
                raise BrokerUnavailable(f"no answer in {ANSWER:g} s") from None
        return web.Response(
            status=reply.status, body=reply.body, headers={hdrs.CONTENT_TYPE: reply.content_type}
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
        headers={hdrs.RETRY_AFTER: _AGAIN},
        content_type="application/problem+json",
    )

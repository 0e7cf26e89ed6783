"""How Desk is: that the door lives, it says itself; of the rest it asks the broker.

Whoever asks that asks often, and must not keep anybody from logging in, nor wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from broker.core.errors import AccessDenied, BrokerUnavailable, CapacityExhausted
from broker.door.asking import Guard

if TYPE_CHECKING:
    from broker.core.gateway import Gateway
    from broker.door.asking import Asker
    from broker.door.clients import Clients

#: Requests that the broker is asked how it is at a time.
AT_ONCE = 32

#: Seconds for its answer.
ANSWER = 10.0

_ALIVE = "/healthz"

#: What the broker answers to whoever may watch.
_WATCHED = {"/readyz", "/metrics"}

_WATCHERS = "web.monitors does not name the address {}."


class Monitor:
    """`/healthz`, `/readyz` and `/metrics`."""

    guard = Guard.NOTHING

    def __init__(self, gateway: Gateway, clients: Clients) -> None:
        self._gateway = gateway
        self._clients = clients
        self._places = asyncio.Semaphore(AT_ONCE)

    def answers(self, path: str) -> bool:
        return path == _ALIVE or path in _WATCHED

    async def answer(self, request: web.Request, asker: Asker) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if path == _ALIVE:
            return web.Response(text="ok\n")
        client = asker.client
        if not self._clients.may_watch(client):
            raise AccessDenied(f"{client} is no monitor", public=_WATCHERS.format(client))
        return await self._watch(request.method, path)

    async def _watch(self, method: str, path: str) -> web.Response:
        if self._places.locked():
            raise CapacityExhausted(f"{AT_ONCE} requests are under way")
        async with self._places:
            try:
                async with asyncio.timeout(ANSWER):
                    reply = await self._gateway.http(method, path)
            except TimeoutError:
                raise BrokerUnavailable(f"no answer in {ANSWER:g} s") from None
        return web.Response(
            status=reply.status, body=reply.body, headers={hdrs.CONTENT_TYPE: reply.content_type}
        )

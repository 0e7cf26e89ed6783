"""Servers that are no help: each notes what it was sent."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager


class Listener:
    """Accepts; answers whatever comes with `answer`, or with nothing for ever."""

    def __init__(self, answer: bytes | None = None) -> None:
        self._answer = answer
        self.connections = 0
        self.gone = 0
        self.heard = bytearray()
        self.port = 0
        self._transports: list[asyncio.WriteTransport] = []

    @asynccontextmanager
    async def serving(self):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Deaf(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for transport in self._transports:
                transport.abort()
            await server.wait_closed()

    def accepted(self, transport: asyncio.WriteTransport) -> None:
        self.connections += 1
        self._transports.append(transport)

    def said(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        self.heard += data
        if self._answer is not None:
            transport.write(self._answer)


class _Deaf(asyncio.Protocol):
    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._listener.accepted(transport)

    def data_received(self, data: bytes) -> None:
        self._listener.said(self._transport, data)

    def connection_lost(self, exc) -> None:
        self._listener.gone += 1

"""A network of the test's own: a port that leads to Desk, until it is cut."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from tests.e2e.desk import HOST
from tests.ports import free_port

_CHUNK = 1 << 16


class Wire:
    """Passes bytes on, as long as it is whole."""

    def __init__(self, port: int) -> None:
        self._to, self.port = port, free_port()
        self._server: asyncio.Server | None = None
        self._carried: set[asyncio.StreamWriter] = set()

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        """End what it carries, and take nothing more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._carried:
            writer.transport.abort()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, HOST, self.port)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, self._to)
        both = (writer, back)
        self._carried.update(both)
        await asyncio.gather(_pass(reader, *both), _pass(there, *both[::-1]))
        self._carried.difference_update(both)


async def _pass(
    reader: asyncio.StreamReader, mine: asyncio.StreamWriter, other: asyncio.StreamWriter
) -> None:
    """Until there is no more; then the way back ends too."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            other.write(data)
            await other.drain()
    for writer in (mine, other):
        writer.transport.abort()

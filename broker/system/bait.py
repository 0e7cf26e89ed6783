"""A port that nobody in a desktop may reach, opened for as long as somebody tries to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def bait(address: str) -> AsyncIterator[int]:
    """Yield a port of this address that takes connections and says nothing. Raises `OSError`."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, address, 0) as server:
        yield server.sockets[0].getsockname()[1]

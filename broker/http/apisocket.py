"""The broker's side of the way through a door: its API on a Unix socket, for doors alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.http.doorstep import Bounds, Doorstep

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Hashable

#: Connections of one door beyond its requests: those whose end was not seen yet.
_LEAVING = 16

#: Requests that one door may begin in a second, for each that it may have under way.
_AGAIN = 4.0

#: Seconds until a connection has said what it asks, and for what is asked when the broker stops.
_PATIENCE, _GRACE = 10.0, 1.0


class ApiSocket:
    """Serves an application to the doors of this broker."""

    def __init__(
        self,
        app: web.Application,
        *,
        uids: Collection[int],
        door_of: Callable[[int], Hashable | None],
        requests: int,
    ) -> None:
        """Who connects is as for the gateway; `requests` is what one door may have under way."""
        self._runner = web.AppRunner(app)
        self._uids, self._door_of = uids, door_of
        each = requests + _LEAVING
        self._bounds = Bounds(
            refused="connection refused at the API",
            each=each,
            often=2 * each,
            again=_AGAIN * each,
            named=False,
        )
        self._server: web.ServerRunner | None = None

    async def start(self, sock: socket.socket) -> None:
        """Listen on a Unix socket that is bound already. It is closed by `close`; whoever keeps a
        copy can have the next broker listen there.
        """
        await self._runner.setup()
        inner = self._runner.server
        assert inner is not None
        doorstep = Doorstep(
            inner.request_handler,
            self._uids,
            self._door_of,
            self._bounds,
            request_factory=inner.request_factory,
            access_log=None,
            keepalive_timeout=_PATIENCE,
            auto_decompress=False,
        )
        self._server = web.ServerRunner(doorstep, shutdown_timeout=_GRACE)
        await self._server.setup()
        await web.SockSite(self._server, sock).start()

    async def close(self) -> None:
        """End what is asked still."""
        if self._server is not None:
            await self._server.cleanup()
        await self._runner.cleanup()

"""The broker's side of the Gateway: a web socket for each front door, on a Unix socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection

    from broker.core.gateway import GatewayService
    from broker.service.connections import Doors

#: Seconds that a door whose connection ended has to come back before its clients count as gone.
GRACE = 0.5


class GatewayServer:
    """Serves the gateway to all doors, and enters them into `doors`, by which the broker reaches
    them. `uids` may connect; the kernel says who does.
    """

    def __init__(
        self,
        gateway: GatewayService,
        doors: Doors,
        *,
        uids: Collection[int],
        grace: float = GRACE,
    ) -> None:
        self._gateway = gateway
        self._doors = doors
        self._uids = frozenset(uids)
        self._grace = grace

    async def start(self, sock: socket.socket) -> None:
        """Listen on a Unix socket that is bound already."""
        raise NotImplementedError

    async def close(self, grace: float = 0.0) -> None:
        """Take nothing new, give the words that are being said `grace` seconds, and let go of the
        doors: what else they wait for they ask the next broker.
        """
        raise NotImplementedError

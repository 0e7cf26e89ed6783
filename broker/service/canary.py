"""Whether what must be closed to desktops is closed: tried from inside their network, and not read
from the rules that should close it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.core.errors import ImageMissing
from broker.core.model import SessionState
from broker.core.spec import SSHD_PORT, network_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from broker.core.interfaces import Engine, Store
    from broker.service.host import Host

log = structlog.get_logger()

#: Neighbours that are tried at a time: the rule that is wrong for one is wrong for all.
_NEIGHBOURS = 3


class Canary:
    """Tries the host, at a port that is opened for it, and a few desktops that run."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        host: Host,
        image: str,
        bait: Callable[[str], AbstractAsyncContextManager[int]],
    ) -> None:
        self._store = store
        self._engine = engine
        self._host = host
        self._image = image
        self._bait = bait

    async def look(self) -> str | None:
        """One sentence that says what is open; None: nothing is, or there is no image yet, and so
        no desktop, to try it from. Raises `EngineUnavailable`.
        """
        gateway = str((await self._host.subnet())[1])
        neighbours = await self._neighbours()
        try:
            async with self._bait(gateway) as port:
                targets = [(gateway, port), *((address, SSHD_PORT) for address in neighbours)]
                reached = await self._engine.attempt(
                    targets, network=network_name(self._host.instance), image=self._image
                )
        except ImageMissing:
            return None
        except OSError as error:
            log.warning("the canary has nothing to try", address=gateway, reason=error.strerror)
            return None
        if not reached:
            return None
        what = " and ".join(
            name
            for name, found in (
                ("this host", (gateway, port) in reached),
                ("each other", any(address in neighbours for address, _ in reached)),
            )
            if found
        )
        return f"Desktops reach {what}, though the network's rules are in place: tried from inside."

    async def _neighbours(self) -> list[str]:
        live = await self._store.live_sessions(self._host.name)
        ready = (session for session in live if session.state is SessionState.READY)
        return [session.address for session in ready if session.address is not None][:_NEIGHBOURS]

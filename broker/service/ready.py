"""Whether a desktop answers: by its own sshd, to the sockets of the programs inside."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import asyncssh
import structlog

from broker.service.dial import dial
from broker.system.sshclient import BROKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.gateway import Endpoint
    from broker.core.interfaces import Clock
    from broker.service.files import Access

log = structlog.get_logger()

XPRA_SOCKET = "/run/desk/xpra.sock"

#: xpra's packet header (magic, no flags, no compression, index 0, size) before a bencoded request
#: for its id, which every server from 3.1 on answers without attaching anybody.
_REQUEST = b"l5:hellod7:request2:id7:version5:5.1.613:rencodeplus.i0e8:bencodei1e4:yamli0eee"
_REQUEST_XPRA = b"P\x00\x00\x00" + len(_REQUEST).to_bytes(4, "big") + _REQUEST

#: Seconds: a login that hangs is given up and tried again.
_TRY = 5.0
_PAUSE = 0.05

#: Seconds that xpra gets once the sshd answers. A person whose own files keep it from starting
#: must still get in to mend them.
_XPRA = 20.0


class Probe(Protocol):
    """Asks a desktop whether it is there."""

    async def wait(self, endpoints: Sequence[Endpoint], access: Access) -> None:
        """Return once the desktop answered; goes on for ever, so bound and cancel it."""


class SshProbe:
    """Logs in with the session's key and asks xpra for a protocol answer.

    The sockets are opened by the desktop's own sshd: a socket that exists can be dead, and a path
    that a tenant can write to is never opened from here.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def wait(self, endpoints: Sequence[Endpoint], access: Access) -> None:
        while True:
            for endpoint in endpoints:
                try:
                    async with asyncio.timeout(_TRY):
                        connection = await dial(endpoint, access)
                except BROKEN:
                    continue
                async with connection:
                    if await self._has_xpra(connection):
                        return
            await self._clock.sleep(_PAUSE)

    async def _has_xpra(self, connection: asyncssh.SSHClientConnection) -> bool:
        """True once xpra answered, or has had its time; False when the connection broke."""
        try:
            async with asyncio.timeout(_XPRA):
                await self._until_xpra_answers(connection)
        except TimeoutError:
            log.warning("xpra does not answer; the desktop is served without it")
        except BROKEN:
            return False
        return True

    async def _until_xpra_answers(self, connection: asyncssh.SSHClientConnection) -> None:
        while True:
            with suppress(asyncssh.ChannelOpenError):
                reader, writer = await connection.open_unix_connection(XPRA_SOCKET)
                writer.write(_REQUEST_XPRA)
                answer = await reader.read(1)
                writer.close()
                if answer:
                    return
            await self._clock.sleep(_PAUSE)

"""Web sockets of browsers: made, kept alive, and closed with a code and a sentence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web

from broker.core.errors import DeskError
from broker.door.answers import Refused
from broker.door.endings import Ended, ending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger()

#: Seconds of silence after which a browser is asked whether it lives; it has half of that to
#: answer. And seconds that it has to say goodbye.
HEARTBEAT, _GOODBYE = 30.0, 2.0


async def serve(
    request: web.Request,
    talk: Callable[[web.WebSocketResponse], Awaitable[None]],
    *,
    frame: int,
) -> web.StreamResponse:
    """Have `talk` talk to the browser, whose frames may have so many bytes. It may raise `Ended`,
    `DeskError` and `ConnectionError`, also as the first of a group. Raises `Refused` for what is no
    web socket.
    """
    socket = web.WebSocketResponse(
        compress=False, heartbeat=HEARTBEAT, timeout=_GOODBYE, max_msg_size=frame
    )
    if request.method != hdrs.METH_GET or not socket.can_prepare(request):
        raise Refused(400, "This is for the web sockets of Desk's own pages.")
    await socket.prepare(request)
    ended = await _talked(talk(socket))
    if ended is not None:
        log.debug("web socket ended", code=int(ended.code), problem=ended.sentence)
        await _say(socket, ended, request.transport)
    return socket


async def _talked(talk: Awaitable[None]) -> Ended | None:
    """How it ended; None when there is nobody any more who could be told."""
    try:
        await talk
    except (Ended, DeskError, ConnectionError) as error:
        return _ended(error)
    except BaseExceptionGroup as group:
        known, unknown = group.split((Ended, DeskError, ConnectionError))
        if unknown is not None or known is None:
            raise
        return _ended(known.exceptions[0])
    return None


def _ended(error: BaseException) -> Ended | None:
    match error:
        case Ended():
            return error
        case DeskError():
            return ending(error)
        case BaseExceptionGroup():
            return _ended(error.exceptions[0])
    return None


async def _say(
    socket: web.WebSocketResponse, ended: Ended, transport: asyncio.Transport | None
) -> None:
    """Whoever takes nothing any more is not waited for."""
    try:
        async with asyncio.timeout(2 * _GOODBYE):
            await socket.close(code=ended.code, message=ended.reason, drain=False)
    except TimeoutError:
        if transport is not None:
            transport.abort()

"""What a door's event loop sees of a connection, and which loop that is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

import uvloop

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from broker.door.lane import Lane

Outcome = TypeVar("Outcome")
W = TypeVar("W", bound="Lane")


def run(main: Coroutine[None, None, Outcome]) -> Outcome:
    """As `asyncio.run`, with the loop that doors use: on asyncio's own, bulk data costs a door a
    tenth more of the processor.
    """
    return uvloop.run(main)


class Feed(asyncio.BufferedProtocol, Generic[W]):
    """Passes a transport's events on to a wire. A transport cannot have the wire itself: asyncssh's
    connections are an `asyncio.Protocol`, and to those uvloop gives copies of what it reads.
    """

    def __init__(self, wire: W) -> None:
        self.wire = wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.wire.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.wire.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.wire.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self.wire.buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        return self.wire.eof_received()

    def pause_writing(self) -> None:
        self.wire.pause_writing()

    def resume_writing(self) -> None:
        self.wire.resume_writing()

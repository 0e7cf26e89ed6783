"""A web socket on a Unix socket as a line of messages: typed, in order, bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import aiohttp
from aiohttp import WSMsgType

from broker.core.codec import BadMessage
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import ClientWebSocketResponse
    from aiohttp.web import WebSocketResponse

    from broker.core.codec import Codec

#: Seconds that a goodbye may take.
CLOSE = 1.0

#: Characters of a message that is read in a thread: others would be kept waiting for so long.
ASIDE = 64 << 10

#: Characters of a reason that fit into the frame that closes a web socket.
_REASON = 120

Sent = TypeVar("Sent")
Got = TypeVar("Got")


class TooLong(ValueError):
    """No message may be as long."""


class Line(Generic[Sent, Got]):
    """One end of a connection. Putting never waits; a peer that does not read is let go."""

    def __init__(
        self,
        socket: ClientWebSocketResponse | WebSocketResponse,
        sends: Codec[Sent],
        gets: Codec[Got],
        *,
        longest: Callable[[Sent], int],
        waiting: int,
        admit: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`longest` is the bound of a message, `waiting` of all that wait to be sent, in characters.
        The bound of what comes is the socket's own. `admit` is shown each text before it is read;
        it may let it wait, or raise `BadMessage`.
        """
        self._socket = socket
        self._sends = sends
        self._gets = gets
        self._longest = longest
        self._most = waiting
        self._admit = admit
        self._waiting: deque[str] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        """Whether nothing goes out any more."""
        return self._ended.done()

    def put(self, message: Sent) -> None:
        """Send it after all that were put before; nothing happens once the line is over. Raises
        `TooLong`.
        """
        if self.over:
            return
        text = self._sends.write(message)
        if len(text) > self._longest(message):
            raise TooLong(f"a message of {len(text)} characters")
        self._size += len(text)
        if self._size > self._most:
            self.end("it does not read what it is sent", code=aiohttp.WSCloseCode.TRY_AGAIN_LATER)
            return
        self._waiting.append(text)
        self._filled.set()

    def end(self, reason: str, *, code: int = aiohttp.WSCloseCode.GOING_AWAY) -> None:
        """Let go of the peer."""
        if not self.over:
            self._ended.set_result((code, reason))

    async def run(self, take: Callable[[Got], Awaitable[None]]) -> str:
        """Send, and take what comes, one after the other, until either side ends the line; return
        why. `take` may raise `BadMessage`. `close` belongs behind it.
        """
        tasks = Tasks()
        reading = tasks.start(self._read(take), name="gateway reading")
        writing = tasks.start(self._write(), name="gateway writing")
        try:
            ends: set[asyncio.Future[Any]] = {reading, writing, self._ended}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()  # a mistake in what takes
            return self._ended.result()[1] if self.over else "the connection broke"
        finally:
            self.end("it leaves")
            await tasks.close()

    async def close(self) -> None:
        """Say goodbye, with the reason for it."""
        code, reason = self._ended.result() if self.over else (aiohttp.WSCloseCode.OK, "")
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE):
                await self._socket.close(
                    code=code, message=reason[:_REASON].encode("ascii", "replace")
                )

    async def _read(self, take: Callable[[Got], Awaitable[None]]) -> None:
        while not self.over:
            came = await self._socket.receive()
            match came.type:
                case WSMsgType.TEXT:
                    try:
                        await take(await self._message(came.data))
                    except BadMessage as error:
                        self.end(str(error), code=aiohttp.WSCloseCode.PROTOCOL_ERROR)
                case WSMsgType.BINARY:
                    self.end("text is wanted", code=aiohttp.WSCloseCode.UNSUPPORTED_DATA)
                case WSMsgType.ERROR:
                    self.end(str(self._socket.exception()))
                case WSMsgType.CLOSE:
                    self.end(f"the other side closed it: {came.extra or came.data}")
                case _:
                    self.end("the connection broke")

            # What came at once is not taken at once: others have something to do too.
            await asyncio.sleep(0)

    async def _message(self, text: str) -> Got:
        if self._admit is not None:
            await self._admit(text)
        if len(text) > ASIDE:
            return await asyncio.to_thread(self._gets.read, text)
        return self._gets.read(text)

    async def _write(self) -> None:
        with suppress(ConnectionError):
            while await self._filled.wait():
                while self._waiting:
                    text = self._waiting.popleft()
                    await self._socket.send_str(text)
                    self._size -= len(text)
                self._filled.clear()

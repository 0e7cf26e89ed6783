"""A viewer without a screen: RFB over a web socket, its pictures counted and thrown away.

It asks for what noVNC asks for, so that it is sent the same bytes; only of the encodings it names the
one that Xvnc then takes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_COPY, _TIGHT, _RAW = 1, 7, 0
_QUALITY, _COMPRESSION = -32, -256
_DESKTOP_SIZE, _LAST_RECT, _EXTENDED_SIZE, _DESKTOP_NAME = -223, -224, -308, -307
_FENCE, _CONTINUOUS, _CURSOR = -312, -313, -239

#: As noVNC 1.7 sets them.
ENCODINGS = (
    *(_COPY, _TIGHT, _RAW, _QUALITY + 6, _COMPRESSION + 2),
    *(_DESKTOP_SIZE, _LAST_RECT, _EXTENDED_SIZE, _FENCE, _CONTINUOUS, _DESKTOP_NAME, _CURSOR),
)

#: 32 bits, 24 of them used, little endian, red lowest: what a canvas takes.
_FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 0, 8, 16)


class Ended(Exception):
    """The other side closed the web socket: with that code, and that reason."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Rect:
    x: int
    y: int
    width: int
    height: int
    encoding: int

    def meets(self, other: Rect) -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


class Viewer:
    """One connection to a desktop's VNC server. Its methods raise `Ended`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._buffer, self._at = b"", 0
        self._continuous = False
        self.width = self.height = 0
        self.name = ""
        self.bytes = 0
        self.others: list[int] = []
        """Numbers of the messages that were no pictures."""

    async def begin(self) -> None:
        """Up to the request of the first picture."""
        await self.greet()
        await self._send(b"\0\0\0\0" + _FORMAT)
        await self._send(struct.pack(f">BxH{len(ENCODINGS)}i", 2, len(ENCODINGS), *ENCODINGS))
        await self.ask(whole=True)

    async def greet(self) -> None:
        await self._take(12)
        await self._send(b"RFB 003.008\n")
        kinds = await self._take((await self._take(1))[0])
        assert 1 in kinds, f"a password is asked for: {kinds!r}"
        await self._send(b"\1")
        assert await self._take(4) == b"\0\0\0\0"
        await self._send(b"\1")
        self.width, self.height = struct.unpack(">HH", await self._take(4))
        await self._take(16)
        self.name = (await self._counted()).decode()

    # -- what a person does
    async def key(self, keysym: int, *, down: bool) -> None:
        await self._send(struct.pack(">BBxxI", 4, down, keysym))

    async def type(self, text: str) -> None:
        for sign in text:
            for down in (True, False):
                await self.key(ord(sign), down=down)

    async def point(self, x: int, y: int, buttons: int = 0) -> None:
        await self._send(struct.pack(">BBHH", 5, buttons, x, y))

    async def ask(self, *, whole: bool = False) -> None:
        await self._send(struct.pack(">BBHHHH", 3, not whole, 0, 0, self.width, self.height))

    async def raw(self, message: bytes) -> None:
        """Whatever a client of one's own would say."""
        await self._send(message)

    # -- what is seen
    async def frame(self) -> list[Rect]:
        """The next picture that has any part, its parts without their colours."""
        while True:
            kind = (await self._take(1))[0]
            if kind == 0:
                rects = [rect async for rect in self._rects()]
                if not self._continuous:
                    await self.ask()
                if rects:
                    return rects
            else:
                self.others.append(kind)
                await self._other(kind)

    async def _rects(self) -> AsyncIterator[Rect]:
        (count,) = struct.unpack(">xH", await self._take(3))
        for _ in range(count):
            rect = Rect(*struct.unpack(">HHHHi", await self._take(12)))
            if rect.encoding == _LAST_RECT:
                return
            await self._body(rect)
            if rect.encoding >= 0:
                yield rect

    async def _body(self, rect: Rect) -> None:
        area = rect.width * rect.height
        match rect.encoding:
            case 1:
                await self._take(4)
            case 7:
                await self._tight(rect)
            case 0:
                await self._take(4 * area)
            case -223:
                self.width, self.height = rect.width, rect.height
            case -308:
                screens = (await self._take(4))[0]
                await self._take(16 * screens)
                if rect.y == 0:  # not refused
                    self.width, self.height = rect.width, rect.height
            case -307:
                self.name = (await self._counted()).decode()
            case -239:
                await self._take(4 * area + (rect.width + 7) // 8 * rect.height)
            case other:
                raise AssertionError(f"an encoding that was not asked for: {other}")

    async def _tight(self, rect: Rect) -> None:
        way = (await self._take(1))[0] >> 4
        if way == 8:  # one colour
            await self._take(3)
        elif way == 9:  # JPEG
            await self._take(await self._compact())
        else:
            await self._tight_pixels(rect, filtered=bool(way & 4))

    async def _tight_pixels(self, rect: Rect, *, filtered: bool) -> None:
        size = rect.width * rect.height * 3
        if filtered and (await self._take(1))[0] == 1:
            colours = (await self._take(1))[0] + 1
            await self._take(3 * colours)
            line = (rect.width + 7) // 8 if colours == 2 else rect.width
            size = line * rect.height
        # So few are not compressed.
        await self._take(size if size < 12 else await self._compact())

    async def _compact(self) -> int:
        size = 0
        for shift in (0, 7, 14):
            byte = (await self._take(1))[0]
            size |= (byte & (127 if shift < 14 else 255)) << shift
            if shift == 14 or not byte & 128:
                break
        return size

    async def _other(self, kind: int) -> None:
        match kind:
            case 2:
                pass
            case 3:
                await self._take(3)
                (size,) = struct.unpack(">i", await self._take(4))
                await self._take(abs(size))
            case 150:
                await self._send(struct.pack(">BBHHHH", 150, 1, 0, 0, self.width, self.height))
                self._continuous = True
            case 248:
                await self._fence()
            case other:
                raise AssertionError(f"a message that RFB has not: {other}")

    async def _fence(self) -> None:
        await self._take(3)
        (flags,) = struct.unpack(">I", await self._take(4))
        payload = await self._take((await self._take(1))[0])
        # It wants an answer, with those flags that are kept here.
        if flags & 1 << 31:
            answer = struct.pack(">BxxxIB", 248, flags & 7, len(payload)) + payload
            await self._send(answer)

    # -- bytes
    async def _counted(self) -> bytes:
        (size,) = struct.unpack(">I", await self._take(4))
        return await self._take(size)

    async def _send(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def _take(self, count: int) -> bytes:
        while len(self._buffer) - self._at < count:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                raise Ended(self._socket.close_code, str(message.extra or message.data))
            self.bytes += len(message.data)
            self._buffer = self._buffer[self._at :] + message.data
            self._at = 0
        part = self._buffer[self._at : self._at + count]
        self._at += count
        return part

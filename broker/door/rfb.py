"""One picture of a screen, by a viewer that knows raw pixels alone.

The server is the tenant's program: no decoder meets its bytes, and there is a bound to everything
that it may say.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.door.rfbgate import NO_SECURITY, VERSION

if TYPE_CHECKING:
    from asyncssh import SSHReader, SSHWriter

#: Pixels of a screen that is looked at, and bytes of each: five bits of red, six of green, five of
#: blue, the least first.
PIXELS, DEPTH = 16 << 20, 2

#: Rectangles that it may come in, and other messages in between; bytes of what these say.
_RECTANGLES, _OTHERS, _TALK = 4096, 64, 4 << 20

#: Bytes that are read at a time, and rectangles before others get their turn.
_PIECE, _TURN = 64 * 1024, 32

_UPDATE = 0
_RAW = 0


class NoPicture(Exception):
    """What the server says is no picture that is wanted."""


@dataclass(slots=True)
class Picture:
    """A screen's pixels, row by row."""

    width: int
    height: int
    pixels: bytearray = field(repr=False)


async def picture(down: SSHReader[bytes], up: SSHWriter[bytes]) -> Picture:
    """What is on the screen now. Raises `NoPicture`, what the connection raises, and
    `asyncio.IncompleteReadError`; takes as long as the other side lets it: bound it.
    """
    width, height = await _shake_hands(down, up)
    if not 0 < width * height <= PIXELS:
        raise NoPicture(f"{width} by {height} pixels")
    up.write(_ask(width, height))
    seen = Picture(width, height, bytearray(width * height * DEPTH))
    missing, rectangles, others = width * height, 0, 0
    while missing > 0:
        kind = (await down.readexactly(1))[0]
        if kind != _UPDATE:
            others += 1
            if others > _OTHERS:
                raise NoPicture("it talks of other things")
            await _skip_other(kind, down)
            continue
        (count,) = struct.unpack(">xH", await down.readexactly(3))
        rectangles += count
        if rectangles > _RECTANGLES:
            raise NoPicture("it comes in too many pieces")
        for at in range(count):
            missing -= await _take(seen, down)
            if at % _TURN == 0:
                await asyncio.sleep(0)
    return seen


async def _shake_hands(down: SSHReader[bytes], up: SSHWriter[bytes]) -> tuple[int, int]:
    """The size of the screen."""
    if await down.readexactly(len(VERSION)) != VERSION:
        raise NoPicture("another version")
    up.write(VERSION)
    ways = await down.readexactly((await down.readexactly(1))[0])
    if NO_SECURITY not in ways:
        raise NoPicture("it wants to know who comes")
    up.write(NO_SECURITY)
    if any(await down.readexactly(4)):
        raise NoPicture("it lets nobody in")
    up.write(b"\x01")
    told = struct.unpack(">HH16xI", await down.readexactly(24))
    width, height, name = map(int, told)
    await _skip(name, down)
    return width, height


def _ask(width: int, height: int) -> bytes:
    """For all of it, in our pixels and raw."""
    pixels = struct.pack(">BBBBHHHBBBxxx", 8 * DEPTH, 8 * DEPTH, 0, 1, 31, 63, 31, 11, 5, 0)
    return b"".join(
        (
            struct.pack(">Bxxx", 0) + pixels,
            struct.pack(">BxHi", 2, 1, _RAW),
            struct.pack(">BBHHHH", 3, 0, 0, 0, width, height),
        )
    )


async def _take(seen: Picture, down: SSHReader[bytes]) -> int:
    """One rectangle; return its pixels."""
    told = struct.unpack(">HHHHi", await down.readexactly(12))
    x, y, width, height, encoding = map(int, told)
    if encoding != _RAW:
        raise NoPicture(f"encoding {encoding}")
    if not (width and height) or x + width > seen.width or y + height > seen.height:
        raise NoPicture("a piece that is none of the screen")
    rows = max(1, _PIECE // (width * DEPTH))
    for top in range(y, y + height, rows):
        count = min(rows, y + height - top)
        _put(seen, await down.readexactly(count * width * DEPTH), x, top, width)
    return width * height


def _put(seen: Picture, data: bytes, x: int, y: int, width: int) -> None:
    line, own = width * DEPTH, seen.width * DEPTH
    begin = y * own + x * DEPTH
    if width == seen.width:
        seen.pixels[begin : begin + len(data)] = data
        return
    for at in range(0, len(data), line):
        seen.pixels[begin : begin + line] = data[at : at + line]
        begin += own


async def _skip_other(kind: int, down: SSHReader[bytes]) -> None:
    match kind:
        case 1:
            (count,) = struct.unpack(">xxxH", await down.readexactly(5))
            await _skip(6 * count, down)
        case 2:
            return
        case 3:
            (length,) = struct.unpack(">xxxi", await down.readexactly(7))
            await _skip(abs(length), down)
        case _:
            raise NoPicture(f"message {kind}")


async def _skip(count: int, down: SSHReader[bytes]) -> None:
    if count > _TALK:
        raise NoPicture(f"{count} bytes of something else")
    while count:
        count -= len(await down.readexactly(min(count, _PIECE)))

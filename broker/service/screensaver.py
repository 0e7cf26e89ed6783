"""How long nobody has touched a desktop: asked of its X server by the MIT-SCREEN-SAVER extension.

A client of that one question, so that no program has to run inside for it. What answers may be
anything that the tenant put there: every length is bounded, and nonsense is a `ValueError`.
"""

from __future__ import annotations

import struct
from typing import Protocol

#: Where a display's X server listens.
SOCKET = "/tmp/.X11-unix/X{display}"  # noqa: S108 - a path inside the desktop

_EXTENSION = b"MIT-SCREEN-SAVER"
_AUTHORIZATION = b"MIT-MAGIC-COOKIE-1"
_COOKIE_BYTES = 16

#: Bytes of the answer to a greeting: Xvnc's are about 4 KiB.
_LONGEST_GREETING = 64 * 1024

#: Messages that may stand before the answer to a question: a keymap that changes just now is told
#: to every client, key by key.
_MOST_EVENTS = 512

_GREETING_HEADER, _MESSAGE = 8, 32
_FIXED_PART = 40
_ACCEPTED, _REPLY, _GENERIC_EVENT = 1, 1, 35


class Reader(Protocol):
    """A stream to read from; raises `EOFError` where it ends too soon."""

    async def readexactly(self, n: int, /) -> bytes: ...


class Writer(Protocol):
    """A stream to write to."""

    def write(self, data: bytes, /) -> None: ...


async def input_age(reader: Reader, writer: Writer, cookie: bytes) -> float:
    """Seconds since keyboard or mouse were last used, over a fresh connection to the X server.

    Raises `ValueError` for an answer that is none, `EOFError` for one that ends too soon. It waits
    as long as the other side lets it: bound it.
    """
    writer.write(greeting(cookie))
    header = await reader.readexactly(_GREETING_HEADER)
    root = root_window(header + await reader.readexactly(greeting_rest(header)))
    writer.write(extension_query())
    opcode = extension_opcode(await _answer(reader))
    writer.write(info_query(opcode, root))
    return idle_seconds(await _answer(reader))


async def _answer(reader: Reader) -> bytes:
    """The next reply or error; events are passed over."""
    for _ in range(_MOST_EVENTS):
        message = await reader.readexactly(_MESSAGE)
        if message[0] <= _REPLY:
            return message
        if message[0] & 0x7F == _GENERIC_EVENT:
            raise ValueError("an event that nobody asked for")
    raise ValueError("events without end")


# ------------------------------------------------------------------------------- what is said


def greeting(cookie: bytes) -> bytes:
    """What a client says first: byte order, version 11, and its right to be here."""
    head = struct.pack("<cxHHHHxx", b"l", 11, 0, len(_AUTHORIZATION), len(cookie))
    return head + _padded(_AUTHORIZATION) + _padded(cookie)


def extension_query() -> bytes:
    """Asks for the number under which the extension takes requests."""
    return _request(98, 0, struct.pack("<Hxx", len(_EXTENSION)) + _padded(_EXTENSION))


def info_query(opcode: int, root: int) -> bytes:
    """Asks for the idle time."""
    return _request(opcode, 1, struct.pack("<I", root))


def _request(opcode: int, minor: int, body: bytes) -> bytes:
    return struct.pack("<BBH", opcode, minor, 1 + len(body) // 4) + body


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


# ------------------------------------------------------------------------------ what is heard


def greeting_rest(header: bytes) -> int:
    """The bytes that follow the first 8 of the server's greeting; `ValueError` for a refusal."""
    accepted, words = struct.unpack("<BxHHH", header)[0::3]
    if accepted != _ACCEPTED:
        raise ValueError("the X server refused the connection")
    length = int(words) * 4
    if length > _LONGEST_GREETING:
        raise ValueError("the X server's greeting is too long")
    return length


def root_window(whole: bytes) -> int:
    """The first screen's root window, out of a greeting with its header."""
    try:
        vendor, formats = struct.unpack_from("<HxxxB", whole, 24)
        (root,) = struct.unpack_from("<I", whole, _FIXED_PART + vendor + -vendor % 4 + 8 * formats)
    except struct.error:
        raise ValueError("the X server's greeting is too short") from None
    return int(root)


def extension_opcode(reply: bytes) -> int:
    """Raises `ValueError` where the server lacks the extension."""
    kind, present, opcode = struct.unpack_from("<B7xBB", reply)
    if kind != _REPLY or not present or opcode < 128:
        raise ValueError("the X server has no screen saver extension")
    return int(opcode)


def idle_seconds(reply: bytes) -> float:
    """Out of the answer to `info_query`. The server counts milliseconds in 32 bits: after 49 days
    it begins anew.
    """
    kind, idle = struct.unpack_from("<B15xI", reply)
    if kind != _REPLY:
        raise ValueError("the X server refused the question")
    return float(idle) / 1000


def display_cookie(authority: bytes, display: int) -> bytes:
    """The display's cookie out of an Xauthority file; `ValueError` when it is not there."""
    try:
        for number, name, cookie in _entries(authority):
            if (number, name) == (str(display).encode(), _AUTHORIZATION):
                if len(cookie) == _COOKIE_BYTES:
                    return cookie
                raise ValueError("a cookie of an odd length")
    except struct.error:
        raise ValueError("the Xauthority file is cut off") from None
    raise ValueError("the Xauthority file has no cookie of the display")


def _entries(authority: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Each entry's display number, kind and cookie: all but its address."""
    entries, offset = [], 0
    while offset < len(authority):
        offset += 2
        parts = []
        for _ in range(4):
            (length,) = struct.unpack_from(">H", authority, offset)
            offset += 2 + length
            parts.append(authority[offset - length : offset])
        entries.append((parts[1], parts[2], parts[3]))
    return entries

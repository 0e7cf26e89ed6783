"""The question to the X server: what is said, what is heard, and what nonsense is told from it."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.service import screensaver

COOKIE = bytes(range(16))
ROOT = 0x2A5
OPCODE = 143


def greeting(*, vendor=b"The X.Org Foundation", formats=7, accepted=1, words=None):
    """A server's greeting with its header."""
    body = struct.pack("<IIIIHHBB10x", 1, 0x400000, 0x1FFFFF, 256, len(vendor), 65535, 1, formats)
    body += vendor + bytes(-len(vendor) % 4) + bytes(8 * formats)
    body += struct.pack("<I", ROOT) + bytes(36)
    length = len(body) // 4 if words is None else words
    return struct.pack("<BxHHH", accepted, 11, 0, length) + body


def extension(*, kind=1, present=1, opcode=OPCODE):
    return struct.pack("<BxHIBB22x", kind, 1, 0, present, opcode)


def info(milliseconds, *, kind=1):
    return struct.pack("<BBHIIIIIB7x", kind, 0, 2, 0, ROOT, 0, milliseconds, 0, 0)


EVENT = bytes([34]) + bytes(31)


class Writer:
    """Keeps what is written."""

    def __init__(self):
        self.written = b""

    def write(self, data):
        self.written += data


async def ask(*heard):
    reader, writer = asyncio.StreamReader(), Writer()
    reader.feed_data(b"".join(heard))
    reader.feed_eof()
    return await screensaver.input_age(reader, writer, COOKIE), writer.written


async def test_the_idle_time_of_the_root_window_is_asked_for():
    """Three messages, as the X protocol has them; the answer's milliseconds are seconds."""
    age, said = await ask(greeting(), extension(), info(61_500))
    assert age == 61.5
    hello, rest = said[:48], said[48:]
    assert hello[:12] == b"l\0\x0b\0\0\0\x12\0\x10\0\0\0"
    assert hello[12:30] == b"MIT-MAGIC-COOKIE-1"
    assert hello[32:48] == COOKIE
    assert rest[:24] == b"\x62\0\x06\0\x10\0\0\0MIT-SCREEN-SAVER"
    assert rest[24:] == struct.pack("<BBHI", OPCODE, 1, 2, ROOT)


async def test_events_between_are_passed_over():
    """Every client is told of a new keymap, whether it wants to know or not."""
    age, _ = await ask(greeting(), EVENT * 300, extension(), EVENT, info(0))
    assert age == 0.0


@pytest.mark.parametrize(
    ("heard", "why"),
    [
        ([greeting(accepted=0)], "refused the connection"),
        ([greeting(words=16_385)], "too long"),
        ([greeting(words=2)], "too short"),
        ([greeting(), extension(present=0)], "no screen saver"),
        ([greeting(), extension(kind=0)], "no screen saver"),
        ([greeting(), extension(opcode=98)], "no screen saver"),
        ([greeting(), extension(), info(1, kind=0)], "refused the question"),
        ([greeting(), EVENT * 600], "without end"),
        ([greeting(), bytes([35]) + bytes(31), extension()], "nobody asked for"),
        ([greeting(), bytes([163]) + bytes(31), extension()], "nobody asked for"),
    ],
)
async def test_nonsense_is_told(heard, why):
    """Whatever a tenant's program answers in the X server's stead."""
    with pytest.raises(ValueError, match=why):
        await ask(*heard)


@pytest.mark.parametrize(
    "heard", [[], [greeting()[:20]], [greeting()], [greeting(), extension()[:9]]]
)
async def test_an_end_too_soon_is_told(heard):
    """A server that goes away in the middle."""
    with pytest.raises(EOFError):
        await ask(*heard)


@given(st.binary(max_size=200))
def test_no_greeting_raises_anything_else(whole):
    """Lengths inside a greeting lead nowhere."""
    with contextlib.suppress(ValueError):
        screensaver.root_window(whole)


def entry(display, name=b"MIT-MAGIC-COOKIE-1", cookie=COOKIE):
    parts = (b"", display, name, cookie)
    return b"\xff\xff" + b"".join(struct.pack(">H", len(part)) + part for part in parts)


def test_the_displays_own_cookie_is_taken():
    """The file may hold those of other displays and of other kinds."""
    file = entry(b"11", cookie=bytes(16)) + entry(b"1000", b"XDM") + entry(b"1000")
    assert screensaver.display_cookie(file, 1000) == COOKIE


@pytest.mark.parametrize(
    "file",
    [
        b"",
        entry(b"11"),
        entry(b"1000", cookie=b"short"),
        entry(b"1000")[:-1],
        entry(b"1000")[:7],
        b"\xff",
    ],
)
def test_a_file_without_a_cookie_is_told(file):
    """Empty, another display's, odd or cut off."""
    with pytest.raises(ValueError, match=r"Xauthority|cookie"):
        screensaver.display_cookie(file, 1000)


@given(st.binary(max_size=100))
def test_no_file_raises_anything_else(file):
    """What a tenant may have put there."""
    with contextlib.suppress(ValueError):
        screensaver.display_cookie(file, 1000)

"""Messages of RFB viewers, for tests: each as it is sent, and by which right it goes on."""

from __future__ import annotations

import struct

from broker.core.gateway import Right

pack = struct.pack

EXTENDED_CLIPBOARD = -1063131698

HELLO = b"RFB 003.008\n\x01\x00"

#: Of the extended clipboard.
CAPS, REQUEST, PEEK, NOTIFY, PROVIDE = (1 << bit for bit in range(24, 29))


def key(code, down=1):
    return pack(">BBxxI", 4, down, code)


def pointer(x, y, mask=0):
    return pack(">BBHH", 5, mask, x, y)


def encodings(*codes):
    return pack(f">BxH{len(codes)}i", 2, len(codes), *codes)


def update_request(width, height, *, incremental=1):
    return pack(">BBHHHH", 3, incremental, 0, 0, width, height)


def text(data):
    return pack(">BxxxI", 6, len(data)) + data


def extended(flags, data=b"", *, length=None):
    said = 4 + len(data) if length is None else length
    return pack(">BxxxiI", 6, -said, flags) + data


def size(width, height, screens=1):
    return pack(">BxHHBx", 251, width, height, screens) + bytes(16 * screens)


def key_with_code(keysym, code, down=1):
    return pack(">BBHII", 255, 0, down, keysym, code)


def fence(data=b"abc", flags=1):
    return pack(">BxxxIB", 248, flags, len(data)) + data


#: What the gate says for whoever may not read what is copied: tell me, and no more.
TELL_ONLY = encodings(EXTENDED_CLIPBOARD) + extended(
    CAPS | REQUEST | PEEK | NOTIFY | PROVIDE | 1, bytes(4)
)

EVERYBODY = frozenset[Right]()

#: Messages that go on as they are, by the rights that are wanted for it; None: never.
MESSAGES = {
    "pixel format": (
        pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0),
        EVERYBODY,
    ),
    "update request": (update_request(9, 9), EVERYBODY),
    "continuous updates": (pack(">BBHHHH", 150, 1, 0, 0, 9, 9), EVERYBODY),
    "fence": (fence(), EVERYBODY),
    "longest fence": (fence(bytes(64)), EVERYBODY),
    "key": (key(65), {Right.CONTROL}),
    "pointer": (pointer(3, 4, 1), {Right.CONTROL}),
    "pointer with all buttons": (pointer(3, 4, 255), {Right.CONTROL}),
    "key with its code": (key_with_code(65, 38), {Right.CONTROL}),
    "size": (size(70, 50), {Right.RESIZE}),
    "size of many screens": (size(70, 50, 255), {Right.RESIZE}),
    "text": (text(b"abc"), {Right.CLIPBOARD_IN}),
    "no text": (text(b""), {Right.CLIPBOARD_IN}),
    "long text": (text(b"\x04" * 100_000), {Right.CLIPBOARD_IN}),
    "there is a text": (extended(NOTIFY | 1), {Right.CLIPBOARD_IN}),
    "a text packed": (extended(PROVIDE | 1, b"\x04packed"), {Right.CLIPBOARD_IN}),
    "give me the text": (extended(REQUEST | 1), {Right.CLIPBOARD_OUT}),
    "is there a text": (extended(PEEK), {Right.CLIPBOARD_OUT}),
    "what it can": (
        extended(CAPS | REQUEST | PEEK | NOTIFY | PROVIDE | 3, bytes(8)),
        {Right.CLIPBOARD_OUT},
    ),
    "power": (pack(">BxBB", 250, 1, 2), None),
    "text that no desktop takes": (text(bytes((2 << 20) + 1)), None),
}

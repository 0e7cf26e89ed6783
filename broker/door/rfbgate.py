"""What a viewer says to a desktop's VNC server, let through as far as the viewer may: pure.

Messages of RFB have no common length, so each is framed exactly as the server frames it: where the
two differed, what the gate takes for the inside of a message would be a key press for the server. A
kind that it does not know, or that could be read in two ways, ends the connection.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from broker.core.gateway import Right

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

VERSION, NO_SECURITY = b"RFB 003.008\n", b"\x01"

#: Whatever the viewer wishes: who comes throws nobody out.
_SHARED = b"\x01"

#: Encodings that a viewer may name, and bytes of its own in a fence.
_ENCODINGS, _FENCE = 256, 64

#: Bytes of a copied text that a desktop takes; and above which it is none.
TEXT, _ABSURD = 2 << 20, 64 << 20

#: A viewer that named it may send pointer messages with a byte more once the server agreed, and what
#: the server says the gate does not hear.
EXTENDED_MOUSE = -316

#: The dialect in which a copied text is announced, and sent when it is asked for.
EXTENDED_CLIPBOARD = -1063131698


class Kind(IntEnum):
    """Messages of a viewer that are known here."""

    PIXEL_FORMAT = 0
    ENCODINGS = 2
    UPDATE_REQUEST = 3
    KEY = 4
    POINTER = 5
    TEXT = 6
    CONTINUOUS_UPDATES = 150
    FENCE = 248
    POWER = 250
    """Of the machine: off, or off and on."""
    SIZE = 251
    KEY_WITH_CODE = 255


class Action(IntEnum):
    """What a message of the extended clipboard is for; beside it stand formats, from bit 0 on."""

    CAPABILITIES = 1 << 24
    REQUEST = 1 << 25
    PEEK = 1 << 26
    NOTIFY = 1 << 27
    PROVIDE = 1 << 28


_ACTIONS, _FORMATS, _PLAIN_TEXT = 0xFF000000, 0xFFFF, 1

#: Said in the viewer's stead, before anything of its own: I know the dialect; and, tell me that there
#: is a text, however short, and send none of itself.
_TELL_ONLY = struct.pack(">BxHi", Kind.ENCODINGS, 1, EXTENDED_CLIPBOARD) + struct.pack(
    ">BxxxiII", Kind.TEXT, -8, sum(Action) | _PLAIN_TEXT, 0
)

Rights = frozenset[Right]


class Violation(Exception):
    """The viewer said what no viewer says, or what could be read in two ways."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one message."""

    size: int
    """All of it, in bytes."""
    passes: bool
    instead: bytes = b""
    """What is said in its place."""


class Gate:
    """One viewer's way in."""

    def __init__(self, rights: Collection[Right]) -> None:
        self._rights = frozenset(rights)
        self._handshake = [_version, _security, _client_init]
        self._held = bytearray()
        """What is not decided: the begin of a message, 1 KiB of it at the most."""
        self._left = 0
        """Bytes to come of a message that is decided,"""
        self._passing = False
        """and whether they go on. A long one is not held."""

    def feed(self, data: bytes) -> bytes:
        """What goes on to the server now that this has come too. Raises `Violation`."""
        out = bytearray()
        self._held += data
        while self._held:
            if not self._left:
                verdict = self._verdict()
                if verdict is None:
                    break
                out += verdict.instead
                self._left, self._passing = verdict.size, verdict.passes
            count = min(self._left, len(self._held))
            if self._passing:
                out += self._held[:count]
            del self._held[:count]
            self._left -= count
        return bytes(out)

    def _verdict(self) -> Verdict | None:
        """On the message that begins; None while too little of it is there."""
        if self._handshake:
            verdict = self._handshake[0](self._held, self._rights)
            if verdict is not None:
                del self._handshake[0]
            return verdict
        kind = self._held[0]
        if kind not in _KINDS:
            raise Violation(f"message {kind} is not known")
        head, judge = _KINDS[kind]
        return judge(self._held, self._rights) if len(self._held) >= head else None


# ------------------------------------------------------------------------------- the handshake


def _version(held: bytearray, _rights: Rights) -> Verdict | None:
    return _exactly(held, VERSION)


def _security(held: bytearray, _rights: Rights) -> Verdict | None:
    return _exactly(held, NO_SECURITY)


def _client_init(held: bytearray, rights: Rights) -> Verdict | None:
    if held[0] > 1:
        raise Violation("the viewer neither shares nor does not")
    told = b"" if Right.CLIPBOARD_OUT in rights else _TELL_ONLY
    return Verdict(1, passes=False, instead=_SHARED + told)


def _exactly(held: bytearray, wanted: bytes) -> Verdict | None:
    if not wanted.startswith(bytes(held[: len(wanted)])):
        raise Violation("another handshake")
    return Verdict(len(wanted), passes=True) if len(held) >= len(wanted) else None


# -------------------------------------------------------------------------------- the messages


def _always(size: int) -> Callable[[bytearray, Rights], Verdict]:
    return lambda _held, _rights: Verdict(size, passes=True)


def _never(size: int) -> Callable[[bytearray, Rights], Verdict]:
    return lambda _held, _rights: Verdict(size, passes=False)


def _by(right: Right, size: int) -> Callable[[bytearray, Rights], Verdict]:
    return lambda _held, rights: Verdict(size, passes=right in rights)


def _encodings(held: bytearray, rights: Rights) -> Verdict | None:
    """Some change what the two say to each other besides pictures."""
    (count,) = struct.unpack_from(">H", held, 2)
    if count > _ENCODINGS:
        raise Violation(f"{count} encodings")
    size = 4 + 4 * count
    if len(held) < size:
        return None
    named = [code for code in struct.unpack_from(f">{count}i", held, 4) if code != EXTENDED_MOUSE]
    if Right.CLIPBOARD_OUT not in rights and EXTENDED_CLIPBOARD not in named:
        # To whom does not know it a copied text is sent unasked.
        named.append(EXTENDED_CLIPBOARD)
    head = struct.pack(">BxH", Kind.ENCODINGS, len(named))
    return Verdict(size, passes=False, instead=head + struct.pack(f">{len(named)}i", *named))


def _text(held: bytearray, rights: Rights) -> Verdict | None:
    """A text that was copied; or, where its length is below zero, the dialect."""
    (length,) = struct.unpack_from(">i", held, 4)
    if abs(length) > _ABSURD:
        raise Violation(f"a copied text of {abs(length)} bytes")
    if length >= 0:
        return Verdict(8 + length, passes=Right.CLIPBOARD_IN in rights and length <= TEXT)
    if length > -4:
        raise Violation("a message of the clipboard that says nothing")
    if len(held) < 12:
        return None
    (flags,) = struct.unpack_from(">I", held, 8)
    return Verdict(8 - length, passes=_clipboard_passes(flags, -length, rights))


def _clipboard_passes(flags: int, length: int, rights: Rights) -> bool:
    """The server reads of these no more than they need, whatever length is said."""
    match flags & _ACTIONS:
        case action if action & Action.CAPABILITIES:
            needed = 4 + 4 * (flags & _FORMATS).bit_count()
            passes = Right.CLIPBOARD_OUT in rights
        case Action.REQUEST | Action.PEEK:
            needed, passes = 4, Right.CLIPBOARD_OUT in rights
        case Action.NOTIFY:
            needed, passes = 4, Right.CLIPBOARD_IN in rights
        case Action.PROVIDE:
            needed, passes = length, Right.CLIPBOARD_IN in rights and length <= TEXT
        case action:
            raise Violation(f"{action >> 24:#x} is nothing to do with a clipboard")
    if length != needed:
        raise Violation(f"{length} bytes to the clipboard where {needed} are read")
    return passes


def _fence(held: bytearray, _rights: Rights) -> Verdict:
    if held[8] > _FENCE:
        raise Violation(f"a fence of {held[8]} bytes")
    return Verdict(9 + held[8], passes=True)


def _size(held: bytearray, rights: Rights) -> Verdict:
    return Verdict(8 + 16 * held[6], passes=Right.RESIZE in rights)


def _key_with_code(held: bytearray, rights: Rights) -> Verdict:
    """Other messages of the same vendor have other lengths."""
    if held[1] != 0:
        raise Violation(f"message {Kind.KEY_WITH_CODE} of sort {held[1]}")
    return Verdict(12, passes=Right.CONTROL in rights)


#: How many bytes of each must be there before it can be judged, and what judges it.
_KINDS: dict[int, tuple[int, Callable[[bytearray, Rights], Verdict | None]]] = {
    Kind.PIXEL_FORMAT: (1, _always(20)),
    Kind.ENCODINGS: (4, _encodings),
    Kind.UPDATE_REQUEST: (1, _always(10)),
    Kind.KEY: (1, _by(Right.CONTROL, 8)),
    Kind.POINTER: (1, _by(Right.CONTROL, 6)),
    Kind.TEXT: (8, _text),
    Kind.CONTINUOUS_UPDATES: (1, _always(10)),
    Kind.FENCE: (9, _fence),
    Kind.POWER: (1, _never(4)),
    Kind.SIZE: (7, _size),
    Kind.KEY_WITH_CODE: (2, _key_with_code),
}

"""Messages of the SSH connection protocol (RFC 4254) as bytes: built, and read with bounds."""

from __future__ import annotations

from enum import IntEnum

#: The largest data packet that the door promises to take on a channel of its own numbering.
DATA_PACKET = 32_768


class Message(IntEnum):
    """Message numbers 80 to 100: all that is switched between client and desktop."""

    GLOBAL_REQUEST = 80
    REQUEST_SUCCESS = 81
    REQUEST_FAILURE = 82
    OPEN = 90
    OPEN_CONFIRMATION = 91
    OPEN_FAILURE = 92
    WINDOW_ADJUST = 93
    DATA = 94
    EXTENDED_DATA = 95
    EOF = 96
    CLOSE = 97
    REQUEST = 98
    SUCCESS = 99
    FAILURE = 100


class OpenFailure(IntEnum):
    """Reasons of an open failure."""

    ADMINISTRATIVELY_PROHIBITED = 1
    CONNECT_FAILED = 2
    UNKNOWN_CHANNEL_TYPE = 3
    RESOURCE_SHORTAGE = 4


FIRST = int(Message.GLOBAL_REQUEST)
LAST = int(Message.FAILURE)

_STDERR = 1
_DATA_HEAD = 9
"""Type, channel number and length of the text."""


class ProtocolViolation(Exception):
    """A peer sent what the protocol, or a bound of the door, does not allow."""


# ------------------------------------------------------------------------------------- reading


def uint32(payload: bytes, offset: int) -> int:
    """Read the number at `offset`."""
    if offset + 4 > len(payload):
        raise ProtocolViolation("short packet")
    return int.from_bytes(payload[offset : offset + 4], "big")


def string(payload: bytes, offset: int) -> tuple[bytes, int]:
    """Read the string at `offset`; return it and where it ends."""
    begin = offset + 4
    end = begin + uint32(payload, offset)
    if end > len(payload):
        raise ProtocolViolation("short packet")
    return payload[begin:end], end


def boolean(payload: bytes, offset: int) -> bool:
    """Read the flag at `offset`."""
    if offset >= len(payload):
        raise ProtocolViolation("short packet")
    return payload[offset] != 0


def wants_reply(request: bytes) -> bool:
    """Whether a channel request asks for an answer."""
    _, offset = string(request, 5)
    return boolean(request, offset)


def content(data: bytes) -> int:
    """How many bytes of text a DATA packet carries."""
    return len(data) - _DATA_HEAD


# ------------------------------------------------------------------------------------ building


def pack(number: int) -> bytes:
    """A number as it stands in a packet."""
    return number.to_bytes(4, "big")


def pack_string(text: bytes) -> bytes:
    """A string as it stands in a packet."""
    return len(text).to_bytes(4, "big") + text


def _head(message: Message, channel: int) -> bytes:
    return bytes((message,)) + pack(channel)


def success(channel: int) -> bytes:
    return _head(Message.SUCCESS, channel)


def failure(channel: int) -> bytes:
    return _head(Message.FAILURE, channel)


def eof(channel: int) -> bytes:
    return _head(Message.EOF, channel)


def close(channel: int) -> bytes:
    return _head(Message.CLOSE, channel)


def window_adjust(channel: int, count: int) -> bytes:
    return _head(Message.WINDOW_ADJUST, channel) + pack(count)


def data(channel: int, content: bytes) -> bytes:
    return _head(Message.DATA, channel) + pack_string(content)


def stderr(channel: int, content: bytes) -> bytes:
    return _head(Message.EXTENDED_DATA, channel) + pack(_STDERR) + pack_string(content)


def open_session(channel: int, window: int, packet: int) -> bytes:
    head = bytes((Message.OPEN,)) + pack_string(b"session")
    return head + pack(channel) + pack(window) + pack(packet)


def open_confirmation(channel: int, own: int, window: int, packet: int) -> bytes:
    return _head(Message.OPEN_CONFIRMATION, channel) + pack(own) + pack(window) + pack(packet)


def open_failure(channel: int, reason: OpenFailure, text: str) -> bytes:
    head = _head(Message.OPEN_FAILURE, channel) + pack(reason)
    return head + pack_string(text.encode()) + pack_string(b"")


def exit_status(channel: int, status: int) -> bytes:
    head = _head(Message.REQUEST, channel) + pack_string(b"exit-status")
    return head + b"\0" + pack(status & 0xFFFFFFFF)


def exit_signal(channel: int, signal: bytes, text: str) -> bytes:
    head = _head(Message.REQUEST, channel) + pack_string(b"exit-signal")
    return (
        head + b"\0" + pack_string(signal) + b"\0" + pack_string(text.encode()) + pack_string(b"")
    )


def global_reply(*, granted: bool) -> bytes:
    return bytes((Message.REQUEST_SUCCESS if granted else Message.REQUEST_FAILURE,))


def renamed(request: bytes, name: bytes) -> bytes:
    """The same channel request under another name, without its arguments."""
    _, offset = string(request, 5)
    return request[:5] + pack_string(name) + request[offset : offset + 1]


def readdressed(payload: bytes, number: bytes) -> bytes:
    """The same channel message to another channel number, given as packed bytes."""
    return payload[:1] + number + payload[5:]

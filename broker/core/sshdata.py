"""The data types of SSH (RFC 4251 §5), read from bytes that anybody may have written."""

from __future__ import annotations

import struct


class Damaged(ValueError):
    """Bytes are not what they should be; the text says which."""


def string(data: bytes) -> bytes:
    """`data` with its length before it."""
    return struct.pack(">I", len(data)) + data


class Reader:
    """Takes one value after the other; each raises `Damaged` where the bytes end too early."""

    def __init__(self, data: bytes, what: str) -> None:
        """`what` names the data in the errors: `the key`."""
        self._data = data
        self._what = what
        self.offset = 0

    def __bool__(self) -> bool:
        """Whether something is left."""
        return self.offset < len(self._data)

    def take(self, count: int) -> bytes:
        end = self.offset + count
        if end > len(self._data):
            raise Damaged(f"{self._what} ends too early")
        taken = self._data[self.offset : end]
        self.offset = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def uint64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def text(self) -> str:
        """A string that is a name: ASCII that prints."""
        data = self.string()
        if not (data.isascii() and data.decode("ascii").isprintable()):
            raise Damaged(f"{self._what} has a name that is none")
        return data.decode("ascii")

    def mpint(self) -> int:
        """A number that is not negative, in its shortest form."""
        data = self.string()
        if data and (data[0] & 0x80 or (data[0] == 0 and not (len(data) > 1 and data[1] & 0x80))):
            raise Damaged(f"{self._what} has a number that is negative or padded")
        return int.from_bytes(data, "big")

    def since(self, start: int) -> bytes:
        """All that was taken from that offset on."""
        return self._data[start : self.offset]

    def end(self) -> None:
        """Nothing may be left."""
        if self:
            raise Damaged(f"{self._what} has bytes after its end")

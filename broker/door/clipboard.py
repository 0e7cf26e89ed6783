"""What was copied in a desktop before anybody came: its VNC server tells of changes alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncssh

from broker.system.sshclient import BROKEN

if TYPE_CHECKING:
    from broker.door.connections import Way

#: Whoever owns a text may never give it.
_COMMAND = "exec env DISPLAY=:{} timeout 2 xclip -o -selection clipboard -t UTF8_STRING"

#: Bytes of a text that is handed on, and seconds for all of it.
_MOST, _WITHIN = 1 << 20, 3.0

_PIECE = 64 * 1024


async def copied(way: Way, display: int) -> str | None:
    """That text, of that display; None where there is none, or it is too long, or does not come in time."""
    try:
        async with asyncio.timeout(_WITHIN):
            command = _COMMAND.format(display)
            async with way.ssh.create_process(
                command, encoding=None, stdin=asyncssh.DEVNULL, stderr=asyncssh.DEVNULL
            ) as process:
                text = await _read(process.stdout)
    except BROKEN:
        return None
    return text.decode(errors="replace") if 0 < len(text) <= _MOST else None


async def _read(output: asyncssh.SSHReader[bytes]) -> bytes:
    """To the end, or somewhat more than is handed on."""
    text = bytearray()
    while len(text) <= _MOST and (piece := await output.read(_PIECE)):
        text += piece
    return bytes(text)

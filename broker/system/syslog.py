"""The system's log, where what is told stays out of reach of whoever changes files of ours."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from broker.core.errors import DeskError

#: Where every system that has such a log hears it.
SOCKET = Path("/dev/log")

#: Facility `authpriv` and level `notice`, as syslog(3) numbers them.
_PRIORITY = 10 << 3 | 5


def tell(text: str, path: Path = SOCKET) -> None:
    """Write one line under the name `desk-audit`; it waits for nobody. Raises `DeskError` when
    nobody hears it.
    """
    line = f"<{_PRIORITY}>desk-audit[{os.getpid()}]: {text}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as log:
            log.connect(str(path))
            log.send(line.encode())
    except OSError as error:
        raise DeskError(f"{path} takes no line: {error}") from error

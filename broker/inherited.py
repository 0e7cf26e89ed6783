"""What `deskd serve` holds for all its children, so that none of them can lose it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.door.settings import API_SOCKET, GATEWAY_SOCKET
from broker.system import sockets
from broker.system.lock import SUCCESSION, StateLock

if TYPE_CHECKING:
    from contextlib import ExitStack

    from broker.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """Descriptors that children get."""

    lock: int
    """The broker's: as long as it lives, no other may use the state."""
    ssh: int
    http: int
    """The doors' listeners."""
    gateway: int
    """Where the broker hears the doors."""
    api: int
    """Where it hears what they pass on."""
    way: int
    """The directory in which doors find both."""

    @classmethod
    def open(cls, config: Config, uid: int | None, stack: ExitStack) -> Inherited:
        """Take the state's lock, then bind what doors of the user `uid` need; `stack` closes it.
        Raises `DeskError` when any of it is not to be had.
        """
        lock = stack.enter_context(StateLock(config.state / "lock", patience=SUCCESSION))
        ssh, http = (
            stack.enter_context(
                sockets.bind_tcp(key, listen.host, listen.port, patience=SUCCESSION)
            )
            for key, listen in (
                ("ssh.listen", config.ssh.listen),
                ("web.listen", config.web.listen),
            )
        )
        directory = config.state / "doors"
        gateway, api = (
            stack.enter_context(sockets.bind_private(directory / name, uid))
            for name in (GATEWAY_SOCKET, API_SOCKET)
        )
        way = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, way)
        return cls(
            lock=lock.descriptor,
            ssh=ssh.fileno(),
            http=http.fileno(),
            gateway=gateway.fileno(),
            api=api.fileno(),
            way=way,
        )

"""A front door as a service of systemd's own: what it is told comes from files and units."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from broker.core.errors import ConfigError, StateUnusable
from broker.door.settings import Settings
from broker.door.worker import run

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

    from broker.config import Config, Listen
    from broker.system.notify import Supervisor

#: The names that the sockets' units give their ports, with the unit and the key of each.
SSH, HTTP = "ssh", "http"


def serve(
    name: str,
    config: Config,
    sockets: Mapping[str, socket.socket],
    supervisor: Supervisor,
    *,
    host_key: Path,
    gateway: Path,
) -> NoReturn:
    """Be the door of that name until it ends. `gateway` is the directory of the broker's socket.
    Raises `DeskError` when it cannot begin.
    """
    ssh = _demanded(sockets, SSH, "desk-door.socket", "ssh.listen", config.ssh.listen)
    http = _demanded(sockets, HTTP, "desk-web.socket", "web.listen", config.web.listen)
    try:
        key = host_key.read_text(encoding="ascii")
        way = os.open(gateway, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateUnusable(
            public=f"{error.filename}: cannot be used: {error.strerror}; is desk-broker.service"
            " running?"
        ) from error
    settings = Settings.of(
        config,
        name=f"door {name}",
        parent=None,
        uid=None,
        ssh=ssh.detach(),
        http=http.detach(),
        gateway=way,
        host_key=key,
        tls=config.web.tls.files,
    )
    run(settings, supervisor)


def _demanded(
    sockets: Mapping[str, socket.socket], name: str, unit: str, key: str, listen: Listen
) -> socket.socket:
    """What the unit holds. What is there must be what the configuration says: from that it follows
    what may be said there in the clear, and what people are told to connect to.
    """
    if name not in sockets:
        raise StateUnusable(
            public=f"'deskd unit door' is for desk-door@.service, which gets its port from {unit}:"
            " start that, or run 'deskd serve'."
        )
    host, port = sockets[name].getsockname()[:2]
    if (host, port) != (listen.host, listen.port):
        raise ConfigError(
            public=f"{key}: {unit} listens on {host}:{port}, and this says {listen}; have both say"
            f" the same ('systemctl edit {unit}')."
        )
    return sockets[name]

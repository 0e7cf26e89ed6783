"""The broker as a service of systemd's own: its unit holds the socket, and doors are units beside it."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from broker.app import Doorway
from broker.app import serve as run
from broker.core.errors import StateUnusable
from broker.system.hostkey import load_or_make
from broker.system.lock import SUCCESSION, StateLock
from broker.system.peer import instance_of
from broker.system.state import prepare

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from broker.config import Config
    from broker.kept import Origin
    from broker.system.notify import Supervisor

#: The names that the sockets' units give the gateway, the API for what doors pass on, and for
#: administrators.
GATEWAY, API, ADMIN = "gateway", "api", "admin"

#: Whom front doors run as, and the template of their units.
DOOR_USER, DOOR_UNIT = "desk-door", "desk-door"


async def serve(
    config: Config,
    sockets: Mapping[str, socket.socket],
    supervisor: Supervisor,
    *,
    origin: Origin,
) -> None:
    """As `app.serve`, with the state's lock and the doors' host key in its own hand. Raises
    `DeskError`.
    """
    gateway, api = sockets.get(GATEWAY), sockets.get(API)
    if gateway is None or api is None:
        raise StateUnusable(
            public="'deskd unit broker' is for desk-broker.service, whose sockets it needs: start"
            " that, or run 'deskd serve'."
        )
    os.umask(0o077)
    prepare(config.state)
    with StateLock(config.state / "lock", patience=SUCCESSION):
        load_or_make(config.state / "ssh_host_key")
        doorway = Doorway(
            sock=gateway,
            api=api,
            uids=_doors(),
            door_of=instance_of(DOOR_UNIT),
            admin=sockets.get(ADMIN),
        )
        await run(config, doorway, supervisor, origin=origin)


def _doors() -> frozenset[int]:
    try:
        return frozenset({pwd.getpwnam(DOOR_USER).pw_uid})
    except KeyError:
        raise StateUnusable(
            public=f"There is no user {DOOR_USER} for the front doors: 'systemd-sysusers' makes it,"
            " by the file desk.conf of the package."
        ) from None

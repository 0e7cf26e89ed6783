"""The broker, and what keeps its network's rules, as services of systemd's own: units hold their sockets."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from broker.app import Doorway
from broker.app import serve as run
from broker.core.errors import StateUnusable
from broker.system import netlink
from broker.system.clock import SystemClock
from broker.system.guard import Guard
from broker.system.hostkey import load_or_make
from broker.system.lock import SUCCESSION, StateLock
from broker.system.nft import Nftables
from broker.system.peer import instance_of
from broker.system.remotenft import FilterService, RemoteFilter
from broker.system.state import prepare

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

    from broker.config import Config
    from broker.kept import Origin
    from broker.system.notify import Supervisor

#: The names that the sockets' units give the gateway, the API for what doors pass on, and for
#: administrators.
GATEWAY, API, ADMIN = "gateway", "api", "admin"

#: And the one of the packet filter.
FIREWALL = "firewall"

#: Whom front doors run as, and the template of their units.
DOOR_USER, DOOR_UNIT = "desk-door", "desk-door"


async def serve(
    config: Config,
    sockets: Mapping[str, socket.socket],
    supervisor: Supervisor,
    *,
    origin: Origin,
    firewall: Path | None,
) -> None:
    """As `app.serve`, with the state's lock and the doors' host key in its own hand, and the packet
    filter behind the socket `firewall`, where that is given. Raises `DeskError`.
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
            uids=_uids(DOOR_USER),
            door_of=instance_of(DOOR_UNIT),
            admin=sockets.get(ADMIN),
        )
        packets = None if firewall is None else RemoteFilter(firewall)
        await run(config, doorway, supervisor, origin=origin, packets=packets)


async def keep_rules(
    sockets: Mapping[str, socket.socket], supervisor: Supervisor, *, user: str
) -> None:
    """Keep what brokers of that user want in the packet filter, until SIGTERM. Raises
    `StateUnusable`.
    """
    if (sock := sockets.get(FIREWALL)) is None:
        raise StateUnusable(
            public="'deskd unit firewall' is for desk-firewall.service, whose socket it needs."
        )
    clock = SystemClock()
    guard = Guard(Nftables(), netlink.Changes, clock)
    service = FilterService(guard, uids=_uids(user), clock=clock)
    keeping = asyncio.ensure_future(service.run(sock, supervisor))  # noqa: TID251 - all it does
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, keeping.cancel)
    with suppress(asyncio.CancelledError):
        await keeping
    supervisor.stopping()


def _uids(user: str) -> frozenset[int]:
    try:
        return frozenset({pwd.getpwnam(user).pw_uid})
    except KeyError:
        raise StateUnusable(
            public=f"There is no user {user}: 'systemd-sysusers' makes it, by the file desk.conf of"
            " the package."
        ) from None

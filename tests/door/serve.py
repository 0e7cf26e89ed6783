"""Run a door by hand before an sshd: `serve.py DIRECTORY PORT [--stock]`.

DIRECTORY holds `host` (the door's key), `id.pub` (a user's), `inner` and `ihost.pub` (the session's
and the sshd's).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import asyncssh

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from broker.core.gateway import Endpoint, Route
from broker.door.app import Door
from broker.door.limits import Limits
from tests.door.static import StaticGateway


async def main() -> None:
    keys, port = Path(sys.argv[1]), int(sys.argv[2])
    user = asyncssh.read_public_key(keys / "id.pub")
    route = Route(
        session_id="s1",
        desktop_id="d1",
        desktop="main",
        display=1000,
        user=os.environ.get("INNER_USER", "splice"),
        endpoints=(Endpoint("127.0.0.1", int(os.environ.get("INNER_PORT", "23110"))),),
        host_key=(keys / "ihost.pub").read_text().strip(),
        client_key=(keys / "inner").read_text(),
    )
    gateway = StaticGateway(
        {user.get_fingerprint(): "ann"}, route, delay=float(os.environ.get("START_DELAY", "0"))
    )
    gateway.sentence = os.environ.get("SENTENCE")
    changes = {k: int(v) for k, v in (p.split("=") for p in os.environ.get("LIMITS", "").split())}
    door = Door(
        gateway,
        asyncssh.read_private_key(keys / "host"),
        limits=Limits(**changes),
        fast="--stock" not in sys.argv,
    )
    await door.start("127.0.0.1", port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await door.close(2)


asyncio.run(main())

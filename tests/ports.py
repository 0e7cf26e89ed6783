"""Ports for what a test starts: nobody else on this machine is given one meanwhile."""

from __future__ import annotations

import itertools
import os
import random
import socket
from contextlib import suppress

HOST = "127.0.0.1"

#: Below those of desktops, and of what the kernel gives to clients.
_FIRST, _COUNT = 10_000, 10_000

#: Workers of one run that take turns in these: the third of three has every third.
_WORKERS = 16

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_turns = itertools.count(random.randrange(_COUNT // _WORKERS))


def free_port() -> int:
    """One on loopback where nobody listens, and that no test of this run is given again for long."""
    for turn in itertools.islice(_turns, _COUNT // _WORKERS):
        port = _FIRST + turn * _WORKERS % _COUNT + _worker
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise RuntimeError(f"no port between {_FIRST} and {_FIRST + _COUNT} is free")

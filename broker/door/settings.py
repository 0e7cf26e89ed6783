"""What a front door's process is told by its parent, and how."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from broker.door.limits import Limits

#: Says to a door that another has taken its place.
DRAIN = signal.SIGUSR1

#: The name of the broker's socket in its directory.
GATEWAY_SOCKET = "gateway.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a door is told. It comes by a pipe: the host key belongs neither on a command line
    nor into an environment.
    """

    name: str
    """In each line of its log, which it shares with others."""
    parent: int
    """Its pid: a door ends with it."""
    uid: int | None
    """Whom to become; None to stay who it is."""
    ssh: int
    """The listening sockets, as inherited descriptors; other doors have them too."""
    http: int
    gateway: int
    """The directory of the broker's socket, as an inherited descriptor: the way there may lead
    through directories that the door cannot pass."""
    host_key: str
    """In OpenSSH's format. Never logged."""
    fast: bool
    patience: float
    """Seconds that a connect waits for a broker that is away."""
    drain: float
    """Seconds that a door which was replaced gives its connections."""
    log: str
    limits: Limits

    def write(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, text: bytes) -> Settings:
        told: dict[str, Any] = json.loads(text)
        return cls(**{**told, "limits": Limits(**told["limits"])})

    @property
    def gateway_socket(self) -> Path:
        return Path(f"/proc/self/fd/{self.gateway}") / GATEWAY_SOCKET

"""What a front door's process is told by its parent, and how."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.core.errors import StateUnusable
from broker.door.limits import Limits
from broker.door.websettings import WebSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.config import Config

#: Says to a door that another has taken its place.
DRAIN = signal.SIGUSR1

#: The exit status of a door that has carried what it had: nothing is to follow it.
DRAINED = 3

#: The names of the broker's sockets in their directory, and there of the certificate that a door has
#: from whoever started it.
GATEWAY_SOCKET, API_SOCKET, CERTIFICATE = "gateway.sock", "api.sock", "tls.pem"

#: All that a door has of its parent's environment: what finds and runs Python, and what log lines
#: look like. The rest can hold secrets and ways in: agents, engines, credentials of the service.
_VARIABLES = {
    *("PATH", "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ", "TZDIR"),
    *("NO_COLOR", "FORCE_COLOR", "JOURNAL_STREAM"),
}
_PREFIXES = ("PYTHON", "LC_")


def environment(whole: Mapping[str, str]) -> dict[str, str]:
    """A door's part of its parent's environment, and a name and a home that are nobody's: the
    system knows none for a uid that is a door's alone, and asyncssh wants them.
    """
    kept = {
        name: value
        for name, value in whole.items()
        if name in _VARIABLES or name.startswith(_PREFIXES)
    }
    return {**kept, "LOGNAME": "desk-door", "HOME": "/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a door is told. It comes by a pipe: the host key belongs neither on a command line
    nor into an environment.
    """

    name: str
    """In each line of its log, which it shares with others."""
    parent: int | None
    """Its pid: a door ends with it. None where systemd is its parent."""
    uid: int | None
    """Whom to become; None to stay who it is."""
    ssh: int
    """The listening sockets, as inherited descriptors; other doors have them too."""
    http: int
    gateway: int
    """The directory of the broker's sockets, as an inherited descriptor: the way there may lead
    through directories that the door cannot pass."""
    host_key: str
    """In OpenSSH's format. Never logged."""
    fast: bool
    patience: float
    """Seconds that a connect waits for a broker that is away."""
    drain: float
    """Seconds that a door which was replaced gives its connections."""
    log: str
    log_level: str
    limits: Limits
    web: WebSettings
    tls: tuple[str, str] | None
    """The files of certificate and key of the HTTP port; they can be exchanged as long as it
    lives."""

    @classmethod
    def of(
        cls,
        config: Config,
        *,
        name: str,
        parent: int | None,
        uid: int | None,
        ssh: int,
        http: int,
        gateway: int,
        host_key: str,
        tls: tuple[str, str] | None,
    ) -> Settings:
        """What the configuration has a say in, and what it has not."""
        return cls(
            name=name,
            parent=parent,
            uid=uid,
            ssh=ssh,
            http=http,
            gateway=gateway,
            host_key=host_key,
            fast=config.ssh.fast,
            patience=config.ssh.patience,
            drain=config.ssh.drain,
            log=config.log,
            log_level=config.log_level,
            limits=Limits.of(config.ssh),
            web=WebSettings.of(config.web),
            tls=tls,
        )

    def write(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, text: bytes) -> Settings:
        """Raises `StateUnusable` for what another version wrote."""
        told: dict[str, Any] = json.loads(text)
        try:
            limits = told.pop("limits")
            exempt = tuple(limits.pop("penalty_exempt"))  # JSON has lists alone
            web, tls = WebSettings.read(told.pop("web")), told.pop("tls")
            return cls(
                limits=Limits(penalty_exempt=exempt, **limits),
                web=web,
                tls=None if tls is None else tuple(tls),
                **told,
            )
        except (TypeError, KeyError):
            raise StateUnusable(
                public="This front door is of another version than the 'deskd serve' that started"
                " it: stop Desk and start it."
            ) from None

    @property
    def gateway_socket(self) -> Path:
        return _inherited(self.gateway) / GATEWAY_SOCKET

    @property
    def api_socket(self) -> Path:
        return _inherited(self.gateway) / API_SOCKET


def deposited(way: int) -> tuple[str, str]:
    """Where a door finds certificate and key in the directory that is its descriptor `way`."""
    path = str(_inherited(way) / CERTIFICATE)
    return path, path


def _inherited(directory: int) -> Path:
    return Path(f"/proc/self/fd/{directory}")

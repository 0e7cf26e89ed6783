"""A session's keys and generated files, in a directory of the broker's own.

The directory is private to the broker; each file that the container needs is bound singly and
readable by any uid, so that the desktop's own uid can use it and nobody on the host reaches it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import asyncssh

from broker.core.errors import StateUnusable
from broker.core.model import SessionId
from broker.core.spec import SessionFiles

#: The ordinary account of every desktop.
ACCOUNT = "desk"

_FOR_CONTAINER, _FOR_BROKER = 0o444, 0o400


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to enter a session: its pinned host key and its own client key."""

    host_key: str
    client_key: str


class SessionKeys:
    """Makes, reads and deletes the files under `STATE/sessions/ID`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def make(self, session_id: SessionId, *, uid: int) -> SessionFiles:
        """Make the files, or find those of an earlier try. Raises `StateUnusable`."""
        directory = self._root / session_id
        try:
            if not (directory / "complete").exists():
                self.remove(session_id)
                directory.mkdir(mode=0o700)
                for name, (mode, text) in _contents(uid).items():
                    _write(directory / name, mode, text)
        except OSError as error:
            raise StateUnusable(f"{directory} cannot be written: {error}") from error
        return SessionFiles(directory=PurePosixPath(directory))

    def access(self, session_id: SessionId) -> Access:
        """Raises `StateUnusable` when the session's files are gone."""
        directory = self._root / session_id
        try:
            return Access(
                host_key=(directory / "host_key.pub").read_text().strip(),
                client_key=(directory / "client_key").read_text(),
            )
        except OSError as error:
            raise StateUnusable(
                f"{directory} cannot be read: {error}",
                public="Your desktop runs, but the keys that lead into it are gone from this host."
                " Tell your administrator.",
            ) from error

    def remove(self, session_id: SessionId) -> None:
        """Gone already is success."""
        shutil.rmtree(self._root / session_id, ignore_errors=True)

    def existing(self) -> list[SessionId]:
        """Every session that has a directory."""
        return [SessionId(path.name) for path in self._root.iterdir()]


def _contents(uid: int) -> dict[str, tuple[int, str]]:
    host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    return {
        "host_key": (_FOR_CONTAINER, host.export_private_key().decode()),
        "host_key.pub": (_FOR_BROKER, host.export_public_key().decode()),
        "client_key": (_FOR_BROKER, client.export_private_key().decode()),
        "authorized_keys": (_FOR_CONTAINER, client.export_public_key().decode()),
        "passwd": (_FOR_CONTAINER, _ACCOUNTS.format(account=ACCOUNT, uid=uid)),
        "group": (_FOR_CONTAINER, _GROUPS.format(account=ACCOUNT, uid=uid)),
        # Written last: a directory without it is one of a broker that died in the middle.
        "complete": (_FOR_BROKER, ""),
    }


_ACCOUNTS = """\
root:x:0:0:root:/root:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
{account}:x:{uid}:{uid}:Desk:/home/desk:/bin/bash
"""

_GROUPS = """\
root:x:0:
nogroup:x:65534:
tty:x:5:
{account}:x:{uid}:
"""


def _write(path: Path, mode: int, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)

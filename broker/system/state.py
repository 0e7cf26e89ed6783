"""The state directory: private to the broker's user, but for the admins' socket."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from broker.core.errors import StateUnusable
from broker.system.peer import admin_gid

if TYPE_CHECKING:
    from pathlib import Path

_PRIVATE = 0o700

#: Members of the admins' group may pass through to the socket, and list nothing.
_PASSABLE = 0o710


def prepare(state: Path) -> None:
    """Make the directory, or check that it is ours and closed to others. Raises `StateUnusable`."""
    gid = admin_gid()
    try:
        state.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        found = state.stat()
        if found.st_uid != os.geteuid():
            raise StateUnusable(
                public=f"{state}: belongs to uid {found.st_uid}, and the broker runs as uid {os.geteuid()};"
                " run it as the owner, or name another state directory."
            )
        if gid is not None and os.geteuid() == 0:
            os.chown(state, -1, gid)
            state.chmod(_PASSABLE)
        else:
            allowed = _PASSABLE if found.st_gid == gid else _PRIVATE
            if found.st_mode & 0o777 & ~allowed:
                state.chmod(allowed)
    except OSError as error:
        raise StateUnusable(public=f"{state}: cannot be used: {error.strerror}.") from error

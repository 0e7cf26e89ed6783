"""Working on the state itself, as the one whom it belongs to: root's own files would keep the broker
out.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.errors import AccessDenied, StateUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a state is."""

    uid: int
    gid: int

    @contextmanager
    def acting(self) -> Iterator[None]:
        """What root makes meanwhile is the owner's."""
        if os.geteuid() == self.uid:
            yield
            return
        before = os.getegid()
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(before)


def owner_of(state: Path, command: str) -> Owner:
    """Raises `StateUnusable` when it cannot be looked at, and `AccessDenied` unless this process is
    root's or its owner's.
    """
    try:
        status = state.stat()
    except OSError as error:
        raise StateUnusable(public=f"{state}: cannot be used: {error.strerror}.") from error
    if os.geteuid() not in {0, status.st_uid}:
        raise AccessDenied(
            f"{state}: {command} is for root and for its owner, who has uid {status.st_uid}"
        )
    return Owner(status.st_uid, status.st_gid)


@contextmanager
def as_caller() -> Iterator[None]:
    """Within `acting`: as who typed the command, whose are the engine and the files elsewhere."""
    uid, gid = os.geteuid(), os.getegid()
    if os.getuid() == uid:
        yield
        return
    os.seteuid(os.getuid())
    os.setegid(os.getgid())
    try:
        yield
    finally:
        os.setegid(gid)
        os.seteuid(uid)

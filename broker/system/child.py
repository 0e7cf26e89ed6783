"""What a child of `deskd serve` does first: die with its parent, and give up what it does not need."""

from __future__ import annotations

import ctypes
import os
import signal

from broker.core.errors import StateUnusable

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_DUMPABLE = 4
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


def die_with(parent: int) -> None:
    """End at once when the parent does, however it ended: a child that went on would hold ports
    and state against the next one. Only after `become`, which takes this back.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(1)


def become(uid: int) -> None:
    """Be that user and group for good, alone and without a way to more. Root alone may; raises
    `StateUnusable` where the system does not let it.
    """
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise StateUnusable(
            public=f"A front door cannot run as uid {uid} ({error.strerror}): this system lets root"
            " become fewer users than that; choose a lower range for pools.uids."
        ) from error


def forbid_privileges() -> None:
    """Nothing that this process starts gets more rights than it has. Before its first thread: those
    that there are already stay as they are.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def harden() -> None:
    """Its memory is nobody else's to read. Only after `become`, which takes this back."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

"""File descriptors: the process takes what it may have, and the door's places follow from it."""

from __future__ import annotations

import resource
from contextlib import suppress

#: A client's own, its desktop's, and a spare.
_EACH = 3


def raise_limit() -> int:
    """Take as many as the system allows; how many these are, where -1 means without end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def places(descriptors: int, most: int, *, reserved: int) -> int:
    """How many clients there is room for, `most` at the most, and one at least; `reserved` are for
    everything of the process that is no client's: listeners, the gateway, logs.
    """
    if descriptors == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, (descriptors - reserved) // _EACH))

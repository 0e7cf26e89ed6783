"""Waiting, before there is an event loop, for what another process is about to let go of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two tries.
_PAUSE = 0.02


def holds_within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether it holds now or within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE)
    return True

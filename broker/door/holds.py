"""Why a connection is not read."""

from __future__ import annotations

from enum import Flag, auto


class Held(Flag):
    """Reasons; a wire is read when it has none."""

    NOTHING = 0
    FULL = auto()
    """The other side does not take what this one sends."""
    REKEY = auto()
    """The other side may not be sent to before its key exchange is over."""
    LATE = auto()
    """Too much waits for the inner connection."""
    OWN = auto()
    """The peer does not read the door's own replies."""
    BUDGET = auto()
    """It sent more packets than its share of a second."""

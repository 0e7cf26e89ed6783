"""How much of a second one peer may have the door work for it.

Counted in packets of the fast lane, of which one takes about 7 microseconds.
"""

from __future__ import annotations

#: A packet off the fast lane takes about 40 microseconds, one that is not bulk 100: so one
#: connection's flood of requests leaves the loop to the others.
BULK, CONTROL = 4, 10

#: What the fast lane stops at and drops, on top of the 1 of each packet.
CHATTER = 3

_SECOND = 1.0

#: Bytes of a transport message that cost as much as a packet more: asyncssh reads lists in them.
_COSTLY_BYTES = 64


class Pace:
    """What one peer has spent of this second."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun = 0.0
        self._spent = 0

    def begin(self, now: float) -> None:
        """A new second."""
        self._begun = now
        self._spent = 0

    def spend(self, packets: int, now: float) -> float:
        """Count it; the time to wait when that was too much, else 0."""
        if now - self._begun >= _SECOND:
            self.begin(now)
        self._spent += packets
        return self._begun + _SECOND - now if self._spent > self._most else 0.0


def transport(payload: bytes) -> int:
    """What a message of SSH's transport costs."""
    return CONTROL + len(payload) // _COSTLY_BYTES

"""An allowance that fills with time."""

from __future__ import annotations


class Bucket:
    """Full at first, and never fuller; times are seconds that only go forward."""

    def __init__(self, most: float, rate: float, now: float) -> None:
        """`rate` is what comes in a second."""
        self._most, self._rate = most, rate
        self._left, self._at = most, now

    def take(self, amount: float, now: float) -> bool:
        """Take it if it is there; return whether it was."""
        self._fill(now)
        if self._left < amount:
            return False
        self._left -= amount
        return True

    def owe(self, amount: float, now: float) -> float:
        """Take it in any case; return after how many seconds it will have been there."""
        self._fill(now)
        self._left -= amount
        return max(0.0, -self._left / self._rate)

    def _fill(self, now: float) -> None:
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now

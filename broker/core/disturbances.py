"""How often somebody lately undid what is to stand, so that a fight is told and not each blow."""

from __future__ import annotations

from collections import deque

#: Seconds that count as lately, and how many times within them make a fight.
LATELY, MANY = 60.0, 5


class Disturbances:
    """Times by a clock that only goes forward."""

    def __init__(self) -> None:
        self._at: deque[float] = deque(maxlen=1000)
        self._told_at: float | None = None

    def add(self, now: float) -> None:
        self._at.append(now)

    def lately(self, now: float) -> int:
        while self._at and now - self._at[0] > LATELY:
            self._at.popleft()
        return len(self._at)

    def fight(self, now: float) -> bool:
        return self.lately(now) > MANY

    def worth_telling(self, now: float) -> bool:
        """Each one, but in a fight one a minute."""
        silent = self.fight(now) and self._told_at is not None and now - self._told_at < LATELY
        if not silent:
            self._told_at = now
        return not silent

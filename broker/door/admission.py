"""How many connections may be open: in all, unproven, and of one person."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.door.limits import Limits
    from broker.door.source import Source


def drop_chance(count: int, *, start: int, percent: int, full: int) -> float:
    """How likely one more is dropped when there are `count`, as by OpenSSH's MaxStartups: not below
    `start`, always from `full` on, and between them `percent` rising to 100.
    """
    if count >= full:
        return 1.0
    if count < start:
        return 0.0
    least = percent / 100
    return least + (1 - least) * (count - start) / (full - start)


class Place:
    """What one connection takes up."""

    def __init__(self, admission: Admission, source: Source, since: float) -> None:
        self._admission = admission
        self.source = source
        self.since = since
        self.cut: Callable[[], None] | None = None
        """Ends the connection, for another's sake."""

    def spoke(self) -> None:
        """It has said something."""
        self._admission.spoke(self)

    def leave(self) -> None:
        """It has proven who it is, or is gone."""
        self._admission.leave(self)

    def close(self) -> None:
        """It gave its descriptor back."""
        self._admission.close(self)


class Admission:
    """Counts the unproven by where they come from, the others by who they are.

    Where places are short, a connection that has said nothing for a while, as no client does, gives
    its own to whoever comes: so a thousand that only sit there keep nobody out.
    """

    def __init__(self, limits: Limits, dice: Callable[[], float] = random.random) -> None:
        self._limits = limits
        self._dice = dice
        self.places = limits.connections
        """For connections of every kind."""
        self._open: set[Place] = set()
        self._unproven: set[Place] = set()
        self._silent: dict[Place, None] = {}
        """Of those, the ones that said nothing yet, the first that came first."""
        self._by_source: Counter[Source] = Counter()
        self._by_user: Counter[str] = Counter()

    def enter(self, source: Source, now: float) -> Place | None:
        """Count one in; None when there is no place for it."""
        limits = self._limits
        if self._drops(
            self._by_source[source],
            limits.unauthenticated_per_address_start,
            limits.unauthenticated_per_address,
        ) and not self._displace(source, now):
            return None
        if self._drops(
            len(self._unproven), limits.unauthenticated_start, limits.unauthenticated
        ) and not self._displace(None, now):
            return None
        if len(self._open) >= self.places and not self._displace(None, now):
            return None
        place = Place(self, source, now)
        self._open.add(place)
        self._unproven.add(place)
        self._silent[place] = None
        self._by_source[source] += 1
        return place

    def _drops(self, count: int, start: int, full: int) -> bool:
        percent = self._limits.early_drop
        chance = drop_chance(count, start=min(start, full), percent=percent, full=full)
        return chance >= 1 or (chance > 0 and self._dice() < chance)

    def _displace(self, source: Source | None, now: float) -> bool:
        """Cut the one that has been silent for longest, of the source if one is given."""
        for place in self._silent:
            if now - place.since < self._limits.silence:
                return False
            if source is None or place.source == source:
                self.leave(place)
                self._open.discard(place)
                if place.cut is not None:
                    place.cut()
                return True
        return False

    def spoke(self, place: Place) -> None:
        """As `Place.spoke`."""
        self._silent.pop(place, None)

    def leave(self, place: Place) -> None:
        """As `Place.leave`; once is enough."""
        self._silent.pop(place, None)
        if place not in self._unproven:
            return
        self._unproven.discard(place)
        self._by_source[place.source] -= 1
        if not self._by_source[place.source]:
            del self._by_source[place.source]

    def close(self, place: Place) -> None:
        """As `Place.close`; once is enough."""
        self.leave(place)
        self._open.discard(place)

    def prove(self, user_id: str) -> bool:
        """Count one of that person in; False when they have all that they may have."""
        if self._by_user[user_id] >= self._limits.connections_per_user:
            return False
        self._by_user[user_id] += 1
        return True

    def part(self, user_id: str) -> None:
        """Count out one that was proven."""
        self._by_user[user_id] -= 1
        if not self._by_user[user_id]:
            del self._by_user[user_id]

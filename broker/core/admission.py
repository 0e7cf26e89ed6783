"""Who may start a desktop now, who waits, and when it is likely their turn: pure decisions."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from broker.core.errors import CapacityExhausted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: As many desktops are named in a refusal; a screen of names helps nobody.
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many desktops may live at a time, each from 1. Frozen ones count: they hold memory."""

    running: int | None
    """In all; None for no bound."""
    running_per_user: int


def refusal(*, running: int, of_user: Sequence[str], bounds: Bounds) -> CapacityExhausted | None:
    """Why a user may not start one more desktop, None when they may.

    `running` counts all that live now, `of_user` names the user's own among them.
    """
    own = len(of_user)
    if own >= bounds.running_per_user:
        return CapacityExhausted(
            f"the user has {own} desktops running, {bounds.running_per_user} are allowed",
            public=f"You have {_desktops(own)} running ({_names(of_user)}) and may have"
            f" {bounds.running_per_user}: {_way_out(of_user, bounds.running_per_user)}.",
        )
    if bounds.running is not None and running >= bounds.running:
        return CapacityExhausted(
            f"{running} desktops run, {bounds.running} are allowed",
            public=f"This host has {_desktops(running)} running and may have {bounds.running}:"
            " try again when somebody has stopped theirs, or ask your administrator.",
        )
    return None


def _desktops(count: int) -> str:
    return "1 desktop" if count == 1 else f"{count} desktops"


def _names(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _way_out(names: Sequence[str], allowed: int) -> str:
    if len(names) == 1:
        return f"stop it with 'ssh desk@… desk stop {names[0]}'"
    # More than are allowed may run where the bound was lowered meanwhile.
    surplus = len(names) - allowed + 1
    return f"stop {'one' if surplus == 1 else surplus} with 'ssh desk@… desk stop NAME'"


def admitted(
    waiting: Iterable[str], *, under_way: Mapping[str, int], at_once: int, per_user: int
) -> list[int]:
    """Who of `waiting`, in the order of their coming, starts now: their indices, ascending.

    First come, first served; but whoever has `per_user` starts `under_way` lets the others pass.
    """
    busy = Counter(under_way)
    free = at_once - busy.total()
    chosen: list[int] = []
    for index, user in enumerate(waiting):
        if len(chosen) >= free:
            break
        if busy[user] < per_user:
            busy[user] += 1
            chosen.append(index)
    return chosen


def turns(
    waiting: Sequence[str],
    *,
    under_way: Iterable[tuple[str, float]],
    at_once: int,
    per_user: int,
    lasting: float,
) -> list[tuple[int, float]]:
    """The turn of each of `waiting`, as `admitted` will choose: 1 for the next, and in how many
    seconds it is likely to come.

    `under_way` are the users of the starts that go on, each with the seconds that it will still
    take; a start that is still to come takes `lasting`.
    """
    line = _Line(waiting, under_way, per_user)
    found = [(0, 0.0)] * len(waiting)
    now = 0.0
    for position in range(1, len(waiting) + 1):
        while line.started >= at_once or not line.eligible:
            now = line.end_one()
        found[line.start_one(now + lasting)] = (position, now)
    return found


class _Line:
    """The queue played forward. Each step costs the logarithm of its length: `admitted` again for
    each turn would cost the square of it for all.
    """

    def __init__(
        self, waiting: Sequence[str], under_way: Iterable[tuple[str, float]], per_user: int
    ) -> None:
        self._waiting = waiting
        self._per_user = per_user
        self._ends = [(left, order, user) for order, (user, left) in enumerate(under_way)]
        heapify(self._ends)
        self._order = len(self._ends)
        self._busy = Counter(user for _, _, user in self._ends)
        self._behind: defaultdict[str, deque[int]] = defaultdict(deque)
        for index, user in enumerate(waiting):
            self._behind[user].append(index)
        #: The first of each user who is below the bound, in the order of their coming.
        self.eligible = [
            line[0] for user, line in self._behind.items() if self._busy[user] < per_user
        ]
        heapify(self.eligible)

    @property
    def started(self) -> int:
        return len(self._ends)

    def start_one(self, end: float) -> int:
        index = heappop(self.eligible)
        user = self._waiting[index]
        heappush(self._ends, (end, self._order, user))
        self._order += 1
        self._busy[user] += 1
        self._behind[user].popleft()
        self._line_up(user)
        return index

    def end_one(self) -> float:
        """The start that ends first; returns when."""
        end, _, user = heappop(self._ends)
        self._busy[user] -= 1
        if self._busy[user] == self._per_user - 1:  # before, its first was not eligible
            self._line_up(user)
        return end

    def _line_up(self, user: str) -> None:
        if self._behind[user] and self._busy[user] < self._per_user:
            heappush(self.eligible, self._behind[user][0])

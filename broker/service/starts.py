"""How many desktops may start at once, who waits for that, and for how long."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.core import admission
from broker.core.errors import CapacityExhausted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from broker.core.interfaces import Clock

#: How long a start is taken to last before the first has ended.
_DEFAULT_LASTING = 3.0

#: What the newest start adds to the average: some ten of them tell how busy the host is.
_WEIGHT = 0.2

#: A start that lasts longer than most ends any moment, but nobody is told that it is their turn.
_LEAST_LEFT = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody stands in the queue."""

    position: int
    """1 is the next. It grows only for a user with too many starts, whom others pass."""
    about: float
    """Seconds until it is likely their turn, above 0."""


@dataclass(slots=True, eq=False)
class _Waiter:
    user_id: str
    moved: Callable[[Place], None]
    turn: asyncio.Future[_Start]
    told: int = 0
    """The position that it knows of."""


@dataclass(slots=True, eq=False)
class _Start:
    user_id: str
    began: float


@dataclass(slots=True)
class _Average:
    """How long starts lasted lately; each end counts, as it frees a place."""

    seconds: float = _DEFAULT_LASTING
    first: bool = field(default=True, init=False)

    def add(self, seconds: float) -> None:
        self.seconds += (seconds - self.seconds) * (1.0 if self.first else _WEIGHT)
        self.first = False


class Starts:
    """A bounded number of places, and a bounded queue before them."""

    def __init__(
        self,
        *,
        at_once: int,
        waiting: int,
        per_user: int,
        clock: Clock,
        waited: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """All from 1: starts at once in all and of one user, and how many may wait in all; one
        user may fill half of the queue, and one place of it at least. `waited` is told for how
        long whoever got a place had waited for it.
        """
        self._waited = waited
        self._at_once = at_once
        self._waiting_bound = waiting
        self._waiting_per_user = max(1, waiting // 2)
        self._per_user = per_user
        self._clock = clock
        self._queue: list[_Waiter] = []
        self._under_way: list[_Start] = []
        self._lasting = _Average()

    def rebound(self, *, at_once: int, waiting: int, per_user: int) -> None:
        """Other numbers from now on, as of the constructor: what is under way or waits goes on."""
        self._at_once = at_once
        self._waiting_bound = waiting
        self._waiting_per_user = max(1, waiting // 2)
        self._per_user = per_user
        self._let_in()

    @property
    def at_once(self) -> int:
        """How many may be under way."""
        return self._at_once

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._line())

    @property
    def waiting_most(self) -> int:
        """How many may."""
        return self._waiting_bound

    @property
    def under_way(self) -> int:
        """How many have one."""
        return len(self._under_way)

    @asynccontextmanager
    async def place(self, user_id: str, moved: Callable[[Place], None]) -> AsyncIterator[None]:
        """Hold a place, in the order of coming; a user who has `per_user` already lets others pass.

        `moved` must not raise. It is called when it has to wait and whenever its position changes,
        and never after it has the place. Raises `CapacityExhausted` at once when too many wait.
        """
        came = self._clock.monotonic()
        start = await self._start(user_id, moved)
        self._waited(self._clock.monotonic() - came)
        try:
            yield
        finally:
            self._end(start)

    async def _start(self, user_id: str, moved: Callable[[Place], None]) -> _Start:
        line = [waiter.user_id for waiter in self._line()]
        if len(line) in self._admitted([*line, user_id]):
            return self._begin(user_id)
        self._check(line, user_id)
        waiter = _Waiter(user_id, moved, asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        try:
            self._tell()
            return await waiter.turn
        except BaseException:
            self._left(waiter)
            raise

    def _check(self, line: Sequence[str], user_id: str) -> None:
        """Raises `CapacityExhausted` when `user_id` may not wait behind `line`."""
        own = line.count(user_id)
        if len(line) >= self._waiting_bound:
            told = f"The queue for starting desktops is full ({len(line)} wait)."
        elif own >= self._waiting_per_user:
            told = f"Your share of the queue for starting desktops is full ({own} of yours wait)."
        else:
            return
        # Until it would have been their turn: by then the queue has room for all who waited so.
        last = self._turns([*line, user_id])[-1]
        raise CapacityExhausted(
            f"{len(line)} starts wait already, {own} of them of user {user_id}",
            public=told,
            retry_after=last.about,
        )

    def _left(self, waiter: _Waiter) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
            self._tell()
        else:  # it got the place and its caller left at one moment
            self._end(waiter.turn.result())

    def _begin(self, user_id: str) -> _Start:
        start = _Start(user_id, self._clock.monotonic())
        self._under_way.append(start)
        return start

    def _end(self, start: _Start) -> None:
        self._under_way.remove(start)
        self._lasting.add(self._clock.monotonic() - start.began)
        self._let_in()

    def _let_in(self) -> None:
        """Whoever there is a place for."""
        line = self._line()
        for index in self._admitted([waiter.user_id for waiter in line]):
            self._queue.remove(line[index])
            line[index].turn.set_result(self._begin(line[index].user_id))
        self._tell()

    def _line(self) -> list[_Waiter]:
        """Who waits; a cancelled one stands in the queue until its task runs again."""
        return [waiter for waiter in self._queue if not waiter.turn.done()]

    def _admitted(self, line: Sequence[str]) -> list[int]:
        return admission.admitted(
            line,
            under_way=Counter(start.user_id for start in self._under_way),
            at_once=self._at_once,
            per_user=self._per_user,
        )

    def _turns(self, line: Sequence[str]) -> list[Place]:
        now, lasting = self._clock.monotonic(), self._lasting.seconds
        found = admission.turns(
            line,
            under_way=[
                (start.user_id, max(_LEAST_LEFT, start.began + lasting - now))
                for start in self._under_way
            ],
            at_once=self._at_once,
            per_user=self._per_user,
            lasting=lasting,
        )
        return [Place(position, about) for position, about in found]

    def _tell(self) -> None:
        """Last of each change: whatever a listener does then finds everything in order."""
        line = self._line()
        places = self._turns([waiter.user_id for waiter in line])
        for waiter, place in zip(line, places, strict=True):
            if waiter.told != place.position and not waiter.turn.done():
                waiter.told = place.position
                waiter.moved(place)

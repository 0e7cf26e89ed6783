"""A place that always has a child, and those that gave theirs up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from broker.system.children import NotStarted

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable

    from broker.system.children import Child
    from broker.system.tasks import Tasks

log = structlog.get_logger()

#: Seconds between the end of a child and its next start: doubled each time, and back to the first
#: after one that lived for `_LONG_LIFE`.
_FIRST_PAUSE, _LONGEST_PAUSE, _LONG_LIFE = 0.1, 5.0, 60.0


class Kept:
    """A place that always has a child: one that ends by itself is followed by the next."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[Child]],
        tasks: Tasks,
        *,
        on_next: Callable[[], None],
    ) -> None:
        """`on_next` is called when one that ended by itself has been followed."""
        self._name = name
        self._start = start
        self._tasks = tasks
        self._on_next = on_next
        self._child: Child | None = None
        self._pause = _FIRST_PAUSE
        self._turn = asyncio.Lock()

    @property
    def child(self) -> Child | None:
        """The last one that was ready; None before the first, and while there is none."""
        return self._child

    async def begin(self) -> None:
        """The first one. Raises `NotStarted`."""
        self._adopt(await self._start())

    def _adopt(self, child: Child) -> None:
        self._child = child
        self._tasks.start(self._follow(child), name=f"keep {self._name}")

    async def _follow(self, child: Child) -> None:
        status = await child.wait()
        async with self._turn:
            if self._child is not child:
                return  # it was to end
            log.error("ended by itself", child=self._name, pid=child.pid, status=status)
            if child.age >= _LONG_LIFE:
                self._pause = _FIRST_PAUSE
            await self._next()
        self._on_next()

    async def _next(self) -> None:
        """Start one, as often as it takes."""
        child = None
        while child is None:
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            with suppress(NotStarted):
                child = await self._start()
        self._adopt(child)
        log.info("started again", child=self._name, pid=child.pid)

    async def restart(
        self, patience: float, *, unless: Callable[[Child], bool] = lambda _: False
    ) -> None:
        """End it, then start the next; not one of which `unless` holds."""
        async with self._turn:
            if self._child is not None and unless(self._child):
                return
            child, self._child = self._child, None
            if child is not None:
                await child.end(patience)
            self._pause = _FIRST_PAUSE
            await self._next()

    async def vacate(self, *, unless: Callable[[Child], bool]) -> Child | None:
        """Return the one that is there, which nothing follows any more, and leave the place empty
        until the next `replace`. Not one of which `unless` holds: then None.
        """
        async with self._turn:
            child = self._child
            if child is None or unless(child):
                return None
            self._child = None
            return child

    async def replace(self, *, unless: Callable[[Child], bool] = lambda _: False) -> Child | None:
        """Start the next beside it; return the one that was, which nothing follows any more. Not
        one of which `unless` holds: then None. Raises `NotStarted`, and then nothing has changed.
        """
        async with self._turn:
            before = self._child
            if before is not None and unless(before):
                return None
            self._adopt(await self._start())
            return before


class Draining:
    """Children that were replaced and have work left. Beyond `most` the oldest are to end."""

    def __init__(self, drain: signal.Signals, most: int) -> None:
        """`drain` tells a child that another has taken its place."""
        self._drain = drain
        self._most = most
        self._children: list[Child] = []

    def add(self, child: Child) -> None:
        child.tell(self._drain)
        self._children = [one for one in (*self._children, child) if one.lives]
        for oldest in self._children[: -self._most]:
            oldest.ask_to_end()

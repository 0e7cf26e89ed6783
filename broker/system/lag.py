"""How late an event loop is: what holds it holds everybody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two looks; what holds the loop for longer is always seen.
LOOK_EVERY = 0.25


async def watch(told: Callable[[float], None]) -> None:
    """Tell, again and again until cancelled, how many seconds later than asked this task ran."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_EVERY
        await asyncio.sleep(LOOK_EVERY)
        told(max(0.0, loop.time() - due))


class Worst:
    """The latest that it was since somebody asked."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def note(self, seconds: float) -> None:
        self._seconds = max(self._seconds, seconds)

    def take(self) -> float:
        seconds, self._seconds = self._seconds, 0.0
        return seconds

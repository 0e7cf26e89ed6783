"""How many desktops may start at once, and how many may wait for that."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from broker.core.errors import CapacityExhausted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Starts:
    """A bounded number of places, and a bounded queue before them."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._waiting_bound = waiting
        self.waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place; raises `CapacityExhausted` at once when too many wait already."""
        if self._places.locked() and self.waiting >= self._waiting_bound:
            raise CapacityExhausted(
                f"{self.waiting} starts wait already",
                public="Too many desktops are starting just now. Try again in a minute.",
            )
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._places.release()

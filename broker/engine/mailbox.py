"""Events on their way from any thread to the loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from broker.core.errors import EngineUnavailable

if TYPE_CHECKING:
    from broker.core.interfaces import EngineEvent


class Mailbox:
    """An iteration over what is put in, made in the loop that iterates. Whoever puts never waits:
    one event more than `limit`, and those that wait are lost and the iteration is over.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: deque[EngineEvent] = deque()
        self._changed = asyncio.Event()
        self._reason: str | None = None

    def put(self, event: EngineEvent) -> bool:
        """From any thread; False when the iteration is over."""
        with self._lock:
            if self._reason is None and len(self._waiting) >= self._limit:
                self._waiting.clear()
                self._reason = f"events were lost: more than {self._limit} waited"
            elif self._reason is None:
                self._waiting.append(event)
            going_on = self._reason is None
        self._wake()
        return going_on

    def end(self, reason: str) -> None:
        """From any thread: after what waits, let the iteration raise `EngineUnavailable` with the
        reason. The first one stands.
        """
        with self._lock:
            if self._reason is None:
                self._reason = reason
        self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EngineEvent:
        while True:
            with self._lock:
                if self._waiting:
                    return self._waiting.popleft()
                if self._reason is not None:
                    raise EngineUnavailable(self._reason)
                self._changed.clear()
            await self._changed.wait()

    def _wake(self) -> None:
        # A loop that is closed has nobody who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._changed.set)

"""Background work that has one owner and ends with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

log = structlog.get_logger()

T = TypeVar("T")


class Tasks:
    """A set of tasks. What fails is logged and told to the owner; what is left at the end is
    cancelled.
    """

    def __init__(self, on_failure: Callable[[], None] | None = None) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_failure = on_failure

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("background work failed", task=task.get_name(), exc_info=error)
        if self._on_failure is not None:
            self._on_failure()

    def cancel(self) -> None:
        """Cancel what runs."""
        for task in list(self._tasks):
            task.cancel()

    async def close(self, *, grace: float = 0.0) -> None:
        """Let what runs come to its end for a while, cancel the rest and wait for it."""
        if self._tasks and grace > 0:
            await asyncio.wait(self._tasks, timeout=grace)
        left = list(self._tasks)
        self.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them is over, and cancel the others."""
    tasks = [asyncio.get_running_loop().create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

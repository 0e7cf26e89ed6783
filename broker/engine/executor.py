"""Blocking calls to the engine in threads of their own: bounded, with a deadline, and with every
foreign error translated here.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import urllib3
from docker.errors import APIError, DockerException

from broker.core.errors import DeskError, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_T = TypeVar("_T")

Told = Callable[[str, float, bool], None]


class Deadline(threading.local):
    """When the call of this thread has to be over; outside a call there is none."""

    at: float | None = None

    def remaining(self) -> float:
        """Seconds left, never quite zero: a socket timeout of zero means 'do not wait at all'."""
        if self.at is None:
            return 1.0
        return max(0.01, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.at is not None and time.monotonic() >= self.at


class Calls:
    """Runs blocking work in `threads` threads while at most `waiting` more calls wait for one.

    A cancelled caller does not stop its call. One that is overdue raises `EngineUnavailable`, and
    so does a call that never got its turn; the latter is then not made at all.
    """

    def __init__(
        self,
        *,
        threads: int,
        waiting: int,
        deadline: Deadline | None = None,
        told: Told = lambda _what, _seconds, _failed: None,
    ) -> None:
        """`told` hears of each call that came to its end: what it was, the seconds that it took
        from being asked for, and whether the engine did not answer, or failed.
        """
        self.deadline = deadline or Deadline()
        self.closing = threading.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._bound = threads + waiting
        self._under_way: set[Future[Any]] = set()
        self._told = told

    async def run(self, what: str, limit: float, work: Callable[[], _T]) -> _T:
        """The result of `work()`, or `EngineUnavailable` after `limit` seconds."""
        began = time.monotonic()
        try:
            result = await self._run(what, limit, work)
        except DeskError as error:
            failed = isinstance(error, EngineUnavailable)
            self._told(what, time.monotonic() - began, failed)
            raise
        self._told(what, time.monotonic() - began, False)
        return result

    async def _run(self, what: str, limit: float, work: Callable[[], _T]) -> _T:
        if self.closing.is_set():
            raise EngineUnavailable(f"{what}: the connection to the engine is closed")
        if len(self._under_way) >= self._bound:
            raise EngineUnavailable(f"{what}: {self._bound} calls wait for the engine already")
        future = self._pool.submit(self._call, what, time.monotonic() + limit, work)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        outcome = asyncio.wrap_future(future)
        outcome.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(limit):
                return await asyncio.shield(outcome)
        except TimeoutError as error:
            raise EngineUnavailable(f"{what}: no answer within {limit:g} s") from error

    async def close(self, *, grace: float, abort: Callable[[], None]) -> None:
        """Let what is under way end for `grace` seconds, then cut it off with `abort`."""
        self.closing.set()
        waited = [asyncio.wrap_future(future) for future in set(self._under_way)]
        if waited:
            await asyncio.wait(waited, timeout=grace)
        abort()
        await asyncio.gather(*waited, return_exceptions=True)
        self._pool.shutdown(wait=True)

    def _call(self, what: str, deadline: float, work: Callable[[], _T]) -> _T:
        self.deadline.at = deadline
        try:
            if self.closing.is_set():
                raise EngineUnavailable(f"{what}: the connection to the engine is closed")
            if self.deadline.passed:
                raise EngineUnavailable(f"{what}: waited too long for its turn")
            with translated(what):
                return work()
        finally:
            self.deadline.at = None


def _retrieve(outcome: asyncio.Future[Any]) -> None:
    """A call that nobody waits for any more may fail: asyncio would log that with a traceback."""
    if not outcome.cancelled():
        outcome.exception()


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn every error of the SDK and the layers below it into `EngineUnavailable`.

    The SDK trips over replies of an unexpected shape with the errors of the fourth clause.
    """
    try:
        yield
    except APIError as error:
        raise EngineUnavailable(f"{what}: {said(error)}") from error
    except requests.exceptions.JSONDecodeError as error:
        raise EngineUnavailable(f"{what}: the answer is not JSON: {error}") from error
    except (
        DockerException,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        OSError,
    ) as error:
        raise EngineUnavailable(f"{what}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        text = f"{what}: the answer cannot be understood: {error!r}"
        raise EngineUnavailable(text) from error


def status(error: APIError) -> int:
    """The HTTP status of an error of the engine's; 0 when it has none."""
    return 0 if error.response is None else error.response.status_code


def said(error: APIError) -> str:
    """What the engine said, for the operator's log."""
    return f"the engine answered {status(error)}: {error.explanation or 'nothing more'}"


def text_of(error: APIError) -> str:
    """What the engine said, in lower case, to be looked through."""
    return str(error.explanation or "").lower()

"""The engine's own tale of what happens to containers, as it happens."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from broker.core.errors import EngineUnavailable
from broker.core.spec import LABEL_INSTANCE
from broker.engine.executor import translated
from broker.engine.facts import EVENT_ACTIONS, event_of
from broker.engine.mailbox import Mailbox

if TYPE_CHECKING:
    from broker.engine.executor import Deadline
    from broker.engine.transport import Link

#: Seconds until a subscription stands.
_OPEN = 10.0

#: Events that wait for the loop.
_WAITING = 1000


class Subscription:
    """A thread that listens over a link of its own, which nothing else may use.

    It is a thread because the engine silently drops what its listener takes too late: this one
    keeps reading while the loop is busy, and what the loop then cannot take is told as lost.
    """

    def __init__(self, instance: str, link: Link, deadline: Deadline) -> None:
        self._instance = instance
        self._link = link
        self._deadline = deadline
        self.events = Mailbox(_WAITING)
        self._stands: Future[None] = Future()
        self._over: Future[None] = Future()
        # Nobody who stops waiting for them cancels them.
        self._stands.set_running_or_notify_cancel()
        self._over.set_running_or_notify_cancel()
        self._thread = threading.Thread(target=self._run, name="engine-events", daemon=True)
        self._thread.start()

    async def stands(self) -> None:
        """Wait until nothing that happens from now on is missed. Raises `EngineUnavailable`."""
        await asyncio.wrap_future(self._stands)

    async def close(self, reason: str) -> None:
        """Cut it off, and wait until its thread is done. Idempotent."""
        self.events.end(reason)
        self._link.abort()
        await asyncio.wrap_future(self._over)
        # Saying so was the last thing that it did.
        self._thread.join()

    def _run(self) -> None:
        reason = "events: the reading broke"
        try:
            with translated("events"):
                self._read()
            reason = "events: the engine ended them"
        except EngineUnavailable as error:
            reason = str(error)
        finally:
            self.events.end(reason)
            if not self._stands.done():
                self._stands.set_exception(EngineUnavailable(reason))
            self._link.close()
            self._over.set_result(None)

    def _read(self) -> None:
        self._deadline.at = time.monotonic() + _OPEN
        filters = {
            "type": ["container"],
            "event": list(EVENT_ACTIONS),
            "label": [f"{LABEL_INSTANCE}={self._instance}"],
        }
        with self._link.events(filters) as lines:
            self._stands.set_result(None)
            for line in lines:
                event = event_of(self._instance, json.loads(line))
                if event is not None and not self.events.put(event):
                    return

"""One connection of a door to its broker: calls and their answers, and what the broker tells."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from broker.core import messages
from broker.core.messages import Answer, Ask, Cancel, Hello, Progress, Refusal, Told, Welcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.gateway import DoorControl, Holdings
    from broker.core.messages import Asked, ToBroker, ToDoor
    from broker.system.line import Line


class Unsent(Exception):
    """The connection was over before the call."""


@dataclass(slots=True)
class _Call:
    outcome: asyncio.Future[Answer | Refusal | None]
    progress: Callable[[str], None] | None


class Link:
    """From the door's first message until the connection is over."""

    def __init__(
        self,
        line: Line[ToBroker, ToDoor],
        door: DoorControl,
        on_welcome: Callable[[Link], None],
    ) -> None:
        self.gone = asyncio.Event()
        """Set when it is over."""
        self._line = line
        self._door = door
        self._on_welcome = on_welcome
        self._calls: dict[int, _Call] = {}
        self._numbers = count(1)

    async def run(self, door: str, holdings: Holdings) -> str:
        """Say which door it is, and go on until it is over; return why."""
        self._line.put(Hello(door, holdings))
        try:
            return await self._line.run(self._take)
        finally:
            self.gone.set()
            for call in self._calls.values():
                _settle(call, None)

    async def ask(
        self, what: Asked, progress: Callable[[str], None] | None = None
    ) -> Answer | Refusal | None:
        """What comes of the call; None when the connection broke first. A cancelled caller takes
        it back. Raises `Unsent`.
        """
        if self._line.over:
            raise Unsent
        number = next(self._numbers)
        call = _Call(asyncio.get_running_loop().create_future(), progress)
        self._line.put(Ask(number, what))
        self._calls[number] = call
        try:
            return await call.outcome
        except asyncio.CancelledError:
            self._line.put(Cancel(number))
            raise
        finally:
            del self._calls[number]

    async def _take(self, message: ToDoor) -> None:
        match message:
            case Welcome():
                self._on_welcome(self)
            case Answer(number) | Refusal(number):
                if (call := self._calls.get(number)) is not None:
                    _settle(call, message)
            case Progress(number, sentence):
                call = self._calls.get(number)
                if call is not None and call.progress is not None:
                    call.progress(sentence)
            case _:
                # Whoever got an answer before this goes first, and knows by then what session it
                # is about to enter.
                await asyncio.sleep(0)
                self._do(message)

    def _do(self, told: Told) -> None:
        match told:
            case messages.EndSession(session_id, sentence, sleeps):
                self._door.end_session(session_id, sentence, sleeps=sleeps)
            case messages.EndUser(user_id, sentence):
                self._door.end_user(user_id, sentence)
            case messages.EndCredential(credential, sentence):
                self._door.end_credential(credential, sentence)
            case messages.Penalise(penalty):
                self._door.penalise(penalty)


def _settle(call: _Call, outcome: Answer | Refusal | None) -> None:
    if not call.outcome.done():
        call.outcome.set_result(outcome)

"""What the broker sees and says inside desktops, and what is said to it from there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from broker.service.commands import Desk
from broker.service.link import Link
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.core.gateway import Endpoint, WordReply
    from broker.core.interfaces import Clock
    from broker.core.model import Session, SessionId
    from broker.service.files import Access

#: Dials at once: a broker that comes up among a thousand desktops knocks at all of them.
_DIALS = 16


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for whoever is in a desktop."""

    title: str
    text: str
    extend: bool
    """Whether a button offers more time."""
    lasts: float
    """Seconds that it stays on the screen."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whether somebody may come in, for whoever is in a desktop."""

    title: str
    text: str
    about: str
    """What `desk share let-in` and `desk share refuse` take there: an id."""
    lasts: float
    """Seconds that it stays on the screen."""


class Inside(Protocol):
    """The broker's way into desktops that run. Nothing in it raises: a tenant's own programs are at
    the other end, and may answer anything or nothing.
    """

    def hold(self, sessions: Sequence[Session]) -> None:
        """Keep a connection to each of these READY sessions, and to no other. Connects in the
        background, and again, ever less often, where that fails.
        """

    async def input_age(self, session_id: SessionId) -> float | None:
        """Seconds since keyboard or mouse of the desktop were last used, as its X server says;
        None when it cannot be had within 3 s.
        """

    async def tell(self, session_id: SessionId, notice: Notice) -> bool:
        """Show it in the desktop and as a line on every terminal inside; True when somebody there
        could see it within 5 s.
        """

    async def ask(self, session_id: SessionId, question: Question) -> bool:
        """Show it likewise, with two buttons there and a line that tells the commands; what is
        answered comes as one of those. True when somebody could see it.
        """

    async def resize(self, session_id: SessionId, width: int, height: int) -> bool:
        """Give the desktop that size, in pixels; whether it says within 8 s that it has it."""

    async def leave(self, session_id: SessionId) -> None:
        """End the connection at once, before a freeze or a stop. Idempotent."""

    async def close(self) -> None:
        """End all connections, and everything that is under way."""


class SshInside:
    """`Inside` by one SSH connection for each session, with the session's own key."""

    def __init__(
        self,
        *,
        reach: Callable[[Session], tuple[Sequence[Endpoint], Access]],
        answer: Callable[[SessionId, Sequence[str]], Awaitable[WordReply]],
        clock: Clock,
    ) -> None:
        """`reach` may raise `DeskError`; `answer` gets what stands behind the word `desk`."""
        self._reach = reach
        self._answer = answer
        self._clock = clock
        self._tasks = Tasks()
        self._dials = asyncio.Semaphore(_DIALS)
        self._links: dict[SessionId, Link] = {}

    def hold(self, sessions: Sequence[Session]) -> None:
        wanted = {session.id: session for session in sessions}
        for session_id in self._links.keys() - wanted.keys():
            link = self._links.pop(session_id)
            self._tasks.start(link.end(), name=f"leave {session_id}")
        for session_id, session in wanted.items():
            held = self._links.get(session_id)
            if held is None or held.over:
                self._links[session_id] = self._link(session)

    def _link(self, session: Session) -> Link:
        async def answer(argv: Sequence[str]) -> WordReply:
            return await self._answer(session.id, argv)

        return Link(
            session,
            reach=self._reach,
            desk=Desk(answer, self._clock),
            clock=self._clock,
            tasks=self._tasks,
            dials=self._dials,
        )

    async def input_age(self, session_id: SessionId) -> float | None:
        link = self._links.get(session_id)
        return await link.input_age() if link is not None else None

    async def tell(self, session_id: SessionId, notice: Notice) -> bool:
        link = self._links.get(session_id)
        return await link.tell(notice) if link is not None else False

    async def ask(self, session_id: SessionId, question: Question) -> bool:
        link = self._links.get(session_id)
        return await link.ask(question) if link is not None else False

    async def resize(self, session_id: SessionId, width: int, height: int) -> bool:
        link = self._links.get(session_id)
        return await link.resize(width, height) if link is not None else False

    async def leave(self, session_id: SessionId) -> None:
        link = self._links.pop(session_id, None)
        if link is not None:
            await link.end()

    async def close(self) -> None:
        self._links.clear()
        await self._tasks.close()

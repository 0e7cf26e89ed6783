"""Before a host is worked on: nothing starts any more, and everybody is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import BadRequest, DeskError, InMaintenance
from broker.core.model import SessionState
from broker.service.inside import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import Actor, Drain, Session
    from broker.service.inside import Inside

log = structlog.get_logger()

#: Characters that can be told at once, and seconds that they stay on the screen.
LONGEST, SHOWN = 1000, 600.0

#: Seconds for which it is known which image comes next: lists of sessions ask all the time.
_FRESH = 10.0

#: Desktops that are told at once.
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Told:
    """How many desktops that run showed it, and how many could not."""

    told: int
    missed: int


@dataclass(frozen=True, slots=True)
class Outdated:
    """A session that runs another image than its template has by now."""

    session: Session
    image: str
    """The id of the image that its next start takes."""


class Maintenance:
    """The drain, if one is announced, which outlives the broker; and what is told to everybody."""

    def __init__(
        self, *, store: Store, engine: Engine, inside: Inside, clock: Clock, image: str
    ) -> None:
        """`image` is the template's, as the engine knows it."""
        self._store = store
        self._engine = engine
        self._inside = inside
        self._clock = clock
        self._image = image
        self._known = False
        self._drain: Drain | None = None
        self._next: str | None = None
        self._asked = float("-inf")
        self._asking = asyncio.Lock()

    async def standing(self) -> Drain | None:
        """The one that is announced."""
        if not self._known:  # nobody but this broker changes it
            self._drain, self._known = await self._store.drain(), True
        return self._drain

    async def check(self) -> None:
        """Raises `InMaintenance` when nothing may start."""
        drain = await self.standing()
        if drain is not None:
            raise InMaintenance(public=sentence(drain))

    async def drain(self, *, at: datetime | None, message: str, actor: Actor) -> tuple[Drain, Told]:
        """Start nothing from now on, and tell everybody so; again with another date or message is
        right. What runs goes on, what sleeps wakes still. Raises `BadRequest` for a date that is
        over.
        """
        if at is not None and at <= self._clock.now():
            raise BadRequest(public="at: allowed is a moment that is yet to come.")
        self._drain = await self._store.begin_drain(at=at, message=_fit(message), actor=actor)
        self._known = True
        log.warning("nothing starts: maintenance", at=at, actor=actor.name)
        return self._drain, await self._tell(announcement(self._drain))

    async def resume(self, *, actor: Actor) -> None:
        """Start desktops again. Idempotent."""
        await self._store.end_drain(actor=actor)
        self._drain, self._known = None, True
        log.info("desktops start again", actor=actor.name)

    async def broadcast(self, text: str, *, actor: Actor) -> Told:
        """Show it in every desktop that runs, and on every terminal inside. Raises `BadRequest`."""
        text = _fit(text)
        if not text:
            raise BadRequest(public="text: allowed is a sentence.")
        told = await self._tell(text)
        # What people type is in no entry.
        await self._store.note(
            actor=actor,
            action="maintenance.broadcast",
            subject="desk",
            detail={"told": told.told, "missed": told.missed},
        )
        return told

    async def _tell(self, text: str) -> Told:
        notice = Notice(title="Message", text=text, extend=False, lasts=SHOWN)
        running = [
            session
            for session in await self._store.live_sessions()
            if session.state is SessionState.READY
        ]
        places = asyncio.Semaphore(_AT_ONCE)

        async def tell(session: Session) -> bool:
            async with places:
                return await self._inside.tell(session.id, notice)

        shown = await asyncio.gather(*(tell(session) for session in running))
        log.info("everybody told", told=sum(shown), missed=len(shown) - sum(shown))
        return Told(told=sum(shown), missed=len(shown) - sum(shown))

    async def next_image(self) -> str | None:
        """The id of the image that starts take now, as of some seconds ago; None when the engine
        does not tell.
        """
        async with self._asking:
            now = self._clock.monotonic()
            if now - self._asked >= _FRESH:
                try:
                    self._next = await self._engine.image_id(self._image)
                except DeskError:
                    self._next = None
                self._asked = now
            return self._next

    async def outdated(self) -> Sequence[Outdated]:
        """Sessions whose next start takes another image, the oldest first. Raises `DeskError` when
        the image is not there.
        """
        image = await self._engine.image_id(self._image)
        return [
            Outdated(session, image)
            for session in await self._store.live_sessions()
            if session.image != image
        ]


def sentence(drain: Drain) -> str:
    """What whoever cannot start anything reads."""
    when = "" if drain.at is None else f" It is planned for {_moment(drain.at)}."
    message = f" {drain.message}" if drain.message else ""
    return f"No desktop starts just now: Desk is being prepared for maintenance.{when}{message}"


def announcement(drain: Drain) -> str:
    """What whoever is in a desktop reads."""
    when = "soon" if drain.at is None else f"on {_moment(drain.at)}"
    message = f" {drain.message}" if drain.message else ""
    return (
        f"Maintenance {when}: save your work. What you stop or log out of does not start again"
        f" before it is over.{message}"
    )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d at %H:%M} UTC"


def _fit(text: str) -> str:
    """On one line, and with a full stop. Raises `BadRequest`."""
    text = " ".join(text.split())
    if len(text) > LONGEST or not text.isprintable():
        raise BadRequest(public=f"A message has at most {LONGEST} characters that can be printed.")
    return text if not text or text[-1] in ".!?" else f"{text}."

"""Guests: whoever comes by a share's link, and is let in by whoever is in the desktop, or not.

What becomes of a guest is in the state before anybody hears of it, so that no restart of the broker
lets somebody in, forgets that somebody was sent away, or leaves a question open for ever.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from broker.core.digest import hashed
from broker.core.errors import (
    AccessDenied,
    Conflict,
    DeskError,
    NotFound,
    SessionEnded,
    StaleState,
    Unauthenticated,
)
from broker.core.model import Actor, SessionState, shown
from broker.core.shares import GuestState, Mode, guest_id, guest_name
from broker.core.signins import is_secret, new_secret
from broker.service.inside import Question
from broker.system.tasks import first_of

if TYPE_CHECKING:
    from broker.core.gateway import Allowance, Identity
    from broker.core.interfaces import Clock, Store
    from broker.core.model import Desktop, DesktopId, Session
    from broker.core.shares import Guest, Share
    from broker.service.connections import Connections
    from broker.service.flights import Spawn
    from broker.service.inside import Inside
    from broker.service.shares import Shares

#: Seconds in which a guest is let in, or refused.
ANSWER_WITHIN = 60.0

#: Guests whose owners are asked at a time, of one share, and who ever come by one: a stranger with
#: a link can ask for a while, and not for ever.
ASKED, MOST = 3, 30

#: Looks at the database at a time for secrets, whoever shows them.
_AT_ONCE = 16

#: Guests who wait for an answer at a time: who is one more asks again by themselves.
WAITING = 256

#: Seconds between two looks of who waits: another broker may have written; and between two for what
#: is over.
_LOOK, LOOK_EVERY = 4.0, 5.0

#: Guests that are remembered as gone: a door may just be led to one's desktop.
_GONE = 4096

_NOBODY = "You are nobody's guest here: open the link that you were given again."
_NO_LINK = "This link does not count any more: ask for a new one."
_REFUSED = "Whoever shares this desktop did not let you in."
_SENT_AWAY = "Whoever shares this desktop has let you go."
_LEFT = "You have left."
_SILENT = "Nobody answered: ask whoever gave you the link, and come again."
_NOBODY_THERE = "Nobody was there to let you in: ask whoever gave you the link, and come again."
_NOT_YET = "Nobody has let you in yet."
_ASLEEP = "The desktop that is shared does not run just now: ask whoever gave you the link."


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Somebody who is in, and where."""

    guest: Guest
    share: Share
    desktop: Desktop
    session: Session
    """Ready."""
    allowed: frozenset[Allowance]
    """What its owner may."""


class Guests:
    """Every change is one audited transaction."""

    def __init__(
        self,
        *,
        store: Store,
        shares: Shares,
        inside: Inside,
        connections: Connections,
        clock: Clock,
        spawn: Spawn,
    ) -> None:
        self._store = store
        self._shares = shares
        self._inside = inside
        self._connections = connections
        self._clock = clock
        self._spawn = spawn
        self._looks = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._over = asyncio.Event()

    def close(self) -> None:
        """Nobody waits for news any more: a broker that stops would wait for them."""
        self._over.set()

    # ------------------------------------------------------------------------------------ coming

    async def come(self, token: str, name: str, address: str) -> tuple[Guest, Share, str]:
        """Somebody with a link: the guest, the share, and the secret, which is told here alone. The
        owner is asked. Raises `BadRequest` for the name, `NotFound` for a link that does not
        count, `SessionEnded` when the desktop does not run, `Conflict` and `CapacityExhausted` when
        too many have come or wait.
        """
        name = guest_name(name)
        async with self._looks:
            share = await self._shares.by(token)
        if share is None:
            raise NotFound(f"a link of {address} that does not count", public=_NO_LINK)
        session = await self._ready(share.desktop_id)
        secret = new_secret()
        guest = await self._store.add_guest(
            share.id,
            secret_hash=hashed(secret),
            name=name,
            address=address,
            asked=ASKED,
            most=MOST,
            actor=Actor("guest", f"share {share.id}", address),
        )
        self._spawn(self._ask(guest, share, session), name=f"question {guest.id}")
        return guest, share, secret

    async def _ask(self, guest: Guest, share: Share, session: Session) -> None:
        """Ask, and take no answer for one."""
        until = self._clock.monotonic() + ANSWER_WITHIN
        asked = await self._inside.ask(session.id, question(guest, share.mode))
        await self._clock.sleep(until - self._clock.monotonic())
        with suppress(DeskError):  # it was decided, or the next look does it
            await self._unanswered(guest, _SILENT if asked else _NOBODY_THERE)

    async def _unanswered(self, guest: Guest, why: str) -> None:
        await self._store.move_guest(
            guest.id,
            expected=[GuestState.ASKED],
            to=GuestState.REFUSED,
            why=why,
            actor="broker",
        )

    # ------------------------------------------------------------------------------------- there

    async def of(self, secret: str) -> tuple[Guest, Share]:
        """Whose the secret is. Raises `Unauthenticated`."""
        found = None
        if is_secret(secret):
            async with self._looks:
                found = await self._store.guest_of(hashed(secret))
        if found is None:
            raise Unauthenticated("a secret of no guest", public=_NOBODY)
        return found

    async def news(self, secret: str, state: str, seconds: float) -> tuple[Guest, Share]:
        """The same once the guest's state is not `state`, or after so many seconds."""
        found = await self.of(secret)
        if self._waiting >= WAITING or self._over.is_set():
            return found
        until = self._clock.monotonic() + seconds
        self._waiting += 1
        try:
            while found[0].state == state and (left := until - self._clock.monotonic()) > 0:
                more = self._store.next_record()
                found = await self.of(secret)
                if found[0].state == state:
                    pause = self._clock.sleep(min(left, _LOOK))
                    await first_of(more.wait(), self._over.wait(), pause)
                    found = await self.of(secret)
                if self._over.is_set():
                    break
        finally:
            self._waiting -= 1
        return found

    async def admitted(self, secret: str) -> Admitted:
        """Where somebody may go who was let in. Nothing is started for them. Raises
        `Unauthenticated`, `AccessDenied` with the reason, `SessionEnded` when the desktop does not
        run.
        """
        guest, share = await self.of(secret)
        if guest.state is not GuestState.IN:
            raise AccessDenied(public=guest.reason or _NOT_YET)
        if not await self._shares.stands(share):
            raise AccessDenied(public=_NO_LINK)
        session = await self._ready(share.desktop_id)
        desktop = await self._store.desktop(share.desktop_id)
        allowed = await self._shares.allowed(share)
        if desktop is None or guest.id in self._gone:  # while all that was looked at
            raise AccessDenied(public=_SENT_AWAY)
        return Admitted(guest=guest, share=share, desktop=desktop, session=session, allowed=allowed)

    async def still(self, identity: Identity) -> None:
        """Raises `AccessDenied` when the guest may be there no more."""
        found = await self._store.guest(guest_id(identity.credential) or "")
        if found is None or found[1].user_id != identity.user_id:
            raise AccessDenied(public=_NO_LINK)
        guest, share = found
        if guest.state is not GuestState.IN or not await self._shares.stands(share):
            raise AccessDenied(public=guest.reason or _NO_LINK)

    async def _ready(self, desktop_id: DesktopId) -> Session:
        session = await self._store.live_session(desktop_id)
        if session is None or session.state is not SessionState.READY:
            raise SessionEnded(f"the shared desktop {desktop_id} does not run", public=_ASLEEP)
        return session

    # ----------------------------------------------------------------------------------- decided

    async def guest(self, which: str) -> tuple[Guest, Share]:
        """Raises `NotFound`."""
        found = await self._store.guest(which)
        if found is None:
            raise NotFound(f"no guest {which}", public="There is no such guest.")
        return found

    async def let_in(self, guest: Guest, *, actor: Actor | str) -> Guest:
        """Raises `StaleState` when that was decided already, `Conflict` when it comes too late,
        `NotFound` when the share is over.
        """
        if self._overdue(guest):
            with suppress(StaleState):
                await self._unanswered(guest, _SILENT)
            raise Conflict(
                public=f"{shown(guest.name)} waited for {ANSWER_WITHIN:.0f} s and was sent away: they"
                " may come again by the link."
            )
        return await self._store.move_guest(
            guest.id, expected=[GuestState.ASKED], to=GuestState.IN, why=None, actor=actor
        )

    async def refuse(self, guest: Guest, *, actor: Actor | str) -> Guest:
        """Raises `StaleState` when that was decided already."""
        return await self._store.move_guest(
            guest.id,
            expected=[GuestState.ASKED],
            to=GuestState.REFUSED,
            why=_REFUSED,
            actor=actor,
        )

    async def end(self, guest: Guest, *, actor: Actor | str) -> Guest:
        """Send away somebody who is in or waits. Raises `StaleState` when they are neither."""
        return await self._go(guest, GuestState.ENDED, _SENT_AWAY, actor)

    async def leave(self, secret: str) -> None:
        """By the guest's own wish. Idempotent. Raises `Unauthenticated`."""
        guest, share = await self.of(secret)
        actor = Actor("guest", f"share {share.id}", guest.address)
        with suppress(StaleState):
            await self._go(guest, GuestState.LEFT, _LEFT, actor)

    async def _go(self, guest: Guest, to: GuestState, why: str, actor: Actor | str) -> Guest:
        moved = await self._store.move_guest(
            guest.id,
            expected=[GuestState.ASKED, GuestState.IN],
            to=to,
            why=why,
            actor=actor,
        )
        self._gone[guest.id] = None
        if len(self._gone) > _GONE:
            self._gone.popitem(last=False)
        self._connections.end_credential(guest.credential, why)
        return moved

    async def look(self) -> None:
        """What nobody saw to: shares that are over, and questions of before a restart."""
        await self._shares.look()
        for guest in await self._store.asked_guests():
            if self._overdue(guest):
                with suppress(StaleState):
                    await self._unanswered(guest, _SILENT)

    def _overdue(self, guest: Guest) -> bool:
        return guest.state is GuestState.ASKED and self._clock.now() - guest.asked_at >= timedelta(
            seconds=ANSWER_WITHIN
        )


def question(guest: Guest, mode: Mode) -> Question:
    """What whoever is in the desktop is asked."""
    wish = "see" if mode is Mode.LOOK else "see and use"
    return Question(
        title="Somebody asks to come in",
        text=f"A guest who calls themselves “{guest.name}”, from {guest.address}, asks to {wish} this"
        " desktop.",
        about=guest.id,
        lasts=ANSWER_WITHIN,
    )

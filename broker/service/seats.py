"""Places of browsers in desktops: whose the secret of their cookie is, and what they may do there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import AccessDenied, NotFound, SessionEnded
from broker.core.gateway import Allowance, Identity, Right, Route, Seat
from broker.core.model import DesktopId, SessionState, shown
from broker.core.shares import Mode
from broker.service.authentication import ENROL_FIRST
from broker.service.files import ACCOUNT
from broker.service.identities import actor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from broker.core.interfaces import Store
    from broker.core.model import Actor, Desktop, Session
    from broker.service.files import SessionKeys
    from broker.service.guests import Guests
    from broker.service.looking import Looking
    from broker.service.sessions import Sessions
    from broker.service.signins import Signed, SignIns
    from broker.service.standing import Standing

#: What owners may by each allowance; keyboard, size and sound are always theirs.
_BY_ALLOWANCE = {
    Right.CLIPBOARD_IN: Allowance.CLIPBOARD_IN,
    Right.CLIPBOARD_OUT: Allowance.CLIPBOARD_OUT,
    Right.FILES: Allowance.SFTP,
}

#: What guests may at most.
_TAKING_PART = {Right.CONTROL, Right.CLIPBOARD_IN, Right.CLIPBOARD_OUT, Right.SOUND}

#: All that guests learn of a desktop's name.
SHARED = "Shared desktop"

_NOT_RUNNING = "The desktop does not run just now: there is nothing to look at."


class Seats:
    """Implements `core.gateway.Gateway.seat`."""

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        sign_ins: SignIns,
        guests: Guests,
        looking: Looking,
        standing: Standing,
        keys: SessionKeys,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._sign_ins = sign_ins
        self._guests = guests
        self._looking = looking
        self._standing = standing
        self._keys = keys

    async def find(
        self,
        secret: str,
        address: str,
        *,
        desktop_id: str | None,
        look: bool,
        wake: bool,
        progress: Callable[[str], None],
    ) -> Seat:
        if desktop_id is None:
            return await self._guest(secret, address)
        signed = await self._sign_ins.of(secret, address)
        if signed.enrol:
            raise AccessDenied(public=ENROL_FIRST)
        if look:
            await self._look(signed, desktop_id, wake=wake, progress=progress)
            # Whoever was asked took their time.
            return await self._looks_on(await self._sign_ins.of(secret, address), desktop_id)
        return await self._own(signed, desktop_id, wake=wake, progress=progress)

    async def _guest(self, secret: str, address: str) -> Seat:
        """For whom nothing is started."""
        found = await self._guests.admitted(secret)
        guest, share = found.guest, found.share
        identity = Identity(
            user_id=share.user_id,
            user=guest.name,
            desktop=None,
            credential=guest.credential,
            method="guest",
            address=address,
            allowed=(),
        )
        return Seat(
            identity=identity,
            desktop=SHARED,
            route=self.to(found.session, found.desktop),
            rights=guest_rights(share.mode, found.allowed),
        )

    async def _look(
        self, signed: Signed, desktop_id: str, *, wake: bool, progress: Callable[[str], None]
    ) -> None:
        """Raises what `find` does, and `SessionEnded` when there is nothing to look at: nothing is
        started for it.
        """
        desktop = await self._seen(signed, desktop_id)
        if not wake:
            raise AccessDenied("a look without a word to anybody")
        session = await self._store.live_session(desktop.id)
        if session is None or session.state is not SessionState.READY:
            raise SessionEnded(public=_NOT_RUNNING)
        if desktop.user_id != signed.user.id:
            await self._looking.admit(signed.identity, desktop, session, progress)

    async def _looks_on(self, signed: Signed, desktop_id: str) -> Seat:
        desktop = await self._seen(signed, desktop_id)
        route = await self.route(desktop, actor=None, progress=_silence)
        if route is None:
            raise SessionEnded(public=_NOT_RUNNING)
        self._sign_ins.hold(signed)
        self._standing.note(signed.identity.credential, by=signed.sign_in.proven.credential)
        return Seat(
            identity=signed.identity, desktop=desktop.name, route=route, rights=(Right.SOUND,)
        )

    async def _seen(self, signed: Signed, desktop_id: str) -> Desktop:
        """One's own, or for admins anybody's. Raises `NotFound`, `AccessDenied`."""
        if signed.enrol:
            raise AccessDenied(public=ENROL_FIRST)
        desktop = await self._store.desktop(DesktopId(desktop_id))
        own = desktop is not None and desktop.user_id == signed.user.id
        if desktop is None or desktop.removed_at or not (own or signed.user.admin):
            raise _missing(desktop_id)
        return desktop

    async def _own(
        self, signed: Signed, desktop_id: str, *, wake: bool, progress: Callable[[str], None]
    ) -> Seat:
        desktop = await self._store.desktop(DesktopId(desktop_id))
        if desktop is None or desktop.removed_at or desktop.user_id != signed.user.id:
            raise _missing(desktop_id)
        self._sign_ins.hold(signed)
        identity = signed.identity
        self._standing.note(identity.credential, by=signed.sign_in.proven.credential)
        actor = actor_of(identity) if wake else None
        return Seat(
            identity=identity,
            desktop=desktop.name,
            route=await self.route(desktop, actor=actor, progress=progress),
            rights=own_rights(signed.allowed),
        )

    async def route(
        self, desktop: Desktop, *, actor: Actor | None, progress: Callable[[str], None]
    ) -> Route | None:
        """To the desktop, which is started or thawed for the actor. Without one it is left as it
        is: None unless it is ready.
        """
        if actor is not None:
            session = await self._sessions.ensure(desktop, actor=actor, tell=progress)
            return self.to(session, desktop)
        found = await self._store.live_session(desktop.id)
        ready = found is not None and found.state is SessionState.READY
        return self.to(found, desktop) if found is not None and ready else None

    def to(self, session: Session, desktop: Desktop) -> Route:
        """How a door reaches the session, which is ready."""
        access = self._keys.access(session.id)
        return Route(
            session_id=session.id,
            desktop_id=desktop.id,
            desktop=desktop.name,
            display=session.display or 0,
            user=ACCOUNT,
            endpoints=self._sessions.endpoints(session),
            host_key=access.host_key,
            client_key=access.client_key,
        )


def own_rights(allowed: Collection[Allowance]) -> tuple[Right, ...]:
    """What whoever may do these may in a desktop of their own."""
    return tuple(right for right in Right if _BY_ALLOWANCE.get(right) in {None, *allowed})


def guest_rights(mode: Mode, allowed: Collection[Allowance]) -> tuple[Right, ...]:
    """What guests may in the desktop of somebody who may these."""
    if mode is Mode.LOOK:
        return (Right.SOUND,)
    return tuple(right for right in own_rights(allowed) if right in _TAKING_PART)


def _silence(_sentence: str) -> None:
    """Nothing is started that could tell anything."""


def _missing(desktop_id: str) -> NotFound:
    return NotFound(public=f"There is no desktop {shown(desktop_id)}.")

"""Shares: an owner's permission to see a desktop, for a while, by a link."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from broker.core import words
from broker.core.digest import hashed
from broker.core.errors import AccessDenied, BadRequest, Conflict, NotFound
from broker.core.gateway import Allowance
from broker.core.signins import is_secret, new_secret

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from broker.core.interfaces import Clock, Store
    from broker.core.model import Actor, Desktop, DesktopId, UserId
    from broker.core.shares import Mode, Share
    from broker.service.connections import Connections
    from broker.service.policies import Policies

#: Seconds for which a share is good: when nobody says how long, and at most.
VALID, LONGEST = 1800.0, 86_400.0

#: Shares of a desktop that are open at a time.
MOST = 8

#: What guests are told whose share is over. Nothing here tells them whose it was.
TIME_OVER = "The time of this share is over."
_ENDED = "Whoever shared this desktop has ended that."
_TAKEN_BACK = "Desktops are not shared here any more."


class Shares:
    """Makes them, finds and ends them. Who is in by one is gone from every door within a second of
    its end.
    """

    def __init__(
        self,
        *,
        store: Store,
        policies: Policies,
        connections: Connections,
        clock: Clock,
        url: str | None,
    ) -> None:
        """`url` is where browsers find the pages; None: nobody knows."""
        self._store = store
        self._policies = policies
        self._connections = connections
        self._clock = clock
        self._url = url

    async def make(
        self,
        desktop: Desktop,
        *,
        mode: Mode,
        valid: float | None,
        allowed: Collection[Allowance],
        actor: Actor | str,
    ) -> tuple[Share, str]:
        """The share and its link, which is told here alone. `valid` is in seconds, `allowed` what
        its owner may. Raises `AccessDenied`, `BadRequest`, `NotFound`, and `Conflict` for one too
        many, or when the link would lead nowhere.
        """
        if Allowance.SHARE not in allowed:
            raise AccessDenied(
                public="You may not share desktops here: your administrator decides that."
            )
        seconds = VALID if valid is None else valid
        if not 0 < seconds <= LONGEST:
            raise BadRequest(
                public=f"A share is good for at most {words.spoken(LONGEST)}, not for"
                f" {words.spoken(seconds)}."
            )
        if self._url is None:
            raise Conflict(
                public="Where browsers find this Desk is not configured: 'web.url' is to say it."
            )
        token = new_secret()
        share = await self._store.add_share(
            desktop.id,
            token_hash=hashed(token),
            mode=mode,
            expires_at=self._clock.now() + timedelta(seconds=seconds),
            most=MOST,
            actor=actor,
        )
        # Behind the '#': no browser sends that to anybody, and no log of a proxy has it.
        return share, f"{self._url}/join#{token}"

    async def by(self, token: str) -> Share | None:
        """The open one of that link, whose owner may share still."""
        share = await self._store.share_of(hashed(token)) if is_secret(token) else None
        return share if share is not None and await self.stands(share) else None

    async def stands(self, share: Share) -> bool:
        """Whether guests can be in by it."""
        return share.open(self._clock.now()) and Allowance.SHARE in await self.allowed(share)

    async def allowed(self, share: Share) -> frozenset[Allowance]:
        """What its owner may."""
        return (await self._policies.of(share.user_id)).policy.allowed

    async def all(
        self, *, user_id: UserId | None = None, desktop_id: DesktopId | None = None
    ) -> Sequence[Share]:
        """Those that are open, the newest first."""
        return await self._store.shares(user_id=user_id, desktop_id=desktop_id)

    async def share(self, share_id: str) -> Share:
        """Raises `NotFound`."""
        found = await self._store.share(share_id)
        if found is None:
            raise NotFound(f"no share {share_id}", public="There is no such share.")
        return found

    async def end(self, share_id: str, *, actor: Actor | str, why: str = _ENDED) -> None:
        """Let go of all its guests; `why` tells them. Idempotent. Raises `NotFound`."""
        for guest in await self._store.end_share(share_id, why=why, actor=actor):
            self._connections.end_credential(guest.credential, why)

    async def look(self) -> None:
        """End those whose time is over, or whose owners may share no more."""
        for share in await self._store.expired_shares():
            await self.end(share.id, why=TIME_OVER, actor="broker")
        for share in await self._store.shares():
            if not await self.stands(share):
                await self.end(share.id, why=_TAKEN_BACK, actor="broker")

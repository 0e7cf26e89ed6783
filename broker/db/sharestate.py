"""The store's part that is about shares; what each method promises stands in
`core.sharestate.ShareState`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.sharestate import ShareState
from broker.db import shares
from broker.db.tables import guest, share

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from broker.core.interfaces import Clock
    from broker.core.model import Actor, DesktopId, UserId
    from broker.core.shares import Guest, GuestState, Mode, Share
    from broker.db.transaction import Transactions


class SqlShareState(ShareState):
    """The part of `SqlStore` that is about shares."""

    _do: Transactions
    _clock: Clock

    # -- shares
    async def add_share(
        self,
        desktop_id: DesktopId,
        *,
        token_hash: str,
        mode: Mode,
        expires_at: datetime,
        most: int,
        actor: Actor | str,
    ) -> Share:
        return await self._do.write(
            lambda tx: shares.add_share(
                tx, desktop_id, token_hash=token_hash, mode=mode, expires_at=expires_at, most=most
            ),
            actor=actor,
        )

    async def share(self, share_id: str) -> Share | None:
        return await self._do.read(lambda db: shares.share_by(db, share.c.id == share_id))

    async def share_of(self, token_hash: str) -> Share | None:
        now = self._clock.now()
        return await self._do.read(lambda db: shares.share_of(db, token_hash, now))

    async def shares(
        self, *, user_id: UserId | None = None, desktop_id: DesktopId | None = None
    ) -> Sequence[Share]:
        now = self._clock.now()
        return await self._do.read(
            lambda db: shares.shares(db, user_id=user_id, desktop_id=desktop_id, now=now)
        )

    async def expired_shares(self) -> Sequence[Share]:
        now = self._clock.now()
        return await self._do.read(lambda db: shares.expired_shares(db, now))

    async def end_share(self, share_id: str, *, why: str, actor: Actor | str) -> Sequence[Guest]:
        return await self._do.write(lambda tx: shares.end_share(tx, share_id, why=why), actor=actor)

    # -- guests
    async def add_guest(
        self,
        share_id: str,
        *,
        secret_hash: str,
        name: str,
        address: str,
        asked: int,
        most: int,
        actor: Actor | str,
    ) -> Guest:
        return await self._do.write(
            lambda tx: shares.add_guest(
                tx,
                share_id,
                secret_hash=secret_hash,
                name=name,
                address=address,
                asked=asked,
                most=most,
            ),
            actor=actor,
        )

    async def guest(self, guest_id: str) -> tuple[Guest, Share] | None:
        return await self._do.read(lambda db: shares.guest_by(db, guest.c.id == guest_id))

    async def guest_of(self, secret_hash: str) -> tuple[Guest, Share] | None:
        return await self._do.read(
            lambda db: shares.guest_by(db, guest.c.secret_hash == secret_hash)
        )

    async def asked_guests(self) -> Sequence[Guest]:
        return await self._do.read(shares.asked_guests)

    async def move_guest(
        self,
        guest_id: str,
        *,
        expected: Collection[GuestState],
        to: GuestState,
        why: str | None,
        actor: Actor | str,
    ) -> Guest:
        return await self._do.write(
            lambda tx: shares.move_guest(tx, guest_id, expected=expected, to=to, why=why),
            actor=actor,
        )

"""The part of the store's contract that is about shares and their guests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from broker.core.model import Actor, DesktopId, UserId
    from broker.core.shares import Guest, GuestState, Mode, Share


class ShareState(Protocol):
    """As in `Identities`; the audit tells each change under the desktop's owner. The shares of a
    desktop that is removed, and of whoever is disabled or removed, are ended with that.
    """

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
        """`token_hash` is the token's SHA-256 in hex digits. Forgets the desktop's shares that are
        over for a day. Raises `NotFound` (or removed, or its owner is disabled), `Conflict` when
        the desktop has `most` that are open.
        """

    async def share(self, share_id: str) -> Share | None:
        """One that is over too, for a day at least."""

    async def share_of(self, token_hash: str) -> Share | None:
        """The open one of that token."""

    async def shares(
        self, *, user_id: UserId | None = None, desktop_id: DesktopId | None = None
    ) -> Sequence[Share]:
        """Those that are open, the newest first."""

    async def expired_shares(self) -> Sequence[Share]:
        """Those whose time is over and that nobody has ended yet, without their guests."""

    async def end_share(self, share_id: str, *, why: str, actor: Actor | str) -> Sequence[Guest]:
        """End it, and let go of whoever was asked about or in: returns those. `why` is a sentence
        for them. One that is ended already is success. Raises `NotFound`.
        """

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
        """Somebody to ask the owner about. Raises `NotFound` when the share is not open,
        `CapacityExhausted` when the owner is asked about so many (`asked`) already, and `Conflict`
        when so many (`most`) came by the share already, whatever became of them.
        """

    async def guest(self, guest_id: str) -> tuple[Guest, Share] | None:
        """The share is without its guests."""

    async def guest_of(self, secret_hash: str) -> tuple[Guest, Share] | None:
        """The same by the secret in the cookie."""

    async def asked_guests(self) -> Sequence[Guest]:
        """Those whose owners are asked, the first first."""

    async def move_guest(
        self,
        guest_id: str,
        *,
        expected: Collection[GuestState],
        to: GuestState,
        why: str | None,
        actor: Actor | str,
    ) -> Guest:
        """Compare-and-set. Nobody comes in to a share that is not open. Raises `StaleState` when
        the state is none of `expected`, `NotFound`.
        """

"""Invites: tokens that are good once, and bind the key of whoever comes first with one."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from broker.core import words
from broker.core.digest import hashed
from broker.core.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.interfaces import Clock, Store
    from broker.core.model import Actor, Invite, User

#: Characters of a token, all fit for a login name.
TOKEN = 32

#: Seconds for which an invite may be good at most.
LONGEST = 365 * 86_400.0

_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{TOKEN}}}")


class Invites:
    """Makes invites, and finds them by their tokens, of which the state keeps hashes alone."""

    def __init__(self, *, store: Store, clock: Clock, valid: float) -> None:
        self._store = store
        self._clock = clock
        self.valid = valid
        """Seconds, where nobody says how long."""

    async def make(
        self, user: User, *, actor: Actor | str, valid: float | None = None
    ) -> tuple[Invite, str]:
        """An invite and its token, which is told once. `valid` is in seconds; None: as configured.
        Raises `BadRequest`, `NotFound`.
        """
        valid = self.valid if valid is None else valid
        if not 0 < valid <= LONGEST:
            raise BadRequest(
                public=f"An invite is good for at most {words.spoken(LONGEST)}, not for"
                f" {words.spoken(valid)}."
            )
        token = secrets.token_urlsafe(TOKEN * 3 // 4)
        invite = await self._store.add_invite(
            user.id,
            token_hash=hashed(token),
            expires_at=self._clock.now() + timedelta(seconds=valid),
            actor=actor,
        )
        return invite, token

    async def of(self, token: str) -> tuple[Invite, User] | None:
        """The open invite and whom it is for."""
        if not _TOKEN.fullmatch(token):
            return None
        return await self._store.invite_of(hashed(token))

    async def all(self, user: User | None = None) -> Sequence[Invite]:
        """Open, used and expired ones, newest first."""
        return await self._store.invites(user.id if user is not None else None)

    async def revoke(self, invite_id: str, *, actor: Actor | str) -> None:
        """Raises `NotFound` for one that is unknown or used up."""
        await self._store.revoke_invite(invite_id, actor=actor)

"""The way back in, for whoever has the host and lost everything else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from broker.core.errors import NotFound

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.model import Actor, Invite, User
    from broker.service.blocks import LoginBlocks
    from broker.service.invites import Invites


class Recovery:
    """Works on a state that no broker uses as well, where there are no blocks to lift."""

    def __init__(
        self, *, store: Store, invites: Invites, blocks: LoginBlocks | None = None
    ) -> None:
        self._store = store
        self._invites = invites
        self._blocks = blocks

    async def recover(
        self, user: User, *, admin: bool, valid: float | None, actor: Actor | str
    ) -> tuple[Invite, str]:
        """Enable the user, make them an admin when that is asked for, let their account be tried
        again, and invite them: the invite and its token, which is told once. `valid` as in
        `Invites.make`. Raises `BadRequest`, `NotFound`. May be repeated.
        """
        await self._store.note(
            actor=actor,
            action="access.recover",
            subject=user.id,
            detail={"name": user.name, "admin": admin},
        )
        await self._store.set_enabled(user.id, enabled=True, actor=actor)
        if admin:
            await self._store.set_admin(user.id, admin=True, actor=actor)
        if self._blocks is not None:
            with suppress(NotFound):
                await self._blocks.lift(user.name, actor=actor)
        return await self._invites.make(user, valid=valid, actor=actor)

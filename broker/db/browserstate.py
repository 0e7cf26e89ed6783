"""The store's part that is about browsers; what each method promises stands in
`core.browserstate.BrowserState`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.browserstate import BrowserState
from broker.db import signins, vouched
from broker.db.tables import vouched as vouched_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.model import Actor, User, UserId
    from broker.core.signins import Proven, SignIn
    from broker.db.transaction import Transactions

#: What has no audit row, or names who did it itself, needs nobody who asked for it.
_NOBODY = "broker"


class SqlBrowserState(BrowserState):
    """The part of `SqlStore` that is about browsers."""

    _do: Transactions

    # -- sign-ins
    async def add_sign_in(
        self,
        user_id: UserId,
        *,
        secret_hash: str,
        proven: Proven,
        address: str,
        browser: str,
        most: int,
        actor: Actor | str,
    ) -> tuple[SignIn, Sequence[str]]:
        return await self._do.write(
            lambda tx: signins.add_sign_in(
                tx,
                user_id,
                secret_hash=secret_hash,
                proven=proven,
                address=address,
                browser=browser,
                most=most,
            ),
            actor=actor,
        )

    async def sign_in_of(self, secret_hash: str) -> tuple[SignIn, User] | None:
        return await self._do.read(lambda db: signins.sign_in_of(db, secret_hash=secret_hash))

    async def sign_in(self, sign_in_id: str) -> tuple[SignIn, User] | None:
        return await self._do.read(lambda db: signins.sign_in_of(db, sign_in_id=sign_in_id))

    async def sign_ins(self, user_id: UserId | None = None) -> Sequence[SignIn]:
        return await self._do.read(lambda db: signins.sign_ins(db, user_id))

    async def note_sign_in_use(self, sign_in_id: str) -> None:
        await self._do.write(lambda tx: signins.note_use(tx, sign_in_id), actor=_NOBODY)

    async def prove_sign_in(self, sign_in_id: str, method: str, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: signins.prove(tx, sign_in_id, method), actor=actor)

    async def end_sign_in(self, sign_in_id: str, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: signins.end_sign_in(tx, sign_in_id), actor=actor)

    async def end_sign_ins_by(self, credential: str, *, actor: Actor | str) -> Sequence[str]:
        return await self._do.write(lambda tx: signins.end_by(tx, credential), actor=actor)

    async def forget_sign_ins(self, *, made: datetime, used: datetime) -> Sequence[str]:
        return await self._do.write(
            lambda tx: signins.forget_old(tx, made=made, used=used), actor=_NOBODY
        )

    # -- links
    async def add_link(
        self,
        user_id: UserId,
        *,
        token_hash: str,
        proven: Proven,
        expires_at: datetime,
        most: int,
        actor: Actor | str,
    ) -> None:
        await self._do.write(
            lambda tx: signins.add_link(
                tx, user_id, token_hash=token_hash, proven=proven, expires_at=expires_at, most=most
            ),
            actor=actor,
        )

    async def take_link(self, token_hash: str, *, origin: str) -> tuple[Proven, User] | None:
        return await self._do.write(
            lambda tx: signins.take_link(tx, token_hash, origin), actor=_NOBODY
        )

    # -- providers
    async def user_vouched(self, source: str, subject: str) -> User | None:
        return await self._do.read(lambda db: vouched.user_vouched(db, source, subject))

    async def vouch(
        self, user_id: UserId, *, source: str, subject: str, actor: Actor | str
    ) -> None:
        await self._do.write(
            lambda tx: vouched.vouch(tx, user_id, source=source, subject=subject),
            actor=actor,
            refusals={vouched_table.primary_key: vouched.elsewhere(source)},
        )

    async def unbind(self, user_id: UserId, *, actor: Actor | str) -> Sequence[str]:
        return await self._do.write(lambda tx: vouched.unbind(tx, user_id), actor=actor)

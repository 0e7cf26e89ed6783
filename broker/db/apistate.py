"""The store's part that is the API's own; what each method promises stands in
`core.apistate.ApiState`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.apistate import ApiState
from broker.db import answers, tokens
from broker.db.browserstate import SqlBrowserState
from broker.db.sharestate import SqlShareState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from broker.core.interfaces import Clock
    from broker.core.model import Actor, User, UserId
    from broker.core.tokens import KeptAnswer, Reach, Scope, Token

#: What has no audit row needs nobody who asked for it.
_NOBODY = "broker"


class SqlApiState(SqlBrowserState, SqlShareState, ApiState):
    """The part of `SqlStore` that is about the API's callers."""

    _clock: Clock

    # -- tokens
    async def add_token(
        self,
        user_id: UserId,
        *,
        token_hash: str,
        name: str,
        scopes: Collection[Scope],
        reach: Reach,
        expires_at: datetime | None,
        most: int,
        actor: Actor | str,
    ) -> Token:
        return await self._do.write(
            lambda tx: tokens.add_token(
                tx,
                user_id,
                token_hash=token_hash,
                name=name,
                scopes=scopes,
                reach=reach,
                expires_at=expires_at,
                most=most,
            ),
            actor=actor,
        )

    async def tokens(self, user_id: UserId | None = None) -> Sequence[Token]:
        return await self._do.read(lambda db: tokens.tokens(db, user_id))

    async def token(self, token_id: str) -> Token | None:
        return await self._do.read(lambda db: tokens.token_by_id(db, token_id))

    async def token_of(self, token_hash: str) -> tuple[Token, User] | None:
        now = self._clock.now()
        return await self._do.read(lambda db: tokens.token_of(db, token_hash, now))

    async def note_token_use(self, token_id: str, *, address: str) -> None:
        await self._do.write(lambda tx: tokens.note_use(tx, token_id, address), actor=_NOBODY)

    async def revoke_token(self, token_id: str, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: tokens.revoke_token(tx, token_id), actor=actor)

    # -- answers
    async def begin_answer(
        self, caller: str, key: str, request: str, *, since: datetime, most: int
    ) -> KeptAnswer | None:
        return await self._do.write(
            lambda tx: answers.begin(tx, caller, key, request, since=since, most=most),
            actor=_NOBODY,
        )

    async def finish_answer(
        self, caller: str, key: str, *, status: int, location: str | None, body: str | None
    ) -> None:
        await self._do.write(
            lambda tx: answers.finish(tx, caller, key, status=status, location=location, body=body),
            actor=_NOBODY,
        )

    async def drop_answer(self, caller: str, key: str) -> None:
        await self._do.write(lambda tx: answers.drop(tx, caller, key), actor=_NOBODY)

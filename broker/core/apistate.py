"""The part of the store's contract that is the API's own: tokens, and answers that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.core.browserstate import BrowserState
from broker.core.sharestate import ShareState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from broker.core.model import Actor, User, UserId
    from broker.core.tokens import KeptAnswer, Reach, Scope, Token


class ApiState(BrowserState, ShareState, Protocol):
    """As in `Identities`."""

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
        """`token_hash` is the secret's SHA-256 in hex digits. Raises `NotFound`, and `Conflict`
        when the user has as many as `most` already.
        """

    async def tokens(self, user_id: UserId | None = None) -> Sequence[Token]:
        """Expired ones too, newest first."""

    async def token(self, token_id: str) -> Token | None:
        """An expired one too."""

    async def token_of(self, token_hash: str) -> tuple[Token, User] | None:
        """The unexpired token of an enabled user."""

    async def note_token_use(self, token_id: str, *, address: str) -> None:
        """It was used now, from there. One that is gone meanwhile is no error. Has no audit row."""

    async def revoke_token(self, token_id: str, *, actor: Actor | str) -> None:
        """Raises `NotFound`."""

    # -- answers
    async def begin_answer(
        self, caller: str, key: str, request: str, *, since: datetime, most: int
    ) -> KeptAnswer | None:
        """Note that `caller` is answered to `request`, a hash, under `key`: None. Or what is noted
        under it already. What is older than `since` is forgotten first. Raises `CapacityExhausted`
        when the caller has `most` of them. Has no audit row, as the next two.
        """

    async def finish_answer(
        self, caller: str, key: str, *, status: int, location: str | None, body: str | None
    ) -> None:
        """What was answered."""

    async def drop_answer(self, caller: str, key: str) -> None:
        """Forget it: nothing came of the call. Idempotent."""

"""The part of the store's contract that is about browsers: sign-ins, links that make them, and whom
a provider of sign-ins means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.model import Actor, User, UserId
    from broker.core.signins import Proven, SignIn


class BrowserState(Protocol):
    """As in `Identities`. Whoever is disabled has no sign-ins and links any more, and whoever is
    removed nothing of this.
    """

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
        """`secret_hash` is the secret's SHA-256 in hex digits. A user has at most `most`: those not
        used for longest end, and are returned by their ids. Raises `NotFound`, also when the user
        is disabled.
        """

    async def sign_in_of(self, secret_hash: str) -> tuple[SignIn, User] | None:
        """That of an enabled user, however old it is."""

    async def sign_in(self, sign_in_id: str) -> tuple[SignIn, User] | None:
        """The same by its id."""

    async def sign_ins(self, user_id: UserId | None = None) -> Sequence[SignIn]:
        """The last used first; old ones too."""

    async def note_sign_in_use(self, sign_in_id: str) -> None:
        """It was used now. One that is gone meanwhile is no error. Has no audit row."""

    async def prove_sign_in(self, sign_in_id: str, method: str, *, actor: Actor | str) -> None:
        """Its person has proven more of themselves: by `method` from now on. Raises `NotFound`."""

    async def end_sign_in(self, sign_in_id: str, *, actor: Actor | str) -> None:
        """Raises `NotFound`."""

    async def end_sign_ins_by(self, credential: str, *, actor: Actor | str) -> Sequence[str]:
        """All that stand by that credential, and links that would; returns the ids of sign-ins."""

    async def forget_sign_ins(self, *, made: datetime, used: datetime) -> Sequence[str]:
        """Those made then or before, or last used then or before; and links that are too old.
        Returns the ids of sign-ins.
        """

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
        """`token_hash` as `secret_hash` above. Of a user's links, `most` count, the newest ones.
        Raises `NotFound`, also when the user is disabled.
        """

    async def take_link(self, token_hash: str, *, origin: str) -> tuple[Proven, User] | None:
        """Use the link up: of any number who come with it at the same time one gets what it stands
        for. None for one that is unknown, used, too old, or whose user is disabled. `origin` is
        the address of who comes, for the audit.
        """

    # -- providers
    async def user_vouched(self, source: str, subject: str) -> User | None:
        """Who is bound to what the provider calls so for good; a disabled user too."""

    async def vouch(
        self, user_id: UserId, *, source: str, subject: str, actor: Actor | str
    ) -> None:
        """Bind the user to that. Idempotent. Raises `Conflict` when the user is bound to somebody
        else of that source, or that to another user; `NotFound`.
        """

    async def unbind(self, user_id: UserId, *, actor: Actor | str) -> Sequence[str]:
        """The user is bound to nobody any more; returns the sources. Raises `NotFound` when they
        were not.
        """

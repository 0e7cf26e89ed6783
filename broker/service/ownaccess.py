"""What people do themselves to what proves them: nobody takes away their own last way in."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from broker.core.errors import Conflict
from broker.core.model import LOCAL
from broker.core.policy import Way
from broker.service.credentials import DEVICE
from broker.service.identities import actor_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.gateway import Identity
    from broker.core.interfaces import Clock, Store
    from broker.core.model import Key, User
    from broker.service.accounts import Accounts, End
    from broker.service.codes import Enrolment, OneTimeCodes
    from broker.service.policies import Policies

_BY_KEY = frozenset({Way.KEY, Way.KEY_CODE})
_BY_PASSWORD = frozenset({Way.PASSWORD, Way.PASSWORD_CODE})

#: Characters that are not taken for one another, and how many of them, in groups: 99 bits.
_CHARACTERS, _GROUPS, _GROUP = "abcdefghjkmnpqrstuvwxyz23456789", 4, 5


class OwnAccess:
    """Every change is the proven person's, and an end of what let them in is `end`'s to bring
    about: the answer may go by that very connection. All raise `DeskError`.
    """

    def __init__(
        self,
        *,
        store: Store,
        accounts: Accounts,
        codes: OneTimeCodes,
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._codes = codes
        self._policies = policies
        self._clock = clock
        self._removing = asyncio.Lock()

    # ----------------------------------------------------------------------------------------- keys

    async def keys(self, user: User) -> Sequence[Key]:
        return await self._store.keys(user.id)

    async def add_key(self, identity: Identity, line: str) -> Key:
        return await self._accounts.add_key(identity.user, line, actor=actor_of(identity))

    async def rename_key(self, identity: Identity, named: str, new: str) -> Key:
        return await self._accounts.rename_key(identity.user, named, new, actor=actor_of(identity))

    async def remove_key(self, identity: Identity, user: User, named: str, end: End) -> Key:
        """Raises `Conflict` for the last way in."""
        async with self._removing:  # two at once would each leave the other's
            key = await self._accounts.key(user, named)
            await self._check(identity, user, without=key.fingerprint)
            await self._accounts.remove_key(
                user.name, key.fingerprint, actor=actor_of(identity), end=end
            )
        return key

    # ------------------------------------------------------------------------------------- password

    async def has_password(self, user: User) -> bool:
        return await self._store.password(user.id) is not None

    async def new_password(self, identity: Identity, user: User, end: End) -> str:
        """Made here, and told once. Raises `Conflict` where no password lets the user in, or where
        it is kept elsewhere.
        """
        policy = (await self._policies.of(user.id)).policy
        if not policy.ways & _BY_PASSWORD:
            raise Conflict(public="No password lets you in here, so you need none.")
        password = "-".join(_group() for _ in range(_GROUPS))
        await self._accounts.set_password(user.name, password, actor=actor_of(identity), end=end)
        return password

    async def remove_password(self, identity: Identity, user: User, end: End) -> None:
        """Raises `Conflict` for the last way in, `NotFound` when there is none."""
        async with self._removing:
            if await self.has_password(user):
                await self._check(identity, user, without=None)
            await self._accounts.remove_password(user.name, actor=actor_of(identity), end=end)

    # ---------------------------------------------------------------------------------------- codes

    async def begin_codes(self, identity: Identity, user: User) -> Enrolment:
        return await self._codes.begin(user, actor=actor_of(identity))

    async def confirm_codes(self, identity: Identity, user: User, code: str) -> Sequence[str]:
        """The recovery codes, told once."""
        return await self._codes.confirm(user, code, actor=actor_of(identity))

    async def remove_codes(self, identity: Identity, user: User) -> None:
        await self._codes.remove(user, actor=actor_of(identity))

    # --------------------------------------------------------------------------------- last way in

    async def _check(self, identity: Identity, user: User, *, without: str | None) -> None:
        """That something lets the user in still, without that key, or without the password where
        that is None.
        """
        policy = (await self._policies.of(user.id)).policy
        if policy.ways & _BY_KEY:
            if identity.method.startswith("certificate"):
                return
            keys = await self._store.keys(user.id)
            others = [key for key in keys if key.fingerprint != without]
            if any(self._counts(key, hardware_keys=policy.hardware_keys) for key in others):
                return
        if policy.ways & _BY_PASSWORD:
            if user.source != LOCAL:
                return
            if without is not None and await self.has_password(user):
                return
        raise Conflict(
            public="That is your last way in: add another one first, by 'desk keys add' or"
            " 'desk password new'."
        )

    def _counts(self, key: Key, *, hardware_keys: bool) -> bool:
        if key.expires_at is not None and key.expires_at <= self._clock.now():
            return False
        return not hardware_keys or key.public.startswith(DEVICE)


def _group() -> str:
    return "".join(secrets.choice(_CHARACTERS) for _ in range(_GROUP))

"""The store's part about who people are; what each method promises stands in
`core.identities.Identities`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.errors import Conflict
from broker.core.identities import Identities
from broker.core.model import LOCAL, shown
from broker.db import audit, credentials, groups, invites, keys, users
from broker.db.apistate import SqlApiState
from broker.db.tables import user_key, user_key_name, user_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from broker.core.model import (
        Actor,
        Codes,
        Group,
        Invite,
        Key,
        LoginNote,
        Password,
        User,
        UserId,
    )


class SqlIdentities(SqlApiState, Identities):
    """The half of `SqlStore` that is about users and what proves them."""

    # -- users
    async def add_user(
        self, name: str, *, admin: bool, source: str = LOCAL, actor: Actor | str
    ) -> User:
        taken = Conflict(f"user {name} exists", public=f"The name {shown(name)} is taken.")
        return await self._do.write(
            lambda tx: users.add_user(tx, name, admin=admin, source=source),
            actor=actor,
            refusals={user_name: taken},
        )

    async def remove_user(self, user_id: UserId, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: users.remove_user(tx, user_id), actor=actor)

    async def set_enabled(self, user_id: UserId, *, enabled: bool, actor: Actor | str) -> None:
        await self._do.write(
            lambda tx: users.set_enabled(tx, user_id, enabled=enabled), actor=actor
        )

    async def set_admin(self, user_id: UserId, *, admin: bool, actor: Actor | str) -> None:
        await self._do.write(lambda tx: users.set_admin(tx, user_id, admin=admin), actor=actor)

    async def user(self, name: str) -> User | None:
        return await self._do.read(lambda db: users.user_named(db, name))

    async def user_by_id(self, user_id: UserId) -> User | None:
        return await self._do.read(lambda db: users.user_by_id(db, user_id))

    async def users(self) -> Sequence[User]:
        return await self._do.read(users.users)

    # -- keys
    async def add_key(
        self,
        user_id: UserId,
        *,
        fingerprint: str,
        public: str,
        name: str,
        expires_at: datetime | None = None,
        sources: Sequence[str] = (),
        verify_required: bool = False,
        actor: Actor | str,
    ) -> Key:
        return await self._do.write(
            lambda tx: keys.add_key(
                tx,
                user_id,
                fingerprint=fingerprint,
                public=public,
                name=name,
                expires_at=expires_at,
                sources=sources,
                verify_required=verify_required,
            ),
            actor=actor,
            refusals={
                user_key.primary_key: _anothers(fingerprint),
                user_key_name: _name_taken(name),
            },
        )

    async def rename_key(
        self, user_id: UserId, fingerprint: str, name: str, *, actor: Actor | str
    ) -> None:
        await self._do.write(
            lambda tx: keys.rename_key(tx, user_id, fingerprint, name),
            actor=actor,
            refusals={user_key_name: _name_taken(name)},
        )

    async def remove_key(self, user_id: UserId, fingerprint: str, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: keys.remove_key(tx, user_id, fingerprint), actor=actor)

    async def keys(self, user_id: UserId) -> Sequence[Key]:
        return await self._do.read(lambda db: keys.keys(db, user_id))

    async def key_owner(self, fingerprint: str) -> tuple[Key, User] | None:
        return await self._do.read(lambda db: keys.key_owner(db, fingerprint))

    async def homes(self, *, since: datetime, limit: int) -> Sequence[tuple[str, str, datetime]]:
        return await self._do.read(lambda db: audit.homes(db, since=since, limit=limit))

    async def note_logins(self, logins: Sequence[LoginNote]) -> None:
        if logins:
            await self._do.write(lambda tx: keys.note_logins(tx, logins), actor="broker")

    # -- passwords
    async def set_password(
        self,
        user_id: UserId,
        hash: str,  # noqa: A002 - the field's word
        *,
        actor: Actor | str,
    ) -> Password:
        return await self._do.write(
            lambda tx: credentials.set_password(tx, user_id, hash), actor=actor
        )

    async def remove_password(self, user_id: UserId, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: credentials.remove_password(tx, user_id), actor=actor)

    async def password(self, user_id: UserId) -> Password | None:
        return await self._do.read(lambda db: credentials.password(db, user_id))

    # -- one-time codes
    async def begin_codes(self, user_id: UserId, secret: str, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: credentials.begin_codes(tx, user_id, secret), actor=actor)

    async def confirm_codes(
        self,
        user_id: UserId,
        step: int,
        recovery_hashes: Collection[str],
        *,
        actor: Actor | str,
    ) -> None:
        await self._do.write(
            lambda tx: credentials.confirm_codes(tx, user_id, step, recovery_hashes), actor=actor
        )

    async def codes(self, user_id: UserId) -> Codes | None:
        return await self._do.read(lambda db: credentials.codes(db, user_id))

    async def take_step(self, user_id: UserId, step: int) -> bool:
        return await self._do.write(
            lambda tx: credentials.take_step(tx, user_id, step), actor="broker"
        )

    async def take_recovery(
        self,
        user_id: UserId,
        hash: str,  # noqa: A002 - the field's word
        *,
        actor: Actor | str,
    ) -> bool:
        return await self._do.write(
            lambda tx: credentials.take_recovery(tx, user_id, hash), actor=actor
        )

    async def remove_codes(self, user_id: UserId, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: credentials.remove_codes(tx, user_id), actor=actor)

    # -- invites
    async def add_invite(
        self, user_id: UserId, *, token_hash: str, expires_at: datetime, actor: Actor | str
    ) -> Invite:
        return await self._do.write(
            lambda tx: invites.add_invite(
                tx, user_id, token_hash=token_hash, expires_at=expires_at
            ),
            actor=actor,
        )

    async def invites(self, user_id: UserId | None = None) -> Sequence[Invite]:
        return await self._do.read(lambda db: invites.invites(db, user_id))

    async def invite_of(self, token_hash: str) -> tuple[Invite, User] | None:
        now = self._clock.now()
        return await self._do.read(lambda db: invites.invite_of(db, token_hash, now))

    async def redeem_invite(
        self, token_hash: str, *, fingerprint: str, public: str, name: str, actor: Actor | str
    ) -> User:
        return await self._do.write(
            lambda tx: invites.redeem_invite(
                tx, token_hash, fingerprint=fingerprint, public=public, name=name
            ),
            actor=actor,
        )

    async def revoke_invite(self, invite_id: str, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: invites.revoke_invite(tx, invite_id), actor=actor)

    # -- groups
    async def set_group(
        self, name: str, *, priority: int, policy: Mapping[str, Any], actor: Actor | str
    ) -> Group:
        return await self._do.write(
            lambda tx: groups.set_group(tx, name, priority=priority, policy=policy), actor=actor
        )

    async def remove_group(self, name: str, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: groups.remove_group(tx, name), actor=actor)

    async def group(self, name: str) -> Group | None:
        return await self._do.read(lambda db: groups.group(db, name))

    async def groups(self) -> Sequence[Group]:
        return await self._do.read(groups.groups)

    async def join_group(self, user_id: UserId, name: str, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: groups.join_group(tx, user_id, name), actor=actor)

    async def leave_group(self, user_id: UserId, name: str, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: groups.leave_group(tx, user_id, name), actor=actor)

    async def groups_of(self, user_id: UserId) -> Sequence[Group]:
        return await self._do.read(lambda db: groups.groups_of(db, user_id))

    async def members(self, name: str) -> Sequence[User]:
        return await self._do.read(lambda db: groups.members(db, name))

    async def sync_groups(
        self, user_id: UserId, names: Collection[str], *, source: str, actor: Actor | str
    ) -> None:
        if source == LOCAL:
            raise ValueError("what an admin says is not an outside source's")
        # Each login asks, and hardly any changes something: most need no writer's turn.
        before = await self._do.read(lambda db: groups.said_by(db, user_id, source))
        after = await self._do.read(lambda db: groups.known_of(db, names))
        if before != after:
            await self._do.write(
                lambda tx: groups.sync_groups(tx, user_id, names, source=source), actor=actor
            )


def _anothers(fingerprint: str) -> Conflict:
    return Conflict(
        f"{fingerprint} is somebody's already", public="This key belongs to another user."
    )


def _name_taken(name: str) -> Conflict:
    return Conflict(
        f"a key has the name {name}",
        public=f"Another key has the name {shown(name)}; choose another name.",
    )

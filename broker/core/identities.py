"""The part of the store's contract that is about who people are: users, keys, passwords, codes,
invites, groups. `interfaces.Store` is the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from broker.core.apistate import ApiState
from broker.core.model import LOCAL

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


class Identities(ApiState, Protocol):
    """As in `Store`: each method is one durable transaction with its audit row inside it, and
    raises `StateUnusable` when the database cannot be read or written.

    A bare string for an `actor` is an `Actor` who proved nothing. Secrets, hashes and public keys
    are in no audit row.
    """

    # -- users
    async def add_user(
        self, name: str, *, admin: bool, source: str = LOCAL, actor: Actor | str
    ) -> User:
        """Raises `Conflict` when the name is taken."""

    async def remove_user(self, user_id: UserId, *, actor: Actor | str) -> None:
        """Take the account away with its keys, password, codes, open invites and memberships, and
        mark its desktops removed: homes and uids stay, and nobody who is given the name later gets
        them. Raises `NotFound`, and `Conflict` while one of its desktops has a live session.
        """

    async def set_enabled(self, user_id: UserId, *, enabled: bool, actor: Actor | str) -> None:
        """Whether anything proves the user; their sign-ins and links end with that. Idempotent.
        Raises `NotFound`.
        """

    async def set_admin(self, user_id: UserId, *, admin: bool, actor: Actor | str) -> None:
        """Whether the user is an admin. Idempotent. Raises `NotFound`."""

    async def user(self, name: str) -> User | None: ...

    async def user_by_id(self, user_id: UserId) -> User | None:
        """Also finds a removed user: a desktop's record can outlive its owner's account."""

    async def users(self) -> Sequence[User]:
        """All that are not removed, by name."""

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
        """Raises `Conflict` when the key is somebody's already, the same user's too, or when
        another key of the user has the name; `NotFound`.
        """

    async def rename_key(
        self, user_id: UserId, fingerprint: str, name: str, *, actor: Actor | str
    ) -> None:
        """Its own name is success. Raises `Conflict` when another key has the name; `NotFound`."""

    async def remove_key(self, user_id: UserId, fingerprint: str, *, actor: Actor | str) -> None:
        """Raises `NotFound`."""

    async def keys(self, user_id: UserId) -> Sequence[Key]:
        """In the order in which they were added."""

    async def key_owner(self, fingerprint: str) -> tuple[Key, User] | None:
        """The key and the enabled, unremoved user who has it. Whether it is expired, and from
        where it may be used, is for the caller to judge.
        """

    async def homes(self, *, since: datetime, limit: int) -> Sequence[tuple[str, str, datetime]]:
        """Accounts, the addresses from which they logged in since then, and when last; so many,
        the latest first. Very old entries of a long audit may be passed over.
        """

    async def note_logins(self, logins: Sequence[LoginNote]) -> None:
        """Tell the audit of each, in their order, and set when and from where their keys were last
        used; an older login than the last one noted changes nothing of that. Users and keys that
        are gone meanwhile are no error.
        """

    # -- passwords
    async def set_password(
        self,
        user_id: UserId,
        hash: str,  # noqa: A002 - the field's word
        *,
        actor: Actor | str,
    ) -> Password:
        """In place of the one before, with an id of its own. Raises `NotFound`."""

    async def remove_password(self, user_id: UserId, *, actor: Actor | str) -> None:
        """Raises `NotFound` when there is none."""

    async def password(self, user_id: UserId) -> Password | None: ...

    # -- one-time codes
    async def begin_codes(self, user_id: UserId, secret: str, *, actor: Actor | str) -> None:
        """Keep the secret until it is confirmed, in place of an unconfirmed one. Raises `Conflict`
        when the user has confirmed codes; `NotFound`.
        """

    async def confirm_codes(
        self,
        user_id: UserId,
        step: int,
        recovery_hashes: Collection[str],
        *,
        actor: Actor | str,
    ) -> None:
        """From now on codes are asked for; that of `step` is used up. Raises `NotFound` when none
        were begun, `Conflict` when they are confirmed already.
        """

    async def codes(self, user_id: UserId) -> Codes | None:
        """Unconfirmed ones too."""

    async def take_step(self, user_id: UserId, step: int) -> bool:
        """Use up the code of `step`, and those of all steps before; once among any number who ask
        at the same time. False when it was used up already, or when no codes are confirmed. Has no
        audit row: the login has.
        """

    async def take_recovery(
        self,
        user_id: UserId,
        hash: str,  # noqa: A002 - the field's word
        *,
        actor: Actor | str,
    ) -> bool:
        """Use up the recovery code; once. False for one that is unknown or used up."""

    async def remove_codes(self, user_id: UserId, *, actor: Actor | str) -> None:
        """With the recovery codes. Raises `NotFound` when there are none."""

    # -- invites
    async def add_invite(
        self, user_id: UserId, *, token_hash: str, expires_at: datetime, actor: Actor | str
    ) -> Invite:
        """`token_hash` is the token's SHA-256 in hex digits. Raises `NotFound`."""

    async def invites(self, user_id: UserId | None = None) -> Sequence[Invite]:
        """Open, used and expired ones, newest first."""

    async def invite_of(self, token_hash: str) -> tuple[Invite, User] | None:
        """The unused, unexpired invite of an enabled user."""

    async def redeem_invite(
        self, token_hash: str, *, fingerprint: str, public: str, name: str, actor: Actor | str
    ) -> User:
        """Bind the key to the invite's user under a name near `name`, and use the invite up; a key
        that is the user's own already uses it up too. Of any number who come with it at the same
        time one does. Raises `NotFound` when the invite is not open any more, `Conflict` when the
        key is somebody else's, whereupon the invite stays open.
        """

    async def revoke_invite(self, invite_id: str, *, actor: Actor | str) -> None:
        """Raises `NotFound` for one that is unknown or used up."""

    # -- groups
    async def set_group(
        self, name: str, *, priority: int, policy: Mapping[str, Any], actor: Actor | str
    ) -> Group:
        """Make the group, or replace what it says. What is in `policy` must be fit for JSON; what
        it means is checked by the caller.
        """

    async def remove_group(self, name: str, *, actor: Actor | str) -> None:
        """With all memberships. Raises `NotFound`."""

    async def group(self, name: str) -> Group | None: ...

    async def groups(self) -> Sequence[Group]:
        """The highest priority first, then by name."""

    async def join_group(self, user_id: UserId, name: str, *, actor: Actor | str) -> None:
        """Idempotent. Raises `NotFound` for a user or a group."""

    async def leave_group(self, user_id: UserId, name: str, *, actor: Actor | str) -> None:
        """Ends what `join_group` did; what an outside source says stays. Raises `NotFound`."""

    async def groups_of(self, user_id: UserId) -> Sequence[Group]:
        """Each once, whoever said so; in the order of `groups`."""

    async def members(self, name: str) -> Sequence[User]:
        """Each once, by name."""

    async def sync_groups(
        self, user_id: UserId, names: Collection[str], *, source: str, actor: Actor | str
    ) -> None:
        """Make the memberships that `source` (not `local`) says be these, of groups that exist;
        other names are ignored. When they are so already, writes nothing, and no audit row; else
        raises `NotFound` when there is no such user.
        """

"""What the API takes and gives of people: accounts, what proves them, groups, the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt
from typing_extensions import TypedDict

from broker.core.model import LOCAL
from broker.http.kinds import Time, time, time_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.blocks import Block
    from broker.core.model import AuditEntry, Group, Invite, Key, User, Verification


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewUser(_In):
    """Body of `POST /users`."""

    name: str = Field(max_length=256)
    admin: bool = False
    keys: tuple[str, ...] = Field(default=(), max_length=100)
    source: str = Field(default=LOCAL, max_length=64)


class NewKey(_In):
    """Body of `POST /users/{name}/keys`."""

    key: str = Field(max_length=16_384)


class KeyChange(_In):
    """Body of `PATCH /users/{name}/keys/{key}`."""

    name: str = Field(max_length=256)


class NewPassword(_In):
    """Body of `PUT /users/{name}/password`."""

    password: str = Field(max_length=16_384, repr=False)


class NewInvite(_In):
    """Body of `POST /users/{name}/invites`."""

    valid: str | None = Field(default=None, max_length=64)
    """A time like `3d`; as configured when not said."""


class Recovery(_In):
    """Body of `POST /users/{name}/recover`."""

    admin: StrictBool = False
    valid: str | None = Field(default=None, max_length=64)


class NewGroup(_In):
    """Body of `POST /groups`."""

    name: str = Field(max_length=256)
    priority: StrictInt = Field(default=0, ge=-1_000_000, le=1_000_000)
    policy: dict[str, Any] = Field(default={}, max_length=100)


class GroupChange(_In):
    """Body of `PATCH /groups/{name}`."""

    priority: StrictInt | None = Field(default=None, ge=-1_000_000, le=1_000_000)
    policy: dict[str, Any] = Field(default={}, max_length=100)
    """By flat key; null: the group says nothing of it any more."""


class UserOut(TypedDict):
    """An account."""

    id: str
    name: str
    admin: bool
    enabled: bool
    source: str
    """Where the password is checked: `local`, or the name of an outside source."""
    keys: int
    """How many prove the user."""
    created_at: Time


class KeyOut(TypedDict):
    """A public key that proves a user."""

    name: str
    fingerprint: str
    type: str
    added_at: Time
    expires_at: Time | None
    sources: list[str]
    """Networks from which it counts; none: from anywhere."""
    verify_required: bool
    last_used_at: Time | None
    last_used_from: str | None


class InviteOut(TypedDict):
    """What binds one key to a user, once."""

    id: str
    user: str
    state: Literal["open", "used", "expired"]
    made_at: Time
    made_by: str
    expires_at: Time
    used_at: Time | None
    fingerprint: str | None
    """Of the key that it bound."""


class InviteMade(InviteOut):
    """A new invite; its token is told here alone."""

    login: str
    """The login name to connect with: `invite+TOKEN`."""
    port: int
    """Of SSH."""


#: One value of what holds for a user, in words, and who says so: `config` or `group NAME`.
PolicyValue = TypedDict("PolicyValue", {"key": str, "value": str, "from": str})


class GroupOut(TypedDict):
    """Users for whom something else holds than the configuration says."""

    name: str
    priority: int
    policy: dict[str, Any]
    """By flat key."""
    members: list[str]


class BlockOut(TypedDict):
    """An account that has to wait after wrong passwords or codes."""

    account: str | None
    """A name that nobody has can be anything, somebody's password too: it is not told."""
    place: str | None
    failures: int
    seconds: int
    """Until the next try is taken."""


class EntryOut(TypedDict):
    """An entry of the audit: what was changed, when, by whom."""

    seq: int
    at: Time
    actor: str
    proof: str | None
    origin: str | None
    action: str
    subject: str
    detail: dict[str, str | int | bool | None]
    hash: str | None
    """The link to the entry before."""


class ChainOut(TypedDict):
    """Entries in the order in which they were written; the last one's number is where the next
    ones begin.
    """

    items: list[EntryOut]


class HeadOut(TypedDict):
    """The newest entry."""

    seq: int
    hash: str


class VerificationOut(TypedDict):
    """What a walk along the audit's chain found."""

    entries: int
    """Those that are as they were written, up to the first that is not."""
    head: HeadOut
    problem: str | None
    """The first thing that is wrong; null: nothing is."""


def user_out(user: User, keys: int) -> UserOut:
    return {
        "id": user.id,
        "name": user.name,
        "admin": user.admin,
        "enabled": user.enabled,
        "source": user.source,
        "keys": keys,
        "created_at": time(user.created_at),
    }


def key_out(key: Key) -> KeyOut:
    return {
        "name": key.name,
        "fingerprint": key.fingerprint,
        "type": key.public.split(" ", 1)[0],
        "added_at": time(key.added_at),
        "expires_at": time_or_none(key.expires_at),
        "sources": list(key.sources),
        "verify_required": key.verify_required,
        "last_used_at": time_or_none(key.last_used_at),
        "last_used_from": key.last_used_from,
    }


def invite_out(invite: Invite, user: str, now: datetime) -> InviteOut:
    state: Literal["open", "used", "expired"] = "open" if now < invite.expires_at else "expired"
    if invite.used_at is not None:
        state = "used"
    return {
        "id": invite.id,
        "user": user,
        "state": state,
        "made_at": time(invite.made_at),
        "made_by": invite.made_by,
        "expires_at": time(invite.expires_at),
        "used_at": time_or_none(invite.used_at),
        "fingerprint": invite.fingerprint,
    }


def group_out(group: Group, members: Sequence[User]) -> GroupOut:
    return {
        "name": group.name,
        "priority": group.priority,
        "policy": dict(group.policy),
        "members": [user.name for user in members],
    }


def block_out(block: Block, *, exists: bool) -> BlockOut:
    return {
        "account": block.circle.account if exists else None,
        "place": block.circle.place,
        "failures": block.failures,
        "seconds": round(block.left),
    }


def entry_out(entry: AuditEntry) -> EntryOut:
    return {
        "seq": entry.seq,
        "at": entry.at.isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "proof": entry.proof,
        "origin": entry.origin,
        "action": entry.action,
        "subject": entry.subject,
        "detail": dict(entry.detail),
        "hash": entry.hash,
    }


def verification_out(found: Verification) -> VerificationOut:
    return {
        "entries": found.entries,
        "head": {"seq": found.head.seq, "hash": found.head.hash},
        "problem": found.problem,
    }

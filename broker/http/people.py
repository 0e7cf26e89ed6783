"""What the API takes and gives of people: accounts, what proves them, groups, the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from broker.core.model import LOCAL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.blocks import Block
    from broker.core.model import AuditEntry, Group, Invite, Key, User, Verification
    from broker.http.models import Json


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


def user_out(user: User, keys: int) -> Json:
    return {
        "id": user.id,
        "name": user.name,
        "admin": user.admin,
        "enabled": user.enabled,
        "source": user.source,
        "keys": keys,
        "created_at": user.created_at.isoformat(),
    }


def key_out(key: Key) -> Json:
    return {
        "name": key.name,
        "fingerprint": key.fingerprint,
        "type": key.public.split(" ", 1)[0],
        "added_at": key.added_at.isoformat(),
        "expires_at": _time(key.expires_at),
        "sources": list(key.sources),
        "verify_required": key.verify_required,
        "last_used_at": _time(key.last_used_at),
        "last_used_from": key.last_used_from,
    }


def invite_out(invite: Invite, user: str, now: datetime) -> Json:
    if invite.used_at is not None:
        state = "used"
    else:
        state = "open" if now < invite.expires_at else "expired"
    return {
        "id": invite.id,
        "user": user,
        "state": state,
        "made_at": invite.made_at.isoformat(),
        "made_by": invite.made_by,
        "expires_at": invite.expires_at.isoformat(),
        "used_at": _time(invite.used_at),
        "fingerprint": invite.fingerprint,
    }


def group_out(group: Group, members: Sequence[User]) -> Json:
    return {
        "name": group.name,
        "priority": group.priority,
        "policy": dict(group.policy),
        "members": [user.name for user in members],
    }


def block_out(block: Block, *, exists: bool) -> Json:
    """A name that nobody has can be anything, somebody's password too: it is not told."""
    return {
        "account": block.circle.account if exists else None,
        "place": block.circle.place,
        "failures": block.failures,
        "seconds": round(block.left),
    }


def entry_out(entry: AuditEntry) -> Json:
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


def verification_out(found: Verification) -> Json:
    return {
        "entries": found.entries,
        "head": {"seq": found.head.seq, "hash": found.head.hash},
        "problem": found.problem,
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()

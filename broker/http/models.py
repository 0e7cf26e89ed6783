"""What the API takes and gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from broker.core.model import Desktop, Key, Lease, Session, User


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewUser(_In):
    """Body of `POST /api/v1/users`."""

    name: str = Field(max_length=256)
    admin: bool = False
    keys: tuple[str, ...] = Field(default=(), max_length=100)


class NewKey(_In):
    """Body of `POST /api/v1/users/{name}/keys`."""

    key: str = Field(max_length=16_384)


Json = dict[str, str | int | bool | None]


def user_out(user: User, keys: int) -> Json:
    return {
        "id": user.id,
        "name": user.name,
        "admin": user.admin,
        "enabled": user.enabled,
        "keys": keys,
        "created_at": user.created_at.isoformat(),
    }


def key_out(key: Key) -> Json:
    return {
        "fingerprint": key.fingerprint,
        "type": key.public.split(" ", 1)[0],
        "comment": key.comment,
        "added_at": key.added_at.isoformat(),
    }


def desktop_out(desktop: Desktop, owner: str, session: Session | None) -> Json:
    return {
        "id": desktop.id,
        "user": owner,
        "name": desktop.name,
        "template": desktop.template,
        "uid": desktop.uid,
        "state": session.state.value if session else "stopped",
        "removed": desktop.removed_at is not None,
        "created_at": desktop.created_at.isoformat(),
    }


def session_out(session: Session, desktop: Desktop, owner: str, attached: int) -> Json:
    return {
        "id": session.id,
        "user": owner,
        "desktop": desktop.name,
        "desktop_id": desktop.id,
        "state": session.state.value,
        "display": session.display,
        "port": session.port,
        "address": session.address,
        "attached": attached,
        "reason": session.reason,
        "created_at": session.created_at.isoformat(),
        "changed_at": session.changed_at.isoformat(),
    }


def lease_out(lease: Lease, shown: str) -> Json:
    return {
        "host": lease.host,
        "kind": lease.kind.value,
        "value": shown,
        "desktop_id": lease.desktop_id,
        "session_id": lease.session_id,
        "since": lease.since.isoformat(),
    }

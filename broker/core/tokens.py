"""Who calls the API, and what they may do there."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.model import Actor, UserId
    from broker.core.signins import SignIn


class Scope(StrEnum):
    """What a caller may do; none of them holds another."""

    READ = "read"
    """See what is there."""
    USERS = "users"
    """Change accounts, what proves them, and who is in which group."""
    SESSIONS = "sessions"
    """Make, start, stop and remove desktops, and what happens in their sessions."""
    ADMIN = "admin"
    """Everything that gives rights or holds for all: admins, groups, tokens of others."""


class Reach(StrEnum):
    """Whose things a caller sees and changes."""

    OWN = "own"
    ALL = "all"


_SECRET = re.compile(r"desk_[A-Za-z0-9_-]{40}")


def new_secret() -> str:
    """What a caller shows: 240 random bits behind a word by which scanners find what leaked."""
    return f"desk_{secrets.token_urlsafe(30)}"


def is_secret(text: str) -> bool:
    """Whether it can be one at all."""
    return _SECRET.fullmatch(text) is not None


#: The header that pages of ours alone can set: a cookie goes along with what others have it ask.
CSRF = "Desk-CSRF"


def csrf_of(secret: str) -> str:
    """What is shown in `CSRF` beside a cookie that holds `secret`: it tells nothing of it."""
    digest = hashlib.sha256(f"csrf:{secret}".encode(errors="replace")).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii")[:32]


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What lets a program in as its user; the secret itself is kept nowhere."""

    id: str
    user_id: UserId
    name: str
    """For people: what it is for."""
    scopes: frozenset[Scope]
    reach: Reach
    made_at: datetime
    made_by: str
    """As in `Actor.name`."""
    expires_at: datetime | None
    """From then on it lets nobody in; None: never."""
    last_used_at: datetime | None
    last_used_from: str | None
    """The client's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """What was answered to the first of calls with one `Idempotency-Key`."""

    request: str
    """The hash of what was asked."""
    status: int | None
    """None while it is worked on."""
    location: str | None
    body: str | None
    """None where it told a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks the API for something."""

    actor: Actor
    scopes: frozenset[Scope]
    reach: Reach
    user_id: UserId | None
    """The account that is meant by `own`; None for whom the kernel names an admin."""
    token: Token | None = None
    """What was shown."""
    sign_in: SignIn | None = None
    """By which a browser calls, where no token was shown."""
    csrf: str | None = field(default=None, repr=False)
    """What that browser's pages show in `CSRF`."""
    enrol: bool = False
    """Let in to set up a one-time code, and for nothing else."""

    @property
    def only(self) -> UserId | None:
        """Whose things alone there are for this caller; None: everybody's."""
        return self.user_id if self.reach is Reach.OWN else None

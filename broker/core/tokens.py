"""Who calls the API, and what they may do there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.core.model import Actor, UserId


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


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks the API for something."""

    actor: Actor
    scopes: frozenset[Scope]
    reach: Reach
    user_id: UserId | None
    """The account that is meant by `own`; None for whom the kernel names an admin."""

    @property
    def only(self) -> UserId | None:
        """Whose things alone there are for this caller; None: everybody's."""
        return self.user_id if self.reach is Reach.OWN else None

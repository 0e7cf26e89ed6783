"""What holds for each user, from the configuration and their groups; kept until a group changes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from broker.core import policy
from broker.core.errors import BadRequest, StateUnusable
from broker.core.policy import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.idle import IdlePolicy
    from broker.core.interfaces import Store
    from broker.core.model import DesktopId, Group, Session, UserId
    from broker.core.policy import Policy, Resolved

log = structlog.get_logger()

#: How often all are read anew because a group changed meanwhile.
_TRIES = 5


class Policies:
    """Answers from memory what was asked before; `Groups`, which alone changes groups, says what is
    to be forgotten.
    """

    def __init__(self, *, store: Store, default: Policy) -> None:
        self._store = store
        self._default = default
        self._resolved: dict[UserId, Resolved] = {}
        self._merged: dict[tuple[str, ...], Resolved] = {}
        """By the names of groups: few among many users."""
        self._idle: dict[DesktopId, IdlePolicy] = {}
        """Of what lives; asked for thousands in each pass."""
        self._authorities: frozenset[str] | None = None
        self._age = 0

    async def of(self, user_id: UserId) -> Resolved:
        """Raises `StateUnusable`."""
        found = self._resolved.get(user_id)
        if found is not None:
            return found
        age = self._age
        merged = self._merge(await self._store.groups_of(user_id), age)
        if age == self._age:  # else a group changed while it was read
            self._resolved[user_id] = merged
        return merged

    async def by_password(self) -> bool:
        """Whether a password lets anybody in. Raises `StateUnusable`."""
        wanted = {Way.PASSWORD, Way.PASSWORD_CODE}
        if self._default.ways & wanted:
            return True
        age = self._age
        for group in await self._store.groups():
            with suppress(StateUnusable):  # it lets nobody in at all
                if self._merge([group], age).policy.ways & wanted:
                    return True
        return False

    async def authorities(self) -> frozenset[str]:
        """Those whose certificates count for anybody. Raises `StateUnusable`."""
        if self._authorities is not None:
            return self._authorities
        age = self._age
        found = set(self._default.authorities)
        for group in await self._store.groups():
            with suppress(StateUnusable):  # it lets nobody in at all
                found.update(self._merge([group], age).policy.authorities)
        if age == self._age:
            self._authorities = frozenset(found)
        return frozenset(found)

    async def idle(self, sessions: Sequence[Session]) -> Callable[[Session], IdlePolicy]:
        """When each of these sleeps, all of them live. Of somebody whose groups say what cannot be,
        what the configuration says. Raises `StateUnusable` when nothing can be read.
        """
        if not all(session.desktop_id in self._idle for session in sessions):
            await self._learn()
        known, default = self._idle, self._default.idle
        return lambda session: known.get(session.desktop_id, default)

    async def _learn(self) -> None:
        """All owners of what lives, at once."""
        for _ in range(_TRIES):
            age = self._age
            groups = {group.name: group for group in await self._store.groups()}
            owners = await self._store.live_owners()
            if age == self._age:
                break
        else:
            raise StateUnusable("groups change all the time", public="Groups change just now.")
        self._idle = {
            desktop_id: self._idle_in([groups[name] for name in owner.groups if name in groups])
            for desktop_id, owner in owners.items()
        }

    def _idle_in(self, groups: Sequence[Group]) -> IdlePolicy:
        try:
            return self._merge(groups, self._age).policy.idle
        except StateUnusable as error:
            log.warning("a policy cannot be used", reason=str(error))
            return self._default.idle

    def _merge(self, groups: Sequence[Group], age: int) -> Resolved:
        """`age` is of when they were read: what changed since is not remembered."""
        names = tuple(sorted(group.name for group in groups))
        found = self._merged.get(names) if age == self._age else None
        if found is None:
            try:
                found = policy.merge(self._default, groups)
            except BadRequest as error:
                raise StateUnusable(
                    f"one of the groups {', '.join(names)} says what cannot be: {error}",
                    public="What your groups say cannot be used. Tell your administrator.",
                ) from error
            if age == self._age:
                self._merged[names] = found
        return found

    def replace(self, default: Policy) -> None:
        """The configuration says something else now."""
        self._default = default
        self.forget()

    def forget(self, user_id: UserId | None = None) -> None:
        """The user is in other groups now; or, without one, groups say something else."""
        self._age += 1
        self._idle = {}
        if user_id is not None:
            self._resolved.pop(user_id, None)
        else:
            self._resolved.clear()
            self._merged.clear()
            self._authorities = None

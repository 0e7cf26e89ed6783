"""Groups of users, and what their policies say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.errors import NotFound
from broker.core.model import group_name, shown
from broker.core.policy import parse_policy

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from broker.core.interfaces import Store
    from broker.core.model import Actor, Group, User
    from broker.service.policies import Policies


class Groups:
    """The only writer of groups and memberships: what it changes holds for the next who asks."""

    def __init__(self, *, store: Store, policies: Policies) -> None:
        self._store = store
        self._policies = policies

    async def set(
        self, name: str, *, priority: int, policy: Mapping[str, Any], actor: Actor | str
    ) -> Group:
        """Make the group, or replace what it says. Raises `BadRequest`."""
        said = parse_policy(policy)
        try:
            return await self._store.set_group(
                group_name(name), priority=priority, policy=said, actor=actor
            )
        finally:
            self._policies.forget()

    async def remove(self, name: str, *, actor: Actor | str) -> None:
        """Raises `NotFound`."""
        try:
            await self._store.remove_group(name, actor=actor)
        finally:
            self._policies.forget()

    async def get(self, name: str) -> Group:
        """Raises `NotFound`."""
        group = await self._store.group(name)
        if group is None:
            raise NotFound(public=f"There is no group {shown(name)}.")
        return group

    async def all(self) -> Sequence[Group]:
        """The highest priority first, then by name."""
        return await self._store.groups()

    async def members(self, name: str) -> Sequence[User]:
        """By name. Raises `NotFound`."""
        return await self._store.members((await self.get(name)).name)

    async def join(self, user: User, name: str, *, actor: Actor | str) -> None:
        """Idempotent. Raises `NotFound`."""
        try:
            await self._store.join_group(user.id, name, actor=actor)
        finally:
            self._policies.forget(user.id)

    async def leave(self, user: User, name: str, *, actor: Actor | str) -> None:
        """What an outside source says stays. Raises `NotFound`."""
        try:
            await self._store.leave_group(user.id, name, actor=actor)
        finally:
            self._policies.forget(user.id)

    async def sync(
        self, user: User, names: Collection[str], *, source: str, actor: Actor | str
    ) -> None:
        """Make the memberships that the source says be these; other names are ignored."""
        before = {group.name for group in await self._store.groups_of(user.id)}
        changed = True
        try:
            await self._store.sync_groups(user.id, names, source=source, actor=actor)
            after = {group.name for group in await self._store.groups_of(user.id)}
            changed = after != before  # mostly not: it is asked at each login
        finally:
            if changed:
                self._policies.forget(user.id)

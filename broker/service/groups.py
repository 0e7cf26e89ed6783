"""Groups of users, and what their policies say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from broker.core.errors import Conflict, NotFound
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
        self._changing = asyncio.Lock()

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

    async def add(
        self, name: str, *, priority: int, policy: Mapping[str, Any], actor: Actor | str
    ) -> Group:
        """Make the group. Raises `BadRequest`, `Conflict` when it is there."""
        async with self._changing:
            if await self._store.group(group_name(name)) is not None:
                raise Conflict(public=f"The group {shown(name)} is there already.")
            return await self.set(name, priority=priority, policy=policy, actor=actor)

    async def change(
        self, name: str, *, priority: int | None, policy: Mapping[str, Any], actor: Actor | str
    ) -> Group:
        """Set these of its values, or take them away where they are None; the others stay. Raises
        `BadRequest`, `NotFound`.
        """
        async with self._changing:
            group = await self.get(name)
            values = {**group.policy, **policy}
            return await self.set(
                name,
                priority=group.priority if priority is None else priority,
                policy={key: value for key, value in values.items() if value is not None},
                actor=actor,
            )

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

"""Outside sources: which of them is asked about whom, and the accounts that come from them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import BadRequest, CapacityExhausted, Conflict, SourceUnavailable
from broker.core.model import LOCAL, Actor, new_id, user_name
from broker.core.outside import Found, can_be_password

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.core.interfaces import Store
    from broker.core.model import User
    from broker.core.outside import PasswordSource, Refused
    from broker.service.groups import Groups
    from broker.telemetry import Metrics

log = structlog.get_logger()

#: Questions to one source that are under way at once, and those that wait for that.
AT_ONCE, WAITING = 8, 64

_FULL = "Too many people log in just now. Try again in a minute, or use your key."


class Sources:
    """All of them, in their order."""

    def __init__(self, sources: Sequence[PasswordSource], *, metrics: Metrics) -> None:
        self._desks = [_Desk(source, metrics) for source in sources]

    def __len__(self) -> int:
        return len(self._desks)

    async def check(
        self, name: str, password: str, *, address: str, source: str | None = None
    ) -> Found | None:
        """Who it is, when a source vouches for them. With `source`, that one alone is asked; else
        those that make accounts, until one says yes or knows the name. Raises `SourceUnavailable`
        when the one that is asked does not answer: the next might know somebody else of that
        name; `CapacityExhausted` when too many ask.
        """
        if not _can_be_asked(name, password):
            return None
        for desk in self._desks:
            if desk.source.name == source or (source is None and desk.source.create):
                answer = await desk.check(name, password, address)
                if isinstance(answer, Found):
                    return answer
                if answer.known:
                    return None
        return None

    def close(self) -> None:
        for desk in self._desks:
            desk.source.close()


class Newcomers:
    """Accounts of people whom a source vouches for."""

    def __init__(self, *, sources: Sources, store: Store, groups: Groups) -> None:
        self._sources, self._store, self._groups = sources, store, groups

    async def admit(self, name: str, password: str, *, address: str) -> User | None:
        """The enabled user whose account an outside source keeps, once it vouched for them: made
        when there was none of that name, and in the groups that the source told. An account of
        Desk's own, or of another source, is nobody's here. Raises as `Sources.check` does.
        """
        user = await self._store.user(name)
        if user is not None and (user.source == LOCAL or not user.enabled):
            await self._pretend(address)
            return None
        found = await self._sources.check(
            name, password, address=address, source=None if user is None else user.source
        )
        if found is None:
            return None
        actor = Actor(f"user:{name}", proof="password", origin=address)
        user = user or await self._make(found, actor)
        if user is None:
            return None
        await self._groups.sync(user, found.groups, source=found.source, actor=actor)
        return user

    async def _pretend(self, address: str) -> None:
        """Take as long, and raise the same, as for a name that nobody has, without telling a source
        anything.
        """
        await self._sources.check(f"x{new_id()}", new_id(), address=address)

    async def _make(self, found: Found, actor: Actor) -> User | None:
        try:
            return await self._store.add_user(
                found.name, admin=False, source=found.source, actor=actor
            )
        except Conflict:  # somebody was quicker: themselves, or an admin
            user = await self._store.user(found.name)
            ours = user is not None and user.enabled and user.source == found.source
            return user if ours else None


def _can_be_asked(name: str, password: str) -> bool:
    try:
        user_name(name)
    except BadRequest:
        return False
    return can_be_password(password)


class _Desk:
    """Where questions to one source queue."""

    def __init__(self, source: PasswordSource, metrics: Metrics) -> None:
        self.source = source
        self._metrics = metrics
        self._places = asyncio.Semaphore(AT_ONCE)
        self._here = 0

    async def check(self, name: str, password: str, address: str) -> Found | Refused:
        async with self._place():
            try:
                answer = await self.source.check(name, password, address=address)
            except SourceUnavailable as error:
                self._count("unavailable")
                log.warning(
                    "a source of passwords is away", source=self.source.name, problem=str(error)
                )
                raise
        self._count("yes" if isinstance(answer, Found) else "no")
        return answer

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._here >= AT_ONCE + WAITING:
            self._count("full")
            raise CapacityExhausted(f"{self.source.name}: too many wait", public=_FULL)
        self._here += 1
        try:
            async with self._places:
                yield
        finally:
            self._here -= 1

    def _count(self, outcome: str) -> None:
        self._metrics.source_checks.labels(self.source.name, outcome).inc()

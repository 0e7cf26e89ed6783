"""The audit's tail for whoever listens: each sees what is theirs, for as long as they may."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from broker.core.errors import CapacityExhausted
from broker.core.model import DesktopId, SessionId
from broker.system.tasks import first_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from broker.core.interfaces import Clock, Store
    from broker.core.model import AuditEntry, UserId
    from broker.core.tokens import Caller
    from broker.service.signins import SignIns
    from broker.service.tokens import Tokens

#: Who listens: of one caller, and of all.
EACH, ALL = 8, 256

#: Seconds between two looks whether a listener still may, and whether another broker wrote.
LOOK = 4.0

#: Entries that are read in one go.
_PAGE = 200

#: Subjects whose owners are remembered.
_OWNERS = 4096


class Happenings:
    """No bus: whoever listens reads the audit, and is woken when there is more of it."""

    def __init__(self, *, store: Store, tokens: Tokens, sign_ins: SignIns, clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._sign_ins = sign_ins
        self._clock = clock
        self._listening: Counter[str] = Counter()
        self._owners: OrderedDict[str, UserId | None] = OrderedDict()
        self._over = asyncio.Event()

    def close(self) -> None:
        """Nobody listens any more."""
        self._over.set()

    async def follow(
        self, caller: Caller, after: int | None
    ) -> AsyncGenerator[Sequence[AuditEntry]]:
        """Entries behind the number `after`, or from now on, page by page, and an empty page at
        least every few seconds. Ends when the caller may no more. Raises `CapacityExhausted` when
        too many listen, and `StateUnusable`.
        """
        shown = caller.token or caller.sign_in
        name = caller.actor.name if shown is None else shown.id
        if self._listening[name] >= EACH or self._listening.total() >= ALL:
            raise CapacityExhausted(
                f"{caller.actor.name} listens {self._listening[name]} times",
                public="Too many listen to events already.",
            )
        self._listening[name] += 1
        try:
            if after is None:
                after = (await self._store.audit_head()).seq
            async for page in self._pages(caller, after):
                yield page
        finally:
            self._listening[name] -= 1
            if not self._listening[name]:
                del self._listening[name]

    async def _pages(self, caller: Caller, after: int) -> AsyncGenerator[Sequence[AuditEntry]]:
        looked = self._clock.monotonic()
        while not self._over.is_set():
            if self._clock.monotonic() - looked >= LOOK:
                if not (await self._tokens.stands(caller) and await self._sign_ins.stands(caller)):
                    return
                looked = self._clock.monotonic()
            more = self._store.next_record()
            page = await self._store.audit_chain(after=after, limit=_PAGE)
            if page:
                after = page[-1].seq
            seen = [entry for entry in page if await self._sees(caller, entry)]
            yield seen
            if len(page) < _PAGE:
                await self._wait(more)

    async def _wait(self, more: asyncio.Event) -> None:
        await first_of(more.wait(), self._over.wait(), self._clock.sleep(LOOK))

    async def _sees(self, caller: Caller, entry: AuditEntry) -> bool:
        only = caller.only
        if only is None or only == entry.subject:
            return True
        user = await self._store.user_by_id(only)
        if user is None:
            return False
        # Somebody else can have had the name before.
        if entry.actor == f"user:{user.name}" and entry.at >= user.created_at:
            return True
        return await self._owner(entry.subject) == only

    async def _owner(self, subject: str) -> UserId | None:
        """Whose desktop or session it is: always the same one's."""
        if subject not in self._owners:
            session = await self._store.session(SessionId(subject))
            desktop_id = DesktopId(subject) if session is None else session.desktop_id
            desktop = await self._store.desktop(desktop_id)
            self._owners[subject] = None if desktop is None else desktop.user_id
            if len(self._owners) > _OWNERS:
                self._owners.popitem(last=False)
        return self._owners[subject]

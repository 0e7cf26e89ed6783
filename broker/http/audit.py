"""What was changed and by whom: read, walked along, handed out."""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING

from aiohttp import web

from broker.http import people
from broker.http.calls import items, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.interfaces import Store
    from broker.core.model import AuditEntry

#: Entries that are answered at a time.
_MOST = 1000

#: Larger than any entry's number.
_LARGEST = 1 << 53


class AuditRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/audit", self.list),
            web.get("/audit/chain", self.chain),
            web.get("/audit/verify", self.verify),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Newest first; of a `user` what they did and what was done to their account."""
        limit = number(request, "limit", 100, low=1, high=_MOST)
        before = number(request, "before", _LARGEST, low=1, high=_LARGEST)
        name = request.query.get("user")
        if name is None:
            found = await self._store.audit(limit=limit, before=before)
        else:
            found = await self._of(name, limit, before)
        return items([people.entry_out(entry) for entry in found])

    async def _of(self, name: str, limit: int, before: int) -> Sequence[AuditEntry]:
        done = await self._store.audit(limit=limit, before=before, actor=f"user:{name}")
        user = await self._store.user(name)
        suffered: Sequence[AuditEntry] = ()
        if user is not None:
            suffered = await self._store.audit(limit=limit, before=before, subject=user.id)
        both = merge(done, suffered, key=lambda entry: -entry.seq)
        return list({entry.seq: entry for entry in both}.values())[:limit]

    async def chain(self, request: web.Request) -> web.Response:
        """Oldest first, those behind the entry `after`."""
        after = number(request, "after", 0, low=0, high=_LARGEST)
        limit = number(request, "limit", _MOST, low=1, high=_MOST)
        found = await self._store.audit_chain(after=after, limit=limit)
        return items([people.entry_out(entry) for entry in found])

    async def verify(self, request: web.Request) -> web.Response:
        """200 also when something is wrong: `problem` says what."""
        after = number(request, "after", 0, low=0, high=_LARGEST)
        found = await self._store.verify_audit(after=after)
        return web.json_response(people.verification_out(found))

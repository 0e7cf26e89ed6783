"""What was changed and by whom: read, walked along, handed out."""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING

from aiohttp import web

from broker.core.errors import BadRequest, NotFound
from broker.core.tokens import Scope
from broker.http import people
from broker.http.calls import PAGING, answer_page, position
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route, asked, caller_of, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.interfaces import Store
    from broker.core.model import AuditEntry

#: Entries of the chain that are answered when no limit is said.
_CHAIN = 1000

#: Larger than any entry's number.
_LARGEST = 1 << 53


class AuditRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def list(self, request: web.Request) -> web.Response:
        """Newest first; of a `user` what they did and what was done to their account."""
        limit = number(request, "limit", 100)
        before = number(request, "before", _LARGEST)
        if (after := position(request)) is not None:
            if len(after) != 1 or not isinstance(after[0], int):
                raise BadRequest(public="cursor: allowed is what 'next' of the page before says.")
            before = min(before, max(1, after[0]))
        name = await self._whose(request)
        if name is None:
            found = await self._store.audit(limit=limit + 1, before=before)
        else:
            found = await self._of(name, limit + 1, before)
        shown = found[:limit]
        last = (shown[-1].seq,) if len(found) > limit else None
        return answer_page([people.entry_out(entry) for entry in shown], last)

    async def _whose(self, request: web.Request) -> str | None:
        """Of whom alone entries are told; None: of all."""
        only, name = caller_of(request).only, asked(request, "user")
        if only is None:
            return name
        user = await self._store.user_by_id(only)
        if user is None or name not in {None, user.name}:
            raise NotFound(public="There is no such user.")
        return user.name

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
        limit = number(request, "limit", _CHAIN)
        found = await self._store.audit_chain(after=number(request, "after", 0), limit=limit)
        return web.json_response({"items": [people.entry_out(entry) for entry in found]})

    async def verify(self, request: web.Request) -> web.Response:
        """200 also when something is wrong: `problem` says what."""
        found = await self._store.verify_audit(after=number(request, "after", 0))
        return web.json_response(people.verification_out(found))


_AFTER = Query(name="after", summary="Begin behind the entry of that number.", high=_LARGEST)

AUDIT = Noun(
    name="audit",
    summary="What was changed, when, by whom.",
    routes=(
        Route(
            method="GET",
            path="/audit",
            handler=AuditRoutes.list,
            name="list_audit",
            summary="List entries, newest first: 100 when no limit is said.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(
                *PAGING,
                Query(
                    name="user", summary="What the user did, and what was done to their account."
                ),
                Query(name="before", summary="Those with a smaller number.", low=1, high=_LARGEST),
            ),
            answers={200: Page(people.EntryOut)},
        ),
        Route(
            method="GET",
            path="/audit/chain",
            handler=AuditRoutes.chain,
            name="list_audit_chain",
            summary="List all entries, oldest first.",
            needs=Scope.READ,
            whose=None,
            query=(_AFTER, PAGING[0]),
            answers={200: people.ChainOut},
        ),
        Route(
            method="GET",
            path="/audit/verify",
            handler=AuditRoutes.verify,
            name="verify_audit",
            summary="Walk along the chain and tell the first entry that is not as it was written.",
            needs=Scope.READ,
            whose=None,
            query=(_AFTER,),
            answers={200: people.VerificationOut},
            refuses=(NotFound,),
        ),
    ),
)

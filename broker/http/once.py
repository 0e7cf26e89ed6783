"""Calls that are done once however often they are asked: by their `Idempotency-Key`."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from aiohttp import web

from broker.core import errors
from broker.http.routes import caller_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from broker.core.interfaces import Clock, Store
    from broker.core.tokens import KeptAnswer
    from broker.http.routes import Route

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Who sends it again gets the first answer, which this tells.
KEY, AGAIN = "Idempotency-Key", "Idempotent-Replayed"

#: Characters of a key; how long an answer is kept, and how many of one caller.
LONGEST, KEPT, MOST = 128, timedelta(days=1), 10_000


class Once:
    """Keeps answers in the state: they outlive the broker."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._turns: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: defaultdict[tuple[str, str], int] = defaultdict(int)

    async def serve(
        self, route: Route, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """What the handler answers, or did. A refusal is not kept: it may be another one next
        time. Raises `Conflict` for the key of another call, `Interrupted` where nobody knows what
        came of the first one.
        """
        key = request.headers.get(KEY)
        if key is None:
            return await handler(request)
        if not 0 < len(key) <= LONGEST or not key.isascii() or not key.isprintable():
            raise errors.BadRequest(
                public=f"{KEY}: allowed are 1 to {LONGEST} characters of ASCII that can be printed."
            )
        caller = _name(request)
        async with self._turn(caller, key):
            asked = await _digest(request)
            since = self._clock.now() - KEPT
            kept = await self._store.begin_answer(caller, key, asked, since=since, most=MOST)
            if kept is not None:
                return _again(kept, asked)
            try:
                answer = await handler(request)
            except errors.DeskError:
                await self._store.drop_answer(caller, key)
                raise
            await self._store.finish_answer(
                caller,
                key,
                status=answer.status,
                location=answer.headers.get("Location"),
                body=None if route.secret else _text(answer),
            )
            return answer

    @asynccontextmanager
    async def _turn(self, caller: str, key: str) -> AsyncIterator[None]:
        """One at a time of those with one key."""
        which = (caller, key)
        self._waiting[which] += 1
        try:
            async with self._turns[which]:
                yield
        finally:
            self._waiting[which] -= 1
            if not self._waiting[which]:
                del self._waiting[which], self._turns[which]


def _name(request: web.Request) -> str:
    """By the token: another one of the same user may be let see less."""
    caller = caller_of(request)
    return caller.actor.name if caller.token is None else f"token:{caller.token.id}"


async def _digest(request: web.Request) -> str:
    asked = [request.method.encode(), request.path_qs.encode(), await request.read()]
    parts = (len(part).to_bytes(8, "big") + part for part in asked)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _text(answer: web.StreamResponse) -> str:
    assert isinstance(answer, web.Response)
    return answer.text or ""


def _again(kept: KeptAnswer, asked: str) -> web.Response:
    if kept.request != asked:
        raise errors.Conflict(public=f"{KEY}: it was used for another call. Take a new one.")
    if kept.status is None:
        raise errors.Interrupted(
            public="The broker stopped while it worked on that: it may be done or not. Look, and"
            f" ask again with another {KEY}."
        )
    if kept.body is None:
        raise errors.Conflict(
            public="That was done already, and what it made is told once: take it back and make"
            " another one."
        )
    headers = {AGAIN: "true"} | ({"Location": kept.location} if kept.location else {})
    return web.Response(
        status=kept.status,
        text=kept.body or None,
        content_type="application/json" if kept.body else None,
        headers=headers,
    )

"""The audit's tail as server-sent events."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web

from broker.core.errors import BadRequest, DeskError
from broker.core.tokens import Scope
from broker.http import people
from broker.http.routes import BY_HANDLER, Noun, Query, Route, Stream, asked, caller_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.core.model import AuditEntry
    from broker.service.services import Services

log = structlog.get_logger()

#: Seconds of silence after which a comment says that the line is up, and that a client may take to
#: read what was sent: it comes again behind the last event that it saw.
SILENCE, PATIENCE = 15.0, 5.0

_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",
}


class EventRoutes:
    """The handler raises `DeskError`, until the first byte is out."""

    def __init__(self, *, services: Services) -> None:
        self._happenings = services.happenings
        self._clock = services.watches.clock

    async def close(self, _app: web.Application) -> None:
        """The listeners are let go of: a broker that stops would wait for them."""
        self._happenings.close()

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Begins behind `Last-Event-ID`, or with what comes next."""
        pages = self._happenings.follow(caller_of(request), _last(request))
        response = web.StreamResponse(headers=_HEADERS)
        async with aclosing(pages):
            # What refuses, refuses here.
            first = await anext(pages, ())
            await response.prepare(request)
            with suppress(ConnectionError):
                try:
                    await self._write(response, _text(request, first) or ": here\n\n")
                    await self._tell(request, response, pages)
                except DeskError as error:
                    log.info("events ended", code=error.code, problem=str(error))
                except TimeoutError:
                    if request.transport is not None:
                        request.transport.abort()
        return response

    async def _tell(
        self,
        request: web.Request,
        response: web.StreamResponse,
        pages: AsyncIterator[Sequence[AuditEntry]],
    ) -> None:
        told = self._clock.monotonic()
        async for page in pages:
            text = _text(request, page)
            now = self._clock.monotonic()
            if not text and now - told >= SILENCE:
                text = ": here\n\n"
            if text:
                await self._write(response, text)
                told = now

    async def _write(self, response: web.StreamResponse, text: str) -> None:
        async with asyncio.timeout(PATIENCE):
            await response.write(text.encode())


def _last(request: web.Request) -> int | None:
    said = request.headers.get("Last-Event-ID")
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) <= 15):
        raise BadRequest(public="Last-Event-ID: allowed is the id of an event.")
    return int(said)


def _text(request: web.Request, page: Sequence[AuditEntry]) -> str:
    wanted = asked(request, "action") or ""
    return "".join(
        f"id: {entry.seq}\nevent: {entry.action}\ndata: {json.dumps(people.entry_out(entry))}\n\n"
        for entry in page
        if entry.action.startswith(wanted)
    )


EVENTS = Noun(
    name="events",
    summary="What happens, as it happens.",
    routes=(
        Route(
            method="GET",
            path="/events",
            handler=EventRoutes.follow,
            name="follow_events",
            summary="Tell each new entry of the audit as a server-sent event.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(Query(name="action", summary="Those whose action begins so: `session.`."),),
            answers={200: Stream(people.EntryOut)},
        ),
    ),
)

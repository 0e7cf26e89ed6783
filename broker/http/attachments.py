"""Clients that are in sessions now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from broker.core.model import SessionId
from broker.core.tokens import Scope
from broker.http import models
from broker.http.calls import PAGING, page
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route, caller_of

if TYPE_CHECKING:
    from aiohttp import web

    from broker.core.interfaces import Store
    from broker.core.model import Desktop
    from broker.service.presence import Present
    from broker.service.services import Services


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    present: Present
    desktop: Desktop | None


class AttachmentRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._presence = services.presence
        self._clock = services.watches.clock

    async def list(self, request: web.Request) -> web.Response:
        """The longest first."""
        only = caller_of(request).only
        sessions = {session.id: session for session in await self._store.live_sessions()}
        found = await self._store.desktops(user_id=only)
        desktops = {desktop.id: desktop for desktop in found}
        monotonic, now = self._clock.monotonic(), self._clock.now()

        def row(number: int, present: Present) -> _Row:
            session = sessions.get(SessionId(present.attachment.session_id))
            return _Row(number, present, desktops.get(session.desktop_id) if session else None)

        async def out(row: _Row) -> models.AttachmentOut:
            present = row.present
            return models.attachment_out(
                present,
                row.desktop,
                since=now - timedelta(seconds=monotonic - present.since),
                idle=None if present.last_input is None else monotonic - present.last_input,
            )

        rows = [row(number, one) for number, one in enumerate(self._presence.everybody())]
        return await page(
            request,
            [one for one in rows if only is None or one.desktop is not None],
            key=lambda row: (row.present.since, row.present.attachment.id),
            out=out,
            where={
                "user": lambda row: row.present.attachment.user,
                "session": lambda row: row.present.attachment.session_id,
            },
        )


ATTACHMENTS = Noun(
    name="attachments",
    summary="Clients that are in sessions now.",
    routes=(
        Route(
            method="GET",
            path="/attachments",
            handler=AttachmentRoutes.list,
            name="list_attachments",
            summary="List the clients that are in sessions, the longest first.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(
                *PAGING,
                Query(name="user", summary="Those of that user."),
                Query(name="session", summary="Those in the session of that id."),
            ),
            answers={200: Page(models.AttachmentOut)},
        ),
    ),
)

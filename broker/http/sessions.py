"""Sessions: runs of desktops, and why they are as they are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from aiohttp import web

from broker.core.tokens import Scope
from broker.http import models
from broker.http.calls import PAGING, page
from broker.http.owners import Owners
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route, caller_of
from broker.http.views import SessionViews
from broker.http.whose import SESSION
from broker.service import why

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.model import Desktop, Session
    from broker.service.presence import Present
    from broker.service.services import Services


@dataclass(frozen=True, slots=True)
class _Row:
    session: Session
    desktop: Desktop
    owner: str


class SessionRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._presence = services.presence
        self._explainer = services.explainer
        self._policies = services.policies
        self._meter = services.meter
        self._maintenance = services.maintenance
        self._views = SessionViews(store=store, services=services)

    async def list(self, request: web.Request) -> web.Response:
        """By what is known now: no desktop is asked."""
        sessions = await self._store.live_sessions()
        only = caller_of(request).only
        found = await self._store.desktops(user_id=only)
        desktops = {desktop.id: desktop for desktop in found}
        owners = Owners(self._store)
        present: defaultdict[str, list[Present]] = defaultdict(list)
        for one in self._presence.everybody():
            present[one.attachment.session_id].append(one)
        policies = await self._policies.idle(sessions)
        rows = [
            _Row(session, desktop, await owners.of(desktop))
            for session in sessions
            # Its record can go meanwhile.
            if (desktop := desktops.get(session.desktop_id)) is not None
        ]
        usages = await self._meter.of([row.session for row in rows])
        image = await self._maintenance.next_image()

        async def out(row: _Row) -> models.SessionOut:
            session = row.session
            use = self._views.use(
                session, present[session.id], policies, usages[session.id], next_image=image
            )
            return models.session_out(session, row.desktop, row.owner, use)

        return await page(
            request,
            rows,
            key=lambda row: (row.session.created_at.isoformat(), row.session.id),
            out=out,
            where={
                "user": lambda row: row.owner,
                "desktop": lambda row: row.desktop.id,
                "state": lambda row: row.session.state.value,
            },
        )

    async def show(self, request: web.Request) -> web.Response:
        """An ended one too."""
        return await self._views.answer(await self._views.known(request))

    async def explain(self, request: web.Request) -> web.Response:
        """What `desk why` says of the session's desktop, for programs and in words."""
        desktop = await self._views.desktop(await self._views.known(request))
        found = await self._explainer.why(desktop)
        owner = await Owners(self._store).of(desktop)
        told = {"user": owner, **why.data(found), "text": why.text(found)}
        return web.json_response(cast("models.WhyOut", told))


SESSIONS = Noun(
    name="sessions",
    summary="Runs of desktops, and who keeps them awake.",
    routes=(
        Route(
            method="GET",
            path="/sessions",
            handler=SessionRoutes.list,
            name="list_sessions",
            summary="List live sessions, the oldest first, by what is known without asking a desktop.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(
                *PAGING,
                Query(name="user", summary="Those of that user."),
                Query(name="desktop", summary="That of the desktop of that id."),
                Query(name="state", summary="Those that are so.", choices=models.LIVE_STATES),
            ),
            answers={200: Page(models.SessionOut)},
        ),
        Route(
            method="GET",
            path="/sessions/{id}",
            handler=SessionRoutes.show,
            name="get_session",
            summary="Show a session, an ended one too.",
            needs=Scope.READ,
            whose=SESSION,
            answers={200: models.SessionOut},
        ),
        Route(
            method="GET",
            path="/sessions/{id}/why",
            handler=SessionRoutes.explain,
            name="explain_session",
            summary="Tell what keeps a session's desktop awake and what happens next; asks the desktop.",
            needs=Scope.READ,
            whose=SESSION,
            answers={200: models.WhyOut},
        ),
    ),
)

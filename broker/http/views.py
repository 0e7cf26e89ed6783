"""A session as it is answered, whoever asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.core import errors
from broker.core.idle import alone, judge
from broker.core.model import SessionId
from broker.http import models
from broker.http.owners import Owners
from broker.http.routes import PREFIX
from broker.http.whose import no_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.idle import IdlePolicy
    from broker.core.interfaces import Store
    from broker.core.model import Desktop, Session
    from broker.service.meter import Usage
    from broker.service.presence import Present
    from broker.service.services import Services


class SessionViews:
    """By what is known without asking a desktop."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._presence = services.presence
        self._watches = services.watches
        self._policies = services.policies
        self._meter = services.meter
        self._maintenance = services.maintenance

    async def known(self, request: web.Request) -> Session:
        """That of the path. Raises `NotFound`."""
        session = await self._store.session(SessionId(request.match_info["id"]))
        if session is None:
            raise no_session(request)
        return session

    async def desktop(self, session: Session) -> Desktop:
        """Raises `NotFound`: its record can go meanwhile."""
        desktop = await self._store.desktop(session.desktop_id)
        if desktop is None:
            raise errors.NotFound(public="There is no such session.")
        return desktop

    async def answer(self, session: Session, *, status: int = 200) -> web.Response:
        """201 says where it is."""
        desktop = await self.desktop(session)
        owner = await Owners(self._store).of(desktop)
        present = self._presence.of(session.id) if session.live else []
        usage = (await self._meter.of([session]))[session.id]
        image = await self._maintenance.next_image()
        policies = await self._policies.idle([session])
        use = self.use(session, present, policies, usage, next_image=image)
        headers = {"Location": f"{PREFIX}/sessions/{session.id}"} if status == 201 else None
        told = models.session_out(session, desktop, owner, use)
        return web.json_response(told, status=status, headers=headers)

    def use(
        self,
        session: Session,
        present: Sequence[Present],
        policies: Callable[[Session], IdlePolicy],
        usage: Usage,
        *,
        next_image: str | None,
    ) -> models.Use:
        """What is known of its use."""
        watch = self._watches.current(session, policies(session))
        if watch is None:
            return models.Use(present=present, usage=usage, next_image=next_image)
        facts = watch.facts(self._watches.clock.monotonic(), attached=bool(present))
        return models.Use(
            present=present,
            idle=alone(facts) if facts.frozen is None else None,
            verdict=judge(facts, watch.policy),
            usage=usage,
            next_image=next_image,
        )

"""Sessions: runs of desktops, what becomes of them, and who is in them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from aiohttp import web

from broker.core import errors
from broker.core.idle import alone, judge
from broker.core.model import SessionId, SessionState
from broker.core.tokens import Scope
from broker.http import models
from broker.http.calls import PAGING, page, read
from broker.http.owners import Owners
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route, caller_of
from broker.http.whose import SESSION, no_session
from broker.service import keeping, sentences, why

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.idle import IdlePolicy
    from broker.core.interfaces import Store
    from broker.core.model import Actor, Desktop, Session
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
        self._sessions = services.sessions
        self._presence = services.presence
        self._explainer = services.explainer
        self._reaper = services.reaper
        self._watches = services.watches
        self._policies = services.policies

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

        async def out(row: _Row) -> models.SessionOut:
            use = self._use(row.session, present[row.session.id], policies)
            return models.session_out(row.session, row.desktop, row.owner, use)

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
        return await self._session(await self._known(request))

    async def explain(self, request: web.Request) -> web.Response:
        """What `desk why` says of the session's desktop, for programs and in words."""
        desktop = await self._desktop(await self._known(request))
        found = await self._explainer.why(desktop)
        owner = await Owners(self._store).of(desktop)
        told = {"user": owner, **why.data(found), "text": why.text(found)}
        return web.json_response(cast("models.WhyOut", told))

    async def stop(self, request: web.Request) -> web.Response:
        session = await self._sessions.stop(
            SessionId(request.match_info["id"]),
            reason="an admin stopped it",
            actor=caller_of(request).actor,
        )
        return await self._session(session)

    async def kill(self, request: web.Request) -> web.Response:
        body = await read(request, models.Kill)
        session = await self._sessions.kill(
            SessionId(request.match_info["id"]),
            reason="an admin ended it at once",
            actor=caller_of(request).actor,
            force=body.force,
        )
        return await self._session(session)

    async def extend(self, request: web.Request) -> web.Response:
        body = await read(request, models.Extend)
        session = await self._known(request)
        policy = (await self._policies.idle([session]))(session)
        seconds = keeping.seconds(body.time, policy)
        watch = keeping.watched(session, named="The session", policy=policy, watches=self._watches)
        try:
            await self._reaper.keep(watch, seconds, actor=caller_of(request).actor)
        except errors.StaleState:
            raise _ended() from None
        return await self._session(await self._known(request))

    async def freeze(self, request: web.Request) -> web.Response:
        """One that sleeps already is success."""
        session = await self._known(request)
        if session.state is SessionState.READY:
            try:
                await self._freeze(session, caller_of(request).actor)
            except errors.SessionEnded:
                raise _ended() from None
            session = await self._known(request)
        match session.state:
            case SessionState.FROZEN:
                return await self._session(session)
            case SessionState.READY:
                raise errors.Conflict(public="Somebody wants the desktop just now. Try again.")
            case SessionState.ENDED:
                raise _ended()
            case state:
                raise errors.Conflict(public=f"The session is {state.value}: it cannot sleep.")

    async def _freeze(self, session: Session, actor: Actor) -> None:
        async def whoever_is_there() -> bool:
            return True

        reason = "an admin sent it to sleep"
        await self._sessions.freeze(
            session,
            reason=reason,
            sentence=sentences.asleep(reason),
            actor=actor,
            still=whoever_is_there,
        )

    async def _known(self, request: web.Request) -> Session:
        session = await self._store.session(SessionId(request.match_info["id"]))
        if session is None:
            raise no_session(request)
        return session

    async def _desktop(self, session: Session) -> Desktop:
        desktop = await self._store.desktop(session.desktop_id)
        if desktop is None:
            raise errors.NotFound(public="There is no such session.")
        return desktop

    async def _session(self, session: Session) -> web.Response:
        desktop = await self._desktop(session)
        owner = await Owners(self._store).of(desktop)
        present = self._presence.of(session.id) if session.live else []
        use = self._use(session, present, await self._policies.idle([session]))
        return web.json_response(models.session_out(session, desktop, owner, use))

    def _use(
        self,
        session: Session,
        present: Sequence[Present],
        policies: Callable[[Session], IdlePolicy],
    ) -> models.Use:
        watch = self._watches.current(session, policies(session))
        if watch is None:
            return models.Use(present=present)
        facts = watch.facts(self._watches.clock.monotonic(), attached=bool(present))
        return models.Use(
            present=present,
            idle=alone(facts) if facts.frozen is None else None,
            verdict=judge(facts, watch.policy),
        )


def _ended() -> errors.Conflict:
    return errors.Conflict(public="The session has ended.")


SESSIONS = Noun(
    name="sessions",
    summary="Runs of desktops, and what becomes of them.",
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
        Route(
            method="POST",
            path="/sessions/{id}/stop",
            handler=SessionRoutes.stop,
            name="stop_session",
            summary="Stop a session; its home is kept; one that has ended is success.",
            needs=Scope.SESSIONS,
            whose=SESSION,
            answers={200: models.SessionOut},
            refuses=(errors.EngineUnavailable,),
        ),
        Route(
            method="POST",
            path="/sessions/{id}/kill",
            handler=SessionRoutes.kill,
            name="kill_session",
            summary="End a session at once, without asking its programs.",
            needs=Scope.SESSIONS,
            whose=SESSION,
            body=models.Kill,
            answers={200: models.SessionOut},
            refuses=(
                errors.EngineUnavailable,
                errors.Conflict,
            ),
        ),
        Route(
            method="POST",
            path="/sessions/{id}/extend",
            handler=SessionRoutes.extend,
            name="extend_session",
            summary="Keep a session for so long from now.",
            needs=Scope.SESSIONS,
            whose=SESSION,
            body=models.Extend,
            answers={200: models.SessionOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="POST",
            path="/sessions/{id}/freeze",
            handler=SessionRoutes.freeze,
            name="freeze_session",
            summary="Let a session sleep now; who is in it is sent away; one that sleeps is success.",
            needs=Scope.SESSIONS,
            whose=SESSION,
            answers={200: models.SessionOut},
            refuses=(
                errors.Conflict,
                errors.EngineUnavailable,
            ),
        ),
    ),
)

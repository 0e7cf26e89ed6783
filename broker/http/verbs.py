"""What becomes of sessions and desktops: start, stop, sleep, wake, keep, end, tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.core import errors
from broker.core.model import DesktopId, SessionId, SessionState
from broker.core.tokens import Reach, Scope
from broker.http import models
from broker.http.calls import read
from broker.http.owners import Owners
from broker.http.routes import PREFIX, Noun, Query, Route, caller_of, number
from broker.http.views import SessionViews
from broker.http.whose import DESKTOP, SESSION, no_desktop
from broker.service import keeping, sentences
from broker.service.inside import Notice

if TYPE_CHECKING:
    from broker.core.idle import IdlePolicy
    from broker.core.interfaces import Store
    from broker.core.model import Actor, Desktop, Session
    from broker.service.services import Services
    from broker.service.watches import Watch

#: Seconds that a start is waited for when the caller does not say, and that a message stays.
_WAITED, _SHOWN = 5, 60.0

_WAIT = Query(
    name="wait", summary="Seconds to wait for it to be ready, 5 when not said.", low=1, high=60
)

#: What a start can come to.
_START = (
    errors.CapacityExhausted,
    errors.HeldBack,
    errors.EngineUnavailable,
    errors.FirewallFailed,
    errors.ImageMissing,
    errors.ShuttingDown,
    errors.InMaintenance,
    errors.SessionEnded,
    errors.StartFailed,
    errors.HomeMissing,
    errors.HomeUnbounded,
)


class VerbRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._sessions = services.sessions
        self._begin = services.begin
        self._inside = services.inside
        self._reaper = services.reaper
        self._watches = services.watches
        self._policies = services.policies
        self._views = SessionViews(store=store, services=services)

    # -- to READY
    async def start(self, request: web.Request) -> web.Response:
        desktop = await self._desktop(request)
        if desktop.removed_at is not None:
            raise errors.Conflict(public="The desktop was removed.")
        return await self._started(request, desktop, ready=201)

    async def thaw(self, request: web.Request) -> web.Response:
        session = await self._views.known(request)
        if session.state not in {SessionState.FROZEN, SessionState.READY, SessionState.STARTING}:
            raise _ended()
        return await self._started(request, await self._views.desktop(session), ready=200)

    async def _started(self, request: web.Request, desktop: Desktop, *, ready: int) -> web.Response:
        wait = number(request, "wait", _WAITED)
        session = await self._begin.begin(desktop, actor=caller_of(request).actor, wait=wait)
        if session is not None:
            return await self._views.answer(session, status=ready)
        live = await self._store.live_session(desktop.id)
        place = f"sessions/{live.id}" if live is not None else f"desktops/{desktop.id}"
        return await self._owned(desktop, live, status=202, place=f"{PREFIX}/{place}")

    # -- to ENDED
    async def stop(self, request: web.Request) -> web.Response:
        session = await self._sessions.stop(
            SessionId(request.match_info["id"]),
            reason=f"{_who(request)} stopped it",
            actor=caller_of(request).actor,
        )
        return await self._views.answer(session)

    async def stop_desktop(self, request: web.Request) -> web.Response:
        desktop = await self._desktop(request)
        session = await self._store.live_session(desktop.id)
        if session is not None:
            reason = f"{_who(request)} stopped it"
            await self._sessions.stop(session.id, reason=reason, actor=caller_of(request).actor)
        return await self._owned(desktop, await self._store.live_session(desktop.id))

    async def kill(self, request: web.Request) -> web.Response:
        body = await read(request, models.Kill)
        if body.force and caller_of(request).only is not None:
            raise errors.AccessDenied(public="To end it by force is for administrators.")
        session = await self._sessions.kill(
            SessionId(request.match_info["id"]),
            reason=f"{_who(request)} ended it at once",
            actor=caller_of(request).actor,
            force=body.force,
        )
        return await self._views.answer(session)

    # -- kept
    async def extend(self, request: web.Request) -> web.Response:
        body = await read(request, models.Extend)
        session = await self._views.known(request)
        policy = (await self._policies.idle([session]))(session)
        seconds = keeping.seconds(body.time, policy)
        return await self._kept(request, self._watch(session, policy), seconds)

    async def keep(self, request: web.Request) -> web.Response:
        session = await self._views.known(request)
        policy = (await self._policies.idle([session]))(session)
        return await self._kept(request, self._watch(session, policy), policy.keep_up_to)

    def _watch(self, session: Session, policy: IdlePolicy) -> Watch:
        return keeping.watched(session, named="The session", policy=policy, watches=self._watches)

    async def _kept(self, request: web.Request, watch: Watch, seconds: float) -> web.Response:
        try:
            await self._reaper.keep(watch, seconds, actor=caller_of(request).actor)
        except errors.StaleState:
            raise _ended() from None
        return await self._views.answer(await self._views.known(request))

    # -- to FROZEN
    async def freeze(self, request: web.Request) -> web.Response:
        """One that sleeps already is success."""
        session = await self._views.known(request)
        if session.state is SessionState.READY:
            try:
                await self._freeze(session, _who(request), caller_of(request).actor)
            except errors.SessionEnded:
                raise _ended() from None
            session = await self._views.known(request)
        match session.state:
            case SessionState.FROZEN:
                return await self._views.answer(session)
            case SessionState.READY:
                raise errors.Conflict(public="Somebody wants the desktop just now. Try again.")
            case SessionState.ENDED:
                raise _ended()
            case state:
                raise errors.Conflict(public=f"The session is {state.value}: it cannot sleep.")

    async def _freeze(self, session: Session, who: str, actor: Actor) -> None:
        async def whoever_is_there() -> bool:
            return True

        reason = f"{who} sent it to sleep"
        await self._sessions.freeze(
            session,
            reason=reason,
            sentence=sentences.asleep(reason),
            actor=actor,
            still=whoever_is_there,
        )

    # -- told
    async def message(self, request: web.Request) -> web.Response:
        """The audit is told that there was one, not what it said."""
        body = await read(request, models.Message)
        if not body.text.strip() or not body.text.isprintable():
            raise errors.BadRequest(public="text: allowed are characters that can be printed.")
        session = await self._views.known(request)
        if session.state is not SessionState.READY:
            raise errors.Conflict(
                public=f"The session is {session.state.value}: nobody could read that."
            )
        notice = Notice(f"From {_who(request)}", body.text, extend=False, lasts=_SHOWN)
        seen = await self._inside.tell(session.id, notice)
        await self._store.note(
            actor=caller_of(request).actor,
            action="session.message",
            subject=session.id,
            detail={"seen": seen},
        )
        told: models.MessageOut = {"seen": seen}
        return web.json_response(told)

    # -- shown
    async def resize(self, request: web.Request) -> web.Response:
        """As whoever is in it may by their viewer; the desktop can say no."""
        body = await read(request, models.Size)
        session = await self._views.known(request)
        if session.state is not SessionState.READY:
            raise errors.Conflict(
                public=f"The session is {session.state.value}: it has no size to change."
            )
        if not await self._inside.resize(session.id, body.width, body.height):
            raise errors.Conflict(public="The desktop did not take that size. Try again.")
        await self._store.note(
            actor=caller_of(request).actor,
            action="session.resize",
            subject=session.id,
            detail={"size": f"{body.width}x{body.height}"},
        )
        return await self._views.answer(session)

    # -- shared
    async def _desktop(self, request: web.Request) -> Desktop:
        desktop = await self._store.desktop(DesktopId(request.match_info["id"]))
        if desktop is None:
            raise no_desktop(request)
        return desktop

    async def _owned(
        self,
        desktop: Desktop,
        session: Session | None,
        *,
        status: int = 200,
        place: str | None = None,
    ) -> web.Response:
        owner = await Owners(self._store).of(desktop)
        headers = None if place is None else {"Location": place}
        told = models.desktop_out(desktop, owner, session)
        return web.json_response(told, status=status, headers=headers)


def _who(request: web.Request) -> str:
    """In a sentence for who is inside."""
    caller = caller_of(request)
    if caller.reach is Reach.ALL:
        return "an admin"
    return caller.actor.name.removeprefix("user:")


def _ended() -> errors.Conflict:
    return errors.Conflict(public="The session has ended.")


VERBS = Noun(
    name="verbs",
    summary="What becomes of sessions and desktops.",
    routes=(
        Route(
            method="POST",
            path="/sessions/{id}/stop",
            handler=VerbRoutes.stop,
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
            handler=VerbRoutes.kill,
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
            handler=VerbRoutes.extend,
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
            handler=VerbRoutes.freeze,
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
        Route(
            method="POST",
            path="/sessions/{id}/keep",
            handler=VerbRoutes.keep,
            name="keep_session",
            summary="Keep a session for as long as its user may.",
            needs=Scope.SESSIONS,
            whose=SESSION,
            answers={200: models.SessionOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="POST",
            path="/sessions/{id}/message",
            handler=VerbRoutes.message,
            name="message_session",
            summary="Show a sentence in a session's desktop, and on every terminal inside.",
            needs=Scope.SESSIONS,
            whose=SESSION,
            body=models.Message,
            answers={200: models.MessageOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="PUT",
            path="/sessions/{id}/size",
            handler=VerbRoutes.resize,
            name="resize_session",
            summary="Give a session's desktop another size, in pixels.",
            needs=Scope.SESSIONS,
            whose=SESSION,
            body=models.Size,
            answers={200: models.SessionOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="POST",
            path="/sessions/{id}/thaw",
            handler=VerbRoutes.thaw,
            name="thaw_session",
            summary="Wake a session that sleeps; one that is awake is success, one that is on its way is 202.",
            needs=Scope.SESSIONS,
            whose=SESSION,
            query=(_WAIT,),
            answers={200: models.SessionOut, 202: models.DesktopOut},
            refuses=(*_START,),
        ),
        Route(
            method="POST",
            path="/desktops/{id}/start",
            handler=VerbRoutes.start,
            name="start_desktop",
            summary="Start or wake a desktop: 201 when it is ready, 202 and where to look when it is under way.",
            needs=Scope.SESSIONS,
            whose=DESKTOP,
            query=(_WAIT,),
            answers={201: models.SessionOut, 202: models.DesktopOut},
            refuses=(*_START,),
        ),
        Route(
            method="POST",
            path="/desktops/{id}/stop",
            handler=VerbRoutes.stop_desktop,
            name="stop_desktop",
            summary="Stop what runs of a desktop; its home is kept; one that is not running is success.",
            needs=Scope.SESSIONS,
            whose=DESKTOP,
            answers={200: models.DesktopOut},
            refuses=(errors.EngineUnavailable,),
        ),
    ),
)

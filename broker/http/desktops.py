"""Desktops, their sessions, who is in them, and what is leased for them."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from aiohttp import web

from broker.core import errors
from broker.core.idle import alone, judge
from broker.core.model import LeaseKind, SessionId, SessionState
from broker.http import models
from broker.http.calls import ACTOR, items, read
from broker.service import keeping, sentences, why

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.idle import IdlePolicy
    from broker.core.interfaces import Store
    from broker.core.model import Actor, Desktop, Session, UserId
    from broker.service.presence import Present
    from broker.service.services import Services


class DesktopRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._accounts = services.accounts
        self._sessions = services.sessions
        self._presence = services.presence
        self._explainer = services.explainer
        self._reaper = services.reaper
        self._watches = services.watches
        self._policies = services.policies

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/desktops", self.list_desktops),
            web.delete("/desktops/{id}", self.remove_desktop),
            web.get("/sessions", self.list_sessions),
            web.get("/sessions/{id}/why", self.explain_session),
            web.post("/sessions/{id}/stop", self.stop_session),
            web.post("/sessions/{id}/kill", self.kill_session),
            web.post("/sessions/{id}/extend", self.extend_session),
            web.post("/sessions/{id}/freeze", self.freeze_session),
            web.get("/attachments", self.list_attachments),
            web.get("/leases", self.list_leases),
        ]

    # -- desktops
    async def list_desktops(self, request: web.Request) -> web.Response:
        desktops = await self._store.desktops(removed="all" in request.query)
        live = {session.desktop_id: session for session in await self._store.live_sessions()}
        owners = await self._owners()
        return items(
            [
                models.desktop_out(
                    desktop, await self._owner(desktop, owners), live.get(desktop.id)
                )
                for desktop in desktops
            ]
        )

    async def remove_desktop(self, request: web.Request) -> web.Response:
        """`with_home` must name the desktop's id once more: a home is gone for good."""
        desktop_id = request.match_info["id"]
        again = request.query.get("with_home")
        if again not in {None, desktop_id}:
            raise errors.BadRequest(
                public="with_home deletes the home for good, so it must repeat the desktop's id."
            )
        await self._accounts.remove_desktop(
            desktop_id, with_home=again is not None, actor=request[ACTOR]
        )
        return web.Response(status=204)

    # -- sessions
    async def list_sessions(self, _request: web.Request) -> web.Response:
        """By what is known now: no desktop is asked."""
        sessions = await self._store.live_sessions()
        desktops = {desktop.id: desktop for desktop in await self._store.desktops()}
        owners = await self._owners()
        present: defaultdict[str, list[Present]] = defaultdict(list)
        for one in self._presence.everybody():
            present[one.attachment.session_id].append(one)
        policies = await self._policies.idle(sessions)
        found = []
        for session in sessions:
            desktop = desktops.get(session.desktop_id)
            if desktop is not None:  # its record can go meanwhile
                owner = await self._owner(desktop, owners)
                use = self._use(session, present[session.id], policies)
                found.append(models.session_out(session, desktop, owner, use))
        return items(found)

    async def explain_session(self, request: web.Request) -> web.Response:
        """What `desk why` says of the session's desktop, for programs and in words."""
        desktop = await self._desktop(await self._known(request))
        found = await self._explainer.why(desktop)
        owner = await self._owner(desktop, await self._owners())
        return web.json_response({"user": owner, **why.data(found), "text": why.text(found)})

    async def stop_session(self, request: web.Request) -> web.Response:
        session = await self._sessions.stop(
            SessionId(request.match_info["id"]), reason="an admin stopped it", actor=request[ACTOR]
        )
        return await self._session(session)

    async def kill_session(self, request: web.Request) -> web.Response:
        body = await read(request, models.Kill)
        session = await self._sessions.kill(
            SessionId(request.match_info["id"]),
            reason="an admin ended it at once",
            actor=request[ACTOR],
            force=body.force,
        )
        return await self._session(session)

    async def extend_session(self, request: web.Request) -> web.Response:
        body = await read(request, models.Extend)
        session = await self._known(request)
        policy = (await self._policies.idle([session]))(session)
        seconds = keeping.seconds(body.time, policy)
        watch = keeping.watched(session, named="The session", policy=policy, watches=self._watches)
        try:
            await self._reaper.keep(watch, seconds, actor=request[ACTOR])
        except errors.StaleState:
            raise _ended() from None
        return await self._session(await self._known(request))

    async def freeze_session(self, request: web.Request) -> web.Response:
        """One that sleeps already is success."""
        session = await self._known(request)
        if session.state is SessionState.READY:
            try:
                await self._freeze(session, request[ACTOR])
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

    async def list_attachments(self, _request: web.Request) -> web.Response:
        sessions = {session.id: session for session in await self._store.live_sessions()}
        desktops = {desktop.id: desktop for desktop in await self._store.desktops()}
        clock = self._watches.clock
        monotonic, now = clock.monotonic(), clock.now()
        found = []
        for one in self._presence.everybody():
            session = sessions.get(SessionId(one.attachment.session_id))
            found.append(
                models.attachment_out(
                    one,
                    desktops.get(session.desktop_id) if session else None,
                    since=now - timedelta(seconds=monotonic - one.since),
                    idle=None if one.last_input is None else monotonic - one.last_input,
                )
            )
        return items(found)

    async def _known(self, request: web.Request) -> Session:
        session = await self._store.session(SessionId(request.match_info["id"]))
        if session is None:
            raise errors.NotFound(public="There is no such session.")
        return session

    async def _desktop(self, session: Session) -> Desktop:
        desktop = await self._store.desktop(session.desktop_id)
        if desktop is None:
            raise errors.NotFound(public="There is no such session.")
        return desktop

    async def _session(self, session: Session) -> web.Response:
        desktop = await self._desktop(session)
        owner = await self._owner(desktop, await self._owners())
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

    # -- leases
    async def list_leases(self, _request: web.Request) -> web.Response:
        return items(
            [
                models.lease_out(
                    lease,
                    str(ipaddress.IPv4Address(lease.number))
                    if lease.kind is LeaseKind.ADDRESS
                    else str(lease.number),
                )
                for lease in await self._store.leases()
            ]
        )

    async def _owners(self) -> dict[UserId, str]:
        """The names of all that are not removed."""
        return {user.id: user.name for user in await self._store.users()}

    async def _owner(self, desktop: Desktop, owners: dict[UserId, str]) -> str:
        if desktop.user_id in owners:
            return owners[desktop.user_id]
        removed = await self._store.user_by_id(desktop.user_id)
        return f"{removed.name} (removed)" if removed is not None else "?"


def _ended() -> errors.Conflict:
    return errors.Conflict(public="The session has ended.")

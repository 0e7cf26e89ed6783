"""The admin's API under `/api/v1`, on a Unix socket where the kernel says who calls."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from broker.core import errors
from broker.core.idle import alone, judge
from broker.core.model import LeaseKind, SessionId, SessionState
from broker.http import models
from broker.http.problems import problems
from broker.service import keeping, sentences, why
from broker.system.peer import is_admin, peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.core.idle import IdlePolicy
    from broker.core.interfaces import Store
    from broker.core.model import Desktop, Session, UserId
    from broker.service.accounts import Accounts
    from broker.service.policies import Policies
    from broker.service.presence import Presence, Present
    from broker.service.reaper import Reaper
    from broker.service.sessions import Sessions
    from broker.service.watches import Watches

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Bytes of a request's body: a user with a hundred keys fits.
_BODY = 256 << 10

_ACTOR = web.RequestKey("actor", str)

_Body = TypeVar("_Body", bound=BaseModel)


class AdminApi:
    """Users, keys, desktops, sessions, attachments and leases over HTTP."""

    def __init__(
        self,
        *,
        store: Store,
        accounts: Accounts,
        sessions: Sessions,
        presence: Presence,
        explainer: why.Explainer,
        reaper: Reaper,
        watches: Watches,
        policies: Policies,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._sessions = sessions
        self._presence = presence
        self._explainer = explainer
        self._reaper = reaper
        self._watches = watches
        self._policies = policies

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_BODY, middlewares=[problems, _admins_alone])
        app.add_routes(
            [
                web.get("/api/v1/users", self.list_users),
                web.post("/api/v1/users", self.add_user),
                web.delete("/api/v1/users/{name}", self.remove_user),
                web.get("/api/v1/users/{name}/keys", self.list_keys),
                web.post("/api/v1/users/{name}/keys", self.add_key),
                web.delete("/api/v1/users/{name}/keys/{fingerprint:.+}", self.remove_key),
                web.get("/api/v1/desktops", self.list_desktops),
                web.delete("/api/v1/desktops/{id}", self.remove_desktop),
                web.get("/api/v1/sessions", self.list_sessions),
                web.get("/api/v1/sessions/{id}/why", self.explain_session),
                web.post("/api/v1/sessions/{id}/stop", self.stop_session),
                web.post("/api/v1/sessions/{id}/kill", self.kill_session),
                web.post("/api/v1/sessions/{id}/extend", self.extend_session),
                web.post("/api/v1/sessions/{id}/freeze", self.freeze_session),
                web.get("/api/v1/attachments", self.list_attachments),
                web.get("/api/v1/leases", self.list_leases),
            ]
        )
        return app

    # -- users and keys
    async def list_users(self, _request: web.Request) -> web.Response:
        users = await self._store.users()
        return _items(
            [models.user_out(user, len(await self._store.keys(user.id))) for user in users]
        )

    async def add_user(self, request: web.Request) -> web.Response:
        body = await _body(request, models.NewUser)
        user = await self._accounts.add_user(
            body.name, admin=body.admin, keys=body.keys, actor=request[_ACTOR]
        )
        return web.json_response(models.user_out(user, len(body.keys)), status=201)

    async def remove_user(self, request: web.Request) -> web.Response:
        await self._accounts.remove_user(request.match_info["name"], actor=request[_ACTOR])
        return web.Response(status=204)

    async def list_keys(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["name"])
        return _items([models.key_out(key) for key in await self._store.keys(user.id)])

    async def add_key(self, request: web.Request) -> web.Response:
        body = await _body(request, models.NewKey)
        key = await self._accounts.add_key(
            request.match_info["name"], body.key, actor=request[_ACTOR]
        )
        return web.json_response(models.key_out(key), status=201)

    async def remove_key(self, request: web.Request) -> web.Response:
        await self._accounts.remove_key(
            request.match_info["name"], request.match_info["fingerprint"], actor=request[_ACTOR]
        )
        return web.Response(status=204)

    # -- desktops
    async def list_desktops(self, request: web.Request) -> web.Response:
        desktops = await self._store.desktops(removed="all" in request.query)
        live = {session.desktop_id: session for session in await self._store.live_sessions()}
        owners = await self._owners()
        return _items(
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
            desktop_id, with_home=again is not None, actor=request[_ACTOR]
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
        items = []
        for session in sessions:
            desktop = desktops.get(session.desktop_id)
            if desktop is not None:  # its record can go meanwhile
                owner = await self._owner(desktop, owners)
                use = self._use(session, present[session.id], policies)
                items.append(models.session_out(session, desktop, owner, use))
        return _items(items)

    async def explain_session(self, request: web.Request) -> web.Response:
        """What `desk why` says of the session's desktop, for programs and in words."""
        desktop = await self._desktop(await self._known(request))
        found = await self._explainer.why(desktop)
        owner = await self._owner(desktop, await self._owners())
        return web.json_response({"user": owner, **why.data(found), "text": why.text(found)})

    async def stop_session(self, request: web.Request) -> web.Response:
        session = await self._sessions.stop(
            SessionId(request.match_info["id"]), reason="an admin stopped it", actor=request[_ACTOR]
        )
        return await self._session(session)

    async def kill_session(self, request: web.Request) -> web.Response:
        body = await _body(request, models.Kill)
        session = await self._sessions.kill(
            SessionId(request.match_info["id"]),
            reason="an admin ended it at once",
            actor=request[_ACTOR],
            force=body.force,
        )
        return await self._session(session)

    async def extend_session(self, request: web.Request) -> web.Response:
        body = await _body(request, models.Extend)
        session = await self._known(request)
        policy = (await self._policies.idle([session]))(session)
        seconds = keeping.seconds(body.time, policy)
        watch = keeping.watched(session, named="The session", policy=policy, watches=self._watches)
        try:
            await self._reaper.keep(watch, seconds, actor=request[_ACTOR])
        except errors.StaleState:
            raise _ended() from None
        return await self._session(await self._known(request))

    async def freeze_session(self, request: web.Request) -> web.Response:
        """One that sleeps already is success."""
        session = await self._known(request)
        if session.state is SessionState.READY:
            try:
                await self._freeze(session, request[_ACTOR])
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

    async def _freeze(self, session: Session, actor: str) -> None:
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
        items = []
        for one in self._presence.everybody():
            session = sessions.get(SessionId(one.attachment.session_id))
            items.append(
                models.attachment_out(
                    one,
                    desktops.get(session.desktop_id) if session else None,
                    since=now - timedelta(seconds=monotonic - one.since),
                    idle=None if one.last_input is None else monotonic - one.last_input,
                )
            )
        return _items(items)

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
        return _items(
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


def _items(items: list[models.Json]) -> web.Response:
    return web.json_response({"items": items})


async def _body(request: web.Request, model: type[_Body]) -> _Body:
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise errors.BadRequest(
            public=f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}."
        ) from None


@web.middleware
async def _admins_alone(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.transport is None:
        raise errors.AccessDenied("the caller left")
    peer = peer_of(request.transport.get_extra_info("socket"))
    if not is_admin(peer):
        raise errors.AccessDenied(
            f"uid {peer.uid} called {request.method} {request.path}",
            public="Only root, the broker's own user and the group desk-admin may use this socket.",
        )
    request[_ACTOR] = f"uid:{peer.uid}"
    return await handler(request)

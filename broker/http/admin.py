"""The admin's API under `/api/v1`, on a Unix socket where the kernel says who calls."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, TypeVar

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from broker.core import errors
from broker.core.model import LeaseKind, SessionId, shown
from broker.http import models
from broker.system.peer import is_admin, peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.interfaces import Store
    from broker.core.model import Desktop, Session
    from broker.service.accounts import Accounts
    from broker.service.presence import Presence
    from broker.service.sessions import Sessions

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger()

#: Bytes of a request's body: a user with a hundred keys fits.
_BODY = 256 << 10

_STATUS: dict[type[errors.DeskError], int] = {
    errors.BadRequest: 400,
    errors.AccessDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.StaleState: 409,
    errors.CapacityExhausted: 429,
    errors.HeldBack: 429,
    errors.EngineUnavailable: 503,
    errors.ImageMissing: 503,
    errors.ShuttingDown: 503,
    errors.StateUnusable: 503,
}

#: Seconds until asking again may work, where nobody can tell: the sentence says 'in a minute'.
_LATER = 60

_ACTOR = web.RequestKey("actor", str)

_Body = TypeVar("_Body", bound=BaseModel)


class AdminApi:
    """Users, keys, desktops, sessions and leases over HTTP."""

    def __init__(
        self, *, store: Store, accounts: Accounts, sessions: Sessions, presence: Presence
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._sessions = sessions
        self._presence = presence

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_BODY, middlewares=[_problems, _admins_alone])
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
                web.post("/api/v1/sessions/{id}/stop", self.stop_session),
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

    # -- desktops and sessions
    async def list_desktops(self, request: web.Request) -> web.Response:
        desktops = await self._store.desktops(removed="all" in request.query)
        live = {session.desktop_id: session for session in await self._store.live_sessions()}
        return _items(
            [
                models.desktop_out(desktop, await self._owner(desktop), live.get(desktop.id))
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

    async def list_sessions(self, _request: web.Request) -> web.Response:
        counts = self._presence.counts()
        items = []
        for session in await self._store.live_sessions():
            desktop = await self._store.desktop(session.desktop_id)
            if desktop is not None:
                owner = await self._owner(desktop)
                items.append(models.session_out(session, desktop, owner, counts[session.id]))
        return _items(items)

    async def stop_session(self, request: web.Request) -> web.Response:
        session = await self._sessions.stop(
            SessionId(request.match_info["id"]), reason="an admin stopped it", actor=request[_ACTOR]
        )
        return await self._session(session)

    async def _session(self, session: Session) -> web.Response:
        desktop = await self._store.desktop(session.desktop_id)
        if desktop is None:
            raise errors.NotFound(public="There is no such session.")
        return web.json_response(
            models.session_out(session, desktop, await self._owner(desktop), 0)
        )

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

    async def _owner(self, desktop: Desktop) -> str:
        owner = await self._store.user_by_id(desktop.user_id)
        if owner is None:
            return "?"
        return (
            owner.name if await self._store.user(owner.name) == owner else f"{owner.name} (removed)"
        )


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


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One of the three places where errors become words: here, RFC 9457 problem documents."""
    try:
        return await handler(request)
    except errors.DeskError as error:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        log.info("request refused", path=request.path, code=error.code, detail=str(error))
        problem = _problem(status, error.code, error.public)
        if isinstance(error, errors.CapacityExhausted | errors.HeldBack):
            after = _LATER if error.retry_after is None else math.ceil(error.retry_after)
            problem.headers["Retry-After"] = str(after)
        return problem
    except web.HTTPException as error:
        code = {404: "not_found", 405: "bad_request", 413: "bad_request"}.get(
            error.status, "internal"
        )
        problem = _problem(error.status, code, f"{error.reason}: {shown(request.path)}.")
        if "Allow" in error.headers:
            problem.headers["Allow"] = error.headers["Allow"]
        return problem
    except Exception:
        log.exception("request failed", path=request.path)
        return _problem(500, errors.DeskError.code, errors.DeskError.default)


def _problem(status: int, code: str, detail: str) -> web.Response:
    return web.json_response(
        {
            "type": f"desk:{code}",
            "title": code.replace("_", " "),
            "status": status,
            "code": code,
            "detail": detail,
        },
        status=status,
        content_type="application/problem+json",
    )

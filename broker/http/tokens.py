"""Tokens of the API, and what the one that is shown may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from broker.core import errors
from broker.core.gateway import Allowance
from broker.core.model import shown
from broker.core.tokens import Reach, Scope
from broker.http.calls import PAGING, page, read
from broker.http.kinds import Time, time, time_or_none
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route, caller_of
from broker.http.whose import TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.interfaces import Store
    from broker.core.model import User
    from broker.core.signins import SignIn
    from broker.core.tokens import Token
    from broker.service.services import Services


class NewToken(BaseModel):
    """Body of `POST /tokens`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(max_length=256)
    """What it is for."""
    user: str | None = Field(default=None, max_length=256)
    """Whose it is; the caller's own when not said."""
    scopes: frozenset[Scope] = Field(min_length=1)
    reach: Reach = Reach.OWN
    valid: str | None = Field(default=None, max_length=64)
    """A time like `30d`, or `never`; 90 days when not said."""


class TokenOut(TypedDict):
    """What lets a program in as its user."""

    id: str
    user: str
    name: str
    scopes: list[Scope]
    reach: Reach
    made_at: Time
    made_by: str
    expires_at: Time | None
    last_used_at: Time | None
    """To the minute."""
    last_used_from: str | None


class TokenMade(TokenOut):
    """A new token; its secret is told here alone."""

    secret: str
    """To be shown as `Authorization: Bearer …`."""


class CallerOut(TypedDict):
    """Who calls, and what they may do."""

    name: str
    """As the audit names them."""
    user: str | None
    """The account; null for whom the kernel names an admin."""
    scopes: list[Scope]
    reach: Reach
    token: str | None
    """The id of the token that was shown."""
    expires_at: Time | None
    csrf: str | None
    """Of a browser that is signed in: what its pages show in `Desk-CSRF` with every change."""
    admin: bool
    enrol: bool
    """Whether a one-time code must be set up before anything else."""
    allowed: list[Allowance]
    """What the account may do beyond commands and viewers."""
    ssh_port: int


class TokenRoutes:
    """Every handler raises `DeskError`. A secret is in the one answer that makes it."""

    def __init__(self, *, store: Store, services: Services, ssh_port: int) -> None:
        self._store = store
        self._tokens = services.tokens
        self._policies = services.policies
        self._ssh_port = ssh_port

    async def list(self, request: web.Request) -> web.Response:
        """Newest first."""
        users = {user.id: user.name for user in await self._store.users()}

        def whose(token: Token) -> str:
            return users.get(token.user_id, "?")

        async def out(token: Token) -> TokenOut:
            return _out(token, whose(token))

        return await page(
            request,
            await self._tokens.all(caller_of(request).only),
            key=lambda token: (-token.made_at.timestamp(), token.id),
            out=out,
            where={"user": whose},
        )

    async def add(self, request: web.Request) -> web.Response:
        """For somebody else it needs the scope `admin`, and everybody's reach."""
        body = await read(request, NewToken)
        user = await self._whose(request, body.user)
        token, secret = await self._tokens.make(
            user,
            name=body.name,
            scopes=body.scopes,
            reach=body.reach,
            valid=body.valid,
            maker=caller_of(request),
        )
        made: TokenMade = {**_out(token, user.name), "secret": secret}
        return web.json_response(made, status=201)

    async def _whose(self, request: web.Request, name: str | None) -> User:
        caller = caller_of(request)
        if name is None:
            if caller.user_id is None:
                raise errors.BadRequest(public="user: say whose the token is.")
            user = await self._store.user_by_id(caller.user_id)
        else:
            user = await self._store.user(name)
        if user is None or caller.only not in {None, user.id}:
            raise errors.NotFound(public=f"There is no user {shown(name or '')}.")
        if user.id != caller.user_id and Scope.ADMIN not in caller.scopes:
            raise errors.AccessDenied(public="A token of somebody else needs the scope 'admin'.")
        return user

    async def revoke(self, request: web.Request) -> web.Response:
        await self._tokens.revoke(request.match_info["id"], actor=caller_of(request).actor)
        return web.Response(status=204)

    async def caller(self, request: web.Request) -> web.Response:
        caller = caller_of(request)
        user = await self._store.user_by_id(caller.user_id) if caller.user_id else None
        told: CallerOut = {
            "name": caller.actor.name,
            "user": user.name if user else None,
            "scopes": sorted(caller.scopes),
            "reach": caller.reach,
            "token": caller.token.id if caller.token else None,
            "expires_at": time_or_none(caller.token.expires_at) if caller.token else None,
            "csrf": caller.csrf,
            "admin": caller.user_id is None or (user is not None and user.admin),
            "enrol": caller.enrol,
            "allowed": [] if user is None else [*await self._allowed(user, caller.sign_in)],
            "ssh_port": self._ssh_port,
        }
        return web.json_response(told)

    async def _allowed(self, user: User, sign_in: SignIn | None) -> Sequence[Allowance]:
        policy = (await self._policies.of(user.id)).policy
        allowed = tuple(each for each in Allowance if each in policy.allowed)
        return allowed if sign_in is None else sign_in.proven.allows(allowed)


def _out(token: Token, user: str) -> TokenOut:
    return {
        "id": token.id,
        "user": user,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "reach": token.reach,
        "made_at": time(token.made_at),
        "made_by": token.made_by,
        "expires_at": time_or_none(token.expires_at),
        "last_used_at": time_or_none(token.last_used_at),
        "last_used_from": token.last_used_from,
    }


TOKENS = Noun(
    name="tokens",
    summary="Tokens that let programs in as their users, and what the one that is shown may do.",
    routes=(
        Route(
            method="GET",
            path="/caller",
            handler=TokenRoutes.caller,
            name="get_caller",
            summary="Tell who calls and what they may do.",
            needs=None,
            whose=BY_HANDLER,
            enrolling=True,
            answers={200: CallerOut},
        ),
        Route(
            method="GET",
            path="/tokens",
            handler=TokenRoutes.list,
            name="list_tokens",
            summary="List tokens, newest first; none of their secrets.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(*PAGING, Query(name="user", summary="Those of that user.")),
            answers={200: Page(TokenOut)},
        ),
        Route(
            method="POST",
            path="/tokens",
            handler=TokenRoutes.add,
            name="add_token",
            summary="Make a token that may no more than its maker and its user; its secret is told"
            " by this answer alone.",
            needs=Scope.USERS,
            whose=BY_HANDLER,
            body=NewToken,
            answers={201: TokenMade},
            secret=True,
        ),
        Route(
            method="DELETE",
            path="/tokens/{id}",
            handler=TokenRoutes.revoke,
            name="revoke_token",
            summary="Take a token back; what goes on by it ends within seconds.",
            needs=Scope.USERS,
            whose=TOKEN,
            answers={204: None},
        ),
    ),
)

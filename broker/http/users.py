"""Accounts: made, listed, disabled, removed, recovered; and what holds for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from broker.core import errors
from broker.core.policy import flat, written
from broker.core.tokens import Scope
from broker.http import people
from broker.http.calls import PAGING, flag, page, read
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route, caller_of
from broker.http.whose import USER, USER_OF_ALL

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.model import User
    from broker.service.services import Services


class UserRoutes:
    """Every handler raises `DeskError`."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._accounts = services.accounts
        self._policies = services.policies

    async def list(self, request: web.Request) -> web.Response:
        only = caller_of(request).only
        users = await self._store.users()
        return await page(
            request,
            [user for user in users if only in {None, user.id}],
            key=lambda user: (user.name,),
            out=self._out,
            where={
                "name": lambda user: user.name,
                "source": lambda user: user.source,
                "admin": lambda user: user.admin,
                "enabled": lambda user: user.enabled,
            },
        )

    async def show(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["name"])
        return web.json_response(await self._out(user))

    async def add(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewUser)
        if body.admin and Scope.ADMIN not in caller_of(request).scopes:
            raise errors.AccessDenied(public="To make an administrator needs the scope 'admin'.")
        user = await self._accounts.add_user(
            body.name,
            admin=body.admin,
            keys=body.keys,
            source=body.source,
            actor=caller_of(request).actor,
        )
        return web.json_response(people.user_out(user, len(body.keys)), status=201)

    async def remove(self, request: web.Request) -> web.Response:
        await self._accounts.remove_user(request.match_info["name"], actor=caller_of(request).actor)
        return web.Response(status=204)

    async def enable(self, request: web.Request) -> web.Response:
        return await self._set_enabled(request, enabled=True)

    async def disable(self, request: web.Request) -> web.Response:
        return await self._set_enabled(request, enabled=False)

    async def _set_enabled(self, request: web.Request, *, enabled: bool) -> web.Response:
        """As it is already is success."""
        name = request.match_info["name"]
        await self._accounts.set_enabled(name, enabled=enabled, actor=caller_of(request).actor)
        return web.json_response(await self._out(await self._accounts.user(name)))

    async def policy(self, request: web.Request) -> web.Response:
        """What holds for the user, each value in words and who says so."""
        user = await self._accounts.user(request.match_info["name"])
        found = await self._policies.of(user.id)

        async def out(item: tuple[str, Any]) -> people.PolicyValue:
            key, value = item
            return {"key": key, "value": written(key, value), "from": found.origins[key]}

        return await page(request, flat(found.policy).items(), key=lambda item: (item[0],), out=out)

    async def _out(self, user: User) -> people.UserOut:
        return people.user_out(user, len(await self._store.keys(user.id)))


USERS = Noun(
    name="users",
    summary="Accounts: made, listed, disabled, removed; and what holds for each.",
    routes=(
        Route(
            method="GET",
            path="/users",
            handler=UserRoutes.list,
            name="list_users",
            summary="List accounts, by name.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(
                *PAGING,
                Query(name="name", summary="The one of that name."),
                Query(name="source", summary="Those whose password it checks."),
                flag("admin", "Those who are administrators, or are not."),
                flag("enabled", "Those who are enabled, or are not."),
            ),
            answers={200: Page(people.UserOut)},
        ),
        Route(
            method="POST",
            path="/users",
            handler=UserRoutes.add,
            name="add_user",
            summary="Make an account, with keys.",
            needs=Scope.USERS,
            whose=None,
            body=people.NewUser,
            answers={201: people.UserOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="GET",
            path="/users/{name}",
            handler=UserRoutes.show,
            name="get_user",
            summary="Show an account.",
            needs=Scope.READ,
            whose=USER,
            answers={200: people.UserOut},
        ),
        Route(
            method="DELETE",
            path="/users/{name}",
            handler=UserRoutes.remove,
            name="remove_user",
            summary="End what a user runs and take the account away; homes stay.",
            needs=Scope.USERS,
            whose=USER_OF_ALL,
            answers={204: None},
            refuses=(errors.Conflict, errors.EngineUnavailable),
        ),
        Route(
            method="POST",
            path="/users/{name}/enable",
            handler=UserRoutes.enable,
            name="enable_user",
            summary="Let a user be proven again; one who is enabled is success.",
            needs=Scope.USERS,
            whose=USER_OF_ALL,
            answers={200: people.UserOut},
        ),
        Route(
            method="POST",
            path="/users/{name}/disable",
            handler=UserRoutes.disable,
            name="disable_user",
            summary="Let nothing prove a user, and end what they have open; what runs sleeps in"
            " its time.",
            needs=Scope.USERS,
            whose=USER_OF_ALL,
            answers={200: people.UserOut},
        ),
        Route(
            method="GET",
            path="/users/{name}/policy",
            handler=UserRoutes.policy,
            name="get_user_policy",
            summary="List what holds for a user, each value in words and who says so.",
            needs=Scope.READ,
            whose=USER,
            query=PAGING,
            answers={200: Page(people.PolicyValue)},
        ),
    ),
)

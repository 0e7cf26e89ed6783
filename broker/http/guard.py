"""Nobody reaches a handler but by its route's rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.errors import AccessDenied
from broker.core.model import shown
from broker.core.tokens import Scope
from broker.http.routes import caller_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from broker.core.interfaces import Store
    from broker.core.tokens import Caller
    from broker.http.once import Once
    from broker.http.routes import Route


#: What whoever is let in to set up a code is told of everything else.
_ENROL_FIRST = "You have to set up a one-time code before anything else."


def guarded(
    route: Route, noun: Any, store: Store, once: Once
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler of the route, a method of `noun`, for whom its rule lets through."""
    handler = route.handler.__get__(noun)

    async def serve(request: web.Request) -> web.StreamResponse:
        caller = caller_of(request)
        _admit(route, caller)
        route.read_query(request)
        await _look(route, caller, request, store)
        # To anybody nothing is said again that was said to somebody else.
        if route.method == "POST" and not route.open:
            return await once.serve(route, request, handler)
        answer: web.StreamResponse = await handler(request)
        return answer

    return serve


def _admit(route: Route, caller: Caller) -> None:
    if route.open:
        return
    if caller.enrol and not route.enrolling:
        raise AccessDenied(f"{caller.actor.name} has no code yet", public=_ENROL_FIRST)
    if route.needs is not None and route.needs not in caller.scopes:
        raise AccessDenied(
            f"{caller.actor.name} lacks {route.needs} for {route.name}",
            public=f"This needs the scope {shown(route.needs)}, which you do not have.",
        )
    if not route.own and caller.only is not None:
        raise AccessDenied(
            f"{caller.actor.name} has no reach for {route.name}",
            public="This is for administrators whose token reaches everybody's things.",
        )


async def _look(route: Route, caller: Caller, request: web.Request, store: Store) -> None:
    """At whose thing it is: another's is missing, and an admin's account is for admins."""
    if route.whose is None or route.whose.find is None:
        return
    weak = route.needs is Scope.USERS and Scope.ADMIN not in caller.scopes
    if caller.only is None and not weak and not route.whose.owner_alone:
        return
    owner = await route.whose.find(store, request)
    if caller.only is not None and owner != caller.only:
        raise route.whose.missing(request)
    if route.whose.owner_alone and owner != caller.user_id:
        if owner is None:
            raise route.whose.missing(request)
        raise AccessDenied(
            f"{caller.actor.name} is not the owner for {route.name}",
            public="That is for its owner alone: nobody else consents for them.",
        )
    if weak and owner is not None and owner != caller.user_id:
        user = await store.user_by_id(owner)
        if user is not None and user.admin:
            raise AccessDenied(
                f"{caller.actor.name} lacks {Scope.ADMIN} for an admin's account",
                public="An administrator's account is changed with the scope 'admin' alone.",
            )

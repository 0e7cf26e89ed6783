"""Coming by a share's link, and what a guest learns: nothing of whose desktop it is."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from broker.core import errors
from broker.core.gateway import GUEST
from broker.core.shares import GuestState, Mode
from broker.core.tokens import CSRF, csrf_of
from broker.http.calls import read
from broker.http.kinds import Time, time
from broker.http.routes import BY_HANDLER, Noun, Query, Route, asked, caller_of

if TYPE_CHECKING:
    from broker.core.shares import Guest, Share
    from broker.service.services import Services

#: Seconds that an answer waits for something else to tell.
_WAITED = 20.0


class NewGuest(BaseModel):
    """Body of `POST /guests`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: str = Field(max_length=256, repr=False)
    """Of the link, behind its `#`."""
    name: str = Field(max_length=256)
    """What whoever lets them in reads: up to 40 characters."""


class VisitOut(TypedDict):
    """How far a guest is."""

    state: GuestState
    mode: Mode
    expires_at: Time
    """When the share is over."""
    reason: str | None
    """Why not, or not any more: one sentence."""
    csrf: str
    """What the guest's page shows in `Desk-CSRF`."""


class GuestRoutes:
    """Every handler raises `DeskError`. Who calls is whose secret the door passes on."""

    def __init__(self, *, services: Services) -> None:
        self._guests = services.guests

    async def close(self, _app: web.Application) -> None:
        """Whoever waits gets what is known."""
        self._guests.close()

    async def come(self, request: web.Request) -> web.Response:
        body = await read(request, NewGuest)
        address = caller_of(request).actor.origin or ""
        guest, share, secret = await self._guests.come(body.token, body.name, address)
        return web.json_response(_visit(guest, share, secret), status=201, headers={GUEST: secret})

    async def show(self, request: web.Request) -> web.Response:
        """At once, or within 20 seconds when it is as the caller knows it."""
        secret = request.headers.get(GUEST, "")
        known = asked(request, "state")
        if known is None:
            found = await self._guests.of(secret)
        else:
            found = await self._guests.news(secret, known, _WAITED)
        return web.json_response(_visit(*found, secret))

    async def leave(self, request: web.Request) -> web.Response:
        secret = request.headers.get(GUEST, "")
        shown = request.headers.get(CSRF, "").encode(errors="replace")
        await self._guests.of(secret)
        if not hmac.compare_digest(shown, csrf_of(secret).encode()):
            raise errors.AccessDenied(
                f"{request.path} by a guest without {CSRF}",
                public=f"This is for the guest's page: it shows 'csrf' of /guest in {CSRF}.",
            )
        await self._guests.leave(secret)
        return web.Response(status=204, headers={GUEST: ""})


def _visit(guest: Guest, share: Share, secret: str) -> VisitOut:
    return {
        "state": guest.state,
        "mode": share.mode,
        "expires_at": time(share.expires_at),
        "reason": guest.reason,
        "csrf": csrf_of(secret),
    }


GUESTS = Noun(
    name="guests",
    summary="Coming by a share's link. A front door keeps the secret in a cookie: no page and no"
    " program sees it.",
    routes=(
        Route(
            method="POST",
            path="/guests",
            handler=GuestRoutes.come,
            name="come_as_guest",
            summary="Ask to be let in; whoever is in the desktop has a minute to say so.",
            needs=None,
            whose=BY_HANDLER,
            open=True,
            body=NewGuest,
            answers={201: VisitOut},
            refuses=(
                errors.NotFound,
                errors.Conflict,
                errors.CapacityExhausted,
            ),
        ),
        Route(
            method="GET",
            path="/guest",
            handler=GuestRoutes.show,
            name="get_guest",
            summary="Tell a guest how far they are.",
            needs=None,
            whose=BY_HANDLER,
            open=True,
            query=(
                Query(
                    name="state",
                    summary="What is known already: the answer waits up to 20 seconds for something"
                    " else.",
                    choices=tuple(GuestState),
                ),
            ),
            answers={200: VisitOut},
            refuses=(errors.Unauthenticated,),
        ),
        Route(
            method="POST",
            path="/guest/leave",
            handler=GuestRoutes.leave,
            name="leave_as_guest",
            summary="Leave for good.",
            needs=None,
            whose=BY_HANDLER,
            open=True,
            answers={204: None},
            refuses=(errors.Unauthenticated,),
        ),
    ),
)

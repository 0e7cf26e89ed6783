"""Signing in with a browser, and out; and where one is signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from broker.core import errors
from broker.core.gateway import SIGN_IN, STATE
from broker.core.tokens import Scope
from broker.core.useragent import browser_of
from broker.http.calls import PAGING, page, read
from broker.http.kinds import Time, time
from broker.http.routes import BY_HANDLER, Noun, Page, Query, Route, asked, caller_of
from broker.http.whose import SIGNED_IN, USER_OF_ALL
from broker.service.entry import Entered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.gateway import CodeWanted
    from broker.core.interfaces import Store
    from broker.core.signins import SignIn
    from broker.service.services import Services


log = structlog.get_logger()

#: Where a provider sends browsers afterwards.
BACK = "/sign-in/oidc/back"


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ByPassword(_In):
    """Body of `POST /sign-in`."""

    user: str = Field(max_length=256)
    password: str = Field(max_length=16_384, repr=False)


class ByCode(_In):
    """Body of `POST /sign-in/code`."""

    ticket: str = Field(max_length=4096, repr=False)
    """What the answer to the password says."""
    code: str = Field(max_length=64, repr=False)


class ByLink(_In):
    """Body of `POST /sign-in/link`."""

    token: str = Field(max_length=256, repr=False)


class WaysOut(TypedDict):
    """How one signs in here with a browser."""

    password: bool
    oidc: str | None
    """The name of who is asked else, where there is somebody."""
    ssh_port: int
    """Where `ssh desk@HOST desk web` gives whoever has a key a link."""


class EnteredOut(TypedDict):
    """How far it went."""

    user: str | None
    """Who is signed in now; null: a code is wanted still."""
    ticket: str | None
    """What the code is shown with."""


class SignInOut(TypedDict):
    """A browser in which somebody signed in."""

    id: str
    user: str
    made_at: Time
    last_used_at: Time
    """To the minute."""
    address: str
    """From where it was made."""
    browser: str
    current: bool
    """Whether it is the one that asks."""


class SignInRoutes:
    """Every handler raises `DeskError`. No answer or log line has a password, a code or a secret in
    it, but the header that is between door and broker.
    """

    def __init__(self, *, store: Store, services: Services, ssh_port: int) -> None:
        self._store = store
        self._ssh_port = ssh_port
        self._accounts = services.accounts
        self._entry = services.entry
        self._sign_ins = services.sign_ins
        self._policies = services.policies
        self._sso = services.sso

    async def ways(self, _request: web.Request) -> web.Response:
        told: WaysOut = {
            "password": await self._policies.by_password(),
            "oidc": self._sso.name,
            "ssh_port": self._ssh_port,
        }
        return web.json_response(told)

    async def by_password(self, request: web.Request) -> web.Response:
        body = await read(request, ByPassword)
        return _entered(
            await self._entry.by_password(
                body.user, body.password, address=_address(request), browser=_browser(request)
            )
        )

    async def by_code(self, request: web.Request) -> web.Response:
        body = await read(request, ByCode)
        return _entered(
            await self._entry.by_code(
                body.ticket, body.code, address=_address(request), browser=_browser(request)
            )
        )

    async def by_link(self, request: web.Request) -> web.Response:
        body = await read(request, ByLink)
        return _entered(
            await self._entry.by_link(
                body.token, address=_address(request), browser=_browser(request)
            )
        )

    async def leave(self, _request: web.Request) -> web.Response:
        """Whoever is sent here is no program, but somebody before a page."""
        try:
            cookie, url = await self._sso.begin()
        except (errors.SourceUnavailable, errors.CapacityExhausted) as error:
            return _to(_refused(error))
        return _to(url, {STATE: cookie})

    async def come_back(self, request: web.Request) -> web.Response:
        try:
            entered = await self._entry.by_provider(
                request.headers.get(STATE, ""),
                state=asked(request, "state") or "",
                code=asked(request, "code") or "",
                issuer=asked(request, "iss"),
                address=_address(request),
                browser=_browser(request),
            )
        except errors.NotFound:
            raise
        except errors.DeskError as error:
            log.info("a provider's answer signed nobody in", code=error.code, detail=str(error))
            return _to(_refused(error), {STATE: ""})
        return _to("/", {STATE: "", SIGN_IN: entered.secret})

    async def sign_out(self, request: web.Request) -> web.Response:
        """Whoever calls by something else than a sign-in is out already."""
        caller = caller_of(request)
        if caller.sign_in is not None:
            await self._sign_ins.end(caller.sign_in.id, actor=caller.actor)
        return web.Response(status=204, headers={SIGN_IN: ""})

    async def list(self, request: web.Request) -> web.Response:
        """The last used first."""
        caller = caller_of(request)
        users = {user.id: user.name for user in await self._store.users()}

        def whose(sign_in: SignIn) -> str:
            return users.get(sign_in.user_id, "?")

        async def out(each: SignIn) -> SignInOut:
            return {
                "id": each.id,
                "user": whose(each),
                "made_at": time(each.made_at),
                "last_used_at": time(each.last_used_at),
                "address": each.address,
                "browser": each.browser,
                "current": caller.sign_in is not None and caller.sign_in.id == each.id,
            }

        return await page(
            request,
            await self._sign_ins.all(caller.only),
            key=lambda each: (-each.last_used_at.timestamp(), each.id),
            out=out,
            where={"user": whose},
        )

    async def unbind(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["name"])
        await self._sign_ins.unbind(user, actor=caller_of(request).actor)
        return web.Response(status=204)

    async def end(self, request: web.Request) -> web.Response:
        await self._sign_ins.end(request.match_info["id"], actor=caller_of(request).actor)
        return web.Response(status=204)


def _entered(found: Entered | CodeWanted) -> web.Response:
    if isinstance(found, Entered):
        told: EnteredOut = {"user": found.user, "ticket": None}
        return web.json_response(told, headers={SIGN_IN: found.secret})
    wanted: EnteredOut = {"user": None, "ticket": found.ticket}
    return web.json_response(wanted)


def _to(url: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=302, headers={hdrs.LOCATION: url, **(headers or {})})


def _refused(error: errors.DeskError) -> str:
    """The page that says so."""
    return f"/#refused={error.code}"


def _address(request: web.Request) -> str:
    return caller_of(request).actor.origin or ""


def _browser(request: web.Request) -> str:
    return browser_of(request.headers.get(hdrs.USER_AGENT))


#: What a try to sign in is refused with, beside what any call is.
_REFUSES = (errors.CapacityExhausted, errors.SourceUnavailable)

SIGNING_IN = Noun(
    name="sign-in",
    summary="Signing in with a browser, and out. A front door keeps the secret in a cookie: no page"
    " and no program sees it.",
    routes=(
        Route(
            method="GET",
            path="/sign-in",
            handler=SignInRoutes.ways,
            name="get_ways_to_sign_in",
            summary="Tell how one signs in here.",
            needs=None,
            whose=BY_HANDLER,
            open=True,
            answers={200: WaysOut},
        ),
        Route(
            method="POST",
            path="/sign-in",
            handler=SignInRoutes.by_password,
            name="sign_in",
            summary="Sign in by a password; a code may be wanted behind it.",
            needs=None,
            whose=BY_HANDLER,
            open=True,
            body=ByPassword,
            answers={200: EnteredOut},
            refuses=_REFUSES,
        ),
        Route(
            method="POST",
            path="/sign-in/code",
            handler=SignInRoutes.by_code,
            name="sign_in_by_code",
            summary="Show the one-time code that was wanted.",
            needs=None,
            whose=BY_HANDLER,
            open=True,
            body=ByCode,
            answers={200: EnteredOut},
        ),
        Route(
            method="POST",
            path="/sign-in/link",
            handler=SignInRoutes.by_link,
            name="sign_in_by_link",
            summary="Sign in by what `desk web` gave: once, and within a minute.",
            needs=None,
            whose=BY_HANDLER,
            open=True,
            body=ByLink,
            answers={200: EnteredOut},
        ),
        Route(
            method="GET",
            path="/sign-in/oidc",
            handler=SignInRoutes.leave,
            name="leave_for_provider",
            summary="Send a browser to the provider of sign-ins.",
            needs=None,
            whose=BY_HANDLER,
            open=True,
            answers={302: None},
        ),
        Route(
            method="GET",
            path=BACK,
            handler=SignInRoutes.come_back,
            name="come_back_from_provider",
            summary="Take up a browser that comes back from there, and send it to its page.",
            needs=None,
            whose=BY_HANDLER,
            open=True,
            query=(
                Query(name="code", summary="What the provider gave."),
                Query(name="state", summary="What the browser was sent away with."),
                Query(name="iss", summary="Who the provider says it is."),
            ),
            foreign=True,
            answers={302: None},
        ),
        Route(
            method="POST",
            path="/sign-out",
            handler=SignInRoutes.sign_out,
            name="sign_out",
            summary="Sign this browser out, and end what is open by it.",
            needs=None,
            whose=BY_HANDLER,
            enrolling=True,
            answers={204: None},
        ),
        Route(
            method="GET",
            path="/sign-ins",
            handler=SignInRoutes.list,
            name="list_sign_ins",
            summary="List the browsers that are signed in, the last used first.",
            needs=Scope.READ,
            whose=BY_HANDLER,
            query=(*PAGING, Query(name="user", summary="Those of that user.")),
            answers={200: Page(SignInOut)},
        ),
        Route(
            method="DELETE",
            path="/sign-ins/{id}",
            handler=SignInRoutes.end,
            name="end_sign_in",
            summary="Sign a browser out, and end what is open by it.",
            needs=Scope.USERS,
            whose=SIGNED_IN,
            answers={204: None},
        ),
        Route(
            method="DELETE",
            path="/users/{name}/provider",
            handler=SignInRoutes.unbind,
            name="unbind_user",
            summary="Let another account of the provider be that user: the next one that has the"
            " name there. What was signed in by the one before ends.",
            needs=Scope.USERS,
            whose=USER_OF_ALL,
            answers={204: None},
        ),
    ),
)

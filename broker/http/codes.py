"""One-time codes as their own person sets them up in a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from broker.core import errors
from broker.core.tokens import Scope
from broker.http.calls import read
from broker.http.routes import Noun, Route, caller_of
from broker.http.whose import USER

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.model import User
    from broker.service.services import Services


class CodeShown(BaseModel):
    """Body of `POST /users/{name}/code/confirm`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(max_length=64, repr=False)


class CodesOut(TypedDict):
    """Whether somebody has one-time codes."""

    enrolled: bool
    recovery_left: int
    """How many recovery codes are unused."""


class EnrolmentOut(TypedDict):
    """What an authenticator is to learn; told here alone."""

    uri: str
    secret: str
    """For whoever types it."""
    qr: str
    """The address as a picture: an SVG."""


class RecoveryOut(TypedDict):
    """What lets in whoever lost the authenticator, each once; told here alone."""

    recovery: list[str]


class CodeRoutes:
    """Every handler raises `DeskError`. No log line has a code or a secret in it."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._accounts = services.accounts
        self._codes = services.codes
        self._sign_ins = services.sign_ins

    async def show(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["name"])
        codes = await self._store.codes(user.id)
        told: CodesOut = {"enrolled": False, "recovery_left": 0}
        if codes is not None and codes.confirmed_at is not None:
            told = {"enrolled": True, "recovery_left": codes.recovery_left}
        return web.json_response(told)

    async def begin(self, request: web.Request) -> web.Response:
        user = await self._own(request)
        begun = await self._codes.begin(user, actor=caller_of(request).actor)
        told: EnrolmentOut = {
            "uri": begun.uri,
            "secret": begun.secret.replace(" ", ""),
            "qr": begun.svg(),
        }
        return web.json_response(told)

    async def confirm(self, request: web.Request) -> web.Response:
        """Whoever signed in without a code has shown one now."""
        body = await read(request, CodeShown)
        user, caller = await self._own(request), caller_of(request)
        recovery = await self._codes.confirm(user, body.code, actor=caller.actor)
        if caller.sign_in is not None:
            await self._sign_ins.enrolled(caller.sign_in, actor=caller.actor)
        told: RecoveryOut = {"recovery": list(recovery)}
        return web.json_response(told)

    async def _own(self, request: web.Request) -> User:
        """Raises `AccessDenied` for an administrator: whoever saw the secret could be that user."""
        user = await self._accounts.user(request.match_info["name"])
        if user.id != caller_of(request).user_id:
            raise errors.AccessDenied(
                f"{caller_of(request).actor.name} is not {user.name}",
                public="One-time codes are set up by their own person alone.",
            )
        return user


CODES = Noun(
    name="codes",
    summary="One-time codes, which their own person sets up.",
    routes=(
        Route(
            method="GET",
            path="/users/{name}/code",
            handler=CodeRoutes.show,
            name="get_codes",
            summary="Tell whether a user has one-time codes.",
            needs=Scope.READ,
            whose=USER,
            enrolling=True,
            answers={200: CodesOut},
        ),
        Route(
            method="POST",
            path="/users/{name}/code",
            handler=CodeRoutes.begin,
            name="begin_codes",
            summary="Make a secret for one's own authenticator; it counts once a code of it was"
            " shown.",
            needs=Scope.USERS,
            whose=USER,
            enrolling=True,
            answers={200: EnrolmentOut},
            secret=True,
        ),
        Route(
            method="POST",
            path="/users/{name}/code/confirm",
            handler=CodeRoutes.confirm,
            name="confirm_codes",
            summary="Show a first code of one's own: they are asked for from now on.",
            needs=Scope.USERS,
            whose=USER,
            enrolling=True,
            body=CodeShown,
            answers={200: RecoveryOut},
            secret=True,
        ),
    ),
)

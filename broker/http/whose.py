"""How the things of requests are found to be somebody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import NotFound
from broker.core.model import DesktopId, SessionId, shown
from broker.http.routes import Whose

if TYPE_CHECKING:
    from aiohttp import web

    from broker.core.interfaces import Store
    from broker.core.model import UserId


async def _user(store: Store, request: web.Request) -> UserId | None:
    user = await store.user(request.match_info["name"])
    return None if user is None else user.id


async def _desktop(store: Store, request: web.Request) -> UserId | None:
    desktop = await store.desktop(DesktopId(request.match_info["id"]))
    return None if desktop is None else desktop.user_id


async def _session(store: Store, request: web.Request) -> UserId | None:
    session = await store.session(SessionId(request.match_info["id"]))
    desktop = None if session is None else await store.desktop(session.desktop_id)
    return None if desktop is None else desktop.user_id


async def _token(store: Store, request: web.Request) -> UserId | None:
    token = await store.token(request.match_info["id"])
    return None if token is None else token.user_id


async def _sign_in(store: Store, request: web.Request) -> UserId | None:
    found = await store.sign_in(request.match_info["id"])
    return None if found is None else found[1].id


async def _invite(store: Store, request: web.Request) -> UserId | None:
    invite_id = request.match_info["id"]
    found = (invite.user_id for invite in await store.invites() if invite.id == invite_id)
    return next(found, None)


async def _share(store: Store, request: web.Request) -> UserId | None:
    share = await store.share(request.match_info["id"])
    return None if share is None else share.user_id


def _no_user(request: web.Request) -> NotFound:
    return NotFound(public=f"There is no user {shown(request.match_info['name'])}.")


def no_desktop(request: web.Request) -> NotFound:
    return NotFound(public=f"There is no desktop {shown(request.match_info['id'])}.")


def no_session(_request: web.Request) -> NotFound:
    return NotFound(public="There is no such session.")


def no_token(_request: web.Request) -> NotFound:
    return NotFound(public="There is no such token.")


def _no_sign_in(_request: web.Request) -> NotFound:
    return NotFound(public="There is no such sign-in.")


def _no_share(_request: web.Request) -> NotFound:
    return NotFound(public="There is no such share.")


def _no_invite(_request: web.Request) -> NotFound:
    return NotFound(public="There is no such unused invite.")


#: Of paths with `{name}`, an account.
USER = Whose(find=_user, missing=_no_user)

#: The same, for callers who have everybody's alone; an admin's account is for admins here too.
USER_OF_ALL = Whose(find=_user, missing=_no_user, all_alone=True)

#: Of paths with `{id}`.
DESKTOP = Whose(find=_desktop, missing=no_desktop)
SESSION = Whose(find=_session, missing=no_session)
INVITE = Whose(find=_invite, missing=_no_invite)
SIGNED_IN = Whose(find=_sign_in, missing=_no_sign_in)
TOKEN = Whose(find=_token, missing=no_token)
SHARE = Whose(find=_share, missing=_no_share)

#: The same, for whoever owns the desktop: consent is nobody else's to give.
SHARER = Whose(find=_desktop, missing=no_desktop, owner_alone=True)
SHARED_BY_OWNER = Whose(find=_share, missing=_no_share, owner_alone=True)

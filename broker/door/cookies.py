"""The secrets of browsers: kept in cookies there, and in headers between a door and its broker.

The broker never sees a cookie, and no page sees a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import hdrs

from broker.core.gateway import COOKIES, GUEST, SIGN_IN, STATE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web
    from multidict import CIMultiDict, CIMultiDictProxy

_NAMES = {SIGN_IN: "desk", GUEST: "desk-guest", STATE: "desk-state"}

#: What makes browsers keep a cookie to this host and its TLS.
_PREFIX = "__Host-"

#: Seconds that the way to a provider of sign-ins and back may take.
_STATE_AGE = 600

#: As the broker makes them, and no longer than it takes in a message: anything else is none of its.
_SECRET = re.compile(r"[A-Za-z0-9_.~-]{1,128}")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the cookies of one request hold, by the header that says so to the broker."""

    held: dict[str, str]

    @classmethod
    def of(cls, request: web.Request, *, secure: bool) -> Secrets:
        """Those of a browser that came by https, or not. Whoever shows a token brings none: there
        is one answer to who asks.
        """
        if hdrs.AUTHORIZATION in request.headers:
            return cls({})
        given = dict(_cookies(request.headers.getall(hdrs.COOKIE, ())))
        values = {header: given.get(_name(header, secure=secure), "") for header in COOKIES}
        return cls({header: value for header, value in values.items() if _SECRET.fullmatch(value)})

    @property
    def sign_in(self) -> str | None:
        return self.held.get(SIGN_IN)

    @property
    def guest(self) -> str | None:
        return self.held.get(GUEST)


def keep(
    told: CIMultiDictProxy[str], answer: CIMultiDict[str], *, secure: bool
) -> CIMultiDict[str]:
    """What the broker `told` of cookies, as the client is to hear it: added to the headers of the
    answer, which have none of the broker's own words for it.
    """
    for header in COOKIES:
        for value in told.getall(header, ()):
            if not value or _SECRET.fullmatch(value):
                answer.add(hdrs.SET_COOKIE, _set_cookie(header, value, secure=secure))
    return answer


def _set_cookie(header: str, value: str, *, secure: bool) -> str:
    parts = [f"{_name(header, secure=secure)}={value}", "Path=/", "HttpOnly"]
    # Whoever comes back from a provider comes from another site.
    parts.append("SameSite=Lax" if header == STATE else "SameSite=Strict")
    if secure:
        parts.append("Secure")
    if not value:
        parts.append("Max-Age=0")
    elif header == STATE:
        parts.append(f"Max-Age={_STATE_AGE}")
    return "; ".join(parts)


def _name(header: str, *, secure: bool) -> str:
    return f"{_PREFIX}{_NAMES[header]}" if secure else _NAMES[header]


def _cookies(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        for pair in line.split(";"):
            name, _, value = pair.partition("=")
            yield name.strip(), value.strip().strip('"')

"""What every answer of the HTTP port says besides, and how the door's own refusals look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

if TYPE_CHECKING:
    from multidict import CIMultiDict

#: Nothing here may be framed, guessed at, or run what comes from elsewhere.
_SECURITY = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    hdrs.SERVER: "desk",
}

#: Seconds after which one may ask again, in the words of HTTP.
_AGAIN = "1"


def secure(headers: CIMultiDict[str]) -> None:
    """Whatever an answer has of these, the door's count."""
    headers.update(_SECURITY)
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def problem(status: int, code: str, detail: str, *, again: bool = False) -> web.Response:
    """As problems are told everywhere, RFC 9457; `again` says that asking again soon may help."""
    answer = web.json_response(
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
    if again:
        answer.headers[hdrs.RETRY_AFTER] = _AGAIN
    return answer
